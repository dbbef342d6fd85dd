package vmtest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/image/lab/netlab"
)

// first is FirstPacket on a card of the host.
func first(ctx context.Context, h *host, index int, timeout time.Duration) (at time.Time, err error) {
	err = h.lan.Host.Do(func() error {
		at, err = kernel.FirstPacket(ctx, index, timeout)
		return err
	})
	return at, err
}

func TestFirstPacket(t *testing.T) {
	h := newHost(t, 1)
	h.lan.Host.IP("link set eth0 up")
	h.lan.Host.IP("addr add " + netlab.HostAddress.String() + " dev eth0")
	h.lan.Peer.Neighbour("br0", netlab.HostAddress.Addr(), h.lan.Host.MAC("eth0"))
	eth0 := h.link("eth0").Index
	h.eventually("carrier", func() bool { return h.link("eth0").LinkUp() })
	quiet := func() {
		t.Helper()
		time.Sleep(10 * time.Second) // what IPv6 has to say at the start
	}
	quiet()

	// What the host sends is no packet that arrives.
	began := time.Now()
	nobody := netlab.HostAddress.Addr().Next()
	go func() { _ = h.lan.Host.Do(func() error { return ping(context.Background(), nobody) }) }()
	if at, err := first(t.Context(), h, eth0, time.Second); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > 1100*time.Millisecond {
		t.Errorf("without a packet: %v, %v after %v; want the end of the timeout", at, err, time.Since(began))
	}
	quiet()

	sent := make(chan time.Time, 1)
	go func() {
		time.Sleep(300 * time.Millisecond)
		sent <- time.Now()
		_ = h.lan.Peer.Do(func() error { return ping(context.Background(), netlab.HostAddress.Addr()) })
	}()
	at, err := first(t.Context(), h, eth0, 5*time.Second)
	if d := at.Sub(<-sent); err != nil || d < 0 || d > 20*time.Millisecond {
		t.Errorf("the packet arrived at %v, %v after it was sent, %v", at, d, err)
	}
	time.Sleep(3 * time.Second) // the rest of them

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began = time.Now()
	if at, err := first(ctx, h, eth0, time.Minute); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 300*time.Millisecond {
		t.Errorf("when the context ends: %v, %v after %v", at, err, time.Since(began))
	}

	began = time.Now()
	time.AfterFunc(200*time.Millisecond, func() { h.lan.Host.SetLink("eth0", false) })
	if at, err := first(t.Context(), h, eth0, time.Minute); !errors.Is(err, unix.ENETDOWN) || time.Since(began) > 300*time.Millisecond {
		t.Errorf("when the link goes down: %v, %v after %v", at, err, time.Since(began))
	}
	if at, err := first(t.Context(), h, eth0, time.Minute); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("on a link that is down: %v, %v", at, err)
	}
	h.lan.Host.IP("link set eth0 up")
	quiet()
	began = time.Now()
	time.AfterFunc(200*time.Millisecond, func() { h.lan.Host.IP("link del eth0") })
	if at, err := first(t.Context(), h, eth0, time.Minute); !errors.Is(err, unix.ENETDOWN) || time.Since(began) > 500*time.Millisecond {
		t.Errorf("when the card goes: %v, %v after %v", at, err, time.Since(began))
	}
	h.eventually("end of the card", func() bool { return h.network().Link("eth0") == nil })
	if at, err := first(t.Context(), h, eth0, time.Minute); !errors.Is(err, unix.ENODEV) {
		t.Errorf("on a card that is not there: %v, %v", at, err)
	}
}
