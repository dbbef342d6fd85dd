package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/state"
)

// How a host is found: it is asked as the kernel asks, which is seldom.
const (
	findTries = 3
	findWait  = 500 * time.Millisecond
)

// A wire is a line out of a bond's own device.
type wire struct {
	conn  *packet.Conn
	own   netip.Addr
	other neighbour.Host
	buf   [neighbour.FrameLen]byte // of answer
}

// openLine finds a host on a bond's network. The error says what is in the way.
func openLine(ctx context.Context, bond string, target netip.Addr) (line, error) {
	ifi, err := net.InterfaceByName(bond)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", bond, err)
	}
	own, err := ownAddress(ifi, target)
	if err != nil {
		return nil, err
	}
	proto := neighbour.ProtocolOf(target)
	program, err := bpf.Assemble(proto.Filter())
	if err != nil {
		return nil, fmt.Errorf("assemble packet filter: %w", err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, int(proto), &packet.Config{Filter: program})
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", bond, err)
	}
	w := &wire{conn: conn, own: own, other: neighbour.Host{IP: target}}
	if err := w.find(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return w, nil
}

// ownAddress is the interface's address on the network of a target.
func ownAddress(ifi *net.Interface, target netip.Addr) (netip.Addr, error) {
	addresses, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read addresses of %s: %w", ifi.Name, err)
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Contains(target.WithZone("")) {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no address on the network of %s", ifi.Name, target)
}

// find asks for the host's MAC.
func (w *wire) find(ctx context.Context) error {
	for range findTries {
		if err := w.ask(); err != nil {
			return fmt.Errorf("ask %s: %w", w.other.IP, err)
		}
		// Whatever ctx does, the wait is a short one.
		if err := w.conn.SetReadDeadline(time.Now().Add(findWait)); err != nil {
			return fmt.Errorf("ask %s: %w", w.other.IP, err)
		}
		mac, err := w.hear()
		switch {
		case err == nil:
			w.other.MAC = mac
			return w.conn.SetReadDeadline(time.Time{})
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("hear %s: %w", w.other.IP, err)
		case ctx.Err() != nil:
			return fmt.Errorf("ask %s: %w", w.other.IP, ctx.Err())
		}
	}
	return fmt.Errorf("%s does not answer", w.other.IP)
}

// ask implements line.
func (w *wire) ask() error {
	mac, err := w.mac()
	if err != nil {
		return err
	}
	frame := neighbour.Question(neighbour.Host{MAC: mac, IP: w.own}, w.other)
	_, err = w.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
	return err
}

// mac is the bond's present MAC: with fail_over_mac active it is that of the
// slave that carries the traffic.
func (w *wire) mac() (state.MAC, error) {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return state.MAC{}, err
	}
	var address unix.Sockaddr
	var inner error
	if err := raw.Control(func(fd uintptr) { address, inner = unix.Getsockname(int(fd)) }); err != nil {
		return state.MAC{}, err
	}
	if inner != nil {
		return state.MAC{}, inner
	}
	ll, ok := address.(*unix.SockaddrLinklayer)
	if !ok || ll.Halen != 6 {
		return state.MAC{}, errors.New("the bond has no Ethernet address")
	}
	return state.MAC(ll.Addr[:6]), nil
}

// answer implements line.
func (w *wire) answer() error {
	_, err := w.hear()
	return err
}

// hear waits for an answer and returns which MAC it tells.
func (w *wire) hear() (state.MAC, error) {
	for {
		n, _, err := w.conn.ReadFrom(w.buf[:])
		if err != nil {
			return state.MAC{}, err
		}
		if a, ok := neighbour.Parse(w.buf[:n]); ok && answers(&a, w.own, w.other.IP) {
			return told(&a), nil
		}
	}
}

// answers reports whether an answer is one that other gives to own. To which
// MAC it goes is left open: that of the bond may have changed since it asked,
// and some hosts answer to everybody (RFC 5227, 2.6).
func answers(a *neighbour.Answer, own, other netip.Addr) bool {
	return a.About == other.WithZone("") && a.Asker.IP == own
}

// told is the MAC that a host has by its answer. A router that shares its address
// with others (VRRP) may send the answer from another. An advertisement may leave
// it out (RFC 4861, 4.4); then it comes from there.
func told(a *neighbour.Answer) state.MAC {
	if a.MAC.IsZero() {
		return a.From
	}
	return a.MAC
}

// close implements line.
func (w *wire) close() error { return w.conn.Close() }
