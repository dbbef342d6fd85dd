package neighbour

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// What a host with the address 42:00:00:00:00:01 and Linux 6.12 say to each
// other on the wire: asked without an address of the host's own, and from the
// link-local one.
const (
	arpQuestion = `ffffffffffff 420000000001 0806
		0001 0800 06 04 0001 420000000001 00000000 000000000000 c0000201` + arpPadding
	arpAnswer = `420000000001 020000000100 0806
		0001 0800 06 04 0002 020000000100 c0000201 420000000001 00000000`
	ndQuestion = `3333ff000001 420000000001 86dd
		60000000 0020 3a ff fe80000000000000400000fffe000001 ff0200000000000000000001ff000001
		87 00 cc60 00000000 20010db8000000000000000000000001 0101 420000000001`
	ndAnswer = `420000000001 020000000100 86dd
		60000000 0020 3a ff 20010db8000000000000000000000001 fe80000000000000400000fffe000001
		88 00 79ad 60000000 20010db8000000000000000000000001 0201 020000000100`

	arpPadding = "000000000000000000000000000000000000"
)

var (
	ownMAC   = state.MAC{0x42, 5: 1}
	otherMAC = state.MAC{0x02, 4: 1}
	own4     = netip.MustParseAddr("192.0.2.2")
	own6     = netip.MustParseAddr("2001:db8::2")
	ownLocal = netip.MustParseAddr("fe80::4000:ff:fe00:1")
	other4   = netip.MustParseAddr("192.0.2.1")
	other6   = netip.MustParseAddr("2001:db8::1")
)

// frame reads hexadecimal digits, with spaces anywhere.
func frame(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// put returns an answer with other bytes at an offset and, if it is IPv6, the
// checksum made right again.
func put(answer []byte, at int, change ...byte) []byte {
	b := bytes.Clone(answer)
	copy(b[at:], change)
	if binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_IPV6 {
		sum := b[etherLen+ipv6Len+2:]
		binary.BigEndian.PutUint16(sum, 0)
		binary.BigEndian.PutUint16(sum, ^icmpv6Sum(b[etherLen:]))
	}
	return b
}

func TestQuestion(t *testing.T) {
	for _, tt := range []struct {
		name       string
		own, other Host
		want       string
	}{
		{"ARP to everybody, from no address", Host{MAC: ownMAC}, Host{IP: other4}, arpQuestion},
		{"ARP to everybody", Host{ownMAC, own4}, Host{IP: other4}, `ffffffffffff 420000000001 0806
			0001 0800 06 04 0001 420000000001 c0000202 000000000000 c0000201` + arpPadding},
		{"ARP to one", Host{ownMAC, own4}, Host{otherMAC, other4}, `020000000100 420000000001 0806
			0001 0800 06 04 0001 420000000001 c0000202 000000000000 c0000201` + arpPadding},
		{"IPv6 to everybody", Host{ownMAC, ownLocal}, Host{IP: other6}, ndQuestion},
		{"IPv6 to one", Host{state.MAC{2, 5: 1}, own6}, Host{otherMAC, other6}, `020000000100 020000000001 86dd
			60000000 0020 3a ff 20010db8000000000000000000000002 20010db8000000000000000000000001
			87 00 ec73 00000000 20010db8000000000000000000000001 0101 020000000001`},
		// The last three octets of an address are in the one it is asked at; a zone is in none.
		{"IPv6 to everybody, for a link-local address", Host{ownMAC, ownLocal}, Host{IP: netip.MustParseAddr("fe80::1234:5678:9abc%bond0")},
			`3333ff789abc 420000000001 86dd
			60000000 0020 3a ff fe80000000000000400000fffe000001 ff0200000000000000000001ff789abc
			87 00 5cfd 00000000 fe800000000000000000123456789abc 0101 420000000001`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := hex.EncodeToString(frame(t, tt.want))
			got := Question(tt.own, tt.other)
			if text := hex.EncodeToString(got); text != want {
				t.Errorf("\n got %s\nwant %s", text, want)
			}
			if len(got) < etherMinLen {
				t.Errorf("%d bytes are too few for Ethernet", len(got))
			}
		})
	}
}

