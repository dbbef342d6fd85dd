package core

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// Snapshot returns all that is known as a new state.Snapshot. What differs from
// the last one in a way that a person would want to know becomes an event and a
// log line, which are returned with it.
func (c *Core) Snapshot(now time.Time) (*state.Snapshot, []LogLine) {
	c.now = now
	s := &state.Snapshot{
		Version:  c.opts.Version,
		Started:  c.started,
		Time:     now,
		Sampled:  c.reading.last,
		Hardware: c.hardwareReport(),
		Totals:   c.totals,
		Config: state.ConfigStatus{
			Source:   c.opts.Source.Name,
			Error:    c.opts.Source.Error,
			Warnings: c.opts.Source.Warnings,
			Applied:  c.reading.applied,
			TOML:     c.toml,
		},
	}
	s.Totals.PollDuration = c.totals.PollDuration.Clone()
	for _, b := range c.bonds {
		s.Bonds = append(s.Bonds, c.bondState(b))
		for _, d := range b.differences {
			s.Config.Drift = append(s.Config.Drift, d.Text)
		}
		s.Config.Drift = append(s.Config.Drift, b.drift...)
	}
	var lines []LogLine
	if old := c.ledger.published; old != nil {
		// A link is lost before its traffic moves.
		for _, ev := range append(changes(old, s), c.ledger.moves...) {
			lines = append(lines, c.note(ev))
		}
		c.ledger.moves = nil
	}
	s.Events, s.History = c.ledger.events, c.ledger.history
	c.ledger.published = s
	return s, lines
}

// note keeps an event and returns its log line. The slice that is published is
// never written to again.
func (c *Core) note(ev state.Event) LogLine {
	kept := c.ledger.events[:min(len(c.ledger.events), state.MaxEvents-1)]
	c.ledger.events = append([]state.Event{ev}, kept...)
	line := LogLine{Level: slog.LevelInfo, Message: ev.Kind + ": " + ev.Message}
	if !ev.Good {
		line.Level = slog.LevelWarn
	}
	if ev.Bond != "" {
		line.Attrs = append(line.Attrs, slog.String("bond", ev.Bond))
	}
	if ev.Slave != "" {
		line.Attrs = append(line.Attrs, slog.String("slave", ev.Slave))
	}
	return line
}

// bondState is a bond as it is published.
func (c *Core) bondState(b *bond) state.Bond {
	s := state.Bond{
		Name:             b.cfg.Name,
		Mode:             b.cfg.Mode(),
		DHCP:             b.dhcp,
		Chosen:           c.nameOf(b.ordered),
		Failovers:        maps.Clone(b.failovers),
		LastFailover:     b.lastFailover,
		LastFailoverTook: b.lastTook,
		FailoverDuration: b.duration.Clone(),
	}
	l := c.net.LinkByIndex(b.index)
	if l != nil && l.Bond != nil {
		s.Mode = l.Bond.Options.Mode()
		s.MAC, s.MTU, s.Options, s.Counters = l.MAC, l.MTU, l.Bond.Options, l.Counters
		for _, a := range c.net.Addresses {
			if a.Index == l.Index && (!a.LinkLocal || b.owned.Address(&a) == state.OwnerConfiguration) {
				s.Addresses = append(s.Addresses, a.Prefix)
			}
		}
		for _, r := range c.net.Routes {
			if r.Index == l.Index && r.Dst.Bits() == 0 && r.Gateway.IsValid() {
				s.Gateways = append(s.Gateways, r.Gateway)
			}
		}
		if b.owned.Index == l.Index {
			s.Foreign.Addresses, s.Foreign.Routes = reconcile.Foreign(&b.owned, c.net.Network)
		}
		s.ActiveSlave = c.nameOf(b.active)
		s.LACP = l.Bond.LACP
	}
	if len(b.cfg.Paths) > 0 {
		s.PathPolicy = b.cfg.PathPolicy
	}
	carrying := false
	for i := range b.slaves {
		slave := c.slaveState(b, &b.slaves[i])
		carrying = carrying || slave.Active && slave.Usable()
		s.Slaves = append(s.Slaves, slave)
	}
	s.Up = l != nil && l.Up && l.Carrier && carrying
	s.Problem = c.problem(&s, l)
	s.Degraded = s.Up && s.Problem != ""
	return s
}

