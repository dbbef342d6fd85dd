package core

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
)

// A ledger has every failover of every bond once, whoever made it:
//
//	requested → written → kernel agreed → reported
//
// A failover that bondd requests is a claim once the driver has taken it
// (written). It becomes an entry of the flight recorder when the driver reports
// the new active slave (moved), and so does one that the driver made by itself.
// The entry is complete once the driver has seen the loss too (agree), and when
// the kernel's stamps have come (Stamps).
type ledger struct {
	history   []*state.Failover // newest first; replaced, never changed
	events    []state.Event     // newest first; replaced, never changed
	moves     []state.Event     // noted since the last snapshot
	published *state.Snapshot
}

// account is the part of the ledger that is one bond's.
type account struct {
	// told is the name of the active slave in the ledger, which is the kernel's
	// word. It is kept while there is no active slave, and empty until there was one.
	told   string
	claims []claim           // written, and not reported by the driver yet
	untold int               // the active slave of the last read if no event has reported it; 0: none
	before []state.SlaveView // the slaves when the last request was decided

	// The last request of ours: when what led to it was seen, why, and how long
	// it took from there. What the kernel changes soon after is its effect.
	pending     time.Time
	pendingFor  state.Reason
	pendingTook time.Duration
	actedAt     time.Time // when it was done
	decidedAt   time.Time // when the last decision was made

	failovers    map[state.Reason]uint64
	lastFailover time.Time
	lastTook     time.Duration // from carrier loss seen to switched; 0 where that is not known
	duration     state.Histogram
	open         uint64 // number of the entry that the kernel has not agreed with yet; 0: none

	orders []pendingOrder // carried out, and not answered yet
}

// A claim is a failover that was written.
type claim struct {
	to     int // the new active slave
	reason state.Reason
	cause  string // as Request has it
	found  state.Watch
	// When what led to it was seen, the request was begun, and it was answered.
	read, issued, done time.Time
	before             []state.SlaveView
}

// Upper bounds of the histograms, in seconds. A failover takes some hundred
// microseconds; more than miimon means that the kernel was first.
var (
	failoverBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	pollBuckets     = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1}
)

func newAccount() account {
	a := account{failovers: make(map[state.Reason]uint64), duration: state.NewHistogram(failoverBuckets...)}
	for _, r := range state.Reasons {
		a.failovers[r] = 0
	}
	return a
}

// effect is how long after a request of bondd's a change in the kernel is
// taken for its effect.
const effect = time.Second

// apply implements Input.
func (a Acted) apply(c *Core) {
	b := c.bondByIndex(a.Bond)
	if b == nil {
		c.reply(a.order, &state.Refusal{Why: "the bond was removed"})
		return
	}
	c.acted(b, &a)
	if a.order != 0 {
		c.obeyed(b, &a)
	}
	c.prepare()
	c.out.Publish = true
}

// acted notes what a request has done.
func (c *Core) acted(b *bond, a *Acted) {
	b.pending, b.pendingFor, b.pendingTook = a.since, a.reason, a.Done.Sub(a.since)
	b.actedAt = a.Done
	switch {
	case a.Err != nil:
		// The kernel sees the bond otherwise than we do, most likely because it
		// was first. What it says next decides.
		c.log(slog.LevelWarn, "failover: the kernel refused", slog.String("bond", b.cfg.Name),
			slog.String("to", c.nameOf(a.To)), slog.Any("err", a.Err))
		b.pending = time.Time{}
	case a.To != 0:
		b.pending = time.Time{} // it is done: what the driver does next is its own
		before := b.before
		if before == nil {
			before = c.viewsBefore(b)
		}
		b.active = a.To
		b.claims = append(
			b.claims,
			claim{
				to:     a.To,
				reason: a.reason,
				cause:  a.cause,
				found:  a.found,
				read:   a.since,
				issued: a.Issued,
				done:   a.Done,
				before: before,
			},
		)
	}
	b.before = nil
	c.probe(b) // what the bond itself asks leaves by another slave now
	// After an inspection the next read tells what the driver made of it.
	c.read(0)
}

