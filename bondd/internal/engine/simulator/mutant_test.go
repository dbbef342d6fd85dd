package simulator

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bondd.internal/bondd/internal/engine/core"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
)

// mutantSteps is within how many steps of the core a bug has to be found.
const mutantSteps = 500_000

// Every invariant is broken by a bug that is put back on purpose, and random runs
// find it soon.
func TestMutants(t *testing.T) {
	const returning = "world active-backup primary=eth0 path forward=10s"
	for _, tt := range []struct {
		name      string
		invariant string
		mutant    Mutant
		world     string // empty: any
	}{
		{"the driver is never held", "better", onOps(func(_ *World, op state.Op) bool {
			o, ok := op.(state.SetOption)
			return !ok || o.Option != "primary_reselect" || o.Value != "failure"
		}), returning},
		{"traffic returns to a primary as soon as it has a link", "better", Mutant{Output: returnAtOnce}, returning},
		{"a dead path is ignored", "carries", Mutant{Output: func(_ *World, _ core.Input, out *core.Output) {
			out.Requests = slices.DeleteFunc(out.Requests, func(r core.Request) bool {
				return r.Reason() == state.ReasonPath
			})
		}}, ""},
		{"a slave is never parked", "carries", onOps(func(_ *World, op state.Op) bool {
			switch op.(type) {
			case state.Release, state.Park:
				return false
			}
			return true
		}), ""},
		{"a parked card keeps its link in a static group", "carries", onOps(func(w *World, op state.Op) bool {
			o, ok := op.(state.Unpark)
			return !ok || !w.driver.mode().StaticGroup() || w.byName(o.Link).good(w.now)
		}), ""},
		{"a card that LACP has to judge stays parked", "carries", onOps(func(w *World, op state.Op) bool {
			switch op.(type) {
			case state.Enslave, state.Unpark:
				return w.now.Sub(epoch) < 4*time.Second
			}
			return true
		}), "world 802.3ad path"},
		{"a slave without a path is released, even the last one", "last", Mutant{Output: releaseDead}, ""},
		{"an option is written every second", "quiet", Mutant{Output: func(w *World, in core.Input, out *core.Output) {
			if _, ok := in.(core.Tick); ok && w.driver.exists {
				plan(w, out, state.SetOption{Bond: "bond0", Option: "miimon", Value: "100"})
			}
		}}, ""},
		{"a failover is recorded twice", "ledger", Mutant{Snapshot: func(s *state.Snapshot) {
			if len(s.History) == 0 {
				return
			}
			again := *s.History[0]
			again.Seq++
			s.History = append([]*state.Failover{&again}, s.History...)
		}}, ""},
		{"a failover is not recorded", "ledger", Mutant{Snapshot: func(s *state.Snapshot) {
			if len(s.History) > 0 {
				s.History = s.History[1:]
			}
		}}, ""},
		{"what bondd has done is taken for the driver's own", "ledger", Mutant{Snapshot: func(s *state.Snapshot) {
			s.History = slices.Clone(s.History)
			for i, h := range s.History {
				other := *h
				other.Reason = state.ReasonKernel
				s.History[i] = &other
			}
		}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			steps := 0
			for seed := uint64(1); steps < mutantSteps; seed++ {
				s := Random(seed, 60)
				if tt.world != "" {
					setup, err := parseSetup(tt.world)
					if err != nil {
						t.Fatal(err)
					}
					s = randomIn(setup, rand.New(rand.NewPCG(seed, 11)), 60)
				}
				w, err := s.mutated(seed, tt.mutant)
				steps += w.Steps
				v := (*Violation)(nil)
				if err != nil && !errors.As(err, &v) {
					t.Fatal(err)
				}
				if v != nil && v.Invariant == tt.invariant { // it may break another one as well
					t.Logf("after %d steps, seed %d: %v", steps, seed, err)
					return
				}
			}
			t.Errorf("not found in %d steps", steps)
		})
	}
}

// mutated runs the script with a bug.
func (s *Script) mutated(seed uint64, m Mutant) (*World, error) {
	w := New(s.Setup, seed)
	w.mutant = m
	return w, s.run(w)
}

// onOps is a bug that drops from every plan the writes that keep does not keep.
func onOps(keep func(*World, state.Op) bool) Mutant {
	return Mutant{Output: func(w *World, _ core.Input, out *core.Output) {
		for i := range out.Plans {
			p := &out.Plans[i]
			p.Ops = slices.DeleteFunc(slices.Clone(p.Ops), func(op state.Op) bool { return !keep(w, op) })
		}
	}}
}

func plan(w *World, out *core.Output, ops ...state.Op) {
	out.Plans = append(out.Plans, core.Plan{Bond: "bond0", Ops: ops, Before: w.network()})
}

func returnAtOnce(w *World, in core.Input, out *core.Output) {
	if _, ok := in.(core.NetworkRead); !ok {
		return
	}
	d := &w.driver
	for _, s := range d.slaves {
		if d.mode() == bonding.ActiveBackup && s.name == d.primary && s != d.active && s.mii == state.MIIUp {
			out.Requests = append(out.Requests, core.Request{Bond: bondIndex, To: s.index})
		}
	}
}

func releaseDead(w *World, in core.Input, out *core.Output) {
	reported, ok := in.(core.PathReport)
	if !ok {
		return
	}
	for _, s := range w.driver.slaves {
		if p := reported.Paths[s.index]; len(p) > 0 && p[0].State == state.PathDown {
			plan(w, out, state.Release{Slave: s.name, Bond: "bond0"})
		}
	}
}
