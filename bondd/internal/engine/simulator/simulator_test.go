package simulator

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	steps = flag.Int("simulator.steps", 10_000_000, "steps of the core in the random runs; with -short a twentieth")
	first = flag.Uint64("simulator.seed", 1, "first seed of the random runs")
	trace = flag.Bool("simulator.trace", false, "print every step of a failing script")
)

// Every script in testdata holds, in worlds of several seeds.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := ParseScript(string(text))
			if err != nil {
				t.Fatal(err)
			}
			for seed := range uint64(20) {
				if _, err := s.Run(seed); err != nil {
					t.Errorf("seed %d: %v", seed, err)
					if *trace {
						t.Log(s.Trace(seed))
					}
					break
				}
			}
		})
	}
}

// Random worlds keep every invariant. A failing one is printed as a script.
func TestRandom(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // the worlds are small and many
	var taken atomic.Uint64
	var done atomic.Int64
	var failed atomic.Bool
	taken.Store(*first)
	if testing.Short() {
		*steps /= 20
	}
	var g sync.WaitGroup
	for range 2 {
		g.Go(func() {
			for done.Load() < int64(*steps) && !failed.Load() {
				seed := taken.Add(1) - 1
				s := Random(seed, 60)
				w, err := s.Run(seed)
				done.Add(int64(w.Steps))
				if err == nil {
					continue
				}
				if failed.Swap(true) {
					return
				}
				if small := s.Shrink(seed); small != nil {
					if _, e := small.Run(seed); e != nil {
						s, err = small, e
					}
				}
				t.Errorf("seed %d: %v\n%s", seed, err, s)
				if *trace {
					t.Log("\n" + s.Trace(seed))
				}
			}
		})
	}
	g.Wait()
	t.Logf("%d steps in %d worlds", done.Load(), taken.Load()-*first)
}

// Small worlds are walked through whole: every sequence of that many actions,
// each with a short and a long wait after it.
func TestWalk(t *testing.T) {
	for _, tt := range []struct {
		world string
		depth int
	}{
		{"world active-backup primary=eth0 path", 3},
		{"world active-backup", 3},
		{"world balance-rr path", 3},
		{"world active-backup slaves=3 path", 2},
		{"world active-backup slaves=3 prio=30,20,10", 2},
	} {
		t.Run(strings.TrimPrefix(tt.world, "world "), func(t *testing.T) {
			t.Parallel()
			setup, err := parseSetup(tt.world)
			if err != nil {
				t.Fatal(err)
			}
			w := &walk{t: t, setup: setup, actions: everyAction(setup)}
			if testing.Short() {
				tt.depth--
			}
			w.from([]Action{"wait 3s"}, tt.depth)
			t.Logf("%d actions, depth %d: %d sequences, %d steps", len(w.actions), tt.depth, w.sequences, w.steps)
		})
	}
}

type walk struct {
	t                *testing.T
	setup            Setup
	actions          [][]Action // each is its own undoing where it is repeated
	sequences, steps int
}

// everyAction lists what can happen to a world.
func everyAction(s Setup) [][]Action {
	actions := [][]Action{{"restart"}}
	for i := range s.Slaves {
		card := fmt.Sprintf("eth%d", i)
		for _, a := range []string{"cable %s out", "cable %s in", "failover %s", "kernel active %s"} {
			actions = append(actions, []Action{Action(fmt.Sprintf(a, card))})
		}
		if s.Path {
			actions = append(actions, []Action{Action("path " + card + " dead")}, []Action{Action("path " + card + " alive")})
		}
	}
	return actions
}

func (w *walk) from(before []Action, depth int) {
	if w.t.Failed() {
		return
	}
	if depth == 0 {
		s := &Script{Setup: w.setup, Actions: append(before[:len(before):len(before)], "expect ledger")}
		world, err := s.Run(1)
		w.sequences++
		w.steps += world.Steps
		if err != nil {
			small := s.Shrink(1)
			w.t.Errorf("%v\n%s", err, small)
		}
		return
	}
	for _, a := range w.actions {
		for _, wait := range []Action{"wait 20ms", "wait 3s"} {
			w.from(append(append(before[:len(before):len(before)], a...), wait), depth-1)
		}
	}
}
