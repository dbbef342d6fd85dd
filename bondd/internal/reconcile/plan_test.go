package reconcile

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
)

// A fake is as much of the kernel's network as plans are about, with the rules
// of its bonding driver that order them.
type fake struct {
	state.Network
	next   int
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
		options := state.Options{"updelay": "0", "downdelay": "0", "primary": "", "primary_reselect": "always", "num_grat_arp": "1", "miimon": "0", "mode": "balance-rr"}
		for k, v := range c.Options {
			options[k] = v
		}
		f.add(state.Link{Name: c.Name, Kind: "bond", MAC: c.MAC, MTU: 1500, Bond: &state.BondLink{Options: options}})
		return nil
	}
	l := f.Link(op.Subject())
	if l == nil {
		return unix.ENODEV
	}
	slaves := 0
	for i := range f.Links {
		if f.Links[i].Master == l.Index {
			slaves++
		}
	}
	switch op := op.(type) {
	case state.SetOption:
		return f.option(l, op, slaves)
	case state.SetUp:
		l.Up = op.Up
		if !op.Up {
			f.Routes = slices.DeleteFunc(f.Routes, func(r state.Route) bool { return r.Index == l.Index })
		}
	case state.SetMAC:
		l.MAC = op.MAC
	case state.SetMTU:
		l.MTU = op.MTU
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
		l.Master, l.Up, l.Slave, l.MAC, l.MTU = bond.Index, true, &state.SlaveLink{}, bond.MAC, bond.MTU
	case state.Release:
		if l.Master == 0 {
			return errRule
		}
		if master := f.LinkByIndex(l.Master); master.Bond != nil {
			l.Up, l.MAC = false, l.PermanentMAC
			if master.Bond.Options["primary"] == l.Name {
				master.Bond.Options["primary"] = ""
			}
		}
		l.Master, l.Slave = 0, nil
	case state.AddAddress:
		f.Addresses = slices.DeleteFunc(f.Addresses, func(a state.Address) bool { return a.Index == l.Index && a.Prefix == op.Prefix })
		f.Addresses = append(f.Addresses, state.Address{Index: l.Index, Prefix: op.Prefix, Broadcast: op.Broadcast, Permanent: op.Lifetime == 0})
	case state.DelAddress:
		n := len(f.Addresses)
		f.Addresses = slices.DeleteFunc(f.Addresses, func(a state.Address) bool { return a.Index == l.Index && a.Prefix == op.Prefix })
		if len(f.Addresses) == n {
			return unix.EADDRNOTAVAIL
		}
	case state.AddRoute:
		if !l.Up {
			return unix.ENETDOWN
		}
		f.Routes = slices.DeleteFunc(f.Routes, func(r state.Route) bool { return r.Dst == op.Dst && r.Metric == op.Metric })
		f.Routes = append(f.Routes, state.Route{Index: l.Index, Dst: op.Dst, Gateway: op.Gateway, Metric: op.Metric, Protocol: op.Protocol})
	case state.DelRoute:
		f.Routes = slices.DeleteFunc(f.Routes, func(r state.Route) bool {
			return r.Index == l.Index && r.Dst == op.Dst && r.Gateway == op.Gateway && r.Metric == op.Metric
		})
	}
	return nil
}

func (f *fake) option(l *state.Link, op state.SetOption, slaves int) error {
	have := l.Bond.Options
	switch op.Option {
	case "mode":
		if l.Up {
			return unix.EBUSY
		}
		if slaves > 0 {
			return unix.ENOTEMPTY
		}
		have["primary"] = ""
	case "updelay", "downdelay":
		if have["miimon"] == "0" {
			return unix.EPERM
		}
	case "primary":
		if have["mode"] != "active-backup" {
			return unix.EACCES
		}
		if s := f.Link(op.Value); op.Value != "" && (s == nil || s.Master != l.Index) {
			return errRule
		}
	}
	have[op.Option] = op.Value
	return nil
}

