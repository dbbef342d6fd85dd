package core

import (
	"slices"
	"time"

	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/config/bonding"
)

// restrictions are what keeps the driver from using slaves as it likes.
type restrictions struct {
	watches map[string]*watch       // by the NIC's name
	parked  []string                // NICs that are kept out, see failover.Park
	reasons map[string]state.Reason // why each of them was when it began
	quiet   map[string]quiet        // those of them that have to have no link for now, see quieten
	excused map[string]bool         // NICs that were, and that LACP has to judge since, see excuse
	held    bool                    // the driver is kept from choosing, see failover.Hold
	ordered int                     // index of the slave that an operator asked for, see failover.Bond
	// byHand is set while it is not known whether ordered was somebody's choice
	// or the driver had a reason of its own, see judgeHand.
	byHand *state.Link
	// recalled is what an earlier run has kept, until the kernel's state was read once.
	recalled BondMemory

	// inherited is set once the restrictions of an earlier run were taken over
	// from the kernel; looked once every slave's paths were judged for the first
	// time, or could have been. Until then no restriction ends.
	inherited bool
	lookUntil time.Time
	looked    bool
}

// A watch is what is remembered of a slave's failures.
type watch struct {
	failover.Damper
	master int  // the bond that it was in; a change of it takes the link along
	linked bool // it had a link, since then
	blamed bool // its path was dead
}

func newRestrictions(cfg *config.Bond) restrictions {
	return restrictions{watches: make(map[string]*watch), excused: make(map[string]bool),
		reasons: make(map[string]state.Reason), quiet: make(map[string]quiet), looked: len(cfg.Paths) == 0}
}

// inherit takes over what an earlier run of bondd has left in the kernel: it was
// there for a reason, which has to be looked at before it ends. It reports
// whether this was the first read of the bond.
func (c *Core) inherit(b *bond, l *state.Link) (first bool) {
	if b.inherited {
		return false
	}
	b.inherited = true
	if s := c.net.Link(b.recalled.Ordered); s != nil && s.Index == l.Bond.ActiveSlave {
		b.ordered = s.Index
	}
	b.told = b.recalled.Active // what the driver did since is a failover like any other
	wasParked := b.recalled.Parked
	b.recalled = BondMemory{}
	if b.looked {
		return true
	}
	b.lookUntil = c.now.Add(b.judgedIn())
	configured := b.cfg.Options["primary_reselect"]
	b.held = configured != "" && configured != "failure" && l.Bond.Options["primary_reselect"] == "failure"
	if b.activeBackup() {
		return true
	}
	for i := range b.slaves {
		s := c.net.Link(b.slaves[i].name)
		if s != nil && s.Master == 0 && (s.Parked() || !s.Up && slices.Contains(wasParked, s.Name)) {
			b.parked = append(b.parked, s.Name)
		}
	}
	return true
}

// look notes whether every slave that has a link has been judged by its paths.
func (b *bond) look(v *failover.Bond, now time.Time) {
	if b.looked || !b.inherited {
		return
	}
	b.looked = !now.Before(b.lookUntil) ||
		len(v.Slaves) > 0 && !slices.ContainsFunc(v.Slaves, func(s failover.Slave) bool {
			return s.LinkUp && failover.Unjudged(v, s.Index)
		})
}

// fails counts the failures of a bond's slaves since it was last asked: a link
// that is lost, a path that is dead. It reports whether there was one.
func (c *Core) fails(b *bond, v *failover.Bond) (failed bool) {
	if b.cfg.Damping == nil {
		return false
	}
	for i := range v.Slaves {
		s := &v.Slaves[i]
		l := c.net.LinkByIndex(s.Index)
		w := b.watch(l.Name)
		if w.master != l.Master {
			// To come into a bond and to leave it costs a card its link.
			w.master, w.linked = l.Master, false
		}
		blamed := failover.Blamed(v, s.Index)
		// A slave that is about to leave loses its link for that.
		leaves := l.Slave != nil && slices.Contains(b.parked, l.Name) || b.quiet[l.Name].down
		lost := w.linked && !s.LinkUp && !leaves
		if lost || blamed && !w.blamed {
			w.Fail(c.now)
			c.out.Remember = true
			failed = true
		}
		w.linked = s.LinkUp
		if s.LinkUp {
			w.blamed = blamed
		}
	}
	return failed
}

