package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"bondd.internal/config/bonding"
)

// check finds what no key can be judged by alone.
func (p *parser) check() {
	for _, b := range p.bonds {
		p.checkBond(b)
	}
	p.checkNames()
	p.checkSlaves()
	p.checkNetworks()
}

func (p *parser) checkBond(b *bond) {
	p.checkOptions(b)
	p.checkPaths(b)
	p.checkPrios(b)

	if b.good("addresses") {
		for i, a := range b.Addresses {
			if j := slices.IndexFunc(b.Addresses[:i], func(o netip.Prefix) bool { return o.Addr() == a.Addr() }); j >= 0 {
				p.add(b.items["addresses"][i], "address %s is in the list twice", quote(a.Addr().String()))
			}
		}
		p.checkGateways(b)
		p.checkBroadcast(b)
	}
	p.checkTwice(b, "dns", "dns server", b.DNS)

	// Linux switches IPv6 off on an interface that is too small for it.
	const least = 1280 // IPV6_MIN_MTU, RFC 8200 section 5
	has6 := slices.ContainsFunc(b.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() })
	if b.good("mtu", "addresses") && b.MTU > 0 && b.MTU < least && has6 {
		p.add(b.place("mtu"), "mtu %d is too small for IPv6, which %s has: write at least %d", b.MTU, b.Name, least)
	}
}

// checkOptions checks what depends on more than one option.
func (p *parser) checkOptions(b *bond) {
	for o := range settings() {
		if b.given(o.Name) && b.good(o.Name, "mode") && !o.In(b.Mode()) {
			p.add(
				b.place(o.Name),
				"mode %s has no %s, only %s has: take the line out, or change the mode",
				b.Mode(),
				o.Name,
				or(bonding.Names(o.Modes)),
			)
			b.broken[o.Name] = true
		}
	}
	for o := range settings() {
		if b.given(o.Name) && b.good(o.Name, "mode") {
			p.checkOption(b, o)
		}
	}
	p.checkMonitor(b)
	if b.good("mac", "fail_over_mac", "mode") && b.MAC != "" && b.Mode() == bonding.ActiveBackup &&
		b.Options["fail_over_mac"] == "active" {
		p.add(
			b.place("mac"),
			"mac cannot be kept with fail_over_mac \"active\", which gives the bond the address of its active "+
				"slave: take one of the two out",
		)
	}
}

// checkOption checks an option that the file gives and the mode has.
func (p *parser) checkOption(b *bond, o option) {
	at, text := b.place(o.Name), b.Options[o.Name]
	switch {
	case o.MultipleOf != "":
		if b.good(o.MultipleOf) {
			p.checkMultiple(b, o)
		}
	case o.Kind == bonding.KindSlave:
		if b.good("slaves") {
			p.checkSlaveOption(b, o)
		}
	case text == o.Default:
	case !o.EffectiveIn(b.Mode()):
		p.add(
			at,
			"%s does nothing in mode %s, the kernel heeds it in %s only: take the line out, or change the mode",
			o.Name,
			b.Mode(),
			or(bonding.Names(o.Effective)),
		)
	case o.Needs != "" && b.good(o.Needs) && b.duration(o.Needs) == 0:
		if needs, _ := bonding.Lookup(o.Needs); !needs.In(b.Mode()) {
			p.add(
				at,
				"%s does nothing without %s, which mode %s does not have: take the line out, or change the mode",
				o.Name,
				o.Needs,
				b.Mode(),
			)
		} else {
			p.add(at, "%s does nothing without %s: set that too, in the place of miimon, or take the line out", o.Name, o.Needs)
		}
	}
	if o.Addresses() {
		p.checkTwice(b, o.Name, o.Name, b.targets[o.Name])
		p.checkOwn(b, o)
	}
}

// checkOwn sees to it that the bond is not its own target: whatever is cut, it
// would answer itself.
func (p *parser) checkOwn(b *bond, o option) {
	if !b.good("addresses") {
		return
	}
	for i, ip := range b.targets[o.Name] {
		if b.has(ip) {
			p.add(
				b.items[o.Name][i],
				"%s %s is the bond's own address: write another host's",
				o.Name,
				quote(ip.String()),
			)
		}
	}
}

// has reports whether an address is one of the bond's.
func (b *bond) has(ip netip.Addr) bool {
	return slices.ContainsFunc(b.Addresses, func(a netip.Prefix) bool { return a.Addr() == ip })
}

