package failover

import (
	"math/rand/v2"
	"slices"
	"testing"

	"bondd.internal/bondd/internal/state"
)

func up(i int) Slave   { return Slave{Index: i, LinkUp: true, MII: state.MIIUp} }
func dead(i int) Slave { return Slave{Index: i, MII: state.MIIDown} }

// lost is a slave of which the driver has not yet noticed that its link is gone.
func lost(i int) Slave { return Slave{Index: i, MII: state.MIIUp} }

// back is a slave of which the driver has not yet noticed that its link is back.
func back(i int) Slave { return Slave{Index: i, LinkUp: true, MII: state.MIIDown} }

// paths gives a slave these states of its paths.
func paths(s Slave, states ...state.PathState) Slave {
	copy(s.Paths[:], states)
	return s
}

func prio(s Slave, p int) Slave     { s.Prio = p; return s }
func speed(s Slave, mbps int) Slave { s.Speed = mbps; return s }
func flapping(s Slave) Slave        { s.Suppressed = true; return s }
func spare(s Slave) Slave           { s.Spare = true; return s }
func excused(s Slave) Slave         { s.Excused = true; return s }
func parked(s Slave) Slave          { s.Parked = true; return s }

const (
	pUp      = state.PathUp
	pMissing = state.PathMissing
	pDown    = state.PathDown
)

