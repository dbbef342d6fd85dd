package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/config/bonding"
)

// A fake is as much of the kernel's network as plans are about, with the rules
// of its bonding driver that order them.
type fake struct {
	state.Network
	next   int
	clock  uint32               // when the last address was added
	random byte                 // the last of the addresses that the kernel made up
	rigid  map[string]bool      // links that take another MAC only while they are down
	refuse func(state.Op) error // may be nil
	log    []string
}

var errRule = errors.New("the kernel's rules forbid it")

func (f *fake) add(l state.Link) *state.Link {
	f.next++
	l.Index = f.next
	f.Links = append(f.Links, l)
	return &f.Links[len(f.Links)-1]
}

func card(n int) state.Link {
	m := state.MAC{2, 0, 0, 0, 0, byte(n)}
	return state.Link{Name: fmt.Sprintf("eth%d", n), Kind: "veth", MAC: m, PermanentMAC: m, MTU: 1500}
}

// do is a write, for Execute.
func (f *fake) do(_ context.Context, op state.Op) error {
	f.log = append(f.log, op.String())
	if f.refuse != nil {
		if err := f.refuse(op); err != nil {
			return err
		}
	}
	if c, ok := op.(state.CreateBond); ok {
		if f.Link(c.Name) != nil {
			return unix.EEXIST
		}
		// As the kernel makes it: every option of the message, in its order.
		l := f.add(state.Link{Name: c.Name, Kind: "bond", MAC: c.MAC, MTU: 1500, Bond: &state.BondLink{Options: defaults()}})
		for row := range bonding.Settings() {
			name := row.Name
			value, ok := c.Options[name]
			if !ok {
				continue
			}
			if err := f.option(l, state.SetOption{Bond: c.Name, Option: name, Value: value}, 0); err != nil {
				f.Links = f.Links[:len(f.Links)-1]
				return fmt.Errorf("create with %s %q: %w", name, value, err)
			}
		}
		return nil
	}
	l := f.Link(op.Subject())
	if l == nil {
		return unix.ENODEV
	}
	slaves := 0 // of the bond that the op is about, without the link itself
	for i := range f.Links {
		if o := &f.Links[i]; o.Master != 0 && o.Index != l.Index && (o.Master == l.Index || o.Master == l.Master) {
			slaves++
		}
	}
	switch op := op.(type) {
	case state.SetOption:
		return f.option(l, op, slaves)
	case state.SetSlaveOption:
		bond := f.LinkByIndex(l.Master)
		if bond == nil || bond.Bond == nil || !slices.Contains([]string{"active-backup", "balance-tlb", "balance-alb"}, bond.Bond.Options["mode"]) {
			return unix.EACCES
		}
		l.Slave.Prio, _ = strconv.Atoi(op.Value)
	case state.SetUp:
		f.setUp(l, op.Up)
	case state.OpenBond:
		f.setUp(l, true)
	case state.Park:
		if l.Master != 0 {
			return errRule
		}
		l.Up, l.NoARP, l.IPv6 = true, true, false
	case state.Unpark:
		l.Up, l.NoARP, l.IPv6 = false, false, true
	case state.SetMAC:
		if l.Bond != nil && failOverMAC(l.Bond.Options) {
			return nil // the driver says nothing of it
		}
		if f.rigid[l.Name] && l.Up {
			return unix.EBUSY
		}
		l.MAC = op.MAC
		if l.Bond != nil && !ownMACs(l.Bond.Options) {
			for i := range f.Links {
				if s := &f.Links[i]; s.Master == l.Index {
					s.MAC = op.MAC
				}
			}
		}
	case state.SetMTU:
		l.MTU = op.MTU
		for i := range f.Links {
			if s := &f.Links[i]; s.Master == l.Index && l.Bond != nil {
				s.MTU = op.MTU
			}
		}
	case state.Enslave:
		bond := f.Link(op.Bond)
		switch {
		case bond == nil:
			return unix.ENODEV
		case l.Master != 0:
			return unix.EBUSY
		case l.Up:
			return unix.EPERM
		}
		l.Master, l.Up, l.Slave, l.MTU = bond.Index, true, &state.SlaveLink{EnslavedMAC: l.MAC}, bond.MTU
		if !ownMACs(bond.Bond.Options) {
			l.MAC = bond.MAC
		}
	case state.Release:
		if l.Master == 0 {
			return errRule
		}
		if master := f.LinkByIndex(l.Master); master.Bond != nil {
			l.Up, l.MAC = false, l.PermanentMAC
			if master.Bond.Options["primary"] == l.Name {
				master.Bond.Options["primary"] = ""
			}
			if slaves == 0 {
				f.random++
				master.MAC = state.MAC{0x0a, 0, 0, 0, 0, f.random}
			}
		}
		l.Master, l.Slave = 0, nil
	case state.AddAddress:
		a := state.Address{Index: l.Index, Prefix: op.Prefix, Broadcast: op.Broadcast, Permanent: op.Lifetime == 0, Protocol: op.Protocol}
		f.address(a)
	case state.RestoreAddress:
		a := op.Address
		a.Index = l.Index
		f.address(a)
	case state.KeepSecondaries:
		l.Promotes = true
	case state.DelAddress:
		at := slices.IndexFunc(f.Addresses, func(a state.Address) bool { return a.Index == l.Index && a.Prefix == op.Prefix })
		if at < 0 {
			return unix.EADDRNOTAVAIL
		}
		network := func(a state.Address) bool {
			return a.Index == l.Index && op.Prefix.Addr().Is4() && a.Prefix.Masked() == op.Prefix.Masked()
		}
		primary := !slices.ContainsFunc(f.Addresses[:at], network)
		f.Addresses = slices.Delete(f.Addresses, at, at+1)
		if primary && !l.Promotes {
			f.Addresses = slices.DeleteFunc(f.Addresses, network)
		}
	case state.AddRoute:
		return f.route(l, state.Route{Index: l.Index, Dst: op.Dst, Gateway: op.Gateway, Metric: op.Metric, Protocol: op.Protocol}, 0)
	case state.RestoreRoute:
		if op.Route == (state.Route{}) {
			f.Others = append(f.Others, state.OtherRoute{Index: l.Index, Text: op.Text, Message: op.Message})
			return nil
		}
		r := op.Route
		r.Index = l.Index
		return f.route(l, r, len(f.Routes))
	case state.DelRoute:
		f.Routes = slices.DeleteFunc(f.Routes, func(r state.Route) bool {
			return r.Index == l.Index && r.Dst == op.Dst && r.Gateway == op.Gateway && r.Metric == op.Metric && r.Protocol == op.Protocol
		})
	}
	return nil
}

