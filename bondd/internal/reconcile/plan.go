package reconcile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
)

// A Target is what one bond should be.
type Target struct {
	Bond   config.Bond
	Slaves []string // names of the NICs that are there and fit, in order of preference
	// Primary is the name of the NIC that the primary option refers to; empty
	// if there is no primary or its NIC is not there.
	Primary string
	// Forgetful are the NICs that lose an address which is set while they are
	// down, as the driver does on enslaving: it is set again once they are up.
	Forgetful []string
	// Lease is what DHCP gave; nil while it gave nothing, which leaves
	// addresses with a lifetime as they are.
	Lease *Lease
}

// A Lease is what DHCP gave for a bond.
type Lease struct {
	Prefix    netip.Prefix
	Broadcast netip.Addr
	Gateways  []netip.Addr
	DNS       []netip.Addr
	Expires   time.Time
}

// Routes that bondd makes carry these protocol numbers, by which it knows its own.
const (
	protoStatic = unix.RTPROT_STATIC
	protoDHCP   = unix.RTPROT_DHCP
)

// metricDHCP ranks a gateway from DHCP behind one that the configuration names.
const metricDHCP = 100

// metricIPv6 is what the kernel makes of metric 0 for IPv6 (IP6_RT_PRIO_USER).
const metricIPv6 = 1024

// A Conflict is a link that stands in the way of a bond.
type Conflict struct{ Link, Kind string }

func (c *Conflict) Error() string {
	return fmt.Sprintf("%s exists and is no bond but a %s: rename the bond or remove that link", c.Link, c.Kind)
}

// Plan returns the writes that make the bond what it should be, in order.
func Plan(t *Target, n *state.Network, now time.Time) ([]state.Op, error) {
	p := planner{Target: t, net: n, now: now, name: t.Bond.Name, want: t.options()}
	bond := n.Link(p.name)
	if bond != nil && bond.Bond == nil {
		kind := bond.Kind
		if kind == "" {
			kind = "network card"
		}
		return nil, &Conflict{Link: p.name, Kind: kind}
	}
	switch {
	case bond == nil:
		p.create()
	case bond.Bond.Options["mode"] != p.want["mode"]:
		p.convert(bond)
	default:
		p.adopt(bond)
	}
	return p.ops, nil
}

type planner struct {
	*Target
	net  *state.Network
	now  time.Time
	name string
	want state.Options
	ops  []state.Op
}

func (p *planner) add(ops ...state.Op) { p.ops = append(p.ops, ops...) }

// options are the options to ask for: those of the configuration, with the
// primary as the NIC's name. A primary whose NIC is not there cannot be told to
// the kernel, so it is left as it is.
func (t *Target) options() state.Options {
	want := make(state.Options, len(t.Bond.Options))
	for name, value := range t.Bond.Options {
		want[name] = value
	}
	if want["primary"] != "" {
		want["primary"] = t.Primary
		if t.Primary == "" || !slices.Contains(t.Slaves, t.Primary) {
			delete(want, "primary")
		}
	}
	return want
}

// mac is the address of a bond that is made anew: the configured one, else the
// first slave's own, which is set openly because the kernel would otherwise
// take that of whichever slave came first.
func (p *planner) mac() state.MAC {
	if m, err := state.ParseMAC(p.Bond.MAC); err == nil {
		return m
	}
	for _, name := range p.Slaves {
		if l := p.net.Link(name); l != nil {
			return ownMAC(l)
		}
	}
	return state.MAC{}
}

// sharedMAC is the address that every slave has. bond is nil where it is made anew.
func (p *planner) sharedMAC(bond *state.Link) state.MAC {
	if m, err := state.ParseMAC(p.Bond.MAC); err == nil || bond == nil {
		return cmp.Or(m, p.mac())
	}
	return bond.MAC
}

// ownMAC is the address that a NIC has without a bond.
func ownMAC(l *state.Link) state.MAC { return cmp.Or(l.PermanentMAC, l.MAC) }

// create plans a bond that is not there.
func (p *planner) create() {
	options := make(state.Options, len(p.want))
	for name, value := range p.want {
		if name != "primary" { // a slave that is not enslaved yet is no primary
			options[name] = value
		}
	}
	p.add(state.CreateBond{Name: p.name, MAC: p.mac(), Options: options})
	if p.Bond.MTU != 0 {
		p.add(state.SetMTU{Link: p.name, MTU: p.Bond.MTU})
	}
	p.enslave(nil)
	if primary := p.want["primary"]; primary != "" {
		p.add(state.SetOption{Bond: p.name, Option: "primary", Value: primary})
	}
	p.add(state.SetUp{Link: p.name, Up: true})
	p.addresses(nil)
}

