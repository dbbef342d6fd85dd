package neighbourtest

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/netlab"
)

// Open opens a packet socket on an interface that hears frames of a protocol
// (ETH_P_*), 0 for none, until the test ends.
func Open(t testing.TB, ns *netlab.Namespace, dev string, protocol uint16) *os.File {
	t.Helper()
	index := indexOf(t, ns, dev)
	var f *os.File
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), dev)
		number := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: number, Ifindex: index})
	})
	if err != nil {
		t.Fatalf("open a packet socket on %s in %s: %v", dev, ns.Name, err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A Router is a host whose replies are as a test makes them. It has no kernel.
type Router struct {
	IP  netip.Addr
	MAC state.MAC
	// Hears says whether it takes an ARP request that is for everybody, or for its
	// MAC alone; nil: it takes both.
	Hears func(q neighbour.Request, broadcast bool) bool
	// Reply makes a reply out of the usual one; nil: it stays.
	Reply func(frame []byte) []byte
}

// Start has the router answer on a namespace's bridge until the test ends.
func (r *Router) Start(t testing.TB, ns *netlab.Namespace, bridge string) {
	t.Helper()
	ns.Bridge("fdb replace " + r.MAC.String() + " dev " + bridge + " self local")
	f := Open(t, ns, bridge, uint16(neighbour.ProtocolOf(r.IP)))
	index := indexOf(t, ns, bridge)
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// The card has to let in what is to the router's own MAC.
	var optErr error
	err = raw.Control(func(fd uintptr) {
		m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
		optErr = unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m)
	})
	if err := errors.Join(err, optErr); err != nil {
		t.Fatalf("start a router: %v", err)
	}
	var server sync.WaitGroup
	server.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, err := f.Read(buf)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			if answer := r.answer(buf[:n]); answer != nil {
				if r.Reply != nil {
					answer = r.Reply(answer)
				}
				_, _ = f.Write(answer)
			}
		}
	})
	t.Cleanup(func() { f.Close(); server.Wait() })
}

// answer is the usual reply to a frame; nil: there is none.
func (r *Router) answer(frame []byte) []byte {
	if r.IP.Is6() {
		return r.advert(frame)
	}
	q, ok := neighbour.ParseRequest(frame)
	to, everybody := state.MAC(frame), state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if !ok || q.Wanted != r.IP || to != everybody && to != r.MAC || r.Hears != nil && !r.Hears(q, to == everybody) {
		return nil
	}
	// A request of ours, turned round.
	b := neighbour.Question(neighbour.Host{MAC: r.MAC, IP: r.IP}, neighbour.Host{MAC: q.Sender.MAC, IP: q.Sender.IP})
	b[21] = 2 // a reply
	copy(b[32:38], q.Sender.MAC[:])
	return b
}

// advert answers a solicitation with an option that tells the router's MAC.
func (r *Router) advert(frame []byte) []byte {
	const ip, icmp = 14, 14 + 40
	if len(frame) < icmp+32 || frame[icmp] != 135 || netip.AddrFrom16([16]byte(frame[icmp+8:])) != r.IP {
		return nil
	}
	b := slices.Clone(frame[:icmp+32])
	copy(b, frame[6:12])
	copy(b[6:], r.MAC[:])
	target := r.IP.As16()
	copy(b[ip+8:], target[:])
	copy(b[ip+24:], frame[ip+8:ip+24])
	copy(b[icmp:], []byte{136, 0, 0, 0, 0x60, 0, 0, 0})
	copy(b[icmp+24:], []byte{2, 1})
	copy(b[icmp+26:], r.MAC[:])
	binary.BigEndian.PutUint16(b[icmp+2:], Checksum(b[ip:]))
	return b
}

// Checksum is that of an ICMPv6 packet whose own is zero (RFC 4443, 2.3).
func Checksum(packet []byte) uint16 {
	body := packet[40:]
	sum := uint32(len(body)) + unix.IPPROTO_ICMPV6
	for _, b := range [][]byte{packet[8:40], body} {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(b[i])<<8 | uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// Send sends a frame as it is by an interface.
func Send(t testing.TB, ns *netlab.Namespace, dev string, frame []byte) {
	t.Helper()
	f := Open(t, ns, dev, 0)
	if _, err := f.Write(frame); err != nil {
		t.Fatalf("send by %s in %s: %v", dev, ns.Name, err)
	}
	f.Close()
}

// indexOf is the index of an interface.
func indexOf(t testing.TB, ns *netlab.Namespace, dev string) int {
	t.Helper()
	index := 0
	err := ns.Do(func() error {
		ifi, err := net.InterfaceByName(dev)
		if err == nil {
			index = ifi.Index
		}
		return err
	})
	if err != nil {
		t.Fatalf("find %s in %s: %v", dev, ns.Name, err)
	}
	return index
}