// setUp takes a link up or down, and the VLANs above it.
func (f *fake) setUp(l *state.Link, up bool) {
	l.Up = up
	if !up {
		f.Routes = slices.DeleteFunc(f.Routes, func(r state.Route) bool { return r.Index == l.Index })
		f.Others = slices.DeleteFunc(f.Others, func(r state.OtherRoute) bool { return r.Index == l.Index })
		f.Addresses = slices.DeleteFunc(f.Addresses, func(a state.Address) bool { return a.Index == l.Index && a.Prefix.Addr().Is6() })
	}
	for i := range f.Links {
		if v := &f.Links[i]; v.Kind == "vlan" && v.Lower == l.Index {
			f.setUp(v, up)
		}
	}
}

// address adds an address, or changes the one that is there.
func (f *fake) address(a state.Address) {
	for i := range f.Addresses {
		if o := &f.Addresses[i]; o.Index == a.Index && o.Prefix == a.Prefix {
			o.Permanent, o.Protocol = a.Permanent, a.Protocol
			return
		}
	}
	f.clock++
	a.Created = f.clock
	a.LinkLocal = a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast()
	f.Addresses = append(f.Addresses, a)
}

// route adds a route, at a place in the list. IPv6 makes one of those of a
// destination and metric.
func (f *fake) route(l *state.Link, r state.Route, at int) error {
	if !l.Up {
		return unix.ENETDOWN
	}
	for i := range f.Routes {
		o := &f.Routes[i]
		if o.Dst != r.Dst || o.Metric != r.Metric {
			continue
		}
		if o.Index == r.Index && o.Gateway == r.Gateway && (o.Protocol == r.Protocol || r.Dst.Addr().Is6()) {
			return unix.EEXIST
		}
		if r.Dst.Addr().Is6() {
			o.Shared, r.Shared, r.Protocol = true, true, o.Protocol
		}
	}
	f.Routes = slices.Insert(f.Routes, at, r)
	return nil
}

// clone is the network as it is now.
func (f *fake) clone() *state.Network {
	n := &state.Network{Links: slices.Clone(f.Links), Addresses: slices.Clone(f.Addresses), Routes: slices.Clone(f.Routes), Others: slices.Clone(f.Others)}
	for i := range n.Links {
		if b := n.Links[i].Bond; b != nil {
			n.Links[i].Bond = &state.BondLink{ActiveSlave: b.ActiveSlave, Options: maps.Clone(b.Options)}
		}
		if s := n.Links[i].Slave; s != nil {
			slave := *s
			n.Links[i].Slave = &slave
		}
	}
	return n
}

// defaults are the options of a bond as the kernel makes it. Like the rules
// below, they are told here anew: what config says of them is under test too.
func defaults() state.Options {
	return state.Options{
		"mode": "balance-rr", "miimon": "0", "updelay": "0", "downdelay": "0", "peer_notif_delay": "0",
		"arp_interval": "0", "arp_ip_target": "", "ns_ip6_target": "", "arp_validate": "none", "arp_all_targets": "any", "arp_missed_max": "2",
		"primary": "", "primary_reselect": "always", "fail_over_mac": "none", "xmit_hash_policy": "layer2", "resend_igmp": "1", "num_grat_arp": "1",
		"all_slaves_active": "0", "min_links": "0", "lp_interval": "1", "packets_per_slave": "1", "lacp_active": "1", "lacp_rate": "slow",
		"ad_select": "stable", "tlb_dynamic_lb": "1", "coupled_control": "1",
	}
}