func TestDecide(t *testing.T) {
	to := func(i int, reason state.Reason) Decision { return Decision{Action: Switch, To: i, Reason: reason} }
	const link, path, primary = state.ReasonLink, state.ReasonPath, state.ReasonPrimary
	inspect := Decision{Action: Inspect, Reason: link}
	for _, tt := range []struct {
		name string
		bond Bond
		want Decision
	}{
		{"all well", Bond{Active: 1, Slaves: []Slave{up(1), up(2)}}, Decision{}},
		{"a better one in order is no reason", Bond{Active: 2, Slaves: []Slave{up(1), up(2)}}, Decision{}},
		{"active lost", Bond{Active: 1, Slaves: []Slave{lost(1), up(2), up(3)}}, to(2, link)},
		{"active lost, the primary comes before the order", Bond{Active: 1, Primary: 3, Slaves: []Slave{lost(1), up(2), up(3)}}, to(3, link)},
		{"active lost, prio comes before the order", Bond{Active: 1, Slaves: []Slave{lost(1), up(2), prio(up(3), 1)}}, to(3, link)},
		{"active lost, the primary comes before prio", Bond{Active: 1, Primary: 2, Slaves: []Slave{lost(1), up(2), prio(up(3), 9)}}, to(2, link)},
		{"active lost, next one dead", Bond{Active: 1, Slaves: []Slave{lost(1), dead(2), up(3)}}, to(3, link)},
		{"active lost, next one has no path", Bond{Active: 1, Slaves: []Slave{lost(1), paths(up(2), pDown), paths(up(3), pUp)}}, to(3, link)},
		{"active lost, next one flaps", Bond{Active: 1, Slaves: []Slave{lost(1), flapping(up(2)), up(3)}}, to(3, link)},
		{"active lost, all others flap", Bond{Active: 1, Slaves: []Slave{lost(1), flapping(up(2)), dead(3)}}, to(2, link)},
		{"active lost, only one without a path is left", Bond{Active: 1, Slaves: []Slave{paths(lost(1), pUp), paths(up(2), pDown)}}, to(2, link)},
		{"active lost, the driver has to see the other return first", Bond{Active: 1, Slaves: []Slave{lost(1), back(2)}}, inspect},
		{"… and with none left it ignores updelay", Bond{UpDelay: true, Active: 1, Slaves: []Slave{lost(1), back(2)}}, inspect},
		{"active to be spared", Bond{Active: 1, Slaves: []Slave{spare(up(1)), up(2)}}, to(2, path)},
		{"active to be spared, and so is the other", Bond{Active: 1, Slaves: []Slave{spare(up(1)), spare(up(2))}}, Decision{}},
		{"active to be spared, the path of the other is dead", Bond{Active: 1, Slaves: []Slave{spare(paths(up(1), pUp)), paths(up(2), pDown)}}, Decision{}},
		{"active to be spared, no other has a link", Bond{Active: 1, Slaves: []Slave{spare(up(1)), dead(2)}}, Decision{}},
		{"a preferred one to be spared", Bond{Active: 2, Primary: 1, Slaves: []Slave{spare(up(1)), up(2)}}, Decision{}},
		{"standby lost", Bond{Active: 1, Slaves: []Slave{up(1), lost(2)}}, Decision{}},
		{"all lost: the last link stays", Bond{Active: 1, Slaves: []Slave{lost(1), lost(2)}}, Decision{}},
		{"downdelay is the driver's", Bond{DownDelay: true, Active: 1, Slaves: []Slave{lost(1), up(2)}}, Decision{}},
		{"updelay alone does not slow a loss", Bond{UpDelay: true, Active: 1, Slaves: []Slave{lost(1), up(2)}}, to(2, link)},
		{"none active, one returned", Bond{Slaves: []Slave{dead(1), back(2)}}, inspect},
		{"no slaves", Bond{}, Decision{}},

		{"primary back, always", Bond{Active: 2, Primary: 1, Slaves: []Slave{up(1), up(2)}}, to(1, primary)},
		{"primary back, in the eyes of the driver not yet", Bond{Active: 2, Primary: 1, Slaves: []Slave{back(1), up(2)}}, Decision{}},
		{"primary back, failure", Bond{Active: 2, Primary: 1, Reselect: Failure, Slaves: []Slave{up(1), up(2)}}, Decision{}},
		{"primary back, better, and it is", Bond{Active: 2, Primary: 1, Reselect: Better, Slaves: []Slave{speed(up(1), 1000), speed(up(2), 100)}}, to(1, primary)},
		{"primary back, better, but it is not", Bond{Active: 2, Primary: 1, Reselect: Better, Slaves: []Slave{speed(up(1), 1000), speed(up(2), 1000)}}, Decision{}},
		{"primary back, but its path is dead", Bond{Active: 2, Primary: 1, Slaves: []Slave{paths(up(1), pDown), paths(up(2), pUp)}}, Decision{}},
		{"primary back, but it flaps", Bond{Active: 2, Primary: 1, Slaves: []Slave{flapping(up(1)), up(2)}}, Decision{}},
		{"primary back, but an operator chose the other", Bond{Active: 2, Primary: 1, Chosen: 2, Slaves: []Slave{up(1), up(2)}}, Decision{}},
		{"a slave of higher prio is back", Bond{Active: 2, Slaves: []Slave{prio(up(1), 5), up(2)}}, to(1, primary)},
		{"one of equal prio is back", Bond{Active: 2, Slaves: []Slave{prio(up(1), 5), prio(up(2), 5)}}, Decision{}},

		{"path dead, the other's is up", Bond{Active: 1, Slaves: []Slave{paths(up(1), pDown), paths(up(2), pUp)}}, to(2, path)},
		{"path dead, the other's is in doubt", Bond{Active: 1, Slaves: []Slave{paths(up(1), pDown), paths(up(2), pMissing)}}, Decision{}},
		{"path dead, the other's is not known", Bond{Active: 1, Slaves: []Slave{paths(up(1), pDown), up(2)}}, Decision{}},
		{"path dead, the other's is dead too", Bond{Active: 1, Slaves: []Slave{paths(up(1), pDown), paths(up(2), pDown)}}, Decision{}},
		{"path dead, the other has no link", Bond{Active: 1, Slaves: []Slave{paths(up(1), pDown), paths(lost(2), pUp)}}, Decision{}},
		{"path dead, the other flaps", Bond{Active: 1, Slaves: []Slave{paths(up(1), pDown), flapping(paths(up(2), pUp))}}, to(2, path)},
		{"an operator's choice ends with its path", Bond{Active: 1, Chosen: 1, Slaves: []Slave{paths(up(1), pDown), paths(up(2), pUp)}}, to(2, path)},
		{"downdelay is not for paths", Bond{DownDelay: true, Active: 1, Slaves: []Slave{paths(up(1), pDown), paths(up(2), pUp)}}, to(2, path)},
		{"of two targets one is dead for all: all", Bond{AllPaths: true, Active: 1, Slaves: []Slave{paths(up(1), pDown, pUp), paths(up(2), pDown, pUp)}}, Decision{}},
		{"… and the other from here: all", Bond{AllPaths: true, Active: 1, Slaves: []Slave{paths(up(1), pDown, pDown), paths(up(2), pDown, pUp)}}, to(2, path)},
		{"of two targets one is dead from here: all", Bond{AllPaths: true, Active: 1, Slaves: []Slave{paths(up(1), pDown, pUp), paths(up(2), pUp, pUp)}}, to(2, path)},
		{"of two targets one is dead from here: any", Bond{Active: 1, Slaves: []Slave{paths(up(1), pDown, pUp), paths(up(2), pUp, pUp)}}, Decision{}},
		{"both are dead from here: any", Bond{Active: 1, Slaves: []Slave{paths(up(1), pDown, pDown), paths(up(2), pDown, pUp)}}, to(2, path)},
		{"each reaches another one: all", Bond{AllPaths: true, Active: 1, Slaves: []Slave{paths(up(1), pDown, pUp), paths(up(2), pUp, pDown)}}, Decision{}},
		{"the active one flaps, the other does not", Bond{Active: 1, Slaves: []Slave{flapping(up(1)), up(2)}}, to(2, link)},
		{"both flap", Bond{Active: 1, Slaves: []Slave{flapping(up(1)), flapping(up(2))}}, Decision{}},
	} {
		tt.bond.ActiveBackup, tt.bond.Monitored = true, true
		t.Run(tt.name, func(t *testing.T) {
			if got := Decide(&tt.bond); got != tt.want {
				t.Errorf("Decide = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestDecideShared(t *testing.T) {
	inspect := Decision{Action: Inspect, Reason: state.ReasonLink}
	for _, tt := range []struct {
		name string
		bond Bond
		want Decision
	}{
		{"all well", Bond{Monitored: true, Slaves: []Slave{up(1), up(2)}}, Decision{}},
		{"one lost", Bond{Monitored: true, Slaves: []Slave{up(1), lost(2)}}, inspect},
		{"one lost, the driver asks by ARP", Bond{Slaves: []Slave{up(1), lost(2)}}, Decision{}},
		{"one lost, downdelay", Bond{Monitored: true, DownDelay: true, Slaves: []Slave{up(1), lost(2)}}, Decision{}},
		{"one returned", Bond{Monitored: true, Slaves: []Slave{up(1), back(2)}}, inspect},
		{"one returned, updelay", Bond{Monitored: true, UpDelay: true, Slaves: []Slave{up(1), back(2)}}, Decision{}},
		{"one parked", Bond{Monitored: true, Slaves: []Slave{up(1), parked(back(2))}}, Decision{}},
		{"the driver knows", Bond{Monitored: true, Slaves: []Slave{up(1), dead(2)}}, Decision{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Decide(&tt.bond); got != tt.want {
				t.Errorf("Decide = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestPark(t *testing.T) {
	for _, tt := range []struct {
		name   string
		slaves []Slave
		want   []int
	}{
		{"all well", []Slave{paths(up(1), pUp), paths(up(2), pUp)}, nil},
		{"one path is dead", []Slave{paths(up(1), pUp), paths(up(2), pDown)}, []int{2}},
		{"it stays out until its path is back", []Slave{paths(up(1), pUp), parked(paths(up(2), pDown))}, []int{2}},
		{"… and if it has lost its link meanwhile", []Slave{paths(up(1), pUp), parked(lost(2))}, []int{2}},
		{"LACP is to judge it", []Slave{paths(up(1), pUp), excused(paths(up(2), pDown))}, nil},
		{"its path is back", []Slave{paths(up(1), pUp), parked(paths(up(2), pUp))}, nil},
		{"all paths are dead", []Slave{paths(up(1), pDown), paths(up(2), pDown)}, nil},
		{"the last one that was good is gone", []Slave{paths(lost(1), pUp), parked(paths(up(2), pDown))}, nil},
		{"one flaps", []Slave{up(1), flapping(lost(2))}, []int{2}},
		{"all flap", []Slave{flapping(up(1)), flapping(up(2))}, nil},
		{"a lost link is the driver's", []Slave{up(1), lost(2)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Park(&Bond{Slaves: tt.slaves, AllPaths: true}); !slices.Equal(got, tt.want) {
				t.Errorf("Park = %v, want %v", got, tt.want)
			}
		})
	}
	if got := Park(&Bond{ActiveBackup: true, Slaves: []Slave{paths(up(1), pUp), paths(up(2), pDown)}}); got != nil {
		t.Errorf("Park in active-backup = %v, want none", got)
	}
}

func TestHold(t *testing.T) {
	for _, tt := range []struct {
		name string
		bond Bond
		want bool
	}{
		{"all well", Bond{Active: 1, Slaves: []Slave{up(1), up(2)}}, false},
		{"a preferred one has no path", Bond{Active: 2, Slaves: []Slave{paths(up(1), pDown), paths(up(2), pUp)}}, true},
		{"… but the driver never returns", Bond{Active: 2, Reselect: Failure, Slaves: []Slave{paths(up(1), pDown), paths(up(2), pUp)}}, false},
		{"one flaps", Bond{Active: 2, Slaves: []Slave{flapping(dead(1)), up(2)}}, true},
		{"held, and its link is gone", Bond{Active: 2, Held: true, Slaves: []Slave{dead(1), up(2)}}, true},
		{"held, and it is well", Bond{Active: 2, Held: true, Slaves: []Slave{up(1), up(2)}}, false},
		{"the active one flaps", Bond{Active: 1, Slaves: []Slave{flapping(up(1)), dead(2)}}, false},
		{"one to be spared", Bond{Active: 2, Slaves: []Slave{spare(up(1)), up(2)}}, true},
		{"an operator's choice", Bond{Active: 2, Chosen: 2, Primary: 1, Slaves: []Slave{up(1), up(2)}}, true},
	} {
		tt.bond.ActiveBackup, tt.bond.AllPaths = true, true
		t.Run(tt.name, func(t *testing.T) {
			if got := Hold(&tt.bond); got != tt.want {
				t.Errorf("Hold = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestWithout(t *testing.T) {
	b := Bond{ActiveBackup: true, Active: 1, Slaves: []Slave{up(1), up(2)}}
	if got := Without(&b, 1); got.Action != Switch || got.To != 2 {
		t.Errorf("without the active slave: %+v, want a switch to 2", got)
	}
	if got := Without(&b, 2); got.Action != Nothing {
		t.Errorf("without the standby: %+v, want nothing", got)
	}
	if !b.Slaves[0].LinkUp {
		t.Error("Without changed the bond it was asked about")
	}
}

// randomBond is any bond at all.
func randomBond(r *rand.Rand) Bond {
	half := func() bool { return r.IntN(2) == 0 }
	b := Bond{ActiveBackup: half(), UpDelay: r.IntN(4) == 0, DownDelay: r.IntN(4) == 0, Monitored: r.IntN(4) > 0, AllPaths: half(), Reselect: Reselect(r.IntN(3))}
	n := r.IntN(5)
	for i := range n {
		s := Slave{Index: i + 1, LinkUp: half(), MII: state.MIIStatus(r.IntN(4)), Suppressed: r.IntN(4) == 0, Prio: r.IntN(3), Speed: r.IntN(2) * 100}
		for t := range 2 {
			s.Paths[t] = state.PathState(r.IntN(4))
		}
		b.Slaves = append(b.Slaves, s)
	}
	b.Active, b.Primary, b.Chosen = r.IntN(n+1), r.IntN(n+1), r.IntN(n+1)
	return b
}

// Whatever the bond looks like: a switch goes to a slave that the driver takes,
// never to a worse one, never without a reason, and never against a delay.
func TestDecideProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300_000 {
		b := randomBond(r)
		d := Decide(&b)
		if d.Action != Nothing && d.Reason == "" {
			t.Fatalf("%+v: %+v has no reason", b, d)
		}
		if d.Action == Inspect && (!b.Monitored || b.UpDelay && b.DownDelay && !b.ActiveBackup) {
			t.Fatalf("%+v: the driver cannot inspect, or it would shorten the delays", b)
		}
		if hold := Hold(&b); hold && !b.ActiveBackup {
			t.Fatalf("%+v: held", b)
		}
		if d.Action != Switch {
			continue
		}
		if !b.ActiveBackup || b.Active == 0 {
			t.Fatalf("%+v: the kernel would refuse %+v", b, d)
		}
		to, from := b.slave(d.To), b.slave(b.Active)
		if !to.LinkUp || to.MII != state.MIIUp {
			t.Fatalf("%+v: %+v goes to a slave that is not usable", b, d)
		}
		heard := answering(&b)
		switch before, after := grade(&b, from, heard), grade(&b, to, heard); {
		case after < before:
			t.Fatalf("%+v: %+v goes to a worse slave", b, d)
		case after == before && d.Reason != state.ReasonPrimary:
			t.Fatalf("%+v: %+v is no better", b, d)
		case from.LinkUp && blamed(&b, to, heard) && !blamed(&b, from, heard):
			t.Fatalf("%+v: %+v leaves a path that works", b, d)
		}
		// What was decided is the end of it.
		b.Active = d.To
		if again := Decide(&b); again.Action == Switch {
			t.Fatalf("%+v: then %+v", b, again)
		}
	}
}
