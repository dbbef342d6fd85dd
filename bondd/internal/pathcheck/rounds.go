package pathcheck

import (
	"net/netip"
	"slices"
	"time"

	"bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/state"
)

// rounds is what is known, and what is under way: slaves, targets and the paths
// between them. All slaves probe a target at the same instant, which begins a
// round, and its verdicts fall for all of them at its deadline: a target that
// dies is seen to be dead from everywhere at once, and cannot be taken for a
// fault of the one slave that was asked first.
//
// It does no input or output and has no clock.
type rounds struct {
	strict  bool
	targets []round
	byAddr  map[netip.Addr]int   // index in targets
	slaves  []*slave             // of the last setSlaves
	byMAC   map[state.MAC]*slave // the same, by the MAC of their probes
	known   map[string]*slave    // every slave there ever was, by name
	random  func() state.MAC     // for the probes of a card whose address is not known
	changed bool                 // since the last report
}

// A round is a target and the round of probes to it.
type round struct {
	Target
	next     time.Time // when the next one may begin
	began    time.Time // the one under way
	deadline time.Time // of the one under way; zero: there is none
}

// A slave is a card and the paths from it.
type slave struct {
	Slave
	mac    state.MAC // of its probes
	ready  bool      // its sockets are there, or are known to fail
	paths  []path    // one for each target
	probes []probe   // likewise
}

// card is the slave as a wire knows it.
func (s *slave) card() card { return card{index: s.Index, mac: s.mac} }

// probing reports whether probes go out by the slave.
func (s *slave) probing() bool { return s.LinkUp && s.ready }

// A probe is the question from one slave to one target, and what has become of
// it in the round under way.
type probe struct {
	frame   []byte
	sent    time.Time
	outcome outcome
	rtt     time.Duration
}

// An outcome is what has become of a probe.
type outcome uint8

const (
	notAsked outcome = iota
	failed           // to be sent
	waiting          // for the answer
	answered
)

func newRounds(targets []Target, strict bool, random func() state.MAC) *rounds {
	r := &rounds{strict: strict, byAddr: make(map[netip.Addr]int), known: make(map[string]*slave), random: random}
	for i, t := range targets {
		r.targets = append(r.targets, round{Target: t})
		r.byAddr[t.Addr] = i
	}
	return r
}

// setSlaves says which slaves there are now.
func (r *rounds) setSlaves(slaves []Slave) {
	before := r.slaves
	r.slaves = make([]*slave, 0, len(slaves))
	for _, now := range slaves {
		s := r.known[now.Name]
		if s == nil {
			s = &slave{paths: make([]path, len(r.targets)), probes: make([]probe, len(r.targets))}
			for i := range s.paths {
				s.paths[i].Target = r.targets[i].Addr
			}
			r.known[now.Name] = s
		}
		s.set(now)
		r.slaves = append(r.slaves, s)
	}
	for _, s := range before {
		if !slices.Contains(r.slaves, s) {
			s.set(Slave{Name: s.Name, MAC: s.MAC})
		}
	}
	r.assignMACs()
	r.changed = true
}

// set takes a slave to what it is now. Another index or address is another
// card, or the same one put in again: whatever was under way is not answered
// any more.
func (s *slave) set(now Slave) {
	was := s.Slave
	s.Slave = now
	if was.MAC != now.MAC {
		s.mac = state.MAC{}
	}
	same := was.Index == now.Index && was.MAC == now.MAC
	s.ready = s.ready && same
	if was.LinkUp && !(same && now.LinkUp) {
		s.link(false)
	}
	if now.LinkUp && !(same && was.LinkUp) {
		s.link(true)
	}
}

// link takes every path of a slave through a change of its link.
func (s *slave) link(up bool) {
	for i := range s.paths {
		s.paths[i].link(up)
		s.probes[i].outcome = notAsked
	}
}

// assignMACs gives every slave that has none the MAC of its probes, and one
// whose MAC turns out to be another card's a new one. All others keep theirs
// for ever.
func (r *rounds) assignMACs() {
	r.byMAC = make(map[state.MAC]*slave, len(r.slaves))
	for _, s := range r.slaves {
		mac := s.mac
		switch {
		case !mac.IsZero():
		case s.MAC.IsZero():
			mac = r.random()
		default:
			mac = probeMAC(s.MAC)
		}
		for r.taken(mac, s) {
			mac = nextMAC(mac)
		}
		if mac != s.mac {
			s.mac, s.ready = mac, false
			for i := range s.probes {
				s.probes[i].frame = probeFrame(mac, &r.targets[i].Target)
			}
		}
		r.byMAC[mac] = s
	}
}