// lacpDefaults are the options that the kernel tells in mode 802.3ad alone.
var lacpDefaults = state.Options{"ad_actor_sys_prio": "65535", "ad_actor_system": "00:00:00:00:00:00", "ad_user_port_key": "0"}

// The driver's rules (bond_opts, drivers/net/bonding/bond_options.c).
var (
	ruleDown  = []string{"mode", "lacp_active", "lacp_rate", "ad_select", "ad_user_port_key", "coupled_control", "tlb_dynamic_lb"}
	ruleEmpty = []string{"mode", "fail_over_mac"}
	ruleModes = map[string]string{
		"packets_per_slave": "balance-rr",
		"arp_interval":      "balance-rr active-backup balance-xor broadcast", "arp_validate": "balance-rr active-backup balance-xor broadcast",
		"arp_missed_max": "balance-rr active-backup balance-xor broadcast",
		"primary":        "active-backup balance-tlb balance-alb", "tlb_dynamic_lb": "balance-tlb balance-alb",
		"lacp_active": "802.3ad", "lacp_rate": "802.3ad", "ad_actor_sys_prio": "802.3ad", "ad_actor_system": "802.3ad", "ad_user_port_key": "802.3ad", "coupled_control": "802.3ad",
	}
)

func (f *fake) option(l *state.Link, op state.SetOption, slaves int) error {
	have := l.Bond.Options
	if modes, ok := ruleModes[op.Option]; ok && !slices.Contains(strings.Fields(modes), have["mode"]) {
		return unix.EACCES
	}
	if slices.Contains(ruleEmpty, op.Option) && slaves > 0 {
		return unix.ENOTEMPTY
	}
	if slices.Contains(ruleDown, op.Option) && l.Up {
		return unix.EBUSY
	}
	switch op.Option {
	case "mode":
		have["primary"], have["arp_validate"] = "", "none"
		for name, value := range lacpDefaults {
			if delete(have, name); op.Value == "802.3ad" {
				have[name] = value
			}
		}
		if !strings.Contains(ruleModes["arp_interval"], op.Value) {
			have["arp_interval"] = "0"
			if have["miimon"] == "0" {
				have["miimon"] = "100"
			}
		}
	case "miimon":
		if op.Value != "0" {
			have["arp_interval"], have["arp_validate"] = "0", "none"
		}
	case "arp_interval":
		if op.Value != "0" {
			have["miimon"], have["updelay"], have["downdelay"], have["peer_notif_delay"] = "0", "0", "0", "0"
		}
	case "updelay", "downdelay", "peer_notif_delay":
		if have["miimon"] == "0" {
			return unix.EPERM
		}
	case "primary":
		if s := f.Link(op.Value); op.Value != "" && (s == nil || s.Master != l.Index) {
			return errRule
		}
	}
	have[op.Option] = op.Value
	return nil
}

// bondConfig is what the configuration makes of a bond with these lines.
func bondConfig(lines ...string) config.Bond {
	file := append([]string{"[[bond]]", `slaves = ["eth0", "eth1"]`, `addresses = ["192.0.2.2/24"]`}, lines...)
	c, err := config.Parse("bondd.toml", []byte(strings.Join(file, "\n")))
	if err != nil {
		panic(err) // the test's own mistake
	}
	return c.Bonds[0]
}

var modes = []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// converge plans and executes until nothing is left to do.
func converge(t *testing.T, f *fake, target *Target) {
	t.Helper()
	for range 4 {
		target.Owned = Own(target, &f.Network, now)
		ops, err := Plan(target, &f.Network, now)
		if err != nil {
			t.Fatal(err)
		}
		if len(ops) == 0 {
			return
		}
		for _, failure := range Execute(t.Context(), target.Bond.Name, ops, f.clone(), f.do) {
			t.Errorf("%s: %v", failure.Op, failure.Err)
		}
	}
	ops, _ := Plan(target, &f.Network, now)
	t.Fatalf("four plans do not suffice; still: %v\nafter %s", ops, strings.Join(f.log, "\n"))
}

