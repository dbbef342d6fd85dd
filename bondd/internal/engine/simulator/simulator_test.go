package simulator

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	steps = flag.Int("simulator.steps", 300_000, "steps of the core in the random runs")
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
	var taken atomic.Uint64
	var done atomic.Int64
	var failed atomic.Bool
	taken.Store(*first)
	var g sync.WaitGroup
	for range 2 {
		g.Go(func() {
			for done.Load() < int64(*steps) && !failed.Load() {
				seed := taken.Add(1) - 1
				s := Random(seed, 60)
				s.Actions = append(s.Actions, "reads work", "inventory works", "refuse 0", "wait 150s", "expect ledger")
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
