package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
)

// bonded is a fake with bond0 over two cards, as a configuration asks for it.
func bonded(t *testing.T, b config.Bond) (*fake, *Target) {
	t.Helper()
	f := new(fake)
	f.add(card(0))
	f.add(card(1))
	target := &Target{Bond: b, Slaves: []string{"eth0", "eth1"}, Primary: b.Options["primary"]}
	converge(t, f, target)
	f.log = nil
	return f, target
}

// by adds an address to bond0 as another program does.
func (f *fake) by(protocol int, prefix string) {
	p := netip.MustParsePrefix(prefix)
	f.address(state.Address{Index: f.Link("bond0").Index, Prefix: p, Permanent: true, Protocol: protocol, LinkLocal: p.Addr().IsLinkLocalUnicast()})
}

// plan is the next plan, in words.
func plan(t *testing.T, f *fake, target *Target) []string {
	t.Helper()
	target.Owned = Own(target, &f.Network, now)
	ops, err := Plan(target, &f.Network, now)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, op := range ops {
		words = append(words, op.String())
	}
	return words
}

// on lists the addresses of a link with their protocols.
func (f *fake) on(link string) []string {
	var list []string
	for _, a := range f.Addresses {
		if a.Index == f.Link(link).Index {
			list = append(list, fmt.Sprintf("%s %d", a.Prefix, a.Protocol))
		}
	}
	return list
}

func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\ngot\n %s\nwant\n %s", what, strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}

const keepalived = 18 // RTPROT_KEEPALIVED, which keepalived marks its addresses with

// What another program adds stays, whatever bondd does beside it; what bondd
// added goes when it is no longer configured.
func TestForeignAddresses(t *testing.T) {
	f, target := bonded(t, bondConfig())
	for _, p := range []string{"192.0.2.250/24", "192.0.2.251/32", "198.51.100.7/24", "2001:db8::99/64"} {
		f.by(0, p)
	}
	f.by(keepalived, "192.0.2.252/24")
	expect(t, "beside addresses of others", plan(t, f, target), nil)
	addresses, routes := Foreign(&target.Owned, &f.Network)
	if len(addresses) != 5 || len(routes) != 0 {
		t.Errorf("foreign are %v and %v", addresses, routes)
	}

	// Another address in the same network: the others of it stay, although the
	// kernel would take them with the first.
	target.Bond.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.3/24")}
	expect(t, "another address", plan(t, f, target), []string{"keep the other addresses of bond0 when the first of a network goes",
		"remove address 192.0.2.2/24 from bond0", "add address 192.0.2.3/24 to bond0, broadcast 192.0.2.255"})
	converge(t, f, target)
	expect(t, "bond0 has", f.on("bond0"), []string{"192.0.2.250/24 0", "192.0.2.251/32 0", "198.51.100.7/24 0", "2001:db8::99/64 0", "192.0.2.252/24 18", "192.0.2.3/24 176"})

	// Without any of them there is no need to keep any.
	f, target = bonded(t, bondConfig())
	f.by(0, "198.51.100.7/24")
	target.Bond.Addresses = nil
	expect(t, "no address", plan(t, f, target), []string{"remove address 192.0.2.2/24 from bond0"})
}

// An address that the configuration names is bondd's, whoever added it, unless
// it is marked as another program's.
func TestForeignEqual(t *testing.T) {
	dropped := func(protocol int) []string {
		f, target := bonded(t, bondConfig())
		f.Addresses = nil
		f.by(protocol, "192.0.2.2/24")
		f.Addresses[0].Broadcast = netip.MustParseAddr("192.0.2.255")
		expect(t, "the configured address of somebody else", plan(t, f, target), nil)
		target.Bond.Addresses = nil
		return plan(t, f, target)
	}
	expect(t, "unmarked", dropped(0), []string{"remove address 192.0.2.2/24 from bond0"})
	expect(t, "marked", dropped(keepalived), nil)

	// A broadcast address that differs is put right on one's own only.
	f, target := bonded(t, bondConfig())
	f.Addresses = nil
	f.by(keepalived, "192.0.2.2/24")
	expect(t, "marked, with another broadcast address", plan(t, f, target), nil)
	f.Addresses[0].Protocol = 0
	expect(t, "unmarked, with another broadcast address", plan(t, f, target),
		[]string{"remove address 192.0.2.2/24 from bond0", "add address 192.0.2.2/24 to bond0, broadcast 192.0.2.255"})

	// Once another program takes its own away, bondd adds the configured one.
	f.Addresses = nil
	converge(t, f, target)
	expect(t, "bond0 has", f.on("bond0"), []string{"192.0.2.2/24 176"})
}