func TestPlan(t *testing.T) {
	cards := func() *fake {
		f := new(fake)
		f.add(card(0))
		f.add(card(1))
		return f
	}
	// made is the bond as bondd makes it, with its cards.
	made := func(b config.Bond) *fake {
		f := cards()
		converge(t, f, &Target{Bond: b, Slaves: []string{"eth0", "eth1"}, Primary: b.Options["primary"]})
		f.log = nil
		return f
	}
	plain := bondConfig()
	for _, tt := range []struct {
		name   string
		net    *fake
		change func(*fake)
		bond   config.Bond
		slaves []string
		want   []string
	}{
		{"from nothing", cards(), nil, plain, nil, []string{
			"create bond bond0: mode active-backup, miimon 100, MAC 02:00:00:00:00:00", "enslave eth0 to bond0", "enslave eth1 to bond0",
			"take bond0 up", "add address 192.0.2.2/24 to bond0, broadcast 192.0.2.255"}},
		{"all as it should be", made(plain), nil, plain, nil, nil},
		{"the active slave is none of its business", made(plain), func(f *fake) { f.Link("bond0").Bond.ActiveSlave = 2 }, plain, nil, nil},
		{"a slave is missing and comes", made(plain), func(f *fake) { _ = f.do(t.Context(), state.Release{Slave: "eth1", Bond: "bond0"}) }, plain, nil, []string{"enslave eth1 to bond0"}},
		{"a slave too many goes last", made(plain), func(f *fake) {
			f.add(card(2))
		}, plain, []string{"eth0", "eth2"}, []string{"enslave eth2 to bond0", "release eth1 from bond0"}},
		{"a slave is down", made(plain), func(f *fake) { f.Link("eth0").Up = false }, plain, nil, []string{"take eth0 up"}},
		{"the monitor is off", made(plain), func(f *fake) { f.Link("bond0").Bond.Options["miimon"] = "0" }, plain, nil, []string{"set miimon of bond0 to 100"}},
		{"the primary comes after the slaves", made(plain), func(f *fake) { _ = f.do(t.Context(), state.Release{Slave: "eth1", Bond: "bond0"}) },
			bondConfig(`primary = "eth1"`), nil, []string{"set primary_reselect of bond0 to always", "enslave eth1 to bond0", "set primary of bond0 to eth1"}},
		{"a primary that is not wanted", made(plain), func(f *fake) { f.Link("bond0").Bond.Options["primary"] = "eth1" }, plain, nil, []string{"set primary of bond0 to none"}},
		{"another address, and a secondary goes first", made(plain), func(f *fake) {
			f.Addresses[0].Prefix = netip.MustParsePrefix("192.0.2.3/24")
		}, plain, nil, []string{"remove address 192.0.2.3/24 from bond0", "add address 192.0.2.2/24 to bond0, broadcast 192.0.2.255"}},
		{"a slave that is up, in a bridge and has an address", cards(), func(f *fake) {
			br := f.add(state.Link{Name: "br0", Kind: "bridge"}).Index
			f.Link("eth1").Up, f.Link("eth1").Master = true, br
			f.Addresses = append(f.Addresses, state.Address{Index: 2, Prefix: netip.MustParsePrefix("198.51.100.1/24"), Permanent: true})
		}, plain, nil, []string{
			"create bond bond0: mode active-backup, miimon 100, MAC 02:00:00:00:00:00", "enslave eth0 to bond0",
			"release eth1 from br0", "remove address 198.51.100.1/24 from eth1", "take eth1 down", "enslave eth1 to bond0",
			"take bond0 up", "add address 192.0.2.2/24 to bond0, broadcast 192.0.2.255"}},
		{"another mode", made(bondConfig(`mode = "balance-rr"`)), nil, plain, nil, []string{
			"take bond0 down", "release eth1 from bond0", "release eth0 from bond0", "set mode of bond0 to active-backup", "set MAC of bond0 to 02:00:00:00:00:00",
			"set miimon of bond0 to 100", "set updelay of bond0 to 0", "set downdelay of bond0 to 0", "set peer_notif_delay of bond0 to 0",
			"set arp_interval of bond0 to 0", "set arp_validate of bond0 to none", "set primary_reselect of bond0 to failure",
			"enslave eth0 to bond0", "enslave eth1 to bond0", "take bond0 up"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.net
			if tt.change != nil {
				tt.change(f)
			}
			slaves := tt.slaves
			if slaves == nil {
				slaves = []string{"eth0", "eth1"}
			}
			target := &Target{Bond: tt.bond, Slaves: slaves, Primary: tt.bond.Options["primary"]}
			ops, err := Plan(target, &f.Network, now)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, op := range ops {
				got = append(got, op.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(tt.want, "\n "))
			}
			converge(t, f, target)
		})
	}
}

