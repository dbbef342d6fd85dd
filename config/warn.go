package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// A Warning is something in a file that is good and hardly means what was
// wanted.
type Warning struct {
	File    string
	Line    int // from 1
	Col     int // from 1, in characters
	Message string
}

// String prints FILE:LINE:COL: warning: what is wrong, and what would be right.
func (w *Warning) String() string {
	return fmt.Sprintf("%s:%d:%d: warning: %s", w.File, w.Line, w.Col, w.Message)
}

// Warnings are all warnings about a file, in the order of their places.
type Warnings []*Warning

// Errors makes errors of warnings, for who wants none.
func (w Warnings) Errors() Errors {
	errs := make(Errors, len(w))
	for i := range w {
		errs[i] = &Error{w[i].File, w[i].Line, w[i].Col, w[i].Message}
	}
	return errs
}

// warn looks for what is allowed and makes a bond that is of no use. It is for
// files without any finding, so that it need not ask what is broken.
func (p *parser) warn(root *value) Warnings {
	w := &warner{findings: findings{doc: p.doc}, bonds: p.bonds}
	switch bonds := root.get("bond"); {
	case !root.says():
		w.add(0, "the file sets nothing, so the built-in default runs: %s", p.cfg.Bonds[0].words())
	case bonds != nil && len(p.bonds) == 0:
		w.add(bonds.value.at, "an empty list of bonds is not a machine without a bond: the built-in default runs, %s",
			p.cfg.Bonds[0].words())
	}
	w.listen(p.cfg, p.listenAt)
	for _, b := range p.bonds {
		w.bond(b)
	}
	var warnings Warnings
	for _, e := range w.sorted() {
		warnings = append(warnings, &Warning{e.File, e.Line, e.Col, e.Message})
	}
	return warnings
}

// says reports whether a value sets anything: a table does by its keys.
func (v *value) says() bool {
	if v.kind != kindTable {
		return true
	}
	return slices.ContainsFunc(v.keys, func(m member) bool { return m.value.says() })
}

// words describes a bond that chooses its slaves itself, in one line.
func (b *Bond) words() string {
	text := fmt.Sprintf("%s of every Ethernet NIC of the first matching group, %s, miimon %s",
		b.Name, b.Mode(), b.Miimon())
	if b.DHCP4 {
		text += ", DHCP"
	}
	return text
}

// A warner collects the warnings about the bonds of a file.
type warner struct {
	findings
	bonds []*bond
}

func (w *warner) bond(b *bond) {
	if !b.Auto && len(b.Slaves) == 1 {
		other := "eth0"
		if b.Slaves[0] == other {
			other = "eth1"
		}
		w.add(b.items["slaves"][0], "%s is the only slave, so nothing takes over when it fails: "+
			"add another one, for example slaves = [%q, %q]", quote(b.Slaves[0]), b.Slaves[0], other)
	}
	if n := units(b.Options["min_links"]); !b.Auto && n > int64(len(b.Slaves)) && b.given("min_links") {
		w.add(b.place("min_links"), "min_links %d is more than the %d slaves, so %s never carries traffic: "+
			"write at most %d", n, len(b.Slaves), b.Name, len(b.Slaves))
	}
	if !b.addressed() {
		key := "addresses"
		if !b.given(key) {
			key = "dhcp4"
		}
		w.add(b.place(key), "%s has no address and does not ask for one by DHCP, so nobody can reach it: "+
			"write for example addresses = [%q], or dhcp4 = true", b.Name, "192.168.1.202/24")
		return // what else of it cannot be reached follows from that
	}
	for _, t := range b.paths {
		w.target(b, "target", t.Target, t.place("target"))
		w.source(b, t)
	}
	for o := range settings() {
		for k, ip := range b.targets[o.Name] {
			w.target(b, o.Name, ip, b.items[o.Name][k])
		}
	}
	for i, ip := range b.DNS {
		w.server(b, ip, b.items["dns"][i])
	}
}

// addressed reports whether the bond has an address or gets one from elsewhere.
func (b *Bond) addressed() bool { return len(b.Addresses) > 0 || b.DHCP4 }

// anywhere reports whether an address may be in a network of the bond that the
// file does not know: one that DHCP gives, or the link's own.
func (b *Bond) anywhere(ip netip.Addr) bool {
	return ip.Is4() && b.DHCP4 || ip.Is6() && ip.IsLinkLocalUnicast()
}