// slaveState is a configured slave as it is published.
func (c *Core) slaveState(b *bond, m *member) state.Slave {
	s := state.Slave{Name: m.name, MIIStatus: state.MIIDown, LeftOut: m.leftOut, Prio: b.cfg.Prio[m.ref],
		PollErrors: b.pollErrors[m.name]}
	if n := c.nic(m.name); n != nil {
		s.Driver, s.SpeedMbps, s.Duplex = n.Driver, n.SpeedMbps, n.Duplex
		s.PermanentMAC, _ = state.ParseMAC(n.PermanentMAC)
	}
	if w := b.watches[m.name]; w != nil {
		s.Penalty = w.Penalty(c.now)
		if s.Suppressed = w.Suppressed(c.now); s.Suppressed {
			s.ReuseAt = w.ReuseAt()
		}
	}
	l := c.net.Link(m.name)
	if !m.present || l == nil {
		s.SpeedMbps, s.Duplex = nil, ""
		return s
	}
	s.Present = true
	s.LinkUp, s.Detached = c.links[l.Index].linkUp(), c.links[l.Index].detached
	s.CarrierChanges, s.Counters = l.CarrierChanges, l.Counters
	if !s.LinkUp {
		s.SpeedMbps, s.Duplex = nil, ""
	}
	if len(b.cfg.Paths) > 0 {
		s.Paths = b.paths[l.Index]
		s.PathUp = b.pathUp(s.Paths)
	}
	s.FastLinkDown = c.tunings[l.Index]
	if l.Slave == nil || l.Master != b.index || b.index == 0 {
		s.Parked = l.Master == 0 && slices.Contains(b.parked, m.name)
		s.Quiet = s.Parked && b.quiet[m.name].down
		if s.LeftOut == "" {
			s.LeftOut = b.refused[m.name]
		}
		return s
	}
	delete(b.refused, m.name)
	s.Enslaved = true
	for _, d := range b.differences {
		if d.Slave == m.name {
			s.Lacks, s.Deaf = append(s.Lacks, d.Text), s.Deaf || d.Deaf
		}
	}
	s.MIIStatus, s.LinkFailures, s.LACP = l.Slave.MIIStatus, l.Slave.LinkFailures, l.Slave.LACP
	if b.activeBackup() {
		s.Active = l.Index == b.active
	} else {
		s.Active = l.Slave.Active && s.LinkUp
	}
	return s
}

// problem says in one sentence what keeps a bond from being healthy.
func (c *Core) problem(s *state.Bond, l *state.Link) string {
	var why []string
	for _, t := range silent(s) {
		why = append(why, fmt.Sprintf("%s answers no slave", t))
	}
	if s.LACP != nil && s.LACP.PartnerMAC.IsZero() {
		why = append(why, "no switch answers LACP: only one slave carries traffic")
	}
	for i := range s.Slaves {
		if w := slaveProblem(s, &s.Slaves[i]); w != "" {
			why = append(why, w)
		}
	}
	switch {
	case len(s.Slaves) == 0 && !c.hardware.known:
		return "the network cards are not known yet"
	case len(s.Slaves) == 0:
		return "there is no network card to bond"
	case l == nil && !c.hardware.known && c.hardware.err != "":
		why = []string{"the bond is not made yet: the network cards could not be read"}
	case l == nil:
		why = append([]string{"the bond is not made yet"}, why...)
	case l.Up && !l.Carrier && s.Linked():
		why = append(why, "the bonding driver keeps the bond's carrier off: fewer slaves are up than min_links asks for")
	case !s.Up && len(why) == 0:
		why = append(why, "no slave carries traffic yet")
	case len(s.Slaves) == 1 && len(why) == 0:
		why = append(why, s.Slaves[0].Name+" is the only card: there is nothing to fail over to")
	}
	return strings.Join(why, ", ")
}

// slaveProblem says what keeps a slave from being in use or ready to be.
func slaveProblem(b *state.Bond, s *state.Slave) string {
	switch {
	case !s.Present:
		return s.Name + " is missing"
	case s.Detached:
		return s.Name + " is detached: its device no longer replies, although its interface is there; " +
			"power cycle the machine, and replace the card if that does not help"
	case !s.Enslaved && s.LeftOut != "":
		return s.Name + " is left out"
	case s.Parked && s.Suppressed:
		return s.Name + " flaps and is kept out of the bond"
	case s.Quiet:
		return fmt.Sprintf("%s has no path to %s, which answers other slaves: it is kept out of the bond and down, so that the "+
			"switch sends nothing to it; its path is tried now and then", s.Name, unreached(b, s))
	case !s.Enslaved && !s.Parked:
		return s.Name + " is not in the bond"
	case !s.LinkUp:
		return s.Name + " has no link"
	case s.Suppressed:
		return s.Name + " flaps and is held out"
	case s.Deaf:
		return strings.Join(s.Lacks, ", ") + ": it receives nothing"
	}
	if dead := unreached(b, s); dead != "" {
		words := fmt.Sprintf("%s has a link, but no path to %s, which answers other slaves: look at its cable, its switch port and the card itself", s.Name, dead)
		if s.Parked {
			words += "; it is kept out of the bond until then"
		}
		return words
	}
	if s.LACP == nil {
		return ""
	}
	switch lacp, why := b.PortLACP(s); lacp {
	case state.LACPHalfOpen:
		return fmt.Sprintf("%s is half open: %s", s.Name, why)
	case state.LACPStandby:
		return s.Name + " is in another LACP aggregator than the one in use: it is connected to another switch, or configured otherwise there"
	}
	return ""
}

