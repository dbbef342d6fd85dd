package core

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/state"
)

// convergence is how far a bond is from its configuration.
type convergence struct {
	drift   []string   // writes that are missing and were refused
	tried   []state.Op // the last plan that was carried out, as far as it could
	retryAt time.Time  // when it is tried again; zero: nothing of it was refused
	retries int
	refused map[string]string // why the kernel did not take a NIC, by its name
	planned bool              // tried is not answered yet

	owned       state.Owned            // what is bondd's although the kernel does not say so
	earlier     *state.Network         // the last but one read in which the bond was there; nil: none
	differences []reconcile.Difference // what the slaves lack, by the last read
	rigid       map[string]bool        // NICs whose driver takes another MAC only while they are down
	troubles    map[string]*trouble    // slaves that had another MAC than the bond relies on, lately
	noted       map[string]time.Time   // when a difference was last made an event, by its text
}

// noteAgain is after how long a difference that comes again and again is an event again.
const noteAgain = time.Minute

// compare finds what of a bond is bondd's, and what its slaves lack.
func (c *Core) compare(b *bond) {
	t := c.target(b)
	if owned := reconcile.Own(t, c.net.Network, c.now); !owned.Equal(&b.owned) {
		b.owned = owned
		c.out.Remember = true
	}
	was := b.differences
	b.differences = reconcile.Differences(t, c.net.Network)
	for _, d := range b.differences {
		if slices.Contains(was, d) || !b.noted[d.Text].IsZero() && c.now.Sub(b.noted[d.Text]) < noteAgain {
			continue
		}
		b.noted[d.Text] = c.now
		c.ledger.moves = append(
			c.ledger.moves,
			state.Event{Time: c.now, Bond: b.cfg.Name, Slave: d.Slave, Kind: "config", Message: d.Text},
		)
	}
	for text, at := range b.noted {
		if c.now.Sub(at) >= noteAgain &&
			!slices.ContainsFunc(b.differences, func(d reconcile.Difference) bool { return d.Text == text }) {
			delete(b.noted, text)
		}
	}
	for _, d := range b.differences {
		if !d.Deaf {
			continue
		}
		t := b.trouble(d.Slave)
		if !slices.ContainsFunc(was, func(o reconcile.Difference) bool { return o.Slave == d.Slave && o.Deaf }) {
			t.times++
		}
		t.last = c.now
		t.stuck = t.stuck || t.times > troubleOften
		if t.stuck && c.now.Before(t.next) {
			c.read(t.next.Sub(c.now))
		}
	}
	for name, t := range b.troubles {
		if c.now.Sub(t.last) >= calm {
			delete(b.troubles, name)
		}
	}
}

// A trouble is what is remembered of a slave that had another MAC than the bond
// relies on.
type trouble struct {
	times int       // that it had, since it was calm
	last  time.Time // that it was seen
	// stuck: it cannot be given the right one, or does not keep it. Traffic leaves
	// it where that is possible, and then another try is made later and later.
	stuck bool
	tries int
	next  time.Time // not before that
}

const (
	troubleOften = 3                      // times that a MAC is put back at once
	troubleEvery = 100 * time.Millisecond // from one try to the next while the slave carries traffic
	calm         = 10 * time.Second       // for which a slave has to keep it, to be trusted again
)

func (b *bond) trouble(slave string) *trouble {
	t := b.troubles[slave]
	if t == nil {
		t = new(trouble)
		b.troubles[slave] = t
	}
	return t
}

// difference is what a slave lacks, nil if there is nothing.
func (b *bond) difference(slave string) *reconcile.Difference {
	i := slices.IndexFunc(b.differences, func(d reconcile.Difference) bool { return d.Slave == slave })
	if i < 0 {
		return nil
	}
	return &b.differences[i]
}

// spares reports whether traffic should leave a slave because of what it lacks.
func (b *bond) spares(slave string) bool {
	return slices.ContainsFunc(b.differences, func(d reconcile.Difference) bool {
		return d.Slave == slave && d.Leave
	}) || b.troubles[slave] != nil && b.troubles[slave].stuck
}