// moved takes the kernel's word that a bond has another active slave.
func (c *Core) moved(b *bond, to int, at time.Time) {
	name := c.nameOf(to)
	if name == "" || name == b.told {
		return
	}
	if b.told == "" {
		b.told = name // the first there is: no failover
		c.out.Remember = true
		return
	}
	m := claim{to: to, reason: state.ReasonKernel, read: at, issued: at, done: at}
	from := c.net.Link(b.told)
	claimed := slices.IndexFunc(b.claims, func(o claim) bool { return o.to == to })
	switch {
	case claimed >= 0:
		m = b.claims[claimed]
		b.claims = b.claims[claimed+1:]
	case !b.activeBackup():
		b.told = name // the driver's affair in the modes that share the traffic out
		c.out.Remember = true
		return
	case !b.pending.IsZero() && at.Sub(b.pending) < effect:
		m.reason, m.read, m.issued = b.pendingFor, b.pending, b.pending
		b.pending = time.Time{}
	case from == nil || !c.links[from.Index].linkUp():
	case c.driverPrefers(b, name, from.Name):
		m.reason = state.ReasonPrimary
	default:
		b.ordered, b.byHand = to, from
		c.out.Remember = true
	}
	if m.before == nil {
		m.before = c.viewsBefore(b)
	}
	c.switched(b, &m)
}

// driverPrefers reports whether the driver takes traffic from one slave to
// another by itself: to the primary, or to a slave of a higher prio
// (bond_choose_primary_or_current, drivers/net/bonding/bond_main.c).
func (c *Core) driverPrefers(b *bond, to, from string) bool {
	if b.primary != "" && (to == b.primary || from == b.primary) {
		return to == b.primary
	}
	prio := func(name string) int {
		if i := slices.IndexFunc(b.slaves, func(m member) bool { return m.name == name }); i >= 0 {
			return b.cfg.Prio[b.slaves[i].ref]
		}
		return 0
	}
	return prio(to) > prio(from)
}

// judgeHand drops what looked like somebody's choice if the driver had a reason
// of its own: it has seen the link go that it left.
func (c *Core) judgeHand(b *bond) {
	before := b.byHand
	if before == nil {
		return
	}
	b.byHand = nil
	after := c.net.Link(before.Name)
	if after == nil || after.Slave == nil || before.Slave == nil || after.Slave.MIIStatus != state.MIIUp ||
		after.Slave.LinkFailures != before.Slave.LinkFailures {
		b.ordered = 0
		c.out.Remember = true
	}
}

// switched enters a failover of a bond that has an active slave.
func (c *Core) switched(b *bond, m *claim) {
	from, name := b.told, c.nameOf(m.to)
	b.told = name
	c.out.Remember = true
	took := m.done.Sub(m.read)
	b.failovers[m.reason]++
	b.lastFailover, b.lastTook = m.done, took
	entry := state.Failover{From: from, To: name, Reason: m.reason, Cause: cmp.Or(m.cause, c.cause(b, from, m.reason)),
		FoundBy: m.found, FoundWithin: b.foundWithin(m.found),
		EventRead: m.read, Decided: m.issued, Written: m.done, Before: m.before}
	if m.reason == state.ReasonKernel {
		entry.Decided, entry.Written = time.Time{}, time.Time{}
	}
	c.ledger.moves = append(c.ledger.moves, state.Event{Time: m.done, Bond: b.cfg.Name, Slave: name, Kind: "failover",
		Good:    m.reason == state.ReasonPrimary || m.reason == state.ReasonAdmin,
		Message: report.FailoverMessage(&entry, took)})
	if m.reason == state.ReasonLink || m.reason == state.ReasonPath {
		b.duration.Observe(took.Seconds())
	}
	c.record(b, entry)
}

// foundWithin is how long after a failure a watch may notice it: what a path costs
// is the longest of its probes that may be missed.
func (b *bond) foundWithin(w state.Watch) time.Duration {
	var longest time.Duration
	switch w {
	case state.WatchPoll:
		longest = PollEvery(&b.cfg)
	case state.WatchPath:
		for i := range b.cfg.Paths {
			p := &b.cfg.Paths[i]
			longest = max(longest, time.Duration(p.MissedMax)*p.Interval+p.Timeout)
		}
	}
	return longest
}

// dropped enters the slaves of a bond without an active slave that the driver
// has dropped since the read before: their share of the traffic has moved.
func (c *Core) dropped(b *bond, before *network, now time.Time) {
	for i := range b.slaves {
		name := b.slaves[i].name
		o, n := before.Link(name), c.net.Link(name)
		if o == nil || o.Master != b.index || !sends(o) || sends(n) {
			continue
		}
		reason := state.ReasonKernel
		if now.Sub(b.pending) < effect {
			reason = b.pendingFor
		}
		var took time.Duration // not known
		entry := state.Failover{From: name, Reason: reason, EventRead: now, Before: c.viewsBefore(b)}
		if why, parked := b.reasons[name]; parked {
			entry.Reason = why
		} else if n != nil && c.links[n.Index].detached {
			entry.Reason = state.ReasonLink
		} else if reason == state.ReasonLink {
			// The driver has dropped it by the time of this read, and may have done so before.
			entry.EventRead, entry.Written = b.pending, b.actedAt
			took = max(now.Sub(b.pending), b.pendingTook)
			b.duration.Observe(took.Seconds())
		}
		entry.Cause = c.cause(b, name, entry.Reason)
		b.failovers[entry.Reason]++
		b.lastFailover, b.lastTook = now, took
		c.ledger.moves = append(c.ledger.moves, state.Event{Time: now, Bond: b.cfg.Name, Slave: name, Kind: "failover",
			Message: report.FailoverMessage(&entry, took)})
		c.record(b, entry)
	}
}

