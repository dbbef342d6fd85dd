package engine

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"bondd.internal/bondd/internal/address"
	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/state"
)

// rounds bounds how often one refresh plans anew after it has written: a plan
// may depend on what the one before it changed. What is left then is tried
// again at the next refresh.
const rounds = 4

// refresh reads the kernel, writes what is missing, and publishes.
func (e *Engine) refresh(ctx context.Context) {
	defer func() { e.publish(time.Now()) }()
	for range rounds {
		if !e.read(ctx) || !e.reconcile(ctx) {
			return
		}
	}
}

// read brings the view of the kernel up to date, and acts on what it finds.
func (e *Engine) read(ctx context.Context) bool {
	began := time.Now()
	n, err := e.deps.Kernel.Network(ctx)
	if err != nil {
		if ctx.Err() == nil && e.readErr != err.Error() {
			e.readErr = err.Error()
			e.log.Error("the kernel's network state cannot be read", "err", err)
		}
		return false
	}
	if e.readErr != "" {
		e.readErr = ""
		e.log.Info("the kernel's network state can be read again")
	}
	e.drain() // what the reflex did meanwhile is not the kernel's doing
	if interfacesChanged(e.net, n) {
		e.probe()
	}
	before := e.net
	e.net, e.lastRead = n, began
	seen := make(map[int]*link, len(n.Links))
	for i := range n.Links {
		l := e.links[n.Links[i].Index]
		if l == nil {
			l = new(link)
		}
		if up := n.Links[i].LinkUp(); up != l.up && !l.upAt.After(began) {
			l.set(up, began)
		}
		seen[n.Links[i].Index] = l
	}
	e.links = seen
	e.judge()
	for _, b := range e.bonds {
		e.adopt(b, before, began)
		e.decide(b, began)
	}
	e.prepare()
	return true
}

// drain takes the events that are waiting.
func (e *Engine) drain() {
	for {
		select {
		case s := <-e.reflex.seenC:
			e.onEvent(&s)
		default:
			return
		}
	}
}

// interfacesChanged reports whether a link came, went or was renamed.
func interfacesChanged(old, new *state.Network) bool {
	return !slices.EqualFunc(old.Links, new.Links, func(a, b state.Link) bool {
		return a.Index == b.Index && a.Name == b.Name
	})
}

// adopt takes over what the kernel says of a bond: whatever was read is the
// truth, and an active slave that bondd did not choose is the kernel's choice.
func (e *Engine) adopt(b *bond, before *state.Network, now time.Time) {
	b.index = 0
	l := e.net.Link(b.cfg.Name)
	if l == nil || l.Bond == nil {
		b.active = 0
		return
	}
	b.index = l.Index
	if !b.activeBackup() {
		e.dropped(b, before, now)
		return
	}
	active := l.Bond.ActiveSlave
	if left := e.net.LinkByIndex(b.left); left == nil || left.Slave == nil || left.Slave.MIIStatus != state.MIIUp || b.left == active {
		b.left = 0
	}
	switch {
	case b.actedAt.After(now):
		// The read may be older than our own write; the next one is not.
	case active == 0:
		b.active = 0
	case b.active == active:
	case b.last == "":
		b.active, b.last = active, e.nameOf(active) // the first there is: no switch
	default:
		reason, since := state.ReasonKernel, now
		if !b.pending.IsZero() && now.Sub(b.pending) < effect {
			reason, since = b.pendingFor, b.pending
		} else if e.nameOf(active) == b.primary && e.links[b.active].linkUp() {
			reason = state.ReasonPrimary
		}
		b.pending = time.Time{}
		e.switched(b, active, reason, since, now)
		b.active = active
	}
}

// settled reports whether the kernel agrees with the last switch that was
// forced on it. Until its monitor has seen the link that was left, any other
// write could have it select that slave again (kernel-side:
// bond_select_active_slave), so none is made.
func (e *Engine) settled(b *bond, now time.Time) bool {
	if !b.activeBackup() || now.Sub(b.lastFailover) > 2*b.cfg.Miimon()+b.cfg.DownDelay()+time.Second {
		return true
	}
	v := e.view(b)
	for i := range v.Slaves {
		if s := &v.Slaves[i]; !s.LinkUp && s.MII == state.MIIUp {
			return false
		}
	}
	return true
}

// Refused writes are tried again after retryFirst, later and later up to retryMost.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// reconcile writes what is missing and reports whether it wrote anything.
func (e *Engine) reconcile(ctx context.Context) (wrote bool) {
	applied := true
	for _, b := range e.bonds {
		now := time.Now()
		ops, err := reconcile.Plan(e.target(b), e.net, now)
		if err != nil {
			ops = nil
			e.refuse(b, []error{err}, now)
		}
		if len(ops) == 0 && err == nil {
			b.drift, b.retries, b.retryAt = nil, 0, time.Time{}
			continue
		}
		if err != nil || now.Before(b.retryAt) || !e.settled(b, now) {
			applied = applied && err == nil && b.retries == 0
			continue
		}
		applied = false
		failures := reconcile.Execute(ctx, b.cfg.Name, ops, e.net, e.write)
		if ctx.Err() != nil {
			return false
		}
		var errs []error
		for _, f := range failures {
			errs = append(errs, f.Err)
			if enslave, ok := f.Op.(state.Enslave); ok {
				b.refused[enslave.Slave] = f.Err.Error()
			}
		}
		if len(errs) > 0 {
			e.refuse(b, errs, time.Now())
		}
		wrote = wrote || len(failures) < len(ops)
	}
	e.applied = e.applied || applied
	return wrote
}

// target is what a bond should be, as far as the hardware allows.
func (e *Engine) target(b *bond) *reconcile.Target {
	t := &reconcile.Target{Bond: b.cfg, Slaves: b.usable, Primary: b.primary, Lease: b.lease}
	for i := range e.nics {
		// QEMU's vmxnet3 filters by the address it had before it was opened: a
		// second slave would have link and receive nothing for the bond.
		if n := &e.nics[i]; n.Driver == "vmxnet3" {
			t.Forgetful = append(t.Forgetful, n.Name)
		}
	}
	return t
}

// write is one write of a plan, logged once it is done.
func (e *Engine) write(ctx context.Context, op state.Op) error {
	err := e.deps.Kernel.Do(ctx, op)
	if err == nil {
		e.log.Info("kernel: " + op.String())
	}
	return err
}

// refuse notes that a bond is not what it should be.
func (e *Engine) refuse(b *bond, errs []error, now time.Time) {
	drift := make([]string, len(errs))
	for i, err := range errs {
		drift[i] = err.Error()
	}
	if !slices.Equal(drift, b.drift) {
		b.retries = 0
		for _, err := range errs {
			e.log.Error("bond is not as configured", "bond", b.cfg.Name, "err", err)
		}
	}
	b.drift = drift
	b.retryAt = now.Add(min(retryFirst<<min(b.retries, 10), retryMost))
	b.retries++
}

// writeResolvConf hands the DNS servers on: those of the configuration first.
func (e *Engine) writeResolvConf() {
	if e.deps.ResolvConf == "" {
		return
	}
	var servers []netip.Addr
	for _, b := range e.bonds {
		servers = append(servers, b.cfg.DNS...)
	}
	for _, b := range e.bonds {
		if b.lease != nil {
			servers = append(servers, b.lease.DNS...)
		}
	}
	if len(servers) == 0 {
		return
	}
	if err := address.WriteResolvConf(e.deps.ResolvConf, servers); err != nil {
		e.log.Error("dns: the servers were not written", "err", err)
	}
}
