package pathcheck

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// What a card with the address 02:00:00:00:00:01 and Linux 6.12 as the target
// say to each other on the wire.
const (
	arpProbe = "ffffffffffff" + "420000000001" + "0806" +
		"0001080006040001" + "420000000001" + "00000000" + "000000000000" + "c0000201" + "000000000000000000000000000000000000"
	arpAnswer = "420000000001" + "020000000100" + "0806" +
		"0001080006040002" + "020000000100" + "c0000201" + "420000000001" + "00000000"
	ndProbe = "3333ff000001" + "420000000001" + "86dd" +
		"6000000000203aff" + "fe80000000000000400000fffe000001" + "ff0200000000000000000001ff000001" +
		"8700cc6000000000" + "20010db8000000000000000000000001" + "0101420000000001"
	ndAnswer = "420000000001" + "020000000100" + "86dd" +
		"6000000000203aff" + "20010db8000000000000000000000001" + "fe80000000000000400000fffe000001" +
		"880079ad60000000" + "20010db8000000000000000000000001" + "0201020000000100"
)

var (
	cardMAC = state.MAC{0x02, 5: 1}
	addr4   = netip.MustParseAddr("192.0.2.1")
	addr6   = netip.MustParseAddr("2001:db8::1")
)

func frame(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProbeFrame(t *testing.T) {
	for _, tt := range []struct {
		target Target
		want   string
	}{
		{Target{Addr: addr4}, arpProbe},
		{Target{Addr: addr4, Source: netip.MustParseAddr("192.0.2.250")}, arpProbe[:56] + "c00002fa" + arpProbe[64:]},
		{Target{Addr: addr6}, ndProbe},
	} {
		if got := hex.EncodeToString(probeFrame(probeMAC(cardMAC), &tt.target)); got != tt.want {
			t.Errorf("the probe of %v from %v:\n got %s\nwant %s", tt.target.Addr, tt.target.Source, got, tt.want)
		}
	}
	// The last three octets of the target are in the address it is asked at (RFC 4291, 2.7.1).
	if got, want := solicitedNode(netip.MustParseAddr("fe80::1234:5678:9abc")), netip.MustParseAddr("ff02::1:ff78:9abc"); got != want {
		t.Errorf("fe80::1234:5678:9abc is asked at %v, want %v", got, want)
	}
}

func TestParseAnswer(t *testing.T) {
	for _, tt := range []struct {
		name, frame string
		from        netip.Addr
	}{
		{"ARP", arpAnswer, addr4},
		{"ARP with padding", arpAnswer + "000000000000000000000000000000000000", addr4},
		{"neighbour advertisement", ndAnswer, addr6},
		{"with padding", ndAnswer + "0000", addr6},
	} {
		from, to, ok := parseAnswer(frame(t, tt.frame))
		if !ok || from != tt.from || to != probeMAC(cardMAC) {
			t.Errorf("%s: read as the answer of %v to %v, %v; want of %v to %v", tt.name, from, to, ok, tt.from, probeMAC(cardMAC))
		}
	}
}

// put writes bytes at an offset of an answer and, if it is IPv6, makes the
// checksum right again.
func put(t testing.TB, text string, at int, bytes ...byte) []byte {
	b := frame(t, text)
	copy(b[at:], bytes)
	if binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_IPV6 {
		sum := b[etherLen+ipv6Len+2:]
		binary.BigEndian.PutUint16(sum, 0)
		binary.BigEndian.PutUint16(sum, ^icmpv6Sum(b[etherLen:]))
	}
	return b
}

// An answer with any of its parts wrong is none.
func TestNoAnswer(t *testing.T) {
	const ip, icmp = etherLen, etherLen + ipv6Len
	wrongSum := frame(t, ndAnswer)
	wrongSum[icmp+3]++
	for _, tt := range []struct {
		name  string
		frame []byte
	}{
		{"nothing", nil},
		{"a header alone", frame(t, arpAnswer[:28])},
		{"another protocol", put(t, arpAnswer, 12, 0x08, 0x00)},
		{"short ARP", frame(t, arpAnswer[:2*(etherLen+arpLen)-2])},
		{"ARP not of Ethernet", put(t, arpAnswer, etherLen, 0, 6)},
		{"ARP not for IPv4", put(t, arpAnswer, etherLen+2, 0x86, 0xdd)},
		{"ARP with long hardware addresses", put(t, arpAnswer, etherLen+4, 8)},
		{"ARP with long addresses", put(t, arpAnswer, etherLen+5, 16)},
		{"ARP request", put(t, arpAnswer, etherLen+6, 0, arpRequest)},
		{"ARP for another than the frame", put(t, arpAnswer, etherLen+18, 0x40)},
		{"ARP in a frame for another", put(t, arpAnswer, 0, 0x40)},
		{"gratuitous ARP reply", put(t, arpAnswer, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)},
		{"short advertisement", frame(t, ndAnswer[:2*(icmp+neighLen)-2])},
		{"advertisement shorter than it says", frame(t, ndAnswer[:len(ndAnswer)-2])},
		{"advertisement that says less than it needs", put(t, ndAnswer, ip+4, 0, neighLen-1)},
		{"not IPv6", put(t, ndAnswer, ip, 0x40)},
		{"another header", put(t, ndAnswer, ip+6, 17)},
		{"advertisement from behind a router", put(t, ndAnswer, ip+7, 254)},
		{"advertisement to another address", put(t, ndAnswer, ip+39, 2)},
		{"advertisement to all nodes", put(t, ndAnswer, ip+24, 0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)},
		{"advertisement in a frame for another", put(t, ndAnswer, 5, 2)},
		{"solicitation", put(t, ndAnswer, icmp, neighSolicitation)},
		{"unknown code", put(t, ndAnswer, icmp+1, 1)},
		{"wrong checksum", wrongSum},
		{"option of no length", put(t, ndAnswer, icmp+neighLen+1, 0)},
		{"option beyond the end", put(t, ndAnswer, icmp+neighLen+1, 2)},
	} {
		if from, to, ok := parseAnswer(tt.frame); ok {
			t.Errorf("%s was taken for the answer of %v to %v: %x", tt.name, from, to, tt.frame)
		}
	}
}

// The filters let the answers in and keep the bulk out.
func TestFilters(t *testing.T) {
	for _, tt := range []struct {
		name   string
		filter []bpf.Instruction
		frame  []byte
		in     bool
	}{
		{"ARP answer", arpFilter, frame(t, arpAnswer), true},
		{"ARP request", arpFilter, frame(t, arpProbe), false},
		{"ARP cut short", arpFilter, frame(t, arpAnswer[:40]), false},
		{"advertisement", advertFilter, frame(t, ndAnswer), true},
		{"solicitation", advertFilter, frame(t, ndProbe), false},
		{"UDP over IPv6", advertFilter, put(t, ndAnswer, etherLen+6, 17), false},
		{"IPv6 cut short", advertFilter, frame(t, ndAnswer[:100]), false},
	} {
		vm, err := bpf.NewVM(tt.filter)
		if err != nil {
			t.Fatal(err)
		}
		n, err := vm.Run(tt.frame)
		if err != nil {
			t.Fatal(err)
		}
		if tt.in != (n >= len(tt.frame) && n > 0) || !tt.in && n != 0 {
			t.Errorf("%s: %d of %d bytes pass, want all: %v", tt.name, n, len(tt.frame), tt.in)
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

// Whatever is read as an answer is one to the MAC in its header, and passes the
// filter of its socket. Nothing makes the parser panic.
func FuzzParseAnswer(f *testing.F) {
	for _, text := range []string{arpProbe, arpAnswer, ndProbe, ndAnswer, ndAnswer + "0000", ndAnswer[:130], arpAnswer[:80], ""} {
		f.Add(frame(f, text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		from, to, ok := parseAnswer(b)
		if !ok {
			return
		}
		if !from.IsValid() || to != state.MAC(b[:6]) {
			t.Fatalf("%x is the answer of %v to %v", b, from, to)
		}
		filter := arpFilter
		if from.Is6() {
			filter = advertFilter
		}
		vm, err := bpf.NewVM(filter)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := vm.Run(b); err != nil || n == 0 {
			t.Fatalf("%x is an answer and does not pass the filter: %d, %v", b, n, err)
		}
	})
}
