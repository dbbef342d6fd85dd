package pathcheck

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/state"
)

// prefixes reads addresses with their networks.
func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

// bondOf is a bond with addresses of its own.
func bondOf(addresses ...string) Bond { return Bond{Index: 9, Addresses: prefixes(addresses...)} }

func TestSenders(t *testing.T) {
	const nobody = "192.0.0.8"
	for _, tt := range []struct {
		name         string
		bond         Bond
		target       string
		own, neutral string // empty own: none
	}{
		{"its own network", bondOf("192.0.2.2/24"), "192.0.2.1", "192.0.2.2", "192.0.2.0"},
		{"no address", bondOf(), "192.0.2.1", "", nobody},
		{"another network", bondOf("198.51.100.2/24"), "192.0.2.1", "", nobody},
		{"addresses of IPv6", bondOf("2001:db8::2/64"), "192.0.2.1", "", nobody},
		{"two networks", bondOf("198.51.100.2/24", "192.0.2.130/25"), "192.0.2.129", "192.0.2.130", "192.0.2.128"},
		{"a network in another", bondOf("10.0.0.2/8", "10.1.2.9/24"), "10.1.2.1", "10.1.2.9", "10.1.2.0"},
		{"the same, the other way round", bondOf("10.1.2.9/24", "10.0.0.2/8"), "10.1.2.1", "10.1.2.9", "10.1.2.0"},
		{"two addresses in it", bondOf("192.0.2.2/24", "192.0.2.3/24"), "192.0.2.1", "192.0.2.2", "192.0.2.0"},
		{"a network of four", bondOf("192.0.2.5/30"), "192.0.2.6", "192.0.2.5", "192.0.2.4"},
		{"a network of two has no address of its own", bondOf("192.0.2.0/31"), "192.0.2.1", "192.0.2.0", nobody},
		{"an address alone has no network", bondOf("192.0.2.2/32"), "192.0.2.1", "", nobody},
		{"the whole of IPv4 neither", bondOf("192.0.2.2/0"), "192.0.2.1", "192.0.2.2", nobody},
		{"the target has the network's address", bondOf("192.0.2.2/24"), "192.0.2.0", "192.0.2.2", nobody},
		{"the bond has the network's address", bondOf("192.0.2.0/24"), "192.0.2.1", "192.0.2.0", nobody},
		{"a foreign address is not to ask from, but tells the network",
			Bond{Index: 9, Foreign: prefixes("192.0.2.2/24")}, "192.0.2.1", "", "192.0.2.0"},
		{"a foreign address beside its own",
			Bond{Index: 9, Addresses: prefixes("192.0.2.2/24"), Foreign: prefixes("192.0.2.200/24")}, "192.0.2.1", "192.0.2.2", "192.0.2.0"},
		{"a foreign one is the network's", Bond{Index: 9, Addresses: prefixes("192.0.2.2/24"), Foreign: prefixes("192.0.2.0/24")},
			"192.0.2.1", "192.0.2.2", nobody},
		{"the target is the bond's own", bondOf("192.0.2.1/24"), "192.0.2.1", "", "192.0.2.0"},
	} {
		own, neutral := tt.bond.senders(netip.MustParseAddr(tt.target))
		if got := own.String(); got != tt.own && (tt.own != "" || own.IsValid()) {
			t.Errorf("%s: plain requests are from %s, want %q", tt.name, got, tt.own)
		}
		if neutral.String() != tt.neutral {
			t.Errorf("%s: neutral probes are from %v, want %s", tt.name, neutral, tt.neutral)
		}
	}
}

// newBondRounds returns rounds of a bond with an address, whose first slave is
// the active one.
func newBondRounds(strict bool, slaves []Slave, targets ...Target) *rounds {
	r := newTestRounds(strict, slaves, targets...)
	slaves = slices.Clone(slaves)
	slaves[0].Active = strict
	r.setBond(bondOf("192.0.2.2/24"))
	r.setSlaves(slaves)
	r.setReady(func(card) bool { return true })
	return r
}

