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
// A target that answers only to probes without a sender gets those later in the
// round, see release.
//
// It does no input or output and has no clock.
type rounds struct {
	strict  bool
	targets []round
	byAddr  map[netip.Addr]int    // index in targets
	slaves  []*slave              // of the last setSlaves
	byMAC   map[state.MAC]*slave  // the same, by the MAC of their probes
	byLocal map[netip.Addr]*slave // the same, by the link-local address of that
	ours    map[state.MAC]bool    // every MAC of a card or of its probes, ever
	known   map[string]*slave     // every slave there ever was, by name
	random  func() state.MAC      // for the probes of a card whose address is not known
	bond    Bond
	asks    bool // the bond's own socket is there, or is known to fail
	changed bool // since the last report
}

// A round is a target and the round of probes to it.
type round struct {
	Target
	evidence
	next     time.Time // when the next one may begin
	began    time.Time // the one under way
	deadline time.Time // of the one under way; zero: there is none
	late     time.Time // when what waits for a sign of life is decided on without; zero: nothing waits

	replied bool // to anything that was sent by the bond or a slave, in this round

	mac   state.MAC      // the target's own, as it told last
	plain neighbour.Host // the sender of the last plain request
	call  bool           // the bond is to ask, for no slave, so that the target shows that it lives
}

// A slave is a card and the paths from it.
type slave struct {
	Slave
	mac    state.MAC // of its probes
	ready  bool      // its sockets are there, or are known to fail
	paths  []path    // one for each target
	probes []probe   // likewise
}

// bondCard is the bond itself as a wire knows it.
func (r *rounds) bondCard() card { return card{index: r.bond.Index} }

// card is the slave as a wire knows it.
func (s *slave) card() card { return card{index: s.Index, mac: s.mac} }

// probing reports whether probes go out by the slave.
func (s *slave) probing() bool { return s.LinkUp && s.ready }

// A probe is the question from one slave to one target, and what has become of
// it in the round under way.
type probe struct {
	neutral []byte // the frame with the neutral sender
	zero    []byte // that without one

	todo    form // what has to be sent now
	asked   form // what was sent
	sent    time.Time
	zeroAt  time.Time // when what has no sender was sent
	outcome outcome
	rtt     time.Duration
	heard   form // what was answered
}

// next is what is to be sent first of what has to be sent now; 0: nothing.
func (p *probe) next() form { return p.todo & -p.todo }

// void makes the probe one that was not sent in this round.
func (p *probe) void() {
	p.todo, p.asked, p.outcome, p.heard, p.zeroAt = 0, 0, notAsked, 0, time.Time{}
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
	r.setBond(Bond{})
	return r
}

// setBond says what the bond is now.
func (r *rounds) setBond(b Bond) {
	r.asks = r.asks && b.Index == r.bond.Index
	r.bond = b
	for i := range r.targets {
		t := &r.targets[i]
		own, neutral := b.senders(t.Addr)
		switch {
		case t.Addr.Is6():
			own, neutral, t.fixed = netip.Addr{}, netip.Addr{}, true
		case t.Source.IsValid():
			neutral, t.fixed = t.Source, true
		}
		t.own = own
		if t.neutral == neutral {
			continue
		}
		t.neutral, t.service, t.silent = neutral, unknown, false
		for _, s := range r.known {
			s.compose(i, t)
		}
	}
}

// compose makes the frames of a slave's probe to a target.
func (s *slave) compose(target int, t *round) {
	p := &s.probes[target]
	p.neutral = probeFrame(s.mac, t.neutral, t.Addr)
	if !t.fixed {
		p.zero = probeFrame(s.mac, netip.Addr{}, t.Addr)
	}
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
	if was.Active && !now.Active {
		// What was asked by the bond went out by one slave or the other.
		for i := range s.probes {
			if p := &s.probes[i]; p.asked == plain && p.outcome == waiting {
				p.void()
			}
		}
	}
}

// link takes every path of a slave through a change of its link.
func (s *slave) link(up bool) {
	for i := range s.paths {
		s.paths[i].link(up)
		s.probes[i].void()
	}
}