func TestParse(t *testing.T) {
	const ip, icmp = etherLen, etherLen + ipv6Len
	arp, nd := frame(t, arpAnswer), frame(t, ndAnswer)
	reply := Answer{From: otherMAC, To: ownMAC, About: other4, MAC: otherMAC, Asker: Host{ownMAC, netip.IPv4Unspecified()}}
	advert := Answer{From: otherMAC, To: ownMAC, About: other6, MAC: otherMAC, Asker: Host{IP: ownLocal}}
	but := func(a Answer, change func(*Answer)) Answer { change(&a); return a }
	everybody := state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	virtual := state.MAC{0x00, 0x00, 0x5e, 0x00, 0x01, 0x07}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  Answer
	}{
		{"ARP", arp, reply},
		{"ARP with padding", frame(t, arpAnswer+arpPadding), reply},
		{"ARP to an address", put(arp, ip+24, own4.AsSlice()...), but(reply, func(a *Answer) { a.Asker.IP = own4 })},
		{"ARP of another", put(arp, ip+17, 3), but(reply, func(a *Answer) { a.About = netip.MustParseAddr("192.0.2.3") })},
		{"ARP for another than the frame", put(arp, ip+18, 0x40), but(reply, func(a *Answer) { a.Asker.MAC[0] = 0x40 })},
		{"ARP in a frame for another", put(arp, 0, 0x40), but(reply, func(a *Answer) { a.To[0] = 0x40 })},
		{"ARP in a frame for everybody", put(arp, 0, everybody[:]...), but(reply, func(a *Answer) { a.To = everybody })},
		{"ARP in a frame from another", put(arp, 6, 0x06), but(reply, func(a *Answer) { a.From[0] = 0x06 })},
		{"ARP of a virtual router", put(arp, ip+8, virtual[:]...), but(reply, func(a *Answer) { a.MAC = virtual })},
		{"ARP with a tag of VLAN 0", tag(arp, 0x0000), reply},
		{"ARP with a tag of VLAN 0, priority and padding", append(tag(arp, 0xe000), make([]byte, 14)...), reply},
		{"advertisement", nd, advert},
		{"advertisement with padding", frame(t, ndAnswer+"0000"), advert},
		{"advertisement with a tag of VLAN 0", tag(nd, 0x6000), advert},
		{"advertisement without options", put(nd[:icmp+neighLen], ip+5, neighLen), but(advert, func(a *Answer) { a.MAC = state.MAC{} })},
		{"advertisement of a virtual router", put(nd, icmp+neighLen+2, virtual[:]...), but(advert, func(a *Answer) { a.MAC = virtual })},
		{"advertisement with another option", put(nd, icmp+neighLen, 14), but(advert, func(a *Answer) { a.MAC = state.MAC{} })},
		{"advertisement in a frame for everybody", put(nd, 0, everybody[:]...), but(advert, func(a *Answer) { a.To = everybody })},
		{"advertisement in a frame from another", put(nd, 6, 0x06), but(advert, func(a *Answer) { a.From[0] = 0x06 })},
		{"advertisement to a global address", put(nd, ip+24, own6.AsSlice()...), but(advert, func(a *Answer) { a.Asker.IP = own6 })},
		{"advertisement to all nodes", put(nd, ip+24, netip.IPv6LinkLocalAllNodes().AsSlice()...),
			but(advert, func(a *Answer) { a.Asker.IP = netip.IPv6LinkLocalAllNodes() })},
		{"advertisement of another", put(nd, icmp+23, 3), but(advert, func(a *Answer) { a.About = netip.MustParseAddr("2001:db8::3") })},
		{"advertisement in a frame for another", put(nd, 5, 2), but(advert, func(a *Answer) { a.To[5] = 2 })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := Parse(tt.frame); !ok || got != tt.want {
				t.Errorf("%x\n got %+v, %t\nwant %+v", tt.frame, got, ok, tt.want)
			}
		})
	}
}