// watch returns the watch of a NIC.
func (b *bond) watch(name string) *watch {
	w := b.watches[name]
	if w == nil {
		d := b.cfg.Damping
		w = &watch{Damper: failover.Damper{HalfLife: d.HalfLife, Suppress: d.Suppress, Reuse: d.Reuse}}
		b.watches[name] = w
	}
	return w
}

// decide asks failover about a bond and requests what it says. since is when
// what led to it was seen, and found by what.
func (c *Core) decide(b *bond, since time.Time, found state.Watch) {
	v := c.view(b)
	if c.fails(b, &v) {
		v = c.view(b)
	}
	if b.ordered != 0 && b.ordered != b.active {
		b.ordered, v.Chosen = 0, 0
		c.out.Remember = true
	}
	b.look(&v, c.now)
	c.probe(b)
	c.excuse(b, &v)
	d := failover.Decide(&v)
	if d.Action == failover.Nothing || !v.ActiveBackup {
		c.spare(b, &v)
	}
	if d.Action == failover.Nothing {
		b.decidedOn = failover.Bond{}
		return
	}
	if v.Equal(&b.decidedOn) {
		return // it was done, and the kernel's view is not read yet
	}
	b.decidedOn, b.decidedAt = v, c.now
	r := Request{Bond: b.index, Miimon: b.cfg.Miimon(), reason: d.Reason, since: since, found: found}
	if d.Action == failover.Switch {
		r.To = d.To
	}
	if from := c.nameOf(b.active); d.Reason == state.ReasonPath && b.spares(from) {
		r.cause = c.cause(b, from, d.Reason)
	}
	b.before = c.viewsBefore(b)
	c.out.Requests = append(c.out.Requests, r)
}

// inspectAgain is how often the driver is asked to inspect slaves whose state it
// has not changed the last time.
const inspectAgain = 30 * time.Second

// forget has what had no effect tried again. An inspection that changed nothing
// is not worth one every second: the driver has its reasons (a slave without a
// speed in mode 802.3ad, for one).
func (b *bond) forget(now time.Time) {
	if b.activeBackup() || now.Sub(b.decidedAt) >= inspectAgain {
		b.decidedOn = failover.Bond{}
	}
}

// excuse keeps a NIC of a LACP bond out for a moment only. Out there the switch
// would not hear LACP from it and pass nothing, so that its path could never
// come back; but a slave that joins is not used before both ends agree. Until
// they do, its path is not judged. Where nobody at the other end speaks LACP, the
// driver uses one slave alone, which only its path can judge.
func (c *Core) excuse(b *bond, v *failover.Bond) {
	if b.cfg.Mode() != bonding.LACP {
		return
	}
	for i := range v.Slaves {
		s := &v.Slaves[i]
		l := c.net.LinkByIndex(s.Index)
		switch {
		case l.Slave != nil && usedAlone(l.Slave):
			delete(b.excused, l.Name)
			s.Excused = false
		case l.Slave == nil && !s.Suppressed, l.Slave != nil && l.Slave.LACP != nil && !l.Slave.LACP.Carries():
			b.excused[l.Name], s.Excused = true, true
		case b.excused[l.Name] && slices.Contains(s.Paths[:], state.PathUp) && !failover.Blamed(v, s.Index):
			delete(b.excused, l.Name)
			s.Excused = false
		}
	}
}

// usedAlone reports whether the driver uses a slave in mode 802.3ad that hears
// nothing of LACP, and has not for long enough.
func usedAlone(s *state.SlaveLink) bool {
	return s.Active && s.LACP != nil && s.LACP.Actor&(state.PortDefaulted|state.PortExpired) == state.PortDefaulted
}

