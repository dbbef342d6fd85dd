package pathcheck

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// bondMAC is the MAC of the bond itself.
var bondMAC = state.MAC{2, 0xbb}

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is so many milliseconds after t0.
func at(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

// cards are slaves with a link, of indexes 1 and up.
func cards(names ...string) []Slave {
	var list []Slave
	for i, name := range names {
		list = append(list, Slave{Name: name, Index: i + 1, MAC: state.MAC{2, 5: byte(i)}, LinkUp: true})
	}
	return list
}

// target is probed every 100 ms, with 30 for the answer, dead after 2 misses
// and back after 2 answers.
func target(a netip.Addr) Target {
	return Target{Addr: a, Interval: 100 * time.Millisecond, Timeout: 30 * time.Millisecond, MissedMax: 2, ReturnAfter: 2}
}

// newTestRounds returns rounds in which every slave is ready.
func newTestRounds(strict bool, slaves []Slave, targets ...Target) *rounds {
	r := newRounds(targets, strict, func() state.MAC { return state.MAC{2, 0xaa} })
	r.setSlaves(slaves)
	r.setReady(func(card) bool { return true })
	return r
}

// start begins what is due and has every probe sent. It reports how many
// probes there were.
func start(r *rounds, now time.Time) int {
	n := 0
	for i := range r.targets {
		if !r.begin(i, now) {
			continue
		}
		n += sendAll(r, i, now)
	}
	return n
}

// sendAll has what is to be sent to a target now be sent, and returns how many
// probes that were.
func sendAll(r *rounds, target int, now time.Time) (n int) {
	for _, s := range r.slaves {
		for f := s.probes[target].next(); f != 0; f = s.probes[target].next() {
			if f == plain {
				r.plainFrame(target, bondMAC)
			}
			r.sent(s, target, f, now, nil)
			n++
		}
	}
	return n
}

// answerTo returns the frame that answers a probe, as the target sends it.
func answerTo(probe []byte) []byte {
	const ether = 14 // length of the header
	asker, mac, body := probe[6:12], []byte{2, 0, 0, 0, 1, 0}, probe[ether:]
	b := slices.Concat(asker, mac, probe[12:ether])
	if binary.BigEndian.Uint16(probe[12:]) == unix.ETH_P_ARP {
		return slices.Concat(b, body[:7], []byte{2}, mac, body[24:28], body[8:18])
	}
	target := body[48:64]
	m := icmp.Message{
		Type: ipv6.ICMPTypeNeighborAdvertisement,
		Body: &icmp.RawBody{Data: slices.Concat([]byte{0x60, 0, 0, 0}, target, []byte{2, 1}, mac)},
	}
	advert, err := m.Marshal(icmp.IPv6PseudoHeader(target, body[8:24])) // it makes the checksum
	if err != nil {
		panic(err) // the type has no other body
	}
	return slices.Concat(b, body[:8], target, body[8:24], advert)
}

// reply has a slave's probe answered at a time, the answer coming in by the
// card of the given index.
func reply(r *rounds, name string, target, in int, when time.Time) {
	r.hear(card{index: in}, answerTo(r.known[name].probes[target].neutral), when, when)
}

// states are the states of every slave's paths, in the order of the slaves, in
// the letters of the tests of paths.
func states(r *rounds) string {
	text := ""
	for _, s := range r.slaves {
		if text != "" {
			text += " "
		}
		for _, p := range s.paths {
			text += string(letters[p.State])
		}
	}
	return text
}

func TestRound(t *testing.T) {
	r := newTestRounds(true, cards("eth0", "eth1"), target(addr4), target(addr6))
	if n := start(r, at(0)); n != 4 {
		t.Fatalf("%d probes are sent, want 4", n)
	}
	if got := r.next(); got != at(15) {
		t.Errorf("next is %v, want half the time for replies, to try another sender", got)
	}
	for i := range r.targets {
		if r.release(i, at(15)); sendAll(r, i, at(15)) != 0 {
			t.Errorf("another probe is sent to target %d, of which nothing was heard", i)
		}
	}
	if got := r.next(); got != at(30) {
		t.Errorf("next is %v, want the deadline", got)
	}
	reply(r, "eth0", 0, 1, at(1))
	reply(r, "eth0", 1, 1, at(2))
	reply(r, "eth1", 0, 2, at(29))
	r.end(at(29))
	if got := states(r); got != "?? ??" {
		t.Errorf("before the deadline the paths are %s, want unknown", got)
	}
	r.end(at(30))
	if got := states(r); got != "UU UM" {
		t.Errorf("at the deadline the paths are %s, want all but the last up", got)
	}
	want := Report{
		1: {{Target: addr4, State: state.PathUp, RTT: time.Millisecond, Answered: 1}, {Target: addr6, State: state.PathUp, RTT: 2 * time.Millisecond, Answered: 1}},
		2: {{Target: addr4, State: state.PathUp, RTT: 29 * time.Millisecond, Answered: 1}, {Target: addr6, State: state.PathMissing, Missed: 1}},
	}
	if diff := cmp.Diff(want, r.report(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if got := r.next(); got != at(100) {
		t.Errorf("next is %v, want the next round", got)
	}
	if n := start(r, at(99)); n != 0 {
		t.Errorf("%d probes are sent too early", n)
	}
}

// A late round does not put off those after it, and what was missed is not made
// up for.
func TestRoundsKeepTime(t *testing.T) {
	r := newTestRounds(true, cards("eth0"), target(addr4))
	for _, tt := range []struct{ now, next int }{{0, 100}, {140, 200}, {200, 300}, {570, 670}, {670, 770}} {
		if n := start(r, at(tt.now)); n != 1 {
			t.Errorf("at %d ms %d probes are sent, want 1", tt.now, n)
		}
		if n := start(r, at(tt.now+1)); n != 0 {
			t.Errorf("a round begins before the one at %d ms has ended", tt.now)
		}
		r.end(at(tt.now + 30))
		if got := r.next(); got != at(tt.next) {
			t.Errorf("after the round at %d ms the next is at %v, want %v", tt.now, got, at(tt.next))
		}
	}
}

// Where sending takes long, nobody has less time to answer.
func TestSlowSending(t *testing.T) {
	r := newTestRounds(true, cards("eth0", "eth1"), target(addr4), target(addr6))
	r.begin(0, at(0))
	r.sent(r.slaves[0], 0, neutral, at(0), nil)
	r.sent(r.slaves[1], 0, neutral, at(40), nil)
	r.begin(1, at(0))
	r.sent(r.slaves[0], 1, neutral, at(41), nil)
	r.sent(r.slaves[1], 1, neutral, at(42), nil)
	r.allSent(at(0), at(42))
	reply(r, "eth0", 0, 1, at(1))
	reply(r, "eth1", 0, 2, at(69))
	reply(r, "eth0", 1, 1, at(72))
	r.end(at(71))
	if got := states(r); got != "?? ??" {
		t.Errorf("before all had their time the paths are %s, want unknown", got)
	}
	r.end(at(72))
	if got := states(r); got != "UU UM" {
		t.Errorf("the paths are %s, want all that answered in time up, and all told at once", got)
	}
	if got := r.next(); got != at(100) {
		t.Errorf("next is %v, want the next round when it is due", got)
	}
}

func TestWhatIsNoAnswer(t *testing.T) {
	other := target(netip.MustParseAddr("192.0.2.9"))
	everybody := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for _, tt := range []struct {
		name   string
		strict bool
		do     func(r *rounds)
		up     bool
	}{
		{"one in time", true, func(r *rounds) { reply(r, "eth0", 0, 1, at(30)) }, true},
		{"a late one", true, func(r *rounds) { reply(r, "eth0", 0, 1, at(31)) }, false},
		{"by another slave, in active-backup", true, func(r *rounds) { reply(r, "eth0", 0, 2, at(1)) }, false},
		{"by another slave, in other modes", false, func(r *rounds) { reply(r, "eth0", 0, 2, at(1)) }, true},
		{"to another slave", true, func(r *rounds) { reply(r, "eth1", 0, 2, at(1)) }, false},
		{"to another slave, by this one", false, func(r *rounds) { reply(r, "eth1", 0, 1, at(1)) }, false},
		{"of another target", true, func(r *rounds) { reply(r, "eth0", 1, 1, at(1)) }, false},
		{"of nobody asked", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			b[31]++ // the last octet of the ARP sender
			r.hear(card{index: 1}, b, at(1), at(1))
		}, false},
		{"to nobody known", true, func(r *rounds) {
			r.hear(card{index: 1}, answerTo(probeFrame(state.MAC{2, 9}, dummy(), addr4)), at(1), at(1))
		}, false},
		{"to it in the frame, to another in ARP", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			b[37]++ // the last octet of the ARP target's MAC
			r.hear(card{index: 1}, b, at(1), at(1))
		}, false},
		{"to everybody in the frame, to it in ARP", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			copy(b, everybody)
			r.hear(card{index: 1}, b, at(1), at(1))
		}, true},
		{"to everybody in the frame, by another slave", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			copy(b, everybody)
			r.hear(card{index: 2}, b, at(1), at(1))
		}, false},
		{"to everybody in the frame, to another slave in ARP", false, func(r *rounds) {
			b := answerTo(r.known["eth1"].probes[0].neutral)
			copy(b, everybody)
			r.hear(card{index: 1}, b, at(1), at(1))
		}, false},
		{"to everybody in the frame, to another host in ARP", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			copy(b, everybody)
			b[32] ^= 0x10 // the first octet of the ARP target's MAC
			r.hear(card{index: 1}, b, at(1), at(1))
		}, false},
		{"to everybody, unasked", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			copy(b, everybody)
			copy(b[32:38], everybody)
			copy(b[38:42], b[28:32]) // the ARP sender's address
			r.hear(card{index: 1}, b, at(1), at(1))
		}, false},
		{"to another in the frame, to it in ARP", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			b[5]++
			r.hear(card{index: 1}, b, at(1), at(1))
		}, true},
		{"from the MAC of the router, about that of its group", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			copy(b[22:28], []byte{0x00, 0x00, 0x5e, 0x00, 0x01, 0x07})
			r.hear(card{index: 1}, b, at(1), at(1))
		}, true},
		{"from the MAC of the group, about that of the router", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			copy(b[6:12], []byte{0x00, 0x00, 0x5e, 0x00, 0x01, 0x07})
			r.hear(card{index: 1}, b, at(1), at(1))
		}, true},
		{"padded", true, func(r *rounds) {
			b := append(answerTo(r.known["eth0"].probes[0].neutral), make([]byte, 18)...)
			r.hear(card{index: 1}, b, at(1), at(1))
		}, true},
		{"tagged with VLAN 0", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			r.hear(card{index: 1}, slices.Concat(b[:12], []byte{0x81, 0, 0xe0, 0}, b[12:]), at(1), at(1))
		}, true},
		{"tagged with VLAN 1", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			r.hear(card{index: 1}, slices.Concat(b[:12], []byte{0x81, 0, 0xe0, 1}, b[12:]), at(1), at(1))
		}, false},
		{"with no address where it was asked from one", true, func(r *rounds) {
			b := answerTo(r.known["eth0"].probes[0].neutral)
			copy(b[38:42], []byte{0, 0, 0, 0})
			r.hear(card{index: 1}, b, at(1), at(1))
		}, true},
		{"no answer at all", true, func(r *rounds) { r.hear(card{index: 1}, r.known["eth0"].probes[0].neutral, at(1), at(1)) }, false},
		{"the clock was set back meanwhile", true, func(r *rounds) {
			r.hear(card{index: 1}, answerTo(r.known["eth0"].probes[0].neutral), at(-5000), at(3))
		}, true},
		{"the clock was set forward meanwhile", true, func(r *rounds) {
			r.hear(card{index: 1}, answerTo(r.known["eth0"].probes[0].neutral), at(5000), at(3))
		}, true},
		{"one that waited to be read", true, func(r *rounds) {
			r.hear(card{index: 1}, answerTo(r.known["eth0"].probes[0].neutral), at(3), at(90))
		}, true},
	} {
		r := newTestRounds(tt.strict, cards("eth0", "eth1"), target(addr4), other)
		start(r, at(0))
		tt.do(r)
		r.end(at(100))
		want := state.PathMissing
		if tt.up {
			want = state.PathUp
		}
		p := r.known["eth0"].paths[0]
		if p.State != want {
			t.Errorf("%s: the path is %v, want %v", tt.name, p.State, want)
		}
		if tt.up && (p.RTT < time.Millisecond || p.RTT > 30*time.Millisecond) {
			t.Errorf("%s: it took %v", tt.name, p.RTT)
		}
	}
}