// A sending is a frame that was sent in a round.
type sending struct {
	slave string // empty: the bond, for nobody
	form  form
	frame []byte
}

// sendings begins the round of a target and returns what is sent at its beginning.
func sendings(r *rounds, target int, now time.Time) []sending {
	r.begin(target, now)
	return more(r, target, now)
}

// more returns what is sent now.
func more(r *rounds, target int, now time.Time) (list []sending) {
	r.release(target, now)
	if r.targets[target].call {
		list = append(list, sending{"", plain, r.plainFrame(target, bondMAC)})
		r.called(target)
	}
	for _, s := range r.slaves {
		for f := s.probes[target].next(); f != 0; f = s.probes[target].next() {
			frame := []byte(nil)
			if f == plain {
				frame = r.plainFrame(target, bondMAC)
			} else {
				frame = bytes.Clone(r.frame(s, target, f))
			}
			r.sent(s, target, f, now, nil)
			list = append(list, sending{s.Name, f, frame})
		}
	}
	return list
}

// forms are who sent what, in short.
func forms(list []sending) string {
	text := ""
	for _, s := range list {
		name := s.slave
		if name == "" {
			name = "bond"
		}
		text += fmt.Sprintf("%s:%s ", name, map[form]string{plain: "plain", neutral: "neutral", zero: "zero"}[s.form])
	}
	return text
}

// The active slave asks as the bond itself, a backup from the network's own
// address, and from its own MAC.
func TestActiveBackupSenders(t *testing.T) {
	r := newBondRounds(true, cards("eth0", "eth1"), target(addr4), target(addr6))
	list := slices.Concat(sendings(r, 0, at(0)), sendings(r, 1, at(0)))
	if got, want := forms(list), "eth0:plain eth1:neutral eth0:neutral eth1:neutral "; got != want {
		t.Fatalf("sent are %s, want %s", got, want)
	}
	q := func(mac state.MAC, from, to string) []byte {
		return neighbour.Question(neighbour.Host{MAC: mac, IP: netip.MustParseAddr(from)}, neighbour.Host{IP: netip.MustParseAddr(to)})
	}
	for i, want := range [][]byte{
		q(bondMAC, "192.0.2.2", "192.0.2.1"),
		q(state.MAC{0x42, 5: 1}, "192.0.2.0", "192.0.2.1"),
		q(state.MAC{0x42}, "fe80::4000:ff:fe00:0", "2001:db8::1"),
		q(state.MAC{0x42, 5: 1}, "fe80::4000:ff:fe00:1", "2001:db8::1"),
	} {
		if !bytes.Equal(list[i].frame, want) {
			t.Errorf("%s sends\n     %x\nwant %x", list[i].slave, list[i].frame, want)
		}
	}
	answer := func(i, in, ms int) { r.hear(card{index: in}, answerTo(list[i].frame), at(ms), at(ms)) }
	answer(0, 1, 1)
	answer(1, 2, 2)
	answer(2, 1, 1)
	answer(3, 2, 1)
	if got := more(r, 0, at(3)); len(got) != 0 {
		t.Errorf("after all was answered %s is sent", forms(got))
	}
	r.end(at(30))
	if got := states(r); got != "UU UU" {
		t.Errorf("the paths are %s, want all up", got)
	}
}

