package failover

import (
	"math/rand/v2"
	"testing"
	"time"

	"bondd.internal/bondd/internal/state"
)

// A driver is the bonding driver as far as decisions go: its monitor looks now
// and then, and chooses by its own rules (bond_miimon_inspect and
// bond_choose_primary_or_current, drivers/net/bonding/bond_main.c).
type driver struct {
	bond Bond // Held: primary_reselect is "failure" for now
}

// inspect has the driver's monitor look.
func (d *driver) inspect() {
	reselect := false
	for i := range d.bond.Slaves {
		s := &d.bond.Slaves[i]
		switch {
		case s.LinkUp && s.MII != state.MIIUp:
			s.MII = state.MIIUp
			reselect = reselect || d.bond.Active == 0 || s.Index == d.bond.Primary
		case !s.LinkUp && s.MII == state.MIIUp:
			s.MII = state.MIIDown
			reselect = reselect || s.Index == d.bond.Active
		}
	}
	if reselect {
		d.bond.Active = d.choose()
	}
}

func (d *driver) choose() int {
	active, preferred := d.bond.slave(d.bond.Active), d.bond.slave(d.bond.Primary)
	if preferred == nil || preferred.MII != state.MIIUp {
		preferred = nil
		for i := range d.bond.Slaves {
			if s := &d.bond.Slaves[i]; s.MII == state.MIIUp && (preferred == nil || s.Prio > preferred.Prio) {
				preferred = s
			}
		}
	}
	switch {
	case preferred == nil:
		return 0
	case active == nil || active.MII != state.MIIUp:
		return preferred.Index
	case d.bond.Held || !returns(&d.bond, preferred, active):
		return active.Index
	}
	return preferred.Index
}

// react does what bondd does after something has changed, and returns the
// switches that it made.
func (d *driver) react(t *testing.T) (switches int) {
	t.Helper()
	for round := 0; ; round++ {
		if round > 4 {
			t.Fatalf("%+v: no end of decisions", d.bond)
		}
		switch got := Decide(&d.bond); got.Action {
		case Switch:
			if to := d.bond.slave(got.To); to.MII != state.MIIUp || d.bond.Active == 0 {
				t.Fatalf("%+v: the driver refuses %+v", d.bond, got)
			}
			if d.bond.Chosen == d.bond.Active {
				d.bond.Chosen = 0
			}
			d.bond.Active = got.To
			switches++
		case Inspect:
			before := d.bond
			before.Slaves = append([]Slave(nil), before.Slaves...)
			d.inspect()
			if before.Equal(&d.bond) {
				t.Fatalf("%+v: an inspection that changes nothing", d.bond)
			}
		default:
			d.bond.Held = Hold(&d.bond)
			return switches
		}
	}
}

// For every sequence of events: one event makes one switch at most, the driver
// never has to be told twice, and in the end the active slave is as good as any.
func TestStories(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := driver{bond: Bond{ActiveBackup: true, Monitored: true, AllPaths: r.IntN(2) == 0, Reselect: Reselect(r.IntN(3))}}
		n := 2 + r.IntN(3)
		for i := range n {
			d.bond.Slaves = append(d.bond.Slaves, prio(paths(up(i+1), pUp, pUp), r.IntN(2)))
		}
		d.bond.Active, d.bond.Primary = 1, r.IntN(n+1)
		for range 60 {
			s := &d.bond.Slaves[r.IntN(n)]
			switch r.IntN(6) {
			case 0, 1:
				s.LinkUp = !s.LinkUp
			case 2:
				s.Paths[r.IntN(2)] = state.PathState(1 + r.IntN(3))
			case 3:
				s.Suppressed = !s.Suppressed
			case 4:
				d.inspect()
			case 5:
				heard := answering(&d.bond)
				if a := d.bond.slave(d.bond.Active); a != nil && s.MII == state.MIIUp && s.LinkUp && grade(&d.bond, s, heard) >= grade(&d.bond, a, heard) {
					d.bond.Active, d.bond.Chosen = s.Index, s.Index // as an operator does
				}
			}
			if switches := d.react(t); switches > 1 {
				t.Fatalf("seed %d: %d switches for one event: %+v", seed, switches, d.bond)
			}
			d.usable(t, seed)
		}
		d.inspect() // all is known to the driver now
		d.react(t)
		d.usable(t, seed)
	}
}

// usable checks that the active slave is as good as any that the driver would take.
func (d *driver) usable(t *testing.T, seed uint64) {
	t.Helper()
	heard := answering(&d.bond)
	active := d.bond.slave(d.bond.Active)
	for i := range d.bond.Slaves {
		s := &d.bond.Slaves[i]
		if s.MII == state.MIIUp && s.LinkUp && (active == nil || grade(&d.bond, s, heard) > grade(&d.bond, active, heard)) {
			t.Fatalf("seed %d: %d is active and %d is better: %+v", seed, d.bond.Active, s.Index, d.bond)
		}
	}
}

func TestDamper(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	d := Damper{HalfLife: 15 * time.Second, Suppress: 3, Reuse: 1}
	d.Fail(at(0))
	d.Fail(at(1))
	if d.Suppressed(at(1)) || !d.ReuseAt().IsZero() {
		t.Error("held out after two failures")
	}
	d.Fail(at(1.1))
	d.Fail(at(1.2))
	if !d.Suppressed(at(1.2)) {
		t.Fatalf("not held out with a penalty of %v", d.Penalty(at(1.2)))
	}
	if p := d.Penalty(at(16.2)) / d.Penalty(at(1.2)); p < .499 || p > .501 {
		t.Errorf("%v of the penalty is left after a half-life", p)
	}
	first := d.ReuseAt().Sub(at(1.2))
	if first < 25*time.Second || first > 30*time.Second {
		t.Errorf("held out for %v", first)
	}
	if d.Suppressed(d.ReuseAt()) || !d.Suppressed(d.ReuseAt().Add(-time.Second)) {
		t.Error("it is not let in again when it was said")
	}
	d.Fail(at(10))
	if second := d.ReuseAt().Sub(at(10)); second <= first-9*time.Second {
		t.Errorf("held out for %v after one more failure, %v before", second, first)
	}
	for i := range 10_000 {
		d.Fail(at(20 + float64(i)*.1))
	}
	if got, most := d.ReuseAt().Sub(at(1019.9)), 60*time.Second; got < most-time.Second || got > most+time.Second {
		t.Errorf("after ever so many failures held out for %v, want %v", got, most)
	}
	if d.Fail(at(5000)); d.Suppressed(at(5000)) {
		t.Error("held out by a failure after a long quiet time")
	}
	if p := d.Penalty(at(0)); p > d.Suppress*8 {
		t.Errorf("with the clock set back the penalty is %v", p)
	}
	var none Damper
	for range 100 {
		none.Fail(start)
	}
	if none.Suppressed(start) || none.Penalty(start) != 0 {
		t.Error("without damping a slave is held out")
	}
}