// learn takes what a refused write says about a slave, and reports whether
// another plan may do better.
func (c *Core) learn(b *bond, f reconcile.Failure) bool {
	op, ok := f.Op.(state.SetMAC)
	if !ok || op.Link == b.cfg.Name {
		return false
	}
	if errors.Is(f.Err, unix.EBUSY) && !b.rigid[op.Link] {
		b.rigid[op.Link] = true
		return true
	}
	t := b.trouble(op.Link)
	t.last, t.stuck = c.now, true
	return false
}

// triedMACs notes the tries of a plan to give a stuck slave its MAC.
func (c *Core) triedMACs(b *bond, ops []state.Op) {
	for _, op := range ops {
		set, ok := op.(state.SetMAC)
		if !ok {
			continue
		}
		if t := b.troubles[set.Link]; t != nil && t.stuck {
			if !b.activeBackup() || set.Link == c.nameOf(b.active) {
				t.next = c.now.Add(troubleEvery)
				continue
			}
			t.next = c.now.Add(min(retryFirst<<min(t.tries, 10), retryMost))
			t.tries++
		}
	}
}

func newConvergence() convergence {
	return convergence{
		refused:  make(map[string]string),
		rigid:    make(map[string]bool),
		troubles: make(map[string]*trouble),
		noted:    make(map[string]time.Time),
	}
}

// rounds bounds how often a plan follows a plan between two ticks: a plan may
// depend on what the one before it changed.
const rounds = 4

// Writes that were refused, or taken and not kept, are tried again after
// retryFirst, later and later up to retryMost.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// converge plans what is missing. Before the hardware is known, nothing is planned
// but what keeps the driver from a worse slave: what could not be read is not an
// empty machine.
func (c *Core) converge() {
	applied := true
	for _, b := range c.bonds {
		known := c.hardware.known && !c.unread(b)
		var ops []state.Op
		var err error
		if known {
			ops, err = c.plan(b)
			if b.index != 0 {
				b.earlier = c.net.Network
			}
		} else {
			applied = false
			if c.hardware.known {
				c.probeHardware()
			}
			ops = reconcile.Hold(c.target(b), c.net.Network)
		}
		if err != nil {
			ops = nil
			c.refuse(b, []error{err})
		}
		if len(ops) == 0 && err == nil {
			if known {
				b.drift, b.retries, b.retryAt, b.tried = nil, 0, time.Time{}, nil
			}
			continue
		}
		again := b.hasTried(ops)
		if err != nil || b.planned || again && c.now.Before(b.retryAt) || !c.settled(b) {
			applied = applied && err == nil && b.retries == 0
			continue
		}
		applied = false
		if again && b.retryAt.IsZero() {
			c.refuse(b, notKept(ops))
			for _, op := range ops {
				c.learn(b, reconcile.Failure{Op: op})
			}
			continue
		}
		b.tried, b.retryAt, b.planned = ops, time.Time{}, true
		c.triedMACs(b, ops)
		c.out.Plans = append(c.out.Plans, Plan{Bond: b.cfg.Name, Ops: ops, Before: c.net.Network})
	}
	c.reading.applied = c.reading.applied || applied
}

// plan is what is missing of a bond. One that somebody has renamed is not made a
// second time: two bonds would have one address.
func (c *Core) plan(b *bond) ([]state.Op, error) {
	if l := c.net.LinkByIndex(b.was); b.was != 0 && b.index == 0 && l != nil && l.Bond != nil && c.bond(l.Name) == nil {
		if c.net.Link(b.cfg.Name) == nil {
			return []state.Op{state.Rename{Link: l.Name, To: b.cfg.Name}}, nil
		}
	}
	return reconcile.Plan(c.target(b), c.net.Network, c.now)
}