// checkMonitor wants one of the kernel's two monitors, and one that can work.
func (p *parser) checkMonitor(b *bond) {
	if !b.good("mode", "miimon", "arp_interval") {
		return
	}
	switch {
	case b.Miimon() > 0 && b.ArpInterval() > 0:
		p.add(
			b.place("arp_interval"),
			"arp_interval cannot go with miimon, which is %q: the kernel has one monitor at a time; take one of the two out",
			b.Miimon(),
		)
	case b.Miimon() == 0 && b.ArpInterval() == 0:
		p.add(b.place("miimon"), "a bond without a link monitor never fails over: set miimon, for example %q", "100ms")
	case b.ArpInterval() > 0 && b.good("arp_ip_target", "ns_ip6_target") &&
		b.Options["arp_ip_target"] == "" && b.Options["ns_ip6_target"] == "":
		p.add(
			b.place("arp_interval"),
			"arp_interval has nobody to ask: write who, for example arp_ip_target = [%q]",
			"192.168.1.1",
		)
	}
}

func (p *parser) checkMultiple(b *bond, o option) {
	at := b.place(o.Name)
	d, step := b.duration(o.Name), b.duration(o.MultipleOf)
	if step == 0 && b.ArpInterval() > 0 && !b.given(o.MultipleOf) {
		p.add(at, "%s needs %s, and the bond has arp_interval in its place: take the line out", o.Name, o.MultipleOf)
		return
	}
	if step == 0 {
		p.add(
			at,
			"%s needs %s, which is %q: it counts the looks at the link, and there are none",
			o.Name,
			o.MultipleOf,
			step,
		)
		return
	}
	if d%step == 0 {
		return
	}
	below, most := d.Truncate(step), time.Duration(o.Max)*o.Unit
	var right []string
	if below > 0 {
		right = append(right, fmt.Sprintf("%q", below))
	}
	if below+step <= most {
		right = append(right, fmt.Sprintf("%q", below+step))
	}
	if len(right) == 0 {
		right = append(right, fmt.Sprintf("%q", below))
	}
	p.add(
		at,
		"%s %q is not a multiple of %s %q, the kernel would make it %q: write %s",
		o.Name,
		d,
		o.MultipleOf,
		step,
		below,
		or(right),
	)
}

func (p *parser) checkSlaveOption(b *bond, o option) {
	ref := b.Options[o.Name]
	if ref == "" || b.Auto || slices.Contains(b.Slaves, ref) {
		return
	}
	p.add(
		b.place(o.Name),
		"%s %s is not one of the slaves: write one of them as it is there, %s",
		o.Name,
		quote(ref),
		or(quoted(b.Slaves)),
	)
}

func (p *parser) checkTwice(b *bond, key, what string, ips []netip.Addr) {
	if !b.good(key) {
		return
	}
	for i, ip := range ips {
		if slices.Contains(ips[:i], ip) {
			p.add(b.items[key][i], "%s %s is in the list twice", what, quote(ip.String()))
		}
	}
}

// checkGateways wants every gateway on a network that the bond is on. With
// dhcp4 that network may be one that the server tells, so IPv4 is left alone.
func (p *parser) checkGateways(b *bond) {
	p.checkTwice(b, "gateways", "gateway", b.Gateways)
	if !b.good("gateways", "dhcp4") {
		return
	}
	for i, gw := range b.Gateways {
		at := b.items["gateways"][i]
		var near bool
		var not string    // what it is instead of a host's address
		var nets []string // of the gateway's family
		for _, a := range b.Addresses {
			near = near || a.Contains(gw)
			not = cmp.Or(not, notHost(a, gw))
			if a.Addr().Is4() == gw.Is4() {
				nets = append(nets, a.Masked().String())
			}
		}
		switch {
		case b.has(gw):
			p.add(at, "gateway %s is the bond's own address: write the router's", quote(gw.String()))
		case not != "":
			p.add(at, "gateway %s is %s: write the router's address", quote(gw.String()), not)
		case near, gw.Is4() && b.DHCP4, gw.Is6() && gw.IsLinkLocalUnicast():
		case len(nets) == 0 && gw.Is4():
			p.add(
				at,
				"gateway %s cannot be reached, %s has no IPv4 address: set addresses, for example [%q], or dhcp4 = true",
				quote(gw.String()),
				b.Name,
				"192.168.1.202/24",
			)
		case len(nets) == 0:
			p.add(
				at,
				"gateway %s cannot be reached, %s has no IPv6 address: set addresses, for example [%q]",
				quote(gw.String()),
				b.Name,
				"2001:db8::202/64",
			)
		default:
			p.add(
				at,
				"gateway %s cannot be reached, it is not in a network of %s: write one in %s",
				quote(gw.String()),
				b.Name,
				or(nets),
			)
		}
	}
}