// What asks for more than a write: an option that the driver takes only while
// the bond is down or empty, and NICs that are kept out.
func TestPlanOrder(t *testing.T) {
	lacp, follow := bondConfig(`mode = "802.3ad"`), bondConfig(`fail_over_mac = "follow"`)
	v6 := func(b config.Bond) config.Bond {
		b.Addresses = append(slices.Clone(b.Addresses), netip.MustParsePrefix("2001:db8::2/64"))
		b.Gateways = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		return b
	}
	for _, tt := range []struct {
		name   string
		have   config.Bond
		change func(*fake)
		aim    Target
		want   []string
	}{
		{"an option for a bond that is down", v6(lacp), func(f *fake) {
			f.Routes = append(f.Routes, state.Route{Index: 3, Dst: netip.MustParsePrefix("203.0.113.0/24"), Gateway: netip.MustParseAddr("192.0.2.7"), Protocol: unix.RTPROT_BOOT},
				state.Route{Index: 3, Dst: netip.MustParsePrefix("192.0.2.0/24"), Protocol: unix.RTPROT_KERNEL})
		}, Target{Bond: v6(bondConfig(`mode = "802.3ad"`, `lacp_rate = "fast"`, `ad_actor_sys_prio = 5`))}, []string{
			"take bond0 down", "set lacp_rate of bond0 to fast", "set ad_actor_sys_prio of bond0 to 5", "take bond0 up",
			"add address 2001:db8::2/64 to bond0", "add route to 0.0.0.0/0 via 192.0.2.1 by bond0", "put route to 203.0.113.0/24 via 192.0.2.7 by bond0 back"}},
		{"one that is not", lacp, nil, Target{Bond: bondConfig(`mode = "802.3ad"`, `ad_actor_sys_prio = 5`)}, []string{"set ad_actor_sys_prio of bond0 to 5"}},
		{"one that does nothing in the mode", bondConfig(`mode = "balance-rr"`), func(f *fake) {
			f.Link("bond0").Bond.Options["fail_over_mac"] = "active"
		}, Target{Bond: bondConfig(`mode = "balance-rr"`)}, nil},
		{"an option for a bond that is empty", bondConfig(), nil, Target{Bond: follow}, []string{
			"release eth1 from bond0", "release eth0 from bond0", "set MAC of bond0 to 02:00:00:00:00:00", "set fail_over_mac of bond0 to follow",
			"enslave eth0 to bond0", "enslave eth1 to bond0"}},
		{"and back", follow, nil, Target{Bond: bondConfig()}, []string{
			"release eth1 from bond0", "release eth0 from bond0", "set fail_over_mac of bond0 to none", "set MAC of bond0 to 02:00:00:00:00:00",
			"enslave eth0 to bond0", "enslave eth1 to bond0"}},
		{"another MAC", bondConfig(), nil, Target{Bond: bondConfig(`mac = "02:00:5e:10:00:01"`)}, []string{"set MAC of bond0 to 02:00:5e:10:00:01"}},
		{"another MAC, which the driver takes only without fail_over_mac", follow, nil, Target{Bond: bondConfig(`fail_over_mac = "follow"`, `mac = "02:00:5e:10:00:01"`)}, []string{
			"release eth1 from bond0", "release eth0 from bond0", "set fail_over_mac of bond0 to none", "set MAC of bond0 to 02:00:5e:10:00:01",
			"set fail_over_mac of bond0 to follow", "enslave eth0 to bond0", "enslave eth1 to bond0"}},
		{"the ARP monitor in the place of the other", bondConfig(), nil, Target{Bond: bondConfig(`arp_interval = "1s"`, `arp_ip_target = ["192.0.2.1"]`)}, []string{
			"set arp_ip_target of bond0 to 192.0.2.1", "set arp_interval of bond0 to 1000"}},
		{"a slave is parked", bondConfig(`mode = "balance-rr"`), nil, Target{Bond: bondConfig(`mode = "balance-rr"`), Slaves: []string{"eth0"}, Parked: []string{"eth1"}},
			[]string{"release eth1 from bond0", "park eth1: up, for probes alone"}},
		{"a parked one has an address", bondConfig(), func(f *fake) {
			_ = f.do(t.Context(), state.Release{Slave: "eth1", Bond: "bond0"})
			_ = f.do(t.Context(), state.Park{Link: "eth1"})
			f.Addresses = append(f.Addresses, state.Address{Index: 2, Prefix: netip.MustParsePrefix("198.51.100.1/24")})
		}, Target{Bond: bondConfig(), Slaves: []string{"eth0"}, Parked: []string{"eth1"}}, []string{"remove address 198.51.100.1/24 from eth1"}},
		{"one comes back", bondConfig(), func(f *fake) {
			_ = f.do(t.Context(), state.Release{Slave: "eth1", Bond: "bond0"})
			_ = f.do(t.Context(), state.Park{Link: "eth1"})
		}, Target{Bond: bondConfig()}, []string{"end the parking of eth1", "enslave eth1 to bond0"}},
		{"prio, where there is an active slave", bondConfig(), nil, Target{Bond: bondConfig(), Prio: map[string]int{"eth1": 5, "eth7": 3}}, []string{"set prio of eth1 in bond0 to 5"}},
		{"and where there is none", lacp, nil, Target{Bond: lacp, Prio: map[string]int{"eth1": 5}}, nil},
		{"one of somebody else's", bondConfig(), func(f *fake) { f.Link("eth0").Slave.Prio = -7 }, Target{Bond: bondConfig()}, []string{"set prio of eth0 in bond0 to 0"}},
		{"a preferred slave is held out", bondConfig(`primary = "eth0"`), nil, Target{Bond: bondConfig(`primary = "eth0"`), Hold: true}, []string{"set primary_reselect of bond0 to failure"}},
		{"and no primary is written then", bondConfig(), nil, Target{Bond: bondConfig(`primary = "eth0"`), Hold: true}, nil},
		{"cards that forget their address", bondConfig(), func(f *fake) { _ = f.do(t.Context(), state.Release{Slave: "eth1", Bond: "bond0"}) }, Target{Bond: bondConfig(), Forgetful: []string{"eth1"}},
			[]string{"enslave eth1 to bond0", "set MAC of eth1 to 02:00:00:00:00:01", "set MAC of eth1 to 02:00:00:00:00:00"}},
		{"but have their own", follow, func(f *fake) { _ = f.do(t.Context(), state.Release{Slave: "eth1", Bond: "bond0"}) }, Target{Bond: follow, Forgetful: []string{"eth1"}},
			[]string{"enslave eth1 to bond0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := new(fake)
			f.add(card(0))
			f.add(card(1))
			converge(t, f, &Target{Bond: tt.have, Slaves: []string{"eth0", "eth1"}, Primary: tt.have.Options["primary"]})
			if tt.change != nil {
				tt.change(f)
			}
			target := tt.aim
			if target.Primary = target.Bond.Options["primary"]; target.Slaves == nil {
				target.Slaves = []string{"eth0", "eth1"}
			}
			ops, err := Plan(&target, &f.Network, now)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, op := range ops {
				got = append(got, op.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(tt.want, "\n "))
			}
			converge(t, f, &target)
			checkTarget(t, f, &target)
		})
	}
}

