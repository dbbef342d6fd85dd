package engine

import (
	"fmt"
	"slices"
	"time"

	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/hwprobe"
)

// Upper bounds of the histograms, in seconds. A switch takes some hundred
// microseconds; more than miimon means that the kernel was first.
var (
	failoverBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	pollBuckets     = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1}
)

// A bond is what the engine remembers of one bond between reads.
type bond struct {
	cfg   config.Bond
	index int // interface index; 0: it is not there

	slaves  []member // as configured, in order of preference
	usable  []string // names of the NICs that are there and may be enslaved
	primary string   // name of the primary's NIC; empty: none, or not there
	known   []string // with automatic slaves: every NIC that was ever chosen

	// active is the index of the active slave, by the kernel or by what was
	// written since.
	active int
	// told is the name of the active slave in the story of switches, which is
	// the kernel's: an act is part of it once the kernel has told of it. It is
	// kept while there is no active slave, and empty until there was one.
	told   string
	claims []act // done, and not told of yet
	untold int   // the active slave of the last read if it was not told of; 0: none
	// byHand is set while it is not known whether chosen was somebody's choice
	// or the driver had a reason of its own, see judgeHand.
	byHand *state.Link
	chosen int      // index of the slave that an operator asked for, see failover.Bond
	orders []*order // carried out, and not answered yet

	// The last request of ours: when what led to it was seen, why, and how long
	// it took from there. What the kernel changes soon after is its effect.
	pending     time.Time
	pendingFor  state.Reason
	pendingTook time.Duration
	actedAt     time.Time // when it was done
	// decidedOn is what the last decision was made on: the same one is not
	// carried out twice before the kernel's view was read again.
	decidedOn failover.Bond

	lease *reconcile.Lease
	dhcp  string // what the DHCP client is doing, in words

	drift   []string   // writes that are missing and were refused
	tried   []state.Op // the last plan that was carried out, as far as it could
	retryAt time.Time  // when it is tried again; zero: nothing of it was refused
	retries int
	refused map[string]string // why the kernel did not take a NIC, by its name

	failovers    map[state.Reason]uint64
	lastFailover time.Time
	lastTook     time.Duration // from carrier loss seen to switched; 0 where that is not known
	duration     state.Histogram
	open         uint64 // number of the recorder's entry that the kernel has not agreed with yet; 0: none

	paths      PathChecker      // nil: there are no paths
	pathStates pathcheck.Report // its last report

	watches map[string]*watch // by the NIC's name
	parked  []string          // NICs that are kept out, see failover.Park
	excused map[string]bool   // NICs that were, and that LACP has to judge since, see excuse
	held    bool              // the driver is kept from choosing, see failover.Hold
}

// A watch is what is remembered of a slave's failures.
type watch struct {
	failover.Damper
	master int  // the bond that it was in; a change of it takes the link along
	linked bool // it had a link, since then
	blamed bool // its path was dead
}

// A member is one configured slave.
type member struct {
	ref     string // as configured
	name    string // of the NIC that answers to it, or the reference itself
	present bool
	leftOut string // why it is not enslaved although it is there
}

// effect is how long after a request of bondd's a change in the kernel is
// taken for its effect.
const effect = time.Second

func newBond(cfg config.Bond) *bond {
	b := &bond{cfg: cfg, refused: make(map[string]string), watches: make(map[string]*watch), excused: make(map[string]bool), failovers: make(map[state.Reason]uint64), duration: state.NewHistogram(failoverBuckets...)}
	for _, r := range state.Reasons {
		b.failovers[r] = 0
	}
	for _, ref := range cfg.Slaves {
		b.slaves = append(b.slaves, member{ref: ref, name: ref})
	}
	return b
}

func (b *bond) activeBackup() bool { return b.cfg.Mode() == "active-backup" }

