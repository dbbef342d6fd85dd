package pathcheck

import (
	"bytes"
	"net/netip"
	"testing"

	"bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/state"
)

var (
	addr4 = netip.MustParseAddr("192.0.2.1")
	addr6 = netip.MustParseAddr("2001:db8::1")
)

// A probe says nothing of the host but the MAC that is the probes' alone.
func TestProbeFrame(t *testing.T) {
	mac, source := state.MAC{0x42, 5: 1}, netip.MustParseAddr("192.0.2.250")
	for _, tt := range []struct {
		target Target
		own    netip.Addr
	}{
		{Target{Addr: addr4}, netip.Addr{}},
		{Target{Addr: addr4, Source: source}, source},
		{Target{Addr: addr6}, netip.MustParseAddr("fe80::4000:ff:fe00:1")},
		{Target{Addr: addr6, Source: source}, netip.MustParseAddr("fe80::4000:ff:fe00:1")},
	} {
		want := neighbour.Question(neighbour.Host{MAC: mac, IP: tt.own}, neighbour.Host{IP: tt.target.Addr})
		if got := probeFrame(mac, &tt.target); !bytes.Equal(got, want) {
			t.Errorf("the probe of %v from %v:\n got %x\nwant %x", tt.target.Addr, tt.target.Source, got, want)
		}
	}
}

func TestAnswersProbe(t *testing.T) {
	probe, another := state.MAC{0x42, 5: 1}, state.MAC{0x42, 5: 2}
	everybody := state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	local := netip.MustParseAddr("fe80::4000:ff:fe00:1")
	for _, tt := range []struct {
		name   string
		answer neighbour.Answer
		want   bool
	}{
		{"ARP", neighbour.Answer{To: probe, About: addr4, Asker: neighbour.Host{MAC: probe}}, true},
		{"ARP, to an address", neighbour.Answer{To: probe, About: addr4, Asker: neighbour.Host{MAC: probe, IP: netip.MustParseAddr("192.0.2.250")}}, true},
		{"ARP for another than the frame", neighbour.Answer{To: probe, About: addr4, Asker: neighbour.Host{MAC: another}}, false},
		{"ARP in a frame for another", neighbour.Answer{To: another, About: addr4, Asker: neighbour.Host{MAC: probe}}, false},
		{"ARP in a frame for everybody", neighbour.Answer{To: everybody, About: addr4, Asker: neighbour.Host{MAC: probe}}, false},
		{"advertisement", neighbour.Answer{To: probe, About: addr6, Asker: neighbour.Host{IP: local}}, true},
		{"advertisement to another address", neighbour.Answer{To: probe, About: addr6, Asker: neighbour.Host{IP: netip.MustParseAddr("fe80::4000:ff:fe00:2")}}, false},
		{"advertisement to all nodes", neighbour.Answer{To: probe, About: addr6, Asker: neighbour.Host{IP: netip.IPv6LinkLocalAllNodes()}}, false},
		{"advertisement in a frame for another", neighbour.Answer{To: another, About: addr6, Asker: neighbour.Host{IP: local}}, false},
	} {
		if got := answersProbe(&tt.answer); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestProbeMAC(t *testing.T) {
	for _, tt := range []struct{ card, probe string }{
		{"00:0c:29:12:34:56", "42:0c:29:12:34:56"},
		{"52:54:00:12:34:56", "12:54:00:12:34:56"},
		{"b4:96:91:aa:bb:cc", "f6:96:91:aa:bb:cc"},
		{"02:00:00:00:00:00", "42:00:00:00:00:00"},
		{"ff:ff:ff:ff:ff:ff", "be:ff:ff:ff:ff:ff"}, // no card has it; still unicast
	} {
		card, err := state.ParseMAC(tt.card)
		if err != nil {
			t.Fatal(err)
		}
		if got := probeMAC(card).String(); got != tt.probe {
			t.Errorf("probes of %s come from %s, want %s", tt.card, got, tt.probe)
		}
	}
	for first := range 256 {
		card := state.MAC{byte(first), 1, 2, 3, 4, 5}
		if m := probeMAC(card); m[0]&0x03 != 0x02 || m == card {
			t.Errorf("probes of %v come from %v, want another address, unicast and locally administered", card, m)
		}
	}
	if a, b := randomMAC(), randomMAC(); a == b || a[0]&0x03 != 0x02 {
		t.Errorf("addresses drawn for two unknown cards are %v and %v", a, b)
	}
	for _, tt := range []struct{ mac, next state.MAC }{
		{state.MAC{2, 1, 2, 3, 4, 5}, state.MAC{2, 1, 2, 3, 4, 6}},
		{state.MAC{2, 1, 2, 3, 4, 0xff}, state.MAC{2, 1, 2, 3, 5, 0}},
		{state.MAC{2, 1, 2, 0xff, 0xff, 0xff}, state.MAC{2, 1, 2, 0, 0, 0}},
	} {
		if got := nextMAC(tt.mac); got != tt.next {
			t.Errorf("after %v comes %v, want %v", tt.mac, got, tt.next)
		}
	}
}
