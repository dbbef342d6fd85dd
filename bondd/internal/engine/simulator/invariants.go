package simulator

import (
	"fmt"
	"slices"
	"time"

	"bondd.internal/bondd/internal/engine/core"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
)

// A checker checks what must hold after every step:
//
//   - better: bondd never moves traffic to a slave that it knows to be worse
//   - carries: traffic is not on a dead slave while a proven one is there, for
//     longer than it takes to find out
//   - last: the last usable slave is never released
//   - quiet: nothing is written to a kernel that is as wanted, and nothing keeps
//     being written where nothing happens
//   - ledger: every failover is in the flight recorder once, with its reason
type checker struct {
	world *World
	err   error

	badSince time.Time          // traffic has been lost since then although a proven slave is there
	badBy    string             // the slaves by which it was lost: each fault has to be found by itself
	outSince map[*nic]time.Time // since when a card has had a link and was not in the bond
	event    time.Time          // of the last thing that happened from outside
	faultEnd time.Time          // until when nothing is expected of bondd in time

	moves   []move            // that the driver has made since bondd runs
	lossy   bool              // an event was lost since bondd runs: moves may have been seen as one
	told    string            // the active slave in the ledger
	entries uint64            // number of the last entry before this run
	linked  map[int]bool      // by index: it has a link, as bondd knows
	linkAt  map[int]time.Time // when the last event about it was received
	denied  map[int]bool      // ethtool says otherwise
	trusted map[int]bool      // ethtool has said once that there is a link
	dead    map[int]bool      // ethtool says that there is no device
	read    time.Time         // when the last read of the kernel began
	reason  state.Reason      // of the request that is being carried out; empty: there is none
	byOther bool              // another program makes the move at hand
	lost    *nic              // its link was just reported to be lost, whatever it is now
}

// A move is a change of the active slave.
type move struct {
	from, to string
	reason   state.Reason // empty: the driver's own
	reported time.Time    // when the event about it comes
}

// A Violation says which invariant is broken, and how.
type Violation struct {
	Invariant string        // better, carries, last, quiet or ledger
	At        time.Duration // since the World began
	What      string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s: at %.3f s: %s", v.Invariant, v.At.Seconds(), v.What)
}

func (c *checker) fail(invariant, format string, args ...any) {
	if c.err == nil {
		c.err = &Violation{invariant, c.world.now.Sub(epoch), fmt.Sprintf(format, args...)}
	}
}

// restarted: bondd has just been started.
func (c *checker) restarted() {
	c.linked, c.denied, c.linkAt = make(map[int]bool), make(map[int]bool), make(map[int]time.Time)
	c.trusted, c.dead, c.read = make(map[int]bool), make(map[int]bool), time.Time{}
	c.moves, c.lossy = nil, c.world.unread != nil
	c.badSince, c.outSince = time.Time{}, make(map[*nic]time.Time)
	c.happened()
	c.entries = 0
	if h := c.world.history; len(h) > 0 {
		c.entries = h[0].Seq
	}
	c.told = ""
	if m := c.world.memory; m != nil {
		c.told = m.Bonds["bond0"].Active
	}
	c.disturbedFor(3 * time.Second)
}

// happened: something came from outside.
func (c *checker) happened() { c.event = c.world.now }

// disturbed: what bondd learns, or does, is late through no fault of its own.
func (c *checker) disturbed() {
	c.lossy = true
	c.disturbedFor(2 * time.Second)
}

func (c *checker) disturbedFor(d time.Duration) {
	if end := c.world.now.Add(d); end.After(c.faultEnd) {
		c.faultEnd = end
	}
}

func (c *checker) linkChanged(*nic) { c.happened() }

// learned notes what bondd is told about links.
func (c *checker) learned(in core.Input) {
	switch in := in.(type) {
	case core.LinkEvent:
		if in.Index != bondIndex && !in.Received.Before(c.read) {
			c.link(in.Index, in.LinkUp)
			c.linkAt[in.Index] = in.Received
		}
	case core.NetworkRead:
		if in.Err == nil {
			if c.read.IsZero() {
				c.firstRead(&in)
			}
			c.read = in.Began
			for i := range in.Network.Links {
				if l := &in.Network.Links[i]; !c.linkAt[l.Index].After(in.Began) {
					c.link(l.Index, l.LinkUp())
				}
			}
		}
	case core.Poll:
		for _, l := range in.Links {
			index, up := l.Index, l.Reply == state.SaysUp
			if l.Reply == state.NoDevice {
				c.dead[index] = true
				continue
			}
			if !in.Began.Before(c.read) && !in.Began.Before(c.linkAt[index]) {
				c.denied[index] = !up
				c.trusted[index] = c.trusted[index] || up
				delete(c.dead, index)
			}
		}
	}
}