// A link is what is known of one interface from events and polls, which are
// newer than the last read.
type link struct {
	up   bool      // up and with carrier, by rtnetlink
	upAt time.Time // when that was told

	// asked is what ethtool said last; it counts only once it said "link", see
	// kernel.Poller.
	asked   bool
	trusted bool

	returned time.Time // when it was last found to have link again
}

// set takes a change of carrier. What ethtool said before is void.
func (l *link) set(up bool, at time.Time) {
	l.up, l.upAt, l.asked = up, at, up && l.trusted
	if up {
		l.returned = at
	}
}

// linkUp combines the watches: each alone may find that a link is gone.
func (l *link) linkUp() bool { return l != nil && l.up && (l.asked || !l.trusted) }

// A poll is one round of the poller.
type poll struct {
	began time.Time
	took  time.Duration
	up    map[int]bool // interface index: has link
	err   error
}

// takesPart reports whether a link is one of the bond's slaves, parked ones included.
func (e *Engine) takesPart(b *bond, l *state.Link) bool {
	if l == nil || b.index == 0 {
		return false
	}
	return l.Master == b.index && l.Slave != nil || l.Master == 0 && slices.Contains(b.parked, l.Name)
}

// view is what failover decides on.
func (e *Engine) view(b *bond) failover.Bond {
	now := time.Now()
	v := failover.Bond{
		ActiveBackup: b.activeBackup(),
		Active:       b.active,
		Chosen:       b.chosen,
		Held:         b.held,
		Reselect:     reselects[b.cfg.Options["primary_reselect"]],
		UpDelay:      b.cfg.UpDelay() > 0,
		DownDelay:    b.cfg.DownDelay() > 0,
		Monitored:    b.cfg.Miimon() > 0,
		AllPaths:     b.cfg.PathPolicy != "any",
		Slaves:       make([]failover.Slave, 0, len(b.slaves)),
	}
	for i := range b.slaves {
		m := &b.slaves[i]
		l := e.net.Link(m.name)
		if !e.takesPart(b, l) {
			continue
		}
		if l.Name == b.primary {
			v.Primary = l.Index
		}
		s := failover.Slave{Index: l.Index, LinkUp: e.links[l.Index].linkUp(), MII: state.MIIDown, Prio: b.cfg.Prio[m.ref], Parked: l.Slave == nil, Excused: b.excused[l.Name]}
		if l.Slave != nil {
			s.MII = l.Slave.MIIStatus
		}
		if nic := e.nic(l.Name); nic != nil && nic.SpeedMbps != nil {
			s.Speed, s.FullDuplex = *nic.SpeedMbps, nic.Duplex == "full"
		}
		if w := b.watches[l.Name]; w != nil {
			s.Suppressed = w.Suppressed(now)
		}
		for t, p := range b.pathStates[l.Index] {
			s.Paths[t] = p.State
		}
		v.Slaves = append(v.Slaves, s)
	}
	return v
}

var reselects = map[string]failover.Reselect{"always": failover.Always, "better": failover.Better, "failure": failover.Failure}

// request is the kernel's form of a decision about a bond.
func (b *bond) request(d failover.Decision) kernel.Request {
	if d.Action == failover.Switch {
		return kernel.SetActiveSlave(b.index, d.To)
	}
	return kernel.InspectNow(b.index, b.cfg.Miimon())
}

// fails counts the failures of a bond's slaves since it was last asked: a link
// that is lost, a path that is dead. It reports whether there was one.
func (e *Engine) fails(b *bond, v *failover.Bond, now time.Time) (failed bool) {
	if b.cfg.Damping == nil {
		return false
	}
	for i := range v.Slaves {
		s := &v.Slaves[i]
		l := e.net.LinkByIndex(s.Index)
		w := b.watches[l.Name]
		if w == nil {
			d := b.cfg.Damping
			w = &watch{Damper: failover.Damper{HalfLife: d.HalfLife, Suppress: d.Suppress, Reuse: d.Reuse}}
			b.watches[l.Name] = w
		}
		if w.master != l.Master {
			// To come into a bond and to leave it costs a card its link.
			w.master, w.linked = l.Master, false
		}
		blamed := failover.Blamed(v, s.Index)
		if w.linked && !s.LinkUp || blamed && !w.blamed {
			w.Fail(now)
			failed = true
		}
		w.linked = s.LinkUp
		if s.LinkUp {
			w.blamed = blamed
		}
	}
	return failed
}

