package core

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/config/bonding"
)

// A link is what is known of one interface from events and polls, which are
// newer than the last read.
type link struct {
	up   bool      // up and with carrier, by rtnetlink
	upAt time.Time // when that was reported

	// asked is what ethtool said last; it counts only once it said "link", for
	// some drivers never do.
	asked   bool
	trusted bool

	// gone: its device did not reply to the last poll. It is detached once a read
	// that began later still has the interface: else it is about to be removed.
	gone     bool
	goneAt   time.Time
	detached bool
	failed   string // why the last poll of it failed; empty if it did not

	name  string
	named time.Time // when the read began in which it first had this name

	changed  time.Time // when it last gained or lost its link, by any watch
	returned time.Time // when it last gained it

	// silent: no path has replied since the link came, while another slave's did.
	// forwards is how long that took the last time, 0 if it is not known, and slow
	// whether that was longer than an edge port takes.
	silent   bool
	forwards time.Duration
	slow     bool
}

// set takes a change of carrier. What ethtool said before is void.
func (l *link) set(up bool, at time.Time) {
	l.up, l.upAt, l.asked = up, at, up && l.trusted
	l.note(up, at)
}

func (l *link) note(up bool, at time.Time) {
	l.changed, l.silent = at, up
	if up {
		l.returned = at
	}
}

// linkUp combines the watches: each alone may find that a link is gone.
func (l *link) linkUp() bool { return l != nil && l.up && !l.gone && (l.asked || !l.trusted) }

// lostEvents notes that events are missing: what was prepared is void until
// everything was read again.
func (c *Core) lostEvents() {
	c.totals.Resyncs++
	c.log(slog.LevelWarn, "link events were lost: everything is read again")
	c.out.Prepared = &Prepared{Consumed: neverConsumed}
	c.read(0)
}

// neverConsumed is a count of events that the fast path never reaches.
const neverConsumed = ^uint64(0)

// apply implements Input.
func (ev LinkEvent) apply(c *Core) {
	c.reading.consumed = ev.Count
	if ev.Missed || ev.Lost {
		c.lostEvents()
		return
	}
	if ev.Received.Before(c.reading.last) {
		c.prepare() // older than what was read since
		return
	}
	if c.reading.last.IsZero() && ev.Failover {
		c.reading.early = append(c.reading.early, early{ev.Index, ev.Active, ev.Received})
		c.reading.early = c.reading.early[max(0, len(c.reading.early)-mostEarly):]
	}
	if b := c.bondByIndex(ev.Index); b != nil && ev.Failover && b.cfg.Mode().HasActiveSlave() {
		c.driverMoved(b, ev.Active, ev.Received)
	}
	l := c.links[ev.Index]
	if l == nil {
		c.read(settle) // a new interface: the read tells what it is
		return
	}
	// Most events about a slave are not about its carrier. Those say what a
	// driver was known to say before, and a poll may have found out more since.
	if l.up != ev.LinkUp {
		l.set(ev.LinkUp, ev.Received)
		if ev.LinkUp && c.wanted(ev.Index) {
			c.linkReturned()
		}
	}
	b := c.bondOf(ev.Index)
	reacted := ev.Reaction.Bond != 0
	if reacted {
		if of := c.bondByIndex(ev.Reaction.Bond); of != nil {
			a := ev.Reaction
			a.reason, a.since, a.found = state.ReasonLink, ev.Received, state.WatchEvent
			c.acted(of, &a)
		}
	}
	if b != nil {
		if !reacted || ev.Reaction.Err != nil {
			c.decide(b, ev.Received, state.WatchEvent)
		}
		c.out.Publish = true
	}
	c.prepare()
	if b != nil || c.bondByIndex(ev.Index) != nil || ev.Gone || c.wanted(ev.Index) {
		c.read(settle)
	}
}