// A configured source is a backup's only one, and an address that the bond gets
// or loses counts at once.
func TestSendersChange(t *testing.T) {
	with := target(addr4)
	with.Source = netip.MustParseAddr("192.0.2.250")
	r := newTestRounds(true, cards("eth0", "eth1"), with)
	sender := func(s sending) string {
		q, ok := neighbour.ParseRequest(s.frame)
		if !ok {
			t.Fatalf("%x is not a request", s.frame)
		}
		return q.Sender.IP.String()
	}
	now := 0
	senders := func(r *rounds) (text string) {
		for _, s := range sendings(r, 0, at(now)) {
			text += s.slave + ":" + sender(s) + " "
		}
		r.end(at(now + 30))
		now += 100
		return text
	}
	if got, want := senders(r), "eth0:192.0.2.250 eth1:192.0.2.250 "; got != want {
		t.Errorf("without an address, with a source: %s, want %s", got, want)
	}
	r.setBond(bondOf("192.0.2.2/24"))
	slaves := cards("eth0", "eth1")
	slaves[1].Active = true
	r.setSlaves(slaves)
	r.setReady(func(card) bool { return true })
	if got, want := senders(r), "eth0:192.0.2.250 eth1:192.0.2.2 "; got != want {
		t.Errorf("with an address and a source: %s, want %s", got, want)
	}

	r = newTestRounds(true, slaves, target(addr4))
	for _, tt := range []struct {
		bond Bond
		want string
	}{
		{Bond{}, "eth0:192.0.0.8 eth1:192.0.0.8 "},
		{bondOf("192.0.2.2/24"), "eth0:192.0.2.0 eth1:192.0.2.2 "},
		{bondOf("192.0.2.3/26"), "eth0:192.0.2.0 eth1:192.0.2.3 "},
		{bondOf("192.0.2.3/16"), "eth0:192.0.0.0 eth1:192.0.2.3 "},
		{Bond{Addresses: prefixes("192.0.2.3/24")}, "eth0:192.0.2.0 eth1:192.0.2.0 "},
		{bondOf(), "eth0:192.0.0.8 eth1:192.0.0.8 "},
	} {
		r.setBond(tt.bond)
		r.setReady(func(card) bool { return true })
		if got := senders(r); got != tt.want {
			t.Errorf("of a bond with %v: %s, want %s", tt.bond.Addresses, got, tt.want)
		}
	}
}

// Where the bond cannot send, its active slave asks as a backup does.
func TestBondCannotSend(t *testing.T) {
	r := newBondRounds(true, cards("eth0", "eth1"), target(addr4))
	r.begin(0, at(0))
	s := r.slaves[0]
	if f := s.probes[0].next(); f != plain {
		t.Fatalf("first is sent %d, want a plain request", f)
	}
	r.sent(s, 0, plain, at(0), fmt.Errorf("no buffer space available"))
	if got, want := forms(more(r, 0, at(0))), "eth0:neutral eth1:neutral "; got != want {
		t.Errorf("sent are %s, want %s", got, want)
	}
	r.setReady(func(c card) bool { return !c.mac.IsZero() })
	r.end(at(30))
	if got, want := forms(sendings(r, 0, at(100))), "eth0:neutral eth1:neutral "; got != want {
		t.Errorf("without a socket of the bond sent are %s, want %s", got, want)
	}
}

// A failover in the middle of a round: what the bond asked may have gone out by
// either slave, so it is held against none.
func TestFailoverDuringARound(t *testing.T) {
	slaves := cards("eth0", "eth1")
	r := newBondRounds(true, slaves, target(addr4))
	list := sendings(r, 0, at(0))
	slaves[1].Active = true
	r.setSlaves(slaves)
	r.hear(card{index: 2}, answerTo(list[0].frame), at(1), at(1)) // to the bond, by its new active slave
	r.end(at(30))
	if got := states(r); got != "? M" {
		t.Errorf("the paths are %s, want that of the slave that was left unknown, and no answer to the other's own probe", got)
	}
	if got, want := forms(sendings(r, 0, at(100))), "eth0:neutral eth1:plain "; got != want {
		t.Errorf("then sent are %s, want %s", got, want)
	}
}

