package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// StreamConfig describes a stream of UDP packets.
type StreamConfig struct {
	// From and To are the namespaces of the sender and the receiver.
	From, To *Namespace
	// Dest is an address of To.
	Dest netip.AddrPort
	// Interval is the time from one packet to the next; 100 µs if zero.
	Interval time.Duration
	// MaxPackets is how many packets the receiver has room for; 50,000 if
	// zero, five seconds at the default interval.
	MaxPackets int
}

// A Stream is a running stream: one numbered packet per interval, sent by a
// thread of its own with real-time priority, on an absolute timer. Each is
// stamped by the kernel when it reaches the receiver. The receiver reads them
// only when the stream has been stopped, so that nothing but the sender takes
// processor time from what is measured.
type Stream struct {
	t        testing.TB
	cfg      StreamConfig
	send     int // sockets
	receive  int
	stop     atomic.Bool
	finished chan sent
}

// sent is what the sender knows at its end.
type sent struct {
	packets  int
	lateness time.Duration
	err      error
}

// StartStream starts a stream. The test must stop it.
func StartStream(t testing.TB, cfg StreamConfig) *Stream {
	t.Helper()
	if cfg.Interval == 0 {
		cfg.Interval = 100 * time.Microsecond
	}
	if cfg.MaxPackets == 0 {
		cfg.MaxPackets = 50_000
	}
	s := &Stream{t: t, cfg: cfg, finished: make(chan sent, 1)}
	if err := s.open(); err != nil {
		t.Fatalf("start a stream from %s to %s: %v", cfg.From.Name, cfg.To.Name, err)
	}
	// The guest has one processor; without a second P the sender would wait,
	// after each system call, for whatever other goroutine runs.
	runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0)))
	go s.sendAll()
	return s
}

func (s *Stream) open() error {
	family := unix.AF_INET6
	if s.cfg.Dest.Addr().Is4() {
		family = unix.AF_INET
	}
	s.receive = s.cfg.To.socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK)
	s.send = s.cfg.From.socket(family, unix.SOCK_DGRAM)

	// A small packet is charged with less than 1.5 kB; every one may arrive
	// twice. The kernel doubles the value.
	if err := unix.SetsockoptInt(s.receive, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, s.cfg.MaxPackets*1536); err != nil {
		return fmt.Errorf("set the receive buffer: %w", err)
	}
	for _, option := range []int{unix.SO_TIMESTAMPNS, unix.SO_RXQ_OVFL} {
		if err := unix.SetsockoptInt(s.receive, unix.SOL_SOCKET, option, 1); err != nil {
			return fmt.Errorf("set socket option %d: %w", option, err)
		}
	}
	dest := sockaddr(s.cfg.Dest)
	if err := unix.Bind(s.receive, dest); err != nil {
		return fmt.Errorf("bind to %v: %w", s.cfg.Dest, err)
	}
	if err := unix.Connect(s.send, dest); err != nil {
		return fmt.Errorf("connect to %v: %w", s.cfg.Dest, err)
	}
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// sendAll is the sender's goroutine; it ends when stop is set.
func (s *Stream) sendAll() {
	// Never unlocked: a thread with real-time priority must not be reused.
	runtime.LockOSThread()
	s.finished <- s.sendLoop()
}

func (s *Stream) sendLoop() sent {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 50}
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		return sent{err: fmt.Errorf("set real-time priority: %w", err)}
	}
	var (
		result  sent
		packet  [8]byte
		now     unix.Timespec
		next    int64
		payload = packet[:]
	)
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail
	next = now.Nano()
	for !s.stop.Load() {
		if result.packets == s.cfg.MaxPackets {
			result.err = fmt.Errorf("%d packets were sent before the stream was stopped, set MaxPackets", result.packets)
			break
		}
		binary.BigEndian.PutUint64(payload, uint64(result.packets))
		// A packet that cannot be sent is a lost packet, like any other.
		_, _ = unix.Write(s.send, payload)
		result.packets++

		next += int64(s.cfg.Interval)
		wake := unix.NsecToTimespec(next)
		for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &wake, nil) == unix.EINTR {
		}
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
		result.lateness = max(result.lateness, time.Duration(now.Nano()-next))
	}
	return result
}

// Stop ends the stream, waits for packets under way, and returns what became
// of all of them.
func (s *Stream) Stop() Report {
	s.t.Helper()
	s.stop.Store(true)
	sent := <-s.finished
	defer unix.Close(s.receive)
	defer unix.Close(s.send)
	if sent.err != nil {
		s.t.Fatalf("stream from %s to %s: %v", s.cfg.From.Name, s.cfg.To.Name, sent.err)
	}
	time.Sleep(50 * time.Millisecond)
	arrivals, err := s.drain()
	if err != nil {
		s.t.Fatalf("stream from %s to %s: receive: %v", s.cfg.From.Name, s.cfg.To.Name, err)
	}
	report := Analyze(sent.packets, arrivals)
	report.SenderLateness = sent.lateness
	return report
}

// drain reads all packets that wait in the receive buffer.
func (s *Stream) drain() ([]Arrival, error) {
	var arrivals []Arrival
	packet, oob := make([]byte, 64), make([]byte, 256)
	for {
		n, oobn, _, _, err := unix.Recvmsg(s.receive, packet, oob, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return arrivals, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n != 8:
			return nil, fmt.Errorf("a packet of %d bytes that is not the stream's", n)
		}
		at, err := stamp(oob[:oobn])
		if err != nil {
			return nil, err
		}
		arrivals = append(arrivals, Arrival{Seq: binary.BigEndian.Uint64(packet), At: at})
	}
}

// stamp takes the kernel's receive stamp out of a packet's control messages.
// That the receive buffer overflowed is an error: the loss would be the
// receiver's own.
func stamp(oob []byte) (time.Time, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, fmt.Errorf("parse control messages: %w", err)
	}
	var at time.Time
	for _, m := range messages {
		switch m.Header.Type {
		case unix.SO_TIMESTAMPNS:
			if len(m.Data) < int(unsafe.Sizeof(unix.Timespec{})) {
				return time.Time{}, errors.New("short receive stamp")
			}
			at = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		case unix.SO_RXQ_OVFL:
			if len(m.Data) >= 4 && binary.NativeEndian.Uint32(m.Data) != 0 {
				return time.Time{}, errors.New("the receive buffer overflowed")
			}
		}
	}
	if at.IsZero() {
		return time.Time{}, errors.New("packet without a receive stamp")
	}
	return at, nil
}
