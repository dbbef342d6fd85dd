package engine

import (
	"context"
	"slices"
	"time"

	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/bondd/internal/state"
)

// A pathReport is one round of a bond's path checks.
type pathReport struct {
	bond *bond
	pathcheck.Report
}

// checkPaths makes the checker of a bond that has paths.
func (e *Engine) checkPaths(b *bond) {
	if len(b.cfg.Paths) == 0 {
		return
	}
	cfg := pathcheck.Config{Bond: b.cfg.Name, Strict: b.activeBackup(), Log: e.log}
	for _, p := range b.cfg.Paths {
		cfg.Targets = append(cfg.Targets, pathcheck.Target{Addr: p.Target, Source: p.Source, Interval: p.Interval, Timeout: p.Timeout,
			MissedMax: p.MissedMax, ReturnAfter: p.ReturnAfter})
	}
	cfg.Report = func(ctx context.Context, r pathcheck.Report) {
		select {
		case <-ctx.Done():
		case e.pathC <- pathReport{b, r}:
		}
	}
	checker, err := e.deps.Paths(cfg)
	if err != nil {
		e.log.Error("paths are not checked", "bond", b.cfg.Name, "err", err)
		return
	}
	b.paths = checker
}

// onPaths takes one round of path checks.
func (e *Engine) onPaths(r *pathReport) {
	// A path that was dead when the link went is dead when the link returns,
	// until it has answered for long enough: the decision must not be made in between.
	for index, paths := range r.Report {
		old := r.bond.pathStates[index]
		for t := range min(len(paths), len(old)) {
			if paths[t].State == state.PathUnknown && old[t].State == state.PathDown {
				paths[t].State = state.PathDown
			}
		}
	}
	r.bond.pathStates = r.Report
	e.decide(r.bond, time.Now())
	e.publish(time.Now())
	e.prepare()
}

// probeFrom tells the checker of a bond where to probe from: every slave, and
// those that are parked.
func (e *Engine) probeFrom(b *bond) {
	if b.paths == nil {
		return
	}
	var from []pathcheck.Slave
	for i := range b.slaves {
		m := &b.slaves[i]
		l := e.net.Link(m.name)
		if !e.takesPart(b, l) {
			continue
		}
		mac := l.PermanentMAC
		if mac.IsZero() {
			if nic := e.nic(m.name); nic != nil {
				mac, _ = state.ParseMAC(nic.PermanentMAC)
			}
		}
		from = append(from, pathcheck.Slave{Name: l.Name, Index: l.Index, MAC: mac, LinkUp: e.links[l.Index].linkUp(),
			Active: b.activeBackup() && l.Index == b.active})
	}
	b.paths.SetSlaves(e.prober(b), from)
}

// prober is the bond itself as its checker has to know it. An address that
// neither the configuration nor a lease gave it may be gone the next moment.
func (e *Engine) prober(b *bond) pathcheck.Bond {
	p := pathcheck.Bond{Index: b.index, Quiet: b.cfg.Mode() == "balance-alb"}
	for _, a := range e.net.Addresses {
		switch {
		case a.Index != b.index || !a.Prefix.Addr().Is4():
		case slices.Contains(b.cfg.Addresses, a.Prefix) || b.lease != nil && b.lease.Prefix == a.Prefix:
			p.Addresses = append(p.Addresses, a.Prefix)
		default:
			p.Foreign = append(p.Foreign, a.Prefix)
		}
	}
	return p
}

// pathUp combines the paths of a slave by the bond's policy; nil while nothing
// is known.
func (b *bond) pathUp(paths []state.Path) *bool {
	up, down := 0, 0
	for i := range paths {
		switch paths[i].State {
		case state.PathUp, state.PathMissing:
			up++
		case state.PathDown:
			down++
		}
	}
	var is bool
	switch {
	case b.cfg.PathPolicy == "any" && up > 0:
		is = true
	case down > 0 && (b.cfg.PathPolicy != "any" || down == len(paths)):
		is = false
	case up > 0 && up == len(paths):
		is = true
	default:
		return nil
	}
	return &is
}
