package vmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// announcements counts what came in since the last call: gratuitous ARP and
// unsolicited neighbour advertisements, by the address that they announce.
func (s *sniffer) announcements() map[netip.Addr]int {
	s.t.Helper()
	const (
		ethernet = 14
		tag      = 4
		icmp6    = 40 // bytes of IPv6's header
	)
	counts := make(map[netip.Addr]int)
	buf := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return counts
		}
		if err != nil {
			s.t.Fatalf("sniff: %v", err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		b := buf[:n]
		kind := binary.BigEndian.Uint16(b[12:])
		if kind == unix.ETH_P_8021Q {
			b = b[tag:]
			kind = binary.BigEndian.Uint16(b[12:])
		}
		b = b[ethernet:]
		switch {
		case kind == unix.ETH_P_ARP && len(b) >= 28 && [4]byte(b[14:18]) == [4]byte(b[24:28]):
			counts[netip.AddrFrom4([4]byte(b[14:18]))]++
		case kind == unix.ETH_P_IPV6 && len(b) >= icmp6+24 && b[6] == unix.IPPROTO_ICMPV6 && b[icmp6] == 136 && b[icmp6+4]&0x40 == 0:
			counts[netip.AddrFrom16([16]byte(b[icmp6+8:icmp6+24]))]++
		}
	}
}

// After every switch, whatever led to it, the peer hears of every address of
// the bond and of the VLANs on it, as often as num_grat_arp says.
func TestAnnouncements(t *testing.T) {
	announced := []netip.Addr{netlab.HostAddress.Addr(), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8::2"),
		netip.MustParseAddr("10.20.0.2"), netip.MustParseAddr("2001:db8:20::2")}
	for _, n := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			toml := strings.Replace(bondConfig(2, fmt.Sprintf("num_grat_arp = %d", n), path("192.0.2.1")),
				`"192.0.2.2/24"`, `"192.0.2.2/24", "198.51.100.2/24", "2001:db8::2/64"`, 1)
			d := start(t, lan, toml)
			d.healthy()
			for _, args := range []string{"link add link bond0 name bond0.20 type vlan id 20", "link set bond0.20 up",
				"addr add 10.20.0.2/24 dev bond0.20", "addr add 2001:db8:20::2/64 dev bond0.20 nodad"} {
				lan.Host.IP(args)
			}
			d.agree("eth0")
			time.Sleep(3 * time.Second) // what is told at the start
			active, standby := 0, 1
			for _, cause := range []struct {
				name string
				do   func()
				undo func()
			}{
				{"cable", func() { lan.Cables[active].Pull() }, func() { lan.Cables[active].Plug() }},
				{"path", func() { lan.Cables[active].Silence(true) }, func() { lan.Cables[active].Silence(false) }},
				{"hand", func() { lan.Host.IP("link set bond0 type bond active_slave " + lan.Cables[standby].NearName) }, func() {}},
			} {
				heard := sniff(t, lan.Peer, lan.Cables[standby].FarName)
				cause.do()
				d.agree(lan.Cables[standby].NearName)
				time.Sleep(time.Second)
				got := heard.announcements()
				for _, a := range announced {
					if got[a] != n {
						t.Errorf("after a switch by %s the peer heard of %s %d times, want %d; of all: %v", cause.name, a, got[a], n, got)
					}
				}
				cause.undo()
				d.healthy()
				active, standby = standby, active
			}
		})
	}
}
