package engine

import (
	"fmt"
	"slices"
	"time"

	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/kernel"
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
	// written since. last is the name of the one before, kept while there is none.
	active int
	last   string
	left   int // see failover.Bond

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

	drift   []string // writes that are missing and were refused
	retryAt time.Time
	retries int
	refused map[string]string // why the kernel did not take a NIC, by its name

	failovers    map[state.Reason]uint64
	lastFailover time.Time
	lastTook     time.Duration // from carrier loss seen to switched; 0 where that is not known
	duration     state.Histogram
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
	b := &bond{cfg: cfg, refused: make(map[string]string), failovers: make(map[state.Reason]uint64), duration: state.NewHistogram(failoverBuckets...)}
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
}

// set takes a change of carrier. What ethtool said before is void.
func (l *link) set(up bool, at time.Time) { l.up, l.upAt, l.asked = up, at, up && l.trusted }

// linkUp combines the watches: each alone may find that a link is gone.
func (l *link) linkUp() bool { return l != nil && l.up && (l.asked || !l.trusted) }

// A poll is one round of the poller.
type poll struct {
	began time.Time
	took  time.Duration
	up    map[int]bool // interface index: has link
	err   error
}

// view is what failover decides on.
func (e *Engine) view(b *bond) failover.Bond {
	v := failover.Bond{
		ActiveBackup: b.activeBackup(),
		Active:       b.active,
		Left:         b.left,
		UpDelay:      b.cfg.UpDelay() > 0,
		DownDelay:    b.cfg.DownDelay() > 0,
	}
	for i := range b.slaves {
		l := e.net.Link(b.slaves[i].name)
		if l == nil || b.index == 0 || l.Master != b.index || l.Slave == nil {
			continue
		}
		if l.Name == b.primary {
			v.Primary = l.Index
		}
		v.Slaves = append(v.Slaves, failover.Slave{Index: l.Index, LinkUp: e.links[l.Index].linkUp(), MII: l.Slave.MIIStatus})
	}
	return v
}

func sameView(a, b *failover.Bond) bool {
	return a.ActiveBackup == b.ActiveBackup && a.Active == b.Active && a.Primary == b.Primary && a.Left == b.Left &&
		a.UpDelay == b.UpDelay && a.DownDelay == b.DownDelay && slices.Equal(a.Slaves, b.Slaves)
}

// request is the kernel's form of a decision about a bond.
func (b *bond) request(d failover.Decision) kernel.Request {
	switch d.Action {
	case failover.Switch:
		return kernel.SetActiveSlave(b.index, d.To)
	case failover.Reselect:
		return kernel.Reselect(b.index, b.cfg.Options["primary_reselect"])
	}
	return kernel.InspectNow(b.index, b.cfg.Miimon())
}

// decide asks failover about a bond and carries the answer out. since is when
// what led to it was seen.
func (e *Engine) decide(b *bond, since time.Time) {
	v := e.view(b)
	d := failover.Decide(&v)
	if d.Action == failover.Nothing {
		b.decidedOn = failover.Bond{}
		return
	}
	if sameView(&v, &b.decidedOn) {
		return // it was done, and the kernel's view is not read yet
	}
	b.decidedOn = v
	if d.Action == failover.Reselect {
		b.left = 0 // once is enough: the driver may choose to stay
	}
	r := b.request(d)
	err := e.deps.Switcher.Do(&r)
	e.acted(b, d.To, d.Reason, since, time.Now(), err)
}

// acted notes what a request of the engine's or the reflex's has done.
func (e *Engine) acted(b *bond, to int, reason state.Reason, since, done time.Time, err error) {
	b.pending, b.pendingFor, b.pendingTook = since, reason, done.Sub(since)
	b.actedAt = done
	switch {
	case err != nil:
		// The kernel sees the bond otherwise than we do, most likely because it
		// was first. What it says next decides.
		e.log.Warn("failover: the kernel refused", "bond", b.cfg.Name, "to", e.nameOf(to), "err", err)
		b.pending = time.Time{}
	case to != 0:
		b.pending = time.Time{} // it is done: what the driver does next is its own
		// The driver may have been on the primary without our knowing yet.
		if l := e.net.Link(b.primary); l != nil && l.Index != to {
			b.left = l.Index
		}
		e.switched(b, to, reason, since, done)
	}
	// After an inspection the next read tells what the driver made of it.
	e.wake()
}

// switched notes that a bond's traffic moved to another slave.
func (e *Engine) switched(b *bond, to int, reason state.Reason, since, done time.Time) {
	from := e.nameOf(b.active)
	if from == "" {
		from = b.last
	}
	b.active = to
	name := e.nameOf(to)
	if name == "" || name == from {
		return
	}
	b.last = name
	b.failovers[reason]++
	b.lastFailover, b.lastTook = done, done.Sub(since)
	e.switches = append(e.switches, state.Event{Time: done, Bond: b.cfg.Name, Slave: name, Kind: "failover", Good: reason == state.ReasonPrimary,
		Message: failoverMessage(from, name, reason, done.Sub(since))})
	if reason != state.ReasonKernel && reason != state.ReasonPrimary {
		b.duration.Observe(done.Sub(since).Seconds())
	}
}

// dropped notes the slaves of a bond without an active slave that the driver
// has dropped since the read before: their share of the traffic has moved.
func (e *Engine) dropped(b *bond, before *state.Network, now time.Time) {
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
		b.failovers[reason]++
		b.lastFailover, b.lastTook = now, b.pendingTook
		e.switches = append(e.switches, state.Event{Time: now, Bond: b.cfg.Name, Slave: name, Kind: "failover",
			Message: failoverMessage(name, "", reason, b.pendingTook)})
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
			e.acted(acted, s.to, state.ReasonLink, s.Received, s.done, s.err)
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
			if !s.LinkUp {
				continue
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
	free := slices.DeleteFunc(slices.Clone(e.nics), func(n hwprobe.NIC) bool {
		return slices.ContainsFunc(e.bonds, func(b *bond) bool {
			return slices.ContainsFunc(b.cfg.Slaves, func(ref string) bool {
				name, ok := hwprobe.Resolve(e.nics, ref)
				return ok && name == n.Name
			})
		})
	})
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