// driverMoved takes the driver's word that a bond has another active slave.
func (c *Core) driverMoved(b *bond, active int, at time.Time) {
	if at.After(b.actedAt) {
		b.active = active
	}
	c.moved(b, active, at)
	if !b.activeBackup() {
		c.out.Publish = true
		return
	}
	if active != 0 { // the driver may be about to choose another one
		c.decide(b, at, state.WatchEvent)
		c.out.Publish = true
	}
}

// apply implements Input.
func (p Poll) apply(c *Core) {
	c.totals.Polls++
	c.totals.PollDuration.Observe(p.Took.Seconds())
	for i := range p.Links {
		s := &p.Links[i]
		if p.Err != nil {
			c.pollFailed(s.Index)
			continue
		}
		c.polledLink(s, p.Began.Add(p.Took))
	}
}

// polledLink takes what ethtool says of a link, which was known at that time.
func (c *Core) polledLink(s *state.LinkState, at time.Time) {
	l := c.links[s.Index]
	if l == nil || s.Reply == state.NotAsked {
		return
	}
	if s.Err != nil {
		c.pollFailed(s.Index)
	}
	c.pollChanged(l, s)
	// What a driver says may be older than an event or a read. That its device is
	// dead is not what those would tell.
	older := s.Asked.Before(l.upAt) || s.Asked.Before(c.reading.last)
	if s.Reply == state.Failed || older && s.Reply != state.NoDevice {
		return
	}
	before, up := l.linkUp(), s.Reply == state.SaysUp
	if gone := s.Reply == state.NoDevice; gone != l.gone {
		l.gone, l.goneAt, l.detached = gone, s.Asked, false
		c.read(settle)
		c.out.Publish = true
	}
	switch {
	case s.Reply == state.Unknown:
		l.trusted = false
	case up:
		l.trusted = true
	}
	if !l.gone {
		l.asked = up
	}
	b := c.bondOf(s.Index)
	if b == nil || !l.trusted && !l.gone {
		return
	}
	if up != l.up {
		c.totals.Disagreements++
		c.read(settle)
	}
	changed := l.linkUp() != before
	if changed {
		l.note(!before, s.Asked)
		c.out.Publish = true
	}
	if changed || up != l.up { // what disagrees for too long is a reason of its own
		c.decide(b, at, state.WatchPoll)
		c.prepare()
	}
}

// pollFailed counts a poll that a link did not reply to.
func (c *Core) pollFailed(index int) {
	name := c.nameOf(index)
	for _, b := range c.bonds {
		if slices.ContainsFunc(b.slaves, func(m member) bool { return m.name == name }) {
			b.pollErrors[name]++
		}
	}
}

// pollChanged logs when the polls of a link begin or cease to fail. A dead device
// is an event of its own.
func (c *Core) pollChanged(l *link, s *state.LinkState) {
	failed := ""
	if s.Reply == state.Failed {
		failed = s.Err.Error()
	}
	if failed == l.failed {
		return
	}
	name := slog.String("slave", c.nameOf(s.Index))
	if failed != "" {
		c.log(slog.LevelWarn, "poll: ethtool has no reply for a slave", name, slog.Any("err", s.Err))
	} else {
		c.log(slog.LevelInfo, "poll: ethtool has a reply for the slave again", name)
	}
	l.failed = failed
}

// pollSlowly is how often the slaves of a bond without a monitor of the carrier
// are polled: what ethtool knows more than the carrier is whether the device is
// there.
const pollSlowly = time.Second

// PollEvery is how often the slaves of a bond are polled.
func PollEvery(cfg *config.Bond) time.Duration {
	return cmp.Or(cfg.Miimon(), pollSlowly)
}

// poll says whose link state is polled: that of the slaves, and of those that
// are to be slaves. Every other card is left alone: a request wakes it.
func (c *Core) poll() {
	var links []PollLink
	for _, b := range c.bonds {
		for i := range b.slaves {
			l := c.net.Link(b.slaves[i].name)
			if l != nil && (b.takesPart(l) || slices.Contains(b.usable, l.Name) || !c.hardware.known) {
				links = append(links, PollLink{Index: l.Index, Every: PollEvery(&b.cfg)})
			}
		}
	}
	if !slices.Equal(links, c.polled) {
		c.polled = links
		c.out.Polled = &Polled{Links: links}
	}
}