// tag returns a frame with a tag of IEEE 802.1Q.
func tag(frame []byte, tci uint16) []byte {
	return slices.Concat(frame[:12], []byte{0x81, 0x00, byte(tci >> 8), byte(tci)}, frame[12:])
}

func TestParseRequest(t *testing.T) {
	const ip = etherLen
	arp := frame(t, arpQuestion)
	probe := Request{Sender: Host{ownMAC, netip.IPv4Unspecified()}, Wanted: other4}
	from := func(r Request, h Host) Request { r.Sender = h; return r }
	for _, tt := range []struct {
		name  string
		frame []byte
		want  Request
		ok    bool
	}{
		{"without a sender", arp, probe, true},
		{"without padding", arp[:etherLen+arpLen], probe, true},
		{"with a sender", put(arp, ip+arpSenderIP, own4.AsSlice()...), from(probe, Host{ownMAC, own4}), true},
		{"an announcement", put(arp, ip+arpSenderIP, other4.AsSlice()...), from(probe, Host{ownMAC, other4}), true},
		{"in a frame from another", put(arp, 6, 0x06), probe, true},
		{"with a tag of VLAN 0", tag(arp, 0), probe, true},
		{"of a VLAN", tag(arp, 7), Request{}, false},
		{"a reply", frame(t, arpAnswer), Request{}, false},
		{"a solicitation", frame(t, ndQuestion), Request{}, false},
		{"cut short", arp[:etherLen+arpLen-1], Request{}, false},
		{"not of Ethernet", put(arp, ip, 0, 6), Request{}, false},
		{"nothing", nil, Request{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := ParseRequest(tt.frame); ok != tt.ok || got != tt.want {
				t.Errorf("%x\n got %+v, %t\nwant %+v, %t", tt.frame, got, ok, tt.want, tt.ok)
			}
		})
	}
}

// An answer with any of its parts wrong is none.
func TestParseRefuses(t *testing.T) {
	const ip, icmp = etherLen, etherLen + ipv6Len
	arp, nd := frame(t, arpAnswer), frame(t, ndAnswer)
	wrongSum := frame(t, ndAnswer)
	wrongSum[icmp+3]++
	for _, tt := range []struct {
		name  string
		frame []byte
	}{
		{"nothing", nil},
		{"a header alone", arp[:etherLen]},
		{"a header cut short", arp[:etherLen-1]},
		{"another protocol", put(arp, 12, 0x08, 0x00)},
		{"a frame of a VLAN", tag(arp, 0x0001)},
		{"a frame of a VLAN with priority", tag(nd, 0x6fff)},
		{"two tags", tag(tag(arp, 0), 0)},
		{"a tag cut short", tag(arp, 0)[:etherLen+tagLen-1]},
		{"a tag alone", tag(arp, 0)[:etherLen+tagLen]},
		{"short ARP", arp[:etherLen+arpLen-1]},
		{"ARP not of Ethernet", put(arp, ip, 0, 6)},
		{"ARP not for IPv4", put(arp, ip+2, 0x86, 0xdd)},
		{"ARP with long hardware addresses", put(arp, ip+4, 8)},
		{"ARP with long addresses", put(arp, ip+5, 16)},
		{"ARP request", put(arp, ip+6, 0, arpRequest)},
		{"short advertisement", nd[:icmp+neighLen-1]},
		{"advertisement shorter than it says", nd[:len(nd)-1]},
		{"advertisement that says less than it needs", put(nd, ip+4, 0, neighLen-1)},
		{"not IPv6", put(nd, ip, 0x40)},
		{"another header", put(nd, ip+6, unix.IPPROTO_UDP)},
		{"advertisement from behind a router", put(nd, ip+7, 254)},
		{"solicitation", put(nd, icmp, neighSolicitation)},
		{"unknown code", put(nd, icmp+1, 1)},
		{"wrong checksum", wrongSum},
		{"option of no length", put(nd, icmp+neighLen+1, 0)},
		{"option beyond the end", put(nd, icmp+neighLen+1, 2)},
		{"half an option's header", put(nd[:icmp+neighLen+1], ip+5, neighLen+1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if a, ok := Parse(tt.frame); ok || a != (Answer{}) {
				t.Errorf("%x was taken for %+v, %t", tt.frame, a, ok)
			}
		})
	}
}

