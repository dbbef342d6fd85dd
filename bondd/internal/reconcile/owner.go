package reconcile

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// Own returns what a bond has that is bondd's although the kernel does not say
// so: what was so before and is still there, and what the configuration or
// the lease names and carries nobody's mark. So an address that was there before
// bondd is bondd's once the configuration names it, and goes when it no longer does.
func Own(t *Target, n *state.Network, now time.Time) state.Owned {
	bond := n.Link(t.Bond.Name)
	if bond == nil || bond.Bond == nil {
		return state.Owned{}
	}
	p := planner{Target: t, net: n, now: now, name: t.Bond.Name}
	c := state.Owned{Index: bond.Index}
	for i := range n.Addresses {
		a := &n.Addresses[i]
		if a.Index != bond.Index || a.Protocol != 0 || !p.counts(a) {
			continue
		}
		was := t.Owned.Address(a)
		static := slices.Contains(t.Bond.Addresses, a.Prefix)
		leased := !static && (was == state.OwnerLease || t.Lease != nil && a.Prefix == t.Lease.Prefix && !a.Permanent)
		if static || leased || was == state.OwnerConfiguration {
			c.Addresses = append(c.Addresses, state.OwnedAddress{Prefix: a.Prefix, Created: a.Created, Leased: leased})
		}
	}
	want := p.wantRoutes()
	for i := range n.Routes {
		r := &n.Routes[i]
		if r.Index != bond.Index {
			continue
		}
		o := state.OwnedRoute{Dst: r.Dst, Gateway: r.Gateway, Metric: r.Metric, Protocol: r.Protocol}
		j := slices.IndexFunc(want, func(w state.AddRoute) bool { return sameRoute(*r, w) })
		switch was := t.Owned.Route(r); {
		case j >= 0 && slices.Contains(ownRoutes, r.Protocol):
			o.Leased = want[j].Protocol == state.ProtocolLease
		case j < 0 && was == state.OwnerConfiguration, j < 0 && was == state.OwnerLease:
			o.Leased = was == state.OwnerLease
		default:
			continue
		}
		c.Routes = append(c.Routes, o)
	}
	return c
}

// ownRoutes are the protocols of routes that bondd has made: now, and in
// versions that had no number of their own.
var ownRoutes = []int{state.ProtocolStatic, state.ProtocolLease, unix.RTPROT_STATIC, unix.RTPROT_DHCP}

// Foreign lists what other programs have put on a bond.
func Foreign(c *state.Owned, n *state.Network) (addresses []netip.Prefix, routes []state.Route) {
	for i := range n.Addresses {
		if a := &n.Addresses[i]; a.Index == c.Index && !a.LinkLocal && c.Address(a) == state.OwnerForeign {
			addresses = append(addresses, a.Prefix)
		}
	}
	for i := range n.Routes {
		if r := &n.Routes[i]; r.Index == c.Index && c.Route(r) == state.OwnerForeign {
			routes = append(routes, *r)
		}
	}
	return addresses, routes
}

// claims are those of a bond, of which nothing may be claimed yet: Plan is also
// asked without.
func (p *planner) addressOwner(a *state.Address) state.Owner {
	o := p.Owned.Address(a)
	if o == state.OwnerForeign && a.Protocol == 0 && slices.Contains(p.Bond.Addresses, a.Prefix) {
		return state.OwnerConfiguration
	}
	return o
}

// counts reports whether an address is one to plan for: not a link-local one, which
// every interface gives itself, unless the configuration names it, or has named it.
func (p *planner) counts(a *state.Address) bool {
	return !a.LinkLocal || slices.Contains(p.Bond.Addresses, a.Prefix) || p.Owned.Address(a) == state.OwnerConfiguration
}

// surplus reports whether something of this owner, which is not wanted, has to
// go. What DHCP gave stays as long as DHCP has not said anything else.
func (p *planner) surplus(o state.Owner) bool {
	return o == state.OwnerConfiguration || o == state.OwnerLease && (p.Lease != nil || !p.Bond.DHCP4)
}

// lost finds the network from which what a bond has lost is to be restored, and
// the bond in it: this plan takes it down, or somebody else has taken it down or
// removed it since an earlier read. It is nil if nothing is known.
func (p *planner) lost(bond *state.Link) (*state.Network, *state.Link) {
	if bond != nil && bond.Up {
		return p.net, bond
	}
	if p.Before != nil {
		if b := p.Before.Link(p.name); b != nil && b.Bond != nil && b.Up {
			return p.Before, b
		}
	}
	return nil, nil
}

