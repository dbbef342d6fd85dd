package address

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A client waits for the kernel's random source before it asks for anything,
// says so where people look, and goes on by itself once it is ready.
func TestWaitsForRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		random := StartRandom(func() { <-ready })
		ctx, cancel := context.WithCancel(t.Context())
		var told []string
		var log strings.Builder
		d := &DHCP4{
			Bond:   "no-such-bond",
			Log:    slog.New(slog.NewTextHandler(&log, nil)),
			Ready:  func(context.Context) (netip.Addr, error) { return netip.Addr{}, nil },
			Random: random.Wait,
			Update: func(_ context.Context, u Update) { told = append(told, u.Status) },
		}
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()

		time.Sleep(2 * randomLimit)
		synctest.Wait()
		const waiting = "waiting for random numbers from the kernel"
		if len(told) != 1 || told[0] != waiting {
			t.Errorf("told %q, want %q once", told, waiting)
		}
		if !strings.Contains(log.String(), "the kernel's random source is not ready after 10s") || strings.Contains(log.String(), "open DHCP socket") {
			t.Errorf("the log:\n%s", &log)
		}

		close(ready)
		time.Sleep(2 * retryMost)
		synctest.Wait()
		if !strings.Contains(log.String(), "open DHCP socket on no-such-bond") {
			t.Errorf("it does not go on once the source is ready; the log:\n%s", &log)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestRandomWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		r := StartRandom(func() { <-ready })
		if err := r.Wait(t.Context()); !errors.Is(err, errNoRandom) {
			t.Errorf("a source that is not ready: error %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begun := time.Now()
		if err := r.Wait(ctx); !errors.Is(err, context.Canceled) || time.Since(begun) != time.Second {
			t.Errorf("cancelled after 1 s: error %v after %v", err, time.Since(begun))
		}
		time.AfterFunc(time.Second, func() { close(ready) })
		for range 2 {
			if err := r.Wait(t.Context()); err != nil {
				t.Errorf("a source that is ready: error %v", err)
			}
		}
	})
}

func TestReadRandom(t *testing.T) {
	if err := ReadRandom(); err != nil {
		t.Error(err)
	}
}