// apply implements Input.
func (r PathReport) apply(c *Core) {
	b := c.bond(r.Bond)
	if b == nil {
		return
	}
	// A path that was dead when the link went is dead when the link returns,
	// until it has replied for long enough: the decision must not be made in between.
	for index, paths := range r.Paths {
		old := b.paths[index]
		for t := range min(len(paths), len(old)) {
			if paths[t].State == state.PathUnknown && old[t].State == state.PathDown {
				paths[t].State = state.PathDown
			}
		}
	}
	before := b.paths
	b.paths, b.reported = r.Paths, c.now
	c.learnPorts(b, before)
	c.decide(b, c.now, state.WatchPath)
	c.out.Publish = true
	c.prepare()
}

// edgePort bounds how long after the link the first reply may come through a port that
// forwards at once, beside the time from one probe to the next: the card and the
// target need a moment.
const edgePort = 3 * time.Second

// learnPorts notes how long the switch's ports take to forward. Where no other slave
// has a reply meanwhile, the target may be what is silent.
func (c *Core) learnPorts(b *bond, before map[int][]state.Path) {
	replies := func(index int) bool {
		return slices.ContainsFunc(b.paths[index], func(p state.Path) bool { return p.State == state.PathUp })
	}
	// A path that was dead is up with the last of several replies in a row.
	since := func(index int) time.Duration {
		for t, p := range before[index] {
			if p.State == state.PathDown && t < len(b.cfg.Paths) {
				return time.Duration(b.cfg.Paths[t].ReturnAfter-1) * b.cfg.Paths[t].Interval
			}
		}
		return 0
	}
	for i := range b.slaves {
		nic := c.net.Link(b.slaves[i].name)
		if nic == nil {
			continue
		}
		index := nic.Index
		l := c.links[index]
		if _, probed := b.paths[index]; !probed || l == nil || !l.silent || !l.linkUp() {
			continue
		}
		others := false
		for other := range b.paths {
			others = others || other != index && replies(other)
		}
		switch {
		case !others:
			l.silent = false
		case replies(index):
			l.silent, l.forwards = false, max(c.now.Sub(l.returned)-since(index), time.Millisecond)
			if l.slow = l.forwards > edgePort+b.probesEvery(); l.slow {
				c.log(slog.LevelWarn, "the switch port is not an edge port: it did not forward when the link came",
					slog.String("bond", b.cfg.Name), slog.String("slave", l.name), slog.Duration("took", l.forwards))
			}
		}
	}
}

// probesEvery is the longest time from one probe of a path to the next.
func (b *bond) probesEvery() time.Duration {
	var longest time.Duration
	for i := range b.cfg.Paths {
		longest = max(longest, b.cfg.Paths[i].Interval)
	}
	return longest
}

// apply implements Input.
func (r NetworkRead) apply(c *Core) {
	if !c.reading.at.After(r.Began) { // else it is wanted for what happened since
		c.reading.at = time.Time{}
	}
	if r.Err != nil {
		if c.reading.err != r.Err.Error() {
			c.reading.err = r.Err.Error()
			c.log(slog.LevelError, "the kernel's network state could not be read", slog.Any("err", r.Err))
		}
		c.out.Publish = true
		return
	}
	if c.reading.err != "" {
		c.reading.err = ""
		c.log(slog.LevelInfo, "the kernel's network state can be read again")
	}
	before := c.net
	c.net, c.reading.last = newNetwork(r.Network), r.Began
	if differ(before.Network, r.Network) {
		c.interfacesChanged(before)
	}
	c.readLinks(r.Began)
	if !c.hardware.judged {
		c.judge()
	}
	for _, b := range c.bonds {
		c.adopt(b, before, r.Began)
		c.compare(b)
		c.decide(b, r.Began, "")
		c.tune(b)
	}
	c.reading.early = nil
	c.poll()
	c.prepare()
	c.out.Publish = true
	c.converge()
}