// apply implements Input.
func (p PlanDone) apply(c *Core) {
	b := c.bond(p.Bond)
	if b == nil {
		return
	}
	b.planned = false
	var errs []error
	learned := false
	for _, f := range p.Failures {
		errs = append(errs, f.Err)
		learned = c.learn(b, f) || learned
		if enslave, ok := f.Op.(state.Enslave); ok {
			b.refused[enslave.Slave] = f.Err.Error()
		}
	}
	if len(errs) > 0 {
		c.refuse(b, errs)
	}
	c.out.Publish = true
	if (len(p.Failures) < p.Ops || learned) && c.reading.rounds < rounds {
		c.reading.rounds++
		c.read(0)
	}
}

// settled reports whether the kernel has seen every link that is lost. Until
// then any write could have it select such a slave again (bond_select_active_slave,
// drivers/net/bonding/bond_main.c), so none is made. While downdelay runs for the
// active slave, it would have it leave that slave at once. It is not waited for
// longer than its monitor can take: it may never agree.
func (c *Core) settled(b *bond) bool {
	if !b.activeBackup() {
		return true
	}
	limit := 2*b.cfg.Miimon() + b.cfg.DownDelay() + time.Second
	v := c.view(b)
	for i := range v.Slaves {
		if s := &v.Slaves[i]; (s.MII == state.MIIFail && s.Index == b.active || !s.LinkUp && s.MII == state.MIIUp) &&
			(c.now.Sub(b.actedAt) < limit || c.now.Sub(c.links[s.Index].changed) < limit) {
			return false
		}
	}
	return true
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
func (c *Core) target(b *bond) *reconcile.Target {
	t := &reconcile.Target{Bond: b.cfg, Primary: b.primary, Lease: b.lease, Hold: b.held,
		Prio: make(map[string]int), Owned: b.owned, Before: b.earlier}
	dead := c.dead(b)
	for _, name := range b.usable {
		if !slices.Contains(b.parked, name) && !slices.Contains(dead, name) {
			t.Slaves = append(t.Slaves, name)
		}
	}
	for _, name := range b.parked {
		if !slices.Contains(dead, name) {
			t.Parked = append(t.Parked, name)
		}
	}
	for name, q := range b.quiet {
		if q.down && !slices.Contains(dead, name) {
			t.Quiet = append(t.Quiet, name)
		}
	}
	t.Rigid = slices.Sorted(maps.Keys(b.rigid))
	for name, trouble := range b.troubles {
		if trouble.stuck && c.now.Before(trouble.next) {
			t.Stuck = append(t.Stuck, name)
		}
	}
	for i := range b.slaves {
		t.Prio[b.slaves[i].name] = b.cfg.Prio[b.slaves[i].ref]
	}
	for i := range c.hardware.nics {
		// QEMU's vmxnet3 filters by the address it had before it was opened: a
		// second slave would have link and receive nothing for the bond.
		if n := &c.hardware.nics[i]; n.Driver == "vmxnet3" {
			t.Forgetful = append(t.Forgetful, n.Name)
		}
	}
	return t
}

// dead are the NICs of a bond that are detached and have to leave it, or cannot
// be taken up to come in.
func (c *Core) dead(b *bond) []string {
	var names []string
	for i := range b.slaves {
		if l := c.net.Link(b.slaves[i].name); l != nil && c.links[l.Index].detached && l.Master != b.index {
			names = append(names, l.Name)
		}
	}
	v := c.view(b)
	for _, index := range failover.Leave(&v) {
		if c.links[index].detached {
			names = append(names, c.nameOf(index))
		}
	}
	return names
}

// refuse notes that a bond is not what it should be.
func (c *Core) refuse(b *bond, errs []error) {
	drift := make([]string, len(errs))
	for i, err := range errs {
		drift[i] = err.Error()
	}
	if !slices.Equal(drift, b.drift) {
		b.retries = 0
		for _, err := range errs {
			c.log(slog.LevelError, "bond is not as configured", slog.String("bond", b.cfg.Name), slog.Any("err", err))
		}
	}
	b.drift = drift
	b.retryAt = c.now.Add(min(retryFirst<<min(b.retries, 10), retryMost))
	b.retries++
}