func (p *parser) checkBroadcast(b *bond) {
	if !b.given("broadcast") || !b.good("broadcast") {
		return
	}
	at, got := b.place("broadcast"), quote(b.Broadcast.String())
	first := slices.IndexFunc(b.Addresses, func(a netip.Prefix) bool { return a.Addr().Is4() })
	if b.Broadcast.Is6() {
		p.add(at, "broadcast %s is an IPv6 address, and only IPv4 has broadcast: take the line out", got)
		return
	}
	if first < 0 {
		p.add(at, "broadcast %s has no IPv4 address to go with: set addresses, or take the line out", got)
		return
	}
	a := b.Addresses[first]
	switch {
	case a.Bits() >= 31:
		p.add(
			at,
			"broadcast %s: %s has no broadcast address, it is too small for one (RFC 3021): take the line out",
			got,
			a.Masked(),
		)
	case b.Broadcast == limitedBroadcast:
	case !a.Contains(b.Broadcast) || b.Broadcast == a.Addr():
		p.add(at, "broadcast %s is not one of %s: the usual one is %q", got, a.Masked(), broadcastOf(a))
	}
}

func (p *parser) checkNames() {
	for i, b := range p.bonds {
		if !b.good("name") {
			continue
		}
		if j := slices.IndexFunc(p.bonds[:i], func(o *bond) bool { return o.good("name") && o.Name == b.Name }); j >= 0 {
			line := p.doc.line(p.bonds[j].place("name"))
			if b.given("name") {
				p.add(
					b.place("name"),
					"there is a bond %s in line %d already: give each bond its own name",
					quote(b.Name),
					line,
				)
			} else {
				p.add(b.at, "this bond needs a name: without one it is %q, and so is the bond in line %d", b.Name, line)
			}
		}
	}
}

// checkSlaves sees to it that a NIC is asked for once. A NIC that is named in
// two ways, by its name and by its MAC, is only found where the NICs are.
func (p *parser) checkSlaves() {
	type owner struct {
		bond *bond
		at   int
	}
	taken := map[string]owner{}
	var auto *bond
	for _, b := range p.bonds {
		if b.Auto && b.good("slaves") {
			if auto != nil {
				p.add(
					b.place("slaves"),
					"only one bond can have slaves = \"auto\", and that of line %d has it: name the slaves of this one",
					p.doc.line(auto.at),
				)
			} else {
				auto = b
			}
		}
		if !b.good("slaves") {
			continue
		}
		for i, ref := range b.Slaves {
			at := b.items["slaves"][i]
			first, again := taken[ref]
			switch {
			case ref == b.Name:
				p.add(at, "%s cannot be its own slave: name Ethernet NICs", quote(ref))
			case slices.ContainsFunc(p.bonds, func(o *bond) bool { return o.Name == ref }):
				p.add(
					at,
					"%s is a bond itself, and a bond cannot be a slave of another: name Ethernet NICs",
					quote(ref),
				)
			case again && first.bond == b:
				p.add(at, "%s is in the list twice: a NIC is a slave once", quote(ref))
			case again:
				p.add(
					at,
					"%s is a slave of %s already, in line %d: a NIC belongs to one bond",
					quote(ref),
					quote(first.bond.Name),
					p.doc.line(first.at),
				)
			default:
				taken[ref] = owner{b, at}
			}
		}
	}
}

// checkNetworks sees to it that each network is on one bond: the kernel sends
// by one of two, and the other is never used. Link-local networks are on every
// interface by nature.
func (p *parser) checkNetworks() {
	for i, b := range p.bonds {
		if !b.good("addresses") {
			continue
		}
		for k, a := range b.Addresses {
			if a.Addr().IsLinkLocalUnicast() {
				continue
			}
			p.checkNetwork(a, b, b.items["addresses"][k], p.bonds[:i])
		}
	}
}

func (p *parser) checkNetwork(a netip.Prefix, b *bond, at int, before []*bond) {
	for _, o := range before {
		if !o.good("addresses") {
			continue
		}
		for k, other := range o.Addresses {
			if !a.Overlaps(other) {
				continue
			}
			line := p.doc.line(o.items["addresses"][k])
			if a.Addr() == other.Addr() {
				p.add(
					at,
					"address %s is on %s already, in line %d: an address belongs to one bond",
					quote(a.Addr().String()),
					quote(o.Name),
					line,
				)
			} else {
				p.add(at, "address %s overlaps %s of %s in line %d: give %s a network of its own",
					quote(a.String()), quote(other.String()), quote(o.Name), line, quote(b.Name))
			}
			return
		}
	}
}
