package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// publish makes a new Snapshot of all that is known. What differs from the last
// one in a way that a person would want to know becomes an event and a log line.
func (e *Engine) publish(now time.Time) {
	s := &state.Snapshot{
		Version:  e.deps.Version,
		Started:  e.started,
		Time:     now,
		Sampled:  e.lastRead,
		Hardware: e.hardware,
		Totals:   e.totals,
		Config: state.ConfigStatus{
			Source:  e.source.Name,
			Error:   e.source.Error,
			Applied: e.applied,
			TOML:    e.toml,
		},
	}
	s.Totals.PollDuration = e.totals.PollDuration.Clone()
	if e.deps.Writes != nil {
		s.Totals.Writes = e.deps.Writes()
	}
	for _, b := range e.bonds {
		s.Bonds = append(s.Bonds, e.bondState(b))
		s.Config.Drift = append(s.Config.Drift, b.drift...)
	}
	if old := e.snapshot.Load(); old != nil {
		// A link is lost before its traffic moves.
		for _, ev := range append(changes(old, s), e.switches...) {
			e.note(ev)
		}
		e.switches = nil
	}
	s.Events = e.events
	e.snapshot.Store(s)
	e.subs.tell()
}

// note keeps an event and logs it. The slice that is published is never
// written to again.
func (e *Engine) note(ev state.Event) {
	e.events = append([]state.Event{ev}, e.events[:min(len(e.events), state.MaxEvents-1)]...)
	args := []any{}
	if ev.Bond != "" {
		args = append(args, "bond", ev.Bond)
	}
	if ev.Slave != "" {
		args = append(args, "slave", ev.Slave)
	}
	if ev.Good {
		e.log.Info(ev.Kind+": "+ev.Message, args...)
	} else {
		e.log.Warn(ev.Kind+": "+ev.Message, args...)
	}
}

// bondState is a bond as it is published.
func (e *Engine) bondState(b *bond) state.Bond {
	s := state.Bond{
		Name:             b.cfg.Name,
		Mode:             b.cfg.Mode(),
		DHCP:             b.dhcp,
		Failovers:        maps.Clone(b.failovers),
		LastFailover:     b.lastFailover,
		LastFailoverTook: b.lastTook,
		FailoverDuration: b.duration.Clone(),
	}
	l := e.net.LinkByIndex(b.index)
	if l != nil && l.Bond != nil {
		s.Mode = l.Bond.Options["mode"]
		s.MAC, s.MTU, s.Options, s.Counters = l.MAC, l.MTU, l.Bond.Options, l.Counters
		for _, a := range e.net.Addresses {
			if a.Index == l.Index && !a.LinkLocal {
				s.Addresses = append(s.Addresses, a.Prefix)
			}
		}
		for _, r := range e.net.Routes {
			if r.Index == l.Index && r.Dst.Bits() == 0 && r.Gateway.IsValid() {
				s.Gateways = append(s.Gateways, r.Gateway)
			}
		}
		s.ActiveSlave = e.nameOf(b.active)
	}
	carrying := false
	for i := range b.slaves {
		slave := e.slaveState(b, &b.slaves[i])
		carrying = carrying || slave.Active && slave.Usable()
		s.Slaves = append(s.Slaves, slave)
	}
	s.Up = l != nil && l.Up && carrying
	s.Problem = e.problem(&s, l)
	s.Degraded = s.Up && s.Problem != ""
	return s
}

// slaveState is a configured slave as it is published.
func (e *Engine) slaveState(b *bond, m *member) state.Slave {
	s := state.Slave{Name: m.name, MIIStatus: state.MIIDown, LeftOut: m.leftOut}
	for i := range e.nics {
		if n := &e.nics[i]; n.Name == m.name {
			s.Driver, s.SpeedMbps, s.Duplex = n.Driver, n.SpeedMbps, n.Duplex
			s.PermanentMAC, _ = state.ParseMAC(n.PermanentMAC)
		}
	}
	l := e.net.Link(m.name)
	if !m.present || l == nil {
		s.SpeedMbps, s.Duplex = nil, ""
		return s
	}
	s.Present = true
	s.LinkUp = e.links[l.Index].linkUp()
	s.CarrierChanges, s.Counters = l.CarrierChanges, l.Counters
	if !s.LinkUp {
		s.SpeedMbps, s.Duplex = nil, ""
	}
	if l.Slave == nil || l.Master != b.index || b.index == 0 {
		if s.LeftOut == "" {
			s.LeftOut = b.refused[m.name]
		}
		return s
	}
	delete(b.refused, m.name)
	s.Enslaved = true
	s.MIIStatus, s.LinkFailures = l.Slave.MIIStatus, l.Slave.LinkFailures
	if b.activeBackup() {
		s.Active = l.Index == b.active
	} else {
		s.Active = l.Slave.Active && s.LinkUp
	}
	return s
}

// problem says in one sentence what keeps a bond from being healthy.
func (e *Engine) problem(s *state.Bond, l *state.Link) string {
	var why []string
	for i := range s.Slaves {
		switch m := &s.Slaves[i]; {
		case !m.Present:
			why = append(why, m.Name+" is missing")
		case !m.Enslaved && m.LeftOut != "":
			why = append(why, m.Name+" is left out")
		case !m.Enslaved:
			why = append(why, m.Name+" is not in the bond")
		case !m.LinkUp:
			why = append(why, m.Name+" has no link")
		}
	}
	switch {
	case len(s.Slaves) == 0:
		return "there is no network card to bond"
	case l == nil:
		why = append([]string{"the bond is not made yet"}, why...)
	case !s.Up && len(why) == 0:
		why = append(why, "no slave carries traffic yet")
	case len(s.Slaves) == 1 && len(why) == 0:
		why = append(why, s.Slaves[0].Name+" is the only card: there is nothing to fail over to")
	}
	return strings.Join(why, ", ")
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
			if string(f.Severity) == string(new.Hardware.Verdict) && f.Severity != hwprobe.SeverityPass {
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
			switch o := &ob.Slaves[k]; {
			case o.Present && !n.Present:
				add(nb.Name, n.Name, "hardware", false, "%s was removed", n.Name)
			case !o.Enslaved && n.Enslaved:
				add(nb.Name, n.Name, "link", true, "%s joined %s%s", n.Name, nb.Name, linkWords(n))
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
				add(nb.Name, "", "address", true, "%s has address %s", nb.Name, a)
			}
		}
		for _, a := range ob.Addresses {
			if !slices.Contains(nb.Addresses, a) {
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

// failoverMessage tells a switch in words. to is empty where traffic is shared
// out over the slaves that are left.
func failoverMessage(from, to string, reason state.Reason, took time.Duration) string {
	ms := fmt.Sprintf("%.2f ms", float64(took.Microseconds())/1000)
	switch {
	case to == "" && reason == state.ReasonKernel:
		return fmt.Sprintf("the kernel took %s out of the bond", from)
	case to == "":
		return fmt.Sprintf("%s lost its link and is out of the bond after %s", from, ms)
	case reason == state.ReasonPrimary:
		return fmt.Sprintf("traffic is back on the primary %s", to)
	case reason == state.ReasonKernel:
		return fmt.Sprintf("the kernel moved traffic from %s to %s", from, to)
	case reason == state.ReasonAdmin:
		return fmt.Sprintf("traffic moved from %s to %s as asked, in %s", from, to, ms)
	}
	return fmt.Sprintf("traffic moved from %s to %s, %s after %s lost its %s", from, to, ms, from, reason)
}
