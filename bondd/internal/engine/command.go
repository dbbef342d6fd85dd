package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/state"
)

// An order is an operator's command to switch.
type order struct {
	bond, to string
	answer   chan error // takes one answer without waiting
	until    time.Time  // once it is carried out: when it is answered at the latest
}

// orderKnown is how long an order that is carried out waits until the kernel has
// told of it: then the snapshot has all of it, the flight recorder too.
const orderKnown = time.Second

// Failover makes a slave the active one because an operator asks for it. The
// choice stands, also against a preferred slave, until the chosen slave is no
// longer usable or another one is chosen. The error is a *state.Refusal unless
// ctx ended first or the kernel refused.
func (e *Engine) Failover(ctx context.Context, bond, to string) error {
	o := order{bond: bond, to: to, answer: make(chan error, 1)}
	select {
	case <-ctx.Done():
		return fmt.Errorf("switch %s to %s: %w", bond, to, ctx.Err())
	case e.orderC <- o:
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("switch %s to %s: %w", bond, to, ctx.Err())
	case err := <-o.answer:
		return err
	}
}

// command has an order carried out. Its answer waits for confirm if the kernel
// is yet to tell of the switch.
func (e *Engine) command(o *order) {
	b, err := e.obey(o)
	if err == nil && b.activeBackup() && b.told != e.nameOf(b.active) {
		o.until = time.Now().Add(orderKnown)
		b.orders = append(b.orders, o)
		return
	}
	o.answer <- err
}

// dismiss answers the orders that wait when the engine ends: they are carried out.
func (e *Engine) dismiss() {
	for _, b := range e.bonds {
		for _, o := range b.orders {
			o.answer <- nil
		}
	}
}

// confirm answers the orders of a bond that the snapshot knows of.
func (b *bond) confirm(active string, now time.Time) {
	b.orders = slices.DeleteFunc(b.orders, func(o *order) bool {
		known := b.told == active || !now.Before(o.until)
		if known {
			o.answer <- nil
		}
		return known
	})
}

// obey carries an order out and returns the bond that it is for.
func (e *Engine) obey(o *order) (*bond, error) {
	refuse := func(format string, args ...any) (*bond, error) {
		return nil, &state.Refusal{Why: fmt.Sprintf(format, args...)}
	}
	var b *bond
	for _, each := range e.bonds {
		if each.cfg.Name == o.bond {
			b = each
		}
	}
	if b == nil {
		return nil, &state.Refusal{Unknown: true, Why: fmt.Sprintf("there is no bond %q", o.bond)}
	}
	var m *member
	for i := range b.slaves {
		if b.slaves[i].name == o.to || b.slaves[i].ref == o.to {
			m = &b.slaves[i]
		}
	}
	if m == nil {
		return nil, &state.Refusal{Unknown: true, Why: fmt.Sprintf("%s has no slave %q", o.bond, o.to)}
	}
	if !b.cfg.HasActiveSlave() {
		return refuse("%s is in mode %s, in which every slave carries traffic: there is none to switch to", o.bond, b.cfg.Mode())
	}
	v := e.view(b)
	l := e.net.Link(m.name)
	var to *failover.Slave
	for i := range v.Slaves {
		if l != nil && v.Slaves[i].Index == l.Index {
			to = &v.Slaves[i]
		}
	}
	switch {
	case to == nil || to.Parked:
		return refuse("%s is not in %s at present", m.name, o.bond)
	case !to.LinkUp:
		return refuse("%s has no link", m.name)
	case to.MII != state.MIIUp:
		return refuse("the kernel takes %s to be %q, not up: try again later", m.name, to.MII)
	case failover.Blamed(&v, to.Index):
		return refuse("%s has a link, but no path: traffic would stop", m.name)
	case to.Suppressed:
		return refuse("%s is held out because it flaps, until its penalty has decayed", m.name)
	case b.active == 0:
		return refuse("%s has no active slave to switch from", o.bond)
	}
	if to.Index != b.active {
		before := e.views(b)
		read := time.Now()
		r := kernel.SetActiveSlave(b.index, to.Index)
		err := e.deps.Switcher.Do(&r)
		if err != nil {
			return nil, fmt.Errorf("switch %s to %s: %w", o.bond, m.name, err)
		}
		e.acted(b, act{to: to.Index, reason: state.ReasonAdmin, read: read, issued: read, done: time.Now(), before: before}, nil)
	}
	// A choice that the configuration would make too needs no defence.
	v.Active, v.Chosen, b.chosen = to.Index, 0, 0
	if failover.Decide(&v).Action == failover.Switch {
		b.chosen = to.Index
	}
	e.decide(b, time.Now())
	e.publish(time.Now())
	e.prepare()
	return b, nil
}