func TestPlanConflict(t *testing.T) {
	f := new(fake)
	f.add(state.Link{Name: "bond0", Kind: "dummy"})
	_, err := Plan(&Target{Bond: bondConfig()}, &f.Network, now)
	var conflict *Conflict
	if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "bond0 exists and is not a bond but a dummy") {
		t.Errorf("got %v", err)
	}
}

// Gateways of each family rank in the order they are named; a lease's behind.
func TestGateways(t *testing.T) {
	b := bondConfig("dhcp4 = true")
	for _, g := range []string{"192.0.2.1", "2001:db8::1", "192.0.2.3", "2001:db8::3"} {
		b.Gateways = append(b.Gateways, netip.MustParseAddr(g))
	}
	f := new(fake)
	f.add(card(0))
	target := &Target{Bond: b, Slaves: []string{"eth0"}, Lease: &Lease{Prefix: netip.MustParsePrefix("192.0.2.50/24"),
		Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, Expires: now.Add(time.Hour)}}
	converge(t, f, target)
	var got []string
	for _, r := range f.Routes {
		got = append(got, fmt.Sprintf("%s %d %d", r.Gateway, r.Metric, r.Protocol))
	}
	slices.Sort(got)
	want := []string{"192.0.2.1 0 176", "192.0.2.3 1 176", "192.0.2.9 100 177", "2001:db8::1 1024 176", "2001:db8::3 1025 176"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// A lease that is over is taken back; no word from DHCP leaves it alone.
	target.Lease = nil
	if ops, _ := Plan(target, &f.Network, now); len(ops) != 0 {
		t.Errorf("without word from DHCP: %v", ops)
	}
}

// From whatever state to whatever configuration, at most four plans do, no
// write on the way is against the driver's rules, and everything is as asked.
func TestPlanConverges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	for range 5000 {
		f := new(fake)
		for i := range 4 {
			c := card(i)
			c.Up, c.NoARP, c.IPv6 = random.IntN(2) == 0, random.IntN(4) == 0, random.IntN(4) > 0
			f.add(c)
		}
		f.add(state.Link{Name: "br0", Kind: "bridge"})
		f.add(state.Link{Name: "bond9", Kind: "bond", Bond: &state.BondLink{Options: defaults()}})
		if random.IntN(4) > 0 {
			make := state.CreateBond{Name: "bond0", MAC: state.MAC{2, 9}, Options: randomOptions(random)}
			if err := f.do(t.Context(), make); err != nil {
				t.Fatalf("%v: %v", make, err)
			}
			f.Link("bond0").Up = random.IntN(2) == 0
		}
		for i := range 4 {
			l, master := &f.Links[i], pick("", "bond0", "br0", "bond9")
			if m := f.Link(master); m != nil {
				l.Master, l.NoARP = m.Index, false
				if m.Bond != nil {
					l.Up, l.Slave = true, &state.SlaveLink{Prio: random.IntN(2)}
				}
			} else if random.IntN(2) == 0 {
				f.Addresses = append(f.Addresses, state.Address{Index: l.Index, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 24), Permanent: true})
			}
		}
		if bond := f.Link("bond0"); bond != nil {
			if random.IntN(2) == 0 {
				f.Addresses = append(f.Addresses, state.Address{Index: bond.Index, Prefix: netip.MustParsePrefix(pick("192.0.2.2/24", "192.0.2.3/24", "2001:db8::2/64")), Permanent: true})
			}
			if random.IntN(2) == 0 && bond.Up {
				f.Routes = append(f.Routes, state.Route{Index: bond.Index, Dst: netip.MustParsePrefix(pick("0.0.0.0/0", "203.0.113.0/24")),
					Gateway: netip.MustParseAddr(pick("192.0.2.1", "192.0.2.9")), Protocol: []int{unix.RTPROT_STATIC, unix.RTPROT_BOOT}[random.IntN(2)]})
			}
		}
		b := randomBond(random)
		cards := []string{"eth0", "eth1", "eth2"}
		n := random.IntN(4)
		target := &Target{Bond: b, Slaves: cards[:n], Parked: cards[n:][:random.IntN(4-n)], Primary: b.Options["primary"],
			Prio: map[string]int{"eth0": random.IntN(3) - 1}, Hold: random.IntN(4) == 0}
		converge(t, f, target)
		checkTarget(t, f, target)
		if t.Failed() {
			t.Fatalf("towards %+v:\n%s", target, strings.Join(f.log, "\n"))
		}
	}
}