// A target that does not answer the neutral sender gets probes without a sender:
// to its own MAC, and right after it has shown that it holds its address.
func TestZeroOnly(t *testing.T) {
	r := newBondRounds(true, cards("eth0", "eth1"), target(addr4))
	answerPlain := func(list []sending, ms int) {
		r.hear(card{index: 1}, answerTo(list[0].frame), at(ms), at(ms))
	}
	first := sendings(r, 0, at(0))
	answerPlain(first, 1)
	if got := more(r, 0, at(1)); len(got) != 0 {
		t.Errorf("before the neutral probe had time, %s is sent", forms(got))
	}
	list := more(r, 0, at(15))
	if got := forms(list); got != "eth1:zero " {
		t.Fatalf("after half the time %sis sent, want eth1:zero", got)
	}
	want := neighbour.Question(neighbour.Host{MAC: state.MAC{0x42, 5: 1}}, neighbour.Host{MAC: state.MAC{2, 0, 0, 0, 1, 0}, IP: addr4})
	if !bytes.Equal(list[0].frame, want) {
		t.Errorf("it is\n     %x\nwant %x", list[0].frame, want)
	}
	if r.end(at(44)); states(r) != "? ?" {
		t.Errorf("before the last probe had its time the paths are %s", states(r))
	}
	r.hear(card{index: 2}, answerTo(list[0].frame), at(17), at(17))
	r.end(at(45))
	if got := states(r); got != "U U" {
		t.Fatalf("the paths are %s, want both up", got)
	}
	if rtt := r.known["eth1"].paths[0].RTT; rtt != 2*time.Millisecond {
		t.Errorf("the answer took %v, want it counted from what was answered", rtt)
	}

	// From now on they follow the sign of life at once.
	again := sendings(r, 0, at(100))
	if got, want := forms(again), "eth0:plain eth1:neutral "; got != want {
		t.Errorf("sent are %s, want %s: it may answer that one day", got, want)
	}
	answerPlain(again, 101)
	list = more(r, 0, at(101))
	if got := forms(list); got != "eth1:zero " {
		t.Fatalf("after the sign of life %sis sent, want eth1:zero", got)
	}
	r.hear(card{index: 2}, answerTo(list[0].frame), at(102), at(102))
	r.end(at(131))

	// The active slave loses its path: what is known of the round before counts.
	if sendings(r, 0, at(200)); r.next() != at(215) {
		t.Errorf("next is %v, want half the time for replies", r.next())
	}
	list = more(r, 0, at(215))
	if got := forms(list); got != "eth1:zero " {
		t.Fatalf("without a sign of life %sis sent, want eth1:zero", got)
	}
	r.hear(card{index: 2}, answerTo(list[0].frame), at(216), at(216))
	r.end(at(245))
	if got := states(r); got != "M U" {
		t.Errorf("the paths are %s, want the active slave's missing and the backup's up", got)
	}

	// The target is gone: one more, and no more.
	for i, want := range []string{"eth1:zero ", "", "", ""} {
		begin := 300 + 100*i
		sendings(r, 0, at(begin))
		if got := forms(more(r, 0, at(begin+15))); got != want {
			t.Errorf("in round %d after the last sign of life %qis sent, want %q", i+1, got, want)
		}
		r.end(at(begin + 45))
	}
	if got := states(r); got != "D D" {
		t.Errorf("the paths are %s, want both dead", got)
	}

	// Its own ARP is a sign of life, whatever for and however small.
	sendings(r, 0, at(700))
	r.hear(card{index: 2}, neighbour.Question(neighbour.Host{MAC: state.MAC{2, 0, 0, 0, 1, 0}, IP: addr4}, neighbour.Host{IP: netip.MustParseAddr("192.0.2.77")}), at(703), at(703))
	if got := forms(more(r, 0, at(703))); got != "eth1:zero " {
		t.Errorf("after the target asked for somebody, %qis sent, want eth1:zero", got)
	}
	r.end(at(733))

	// Once it answers the neutral sender again, there is nothing else.
	list = sendings(r, 0, at(800))
	r.hear(card{index: 2}, answerTo(list[1].frame), at(801), at(801))
	r.end(at(830))
	list = sendings(r, 0, at(900))
	answerPlain(list, 901)
	if got := forms(more(r, 0, at(915))); got != "" {
		t.Errorf("to a target that answers the neutral sender %sis sent", got)
	}
}