// readLinks takes the links of the read that has begun then.
func (c *Core) readLinks(began time.Time) {
	seen := make(map[int]*link, len(c.net.Links))
	for i := range c.net.Links {
		l := c.links[c.net.Links[i].Index]
		if l == nil {
			l = new(link)
		}
		if up := c.net.Links[i].LinkUp(); up != l.up && !l.upAt.After(began) {
			l.set(up, began)
		}
		l.detached = l.gone && l.goneAt.Before(began)
		if name := c.net.Links[i].Name; l.name != name {
			l.name, l.named = name, began
		}
		seen[c.net.Links[i].Index] = l
	}
	c.links = seen
	for index := range c.tunings {
		if seen[index] == nil {
			delete(c.tunings, index)
		}
	}
}

// adopt takes over what the kernel says of a bond: whatever was read is the
// truth, and an active slave that bondd did not choose is the kernel's choice.
func (c *Core) adopt(b *bond, before *network, now time.Time) {
	b.index = 0
	l := c.net.Link(b.cfg.Name)
	if l == nil || l.Bond == nil {
		b.active = 0
		b.inherited, b.recalled = true, BondMemory{} // there is nothing to inherit
		return
	}
	b.index, b.was = l.Index, l.Index
	first := c.inherit(b, l)
	active := l.Bond.ActiveSlave
	for _, e := range c.reading.early {
		if e.bond == l.Index && e.at.After(now) {
			active = e.active
			c.moved(b, active, e.at)
			c.read(0)
		}
	}
	// A read may be older than our own write; the next one is not.
	older := !b.actedAt.Before(now) && b.cfg.Mode().HasActiveSlave()
	if !b.activeBackup() {
		if !older {
			b.active = active
			c.moved(b, active, now)
			b.claims = nil
		}
		c.dropped(b, before, now)
		c.agree(b, now)
		return
	}
	if older {
		return
	}
	b.active = active
	// The events that led here may not have been taken yet, and are to be heard
	// first. What no event reports counts at the next read.
	if name := c.nameOf(active); !first && name != b.told && name != "" && b.told != "" && b.untold != active {
		b.untold = active
		c.read(0)
		return
	}
	c.moved(b, active, now)
	b.untold, b.claims = 0, nil
	c.judgeHand(b)
	c.agree(b, now)
}

// takesPart reports whether a link is one of the bond's slaves, parked ones included.
func (b *bond) takesPart(l *state.Link) bool {
	if l == nil || b.index == 0 {
		return false
	}
	return l.Master == b.index && l.Slave != nil || l.Master == 0 && slices.Contains(b.parked, l.Name)
}