// Everything that comes in at a probe's socket is parsed, many times a second.
func TestParseAllocates(t *testing.T) {
	frames := [][]byte{frame(t, arpAnswer), frame(t, ndAnswer), frame(t, arpQuestion), frame(t, ndQuestion), tag(frame(t, arpAnswer), 0)}
	answers := 0
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range frames {
			if _, ok := Parse(b); ok {
				answers++
			}
			if _, ok := ParseRequest(b); ok {
				answers++
			}
		}
	}); n != 0 || answers == 0 {
		t.Errorf("%v allocations, %d answers", n, answers)
	}
}

func BenchmarkParse(b *testing.B) {
	for _, bb := range []struct{ name, frame string }{{"ARP", arpAnswer}, {"Discovery", ndAnswer}} {
		b.Run(bb.name, func(b *testing.B) {
			answer := frame(b, bb.frame)
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := Parse(answer); !ok {
					b.Fatal("it is no answer")
				}
			}
		})
	}
}

func TestProtocolOf(t *testing.T) {
	for _, tt := range []struct {
		ip   netip.Addr
		want Protocol
	}{{other4, ARP}, {other6, Discovery}, {ownLocal.WithZone("bond0"), Discovery}} {
		if got := ProtocolOf(tt.ip); got != tt.want {
			t.Errorf("%v is asked for in %#x, want %#x", tt.ip, got, tt.want)
		}
	}
}

// passes returns how many bytes of a frame a filter lets by.
func passes(t *testing.T, filter []bpf.Instruction, b []byte) int {
	t.Helper()
	vm, err := bpf.NewVM(filter)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(b)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The filters let the answers in and keep the bulk out.
func TestFilter(t *testing.T) {
	arp, nd := frame(t, arpAnswer), frame(t, ndAnswer)
	for _, tt := range []struct {
		name     string
		protocol Protocol
		frame    []byte
		in       bool
	}{
		{"ARP answer", ARP, arp, true},
		{"ARP request", ARP, frame(t, arpQuestion), false},
		{"ARP cut short", ARP, arp[:20], false},
		{"advertisement", Discovery, nd, true},
		{"solicitation", Discovery, frame(t, ndQuestion), false},
		{"UDP over IPv6", Discovery, put(nd, etherLen+6, unix.IPPROTO_UDP), false},
		{"IPv6 cut short", Discovery, nd[:50], false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := passes(t, tt.protocol.Filter(), tt.frame)
			if tt.in != (n >= len(tt.frame) && n > 0) || !tt.in && n != 0 {
				t.Errorf("%d of %d bytes pass, want all: %t", n, len(tt.frame), tt.in)
			}
		})
	}
}