// firstRead: what came and went between the start of bondd and the first read of
// the kernel is nowhere to be found, unless its event comes after that.
func (c *checker) firstRead(r *core.NetworkRead) {
	c.moves = slices.DeleteFunc(c.moves, func(m move) bool { return !m.reported.After(r.Began) })
	if l := r.Network.Link("bond0"); len(c.moves) == 0 && l != nil && l.Bond.ActiveSlave != 0 {
		c.moves = []move{{to: r.Network.LinkByIndex(l.Bond.ActiveSlave).Name}}
	}
}

// link notes the carrier of a link. What ethtool said before is void if it changes.
func (c *checker) link(index int, up bool) {
	if c.linked[index] != up {
		c.denied[index] = false
	}
	c.linked[index] = up
}

// known is how good a slave is by what bondd was told: 0 no link, 1 its path is
// dead, 2 unproven, 3 good.
func (c *checker) known(n *nic) int {
	w := c.world
	switch {
	case n == nil || !c.linked[n.index] || c.denied[n.index] || c.dead[n.index] || n == c.lost:
		return 0
	case !w.setup.Path:
		return 3
	}
	heard, any := 0, w.cfg.Bonds[0].PathPolicy == "any"
	down, proven := 0, 0
	for t := range w.cfg.Bonds[0].Paths {
		replies := func(p []state.Path) bool { return len(p) > t && p[t].State == state.PathUp }
		if !slices.ContainsFunc(w.nics, func(o *nic) bool { return replies(w.report[o.index]) }) {
			continue // the target replies to nobody
		}
		heard++
		if p := w.report[n.index]; len(p) > t && p[t].State == state.PathDown {
			down++
		} else if len(p) > t && p[t].Proven {
			proven++
		}
	}
	switch {
	case heard == 0:
		return 3
	case down > 0 && (!any || down == heard):
		return 1
	case proven == 0 || !any && proven < heard:
		return 2
	}
	return 3
}

// proven reports whether a slave has shown that traffic gets through.
func (c *checker) proven(n *nic) bool {
	return c.known(n) == 3 && slices.ContainsFunc(c.world.report[n.index], func(p state.Path) bool { return p.Proven })
}

// requested: bondd requests something of the driver.
func (c *checker) requested(r *core.Request) {
	w := c.world
	to, from := w.byIndex(r.To), w.driver.active
	if r.To == 0 || to == nil || from == nil || r.Reason() == state.ReasonAdmin || c.disturbedNow() || !w.member(from) {
		return
	}
	if c.known(to) < c.known(from) {
		c.fail("better", "traffic is moved from %s (%d) to the worse %s (%d), for %q",
			from.name, c.known(from), to.name, c.known(to), r.Reason())
	}
	if r.Reason() == state.ReasonPrimary && w.setup.Path && !c.proven(to) {
		c.fail("better", "traffic returns to %s, which is not proven", to.name)
	}
}

func (c *checker) disturbedNow() bool { return c.world.now.Before(c.faultEnd) }

// reported: the event about the last move comes at that time.
func (c *checker) reported(at time.Time) { c.moves[len(c.moves)-1].reported = at }

// moved: the driver has another active slave.
func (c *checker) moved(from, to *nic) {
	m := move{reason: c.reason}
	if from != nil {
		m.from = from.name
	}
	if to != nil {
		m.to = to.name
	}
	c.moves = append(c.moves, m)
	w := c.world
	if c.byOther || to == nil || from == nil || w.driver.mode() != bonding.ActiveBackup ||
		!w.setup.Path || c.disturbedNow() {
		return
	}
	// Whoever made it: the driver has to be kept from a slave that is not proven
	// while traffic is on one that is.
	if c.proven(from) && w.passes(from) && c.known(to) < 3 && from.mii == state.MIIUp && from.master && w.member(from) {
		c.fail("better", "traffic moves from %s, which is proven, to %s, which is not", from.name, to.name)
	}
}

// checkRelease is called before a slave is released. A link that came or went after
// the read that the plan was made from could not be known.
func (w *World) checkRelease(n *nic) {
	c := &w.check
	if n == nil || !n.master || !n.carrier || n.turned.After(c.read) || w.driver.mode() != w.cfg.Bonds[0].Mode() {
		return
	}
	left := 0
	for _, s := range w.driver.slaves {
		if s != n && s.up && (s.carrier && (s.mii == state.MIIUp || s.mii == state.MIIFail) || s.turned.After(c.read)) {
			left++
		}
	}
	if left == 0 {
		c.fail("last", "%s is released, and no other slave is up", n.name)
	}
}

