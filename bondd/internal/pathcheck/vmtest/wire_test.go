package vmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	probe "bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/neighbour/neighbourtest"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/netlab"
)

var everybody = state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

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
		f := neighbourtest.Open(t, lan.Peer, c.FarName, unix.ETH_P_ALL)
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
	binary.BigEndian.PutUint16(b[icmp+2:], neighbourtest.Checksum(b[ip:]))
	return b
}