// checkTarget checks that everything is as asked.
func checkTarget(t *testing.T, f *fake, target *Target) {
	t.Helper()
	bond := f.Link("bond0")
	have := bond.Bond.Options
	for name, want := range target.Bond.Options {
		row, _ := bonding.Lookup(name)
		switch {
		case name == "primary":
			if want == "" || !slices.Contains(target.Slaves, want) || target.Hold {
				continue
			}
		case name == "primary_reselect" && target.Hold:
			want = "failure"
		case !row.EffectiveIn(have.Mode()) && (row.OnlyDown || row.OnlyEmpty):
			continue
		}
		if have[name] != want {
			t.Errorf("%s is %q, want %q", name, have[name], want)
		}
	}
	if m := target.Bond.MAC; m != "" && bond.MAC.String() != m && !(failOverMAC(have) && len(target.Slaves) == 0) {
		t.Errorf("the MAC is %v, want %s", bond.MAC, m)
	}
	if !bond.Up {
		t.Error("the bond is down")
	}
	for i := range f.Links {
		l := &f.Links[i]
		if l.Kind != "veth" {
			continue
		}
		in, parked := slices.Contains(target.Slaves, l.Name), slices.Contains(target.Parked, l.Name)
		if enslaved := l.Master == bond.Index; enslaved != in || in && !l.Up {
			t.Errorf("%s is %+v, want it enslaved: %t", l.Name, l, in)
		}
		if parked && (!l.Parked() || l.Master != 0) || in && l.Parked() {
			t.Errorf("%s is %+v, want it parked: %t", l.Name, l, parked)
		}
		if in && target.Bond.Mode().HasActiveSlave() && l.Slave.Prio != target.Prio[l.Name] {
			t.Errorf("%s has prio %d, want %d", l.Name, l.Slave.Prio, target.Prio[l.Name])
		}
		for _, a := range f.Addresses {
			if a.Index == l.Index && (in || parked) {
				t.Errorf("%s has address %s", l.Name, a.Prefix)
			}
		}
	}
}

// randomOptions are options with which somebody else may have made a bond.
func randomOptions(random *rand.Rand) state.Options {
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	o := state.Options{"mode": pick(modes...), "miimon": pick("0", "50", "100"), "num_grat_arp": pick("1", "7"), "primary_reselect": pick("always", "failure"),
		"fail_over_mac": pick("none", "active", "follow"), "ad_select": pick("stable", "count"), "min_links": pick("0", "2"), "ns_ip6_target": pick("", "2001:db8::1")}
	switch o["mode"] {
	case "802.3ad":
		o["lacp_rate"], o["lacp_active"], o["ad_actor_system"] = pick("slow", "fast"), pick("0", "1"), pick("00:00:00:00:00:00", "02:00:00:00:00:07")
	case "balance-tlb", "balance-alb":
		o["tlb_dynamic_lb"] = pick("0", "1")
	default:
		if random.IntN(3) == 0 {
			o["miimon"] = "0"
			o["arp_interval"], o["arp_ip_target"] = "500", "192.0.2.1"
		}
	}
	return o
}

// randomBond is a configuration of a bond.
func randomBond(random *rand.Rand) config.Bond {
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	mode := pick(modes...)
	lines := []string{fmt.Sprintf("mode = %q", mode), `gateways = ["192.0.2.1"]`}
	sometimes := func(l ...string) {
		if random.IntN(3) == 0 {
			lines = append(lines, pick(l...))
		}
	}
	hasARP := slices.Contains([]string{"balance-rr", "active-backup", "balance-xor", "broadcast"}, mode)
	if hasARP && random.IntN(3) == 0 {
		lines = append(lines, `arp_interval = "1s"`, `arp_ip_target = ["192.0.2.1", "192.0.2.9"]`)
	} else {
		lines = append(lines, pick(`miimon = "50ms"`, `miimon = "100ms"`))
		sometimes(`updelay = "200ms"`)
		sometimes(`peer_notif_delay = "300ms"`)
	}
	switch mode {
	case "802.3ad":
		sometimes(`lacp_rate = "fast"`)
		sometimes(`lacp_active = false`)
		sometimes(`ad_select = "bandwidth"`)
		sometimes(`ad_user_port_key = 7`)
		sometimes(`ad_actor_system = "02:00:00:00:00:08"`)
		sometimes(`coupled_control = false`)
		sometimes(`min_links = 1`)
	case "balance-tlb", "balance-alb":
		sometimes(`tlb_dynamic_lb = false`)
		sometimes(`primary = "eth0"`)
	case "active-backup":
		sometimes(`primary = "eth0"`, `primary = "eth1"`)
		sometimes(`fail_over_mac = "follow"`)
	case "balance-rr":
		sometimes(`packets_per_slave = 10`)
	}
	b := bondConfig(lines...)
	b.MAC, b.MTU = pick("", "02:00:5e:10:00:01"), []int{0, 1400}[random.IntN(2)]
	if b.MAC == "" && mode == "active-backup" && random.IntN(3) == 0 {
		b.Options["fail_over_mac"] = "active"
	}
	return b
}

