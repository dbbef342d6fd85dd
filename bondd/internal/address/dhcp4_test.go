package address

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bondd.internal/bondd/internal/random"
)

// A client waits for the kernel's random source before it asks for anything,
// says so where people look, and goes on by itself once it is ready.
func TestWaitsForRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		source := random.Start(func() error {
			<-ready
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		var told []string
		var log strings.Builder
		d := &DHCP4{
			Bond:   "no-such-bond",
			Log:    slog.New(slog.NewTextHandler(&log, nil)),
			Ready:  func(context.Context) (netip.Addr, error) { return netip.Addr{}, nil },
			Random: source.Wait,
			Update: func(_ context.Context, u Update) { told = append(told, u.Status) },
		}
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()

		time.Sleep(20 * time.Second) // two attempts
		synctest.Wait()
		const waiting = "waiting for random numbers from the kernel"
		if len(told) == 0 || told[0] != waiting {
			t.Errorf("told %q, want %q", told, waiting)
		}
		if !strings.Contains(log.String(), "the kernel's random source is not ready after 10s") ||
			strings.Contains(log.String(), "open DHCP socket") {
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