// An advertisement counts for whom its packet is to, whichever MAC its frame is to.
func TestWhatIsNoAdvertisement(t *testing.T) {
	for _, tt := range []struct {
		name   string
		in     int
		change func(b []byte) []byte
		up     bool
	}{
		{"to the probe", 1, func(b []byte) []byte { return b }, true},
		{"by another slave", 2, func(b []byte) []byte { return b }, false},
		{"in a frame for everybody", 1, func(b []byte) []byte { copy(b, []byte{0x33, 0x33, 0, 0, 0, 1}); return b }, true},
		{"in a frame from another", 1, func(b []byte) []byte { copy(b[6:], []byte{0, 0, 0x5e, 0, 2, 7}); return b }, true},
		{"tagged with VLAN 0", 1, func(b []byte) []byte { return slices.Concat(b[:12], []byte{0x81, 0, 0, 0}, b[12:]) }, true},
		{"padded", 1, func(b []byte) []byte { return append(b, 0, 0, 0, 0) }, true},
	} {
		r := newTestRounds(true, cards("eth0", "eth1"), target(addr6))
		start(r, at(0))
		r.hear(card{index: tt.in}, tt.change(answerTo(r.known["eth0"].probes[0].neutral)), at(1), at(1))
		r.end(at(30))
		if got := r.known["eth0"].paths[0].State == state.PathUp; got != tt.up {
			t.Errorf("%s: up is %t, want %t", tt.name, got, tt.up)
		}
	}
}