// executed: bondd has carried a plan out. What the driver chooses while bondd
// makes the bond is no failover.
func (c *checker) executed(p *core.Plan) {
	for _, op := range p.Ops {
		if _, ok := op.(state.CreateBond); ok {
			c.moves, c.told = nil, ""
			if a := c.world.driver.active; a != nil {
				c.told = a.name
			}
		}
	}
}

// Bounds of the writes in a time in which nothing happens.
const (
	quietAfter = 90 * time.Second
)

// wrote: bondd writes to the kernel.
func (c *checker) wrote(op state.Op) {
	w := c.world
	switch op.(type) {
	case state.Park, state.Unpark: // the trials of a static group go on, later and later
		return
	}
	if slices.ContainsFunc(w.nics, func(n *nic) bool { return n.lost > 0 }) {
		return // something happens all the time
	}
	if w.now.Sub(c.event) > quietAfter && !c.disturbedNow() {
		c.fail("quiet", "%q is written although nothing has happened for %v", op, w.now.Sub(c.event))
	}
}

// bound is how long traffic may be lost while another slave is good.
func (c *checker) bound() time.Duration {
	bound := 350 * time.Millisecond
	if c.world.setup.Lag > 0 {
		bound += 50 * time.Millisecond // until the release is read back
	}
	if c.world.setup.Path {
		// A path dies within interval × missed_max + timeout; the loss of a link
		// that was unproven may take that as well.
		bound += 4*500*time.Millisecond + 200*time.Millisecond
	}
	if c.world.driver.mode() == bonding.LACP {
		bound += 1500 * time.Millisecond // a slave that LACP has to judge is used for 3 s after the last that was heard
	}
	if c.world.driver.number("downdelay") > 0 {
		bound += c.world.setup.Lag // which the driver gives the link beside
	}
	for _, delay := range []string{"updelay", "downdelay"} {
		bound += time.Duration(c.world.driver.number(delay)) * time.Millisecond
	}
	return bound
}

// after is called after everything that happens.
func (c *checker) after() {
	w := c.world
	if c.err != nil || w.run == 0 {
		return
	}
	d := &w.driver
	c.staticGroup()
	c.judgedByLACP()
	proven := false // a slave that is good, and that bondd and the driver know to be
	for _, n := range w.nics {
		good := w.passes(n) && n.lost == 0 && n.master && n.mii == state.MIIUp && w.member(n)
		proven = proven || good && (!w.setup.Path || c.proven(n))
	}
	lost, by := false, ""
	switch {
	case !d.exists || !d.up:
	case d.mode().HasActiveSlave():
		lost = d.active == nil || !w.carries(d.active)
	default:
		for _, s := range d.slaves {
			uses := s.mii == state.MIIUp || s.mii == state.MIIFail
			if d.mode() == bonding.LACP {
				uses = s.active
			}
			if uses && !w.carries(s) {
				lost, by = true, by+s.name
			}
		}
	}
	if w.inventory != nil && d.mode() != bonding.ActiveBackup {
		c.disturbedFor(3 * time.Second) // without an inventory nothing is planned, and so nothing parked
	}
	if w.silent == [2]bool{true, true} || !lost || !proven || c.disturbedNow() {
		c.badSince = time.Time{}
		return
	}
	if c.badSince.IsZero() || by != c.badBy {
		c.badSince, c.badBy = w.now, by
	}
	if w.now.Sub(c.badSince) > c.bound() {
		c.fail("carries", "traffic has been lost for %v although another slave is proven: %s",
			w.now.Sub(c.badSince), w.describe())
	}
}

// staticGroup: a switch sends to every port of a static group that has a link. So
// a card that is kept out of such a bond has none, but for the trials of its path.
func (c *checker) staticGroup() {
	w := c.world
	if !w.driver.mode().StaticGroup() {
		return
	}
	for _, n := range w.nics {
		// The link of a device that no longer replies cannot be taken down.
		out := n.present && n.up && n.carrier && !n.master && !n.crashed && w.setup.Kinds == nil && w.member(n)
		switch {
		case !out || c.disturbedNow() || !w.driver.carrier():
			delete(c.outSince, n)
		case c.outSince[n].IsZero():
			c.outSince[n] = w.now
		case w.now.Sub(c.outSince[n]) > 12*time.Second+w.setup.Train:
			c.fail("carries", "%s is kept out of the bond for %v with a link", n.name, w.now.Sub(c.outSince[n]))
		}
	}
}