// taken reports whether a MAC is the permanent address of any card, or that of
// another slave's probes.
func (r *rounds) taken(mac state.MAC, by *slave) bool {
	for _, s := range r.known {
		if s.MAC == mac || s.mac == mac && s != by {
			return true
		}
	}
	return false
}

// setReady asks for every slave whether probes can be sent by it.
func (r *rounds) setReady(ready func(card) bool) {
	for _, s := range r.slaves {
		s.ready = ready(s.card())
	}
}

// begin begins the round of a target if it is due, and reports whether it did.
// What is to be sent is then for the caller to send, and to tell sent and
// allSent. With no slave to probe from, the round stays due.
func (r *rounds) begin(target int, now time.Time) bool {
	t := &r.targets[target]
	if !t.deadline.IsZero() || now.Before(t.next) || !slices.ContainsFunc(r.slaves, (*slave).probing) {
		return false
	}
	t.began, t.deadline = now, now.Add(t.Timeout)
	// Counted from when it was due, so that a late round does not put off the
	// ones after it; but what was missed is not made up for.
	if t.next = t.next.Add(t.Interval); !t.next.After(now) {
		t.next = now.Add(t.Interval)
	}
	return true
}

// sent says that a slave's probe went out at a time, or failed to.
func (r *rounds) sent(s *slave, target int, at time.Time, err error) {
	p := &s.probes[target]
	p.sent, p.outcome = at, waiting
	if err != nil {
		p.outcome = failed
	}
}

// allSent says that all probes of the rounds that began at a time are sent. The
// time for the answers counts from now: on a busy machine sending may have
// taken longer than it takes to answer, which is nobody's fault.
func (r *rounds) allSent(began, now time.Time) {
	for i := range r.targets {
		if t := &r.targets[i]; !t.deadline.IsZero() && t.began.Equal(began) {
			t.deadline = now.Add(t.Timeout)
		}
	}
}

// answer takes a frame that came in by a card at a time, by the kernel's stamp,
// and is handled now. Whatever is not the answer in time to a probe under way
// is left out.
func (r *rounds) answer(in card, frame []byte, at, now time.Time) {
	a, ok := neighbour.Parse(frame)
	if !ok || !answersProbe(&a) {
		return
	}
	target, ok := r.byAddr[a.About]
	if !ok {
		return
	}
	s := r.byMAC[a.To]
	if s == nil || r.strict && s.Index != in.index {
		return
	}
	p := &s.probes[target]
	if p.outcome != waiting {
		return
	}
	// The stamp is of the wall clock. If that was set meanwhile, the difference
	// is nonsense, and the time until now has to do.
	rtt, elapsed := at.Sub(p.sent), now.Sub(p.sent)
	if rtt < 0 || rtt > elapsed {
		rtt = elapsed
	}
	if p.sent.Add(rtt).After(r.targets[target].deadline) {
		return
	}
	p.outcome, p.rtt = answered, rtt
}

// end ends the rounds whose deadline has come. All frames that came in before
// now have to be handled.
func (r *rounds) end(now time.Time) {
	for i := range r.targets {
		t := &r.targets[i]
		if t.deadline.IsZero() || now.Before(t.deadline) {
			continue
		}
		t.deadline = time.Time{}
		for _, s := range r.slaves {
			path, probe := &s.paths[i], &s.probes[i]
			switch probe.outcome {
			case answered:
				path.answered(&t.Target, probe.rtt)
			case waiting:
				path.missed(&t.Target)
			case failed:
				path.failed(&t.Target)
			}
			probe.outcome = notAsked
		}
		r.changed = true
	}
}

// next is when begin or end has something to do; zero: not before a slave changes.
func (r *rounds) next() time.Time {
	var next time.Time
	probing := slices.ContainsFunc(r.slaves, (*slave).probing)
	for i := range r.targets {
		at := r.targets[i].deadline
		if at.IsZero() {
			if !probing {
				continue
			}
			at = r.targets[i].next
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// report returns what is known.
func (r *rounds) report() Report {
	r.changed = false
	report := make(Report, len(r.slaves))
	for _, s := range r.slaves {
		paths := make([]state.Path, len(s.paths))
		for i := range s.paths {
			paths[i] = s.paths[i].Path
		}
		report[s.Index] = paths
	}
	return report
}

// cards are the slaves as a wire knows them.
func (r *rounds) cards() []card {
	cards := make([]card, 0, len(r.slaves))
	for _, s := range r.slaves {
		cards = append(cards, s.card())
	}
	return cards
}