// sends reports whether the driver sends by a slave: while downdelay runs, it
// still does.
func sends(l *state.Link) bool {
	return l != nil && l.Slave != nil && (l.Slave.MIIStatus == state.MIIUp || l.Slave.MIIStatus == state.MIIFail)
}

// carrierLostBefore is how long before bondd read of it a driver may have
// logged a lost link.
const carrierLostBefore = 5 * time.Second

// record adds a failover to the flight recorder. What is found out about it
// later is added by amend.
func (c *Core) record(b *bond, s state.Failover) {
	s.Bond = b.cfg.Name
	if len(c.ledger.history) > 0 {
		s.Seq = c.ledger.history[0].Seq
	}
	s.Seq++
	kept := c.ledger.history[:min(len(c.ledger.history), state.MaxHistory-1)]
	c.ledger.history = append([]*state.Failover{&s}, kept...)
	b.open = s.Seq
	if s.To == "" && s.Reason != state.ReasonLink {
		return
	}
	q := &StampRequest{Seq: s.Seq, Since: s.EventRead.Add(-carrierLostBefore),
		Mark: fmt.Sprintf("%s: %s -> %s (%s)", s.Bond, s.From, s.To, s.Reason)}
	if l := c.net.Link(s.To); l != nil {
		q.Index = l.Index
	}
	if s.Reason == state.ReasonLink || s.Reason == state.ReasonKernel {
		q.Lost = s.From
		// What was logged before the link had returned is an earlier loss.
		if l := c.net.Link(s.From); l != nil && c.links[l.Index] != nil && c.links[l.Index].returned.After(q.Since) {
			q.Since = c.links[l.Index].returned
		}
	}
	c.out.Stamps = q
}

// amend replaces an entry of the flight recorder by one that knows more.
func (c *Core) amend(seq uint64, how func(*state.Failover)) {
	i := slices.IndexFunc(c.ledger.history, func(s *state.Failover) bool { return s.Seq == seq })
	if i < 0 {
		return
	}
	s := *c.ledger.history[i]
	how(&s)
	c.ledger.history = slices.Clone(c.ledger.history)
	c.ledger.history[i] = &s
}

// agree completes the newest entry of a bond once the kernel has the same view.
func (c *Core) agree(b *bond, now time.Time) {
	if b.open == 0 {
		return
	}
	for i := range b.slaves {
		l := c.net.Link(b.slaves[i].name)
		if l == nil || l.Master != b.index || l.Slave == nil {
			continue
		}
		// Of a dead device the driver sees the carrier, which stays.
		if known := c.links[l.Index]; !known.linkUp() && !known.gone && l.Slave.MIIStatus == state.MIIUp {
			return
		}
	}
	c.amend(b.open, func(s *state.Failover) { s.Agreed, s.After = now, c.views(b) })
	b.open = 0
}

// apply implements Input.
func (s Stamps) apply(c *Core) {
	c.amend(s.Seq, func(entry *state.Failover) {
		entry.FirstPacket = s.FirstPacket
		if !s.CarrierLost.After(entry.EventRead) { // a later one is of another loss
			entry.CarrierLost = s.CarrierLost
		}
	})
	c.out.Publish = true
}

// views are the slaves of a bond as the flight recorder keeps them.
func (c *Core) views(b *bond) []state.SlaveView {
	views := make([]state.SlaveView, 0, len(b.slaves))
	for i := range b.slaves {
		s := c.slaveState(b, &b.slaves[i])
		views = append(views, viewOf(&s))
	}
	return views
}

// viewsBefore are the slaves of a bond as they were last published: before the
// event at hand.
func (c *Core) viewsBefore(b *bond) []state.SlaveView {
	if c.ledger.published == nil {
		return []state.SlaveView{}
	}
	published := c.ledger.published.Bond(b.cfg.Name)
	if published == nil {
		return []state.SlaveView{}
	}
	views := make([]state.SlaveView, 0, len(published.Slaves))
	for i := range published.Slaves {
		views = append(views, viewOf(&published.Slaves[i]))
	}
	return views
}

func viewOf(s *state.Slave) state.SlaveView {
	return state.SlaveView{Name: s.Name, Active: s.Active, LinkUp: s.LinkUp, PathUp: s.PathUp,
		Suppressed: s.Suppressed, MIIStatus: s.MIIStatus}
}