// What carries no mark is known by what was remembered of it, and by that alone.
func TestOwned(t *testing.T) {
	old := bondConfig(`gateways = ["192.0.2.1"]`)
	f, target := bonded(t, old)
	f.Addresses, f.Routes = nil, nil
	f.by(0, "192.0.2.2/24")
	f.Addresses[0].Broadcast = netip.MustParseAddr("192.0.2.255")
	f.by(0, "192.0.2.250/24")
	bond := f.Link("bond0").Index
	f.Routes = []state.Route{
		{Index: bond, Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Protocol: unix.RTPROT_STATIC}, // of a version before the number
		{Index: bond, Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.7"), Metric: 50, Protocol: unix.RTPROT_STATIC},
	}
	expect(t, "of a version before the mark", plan(t, f, target), nil)
	owned := target.Owned
	if len(owned.Addresses) != 1 || len(owned.Routes) != 1 || owned.Index != bond {
		t.Fatalf("owned is %+v", owned)
	}
	_, routes := Foreign(&owned, &f.Network)
	if len(routes) != 1 || routes[0].Metric != 50 {
		t.Errorf("foreign routes are %v", routes)
	}

	target.Bond.Addresses, target.Bond.Gateways = nil, nil
	expect(t, "no longer configured", plan(t, f, target), []string{"keep the other addresses of bond0 when the first of a network goes",
		"remove address 192.0.2.2/24 from bond0", "remove route to 0.0.0.0/0 via 192.0.2.1 by bond0"})

	f.Addresses[0].Created++ // it went, and somebody added it again
	f.Routes = f.Routes[1:]
	expect(t, "somebody else's of the same prefix", plan(t, f, target), nil)
	if c := target.Owned; len(c.Addresses) != 0 || len(c.Routes) != 0 {
		t.Errorf("owned is %+v although none of it is there", c)
	}

	f.Addresses[0].Created--
	target.Owned = owned
	target.Owned.Index++
	target.Owned = Own(target, &f.Network, now)
	if len(target.Owned.Addresses) != 0 {
		t.Error("what was remembered of a bond that is gone counts for the one in its place")
	}
}

// A link-local address that the configuration names is an address like any other,
// beside the one that the kernel makes.
func TestLinkLocalAddress(t *testing.T) {
	for _, marked := range []bool{true, false} {
		t.Run(fmt.Sprintf("marked %t", marked), func(t *testing.T) {
			f, target := bonded(t, bondConfig())
			f.by(3, "fe80::5054:ff:fe00:1/64") // the kernel's
			target.Bond.Addresses = append(target.Bond.Addresses, netip.MustParsePrefix("fe80::2/64"))
			expect(t, "it is configured", plan(t, f, target), []string{"add address fe80::2/64 to bond0"})
			converge(t, f, target)
			if !marked {
				for i := range f.Addresses {
					if f.Addresses[i].Protocol == state.ProtocolStatic {
						f.Addresses[i].Protocol = 0 // an older kernel does not keep it
					}
				}
			}
			expect(t, "it is there", plan(t, f, target), nil)
			target.Bond.Addresses = target.Bond.Addresses[:1]
			expect(t, "it is not configured any more", plan(t, f, target), []string{"remove address fe80::2/64 from bond0"})
		})
	}
}

// An address from DHCP is bondd's if it is marked so, or was the lease's; it
// stays while DHCP has said nothing, and goes once DHCP is not asked any more.
func TestLeaseOwner(t *testing.T) {
	for _, marked := range []bool{true, false} {
		t.Run(fmt.Sprintf("marked %t", marked), func(t *testing.T) {
			f, target := bonded(t, bondConfig("dhcp4 = true"))
			target.Lease = &Lease{Prefix: netip.MustParsePrefix("192.0.2.50/24"), Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Expires: now.Add(time.Hour)}
			converge(t, f, target)
			expect(t, "bond0 has", f.on("bond0"), []string{"192.0.2.2/24 176", "192.0.2.50/24 177"})
			if !marked {
				f.Addresses[1].Protocol = 0
				expect(t, "the lease without a mark", plan(t, f, target), nil)
			}
			// Another program's address with a lifetime is none of DHCP's.
			f.address(state.Address{Index: f.Link("bond0").Index, Prefix: netip.MustParsePrefix("198.51.100.9/24")})

			target.Lease.Prefix = netip.MustParsePrefix("192.0.2.51/24")
			expect(t, "another lease", plan(t, f, target),
				[]string{"remove address 192.0.2.50/24 from bond0", "add address 192.0.2.51/24 to bond0, broadcast 192.0.2.255, for 1h0m0s"})

			target.Lease = nil // as after a restart
			expect(t, "no word from DHCP", plan(t, f, target), nil)
			target.Bond.DHCP4 = false
			expect(t, "DHCP is not configured any more", plan(t, f, target),
				[]string{"remove address 192.0.2.50/24 from bond0", "remove route to 0.0.0.0/0 via 192.0.2.1 by bond0"})
		})
	}
}

// The kernel's own addresses are its own.
func TestKernelAddresses(t *testing.T) {
	f, target := bonded(t, bondConfig())
	f.by(2, "2001:db8:1::5/64") // IFAPROT_KERNEL_RA, of infinite lifetime
	f.by(3, "fe80::1/64")
	expect(t, "beside the kernel's", plan(t, f, target), nil)
	if addresses, _ := Foreign(&target.Owned, &f.Network); len(addresses) != 0 {
		t.Errorf("foreign are %v", addresses)
	}
}

// Routes of others stay, and bondd's stand beside them.
func TestForeignRoutes(t *testing.T) {
	b := bondConfig(`gateways = ["192.0.2.1"]`)
	f, target := bonded(t, b)
	bond := f.Link("bond0").Index
	by := func(protocol int, dst, gateway string, metric int) {
		r := state.Route{Index: bond, Dst: netip.MustParsePrefix(dst), Gateway: netip.MustParseAddr(gateway), Metric: metric, Protocol: protocol}
		if err := f.route(f.Link("bond0"), r, 0); err != nil {
			t.Fatal(err)
		}
	}
	by(unix.RTPROT_STATIC, "198.51.100.0/24", "192.0.2.9", 0)
	by(unix.RTPROT_BOOT, "0.0.0.0/0", "192.0.2.9", 0) // a default route before bondd's own
	by(unix.RTPROT_DHCP, "0.0.0.0/0", "192.0.2.9", 100)
	expect(t, "beside routes of others", plan(t, f, target), nil)
	if _, routes := Foreign(&target.Owned, &f.Network); len(routes) != 3 {
		t.Errorf("foreign routes are %v", routes)
	}

	target.Bond.Gateways = []netip.Addr{netip.MustParseAddr("192.0.2.3")}
	expect(t, "another gateway", plan(t, f, target),
		[]string{"remove route to 0.0.0.0/0 via 192.0.2.1 by bond0", "add route to 0.0.0.0/0 via 192.0.2.3 by bond0"})
	converge(t, f, target)
	target.Bond.Gateways = nil
	converge(t, f, target)
	if len(f.Routes) != 3 {
		t.Errorf("the routes are %v, want those of others", f.Routes)
	}
}

// The kernel makes one IPv6 route of several of a destination and metric, which
// share the traffic out: bondd's stands before another program's, and leaves
// that one alone.
func TestForeignRouteIPv6(t *testing.T) {
	b := bondConfig()
	b.Addresses = append(b.Addresses, netip.MustParsePrefix("2001:db8::2/64"))
	b.Gateways = []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::3")}
	f, target := bonded(t, b)
	foreign := state.Route{Index: f.Link("bond0").Index, Dst: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("2001:db8::9"), Metric: 1024, Protocol: unix.RTPROT_BOOT}
	if err := f.route(f.Link("bond0"), foreign, len(f.Routes)); err != nil {
		t.Fatal(err)
	}
	if !f.Routes[1].Shared {
		t.Fatalf("the kernel did not make one route of %v", f.Routes)
	}
	converge(t, f, target)
	var got []string
	for _, r := range f.Routes {
		got = append(got, fmt.Sprintf("%d via %s", r.Metric, r.Gateway))
	}
	slices.Sort(got)
	expect(t, "routes", got, []string{"1022 via 2001:db8::1", "1023 via 2001:db8::3", "1024 via 2001:db8::9"})

	target.Bond.Gateways = nil
	converge(t, f, target)
	if len(f.Routes) != 1 || f.Routes[0].Gateway != foreign.Gateway {
		t.Errorf("routes are %v, want the other program's", f.Routes)
	}
}

// Two bonds with a gateway each do not take each other's route away.
func TestTwoBondsGateways(t *testing.T) {
	f := new(fake)
	var targets []*Target
	for i, name := range []string{"bond0", "bond1"} {
		f.add(card(2 * i))
		f.add(card(2*i + 1))
		b := bondConfig(fmt.Sprintf("name = %q", name))
		b.Gateways = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
		b.Addresses = append(b.Addresses, netip.MustParsePrefix("2001:db8::2/64"))
		targets = append(targets, &Target{Bond: b, Slaves: []string{fmt.Sprintf("eth%d", 2*i), fmt.Sprintf("eth%d", 2*i+1)}})
	}
	for range 2 {
		for _, target := range targets {
			converge(t, f, target)
		}
	}
	for _, target := range targets {
		expect(t, target.Bond.Name, plan(t, f, target), nil)
	}
	if len(f.Routes) != 4 {
		t.Errorf("routes are %v, want four", f.Routes)
	}
}

// furnish makes VLANs above bond0 as another program does, one of them down, and
// gives the bond and the first of them all that a bond loses when it goes down.
func furnish(t *testing.T, f *fake) {
	t.Helper()
	bond := f.Link("bond0").Index
	vlan := f.add(state.Link{Name: "bond0.20", Kind: "vlan", Lower: bond, Up: true}).Index
	f.add(state.Link{Name: "bond0.20.30", Kind: "vlan", Lower: vlan, Up: true})
	f.add(state.Link{Name: "bond0.40", Kind: "vlan", Lower: bond})
	for _, p := range []string{"2001:db8::99/64", "192.0.2.250/24", "fe80::99/64"} {
		f.by(0, p)
	}
	f.by(3, "fe80::1/64") // the kernel's, by which it is known that the kernel marks its own
	for i, name := range []string{"bond0.20", "bond0.20.30"} {
		l := f.Link(name)
		for _, p := range []string{fmt.Sprintf("2001:db8:%d::2/64", i+20), fmt.Sprintf("10.%d.0.2/24", i+20)} {
			f.address(state.Address{Index: l.Index, Prefix: netip.MustParsePrefix(p), Permanent: true})
		}
		f.Routes = append(f.Routes,
			state.Route{Index: l.Index, Dst: netip.MustParsePrefix(fmt.Sprintf("10.%d.9.0/24", i+20)), Gateway: netip.MustParseAddr(fmt.Sprintf("10.%d.0.1", i+20)), Protocol: unix.RTPROT_STATIC},
			state.Route{Index: l.Index, Dst: netip.MustParsePrefix(fmt.Sprintf("10.%d.8.0/24", i+20)), Protocol: unix.RTPROT_BOOT})
	}
	f.Routes = append(f.Routes, state.Route{Index: bond, Dst: netip.MustParsePrefix("198.51.100.0/24"), Gateway: netip.MustParseAddr("192.0.2.9"), Protocol: unix.RTPROT_STATIC})
	f.Others = append(f.Others, state.OtherRoute{Index: bond, Text: "to 0.0.0.0/0 in table 100", Gateway: true, Message: "a"},
		state.OtherRoute{Index: vlan, Text: "to 0.0.0.0/0 in table 200", Message: "b"})
}

// inventory is everything of addresses and routes, and which links are up.
func (f *fake) inventory() []string {
	var list []string
	for _, a := range f.Addresses {
		if a.Protocol != 3 {
			list = append(list, fmt.Sprintf("address %s %d on %d", a.Prefix, a.Protocol, a.Index))
		}
	}
	for _, r := range f.Routes {
		list = append(list, fmt.Sprintf("route %s via %s, %d %d on %d", r.Dst, r.Gateway, r.Metric, r.Protocol, r.Index))
	}
	for _, r := range f.Others {
		list = append(list, fmt.Sprintf("route %s %s on %d", r.Text, r.Message, r.Index))
	}
	for i := range f.Links {
		list = append(list, fmt.Sprintf("%s is up: %t", f.Links[i].Name, f.Links[i].Up))
	}
	slices.Sort(list)
	return list
}

// Whatever takes the bond down, everything of others on it and on the VLANs above
// it is there again afterwards.
func TestForeignOverDown(t *testing.T) {
	with := func(lines ...string) config.Bond {
		b := bondConfig(append(lines, `gateways = ["192.0.2.1"]`)...)
		b.Addresses = append(b.Addresses, netip.MustParsePrefix("2001:db8::2/64"))
		return b
	}
	lacp := with(`mode = "802.3ad"`)
	for _, tt := range []struct {
		name     string
		have     config.Bond
		want     config.Bond
		disaster func(f *fake) // by another program
		refused  string        // an option that the kernel refuses, so that all is taken back
	}{
		{"another mode", with(), lacp, nil, ""},
		{"an option for a bond that is down", lacp, with(`mode = "802.3ad"`, `lacp_rate = "fast"`), nil, ""},
		{"another mode, refused", with(), lacp, nil, "mode"},
		{"somebody takes it down", with(), with(), func(f *fake) { f.setUp(f.Link("bond0"), false) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, target := bonded(t, tt.have)
			furnish(t, f)
			want := f.inventory()
			target.Before = f.clone()
			if tt.disaster != nil {
				tt.disaster(f)
			}
			target.Bond = tt.want
			if tt.refused != "" {
				f.refuse = func(op state.Op) error {
					if o, ok := op.(state.SetOption); ok && o.Option == tt.refused {
						return unix.EBUSY
					}
					return nil
				}
				ops, err := Plan(target, &f.Network, now)
				if err != nil {
					t.Fatal(err)
				}
				Execute(t.Context(), "bond0", ops, f.clone(), f.do)
			} else {
				converge(t, f, target)
			}
			expect(t, "addresses and routes", f.inventory(), want)
		})
	}
}

// A bond that another program removed comes back with the addresses and routes
// that others had put on it.
func TestForeignOverRemoval(t *testing.T) {
	f, target := bonded(t, bondConfig(`gateways = ["192.0.2.1"]`))
	f.by(0, "192.0.2.250/24")
	f.by(keepalived, "2001:db8::99/64")
	bond := f.Link("bond0").Index
	f.Routes = append(f.Routes, state.Route{Index: bond, Dst: netip.MustParsePrefix("198.51.100.0/24"), Gateway: netip.MustParseAddr("192.0.2.9"), Protocol: unix.RTPROT_STATIC})
	f.Addresses = append(f.Addresses, state.Address{Index: bond, Prefix: netip.MustParsePrefix("203.0.113.9/24")}) // for a time that nobody knows
	target.Before = f.clone()
	f.Links = f.Links[:2]
	for i := range f.Links {
		f.Links[i].Master, f.Links[i].Slave, f.Links[i].Up = 0, nil, false
	}
	f.Addresses, f.Routes = nil, nil
	converge(t, f, target)
	expect(t, "bond0 has", f.on("bond0"), []string{"192.0.2.2/24 176", "192.0.2.250/24 0", "2001:db8::99/64 18"})
	if len(f.Routes) != 2 {
		t.Errorf("routes are %v, want the gateway's and the other program's", f.Routes)
	}
}