// An act is a request that was carried out, or refused.
type act struct {
	to     int // the new active slave, or 0 for an inspection
	reason state.Reason
	// When what led to it was seen, the request was begun, and it was answered.
	read, issued, done time.Time
	before             []state.SlaveView
}

// decide asks failover about a bond and carries the answer out. since is when
// what led to it was seen.
func (e *Engine) decide(b *bond, since time.Time) {
	v := e.view(b)
	if e.fails(b, &v, time.Now()) {
		v = e.view(b)
	}
	if b.chosen != 0 && b.chosen != b.active {
		b.chosen, v.Chosen = 0, 0
	}
	e.probeFrom(b)
	e.excuse(b, &v)
	d := failover.Decide(&v)
	if d.Action == failover.Nothing {
		b.decidedOn = failover.Bond{}
		e.spare(b, &v)
		return
	}
	if v.Equal(&b.decidedOn) {
		return // it was done, and the kernel's view is not read yet
	}
	b.decidedOn = v
	a := act{to: d.To, reason: d.Reason, read: since, issued: time.Now(), before: e.viewsBefore(b)}
	r := b.request(d)
	err := e.deps.Switcher.Do(&r)
	a.done = time.Now()
	e.acted(b, a, err)
}

// excuse keeps a NIC of a LACP bond out for a moment only. Out there the switch
// would not hear LACP from it and pass nothing, so that its path could never
// come back; but a slave that comes anew is not used before both ends agree.
// Until they do, its path is not judged.
func (e *Engine) excuse(b *bond, v *failover.Bond) {
	if b.cfg.Mode() != "802.3ad" {
		return
	}
	for i := range v.Slaves {
		s := &v.Slaves[i]
		l := e.net.LinkByIndex(s.Index)
		name := l.Name
		switch {
		case s.Parked && !s.Suppressed, l.Slave != nil && l.Slave.LACP != nil && !l.Slave.LACP.Carries():
			b.excused[name], s.Excused = true, true
		case b.excused[name] && slices.Contains(s.Paths[:], state.PathUp) && !failover.Blamed(v, s.Index):
			delete(b.excused, name)
			s.Excused = false
		}
	}
}

// spare sees to it that the driver does not use what it should not. The writes
// are for the next refresh.
func (e *Engine) spare(b *bond, v *failover.Bond) {
	held := failover.Hold(v)
	var parked []string
	for _, index := range failover.Park(v) {
		parked = append(parked, e.nameOf(index))
	}
	if held == b.held && slices.Equal(parked, b.parked) {
		return
	}
	b.held, b.parked = held, parked
	e.wake()
}

// acted notes what a request of the engine's or the reflex's has done.
func (e *Engine) acted(b *bond, a act, err error) {
	b.pending, b.pendingFor, b.pendingTook = a.read, a.reason, a.done.Sub(a.read)
	b.actedAt = a.done
	switch {
	case err != nil:
		// The kernel sees the bond otherwise than we do, most likely because it
		// was first. What it says next decides.
		e.log.Warn("failover: the kernel refused", "bond", b.cfg.Name, "to", e.nameOf(a.to), "err", err)
		b.pending = time.Time{}
	case a.to != 0:
		b.pending = time.Time{} // it is done: what the driver does next is its own
		b.active = a.to
		b.claims = append(b.claims, a)
		e.probeFrom(b) // what the bond itself asks leaves by another slave now
	}
	// After an inspection the next read tells what the driver made of it.
	e.wake()
}