// restore plans what brings back the addresses and routes of others, and of the
// VLANs above, that a bond lost when it was down, or was removed (gone).
func (p *planner) restore(bond *state.Link) (addresses, routes, downs []state.Op) {
	n, from := p.lost(bond)
	if n == nil {
		return nil, nil, nil
	}
	gone := bond == nil
	links := []*state.Link{from}
	if !gone {
		links = append(links, above(n, from)...) // they went with it otherwise
	}
	l := losses{net: n, now: p.net, owned: &p.Owned, all: gone, others: true}
	return l.of(links)
}

// losses are what links lose when they go down.
type losses struct {
	net    *state.Network // as it was
	now    *state.Network // what is there already is not restored
	owned  *state.Owned
	all    bool // IPv4 addresses as well: the link was removed
	others bool // only what other programs made
}

// of lists the writes that bring it back: addresses, then routes, those that need
// no other route first, then the VLANs that were down.
func (l *losses) of(links []*state.Link) (addresses, routes, downs []state.Op) {
	var via []state.Op
	marks := slices.ContainsFunc(
		l.net.Addresses,
		func(a state.Address) bool { return l.owned.Address(&a) == state.OwnerKernel },
	)
	for i, link := range links {
		for j := range l.net.Addresses {
			a := &l.net.Addresses[j]
			owner := l.owned.Address(a)
			switch {
			case a.Index != link.Index, owner == state.OwnerKernel, l.others && owner != state.OwnerForeign:
			case a.Prefix.Addr().Is4() && !l.all, l.all && !a.Permanent:
			case a.LinkLocal && a.Prefix.Addr().Is6() && a.Protocol == 0 && !marks: // the kernel's, as far as can be told
			case l.net != l.now && hasAddress(l.now, link.Name, a.Prefix):
			default:
				addresses = append(addresses, state.RestoreAddress{Link: link.Name, Address: *a})
			}
		}
		for j := range l.net.Routes {
			r := &l.net.Routes[j]
			owner := l.owned.Route(r)
			if r.Index != link.Index || owner == state.OwnerKernel || l.others && owner != state.OwnerForeign ||
				l.net != l.now && hasRoute(l.now, link.Name, r) {
				continue
			}
			op := restored(link.Name, r)
			if r.Gateway.IsValid() {
				via = append(via, op)
			} else {
				routes = append(routes, op)
			}
		}
		for j := range l.net.Others {
			o := &l.net.Others[j]
			if o.Index != link.Index {
				continue
			}
			op := state.RestoreRoute{Link: link.Name, Text: o.Text, Message: o.Message}
			if o.Gateway {
				via = append(via, op)
			} else {
				routes = append(routes, op)
			}
		}
		if i > 0 && !link.Up { // the kernel takes every VLAN up with the link below
			downs = append(downs, state.SetUp{Link: link.Name})
		}
	}
	return addresses, append(routes, via...), downs
}

func hasAddress(n *state.Network, link string, prefix netip.Prefix) bool {
	l := n.Link(link)
	return l != nil &&
		slices.ContainsFunc(n.Addresses, func(a state.Address) bool { return a.Index == l.Index && a.Prefix == prefix })
}

func hasRoute(n *state.Network, link string, r *state.Route) bool {
	l := n.Link(link)
	return l != nil && slices.ContainsFunc(n.Routes, func(o state.Route) bool {
		return o.Index == l.Index && o.Dst == r.Dst && o.Gateway == r.Gateway && o.Metric == r.Metric
	})
}

// restored is the write that brings a route back. One that the kernel has made a
// part of another cannot be told to it as it was told by it.
func restored(link string, r *state.Route) state.Op {
	add := state.AddRoute{Link: link, Dst: r.Dst, Gateway: r.Gateway, Metric: r.Metric, Protocol: r.Protocol}
	if r.Shared {
		return add
	}
	return state.RestoreRoute{Link: link, Text: add.Text(), Message: r.Message, Route: *r}
}

// above are the VLANs above a link, those nearest to it first.
func above(n *state.Network, below *state.Link) []*state.Link {
	var vlans []*state.Link
	for i := range n.Links {
		if l := &n.Links[i]; l.Kind == "vlan" && l.Lower == below.Index {
			vlans = append(vlans, l)
			vlans = append(vlans, above(n, l)...)
		}
	}
	return vlans
}