// convert plans a bond of another mode. The driver changes the mode only of a
// bond that is down and has no slaves (BOND_OPTFLAG_NOSLAVES | BOND_OPTFLAG_IFDOWN).
func (p *planner) convert(bond *state.Link) {
	if bond.Up {
		p.add(state.SetUp{Link: p.name})
	}
	for i := range p.net.Links {
		if l := &p.net.Links[i]; l.Master == bond.Index {
			p.add(state.Release{Slave: l.Name, Bond: p.name})
		}
	}
	p.add(state.SetOption{Bond: p.name, Option: "mode", Value: p.want["mode"]})
	p.setOptions(func(row *config.Option) bool { return row.Name != "mode" && row.Name != "primary" })
	// With its last slave the bond lost its address.
	if m := p.mac(); !m.IsZero() {
		p.add(state.SetMAC{Link: p.name, MAC: m})
	}
	if p.Bond.MTU != 0 {
		p.add(state.SetMTU{Link: p.name, MTU: p.Bond.MTU})
	}
	p.enslave(nil)
	if primary := p.want["primary"]; primary != "" {
		p.add(state.SetOption{Bond: p.name, Option: "primary", Value: primary})
	}
	p.add(state.SetUp{Link: p.name, Up: true})
	p.addresses(bond)
}

// setOptions plans the wanted options that pass the filter, in the table's order.
func (p *planner) setOptions(filter func(*config.Option) bool) {
	for i := range config.Table {
		row := &config.Table[i]
		if value, ok := p.want[row.Name]; ok && filter(row) {
			p.add(state.SetOption{Bond: p.name, Option: row.Name, Value: value})
		}
	}
}

// adopt plans the differences of a bond that has the right mode.
func (p *planner) adopt(bond *state.Link) {
	if m, err := state.ParseMAC(p.Bond.MAC); err == nil && m != bond.MAC {
		p.add(state.SetMAC{Link: p.name, MAC: m})
	}
	if p.Bond.MTU != 0 && p.Bond.MTU != bond.MTU {
		p.add(state.SetMTU{Link: p.name, MTU: p.Bond.MTU})
	}
	differs := func(row *config.Option) bool { return bond.Bond.Options[row.Name] != p.want[row.Name] }
	// The monitor first: without one the driver takes no delays, and a slave
	// that is enslaved must be watched from then on.
	p.setOptions(func(row *config.Option) bool { return row.Name != "primary" && differs(row) })
	p.enslave(bond)
	// A primary has to be a slave when it is set.
	p.setOptions(func(row *config.Option) bool { return row.Name == "primary" && differs(row) })
	if !bond.Up {
		p.add(state.SetUp{Link: p.name, Up: true})
	}
	p.addresses(bond)
}

// enslave plans the slaves: what is missing comes in before what is too much
// goes out, so that the bond is never without. bond is nil where it has none.
func (p *planner) enslave(bond *state.Link) {
	for _, name := range p.Slaves {
		l := p.net.Link(name)
		if l == nil {
			continue
		}
		if bond != nil && l.Master == bond.Index {
			if !l.Up {
				p.add(state.SetUp{Link: name, Up: true})
			}
			continue
		}
		up := l.Up
		if master := p.net.LinkByIndex(l.Master); l.Master != 0 && master != nil {
			// A conversion has released the bond's own slaves already.
			if master.Name != p.name {
				p.add(state.Release{Slave: name, Bond: master.Name})
			}
			up = false // the driver takes a released slave down
			if master.Bond == nil {
				up = l.Up
			}
		}
		// An address on a slave would compete with the bond's.
		for _, a := range p.net.Addresses {
			if a.Index == l.Index && !a.LinkLocal {
				p.add(state.DelAddress{Link: name, Prefix: a.Prefix})
			}
		}
		if up {
			p.add(state.SetUp{Link: name}) // the driver enslaves only what is down
		}
		p.add(state.Enslave{Slave: name, Bond: p.name})
		if own, shared := ownMAC(l), p.sharedMAC(bond); slices.Contains(p.Forgetful, name) && own != shared {
			// The kernel passes an address on to the card only if it changes.
			p.add(state.SetMAC{Link: name, MAC: own}, state.SetMAC{Link: name, MAC: shared})
		}
	}
	if bond == nil {
		return
	}
	for i := range p.net.Links {
		if l := &p.net.Links[i]; l.Master == bond.Index && !slices.Contains(p.Slaves, l.Name) {
			p.add(state.Release{Slave: l.Name, Bond: p.name})
		}
	}
}

