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
	for _, tt := range []struct{ target, from, own netip.Addr }{
		{addr4, netip.Addr{}, netip.Addr{}},
		{addr4, source, source},
		{addr6, netip.Addr{}, netip.MustParseAddr("fe80::4000:ff:fe00:1")},
	} {
		want := neighbour.Question(neighbour.Host{MAC: mac, IP: tt.own}, neighbour.Host{IP: tt.target})
		if got := probeFrame(mac, tt.from, tt.target); !bytes.Equal(got, want) {
			t.Errorf("the probe of %v from %v:\n got %x\nwant %x", tt.target, tt.from, got, want)
		}
		other := state.MAC{2, 5: 9}
		one := neighbour.Question(neighbour.Host{MAC: mac, IP: tt.own}, neighbour.Host{MAC: other, IP: tt.target})
		if got := address(bytes.Clone(want), other); tt.target.Is4() && !bytes.Equal(got, one) {
			t.Errorf("the probe of %v from %v to %v:\n got %x\nwant %x", tt.target, tt.from, other, got, one)
		}
		if got := address(bytes.Clone(one), state.MAC{}); tt.target.Is4() && !bytes.Equal(got, want) {
			t.Errorf("the probe of %v from %v to everybody:\n got %x\nwant %x", tt.target, tt.from, got, want)
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
