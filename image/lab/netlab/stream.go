package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/sender"
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
// process of its own with real-time priority, on an absolute timer. Each is
// stamped by the kernel when it reaches the receiver. The receiver reads them
// only when the stream has been stopped, so that nothing but the sender takes
// processor time from what is measured.
type Stream struct {
	t       testing.TB
	cfg     StreamConfig
	receive int             // socket; -1 when closed
	process *sender.Process // nil when stopped
}

// StartStream starts a stream and returns when its first packet is under way.
// The test should stop it; if it fails before, the stream ends with the test.
func StartStream(t testing.TB, cfg StreamConfig) *Stream {
	t.Helper()
	if cfg.Interval == 0 {
		cfg.Interval = 100 * time.Microsecond
	}
	if cfg.MaxPackets == 0 {
		cfg.MaxPackets = 50_000
	}
	s := &Stream{t: t, cfg: cfg, receive: -1}
	t.Cleanup(s.end)
	if err := s.start(); err != nil {
		t.Fatalf("start a stream from %s to %s: %v", cfg.From.Name, cfg.To.Name, err)
	}
	return s
}

// start opens the sockets and starts the sender.
func (s *Stream) start() (err error) {
	family := unix.AF_INET6
	if s.cfg.Dest.Addr().Is4() {
		family = unix.AF_INET
	}
	s.receive = s.cfg.To.socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK)
	send := os.NewFile(uintptr(s.cfg.From.socket(family, unix.SOCK_DGRAM)), "send")
	defer send.Close() // the sender has its own

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
	if err := unix.Connect(int(send.Fd()), dest); err != nil {
		return fmt.Errorf("connect to %v: %w", s.cfg.Dest, err)
	}
	s.process, err = sender.Start(send, sender.Config{Interval: s.cfg.Interval, MaxPackets: s.cfg.MaxPackets})
	return err
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// Stop ends the stream, waits for packets under way, and returns what became
// of all of them.
func (s *Stream) Stop() Report {
	s.t.Helper()
	process := s.process
	s.process = nil
	sent, err := process.Stop()
	if err != nil {
		s.t.Fatalf("stream from %s to %s: %v", s.cfg.From.Name, s.cfg.To.Name, err)
	}
	time.Sleep(50 * time.Millisecond)
	arrivals, err := s.drain()
	if err != nil {
		s.t.Fatalf("stream from %s to %s: receive: %v", s.cfg.From.Name, s.cfg.To.Name, err)
	}
	s.end()
	report := Analyze(sent.Packets, arrivals)
	report.SenderLateness = sent.Lateness
	return report
}

// end closes what is open. It is the end of a stream that the test has not
// stopped, too; nobody asks what became of that one.
func (s *Stream) end() {
	if s.process != nil {
		_, _ = s.process.Stop()
		s.process = nil
	}
	if s.receive >= 0 {
		unix.Close(s.receive)
		s.receive = -1
	}
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