// view is what failover decides on.
func (c *Core) view(b *bond) failover.Bond {
	v := failover.Bond{
		ActiveBackup: b.activeBackup(),
		Active:       b.active,
		Chosen:       b.ordered,
		Held:         b.held,
		Reselect:     reselects[b.cfg.Options["primary_reselect"]],
		UpDelay:      b.cfg.UpDelay() > 0,
		DownDelay:    b.cfg.DownDelay() > 0,
		Monitored:    b.cfg.Miimon() > 0,
		AllPaths:     b.cfg.PathPolicy != "any",
		Targets:      len(b.cfg.Paths),
		Slaves:       make([]failover.Slave, 0, len(b.slaves)),
	}
	for i := range b.slaves {
		m := &b.slaves[i]
		l := c.net.Link(m.name)
		if !b.takesPart(l) {
			continue
		}
		if l.Name == b.primary {
			v.Primary = l.Index
		}
		known := c.links[l.Index]
		s := failover.Slave{
			Index:    l.Index,
			LinkUp:   known.linkUp(),
			Detached: known.gone,
			MII:      state.MIIDown,
			Prio:     b.cfg.Prio[m.ref],
			Parked:   l.Slave == nil || slices.Contains(b.parked, l.Name),
			Excused:  b.excused[l.Name],
		}
		if l.Slave != nil {
			s.MII = l.Slave.MIIStatus
			s.Lagging = !s.LinkUp && !s.Detached && s.MII == state.MIIUp && known.up &&
				c.now.Sub(known.changed) >= lagAfter
		}
		if nic := c.nic(l.Name); nic != nil && nic.SpeedMbps != nil {
			s.Speed, s.FullDuplex = *nic.SpeedMbps, nic.Duplex == "full"
		}
		if w := b.watches[l.Name]; w != nil {
			s.Suppressed = w.Suppressed(c.now)
		}
		s.Spare = v.ActiveBackup && b.spares(l.Name)
		for t, p := range b.paths[l.Index] {
			s.Paths[t] = p.State
			// What was proven before the link went is not proven any more.
			if p.Proven && s.LinkUp && !known.changed.After(b.reported) {
				s.Proven |= 1 << t
			}
		}
		v.Slaves = append(v.Slaves, s)
	}
	return v
}

// lagAfter is how long a driver's carrier may say "link" after ethtool has said
// "no link" before a bond that shares its traffic out does without the slave:
// the bonding driver looks at the carrier alone.
const lagAfter = 150 * time.Millisecond

var reselects = map[string]failover.Reselect{
	"always": failover.Always, "better": failover.Better, "failure": failover.Failure,
}

// probe says who checks the paths of a bond: every slave, and those that are parked.
func (c *Core) probe(b *bond) {
	if len(b.cfg.Paths) == 0 {
		return
	}
	var from []ProbeSlave
	for i := range b.slaves {
		m := &b.slaves[i]
		l := c.net.Link(m.name)
		if !b.takesPart(l) {
			continue
		}
		mac := l.PermanentMAC
		if mac.IsZero() {
			if nic := c.nic(m.name); nic != nil {
				mac, _ = state.ParseMAC(nic.PermanentMAC)
			}
		}
		from = append(from, ProbeSlave{Name: l.Name, Index: l.Index, MAC: mac, LinkUp: c.links[l.Index].linkUp(),
			Active: b.activeBackup() && l.Index == b.active})
	}
	sender := c.sender(b)
	if sender.equal(&b.sender) && slices.Equal(from, b.probes) {
		return
	}
	b.sender, b.probes = sender, from
	c.out.Probes = append(c.out.Probes, Probes{Bond: b.cfg.Name, Sender: sender, Slaves: from})
}

// sender is the bond itself as its checker has to know it. An address that
// neither the configuration nor a lease gave it may be gone the next moment.
func (c *Core) sender(b *bond) Sender {
	// In balance-alb the driver rewrites the ARP that the bond sends.
	s := Sender{Index: b.index, Quiet: b.cfg.Mode() == bonding.BalanceALB}
	for _, a := range c.net.Addresses {
		switch {
		case a.Index != b.index || !a.Prefix.Addr().Is4():
		case slices.Contains(b.cfg.Addresses, a.Prefix) || b.lease != nil && b.lease.Prefix == a.Prefix:
			s.Addresses = append(s.Addresses, a.Prefix)
		default:
			s.Foreign = append(s.Foreign, a.Prefix)
		}
	}
	return s
}

// tune has every slave that was not asked yet report a lost link at once.
func (c *Core) tune(b *bond) {
	if !c.opts.Tune {
		return
	}
	for i := range b.slaves {
		l := c.net.Link(b.slaves[i].name)
		if l == nil || b.index == 0 || l.Master != b.index {
			continue
		}
		if _, asked := c.tunings[l.Index]; !asked {
			c.tunings[l.Index] = ""
			c.out.Tune = append(c.out.Tune, TuneRequest{Index: l.Index, Name: l.Name})
		}
	}
}