// unreached lists the targets that a slave does not reach and another one does.
func unreached(b *state.Bond, s *state.Slave) string {
	var dead []string
	for t := range s.Paths {
		if s.Paths[t].State == state.PathDown && slices.ContainsFunc(b.Slaves, func(o state.Slave) bool {
			return t < len(o.Paths) && o.Paths[t].State == state.PathUp
		}) {
			dead = append(dead, s.Paths[t].Target.String())
		}
	}
	return strings.Join(dead, " and ")
}

// silent lists the targets that are dead from every slave of which it is known.
func silent(b *state.Bond) []netip.Addr {
	down, heard := make(map[netip.Addr]bool), make(map[netip.Addr]bool)
	var targets []netip.Addr
	for i := range b.Slaves {
		for _, p := range b.Slaves[i].Paths {
			switch {
			case p.State == state.PathDown && !down[p.Target]:
				down[p.Target] = true
				targets = append(targets, p.Target)
			case p.State == state.PathUp || p.State == state.PathMissing:
				heard[p.Target] = true
			}
		}
	}
	return slices.DeleteFunc(targets, func(t netip.Addr) bool { return heard[t] })
}

// changes lists what is different in a way that a person would want to know.
// Switches are noted where they are made, with their reason and time.
func changes(old, new *state.Snapshot) []state.Event {
	var evs []state.Event
	add := func(bond, slave, kind string, good bool, format string, args ...any) {
		evs = append(evs, state.Event{Time: new.Time, Bond: bond, Slave: slave, Kind: kind, Good: good, Message: fmt.Sprintf(format, args...)})
	}
	if !old.Config.Applied && new.Config.Applied {
		if new.Config.Error != "" {
			add("", "", "config", false, "%s", new.Config.Error)
		}
		add("", "", "config", true, "configuration applied: %s", new.Config.Source)
	}
	if old.Hardware.Verdict != new.Hardware.Verdict {
		why := ""
		for _, f := range new.Hardware.Findings {
			if string(f.Severity) == string(new.Hardware.Verdict) && f.Severity != hwprobe.SeverityPass || f.Check == state.CheckInventory {
				why = ": " + f.Message
				break
			}
		}
		add("", "", "hardware", new.Hardware.Verdict == hwprobe.VerdictPass, "hardware check: %s%s", new.Hardware.Verdict, why)
	}
	for i := range new.Bonds {
		nb := &new.Bonds[i]
		ob := old.Bond(nb.Name)
		if ob == nil {
			continue
		}
		for j := range nb.Slaves {
			n := &nb.Slaves[j]
			k := slices.IndexFunc(ob.Slaves, func(s state.Slave) bool { return s.Name == n.Name })
			if k < 0 {
				continue
			}
			o := &ob.Slaves[k]
			for t := range min(len(n.Paths), len(o.Paths)) {
				was, is := o.Paths[t].State, n.Paths[t].State
				switch {
				case is == state.PathDown && was != is:
					add(nb.Name, n.Name, "path", false, "%s does not answer through %s", n.Paths[t].Target, n.Name)
				case is == state.PathUp && was == state.PathDown:
					add(nb.Name, n.Name, "path", true, "%s answers through %s again", n.Paths[t].Target, n.Name)
				}
			}
			switch {
			case !o.Detached && n.Detached:
				add(nb.Name, n.Name, "hardware", false, "%s", slaveProblem(nb, n))
			case o.Detached && !n.Detached && n.Present:
				add(nb.Name, n.Name, "hardware", true, "the device of %s replies again", n.Name)
			}
			switch {
			case !o.Suppressed && n.Suppressed:
				add(nb.Name, n.Name, "damping", false, "%s flaps and is held out for %s", n.Name, n.ReuseAt.Sub(new.Time).Round(time.Second))
			case o.Suppressed && !n.Suppressed:
				add(nb.Name, n.Name, "damping", true, "%s may be used again", n.Name)
			}
			switch {
			case o.Present && !n.Present:
				add(nb.Name, n.Name, "hardware", false, "%s was removed", n.Name)
			case !o.Enslaved && n.Enslaved:
				add(nb.Name, n.Name, "link", true, "%s joined %s%s", n.Name, nb.Name, linkWords(n))
			case !o.Parked && n.Parked:
				// The recorder's entry says it.
			case o.Enslaved && !n.Enslaved:
				add(nb.Name, n.Name, "link", false, "%s left %s", n.Name, nb.Name)
			case n.LeftOut != "" && o.LeftOut != n.LeftOut:
				add(nb.Name, n.Name, "hardware", false, "%s", n.LeftOut)
			case o.LinkUp && !n.LinkUp:
				add(nb.Name, n.Name, "link", false, "%s lost its link", n.Name)
			case !o.LinkUp && n.LinkUp && n.Enslaved:
				add(nb.Name, n.Name, "link", true, "%s has link again", n.Name)
			}
		}
		if ob.LACP != nil && nb.LACP != nil && ob.LACP.PartnerMAC != nb.LACP.PartnerMAC {
			if nb.LACP.PartnerMAC.IsZero() {
				add(nb.Name, "", "lacp", false, "the LACP partner %s is gone", ob.LACP.PartnerMAC)
			} else {
				add(nb.Name, "", "lacp", true, "the LACP partner is %s", nb.LACP.PartnerMAC)
			}
		}
		switch {
		case ob.Up && !nb.Up:
			add(nb.Name, "", "bond", false, "%s carries no traffic: %s", nb.Name, nb.Problem)
		case !ob.Up && nb.Up && nb.ActiveSlave != "":
			add(nb.Name, "", "bond", true, "%s carries traffic on %s", nb.Name, nb.ActiveSlave)
		case !ob.Up && nb.Up:
			add(nb.Name, "", "bond", true, "%s carries traffic", nb.Name)
		}
		for _, a := range nb.Addresses {
			if !slices.Contains(ob.Addresses, a) {
				by := ""
				if slices.Contains(nb.Foreign.Addresses, a) {
					by = ", from another program"
				}
				add(nb.Name, "", "address", true, "%s has address %s%s", nb.Name, a, by)
			}
		}
		for _, a := range ob.Addresses {
			switch {
			case slices.Contains(nb.Addresses, a):
			case slices.Contains(ob.Foreign.Addresses, a):
				add(nb.Name, "", "address", true, "%s no longer has address %s, which was another program's", nb.Name, a)
			default:
				add(nb.Name, "", "address", false, "%s lost address %s", nb.Name, a)
			}
		}
	}
	return evs
}