// While somebody looks whether the target's address is free, which may be the
// target, nothing is sent without a sender; until the target shows that it has it.
func TestSomebodyChecks(t *testing.T) {
	mac := state.MAC{2, 0, 0, 0, 1, 0}
	for _, tt := range []struct {
		name    string
		by      state.MAC
		answers bool // the plain request
		want    string
	}{
		{"the target", mac, false, ""},
		{"a probe of this bond's", state.MAC{0x42, 5: 0}, false, "eth1:zero "},
		{"somebody while the target answers", state.MAC{2, 9}, true, "eth1:zero "},
	} {
		r := newBondRounds(true, cards("eth0", "eth1"), target(addr4))
		for i := range 2 {
			list := sendings(r, 0, at(100*i))
			r.hear(card{index: 1}, answerTo(list[0].frame), at(100*i+1), at(100*i+1))
			list = more(r, 0, at(100*i+15))
			r.hear(card{index: 2}, answerTo(list[0].frame), at(100*i+16), at(100*i+16))
			r.end(at(100*i + 45))
		}
		list := sendings(r, 0, at(200))
		r.hear(card{index: 2}, neighbour.Question(neighbour.Host{MAC: tt.by}, neighbour.Host{IP: addr4}), at(201), at(201))
		if tt.answers {
			r.hear(card{index: 1}, answerTo(list[0].frame), at(202), at(202))
		}
		if got := forms(more(r, 0, at(215))); got != tt.want {
			t.Errorf("%s: %qis sent, want %q", tt.name, got, tt.want)
		}
	}
}

// Of a target that was not heard for a minute nobody knows whether it lives behind
// a backup. It is asked without a sender, by one slave a minute: never one that
// answers neutral probes, nor while somebody looks whether its address is free.
func TestLastResort(t *testing.T) {
	mac := state.MAC{2, 0, 0, 0, 1, 0}
	for _, tt := range []struct {
		name    string
		before  form // in which the target answered a backup; 0: it never was heard
		checks  int  // second in which somebody looks whether the address is free; 0: never
		to      state.MAC
		seconds []int // in which they are sent
	}{
		{"never heard", 0, 0, state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []int{60, 120, 180}},
		{"answers nothing else", zero, 0, mac, []int{61, 121, 181}},
		{"answers neutral probes", neutral, 0, mac, nil},
		{"somebody checks", zero, 55, mac, []int{65, 125, 185}},
	} {
		to := target(addr4)
		to.Interval, to.Timeout = time.Second, 200*time.Millisecond
		r := newBondRounds(true, cards("eth0", "eth1", "eth2"), to)
		var seconds []int
		var from []string
		for second := range 190 {
			now := at(1000 * second)
			list := sendings(r, 0, now)
			if second == 0 && tt.before != 0 {
				r.hear(card{index: 1}, answerTo(list[0].frame), now, now)
				if tt.before == neutral {
					r.hear(card{index: 2}, answerTo(list[1].frame), now, now)
				} else {
					list = more(r, 0, at(100))
					r.hear(card{index: 2}, answerTo(list[0].frame), at(101), at(101))
				}
				list = nil
			}
			for _, s := range list {
				if s.form == zero && second > 1 {
					seconds, from = append(seconds, second), append(from, s.slave)
					if got := state.MAC(s.frame); got != tt.to {
						t.Errorf("%s: it is to %v, want %v", tt.name, got, tt.to)
					}
				}
			}
			if second == tt.checks && second > 0 {
				r.hear(card{index: 3}, neighbour.Question(neighbour.Host{MAC: mac}, neighbour.Host{IP: addr4}), now, now)
			}
			more(r, 0, now.Add(100*time.Millisecond))
			r.end(now.Add(400 * time.Millisecond))
		}
		if !slices.Equal(seconds, tt.seconds) {
			t.Errorf("%s: sent in the seconds %v, want %v", tt.name, seconds, tt.seconds)
		}
		if len(from) > 1 && from[0] == from[1] {
			t.Errorf("%s: all are sent by %s", tt.name, from[0])
		}
	}
}

