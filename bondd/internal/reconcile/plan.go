package reconcile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/config/bonding"
)

// A Target is what one bond should be.
type Target struct {
	Bond   config.Bond
	Slaves []string // names of the NICs that are there and fit, in order of preference
	// Primary is the name of the NIC that the primary option refers to; empty
	// if there is no primary or its NIC is not there.
	Primary string
	// Parked are the names of NICs that belong to the bond but are kept out of it
	// for now; they are up, so that probes can run on them.
	Parked []string
	// Quiet are those of Parked that are down instead, so that the switch sends
	// nothing to them.
	Quiet []string
	// Prio is the preference of NICs, by name; 0 where there is none.
	Prio map[string]int
	// Hold keeps the kernel from moving traffic back to a preferred slave that
	// has link but is held out: it may select another only when one fails,
	// whatever primary_reselect says.
	Hold bool
	// Forgetful are the NICs that lose an address which is set while they are
	// down, as the driver does on enslaving: it is set again once they are up.
	Forgetful []string
	// Rigid are the NICs whose driver takes another MAC only while they are down.
	Rigid []string
	// Stuck are NICs that are not given another MAC for now.
	Stuck []string
	// Owned are what the bond has that is bondd's although the kernel does not say so.
	Owned state.Owned
	// Before is the network at an earlier read in which the bond was there; nil if
	// there is none.
	Before *state.Network
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

// metricDHCP ranks a gateway from DHCP behind one that the configuration names.
const metricDHCP = 100

// metricIPv6 is what the kernel makes of metric 0 for IPv6 (IP6_RT_PRIO_USER).
const metricIPv6 = 1024

// A Conflict is a link that stands in the way of a bond.
type Conflict struct{ Link, Kind string }

func (c *Conflict) Error() string {
	return fmt.Sprintf("%s exists and is not a bond but a %s: rename the bond or remove that link", c.Link, c.Kind)
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
	case bond.Bond.Options.Mode() != p.want.Mode():
		p.convert(bond)
	default:
		p.adopt(bond)
	}
	return p.ops, nil
}