// A second answer to one probe, or one between two rounds, changes nothing; one
// to the probe before counts for the one under way, from which nothing tells it.
func TestAnswersOfOtherRounds(t *testing.T) {
	r := newTestRounds(true, cards("eth0"), target(addr4))
	start(r, at(0))
	reply(r, "eth0", 0, 1, at(5))
	reply(r, "eth0", 0, 1, at(9))
	r.end(at(30))
	reply(r, "eth0", 0, 1, at(50))
	start(r, at(100))
	r.end(at(130))
	if p := r.known["eth0"].paths[0]; p.State != state.PathMissing || p.Answered != 1 || p.RTT != 5*time.Millisecond {
		t.Errorf("the path is %+v, want missing after one answer that took 5ms", p.Path)
	}
	start(r, at(200))
	reply(r, "eth0", 0, 1, at(201))
	r.end(at(230))
	if got := states(r); got != "U" {
		t.Errorf("the path is %s, want up", got)
	}
}

// A round says nothing of a slave that had no link all the time.
func TestLinkDuringARound(t *testing.T) {
	slaves := cards("eth0", "eth1")
	r := newTestRounds(true, slaves, target(addr4))
	start(r, at(0))
	slaves[1].LinkUp = false
	r.setSlaves(slaves)
	slaves[1].LinkUp = true
	r.setSlaves(slaves)
	reply(r, "eth0", 0, 1, at(1))
	r.end(at(30))
	if got := states(r); got != "U ?" {
		t.Errorf("the paths are %s, want the one without a link unknown", got)
	}
	if p := r.known["eth1"].paths[0]; p.Missed != 0 {
		t.Errorf("the probe of a slave that lost its link counts as missed")
	}
	start(r, at(100))
	reply(r, "eth1", 0, 2, at(101))
	r.end(at(130))
	if got := states(r); got != "M U" {
		t.Errorf("the paths are %s, want that of the slave with a link again up", got)
	}
}