// moved takes the kernel's word that a bond has another active slave.
func (e *Engine) moved(b *bond, to int, at time.Time) {
	name := e.nameOf(to)
	if name == "" || name == b.told {
		return
	}
	if b.told == "" {
		b.told = name // the first there is: no switch
		return
	}
	a := act{to: to, reason: state.ReasonKernel, read: at, issued: at, done: at, before: e.viewsBefore(b)}
	from := e.net.Link(b.told)
	if i := slices.IndexFunc(b.claims, func(c act) bool { return c.to == to }); i >= 0 {
		a = b.claims[i]
		b.claims = b.claims[i+1:]
	} else if !b.pending.IsZero() && at.Sub(b.pending) < effect {
		a.reason, a.read, a.issued = b.pendingFor, b.pending, b.pending
		b.pending = time.Time{}
	} else if from != nil && e.links[from.Index].linkUp() {
		if name == b.primary {
			a.reason = state.ReasonPrimary
		} else {
			b.chosen, b.byHand = to, from
		}
	}
	e.switched(b, a)
}

// judgeHand drops what looked like somebody's choice if the driver had a reason
// of its own: it has seen the link go that it left.
func (e *Engine) judgeHand(b *bond) {
	if before := b.byHand; before != nil {
		b.byHand = nil
		after := e.net.Link(before.Name)
		if after == nil || after.Slave == nil || before.Slave == nil || after.Slave.MIIStatus != state.MIIUp || after.Slave.LinkFailures != before.Slave.LinkFailures {
			b.chosen = 0
		}
	}
}

// switched notes that a bond's traffic moved to another slave.
func (e *Engine) switched(b *bond, a act) {
	from, name := b.told, e.nameOf(a.to)
	b.told = name
	took := a.done.Sub(a.read)
	b.failovers[a.reason]++
	b.lastFailover, b.lastTook = a.done, took
	entry := state.Switch{From: from, To: name, Reason: a.reason, Cause: e.cause(b, from, a.reason), EventRead: a.read, Decided: a.issued, Written: a.done, Before: a.before}
	if a.reason == state.ReasonKernel {
		entry.Decided, entry.Written = time.Time{}, time.Time{}
	}
	e.switches = append(e.switches, state.Event{Time: a.done, Bond: b.cfg.Name, Slave: name, Kind: "failover", Good: a.reason == state.ReasonPrimary || a.reason == state.ReasonAdmin,
		Message: failoverMessage(&entry, took)})
	if a.reason == state.ReasonLink || a.reason == state.ReasonPath {
		b.duration.Observe(took.Seconds())
	}
	e.record(b, entry)
}

// dropped notes the slaves of a bond without an active slave that the driver
// has dropped since the read before: their share of the traffic has moved.
func (e *Engine) dropped(b *bond, before *network, now time.Time) {
	for i := range b.slaves {
		name := b.slaves[i].name
		o, n := before.Link(name), e.net.Link(name)
		if o == nil || o.Master != b.index || !sends(o) || sends(n) {
			continue
		}
		reason := state.ReasonKernel
		if now.Sub(b.pending) < effect {
			reason = b.pendingFor
			b.duration.Observe(b.pendingTook.Seconds())
		}
		entry := state.Switch{From: name, Reason: reason, EventRead: now, Before: e.viewsBefore(b)}
		if slices.Contains(b.parked, name) {
			entry.Reason = state.ReasonPath
			if w := b.watches[name]; w != nil && w.Suppressed(now) {
				entry.Reason = state.ReasonLink
			}
		} else if reason == state.ReasonLink {
			entry.EventRead, entry.Written = b.pending, b.actedAt
		}
		entry.Cause = e.cause(b, name, entry.Reason)
		b.failovers[entry.Reason]++
		b.lastFailover, b.lastTook = now, b.pendingTook
		e.switches = append(e.switches, state.Event{Time: now, Bond: b.cfg.Name, Slave: name, Kind: "failover", Message: failoverMessage(&entry, b.pendingTook)})
		e.record(b, entry)
	}
}