// In the modes in which all slaves carry the bond's MAC, and to a target that
// does not answer the neutral sender, the bond asks for nobody; its answer shows
// only that the target lives.
func TestBalancedSenders(t *testing.T) {
	r := newBondRounds(false, cards("eth0", "eth1"), target(addr4))
	list := sendings(r, 0, at(0))
	if got, want := forms(list), "bond:plain eth0:neutral eth1:neutral "; got != want {
		t.Fatalf("sent are %s, want %s", got, want)
	}
	r.hear(card{index: 2}, answerTo(list[0].frame), at(1), at(1))
	list = more(r, 0, at(15))
	if got, want := forms(list), "eth0:zero eth1:zero "; got != want {
		t.Fatalf("after the sign of life sent are %s, want %s", got, want)
	}
	for i := range list {
		r.hear(card{index: 1}, answerTo(list[i].frame), at(16), at(16)) // the switch chooses
	}
	r.end(at(45))
	if got := states(r); got != "U U" {
		t.Errorf("the paths are %s, want both up", got)
	}
	// A target that does answer needs no more than the neutral probes.
	r = newBondRounds(false, cards("eth0", "eth1"), target(addr4))
	for i := range 3 {
		list = sendings(r, 0, at(100*i))
		if got := forms(list); i > 0 && got != "eth0:neutral eth1:neutral " {
			t.Errorf("in round %d sent are %s", i, got)
		}
		for _, s := range list {
			r.hear(card{index: 1}, answerTo(s.frame), at(100*i+1), at(100*i+1))
		}
		if got := more(r, 0, at(100*i+15)); len(got) != 0 {
			t.Errorf("in round %d sent are also %s", i, forms(got))
		}
		r.end(at(100*i + 45))
	}
}

// A plain request is the active slave's. Its answer counts there alone, however
// it is addressed; where else it is heard it shows only that the target lives.
func TestAnswersToTheBond(t *testing.T) {
	everybody := bytes.Repeat([]byte{0xff}, 6)
	for _, tt := range []struct {
		name   string
		in     int
		change func(b []byte) []byte
		want   string
	}{
		{"by the active slave", 1, func(b []byte) []byte { return b }, "U"},
		{"by a backup", 2, func(b []byte) []byte { return b }, "M"},
		{"for everybody, by the active slave", 1, func(b []byte) []byte { copy(b, everybody); return b }, "U"},
		{"for everybody, by a backup", 2, func(b []byte) []byte { copy(b, everybody); return b }, "M"},
		{"for another host's MAC", 1, func(b []byte) []byte { b[37]++; return b }, "M"},
		{"for another host's address", 1, func(b []byte) []byte { b[41]++; return b }, "M"},
		{"for everybody, to another host", 1, func(b []byte) []byte { copy(b, everybody); b[37]++; b[41]++; return b }, "M"},
		{"gratuitous", 1, func(b []byte) []byte {
			copy(b, everybody)
			copy(b[32:38], everybody)
			copy(b[38:42], b[28:32])
			return b
		}, "M"},
	} {
		r := newBondRounds(true, cards("eth0", "eth1"), target(addr4))
		list := sendings(r, 0, at(0))
		r.hear(card{index: tt.in}, tt.change(answerTo(list[0].frame)), at(1), at(1))
		r.end(at(30))
		if got := states(r); got != tt.want+" M" {
			t.Errorf("%s: the paths are %s, want %s and the backup's missing", tt.name, got, tt.want)
		}
		if !r.targets[0].life.Equal(at(1)) {
			t.Errorf("%s: it is no sign of life", tt.name)
		}
	}
}

// A model is a host on the link as RFC 5227 has it, which may be down, check its
// own address, or have it.
type model struct {
	ip      netip.Addr
	mac     state.MAC
	neutral bool // it answers neutral probes
	wary    bool // it takes two broadcast probes of its address within 10 s for a conflict at any time, as dhcpcd does

	up       bool
	checks   []time.Time // when it sends its probes; empty: it does not check
	from     time.Time   // since when it listens for others' probes
	booted   time.Time   // when it last began to check
	answered time.Time   // when it sent its last answer
	conflict time.Time   // the last one that it defended itself against
	lost     []time.Time // when it was driven off its address
}