// judgedByLACP: a card that is kept out of a bond in mode 802.3ad hears nothing of
// the switch, and its path would never come back. So it is let in again.
func (c *checker) judgedByLACP() {
	w := c.world
	if w.driver.mode() != bonding.LACP {
		return
	}
	for _, n := range w.nics {
		out := n.present && n.up && n.carrier && !n.master && !n.crashed && w.member(n) &&
			w.setup.Kinds == nil && !w.setup.Damping
		switch {
		case !out || c.disturbedNow():
			delete(c.outSince, n)
		case c.outSince[n].IsZero():
			c.outSince[n] = w.now
		case w.now.Sub(c.outSince[n]) > 5*time.Second+w.setup.Train+w.setup.Lag:
			c.fail("carries", "%s is kept out of a bond with LACP for %v", n.name, w.now.Sub(c.outSince[n]))
		}
	}
}

// carries reports whether traffic passes by a slave, as far as bondd can find out.
func (w *World) carries(n *nic) bool {
	if w.setup.Path {
		return w.passes(n)
	}
	// Before ethtool has said once that there is a link, its word does not count.
	return n.present && n.up && n.carrier && !n.crashed && (n.cable || !w.check.trusted[n.index])
}

// CheckLedger compares the flight recorder with what the driver did. It is for
// moments at which nothing is under way.
func (w *World) CheckLedger() error {
	c := &w.check
	if c.err != nil || c.lossy || w.unread != nil || w.run == 0 || w.driver.mode() != bonding.ActiveBackup {
		return c.err
	}
	snapshot := w.snapshot()
	var entries []*state.Failover
	for _, s := range snapshot.History {
		if s.Seq <= c.entries {
			break
		}
		entries = append([]*state.Failover{s}, entries...)
	}
	// What the ledger must have: every change from one slave to another, whatever
	// came between.
	told := c.told
	var want []move
	for _, m := range c.moves {
		if m.to == "" || m.to == told {
			continue
		}
		if told != "" {
			want = append(want, move{from: told, to: m.to, reason: m.reason})
		}
		told = m.to
	}
	if len(entries) != len(want) {
		c.fail("ledger", "the ledger has %d failovers, the driver made %d: %s", len(entries), len(want), w.describe())
		return c.err
	}
	for i, e := range entries {
		if e.From != want[i].from || e.To != want[i].to {
			c.fail("ledger", "entry %d is %s -> %s, the driver's is %s -> %s", i, e.From, e.To, want[i].from, want[i].to)
		}
		// What bondd requests has its reason. Between two moves of one slave the
		// driver may have been first, in which case either reason is right.
		if r := want[i].reason; r != "" && e.Reason != r {
			c.fail("ledger", "entry %d, %s -> %s, has the reason %q, it was made for %q", i, e.From, e.To, e.Reason, r)
		}
	}
	return c.err
}

// describe is the state of the world in one line.
func (w *World) describe() string {
	s := ""
	for _, n := range w.nics {
		s += fmt.Sprintf(" %s{master:%t up:%t carrier:%t cable:%t crashed:%t dead:%t good:%t mii:%v "+
			"active:%t path:%v noarp:%t}", n.name, n.master, n.up, n.carrier,
			n.cable, n.crashed, n.dead, n.good(w.now), n.mii, n.active, n.paths[0].state, n.noARP)
	}
	return s
}

// traceStep adds a line for a step that has led to something.
func (w *World) traceStep(in core.Input, out *core.Output) {
	if w.trace == nil {
		return
	}
	line := ""
	switch in := in.(type) {
	case core.LinkEvent:
		line += fmt.Sprintf(" %+v reaction to %d", in.LinkEvent, in.Reaction.To)
	case core.Acted:
		line += fmt.Sprintf(" to %d: %v", in.To, in.Err)
	}
	for _, r := range out.Requests {
		line += fmt.Sprintf(" | request to %d (%s)", r.To, r.Reason())
	}
	for _, p := range out.Plans {
		for _, op := range p.Ops {
			line += fmt.Sprintf(" | %s", op)
		}
	}
	for _, l := range out.Log {
		line += " | " + l.Message
	}
	now := w.describe()
	if now == w.shown && line == "" {
		return
	}
	fmt.Fprintf(w.trace, "%10.4f %T%s\n", w.now.Sub(epoch).Seconds(), in, line)
	if now != w.shown {
		fmt.Fprintf(w.trace, "          %s\n", now)
	}
	w.shown = now
}