// A watch lets in what tells that the watched addresses are in use, or are
// looked for, and keeps out what is between others.
func TestWatch(t *testing.T) {
	const ip = etherLen
	var many []netip.Addr
	for i := range 255 {
		many = append(many, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
	}
	watched := []netip.Addr{other4, netip.MustParseAddr("192.0.2.9"), other6}
	reply, request, nd := frame(t, arpAnswer), frame(t, arpQuestion), frame(t, ndAnswer)
	from := func(b []byte, ip4 string) []byte {
		return put(b, ip+arpSenderIP, netip.MustParseAddr(ip4).AsSlice()...)
	}
	for _, tt := range []struct {
		name     string
		protocol Protocol
		about    []netip.Addr
		frame    []byte
		in       bool
	}{
		{"reply", ARP, watched, reply, true},
		{"reply of the second", ARP, watched, from(reply, "192.0.2.9"), true},
		{"reply of another", ARP, watched, from(reply, "192.0.2.3"), false},
		{"request without a sender", ARP, watched, request, true},
		{"request without a sender, for another", ARP, watched, put(request, ip+arpTargetIP+3, 3), false},
		{"request by another", ARP, watched, from(request, "192.0.2.3"), false},
		{"request by a watched one", ARP, watched, put(from(request, "192.0.2.9"), ip+arpTargetIP+3, 3), true},
		{"announcement", ARP, watched, from(request, "192.0.2.1"), true},
		{"ARP cut short", ARP, watched, reply[:20], false},
		{"nobody is watched", ARP, nil, reply, false},
		{"the first of many", ARP, many, from(reply, "198.51.100.0"), true},
		{"the last of many", ARP, many, from(reply, "198.51.100.254"), true},
		{"none of many", ARP, many, reply, false},
		{"advertisement", Discovery, watched, nd, true},
		{"solicitation", Discovery, watched, frame(t, ndQuestion), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := passes(t, tt.protocol.Watch(tt.about), tt.frame)
			if tt.in != (n >= len(tt.frame) && n > 0) || !tt.in && n != 0 {
				t.Errorf("%d of %d bytes pass, want all: %t", n, len(tt.frame), tt.in)
			}
			if _, err := bpf.Assemble(tt.protocol.Watch(tt.about)); err != nil {
				t.Errorf("the kernel does not get the filter: %v", err)
			}
		})
	}
}

// Whatever is read as an answer has what its header says, is the same with
// padding, and passes the filter of its socket. Nothing makes the parser panic.
func FuzzParse(f *testing.F) {
	for _, text := range []string{arpQuestion, arpAnswer, ndQuestion, ndAnswer, ndAnswer + "0000", ""} {
		f.Add(frame(f, text))
	}
	f.Add(frame(f, ndAnswer)[:65])
	f.Add(frame(f, arpAnswer)[:40])
	f.Add(tag(frame(f, arpAnswer), 0x2000))
	f.Add(tag(frame(f, ndAnswer), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := Parse(b)
		r, isRequest := ParseRequest(b)
		if ok && isRequest {
			t.Fatalf("%x is an answer, %+v, and a request, %+v", b, a, r)
		}
		if !ok && !isRequest {
			return
		}
		// The kernel takes a tag of VLAN 0 off before a filter sees the frame.
		bare := bytes.Clone(b)
		if binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_8021Q {
			bare = slices.Concat(b[:12], b[16:])
		}
		if isRequest {
			if passes(t, ARP.Watch([]netip.Addr{r.Sender.IP}), bare) == 0 && !r.Sender.IP.IsUnspecified() {
				t.Fatalf("%x is a request and does not pass the filter", b)
			}
			return
		}
		p := ProtocolOf(a.About)
		if !a.About.IsValid() || !a.Asker.IP.IsValid() || a.To != state.MAC(b) || a.From != state.MAC(b[6:]) ||
			p != Protocol(binary.BigEndian.Uint16(bare[12:])) {
			t.Fatalf("%x is %+v", b, a)
		}
		if padded, ok := Parse(append(bytes.Clone(b), 0, 1)); !ok || padded != a {
			t.Fatalf("%x is %+v, and with padding %+v, %t", b, a, padded, ok)
		}
		if n := passes(t, p.Filter(), bare); n == 0 {
			t.Fatalf("%x is an answer and does not pass the filter", b)
		}
		if n := passes(t, p.Watch([]netip.Addr{a.About}), bare); n == 0 && !a.About.IsUnspecified() {
			t.Fatalf("%x is an answer and does not pass the watch", b)
		}
	})
}