func linkWords(s *state.Slave) string {
	if s.LinkUp {
		return ""
	}
	return ", without link"
}

// failoverMessage tells a switch in words.
func failoverMessage(s *state.Switch, took time.Duration) string {
	ms := fmt.Sprintf("%.2f ms", float64(took.Microseconds())/1000)
	switch {
	case s.To == "" && s.Reason == state.ReasonKernel:
		return fmt.Sprintf("the kernel took %s out of the bond", s.From)
	case s.To == "" && s.Decided.IsZero() && s.Written.IsZero():
		return fmt.Sprintf("%s is kept out of the bond: %s", s.From, s.Cause)
	case s.To == "":
		return fmt.Sprintf("%s lost its link and is out of the bond after %s", s.From, ms)
	case s.Reason == state.ReasonPrimary:
		return fmt.Sprintf("traffic is back on the preferred %s", s.To)
	case s.Reason == state.ReasonKernel:
		return fmt.Sprintf("the kernel moved traffic from %s to %s", s.From, s.To)
	case s.Reason == state.ReasonAdmin:
		return fmt.Sprintf("traffic moved from %s to %s as asked, in %s", s.From, s.To, ms)
	}
	return fmt.Sprintf("traffic moved from %s to %s in %s: %s", s.From, s.To, ms, s.Cause)
}

// cause says in a sentence why traffic left a slave.
func (c *Core) cause(b *bond, from string, reason state.Reason) string {
	l := c.net.Link(from)
	switch reason {
	case state.ReasonAdmin:
		return "an operator asked for it"
	case state.ReasonPrimary:
		return "a preferred slave is usable again"
	case state.ReasonKernel:
		return "the bonding driver chose by itself"
	case state.ReasonPath:
		if b.spares(from) {
			if d := b.difference(from); d != nil {
				return d.Text
			}
			return from + " does not keep the MAC that the bond relies on"
		}
		return "nothing answers through " + from
	}
	switch {
	case l != nil && c.links[l.Index].gone:
		return "the device of " + from + " no longer replies"
	case l != nil && c.links[l.Index].linkUp():
		return from + " flaps"
	}
	return from + " lost its link"
}
