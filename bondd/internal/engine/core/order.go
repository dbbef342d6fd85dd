package core

import (
	"fmt"
	"slices"
	"time"

	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/state"
)

// A pendingOrder is an order that was carried out. It is answered once the
// driver has reported the failover: then the snapshot has all of it, the flight
// recorder too.
type pendingOrder struct {
	id    uint64
	until time.Time // when it is answered at the latest
}

// orderKnown is how long an order that is carried out waits for the driver's report.
const orderKnown = time.Second

// apply implements Input. The choice stands, also against a preferred slave,
// until the chosen slave is no longer usable or another one is chosen.
func (o Order) apply(c *Core) {
	b, to, err := c.check(&o)
	switch {
	case err != nil:
		c.reply(o.ID, err)
	case to == b.active:
		c.choose(b, to)
		b.orders = append(b.orders, pendingOrder{o.ID, c.now.Add(orderKnown)})
		c.decide(b, c.now, "")
		c.prepare()
		c.out.Publish = true
	default:
		b.before = c.views(b)
		c.out.Requests = append(c.out.Requests, Request{Bond: b.index, To: to, Miimon: b.cfg.Miimon(),
			reason: state.ReasonAdmin, since: c.now, order: o.ID})
	}
}

// check finds the bond and the slave of an order, or says why it is refused.
func (c *Core) check(o *Order) (b *bond, to int, err error) {
	refuse := func(format string, args ...any) (*bond, int, error) {
		return nil, 0, &state.Refusal{Why: fmt.Sprintf(format, args...)}
	}
	if b = c.bond(o.Bond); b == nil {
		return nil, 0, &state.Refusal{Unknown: true, Why: fmt.Sprintf("there is no bond %q", o.Bond)}
	}
	i := slices.IndexFunc(b.slaves, func(m member) bool { return m.name == o.To || m.ref == o.To })
	if i < 0 {
		return nil, 0, &state.Refusal{Unknown: true, Why: fmt.Sprintf("%s has no slave %q", o.Bond, o.To)}
	}
	name := b.slaves[i].name
	if !b.cfg.Mode().HasActiveSlave() {
		return refuse(
			"%s is in mode %s, in which every slave carries traffic: there is none to switch to",
			o.Bond,
			b.cfg.Mode(),
		)
	}
	v := c.view(b)
	l := c.net.Link(name)
	at := slices.IndexFunc(v.Slaves, func(s failover.Slave) bool { return l != nil && s.Index == l.Index })
	if at < 0 || v.Slaves[at].Parked {
		return refuse("%s is not in %s at present", name, o.Bond)
	}
	s := &v.Slaves[at]
	switch {
	case s.Detached:
		return refuse("%s is detached: its device does not reply", name)
	case !s.LinkUp:
		return refuse("%s has no link", name)
	case s.MII != state.MIIUp:
		return refuse("the kernel takes %s to be %q, not up: try again later", name, s.MII)
	case failover.Blamed(&v, s.Index):
		return refuse("%s has a link, but no path: traffic would stop", name)
	case failover.Unproven(&v, s.Index):
		return refuse("nothing has replied to %s yet since its link came: try again in a few seconds", name)
	case s.Suppressed:
		return refuse("%s is held out because it flaps, until its penalty has decayed", name)
	case b.active == 0:
		return refuse("%s has no active slave to switch from", o.Bond)
	}
	return b, s.Index, nil
}

// obeyed notes that the request of an order was answered.
func (c *Core) obeyed(b *bond, a *Acted) {
	if a.Err != nil {
		c.reply(a.order, fmt.Errorf("switch %s to %s: %w", b.cfg.Name, c.nameOf(a.To), a.Err))
		return
	}
	c.choose(b, a.To)
	b.orders = append(b.orders, pendingOrder{a.order, c.now.Add(orderKnown)})
	c.decide(b, c.now, "")
}

// choose keeps an operator's choice. One that the configuration would make too
// needs no defence.
func (c *Core) choose(b *bond, to int) {
	v := c.view(b)
	v.Active, v.Chosen, b.ordered = to, 0, 0
	if failover.Decide(&v).Action == failover.Switch {
		b.ordered = to
	}
	c.out.Remember = true
}

func (c *Core) reply(order uint64, err error) {
	if order != 0 {
		c.out.Answers = append(c.out.Answers, Answer{order, err})
	}
}

// answer ends the orders of a bond that the ledger knows of.
func (c *Core) answer(b *bond) {
	if len(b.orders) == 0 {
		return
	}
	b.orders = slices.DeleteFunc(b.orders, func(o pendingOrder) bool {
		done := b.told == c.nameOf(b.active) || !c.now.Before(o.until)
		if done {
			c.reply(o.id, nil)
			c.out.Publish = true
		}
		return done
	})
}

// Dismiss answers the orders that wait when the daemon ends: they are carried out.
func (c *Core) Dismiss() []Answer {
	var answers []Answer
	for _, b := range c.bonds {
		for _, o := range b.orders {
			answers = append(answers, Answer{ID: o.id})
		}
		b.orders = nil
	}
	return answers
}