// bondConfig is a good configuration with these options beside the defaults.
func bondConfig(options map[string]string) config.Bond {
	b := config.Default().Bonds[0]
	b.Slaves, b.Auto, b.DHCP4 = []string{"eth0", "eth1"}, false, false
	b.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}
	for k, v := range options {
		b.Options[k] = v
	}
	if b.Mode() != "active-backup" {
		delete(b.Options, "primary")
		b.Options["primary_reselect"] = "always"
	}
	return b
}

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// converge plans and executes until nothing is left to do.
func converge(t *testing.T, f *fake, target *Target) {
	t.Helper()
	for range 4 {
		ops, err := Plan(target, &f.Network, now)
		if err != nil {
			t.Fatal(err)
		}
		if len(ops) == 0 {
			return
		}
		before := state.Network{Links: slices.Clone(f.Links), Addresses: slices.Clone(f.Addresses), Routes: slices.Clone(f.Routes)}
		for _, failure := range Execute(t.Context(), target.Bond.Name, ops, &before, f.do) {
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
	plain := bondConfig(nil)
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
			bondConfig(map[string]string{"primary": "eth1"}), nil, []string{"enslave eth1 to bond0", "set primary of bond0 to eth1"}},
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
		{"another mode", made(bondConfig(map[string]string{"mode": "balance-rr"})), nil, plain, nil, []string{
			"take bond0 down", "release eth0 from bond0", "release eth1 from bond0", "set mode of bond0 to active-backup", "set miimon of bond0 to 100",
			"set updelay of bond0 to 0", "set downdelay of bond0 to 0", "set primary_reselect of bond0 to failure", "set num_grat_arp of bond0 to 1",
			"set MAC of bond0 to 02:00:00:00:00:00", "enslave eth0 to bond0", "enslave eth1 to bond0", "take bond0 up"}},
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

func TestPlanConflict(t *testing.T) {
	f := new(fake)
	f.add(state.Link{Name: "bond0", Kind: "dummy"})
	_, err := Plan(&Target{Bond: bondConfig(nil)}, &f.Network, now)
	var conflict *Conflict
	if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "bond0 exists and is no bond but a dummy") {
		t.Errorf("got %v", err)
	}
}

// Gateways of each family rank in the order they are named; a lease's behind.
func TestGateways(t *testing.T) {
	b := bondConfig(nil)
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
	want := []string{"192.0.2.1 0 4", "2001:db8::1 1024 4", "192.0.2.3 1 4", "2001:db8::3 1025 4", "192.0.2.9 100 16"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// A lease that is over is taken back; no word from DHCP leaves it alone.
	target.Lease = nil
	if ops, _ := Plan(target, &f.Network, now); len(ops) != 0 {
		t.Errorf("without word from DHCP: %v", ops)
	}
}

// From whatever state to whatever configuration, at most four plans do, and no
// write on the way is against the driver's rules.
func TestPlanConverges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	modes := []string{"balance-rr", "active-backup", "balance-xor", "broadcast"}
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	for range 3000 {
		f := new(fake)
		for i := range 4 {
			c := card(i)
			c.Up = random.IntN(2) == 0
			f.add(c)
		}
		f.add(state.Link{Name: "br0", Kind: "bridge"})
		f.add(state.Link{Name: "bond9", Kind: "bond", Bond: &state.BondLink{Options: state.Options{"mode": "balance-rr"}}})
		if random.IntN(4) > 0 {
			_ = f.do(t.Context(), state.CreateBond{Name: "bond0", MAC: state.MAC{2, 9}, Options: state.Options{
				"mode": pick(modes...), "miimon": pick("0", "50", "100"), "num_grat_arp": pick("1", "7"), "primary_reselect": pick("always", "failure")}})
			f.Link("bond0").Up = random.IntN(2) == 0
		}
		for i := range 4 {
			l, master := &f.Links[i], pick("", "bond0", "br0", "bond9")
			if m := f.Link(master); m != nil {
				l.Master = m.Index
				if m.Bond != nil {
					l.Up, l.Slave = true, &state.SlaveLink{}
				}
			} else if random.IntN(2) == 0 {
				f.Addresses = append(f.Addresses, state.Address{Index: l.Index, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 24), Permanent: true})
			}
		}
		if bond := f.Link("bond0"); bond != nil {
			if random.IntN(2) == 0 {
				f.Addresses = append(f.Addresses, state.Address{Index: bond.Index, Prefix: netip.MustParsePrefix(pick("192.0.2.2/24", "192.0.2.3/24")), Permanent: true})
			}
			if random.IntN(2) == 0 && bond.Up {
				f.Routes = append(f.Routes, state.Route{Index: bond.Index, Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr(pick("192.0.2.1", "192.0.2.9")), Protocol: unix.RTPROT_STATIC})
			}
		}
		b := bondConfig(map[string]string{"mode": pick(modes...), "miimon": pick("50", "100"), "updelay": pick("0", "200"), "primary": pick("", "eth0", "eth1")})
		b.MAC, b.MTU = pick("", "02:00:5e:10:00:01"), []int{0, 1400}[random.IntN(2)]
		b.Gateways = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		target := &Target{Bond: b, Slaves: []string{"eth0", "eth1", "eth2"}[:random.IntN(4)], Primary: b.Options["primary"]}
		converge(t, f, target)
		if t.Failed() {
			t.Fatalf("towards %+v with slaves %v:\n%s", b, target.Slaves, strings.Join(f.log, "\n"))
		}
	}
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
		ops, err := Plan(&Target{Bond: bondConfig(nil), Slaves: []string{"eth0", "eth1"}}, &f.Network, now)
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
