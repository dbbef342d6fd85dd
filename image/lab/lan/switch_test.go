package lan_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bondd.internal/image/lab/lan"
)

// mac returns the address of host n.
func mac(n byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, n} }

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// frame returns a frame with a text as its payload.
func frame(dst, src net.HardwareAddr, payload string) []byte {
	f := append(append([]byte(nil), dst...), src...)
	return append(append(f, 0x88, 0xb5), payload...)
}

// want checks the payloads that have arrived at a tap since the last look,
// joined by spaces. It needs synctest's clock: it waits until nothing comes.
func want(t *testing.T, tap *lan.Tap, payloads string) {
	t.Helper()
	var got []string
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		f, err := tap.Receive(ctx)
		cancel()
		if err != nil {
			break
		}
		got = append(got, string(f[14:]))
	}
	if joined := strings.Join(got, " "); joined != payloads {
		t.Errorf("%s received %q, want %q", tap.Port().Name(), joined, payloads)
	}
}

func TestLearning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sw lan.Switch
		a, b, c := sw.Tap("a"), sw.Tap("b"), sw.Tap("c")
		a.Send(frame(mac(2), mac(1), "flooded"))
		b.Send(frame(mac(1), mac(2), "answer"))
		a.Send(frame(mac(2), mac(1), "direct"))
		a.Send(frame(broadcast, mac(1), "all"))
		a.Send(frame(mac(1), mac(9), "to-where-it-came-from"))
		want(t, a, "answer")
		want(t, b, "flooded direct all")
		want(t, c, "flooded all")

		if port, ok := sw.Lookup(mac(1)); !ok || port != "a" {
			t.Errorf("host 1 is on %q (%t), want a", port, ok)
		}
		// The host moves: a bond's failover, seen from the switch.
		c.Send(frame(broadcast, mac(1), "moved"))
		if port, _ := sw.Lookup(mac(1)); port != "c" {
			t.Errorf("after it moved host 1 is on %q, want c", port)
		}
		b.Send(frame(mac(1), mac(2), "follows"))
		want(t, a, "moved")
		want(t, c, "follows")
	})
}

func TestPortDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sw lan.Switch
		a, b, c := sw.Tap("a"), sw.Tap("b"), sw.Tap("c")
		a.Send(frame(broadcast, mac(1), "hello"))
		a.Port().SetUp(false)
		if port, ok := sw.Lookup(mac(1)); ok {
			t.Errorf("host 1 is still known on %s after its link went down", port)
		}
		a.Send(frame(broadcast, mac(1), "from-a-dead-port"))
		b.Send(frame(mac(1), mac(2), "flooded"))
		want(t, a, "")
		want(t, b, "hello")
		want(t, c, "hello flooded")
		a.Port().SetUp(true)
		b.Send(frame(broadcast, mac(2), "again"))
		want(t, a, "again")
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sw lan.Switch
		a, b, c := sw.Tap("a"), sw.Tap("b"), sw.Tap("c")
		a.Send(frame(broadcast, mac(1), "hello"))
		want(t, b, "hello")
		a.Port().Silence(true)
		a.Send(frame(broadcast, mac(1), "unheard"))
		b.Send(frame(mac(1), mac(2), "lost"))
		want(t, a, "")
		want(t, b, "")
		// The switch does not notice: it still sends there, nowhere else.
		want(t, c, "hello")
		if got := a.Port().Counters().Dropped; got != 2 {
			t.Errorf("%d frames dropped, want 2", got)
		}
		a.Port().Silence(false)
		b.Send(frame(mac(1), mac(2), "back"))
		want(t, a, "back")
	})
}

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sw lan.Switch
		a, b, peer := sw.Tap("a"), sw.Tap("b"), sw.Tap("peer")
		sw.Group(a.Port(), b.Port())
		// Broadcast from either port: once to the peer, not back to the bond.
		a.Send(frame(broadcast, mac(1), "by-a"))
		b.Send(frame(broadcast, mac(1), "by-b"))
		want(t, peer, "by-a by-b")
		want(t, a, "")
		want(t, b, "")

		// To the group: each frame once, by a port whose link is up.
		for _, down := range []*lan.Tap{a, b} {
			up := b
			if down == b {
				up = a
			}
			down.Port().SetUp(false)
			peer.Send(frame(mac(1), mac(3), "unicast"))
			peer.Send(frame(broadcast, mac(3), "broadcast"))
			want(t, up, "unicast broadcast")
			want(t, down, "")
			down.Port().SetUp(true)
		}
		peer.Send(frame(broadcast, mac(3), "once"))
		before := a.Port().Counters().TxFrames + b.Port().Counters().TxFrames
		if before != 5 {
			t.Errorf("%d frames left by the group's ports, want 5", before)
		}
	})
}

func TestCounters(t *testing.T) {
	var sw lan.Switch
	a, b := sw.Tap("a"), sw.Tap("b")
	a.Send(frame(mac(2), mac(1), "1234"))
	a.Send([]byte("no frame"))
	if got, want := a.Port().Counters(), (lan.Counters{RxFrames: 1, RxBytes: 18, Dropped: 1}); got != want {
		t.Errorf("sender's port: %+v, want %+v", got, want)
	}
	if got, want := b.Port().Counters(), (lan.Counters{TxFrames: 1, TxBytes: 18}); got != want {
		t.Errorf("receiver's port: %+v, want %+v", got, want)
	}
}

// A connection in QEMU's protocol is a port like any other.
func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sw lan.Switch
		tap, port := sw.Tap("tap"), sw.NewPort("qemu")
		near, far := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- port.Serve(t.Context(), far) }()

		sent := frame(broadcast, mac(1), "from-qemu")
		if _, err := near.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(sent))), sent...)); err != nil {
			t.Fatal(err)
		}
		want(t, tap, "from-qemu")

		// A short frame is filled up, as on a wire.
		for _, payload := range []string{"to-qemu", strings.Repeat("q", 45), strings.Repeat("q", 46), strings.Repeat("q", 1500)} {
			tap.Send(frame(mac(1), mac(2), payload))
			filled := payload + strings.Repeat("\x00", max(0, 46-len(payload)))
			got := make([]byte, 4+14+len(filled))
			if _, err := io.ReadFull(near, got); err != nil {
				t.Fatal(err)
			}
			if n := binary.BigEndian.Uint32(got); n != uint32(len(got)-4) || string(got[18:]) != filled {
				t.Errorf("the wire has %q", got)
			}
		}
		near.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve after the other end closed: %v, want nil", err)
		}
	})
}

func TestServeRefusesGarbage(t *testing.T) {
	var sw lan.Switch
	near, far := net.Pipe()
	defer near.Close()
	served := make(chan error, 1)
	go func() { served <- sw.NewPort("qemu").Serve(t.Context(), far) }()
	if _, err := near.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err == nil || !strings.Contains(err.Error(), "4294967295 bytes") {
		t.Errorf("Serve with an impossible length: %v, want an error that names it", err)
	}
}
