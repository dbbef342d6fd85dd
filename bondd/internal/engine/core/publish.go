package core

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
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
		for _, ev := range append(report.Changes(old, s), c.ledger.moves...) {
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
	if l != nil {
		s.Made, s.AdminUp, s.Carrier = true, l.Up, l.Carrier
	}
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
	for i := range b.slaves {
		s.Slaves = append(s.Slaves, c.slaveState(b, &b.slaves[i]))
	}
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
	s.ForwardingDelay, s.SlowPort = c.links[l.Index].forwards, c.links[l.Index].slow
	s.CarrierChanges, s.Counters = l.CarrierChanges, l.Counters
	if !s.LinkUp {
		s.SpeedMbps, s.Duplex = nil, ""
	}
	if len(b.cfg.Paths) > 0 {
		s.Paths = b.paths[l.Index]
		s.PathUp = state.PathsUp(b.cfg.PathPolicy, s.Paths)
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

// cause says in a sentence why traffic left a slave.
func (c *Core) cause(b *bond, from string, reason state.Reason) string {
	l := c.net.Link(from)
	switch reason {
	case state.ReasonAdmin:
		return report.CauseOperator.Text(from)
	case state.ReasonPrimary:
		return report.CausePreferred.Text(from)
	case state.ReasonKernel:
		return report.CauseDriver.Text(from)
	case state.ReasonPath:
		if d := b.difference(from); b.spares(from) && d != nil {
			return d.Text
		}
		if b.spares(from) {
			return report.CauseMAC.Text(from)
		}
		return report.CausePath.Text(from)
	}
	switch {
	case l != nil && c.links[l.Index].gone:
		return report.CauseDevice.Text(from)
	case l != nil && c.links[l.Index].linkUp():
		return report.CauseFlaps.Text(from)
	}
	return report.CauseLink.Text(from)
}
