package vmtest

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"bondd.internal/bondd/internal/neighbour/neighbourtest"
	"bondd.internal/bondd/internal/state"
)

// A reply counts in whatever shape a router sends it, from the active slave and
// from the standby; and what a router says to somebody else counts for nobody.
func TestShapesOfReplies(t *testing.T) {
	tag := func(tci uint16) func([]byte) []byte {
		return func(b []byte) []byte {
			return slices.Concat(b[:12], []byte{0x81, 0, byte(tci >> 8), byte(tci)}, b[12:])
		}
	}
	from := func(mac state.MAC) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[6:], mac[:]); return b }
	}
	to := func(mac state.MAC) func([]byte) []byte {
		return func(b []byte) []byte { copy(b, mac[:]); return b }
	}
	own := mustMAC(t, "02:00:00:00:02:09")
	group4, group6 := mustMAC(t, "00:00:5e:00:01:07"), mustMAC(t, "00:00:5e:00:02:07")
	other := mustMAC(t, "02:00:00:00:02:0a")
	ip4, ip6 := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")
	for _, tt := range []struct {
		name  string
		ip    netip.Addr
		mac   state.MAC // that it tells
		shape func(frame []byte) []byte
		want  state.PathState
		vlan  bool // the bond has VLAN 7
	}{
		{"ARP", ip4, own, nil, state.PathUp, false},
		{"ARP for everybody", ip4, own, to(everybody), state.PathUp, false},
		{"ARP padded", ip4, own, func(b []byte) []byte { return append(b, make([]byte, 40)...) }, state.PathUp, false},
		{"ARP not padded", ip4, own, func(b []byte) []byte { return b[:42] }, state.PathUp, false},
		{"ARP tagged with VLAN 0", ip4, own, tag(0), state.PathUp, false},
		{"ARP tagged with VLAN 0 and priority", ip4, own, tag(0xe000), state.PathUp, false},
		{"ARP for everybody, tagged with VLAN 0", ip4, own, func(b []byte) []byte { return tag(0)(to(everybody)(b)) }, state.PathUp, false},
		{"ARP of a VRRP group, from the router's own MAC", ip4, group4, from(own), state.PathUp, false},
		{"ARP of a VRRP group, from its MAC", ip4, group4, nil, state.PathUp, false},
		{"ARP of the router itself, from the group's MAC", ip4, own, from(group4), state.PathUp, false},
		{"ARP to another host, for everybody", ip4, own, func(b []byte) []byte {
			b = to(everybody)(b)
			copy(b[32:], other[:])
			copy(b[38:], []byte{192, 0, 2, 10})
			return b
		}, state.PathDown, false},
		{"ARP unasked, for everybody", ip4, own, func(b []byte) []byte {
			b = to(everybody)(b)
			copy(b[32:], everybody[:])
			copy(b[38:42], b[28:32])
			return b
		}, state.PathDown, false},
		{"ARP for everybody, tagged with VLAN 7", ip4, own, func(b []byte) []byte { return tag(7)(to(everybody)(b)) }, state.PathDown, false},
		{"ARP for everybody, tagged with VLAN 7, which the bond has", ip4, own, func(b []byte) []byte { return tag(7)(to(everybody)(b)) }, state.PathDown, true},
		{"advertisement", ip6, own, nil, state.PathUp, false},
		{"advertisement for everybody, tagged with VLAN 7, which the bond has", ip6, own,
			func(b []byte) []byte { return tag(7)(to(mustMAC(t, "33:33:00:00:00:01"))(b)) }, state.PathDown, true},
		{"advertisement for everybody", ip6, own, to(mustMAC(t, "33:33:00:00:00:01")), state.PathUp, false},
		{"advertisement padded", ip6, own, func(b []byte) []byte { return append(b, make([]byte, 6)...) }, state.PathUp, false},
		{"advertisement tagged with VLAN 0", ip6, own, tag(0), state.PathUp, false},
		{"advertisement of a VRRP group, from the router's own MAC", ip6, group6, from(own), state.PathUp, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lan := newBond(t)
			if tt.vlan {
				lan.Host.IP("link add link bond0 name bond0.7 type vlan id 7")
				lan.Host.IP("link set bond0.7 up")
			}
			r := &neighbourtest.Router{IP: tt.ip, MAC: tt.mac, Reply: tt.shape}
			r.Start(t, lan.Peer, "br0")
			to := targets(tt.ip)
			to[0].ReturnAfter = 1
			c := startChecker(t, lan.Host, setup{to, true})
			begin := time.Now()
			c.probeFrom("eth0", "eth1")
			c.until(begin, time.Second, "paths "+tt.want.String(), are(tt.want))
			time.Sleep(time.Second)
			rs := c.all(begin)
			for index, paths := range rs[len(rs)-1].Paths {
				p := paths[0]
				if p.State != tt.want || tt.want == state.PathUp && p.Missed+p.Failed != 0 || tt.want == state.PathDown && p.Answered != 0 {
					t.Errorf("the path from %d is %+v, want %v by every probe", index, p, tt.want)
				}
			}
		})
	}
}