// A refusal keeps what is not concerned, and takes back what is.
func TestExecute(t *testing.T) {
	setup := func() (*fake, []state.Op, *state.Network) {
		f := new(fake)
		c0, c1 := card(0), card(1)
		c0.Up, c1.Up = true, true
		f.add(c0)
		f.add(c1)
		f.Addresses = []state.Address{{Index: 1, Prefix: netip.MustParsePrefix("198.51.100.1/24"), Permanent: true}}
		before := f.Network
		before.Links, before.Addresses = slices.Clone(f.Links), slices.Clone(f.Addresses)
		ops, err := Plan(&Target{Bond: bondConfig(), Slaves: []string{"eth0", "eth1"}}, &f.Network, now)
		if err != nil {
			t.Fatal(err)
		}
		return f, ops, &before
	}
	t.Run("a slave", func(t *testing.T) {
		f, ops, before := setup()
		f.refuse = func(op state.Op) error {
			if op == (state.Enslave{Slave: "eth0", Bond: "bond0"}) {
				return unix.EBUSY
			}
			return nil
		}
		failures := Execute(t.Context(), "bond0", ops, before, f.do)
		if len(failures) != 1 || !strings.Contains(failures[0].Err.Error(), "belongs to a bridge") {
			t.Errorf("failures: %v", failures)
		}
		if e := f.Link("eth0"); !e.Up || e.Master != 0 || len(f.Addresses) != 2 {
			t.Errorf("eth0 is %+v with %v; want it as before", e, f.Addresses)
		}
		if f.Link("eth1").Master != f.Link("bond0").Index || !f.Link("bond0").Up {
			t.Error("the other slave did not join")
		}
	})
	t.Run("the prio of a slave", func(t *testing.T) {
		f, _, before := setup()
		f.refuse = func(op state.Op) error {
			if _, ok := op.(state.SetSlaveOption); ok {
				return unix.EACCES
			}
			return nil
		}
		ops, err := Plan(&Target{Bond: bondConfig(), Slaves: []string{"eth0", "eth1"}, Prio: map[string]int{"eth1": 1}}, &f.Network, now)
		if err != nil {
			t.Fatal(err)
		}
		failures := Execute(t.Context(), "bond0", ops, before, f.do)
		if len(failures) != 1 || f.Link("eth1").Master != f.Link("bond0").Index || !f.Link("bond0").Up {
			t.Errorf("failures: %v; eth1 is %+v; want one setting to be missing", failures, f.Link("eth1"))
		}
	})
	t.Run("another mode", func(t *testing.T) {
		f := new(fake)
		f.add(card(0))
		f.add(card(1))
		b := bondConfig(`gateways = ["192.0.2.1"]`, `fail_over_mac = "none"`)
		b.Addresses = append(b.Addresses, netip.MustParsePrefix("2001:db8::2/64"))
		prio := map[string]int{"eth1": 3}
		converge(t, f, &Target{Bond: b, Slaves: []string{"eth0", "eth1"}, Prio: prio})
		before, want := f.clone(), f.clone()
		ops, err := Plan(&Target{Bond: bondConfig(`mode = "802.3ad"`), Slaves: []string{"eth0", "eth1"}}, &f.Network, now)
		if err != nil {
			t.Fatal(err)
		}
		f.refuse = func(op state.Op) error {
			if o, ok := op.(state.SetOption); ok && o.Option == "mode" {
				return unix.EBUSY
			}
			return nil
		}
		if failures := Execute(t.Context(), "bond0", ops, before, f.do); len(failures) != 1 {
			t.Errorf("failures: %v; want one", failures)
		}
		if diff := cmp.Diff(want, f.clone(), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.IgnoreFields(state.Address{}, "Created")); diff != "" {
			t.Errorf("what was before is not there again (-want +got):\n%s", diff)
		}
	})
	t.Run("the bond", func(t *testing.T) {
		f, ops, before := setup()
		f.refuse = func(op state.Op) error {
			if _, ok := op.(state.CreateBond); ok {
				return unix.EOPNOTSUPP
			}
			return nil
		}
		failures := Execute(t.Context(), "bond0", ops, before, f.do)
		if len(failures) != 1 || !strings.Contains(failures[0].Err.Error(), "no bonding driver") || len(f.log) != 1 {
			t.Errorf("failures %v after %q; want one, and no write after it", failures, f.log)
		}
	})
}