// leads reports whether the bond has a gateway to other networks of the
// address's family.
func (b *Bond) leads(ip netip.Addr) bool {
	return slices.ContainsFunc(b.Gateways, func(gw netip.Addr) bool { return gw.Is4() == ip.Is4() })
}

// near reports whether an address is in a network of the bond.
func (b *Bond) near(ip netip.Addr) bool {
	return slices.ContainsFunc(b.Addresses, func(a netip.Prefix) bool { return a.Contains(ip) })
}

// networks are the networks of the bond of the address's family, as text.
func (b *Bond) networks(ip netip.Addr) (nets []string) {
	for _, a := range b.Addresses {
		if n := a.Masked().String(); a.Addr().Is4() == ip.Is4() && !slices.Contains(nets, n) {
			nets = append(nets, n)
		}
	}
	return nets
}

// target warns of a target that no host can have, or that the bond has no way to.
func (w *warner) target(b *bond, key string, ip netip.Addr, at int) {
	for _, a := range b.Addresses {
		if why := notHost(a, ip); why != "" {
			w.add(at, "%s %s is %s, so no host has it: write a host's", key, quote(ip.String()), why)
			return
		}
	}
	if b.near(ip) || b.anywhere(ip) || b.leads(ip) {
		return
	}
	nets := b.networks(ip)
	if len(nets) == 0 {
		family, example := "IPv4", "192.168.1.202/24"
		if ip.Is6() {
			family, example = "IPv6", "2001:db8::202/64"
		}
		w.add(at, "%s %s is not in a network of %s, which has no %s address: write for example addresses = [%q]",
			key, quote(ip.String()), b.Name, family, example)
		return
	}
	w.add(at, "%s %s is not in a network of %s, and there is no gateway to others: write a host in %s, or set gateways",
		key, quote(ip.String()), b.Name, or(nets))
}

// source warns of a sender's address that does not belong to the target's network.
func (w *warner) source(b *bond, t *path) {
	if !t.Source.IsValid() || b.anywhere(t.Source) {
		return
	}
	for _, a := range b.Addresses {
		if n := a.Masked(); n.Contains(t.Target) && !n.Contains(t.Source) {
			w.add(t.place("source"), "source %s is not in the network of the target, %s, so many hosts do not "+
				"reply to it: write an address of that network that nobody has, or take the line out", quote(t.Source.String()), n)
			return
		}
	}
}

// server warns of a name server that no bond has a way to: the system asks it,
// by whichever bond leads there.
func (w *warner) server(b *bond, ip netip.Addr, at int) {
	for _, o := range w.bonds {
		if o.near(ip) || o.anywhere(ip) || o.leads(ip) {
			return
		}
	}
	right := "set gateways"
	if nets := b.networks(ip); len(nets) > 0 {
		right = fmt.Sprintf("write one in %s, or set gateways", or(nets))
	}
	w.add(at, "dns server %s is not in a network of a bond, and there is no gateway to others: %s",
		quote(ip.String()), right)
}

// listen warns of a page on an address that no bond has. A name is only known
// where the machine is, and a loopback address was meant.
func (w *warner) listen(c *Config, at int) {
	host, port, err := net.SplitHostPort(c.HTTP.Listen)
	if err != nil {
		return // a file without findings has a good one
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.IsUnspecified() || ip.IsLoopback() {
		return
	}
	right := fmt.Sprintf("%q for every address", ":"+port)
	named := false
	for i := range c.Bonds {
		b := &c.Bonds[i]
		if b.anywhere(ip.WithZone("")) {
			return
		}
		for _, a := range b.Addresses {
			if a.Addr() == ip {
				return
			}
			if !named {
				right += fmt.Sprintf(", or %q", net.JoinHostPort(a.Addr().String(), port))
				named = true
			}
		}
	}
	w.add(at, "listen %s is not an address of a bond, so the page may not be reachable: write %s",
		quote(c.HTTP.Listen), right)
}

// notHost says what an address of a network is, if it is none that a host can
// have, or else nothing.
func notHost(n netip.Prefix, ip netip.Addr) string {
	switch {
	case n.Bits() >= ip.BitLen()-1, !n.Contains(ip): // every address of a link of two is a host's (RFC 3021, RFC 6164)
	case ip.Is4() && ip == n.Masked().Addr(): // in IPv6 it stands for the routers (RFC 4291, section 2.6.1)
		return fmt.Sprintf("the address of the network %s itself", n.Masked())
	case ip.Is4() && ip == broadcastOf(n):
		return fmt.Sprintf("the broadcast address of %s", n.Masked())
	}
	return ""
}
