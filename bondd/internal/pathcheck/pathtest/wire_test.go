package pathtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	probe "bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/guest/netlab"
)

var everybody = state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// openRaw opens a packet socket on an interface that hears frames of a protocol,
// and what passes through it if that is all.
func openRaw(t testing.TB, ns *netlab.Namespace, dev string, protocol uint16) *os.File {
	t.Helper()
	index := linksOf(ns)[dev].Index
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

// A request is an ARP request that came into the switch.
type request struct {
	at   time.Time
	port int // the cable's number
	from state.MAC
	to   state.MAC
	probe.Request
}

func (r request) String() string {
	return fmt.Sprintf("by port%d, from %v to %v: %v at %v asks for %v", r.port, r.from, r.to, r.Sender.IP, r.Sender.MAC, r.Wanted)
}

// A tap hears every ARP request that comes into the switch of a LAN.
type tap struct {
	files []*os.File
	mu    sync.Mutex
	list  []request
}

func tapInto(t testing.TB, lan *netlab.LAN) *tap {
	t.Helper()
	tp := &tap{}
	var readers sync.WaitGroup
	for i, c := range lan.Cables {
		f := openRaw(t, lan.Peer, c.FarName, unix.ETH_P_ALL)
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			buf := make([]byte, 2048)
			for {
				var n int
				var from unix.Sockaddr
				var readErr error
				err := raw.Read(func(fd uintptr) bool {
					n, from, readErr = unix.Recvfrom(int(fd), buf, 0)
					return !errors.Is(readErr, unix.EAGAIN)
				})
				if err != nil {
					return // it is closed
				}
				// What the switch sends out there is no news.
				if ll, ok := from.(*unix.SockaddrLinklayer); readErr != nil || ok && ll.Pkttype == unix.PACKET_OUTGOING {
					continue
				}
				if q, ok := probe.ParseRequest(buf[:n]); ok {
					tp.mu.Lock()
					tp.list = append(tp.list, request{time.Now(), i, state.MAC(buf[6:12]), state.MAC(buf[:6]), q})
					tp.mu.Unlock()
				}
			}
		})
		tp.files = append(tp.files, f)
	}
	t.Cleanup(func() {
		for _, f := range tp.files {
			f.Close()
		}
		readers.Wait()
	})
	return tp
}

// requests are those since a time.
func (tp *tap) requests(since time.Time) []request {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	i, _ := slices.BinarySearchFunc(tp.list, since, func(r request, t time.Time) int { return r.at.Compare(t) })
	return slices.Clone(tp.list[i:])
}

// A router is a host on the switch whose replies are as a test makes them.
type router struct {
	ip  netip.Addr
	mac state.MAC
	// hears says whether it takes a request at all; nil: it does.
	hears func(q probe.Request, broadcast bool) bool
	// reply makes a reply out of the usual one; nil: it stays.
	reply func(frame []byte) []byte
}

// start has the router answer on the peer's bridge until the test ends.
func (r *router) start(t testing.TB, lan *netlab.LAN) {
	t.Helper()
	lan.Peer.Bridge("fdb replace " + r.mac.String() + " dev br0 self local")
	protocol := uint16(probe.ProtocolOf(r.ip))
	f := openRaw(t, lan.Peer, "br0", protocol)
	index := linksOf(lan.Peer)["br0"].Index
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
				if r.reply != nil {
					answer = r.reply(answer)
				}
				_, _ = f.Write(answer)
			}
		}
	})
	t.Cleanup(func() { f.Close(); server.Wait() })
}

// answer is the usual reply to a frame; nil: there is none.
func (r *router) answer(frame []byte) []byte {
	if r.ip.Is6() {
		return r.advert(frame)
	}
	q, ok := probe.ParseRequest(frame)
	to := state.MAC(frame)
	if !ok || q.Wanted != r.ip || to != everybody && to != r.mac || r.hears != nil && !r.hears(q, to == everybody) {
		return nil
	}
	// A request of ours, turned round.
	b := probe.Question(probe.Host{MAC: r.mac, IP: r.ip}, probe.Host{MAC: q.Sender.MAC, IP: q.Sender.IP})
	b[21] = 2 // a reply
	copy(b[32:38], q.Sender.MAC[:])
	return b
}

// advert answers a solicitation with an option that tells the router's MAC.
func (r *router) advert(frame []byte) []byte {
	const ip, icmp = 14, 14 + 40
	if len(frame) < icmp+32 || frame[icmp] != 135 || netip.AddrFrom16([16]byte(frame[icmp+8:])) != r.ip {
		return nil
	}
	b := slices.Clone(frame[:icmp+32])
	copy(b, frame[6:12])
	copy(b[6:], r.mac[:])
	target := r.ip.As16()
	copy(b[ip+8:], target[:])
	copy(b[ip+24:], frame[ip+8:ip+24])
	copy(b[icmp:], []byte{136, 0, 0, 0, 0x60, 0, 0, 0})
	copy(b[icmp+24:], []byte{2, 1})
	copy(b[icmp+26:], r.mac[:])
	binary.BigEndian.PutUint16(b[icmp+2:], checksum(b[ip:]))
	return b
}

// checksum is that of an ICMPv6 packet whose own is zero (RFC 4443, 2.3).
func checksum(packet []byte) uint16 {
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

// sendFrame sends a frame as it is by an interface.
func sendFrame(t testing.TB, ns *netlab.Namespace, dev string, frame []byte) {
	t.Helper()
	f := openRaw(t, ns, dev, 0)
	if _, err := f.Write(frame); err != nil {
		t.Fatalf("send by %s in %s: %v", dev, ns.Name, err)
	}
	f.Close()
}

// macOf is an interface's MAC.
func macOf(ns *netlab.Namespace, dev string) state.MAC { return state.MAC(ns.MAC(dev)) }

// mustMAC reads a MAC.
func mustMAC(t testing.TB, text string) state.MAC {
	t.Helper()
	hw, err := net.ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return state.MAC(hw)
}

// withoutOption takes the last option of a solicitation away, which must not be
// there if it is from no address (RFC 4861, 4.3).
func withoutOption(frame []byte) []byte {
	const ip, icmp = 14, 14 + 40
	b := slices.Clone(frame[:icmp+24])
	binary.BigEndian.PutUint16(b[ip+4:], 24)
	b[icmp+2], b[icmp+3] = 0, 0
	binary.BigEndian.PutUint16(b[icmp+2:], checksum(b[ip:]))
	return b
}