// assignMACs gives every slave that has none the MAC of its probes, and one
// whose MAC turns out to be another card's a new one. All others keep theirs
// for ever.
func (r *rounds) assignMACs() {
	r.byMAC = make(map[state.MAC]*slave, len(r.slaves))
	r.byLocal = make(map[netip.Addr]*slave, len(r.slaves))
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
				s.compose(i, &r.targets[i])
			}
		}
		r.byMAC[mac], r.byLocal[linkLocal(mac)] = s, s
	}
	r.ours = make(map[state.MAC]bool, 2*len(r.known))
	for _, s := range r.known {
		r.ours[s.mac], r.ours[s.MAC] = true, true
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

// setReady asks for every slave whether probes can be sent by it, and for the bond.
func (r *rounds) setReady(ready func(card) bool) {
	for _, s := range r.slaves {
		s.ready = ready(s.card())
	}
	r.asks = r.bond.Index != 0 && ready(r.bondCard())
}

// begin begins the round of a target if it is due, and reports whether it did.
// What is to be sent is then for the caller to send, and to tell sent and
// allSent. With no slave to probe from, the round stays due.
func (r *rounds) begin(target int, now time.Time) bool {
	t := &r.targets[target]
	if !t.deadline.IsZero() || now.Before(t.next) || !slices.ContainsFunc(r.slaves, (*slave).probing) {
		return false
	}
	t.began, t.deadline, t.late, t.replied = now, now.Add(t.Timeout), time.Time{}, false
	// Counted from when it was due, so that a late round does not put off the
	// ones after it; but what was missed is not made up for.
	if t.next = t.next.Add(t.Interval); !t.next.After(now) {
		t.next = now.Add(t.Interval)
	}
	if t.since.IsZero() {
		t.since = now
	}
	// The bond's MAC goes out only where the driver sends it. Where slaves carry it
	// together, no answer to it tells which of them asked: it only shows that the
	// target lives, if that has to be known.
	asks := r.asks && !r.bond.Quiet && t.own.IsValid()
	t.call = asks && !r.strict && !t.fixed && (t.service != asNeutral || t.silent)
	if !t.fixed && (t.service == unknown || t.service == asZero && r.holds(t, now)) {
		t.late = now.Add(min(t.Timeout/2, t.Interval-t.Timeout))
	}
	for _, s := range r.slaves {
		p := &s.probes[target]
		p.void()
		switch {
		case !s.probing():
		case asks && r.strict && s.Active:
			p.todo = plain
		default:
			p.todo = neutral
		}
	}
	if t.lost(now) {
		r.lastResort(target, now)
	}
	return true
}

// holds reports whether a target is known to have its address: it was heard in
// the last round.
func (r *rounds) holds(t *round, now time.Time) bool {
	return t.holds(now.Add(-t.Interval - t.Timeout))
}

// lastResort has one slave ask a target of which nothing was heard for long
// without a sender. They take turns.
func (r *rounds) lastResort(target int, now time.Time) {
	t := &r.targets[target]
	for range r.slaves {
		t.turn++
		p := &r.slaves[t.turn%len(r.slaves)].probes[target]
		if p.todo == neutral {
			p.todo |= zero
			t.resort = now
			return
		}
	}
}

// release decides what more is to be sent in the round under way, to a target
// that does not answer probes with a neutral sender: those without one. They go
// out when the target has just shown that it holds its address, for in that
// moment it does not check it. If it shows nothing, then because the slave that
// asks plainly has lost its path, or because the target is gone: then they rely
// on the round before, once.
func (r *rounds) release(target int, now time.Time) {
	t := &r.targets[target]
	if t.deadline.IsZero() || t.fixed {
		return
	}
	late := !t.late.IsZero() && !now.Before(t.late)
	var free bool
	switch {
	case t.holds(t.began) && (t.service == asZero || t.silent):
		free = true
	case late && r.holds(t, now):
		free = t.service == asZero || t.service == unknown && t.lived()
	}
	if late {
		t.late = time.Time{}
	}
	if !free || t.mac.IsZero() {
		return
	}
	for _, s := range r.slaves {
		if p := &s.probes[target]; p.outcome == waiting && p.asked == neutral && p.todo == 0 {
			p.todo = zero
		}
	}
}

// lived reports whether a target that holds its address has it since before the
// round under way began, so that it could answer every probe of it.
func (t *round) lived() bool { return t.replied || t.life.Before(t.began) }

// frame returns what has to be sent as one form of a slave's probe. That of a
// plain one needs the bond's MAC of the moment, see plainFrame.
func (r *rounds) frame(s *slave, target int, f form) []byte {
	p := &s.probes[target]
	if f == neutral {
		return p.neutral
	}
	return address(p.zero, r.targets[target].mac)
}

// plainFrame returns the bond's own request to a target.
func (r *rounds) plainFrame(target int, mac state.MAC) []byte {
	t := &r.targets[target]
	t.plain = neighbour.Host{MAC: mac, IP: t.own}
	return neighbour.Question(t.plain, neighbour.Host{IP: t.Addr})
}

// called says that the bond has asked for nobody.
func (r *rounds) called(target int) { r.targets[target].call = false }

// sent says that a slave's probe went out in a form at a time, or failed to.
func (r *rounds) sent(s *slave, target int, f form, at time.Time, err error) {
	t, p := &r.targets[target], &s.probes[target]
	p.todo &^= f
	if f == plain && err != nil {
		p.todo = neutral // by the slave's own socket: it is the slave's path that is checked
		return
	}
	p.asked |= f
	if f == zero {
		p.zeroAt = at
	}
	if p.outcome != waiting { // what is added to a probe under way takes nothing from it
		p.sent, p.outcome = at, waiting
		if err != nil {
			p.outcome = failed
		}
	}
	// What was sent later than the rest has its time, too, until the next round.
	if end := at.Add(t.Timeout); end.After(t.deadline) && !end.After(t.began.Add(t.Interval)) {
		t.deadline = end
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

// hear takes a frame that came in by a card at a time, by the kernel's stamp,
// and is handled now.
func (r *rounds) hear(in card, frame []byte, at, now time.Time) {
	// The stamp is of the wall clock. If that was set meanwhile, the difference
	// is nonsense, and the time until now has to do.
	age := now.Sub(at)
	if age < 0 || age > time.Second {
		age = 0
	}
	if a, ok := neighbour.Parse(frame); ok {
		r.sign(a.About, a.MAC, now.Add(-age))
		r.answer(in, &a, at, now)
	} else if q, ok := neighbour.ParseRequest(frame); ok {
		r.sign(q.Sender.IP, q.Sender.MAC, now.Add(-age))
		if i, ok := r.byAddr[q.Wanted]; ok && q.Sender.IP.IsUnspecified() && !r.ours[q.Sender.MAC] {
			r.targets[i].doubt = now.Add(-age)
		}
	}
}

// sign takes a sign of life: somebody at a MAC uses an address.
func (r *rounds) sign(ip netip.Addr, mac state.MAC, at time.Time) {
	i, ok := r.byAddr[ip]
	if !ok || r.ours[mac] {
		return
	}
	t := &r.targets[i]
	if at.After(t.life) {
		t.life = at
	}
	if !mac.IsZero() && mac[0]&0x01 == 0 {
		t.mac = mac
	}
}

// answer takes an answer. Whatever is not the one in time to a probe under way
// is left out.
func (r *rounds) answer(in card, a *neighbour.Answer, at, now time.Time) {
	target, ok := r.byAddr[a.About]
	if !ok {
		return
	}
	t := &r.targets[target]
	s, f := r.whose(t, target, a, in)
	t.replied = t.replied || s != nil || a.Asker == t.plain
	if s == nil || r.strict && s.Index != in.index {
		return
	}
	p := &s.probes[target]
	p.heard |= f
	if p.outcome != waiting {
		return
	}
	sent := p.sent
	if f == zero && !p.zeroAt.IsZero() {
		sent = p.zeroAt
	}
	rtt, elapsed := at.Sub(sent), now.Sub(sent)
	if rtt < 0 || rtt > elapsed {
		rtt = elapsed
	}
	if sent.Add(rtt).After(t.deadline) {
		return
	}
	p.outcome, p.rtt = answered, rtt
}

// whose returns the slave whose probe an answer is for, and in which form that
// was; nil if it is for nobody here.
//
// It is what the packet says that counts, whichever address the frame is to: the
// MAC that asked is the probes' alone, or it is the bond's with its address, and
// then only the slave can have asked for it that the answer comes in by, since
// the switch sends it where the question came from. What hosts say unasked is for
// nobody: it would come in without a way from here to there.
func (r *rounds) whose(t *round, target int, a *neighbour.Answer, in card) (*slave, form) {
	if a.About.Is6() {
		return r.byLocal[a.Asker.IP], neutral
	}
	if s := r.byMAC[a.Asker.MAC]; s != nil {
		if a.Asker.IP.IsUnspecified() {
			return s, zero
		}
		return s, neutral
	}
	if a.Asker != t.plain {
		return nil, 0
	}
	for _, s := range r.slaves {
		if s.Index == in.index && s.probes[target].asked&plain != 0 {
			return s, plain
		}
	}
	return nil, 0
}

// end ends the rounds whose deadline has come. All frames that came in before
// now have to be handled.
func (r *rounds) end(now time.Time) {
	for i := range r.targets {
		t := &r.targets[i]
		if t.deadline.IsZero() || now.Before(t.deadline) {
			continue
		}
		r.learn(i)
		t.deadline, t.late, t.call = time.Time{}, time.Time{}, false
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
			probe.void()
		}
		r.changed = true
	}
}

// learn takes from a round which probes its target answers. A round in which it
// showed no sign of life says nothing of that.
func (r *rounds) learn(target int) {
	t := &r.targets[target]
	if t.fixed {
		return
	}
	var heard form
	missed := false
	for _, s := range r.slaves {
		p := &s.probes[target]
		heard |= p.heard
		missed = missed || p.outcome == waiting && p.asked&plain == 0
	}
	switch {
	case heard&neutral != 0:
		t.service, t.silent = asNeutral, false
	case heard&zero != 0:
		t.service, t.silent = asZero, false
	case missed && t.replied && t.holds(t.began):
		t.silent = true
	}
}

// next is when begin, release or end has something to do; zero: not before a slave changes.
func (r *rounds) next() time.Time {
	var next time.Time
	probing := slices.ContainsFunc(r.slaves, (*slave).probing)
	for i := range r.targets {
		at := r.targets[i].deadline
		if late := r.targets[i].late; !late.IsZero() && late.Before(at) {
			at = late
		}
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
	if r.bond.Index != 0 && !r.bond.Quiet &&
		slices.ContainsFunc(r.targets, func(t round) bool { return t.own.IsValid() }) {
		cards = append(cards, r.bondCard())
	}
	return cards
}