// boot has the host check its address from a time on, silently for a while.
func (m *model) boot(now time.Time, wait time.Duration, rng *rand.Rand) {
	m.up, m.from, m.booted = false, now, now
	first := now.Add(wait)
	second := first.Add(time.Second + time.Duration(rng.Int64N(int64(time.Second))))
	m.checks = []time.Time{first, second, second.Add(time.Second + time.Duration(rng.Int64N(int64(time.Second))))}
}

// step lets time pass, and returns what the host sends.
func (m *model) step(now time.Time) (frames [][]byte) {
	if m.from.IsZero() || m.up {
		return nil
	}
	for len(m.checks) > 0 && !now.Before(m.checks[0]) {
		frames = append(frames, neighbour.Question(neighbour.Host{MAC: m.mac}, neighbour.Host{IP: m.ip}))
		if len(m.checks) == 1 {
			m.from = m.checks[0].Add(2 * time.Second) // ANNOUNCE_WAIT
		}
		m.checks = m.checks[1:]
	}
	if len(m.checks) == 0 && !now.Before(m.from) {
		m.up = true
		frames = append(frames, neighbour.Question(neighbour.Host{MAC: m.mac, IP: m.ip}, neighbour.Host{IP: m.ip}))
	}
	return frames
}

// down has the host vanish.
func (m *model) down() { m.up, m.from, m.checks = false, time.Time{}, nil }

// hear takes a probe, and returns the answer; nil: there is none.
func (m *model) hear(frame []byte, now time.Time) []byte {
	q, ok := neighbour.ParseRequest(frame)
	to := state.MAC(frame)
	broadcast := to == state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if !ok || q.Wanted != m.ip || m.from.IsZero() || !broadcast && to != m.mac {
		return nil
	}
	isProbe := q.Sender.IP.IsUnspecified()
	if isProbe && !m.up || isProbe && m.wary && broadcast && now.Sub(m.conflict) < 10*time.Second {
		m.lost = append(m.lost, now)
	}
	if isProbe && broadcast {
		m.conflict = now
	}
	if !m.up || !m.neutral && !isProbe && q.Sender.IP != netip.MustParseAddr("192.0.2.2") {
		return nil
	}
	m.answered = now
	b := answerTo(frame)
	copy(b[6:12], m.mac[:])
	copy(b[22:28], m.mac[:])
	return b
}

