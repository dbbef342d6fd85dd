package sender_test

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/guest"
	"bondd.internal/image/lab/sender"
)

func TestMain(m *testing.M) {
	guest.Main(m, guest.Config{Programs: []string{sender.Program}})
}

// pair returns the two ends of a datagram socket.
func pair(t *testing.T) (send *os.File, receive int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	send, receive = os.NewFile(uintptr(fds[0]), "send"), fds[1]
	t.Cleanup(func() { send.Close(); unix.Close(receive) })
	return send, receive
}

// A sender numbers what it sends, counts all of it, and is on time although
// the tests keep the processor busy.
func TestSend(t *testing.T) {
	send, receive := pair(t)
	p, err := sender.Start(send, sender.Config{Interval: time.Millisecond, MaxPackets: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var packet [16]byte
	for want := range uint64(200) {
		n, err := unix.Read(receive, packet[:])
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(packet[:]); n != 8 || got != want {
			t.Fatalf("packet %d has %d bytes and number %d", want, n, got)
		}
		for busy := time.Now(); time.Since(busy) < 900*time.Microsecond; {
		}
	}
	r, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for {
		_, _, err := unix.Recvfrom(receive, packet[:], unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		left++
	}
	if r.Packets != 200+left {
		t.Errorf("the sender counts %d packets, %d arrived", r.Packets, 200+left)
	}
	if r.Lateness <= 0 || r.Lateness > 100*time.Microsecond {
		t.Errorf("the sender was late by %v, want less than 100µs", r.Lateness)
	}
}

// What keeps a stream from being one is the caller's error.
func TestErrors(t *testing.T) {
	send, _ := pair(t)
	p, err := sender.Start(send, sender.Config{Interval: time.Millisecond, MaxPackets: 3})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	if _, err := p.Stop(); err == nil || !strings.Contains(err.Error(), "3 packets were sent before the stream was stopped") {
		t.Errorf("a stream longer than its MaxPackets: error %v", err)
	}

	t.Setenv("PATH", "/nowhere")
	if _, err := sender.Start(send, sender.Config{Interval: time.Millisecond, MaxPackets: 3}); err == nil || !strings.Contains(err.Error(), sender.Program) {
		t.Errorf("a guest without %s: error %v", sender.Program, err)
	}
}