// sends reports whether the driver sends by a slave: while downdelay runs, it
// still does.
func sends(l *state.Link) bool {
	return l != nil && l.Slave != nil && (l.Slave.MIIStatus == state.MIIUp || l.Slave.MIIStatus == state.MIIFail)
}

// nameOf is the name of a link by its index, or empty.
func (e *Engine) nameOf(index int) string {
	if l := e.net.LinkByIndex(index); index != 0 && l != nil {
		return l.Name
	}
	return ""
}

// bondOf is the bond that a link is enslaved to, or nil.
func (e *Engine) bondOf(index int) *bond {
	l := e.net.LinkByIndex(index)
	if l == nil || l.Master == 0 {
		return nil
	}
	return e.bondByIndex(l.Master)
}

func (e *Engine) bondByIndex(index int) *bond {
	for _, b := range e.bonds {
		if b.index == index && index != 0 {
			return b
		}
	}
	return nil
}

// onEvent takes a link event and reports whether a full read should follow.
func (e *Engine) onEvent(s *seen) (read bool) {
	e.consumed = s.count
	if e.reflex.dropped.Swap(false) || s.Lost {
		e.totals.Resyncs++
		e.log.Warn("link events were lost: everything is read again")
		e.reflex.prepared.Store(nil)
		e.wake()
		return true
	}
	if s.Received.Before(e.lastRead) {
		e.prepare() // older than what was read since
		return false
	}
	if b := e.bondByIndex(s.Index); b != nil && s.Failover && b.activeBackup() {
		if s.Received.After(b.actedAt) {
			b.active = s.Active
		}
		e.moved(b, s.Active, s.Received)
		if s.Active != 0 { // the driver may be about to choose another one
			e.decide(b, s.Received)
			e.publish(time.Now())
		}
	}
	l := e.links[s.Index]
	if l == nil {
		return true // a new interface: the read tells what it is
	}
	// Most events about a slave are not about its carrier. Those say what a
	// driver was known to say before, and a poll may have found out more since.
	if l.up != s.LinkUp {
		l.set(s.LinkUp, s.Received)
	}
	b := e.bondOf(s.Index)
	if s.bond != 0 {
		if acted := e.bondByIndex(s.bond); acted != nil {
			e.acted(acted, act{to: s.to, reason: state.ReasonLink, read: s.Received, issued: s.issued, done: s.done, before: e.viewsBefore(acted)}, s.err)
		}
	}
	if b != nil {
		if s.bond == 0 || s.err != nil {
			e.decide(b, s.Received)
		}
		e.publish(time.Now())
	}
	e.prepare()
	return b != nil || e.bondByIndex(s.Index) != nil || s.Gone || e.wanted(s.Index)
}

// wanted reports whether a link is one that some bond asks for.
func (e *Engine) wanted(index int) bool {
	name := e.nameOf(index)
	for _, b := range e.bonds {
		if slices.ContainsFunc(b.slaves, func(m member) bool { return m.name == name }) {
			return true
		}
	}
	return false
}

// onPoll takes one round of the poller and reports whether a full read should follow.
func (e *Engine) onPoll(p *poll) (read bool) {
	e.totals.Polls++
	e.totals.PollDuration.Observe(p.took.Seconds())
	if p.err != nil {
		return false
	}
	for index, up := range p.up {
		l := e.links[index]
		if l == nil || p.began.Before(l.upAt) || p.began.Before(e.lastRead) {
			continue // an event or a read is newer
		}
		if up {
			l.trusted = true
		}
		before := l.linkUp()
		l.asked = up
		b := e.bondOf(index)
		if b == nil || !l.trusted {
			continue
		}
		if up != l.up {
			e.totals.Disagreements++
			read = true
		}
		if l.linkUp() != before {
			if up {
				l.returned = p.began
			}
			e.decide(b, p.began.Add(p.took))
			e.publish(time.Now())
			e.prepare()
		}
	}
	return read
}

