package engine

import (
	"context"
	"fmt"
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
	if interfacesChanged(e.net.Network, n) {
		e.probe()
		e.judged = false
	}
	before := e.net
	e.net, e.lastRead = newNetwork(n), began
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
	for index := range e.tunings {
		if seen[index] == nil {
			delete(e.tunings, index)
		}
	}
	if !e.judged {
		e.judge()
	}
	for _, b := range e.bonds {
		e.adopt(b, before, began)
		e.decide(b, began)
		e.tuneSlaves(b)
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
func (e *Engine) adopt(b *bond, before *network, now time.Time) {
	b.index = 0
	l := e.net.Link(b.cfg.Name)
	if l == nil || l.Bond == nil {
		b.active = 0
		return
	}
	b.index = l.Index
	active := l.Bond.ActiveSlave
	if !b.activeBackup() {
		b.active = active // modes 5 and 6 have one too, that is the driver's affair
		e.dropped(b, before, now)
		e.agree(b, now)
		return
	}
	if b.actedAt.After(now) {
		return // the read may be older than our own write; the next one is not
	}
	b.active = active
	// The events that led here may not have been taken yet, and are to be heard
	// first. What no event tells of counts at the next read.
	if name := e.nameOf(active); name != b.told && name != "" && b.told != "" && b.untold != active {
		b.untold = active
		e.wake()
		return
	}
	e.moved(b, active, now)
	b.untold, b.claims = 0, nil
	e.judgeHand(b)
	e.agree(b, now)
}

// settled reports whether the kernel has seen every link that is lost. Until
// then any write could have it select such a slave again (bond_select_active_slave,
// drivers/net/bonding/bond_main.c), so none is made. It is not waited for longer
// than its monitor can take: it may never agree.
func (e *Engine) settled(b *bond, now time.Time) bool {
	if !b.activeBackup() {
		return true
	}
	limit := 2*b.cfg.Miimon() + b.cfg.DownDelay() + time.Second
	v := e.view(b)
	for i := range v.Slaves {
		if s := &v.Slaves[i]; !s.LinkUp && s.MII == state.MIIUp &&
			(now.Sub(b.actedAt) < limit || now.Sub(e.links[s.Index].upAt) < limit) {
			return false
		}
	}
	return true
}

// Writes that were refused, or taken and not kept, are tried again after
// retryFirst, later and later up to retryMost.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// reconcile writes what is missing and reports whether it wrote anything.
func (e *Engine) reconcile(ctx context.Context) (wrote bool) {
	applied := true
	for _, b := range e.bonds {
		now := time.Now()
		ops, err := reconcile.Plan(e.target(b), e.net.Network, now)
		if err != nil {
			ops = nil
			e.refuse(b, []error{err}, now)
		}
		if len(ops) == 0 && err == nil {
			b.drift, b.retries, b.retryAt, b.tried = nil, 0, time.Time{}, nil
			continue
		}
		again := b.hasTried(ops)
		if err != nil || again && now.Before(b.retryAt) || !e.settled(b, now) {
			applied = applied && err == nil && b.retries == 0
			continue
		}
		applied = false
		if again && b.retryAt.IsZero() {
			e.refuse(b, notKept(ops), now)
			continue
		}
		b.tried, b.retryAt = ops, time.Time{}
		failures := reconcile.Execute(ctx, b.cfg.Name, ops, e.net.Network, e.write)
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

// hasTried reports whether all of these writes were done the last time already.
// Anything new is tried at once, whatever was refused beside it.
func (b *bond) hasTried(ops []state.Op) bool {
	return !slices.ContainsFunc(ops, func(op state.Op) bool {
		return !slices.ContainsFunc(b.tried, func(t state.Op) bool { return t.String() == op.String() })
	})
}

// notKept says of writes that the kernel took that they have to be done again.
func notKept(ops []state.Op) []error {
	errs := make([]error, len(ops))
	for i, op := range ops {
		errs[i] = fmt.Errorf("%s: the kernel took it and did not keep it", op)
	}
	return errs
}

// target is what a bond should be, as far as the hardware allows.
func (e *Engine) target(b *bond) *reconcile.Target {
	t := &reconcile.Target{Bond: b.cfg, Primary: b.primary, Lease: b.lease, Hold: b.held, Parked: b.parked, Prio: make(map[string]int)}
	for _, name := range b.usable {
		if !slices.Contains(b.parked, name) {
			t.Slaves = append(t.Slaves, name)
		}
	}
	for i := range b.slaves {
		t.Prio[b.slaves[i].name] = b.cfg.Prio[b.slaves[i].ref]
	}
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