// addresses plans addresses and routes. bond is nil where it is made anew.
func (p *planner) addresses(bond *state.Link) {
	want := p.wantAddresses()
	var have []state.Address
	var routes []state.Route
	if bond != nil {
		for _, a := range p.net.Addresses {
			if a.Index == bond.Index && !a.LinkLocal {
				have = append(have, a)
			}
		}
		for _, r := range p.net.Routes {
			if r.Index == bond.Index && bond.Up && bond.Bond.Options["mode"] == p.want["mode"] {
				routes = append(routes, r)
			}
		}
	}

	// An address goes before another comes: the kernel takes the secondaries
	// of a subnet with its primary.
	for _, a := range have {
		ours := a.Permanent || p.Lease != nil && a.Prefix.Addr().Is4()
		if ours && !slices.ContainsFunc(want, func(w state.AddAddress) bool { return matches(a, w) }) {
			p.add(state.DelAddress{Link: p.name, Prefix: a.Prefix})
		}
	}
	for _, w := range want {
		if !slices.ContainsFunc(have, func(a state.Address) bool { return matches(a, w) }) {
			p.add(w)
		}
	}

	wantRoutes := p.wantRoutes()
	for _, r := range routes {
		ours := r.Protocol == protoStatic || r.Protocol == protoDHCP && p.Lease != nil
		if ours && !slices.ContainsFunc(wantRoutes, func(w state.AddRoute) bool { return sameRoute(r, w) }) {
			p.add(state.DelRoute{Link: p.name, Dst: r.Dst, Gateway: r.Gateway, Metric: r.Metric, Protocol: r.Protocol})
		}
	}
	for _, w := range wantRoutes {
		if !slices.ContainsFunc(routes, func(r state.Route) bool { return sameRoute(r, w) }) {
			p.add(w)
		}
	}
}

// matches reports whether the address is as wanted. The remaining lifetime is
// not compared: Renewed tells when it has to be written.
func matches(have state.Address, want state.AddAddress) bool {
	return have.Prefix == want.Prefix && have.Broadcast == want.Broadcast && have.Permanent == (want.Lifetime == 0)
}

// sameRoute does not ask who made a route: one that is right is left as it is.
func sameRoute(have state.Route, want state.AddRoute) bool {
	return have.Dst == want.Dst && have.Gateway == want.Gateway && have.Metric == want.Metric
}

func (p *planner) wantAddresses() []state.AddAddress {
	var want []state.AddAddress
	broadcast := p.Bond.Broadcast
	for _, prefix := range p.Bond.Addresses {
		a := state.AddAddress{Link: p.name, Prefix: prefix}
		if prefix.Addr().Is4() {
			if a.Broadcast = broadcast; !broadcast.IsValid() {
				a.Broadcast = lastAddress(prefix)
			}
			broadcast = netip.Addr{} // the configured one is the first address's
		}
		want = append(want, a)
	}
	if l := p.Lease; l != nil && l.Expires.After(p.now) {
		broadcast := l.Broadcast
		if !broadcast.IsValid() {
			broadcast = lastAddress(l.Prefix)
		}
		want = append(want, state.AddAddress{Link: p.name, Prefix: l.Prefix, Broadcast: broadcast, Lifetime: l.Expires.Sub(p.now).Truncate(time.Second)})
	}
	return want
}

func (p *planner) wantRoutes() []state.AddRoute {
	var want []state.AddRoute
	add := func(gateways []netip.Addr, metric, protocol int) {
		// One default route of a family and metric: each next gateway ranks behind.
		metric4, metric6 := metric, metric+metricIPv6
		for _, g := range gateways {
			dst, m := netip.PrefixFrom(netip.IPv4Unspecified(), 0), &metric4
			if g.Is6() {
				dst, m = netip.PrefixFrom(netip.IPv6Unspecified(), 0), &metric6
			}
			want = append(want, state.AddRoute{Link: p.name, Dst: dst, Gateway: g, Metric: *m, Protocol: protocol})
			*m++
		}
	}
	add(p.Bond.Gateways, 0, protoStatic)
	if l := p.Lease; l != nil && l.Expires.After(p.now) {
		add(l.Gateways, metricDHCP, protoDHCP)
	}
	return want
}

// lastAddress is the broadcast address of an IPv4 net, or invalid where it has
// none (/31 and /32, RFC 3021).
func lastAddress(prefix netip.Prefix) netip.Addr {
	if prefix.Bits() >= 31 {
		return netip.Addr{}
	}
	b := prefix.Addr().As4()
	for i := prefix.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}

// Renew returns the write that carries a renewed lease's lifetime to the
// kernel, in case bondd is not there when the lease ends.
func Renew(bond string, l *Lease, now time.Time) state.Op {
	broadcast := l.Broadcast
	if !broadcast.IsValid() {
		broadcast = lastAddress(l.Prefix)
	}
	return state.AddAddress{Link: bond, Prefix: l.Prefix, Broadcast: broadcast, Lifetime: l.Expires.Sub(now).Truncate(time.Second)}
}