// Without anybody to probe from, rounds wait, and go on at once.
func TestNobodyToProbeFrom(t *testing.T) {
	slaves := cards("eth0")
	slaves[0].LinkUp = false
	r := newTestRounds(true, slaves, target(addr4))
	if n := start(r, at(0)); n != 0 || !r.next().IsZero() {
		t.Errorf("%d probes are sent without a link, the next at %v", n, r.next())
	}
	slaves[0].LinkUp = true
	r.setSlaves(slaves)
	r.setReady(func(card) bool { return false })
	if n := start(r, at(1)); n != 0 || !r.next().IsZero() {
		t.Errorf("%d probes are sent without a socket, the next at %v", n, r.next())
	}
	r.setReady(func(card) bool { return true })
	if n := start(r, at(1234)); n != 1 {
		t.Errorf("%d probes are sent, want 1", n)
	}
	r.end(at(1264))
	if got := r.next(); got != at(1334) {
		t.Errorf("next is %v, want one interval after the first", got)
	}
}

// A slave that comes back, under another index too, is the one it was; what a
// dead path has to prove it still has to.
func TestSlaveReturns(t *testing.T) {
	slaves := cards("eth0", "eth1")
	r := newTestRounds(true, slaves, target(addr4))
	for i := range 2 {
		start(r, at(100*i))
		reply(r, "eth0", 0, 1, at(100*i+1))
		r.end(at(100*i + 30))
	}
	if got := states(r); got != "U D" {
		t.Fatalf("the paths are %s, want up and down", got)
	}
	macs := []state.MAC{r.known["eth0"].mac, r.known["eth1"].mac}
	r.setSlaves(nil)
	if report := r.report(); len(report) != 0 {
		t.Errorf("the report without slaves is %v", report)
	}
	slaves[0].Index, slaves[1].Index = 7, 8
	r.setSlaves(slaves)
	if got := states(r); got != "? D" {
		t.Errorf("of slaves that came back the paths are %s, want unknown and down", got)
	}
	if r.known["eth0"].probing() {
		t.Error("a card that was just put in is taken for ready")
	}
	if got := []state.MAC{r.known["eth0"].mac, r.known["eth1"].mac}; got[0] != macs[0] || got[1] != macs[1] {
		t.Errorf("the probes come from %v, before from %v", got, macs)
	}
	report := r.report()
	if len(report) != 2 || report[7][0].Answered != 2 || report[8][0].Missed != 2 {
		t.Errorf("the report is %v, want the counters as they were", report)
	}
	r.setReady(func(card) bool { return true })
	for i := range 2 {
		start(r, at(1000+100*i))
		reply(r, "eth1", 0, 8, at(1001+100*i))
		r.end(at(1030 + 100*i))
	}
	if got := states(r); got != "D U" {
		t.Errorf("the paths are %s, want the one without answers down and the other back", got)
	}
}

