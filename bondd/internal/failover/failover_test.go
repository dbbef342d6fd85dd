package failover

import (
	"math/rand/v2"
	"testing"

	"bondd.internal/bondd/internal/state"
)

func up(i int) Slave   { return Slave{Index: i, LinkUp: true, MII: state.MIIUp} }
func dead(i int) Slave { return Slave{Index: i, MII: state.MIIDown} }

// lost is a slave of which the driver has not yet noticed that its link is gone.
func lost(i int) Slave { return Slave{Index: i, MII: state.MIIUp} }

// back is a slave of which the driver has not yet noticed that its link is back.
func back(i int) Slave { return Slave{Index: i, LinkUp: true, MII: state.MIIDown} }

func TestDecide(t *testing.T) {
	switchTo := func(i int) Decision { return Decision{Action: Switch, To: i, Reason: state.ReasonLink} }
	inspect := Decision{Action: Inspect, Reason: state.ReasonLink}
	for _, tt := range []struct {
		name string
		bond Bond
		want Decision
	}{
		{"all well", Bond{ActiveBackup: true, Active: 1, Slaves: []Slave{up(1), up(2)}}, Decision{}},
		{"a better one in order is no reason", Bond{ActiveBackup: true, Active: 2, Slaves: []Slave{up(1), up(2)}}, Decision{}},
		{"a returned primary is the driver's business", Bond{ActiveBackup: true, Active: 2, Primary: 1, Slaves: []Slave{up(1), up(2)}}, Decision{}},
		{"active lost", Bond{ActiveBackup: true, Active: 1, Slaves: []Slave{lost(1), up(2), up(3)}}, switchTo(2)},
		{"active lost, the primary comes before the order", Bond{ActiveBackup: true, Active: 1, Primary: 3, Slaves: []Slave{lost(1), up(2), up(3)}}, switchTo(3)},
		{"active lost, next one dead", Bond{ActiveBackup: true, Active: 1, Slaves: []Slave{lost(1), dead(2), up(3)}}, switchTo(3)},
		{"active lost, the driver has to see the other return first", Bond{ActiveBackup: true, Active: 1, Slaves: []Slave{lost(1), back(2)}}, inspect},
		{"… unless that would shorten its updelay", Bond{ActiveBackup: true, UpDelay: true, Active: 1, Slaves: []Slave{lost(1), back(2)}}, Decision{}},
		{"standby lost", Bond{ActiveBackup: true, Active: 1, Slaves: []Slave{up(1), lost(2)}}, Decision{}},
		{"all lost: the last link stays", Bond{ActiveBackup: true, Active: 1, Slaves: []Slave{lost(1), lost(2)}}, Decision{}},
		{"downdelay is the driver's", Bond{ActiveBackup: true, DownDelay: true, Active: 1, Slaves: []Slave{lost(1), up(2)}}, Decision{}},
		{"updelay alone does not slow a loss", Bond{ActiveBackup: true, UpDelay: true, Active: 1, Slaves: []Slave{lost(1), up(2)}}, switchTo(2)},
		{"none active, one returned", Bond{ActiveBackup: true, Slaves: []Slave{dead(1), back(2)}}, inspect},
		{"no slaves", Bond{ActiveBackup: true}, Decision{}},
		{"shared: all well", Bond{Slaves: []Slave{up(1), up(2)}}, Decision{}},
		{"shared: one lost", Bond{Slaves: []Slave{up(1), lost(2)}}, inspect},
		{"shared: one lost, downdelay", Bond{DownDelay: true, Slaves: []Slave{up(1), lost(2)}}, Decision{}},
		{"shared: one returned", Bond{Slaves: []Slave{up(1), back(2)}}, inspect},
		{"shared: one returned, updelay", Bond{UpDelay: true, Slaves: []Slave{up(1), back(2)}}, Decision{}},
		{"shared: the driver knows", Bond{Slaves: []Slave{up(1), dead(2)}}, Decision{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Decide(&tt.bond); got != tt.want {
				t.Errorf("Decide = %+v, want %+v", got, tt.want)
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

// Whatever the bond looks like: a switch goes to a slave that is usable, never
// away from one that is, and never with a delay configured that forbids it.
func TestDecideProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		b := Bond{ActiveBackup: r.IntN(2) == 0, UpDelay: r.IntN(4) == 0, DownDelay: r.IntN(4) == 0}
		n := r.IntN(5)
		for i := range n {
			b.Slaves = append(b.Slaves, Slave{Index: i + 1, LinkUp: r.IntN(2) == 0, MII: state.MIIStatus(r.IntN(4))})
		}
		b.Active, b.Primary = r.IntN(n+1), r.IntN(n+1)
		d := Decide(&b)
		if d.Action != Nothing && d.Reason == "" {
			t.Fatalf("%+v: %+v has no reason", b, d)
		}
		if d.Action == Inspect && b.UpDelay && b.DownDelay && !b.ActiveBackup {
			t.Fatalf("%+v: an inspection would shorten the delays", b)
		}
		if d.Action != Switch {
			continue
		}
		if !b.ActiveBackup || b.Active == 0 {
			t.Fatalf("%+v: the kernel would refuse %+v", b, d)
		}
		if to := b.Slaves[d.To-1]; !to.LinkUp || to.MII != state.MIIUp {
			t.Fatalf("%+v: %+v goes to a slave that is not usable", b, d)
		}
		if b.Slaves[b.Active-1].LinkUp {
			t.Fatalf("%+v: %+v leaves a slave that is usable", b, d)
		}
	}
}
