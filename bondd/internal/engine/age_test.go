package engine

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
)

// A slowKernel answers a read late, as one does whose RTNL lock somebody holds.
type slowKernel struct {
	fakeKernel
	mu    sync.Mutex
	wait  time.Duration
	fails bool
}

func (k *slowKernel) set(wait time.Duration, fails bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wait, k.fails = wait, fails
}

// Network implements Kernel.
func (k *slowKernel) Network(ctx context.Context) (*state.Network, error) {
	k.mu.Lock()
	wait, fails := k.wait, k.fails
	k.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(wait):
	}
	if fails {
		return nil, fmt.Errorf("read links: %w", os.ErrDeadlineExceeded)
	}
	return k.fakeKernel.Network(ctx)
}

func runSlow(t *testing.T) (*Engine, *slowKernel) {
	t.Helper()
	f := newFake()
	k := &slowKernel{fakeKernel: fakeKernel{f}}
	d := deps(f)
	d.Kernel = k
	e := New(testConfig(), Source{Name: "a test"}, d)
	runEngine(t, e)
	return e, k
}

// oldest looks at the newest snapshot ten times a second and returns the highest age.
func oldest(e *Engine, d time.Duration) (age time.Duration) {
	for range d / (100 * time.Millisecond) {
		time.Sleep(100 * time.Millisecond)
		age = max(age, e.Snapshot().Age(time.Now()))
	}
	return age
}

// The engine publishes often enough that the limit on a snapshot's age is far
// away, also where every read takes its 3 seconds.
func TestSnapshotsStayYoung(t *testing.T) {
	for _, tt := range []struct {
		name  string
		wait  time.Duration
		fails bool
		most  time.Duration
	}{
		{"nothing happens", 0, false, 1100 * time.Millisecond},
		{"reads take 3 seconds", 3 * time.Second, false, 4100 * time.Millisecond},
		{"reads time out", 3 * time.Second, true, 4100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e, k := runSlow(t)
				k.set(tt.wait, tt.fails)
				if got := oldest(e, 20*time.Second); got > tt.most {
					t.Errorf("a snapshot was %v old, want at most %v", got, tt.most)
				}
				if got := report.FirstErrorAt(e.Snapshot(), time.Now()); got != "" {
					t.Errorf("after 20 seconds: %q", got)
				}
			})
		})
	}
}

// An engine that waits for the kernel without end is noticed by every reader of
// its last snapshot, and is well again once it runs.
func TestEngineThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, k := runSlow(t)
		k.set(time.Minute, false)
		time.Sleep(7 * time.Second)
		const silent = "has published nothing for "
		if got := report.FirstErrorAt(e.Snapshot(), time.Now()); !strings.Contains(got, silent) {
			t.Errorf("after 7 seconds: %q, want %q", got, silent)
		}
		k.set(0, false)
		time.Sleep(time.Minute)
		if got := report.FirstErrorAt(e.Snapshot(), time.Now()); got != "" {
			t.Errorf("after the kernel answered: %q", got)
		}
	})
}