// A probe that cannot be sent is counted, and weighs only if there are many.
func TestFailureToSend(t *testing.T) {
	r := newTestRounds(true, cards("eth0"), target(addr4))
	want := "?MDDD"
	got := ""
	for i := range len(want) {
		now := at(100 * i)
		r.begin(0, now)
		r.sent(r.slaves[0], 0, neutral, now, errors.New("no"))
		r.end(now.Add(30 * time.Millisecond))
		got += states(r)
	}
	if p := r.slaves[0].paths[0]; got != want || p.Failed != 5 || p.Missed != 0 {
		t.Errorf("the path went through %s, counted %+v; want %s and 5 failed", got, p.Path, want)
	}
}

// No two cards send probes from the same address, nor from that of a card, and
// no card changes its own without need.
func TestAssignMACs(t *testing.T) {
	a, b := state.MAC{0x00, 1, 2, 3, 4, 0xff}, state.MAC{0x02, 1, 2, 3, 4, 0xff} // differ in the bit that both will have
	slaves := []Slave{{Name: "b", MAC: b}, {Name: "unknown"}, {Name: "alike", MAC: b}}
	r := newTestRounds(true, slaves, target(addr4))
	mac := func(name string) state.MAC { return r.known[name].mac }
	if got, want := mac("b"), probeMAC(b); got != want {
		t.Errorf("the probes of %v come from %v, want %v", b, got, want)
	}
	if got, want := mac("unknown"), (state.MAC{2, 0xaa}); got != want {
		t.Errorf("the probes of a card without a known address come from %v, want the random %v", got, want)
	}
	if got, want := mac("alike"), (state.MAC{0x42, 1, 2, 3, 5, 0}); got != want {
		t.Errorf("the probes of a second card %v come from %v, want %v", b, got, want)
	}
	// One that comes first in the list but later in time has to give way.
	r.setSlaves(append([]Slave{{Name: "a", MAC: a}}, slaves...))
	if got, want := mac("b"), probeMAC(b); got != want {
		t.Errorf("the probes of %v now come from %v: another card came", b, got)
	}
	if got, want := mac("a"), (state.MAC{0x42, 1, 2, 3, 5, 1}); got != want {
		t.Errorf("the probes of %v come from %v, want %v", a, got, want)
	}
	// But no probe may be sent from what turns out to be a card's own address.
	r.setSlaves(append(slaves, Slave{Name: "c", MAC: probeMAC(b)}))
	if got := mac("b"); got == probeMAC(b) {
		t.Errorf("the probes of a card come from %v, which another card has", got)
	}
	if got := state.MAC(r.known["b"].probes[0].neutral[6:12]); got != mac("b") {
		t.Errorf("the frames are from %v, want %v", got, mac("b"))
	}
	seen := make(map[state.MAC]string)
	for name, s := range r.known {
		if other := seen[s.mac]; other != "" {
			t.Errorf("%s and %s both send from %v", name, other, s.mac)
		}
		seen[s.mac] = name
	}
	// Another card under the same name.
	r.setSlaves([]Slave{{Name: "b", MAC: state.MAC{0, 9}}})
	if got, want := mac("b"), probeMAC(state.MAC{0, 9}); got != want {
		t.Errorf("the probes of a new card come from %v, want %v", got, want)
	}
}