// Hold returns the part of a plan that may be written before anybody knows which
// NICs the bond should have: what keeps the driver where traffic is, see
// [Target.Hold].
func Hold(t *Target, n *state.Network) []state.Op {
	const option = "primary_reselect"
	bond, want := n.Link(t.Bond.Name), t.options()
	if !t.Hold || bond == nil || bond.Bond == nil || bond.Bond.Options.Mode() != want.Mode() {
		return nil
	}
	if have, told := bond.Bond.Options[option]; !told || have == want[option] {
		return nil
	}
	return []state.Op{state.SetOption{Bond: t.Bond.Name, Option: option, Value: want[option]}}
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
// the kernel, so it is left as it is; and so is every primary while one is held
// out, for writing it would move traffic there (bond_option_primary_set).
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
	if t.Hold {
		want["primary_reselect"] = "failure"
		delete(want, "primary")
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

// ownMAC is the address that a NIC has without a bond.
func ownMAC(l *state.Link) state.MAC { return cmp.Or(l.PermanentMAC, l.MAC) }

// ownMACs reports whether the slaves of a bond with these options keep addresses
// of their own beside the bond's.
func ownMACs(o state.Options) bool { return o.Mode().SwapsMACs() || failOverMAC(o) }

// failOverMAC reports whether the driver changes addresses when it fails over.
// It does not take one for the bond then (bond_set_mac_address).
func failOverMAC(o state.Options) bool {
	fom := o["fail_over_mac"]
	return o.Mode() == bonding.ActiveBackup && fom != "" && fom != "none"
}

// create plans a bond that is not there.
func (p *planner) create() {
	options := make(state.Options, len(p.want))
	for name, value := range p.want {
		if name != "primary" { // a slave that is not enslaved yet is no primary
			options[name] = value
		}
	}
	mac := p.mac()
	p.add(state.CreateBond{Name: p.name, MAC: mac, Options: options})
	if p.Bond.MTU != 0 {
		p.add(state.SetMTU{Link: p.name, MTU: p.Bond.MTU})
	}
	p.fill(nil, mac)
	p.add(state.OpenBond{Bond: p.name})
	p.addresses(nil, true)
}

// convert plans a bond of another mode. The driver changes the mode only of a
// bond that is down and has no slaves (BOND_OPTFLAG_NOSLAVES | BOND_OPTFLAG_IFDOWN).
func (p *planner) convert(bond *state.Link) {
	if bond.Up {
		p.add(state.SetUp{Link: p.name})
	}
	p.empty(bond)
	p.add(state.SetOption{Bond: p.name, Option: "mode", Value: p.want["mode"]})
	fom := p.setMAC(bond, p.mac())
	p.setOptions(func(row *bonding.Option) bool {
		switch row.Name {
		case "mode", "primary":
			return false
		case "fail_over_mac":
			return fom != p.want[row.Name]
		case "miimon", "arp_interval", "arp_validate", "tlb_dynamic_lb":
			return true // the driver may have changed it with the mode (bond_option_mode_set)
		}
		have, told := bond.Bond.Options[row.Name]
		return !told || have != p.want[row.Name] || row.MultipleOf != "" // which miimon rescales
	})
	if p.Bond.MTU != 0 {
		p.add(state.SetMTU{Link: p.name, MTU: p.Bond.MTU})
	}
	p.fill(nil, p.mac())
	p.add(state.OpenBond{Bond: p.name})
	p.addresses(bond, true)
}

// empty plans the release of every slave. The last one goes first, so that
// taking it all back restores their order.
func (p *planner) empty(bond *state.Link) {
	for _, l := range slices.Backward(p.net.Links) {
		if l.Master == bond.Index {
			p.add(state.Release{Slave: l.Name, Bond: p.name})
		}
	}
}

// setMAC gives a bond the address that it lost with its last slave, and returns
// what fail_over_mac is then: while it is set, the driver takes no address.
func (p *planner) setMAC(bond *state.Link, mac state.MAC) (fom string) {
	fom = bond.Bond.Options["fail_over_mac"]
	if mac.IsZero() {
		return fom
	}
	if failOverMAC(state.Options{"mode": p.want["mode"], "fail_over_mac": fom}) {
		fom = "none"
		p.add(state.SetOption{Bond: p.name, Option: "fail_over_mac", Value: fom})
	}
	p.add(state.SetMAC{Link: p.name, MAC: mac})
	return fom
}

// setOptions plans the wanted options that pass the filter, in the table's order.
func (p *planner) setOptions(filter func(*bonding.Option) bool) {
	for row := range bonding.Settings() {
		if value, ok := p.want[row.Name]; ok && filter(row) {
			p.add(state.SetOption{Bond: p.name, Option: row.Name, Value: value})
		}
	}
}

// differs reports whether a bond that has the right mode lacks an option's
// wanted value, as far as writing it makes a difference.
func (p *planner) differs(bond *state.Link, row *bonding.Option) bool {
	have, told := bond.Bond.Options[row.Name]
	want, asked := p.want[row.Name]
	switch {
	case !told || !asked || have == want:
		return false // what an older kernel does not tell, it does not have
	case row.Name == "miimon" && p.Bond.ArpInterval() > 0:
		return false // arp_interval ends it: in between the bond would have no monitor
	case row.OnlyDown || row.OnlyEmpty:
		// No bond is interrupted for what does nothing in its mode.
		return row.EffectiveIn(p.want.Mode())
	}
	return true
}

// adopt plans the differences of a bond that has the right mode.
func (p *planner) adopt(bond *state.Link) {
	var down, empty bool // what the differences ask for
	for row := range bonding.Settings() {
		if p.differs(bond, row) {
			down, empty = down || row.OnlyDown, empty || row.OnlyEmpty
		}
	}
	m, err := state.ParseMAC(p.Bond.MAC)
	newMAC := err == nil && m != bond.MAC
	empty = empty || newMAC && failOverMAC(bond.Bond.Options)

	down = down && bond.Up
	if down {
		p.add(state.SetUp{Link: p.name})
	}
	fom := bond.Bond.Options["fail_over_mac"]
	if empty {
		p.empty(bond)
		fom = p.setMAC(bond, cmp.Or(m, bond.MAC))
	} else if newMAC {
		p.add(state.SetMAC{Link: p.name, MAC: m})
	}
	if p.Bond.MTU != 0 && p.Bond.MTU != bond.MTU {
		p.add(state.SetMTU{Link: p.name, MTU: p.Bond.MTU})
	}
	// The monitor first: without one the driver takes no delays, and a slave
	// that is enslaved must be watched from then on.
	p.setOptions(func(row *bonding.Option) bool {
		switch {
		case row.Name == "primary":
			return false
		case row.Name == "fail_over_mac" && empty:
			return fom != p.want[row.Name]
		}
		return p.differs(bond, row)
	})
	if empty {
		p.fill(nil, cmp.Or(m, bond.MAC))
	} else {
		p.fill(bond, cmp.Or(m, bond.MAC))
	}
	if down || !bond.Up {
		p.add(state.OpenBond{Bond: p.name})
	}
	p.addresses(bond, down || !bond.Up)
}

// fill plans the slaves and what can be said of them only once they are
// enslaved. bond is nil where it has none; shared is the address that its slaves
// get where they have none of their own.
func (p *planner) fill(bond *state.Link, shared state.MAC) {
	if bond != nil {
		for _, m := range mends(p.Target, p.net, bond) {
			p.mend(&m)
		}
	}
	p.enslave(bond, shared)
	p.park(bond)
	primary, ok := p.want["primary"]
	if have := ""; ok {
		if bond != nil {
			have = bond.Bond.Options["primary"]
		}
		if have != primary {
			p.add(state.SetOption{Bond: p.name, Option: "primary", Value: primary})
		}
	}
	if !p.Bond.Mode().HasActiveSlave() {
		return // the mode has no prio
	}
	for _, name := range p.Slaves {
		l := p.net.Link(name)
		if l == nil {
			continue
		}
		have := 0 // of a slave that is new
		if bond != nil && l.Master == bond.Index && l.Slave != nil {
			have = l.Slave.Prio
		}
		if want := p.Prio[name]; have != want {
			p.add(state.SetSlaveOption{Slave: name, Bond: p.name, Option: "prio", Value: strconv.Itoa(want)})
		}
	}
}

// enslave plans the slaves: what is missing comes in before what is too much
// goes out, so that the bond is never without.
func (p *planner) enslave(bond *state.Link, shared state.MAC) {
	for _, name := range p.Slaves {
		l := p.net.Link(name)
		if l == nil {
			continue
		}
		if bond != nil && l.Master == bond.Index {
			continue
		}
		up := p.free(l)
		switch {
		case l.NoARP && !l.IPv6: // parked, or it was
			p.add(state.Unpark{Link: name})
		case up:
			p.add(state.SetUp{Link: name}) // the driver enslaves only what is down
		}
		p.add(state.Enslave{Slave: name, Bond: p.name})
		if own := ownMAC(l); slices.Contains(p.Forgetful, name) && !ownMACs(p.want) && own != shared {
			// The kernel passes an address on to the card only if it changes.
			p.add(state.SetMAC{Link: name, MAC: own}, state.SetMAC{Link: name, MAC: shared})
		}
	}
	if bond == nil {
		return
	}
	for i := range p.net.Links {
		l := &p.net.Links[i]
		if l.Master != bond.Index || slices.Contains(p.Slaves, l.Name) || slices.Contains(p.Parked, l.Name) {
			continue
		}
		if l.LinkUp() && !p.carried(bond) {
			continue // the last one that works, or soon will: it goes once another is up
		}
		p.add(state.Release{Slave: l.Name, Bond: p.name})
	}
}

// carries reports whether the driver uses a slave.
func carries(l *state.Link) bool {
	return l.LinkUp() && l.Slave != nil && l.Slave.MIIStatus == state.MIIUp
}

// carried reports whether one of the slaves that the bond should have is in it
// and carries traffic.
func (p *planner) carried(bond *state.Link) bool {
	return slices.ContainsFunc(p.Slaves, func(name string) bool {
		l := p.net.Link(name)
		return l != nil && l.Master == bond.Index && carries(l)
	})
}

// park plans the NICs that are kept out of the bond.
func (p *planner) park(bond *state.Link) {
	for _, name := range p.Parked {
		l := p.net.Link(name)
		if l == nil {
			continue
		}
		if bond != nil && l.Master == bond.Index {
			if l.LinkUp() && !p.carried(bond) {
				continue // as in enslave
			}
			p.add(state.Release{Slave: name, Bond: p.name})
		} else {
			p.free(l)
		}
		switch quiet := slices.Contains(p.Quiet, name); {
		case quiet && l.Up && l.Master == 0:
			p.add(state.Unpark{Link: name})
		case !quiet && (l.Master != 0 || !l.Parked()):
			p.add(state.Park{Link: name})
		}
	}
}

// free plans what takes a NIC out of whatever else has it: an address on it
// would compete with the bond's. It reports whether the NIC is up then.
func (p *planner) free(l *state.Link) (up bool) {
	up = l.Up
	if master := p.net.LinkByIndex(l.Master); l.Master != 0 && master != nil {
		// The bond's own slaves are released already.
		if master.Name != p.name {
			p.add(state.Release{Slave: l.Name, Bond: master.Name})
		}
		up = l.Up && master.Bond == nil // the driver takes a released slave down
	}
	for _, a := range p.net.Addresses {
		if a.Index == l.Index && !a.LinkLocal {
			p.add(state.DelAddress{Link: l.Name, Prefix: a.Prefix})
		}
	}
	return up
}

// addresses plans addresses and routes: those that are bondd's. bond is nil where
// it is made anew; down says whether it was down until now, which its routes and
// its IPv6 addresses do not survive, those of others included.
func (p *planner) addresses(bond *state.Link, down bool) {
	want := p.wantAddresses()
	var have []state.Address
	var routes []state.Route
	if bond != nil {
		for _, a := range p.net.Addresses {
			if a.Index == bond.Index && p.counts(&a) && !(down && a.Prefix.Addr().Is6()) {
				have = append(have, a)
			}
		}
		for _, r := range p.net.Routes {
			if r.Index == bond.Index && !down {
				routes = append(routes, r)
			}
		}
	}
	var addressesBack, routesBack, downs []state.Op
	if down {
		addressesBack, routesBack, downs = p.restore(bond)
	}
	p.removeAddresses(bond, have, want)
	for _, w := range want {
		if !slices.ContainsFunc(have, func(a state.Address) bool { return p.serves(&a, &w) }) {
			p.add(w)
		}
	}
	for _, op := range addressesBack {
		a := op.(state.RestoreAddress)
		if a.Link != p.name ||
			!slices.ContainsFunc(want, func(w state.AddAddress) bool { return w.Prefix == a.Address.Prefix }) {
			p.add(op)
		}
	}

	wantRoutes := p.wantRoutes()
	for i := range routes {
		r := &routes[i]
		wanted := slices.ContainsFunc(wantRoutes, func(w state.AddRoute) bool { return sameRoute(*r, w) })
		if !wanted && p.surplus(p.Owned.Route(r)) {
			p.add(state.DelRoute{Link: p.name, Dst: r.Dst, Gateway: r.Gateway, Metric: r.Metric, Protocol: r.Protocol})
		}
	}
	for _, w := range wantRoutes {
		if !slices.ContainsFunc(routes, func(r state.Route) bool { return sameRoute(r, w) }) {
			p.add(w)
		}
	}
	for _, op := range routesBack {
		// One that is as wanted is bondd's from now on.
		r, ok := op.(state.RestoreRoute)
		if !ok || r.Link != p.name ||
			!slices.ContainsFunc(wantRoutes, func(w state.AddRoute) bool { return sameRoute(r.Route, w) }) {
			p.add(op)
		}
	}
	p.add(downs...)
}

// removeAddresses plans the end of the addresses that are bondd's and no longer
// wanted, before others come.
func (p *planner) removeAddresses(bond *state.Link, have []state.Address, want []state.AddAddress) {
	goes := func(a *state.Address) bool {
		return p.surplus(p.addressOwner(a)) &&
			!slices.ContainsFunc(want, func(w state.AddAddress) bool { return matches(*a, w) })
	}
	var dels []state.Op
	promote := false
	for i := range have {
		a := &have[i]
		if !goes(a) {
			continue
		}
		dels = append(dels, state.DelAddress{Link: p.name, Prefix: a.Prefix})
		for j := i + 1; j < len(have); j++ {
			// The kernel tells the first address of a network before the others,
			// and takes the others with it.
			b := &have[j]
			promote = promote ||
				a.Prefix.Addr().Is4() && b.Prefix.Addr().Is4() && a.Prefix.Masked() == b.Prefix.Masked() && !goes(b)
		}
	}
	if promote && !bond.Promotes {
		p.add(state.KeepSecondaries{Link: p.name})
	}
	p.add(dels...)
}

// serves reports whether an address is there that does for the wanted one. One
// that another program keeps is left as it is.
func (p *planner) serves(have *state.Address, want *state.AddAddress) bool {
	return matches(*have, *want) || have.Prefix == want.Prefix && p.addressOwner(have) == state.OwnerForeign
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
		a := state.AddAddress{Link: p.name, Prefix: prefix, Protocol: state.ProtocolStatic}
		if prefix.Addr().Is4() {
			if a.Broadcast = broadcast; !broadcast.IsValid() {
				a.Broadcast = lastAddress(prefix)
			}
			broadcast = netip.Addr{} // the configured one is the first address's
		}
		want = append(want, a)
	}
	if l := p.Lease; l != nil && l.Expires.After(p.now) {
		want = append(want, leaseAddress(p.name, l, p.now))
	}
	return want
}

func (p *planner) wantRoutes() []state.AddRoute {
	var want []state.AddRoute
	add := func(gateways []netip.Addr, metric, protocol int) {
		// One default route of a family and metric: each next gateway ranks behind.
		any4, any6 := netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		six := 0
		for _, g := range gateways {
			if g.Is6() {
				six++
			}
		}
		metric4, metric6 := p.freeMetric(any4, metric, len(gateways)-six), p.freeMetric(any6, metric+metricIPv6, six)
		for _, g := range gateways {
			dst, m := any4, &metric4
			if g.Is6() {
				dst, m = any6, &metric6
			}
			want = append(want, state.AddRoute{Link: p.name, Dst: dst, Gateway: g, Metric: *m, Protocol: protocol})
			*m++
		}
	}
	add(p.Bond.Gateways, 0, state.ProtocolStatic)
	if l := p.Lease; l != nil && l.Expires.After(p.now) {
		add(l.Gateways, metricDHCP, state.ProtocolLease)
	}
	return want
}

// freeMetric is the metric from which on so many routes to a destination stand
// beside those that are there: behind those of bondd's other bonds, and, of IPv6,
// where the kernel would make one route of several that share traffic out, before
// those of other programs. An IPv4 route stands before others of its metric.
func (p *planner) freeMetric(dst netip.Prefix, first, count int) int {
	var index int
	if bond := p.net.Link(p.name); bond != nil {
		index = bond.Index
	}
	metric, before := first, false
	for again := true; again && count > 0; {
		again = false
		for i := range p.net.Routes {
			r := &p.net.Routes[i]
			if r.Dst != dst || r.Metric < metric || r.Metric >= metric+count {
				continue
			}
			switch owner := p.Owned.Route(r); {
			case owner == state.OwnerForeign && dst.Addr().Is6() && !p.wantsRoute(r, index):
				before = true
			case owner == state.OwnerConfiguration && r.Index != index, owner == state.OwnerLease && r.Index != index:
			default:
				continue
			}
			if metric = r.Metric + 1; before {
				metric = r.Metric - count
			}
			again = true
		}
		if metric < 1 && before {
			return first // there is no room; the kernel will say so
		}
	}
	return metric
}

// wantsRoute reports whether a route, whoever made it, goes by one of the bond's gateways.
func (p *planner) wantsRoute(r *state.Route, index int) bool {
	return r.Index == index &&
		(slices.Contains(p.Bond.Gateways, r.Gateway) || p.Lease != nil && slices.Contains(p.Lease.Gateways, r.Gateway))
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
func Renew(bond string, l *Lease, now time.Time) state.Op { return leaseAddress(bond, l, now) }

func leaseAddress(bond string, l *Lease, now time.Time) state.AddAddress {
	broadcast := l.Broadcast
	if !broadcast.IsValid() {
		broadcast = lastAddress(l.Prefix)
	}
	return state.AddAddress{
		Link:      bond,
		Prefix:    l.Prefix,
		Broadcast: broadcast,
		Lifetime:  l.Expires.Sub(now).Truncate(time.Second),
		Protocol:  state.ProtocolLease,
	}
}