// Whatever comes and goes, no host is driven off its address, and the paths that
// work are found to work.
func TestNoHostLosesItsAddress(t *testing.T) {
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(seed, 5227))
		strict := rng.IntN(2) == 0
		names := []string{"eth0", "eth1", "eth2"}[:2+rng.IntN(2)]
		to := target(addr4)
		to.Interval, to.Timeout, to.ReturnAfter = 500*time.Millisecond, 200*time.Millisecond, 1+rng.IntN(3)
		slaves := cards(names...)
		slaves[0].Active = strict
		r := newTestRounds(strict, slaves, to)
		if rng.IntN(8) > 0 {
			r.setBond(bondOf("192.0.2.2/24"))
			r.setReady(func(card) bool { return true })
		}
		host := &model{ip: addr4, mac: state.MAC{2, 7}, neutral: rng.IntN(2) == 0, wary: rng.IntN(2) == 0}
		works := []bool{true, true, true}
		rtt := 1 + rng.IntN(20)
		type late struct {
			in    int
			frame []byte
			at    time.Time
		}
		var flying []late
		active, restless := 0, 0
		// wait is how long the host listens before its first probe. That nobody can
		// see, so what is asked as a last resort may hit it, see below.
		wait := time.Duration(max(rng.IntN(2000)-1000, 0)) * time.Millisecond
		upSince, pathSince := time.Time{}, make([]time.Time, 3)
		var change time.Time
		for ms := 0; ms < 400_000; ms += 5 {
			now := at(ms)
			if !now.Before(change) { // something happens now and then
				change = now.Add(time.Duration(1000+rng.IntN(60_000)) * time.Millisecond)
				switch rng.IntN(4) {
				case 0:
					host.down()
				case 1, 2:
					// One that only checks again, as after its cable was out, without having
					// been silent, can be told from one that lives by its probes alone.
					// That takes longer than its last answer was under way.
					if host.from.IsZero() || host.up && (host.neutral || wait == 0) && now.Sub(host.answered) > 50*time.Millisecond {
						host.boot(now, wait, rng)
					}
				case 3:
					i := rng.IntN(len(names))
					works[i] = !works[i]
					pathSince[i] = now
				}
				restless++
			}
			was := host.up
			for _, f := range host.step(now) {
				for i := range names {
					flying = append(flying, late{i + 1, f, now.Add(time.Duration(rtt) * time.Millisecond)})
				}
			}
			if host.up && !was {
				upSince = now
			}
			for len(flying) > 0 && !now.Before(flying[0].at) {
				f := flying[0]
				flying = flying[1:]
				if works[f.in-1] {
					r.hear(card{index: f.in}, f.frame, now, now)
				}
			}
			r.end(now)
			r.begin(0, now)
			for _, s := range more(r, 0, now) {
				i := slices.Index(names, s.slave)
				if s.form == plain || i < 0 {
					i = active
				}
				if !works[i] {
					continue
				}
				life, lost := r.targets[0].life, len(host.lost)
				if a := host.hear(s.frame, now); a != nil {
					flying = append(flying, late{i + 1, a, now.Add(time.Duration(rtt) * time.Millisecond)})
				}
				if len(host.lost) == lost {
					continue
				}
				// What cannot be excluded: a host that answers nothing with a sender it
				// does not know, was silent for a minute, and began to check within the
				// last second without a sound.
				if !host.neutral && (life.IsZero() || now.Sub(life) >= lonely) && len(host.checks) == 3 {
					t.Logf("seed %d: the last resort met a host that has not yet sent a probe", seed)
					host.lost = host.lost[:lost]
					continue
				}
				// And two frames that pass each other on the wire.
				if !host.neutral && now.Sub(host.booted) <= time.Duration(rtt)*time.Millisecond {
					t.Logf("seed %d: a probe met the first one of a host that checks its address again", seed)
					host.lost = host.lost[:lost]
					continue
				}
				t.Fatalf("seed %d: after %d ms %s drives the host off its address with a probe %d (strict %t, wary %t, answers neutral %t)",
					seed, ms, s.slave, s.form, strict, host.wary, host.neutral)
			}
			// The engine's part, in short: a dead path of the active slave.
			if p := r.slaves[active].paths[0].State; strict && p == state.PathDown {
				for i := range names {
					if r.slaves[i].paths[0].State == state.PathUp {
						slaves = slices.Clone(slaves)
						slaves[active].Active, slaves[i].Active = false, true
						active = i
						r.setSlaves(slaves)
						break
					}
				}
			}
			// A path that works, to a host that is up, is found; by the last resort, if
			// the host answers nothing else and none that may ask plainly reaches it.
			bound := to.Interval*time.Duration(to.MissedMax+to.ReturnAfter+2) + to.Timeout
			if !host.neutral {
				bound += time.Duration(len(names)+1) * (lonely + to.Interval)
			}
			for i := range names {
				if host.up && works[i] && now.Sub(upSince) > bound && now.Sub(pathSince[i]) > bound && r.slaves[i].paths[0].State != state.PathUp {
					t.Fatalf("seed %d: after %d ms the path from %s is %v although it works for %v (strict %t, answers neutral %t, service %d, works %v)",
						seed, ms, names[i], r.slaves[i].paths[0].State, now.Sub(pathSince[i]), strict, host.neutral, r.targets[0].service, works)
				}
			}
		}
		if restless < 5 {
			t.Fatalf("seed %d: too little happened", seed)
		}
	}
}