// prepare leaves the reflex what it should do when a slave is lost.
func (e *Engine) prepare() {
	r := &reactions{consumed: e.consumed}
	for _, b := range e.bonds {
		v := e.view(b)
		for i := range v.Slaves {
			s := &v.Slaves[i]
			if !s.LinkUp || v.ActiveBackup && s.Index != v.Active {
				continue // there is no answer to the loss of a standby
			}
			if d := failover.Without(&v, s.Index); d.Action != failover.Nothing {
				r.list = append(r.list, reaction{slave: s.Index, bond: b.index, to: d.To, request: b.request(d)})
			}
		}
	}
	e.reflex.prepared.Store(r)
}

// judge matches the configuration with the hardware.
func (e *Engine) judge() {
	policy := hwprobe.Policy{Mode: hwprobe.Mode(e.cfg.Hardware.Policy), Match: hwprobe.Match(e.cfg.Hardware.Match)}
	// What another bond names is not for the automatic choice.
	named := make(map[string]bool)
	e.judged = true
	for _, b := range e.bonds {
		for _, ref := range b.cfg.Slaves {
			if name, ok := hwprobe.Resolve(e.nics, ref); ok {
				named[name] = true
			}
		}
		e.judged = e.judged && !b.cfg.Auto // that choice depends on addresses too
	}
	free := slices.DeleteFunc(slices.Clone(e.nics), func(n hwprobe.NIC) bool { return named[n.Name] })
	var reports []hwprobe.Report
	for _, b := range e.bonds {
		refs := b.cfg.Slaves
		if b.cfg.Auto {
			// A NIC that was chosen once stays configured: that it is gone is news.
			for _, name := range hwprobe.Judge(e.idle(free), policy, nil).Members {
				if !slices.Contains(b.known, name) {
					b.known = append(b.known, name)
				}
			}
			refs = b.known
		}
		report := hwprobe.Judge(e.nics, policy, refs)
		if b.cfg.Auto && len(refs) == 0 {
			report = hwprobe.Judge(nil, policy, nil)
		}
		reports = append(reports, report)
		b.slaves, b.usable, b.primary = nil, nil, ""
		for _, ref := range refs {
			m := member{ref: ref, name: ref}
			if name, ok := hwprobe.Resolve(e.nics, ref); ok {
				m.name = name
				m.present = e.net.Link(name) != nil
			}
			fit := slices.Contains(report.Members, m.name)
			if m.present && !fit {
				m.leftOut = report.LeftOut[m.name]
			}
			if m.present && fit {
				b.usable = append(b.usable, m.name)
			}
			if m.present && ref == b.cfg.Options["primary"] {
				b.primary = m.name
			}
			b.slaves = append(b.slaves, m)
		}
		if !b.cfg.Auto {
			continue
		}
		for _, n := range free {
			if why := e.inUse(n.Name); why != "" && !n.Virtual() && !slices.Contains(b.known, n.Name) {
				b.slaves = append(b.slaves, member{ref: n.Name, name: n.Name, present: true, leftOut: why})
			}
		}
	}
	e.hardware = hwprobe.Merge(reports...)
}

// idle are the NICs that an automatic choice may take: whoever named no slaves
// did not mean to lose a card that something else gave an address to. A NIC in a
// bond has none.
func (e *Engine) idle(nics []hwprobe.NIC) []hwprobe.NIC {
	return slices.DeleteFunc(slices.Clone(nics), func(n hwprobe.NIC) bool {
		return e.inUse(n.Name) != ""
	})
}

// inUse says why an automatic choice leaves a NIC alone; empty if it does not.
func (e *Engine) inUse(name string) string {
	l := e.net.Link(name)
	if l == nil {
		return ""
	}
	for _, a := range e.net.Addresses {
		if a.Index == l.Index && !a.LinkLocal {
			return fmt.Sprintf("%s is in use, with address %s: to have it bonded, name it under slaves in the configuration", name, a.Prefix)
		}
	}
	return ""
}