// spare sees to it that the driver does not use what it should not. The writes
// are for the next read.
func (c *Core) spare(b *bond, v *failover.Bond) {
	held := failover.Hold(v)
	var parked []string
	for _, index := range failover.Park(v) {
		parked = append(parked, c.nameOf(index))
	}
	if !b.looked {
		// Nothing ends before it was looked at, and what is not proven yet is no
		// reason to begin anything.
		held = b.held
		in := slices.ContainsFunc(v.Slaves, func(s failover.Slave) bool { return s.LinkUp && !s.Parked })
		for _, name := range b.parked {
			if in && !slices.Contains(parked, name) {
				parked = append(parked, name)
			}
		}
	}
	for i := range v.Slaves {
		s := &v.Slaves[i]
		switch name := c.nameOf(s.Index); {
		case !slices.Contains(parked, name):
			delete(b.reasons, name)
		case b.reasons[name] != "":
		case s.Suppressed || !s.LinkUp:
			b.reasons[name] = state.ReasonLink
		default:
			b.reasons[name] = state.ReasonPath
		}
	}
	changed := held != b.held || !slices.Equal(parked, b.parked)
	if !slices.Equal(parked, b.parked) {
		c.out.Remember = true
	}
	b.held, b.parked = held, parked
	if c.quieten(b, v) || changed {
		c.read(0)
	}
}

// quiet is a parked NIC in a bond that the switch takes for a static group.
type quiet struct {
	down   bool
	until  time.Time     // when that changes
	length time.Duration // of the time without a link
}

// In the modes of a static group the switch sends to every port that has a link,
// also to that of a NIC that is parked: what is sent there is lost. So such a NIC
// has no link, but for quietTrial now and then in which its path may show that it
// is back, at first after quietFirst, then later and later.
const (
	quietFirst = 10 * time.Second
	quietMost  = 5 * time.Minute
	quietTrial = 8 * time.Second // a card needs up to 5 s from up to link
)

// quieten decides which of the parked NICs have to have no link. It reports
// whether that has changed.
func (c *Core) quieten(b *bond, v *failover.Bond) (changed bool) {
	if !b.cfg.Mode().StaticGroup() {
		return false
	}
	for name := range b.quiet {
		if !slices.Contains(b.parked, name) {
			changed = changed || b.quiet[name].down
			delete(b.quiet, name)
		}
	}
	for i := range v.Slaves {
		s := &v.Slaves[i]
		name := c.nameOf(s.Index)
		if !slices.Contains(b.parked, name) {
			continue
		}
		q, known := b.quiet[name]
		was := q.down
		switch {
		case !known && !s.LinkUp:
			continue // it has no link by itself
		case s.Suppressed:
			q.down, q.length, q.until = true, quietFirst, b.watches[name].ReuseAt()
		case !known:
			q = quiet{down: true, length: quietFirst, until: c.now.Add(quietFirst)}
		case c.now.Before(q.until):
		case q.down:
			q.down, q.until = false, c.now.Add(quietTrial+b.judgedIn())
		default:
			q.down, q.length = true, min(2*q.length, quietMost)
			q.until = c.now.Add(q.length)
		}
		b.quiet[name] = q
		changed = changed || q.down != was
	}
	return changed
}

// judgedIn is how long it takes to judge the paths of a slave from when its link
// came.
func (b *bond) judgedIn() time.Duration {
	var longest time.Duration
	for i := range b.cfg.Paths {
		p := &b.cfg.Paths[i]
		longest = max(longest, time.Duration(max(p.MissedMax, p.ReturnAfter)+1)*p.Interval+p.Timeout)
	}
	return longest
}

// prepare leaves the fast path what it should do when a slave is lost.
func (c *Core) prepare() {
	p := &Prepared{Consumed: c.reading.consumed}
	for _, b := range c.bonds {
		v := c.view(b)
		for i := range v.Slaves {
			s := &v.Slaves[i]
			if !s.LinkUp || v.ActiveBackup && s.Index != v.Active {
				continue // there is no answer to the loss of a backup
			}
			if d := failover.Without(&v, s.Index); d.Action != failover.Nothing {
				r := Reaction{Slave: s.Index, Request: Request{Bond: b.index, Miimon: b.cfg.Miimon()}}
				if d.Action == failover.Switch {
					r.To = d.To
				}
				p.Reactions = append(p.Reactions, r)
			}
		}
	}
	c.out.Prepared = p
}
