package drill

import (
	"net/netip"
	"testing"

	"bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/state"
)

func TestAnswers(t *testing.T) {
	own4, other4 := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1")
	own6, other6 := netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::1")
	local := netip.MustParseAddr("fe80::1")
	own, everybody := state.MAC{2, 5: 1}, state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for _, tt := range []struct {
		name       string
		answer     neighbour.Answer
		own, other netip.Addr
		want       bool
	}{
		{"ARP", neighbour.Answer{To: own, About: other4, Asker: neighbour.Host{MAC: own, IP: own4}}, own4, other4, true},
		{"ARP in a frame for everybody", neighbour.Answer{To: everybody, About: other4, Asker: neighbour.Host{MAC: own, IP: own4}}, own4, other4, true},
		{"ARP of another", neighbour.Answer{To: own, About: netip.MustParseAddr("192.0.2.3"), Asker: neighbour.Host{MAC: own, IP: own4}}, own4, other4, false},
		{"ARP to another", neighbour.Answer{To: own, About: other4, Asker: neighbour.Host{MAC: own, IP: netip.MustParseAddr("192.0.2.3")}}, own4, other4, false},
		{"gratuitous ARP reply", neighbour.Answer{To: everybody, About: other4, Asker: neighbour.Host{MAC: everybody, IP: other4}}, own4, other4, false},
		{"advertisement", neighbour.Answer{To: own, About: other6, Asker: neighbour.Host{IP: own6}}, own6, other6, true},
		{"advertisement of a link-local address", neighbour.Answer{To: own, About: local, Asker: neighbour.Host{IP: own6}}, own6, local.WithZone("bond0"), true},
		{"advertisement of another", neighbour.Answer{To: own, About: netip.MustParseAddr("2001:db8::3"), Asker: neighbour.Host{IP: own6}}, own6, other6, false},
		{"advertisement to another", neighbour.Answer{To: own, About: other6, Asker: neighbour.Host{IP: netip.MustParseAddr("2001:db8::3")}}, own6, other6, false},
		{"advertisement to all nodes", neighbour.Answer{To: own, About: other6, Asker: neighbour.Host{IP: netip.IPv6LinkLocalAllNodes()}}, own6, other6, false},
	} {
		if got := answers(&tt.answer, tt.own, tt.other); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestTold(t *testing.T) {
	router, group := state.MAC{2, 5: 1}, state.MAC{0x00, 0x00, 0x5e, 0x00, 0x01, 0x07}
	for _, tt := range []struct {
		name      string
		from, mac state.MAC
		want      state.MAC
	}{
		{"a host", router, router, router},
		{"a group, from the router's own MAC", router, group, group},
		{"an advertisement without a MAC", router, state.MAC{}, router},
	} {
		if got := told(&neighbour.Answer{From: tt.from, MAC: tt.mac}); got != tt.want {
			t.Errorf("%s: it is at %v, want %v", tt.name, got, tt.want)
		}
	}
}
