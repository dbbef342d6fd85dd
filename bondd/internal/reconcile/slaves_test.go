package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"bondd.internal/bondd/internal/state"
)

// slaved is a fake with bond0 over three cards that have link, of which eth0 is
// the active one where the mode has one, with the MACs that the driver gives them.
func slaved(t *testing.T, lines ...string) (*fake, *Target) {
	t.Helper()
	f := new(fake)
	for i := range 3 {
		f.add(card(i))
	}
	target := &Target{Bond: bondConfig(lines...), Slaves: []string{"eth0", "eth1", "eth2"}}
	converge(t, f, target)
	if target.Bond.Mode().HasActiveSlave() {
		f.Link("bond0").Bond.ActiveSlave = f.Link("eth0").Index
	}
	for i := range 3 {
		f.Links[i].Carrier = true
	}
	target.Before = f.clone()
	f.log = nil
	return f, target
}

func mac(n byte) state.MAC { return state.MAC{2, 0, 0, 0, 0, n} }

// Every address that a slave must not have is put back, in every mode, whichever
// slave it is, and told; what the driver itself arranges is left alone.
func TestSlaveMACs(t *testing.T) {
	const odd = 0x99 // an address that is none of the bond's
	shared := []byte{0, 0, 0}
	own := []byte{0, 1, 2}
	follow := []string{`fail_over_mac = "follow"`}
	for _, tt := range []struct {
		name  string
		lines []string
		macs  []byte // of the slaves
		last  []byte // the same at the read before; nil: as they should be
		bond  byte   // of the bond
		want  []byte
	}{
		{"all have the bond's", nil, shared, nil, 0, nil},
		{"the active one has not", nil, []byte{odd, 0, 0}, nil, 0, shared},
		{"a backup has not", nil, []byte{0, odd, 0}, nil, 0, shared},
		{"none has", nil, []byte{odd, 1, 2}, nil, 0, shared},
		{"a share of the traffic", []string{`mode = "balance-rr"`}, []byte{0, odd, 0}, nil, 0, shared},
		{"balance-xor", []string{`mode = "balance-xor"`}, []byte{odd, 0, 0}, nil, 0, shared},
		{"broadcast", []string{`mode = "broadcast"`}, []byte{0, 0, odd}, nil, 0, shared},
		{"802.3ad", []string{`mode = "802.3ad"`}, []byte{0, 1, 0}, nil, 0, shared},

		{"fail_over_mac active", []string{`fail_over_mac = "active"`}, own, nil, 0, nil},
		{"fail_over_mac active, the active one", []string{`fail_over_mac = "active"`}, []byte{odd, 1, 2}, nil, 0, own},
		{"fail_over_mac active, a backup: it is its own", []string{`fail_over_mac = "active"`}, []byte{0, odd, 2}, nil, 0, nil},

		{"fail_over_mac follow", follow, own, nil, 0, nil},
		{"fail_over_mac follow, the active one", follow, []byte{odd, 1, 2}, nil, 0, own},
		{"fail_over_mac follow, a backup with a random one", follow, []byte{0, odd, 2}, nil, 0, nil},
		{"fail_over_mac follow, a backup with the bond's", follow, []byte{0, 0, 2}, []byte{0, 0, 2}, 0, own},
		{"fail_over_mac follow, two backups with one", follow, []byte{0, 1, 1}, []byte{0, 1, 1}, 0, own},
		{"fail_over_mac follow, in the middle of a failover", follow, []byte{1, 1, 2}, nil, 0, nil},

		{"alb", []string{`mode = "balance-alb"`}, own, nil, 0, nil},
		{"alb, after failovers", []string{`mode = "balance-alb"`}, []byte{0, 2, 1}, nil, 0, nil},
		{"alb, the active one", []string{`mode = "balance-alb"`}, []byte{odd, 1, 2}, nil, 0, own},
		{"alb, another", []string{`mode = "balance-alb"`}, []byte{0, odd, 2}, nil, 0, own},
		{"alb, another, after failovers", []string{`mode = "balance-alb"`}, []byte{0, odd, 1}, []byte{0, 2, 1}, 0, []byte{0, 2, 1}},
		{"alb, two", []string{`mode = "balance-alb"`}, []byte{odd, odd, 2}, nil, 0, own},
		{"alb, one twice", []string{`mode = "balance-alb"`}, []byte{0, 1, 1}, []byte{0, 1, 1}, 0, own},
		{"alb, in the middle of a failover", []string{`mode = "balance-alb"`}, []byte{1, 1, 2}, nil, 0, nil},
		{"alb, a MAC of the bond's own", []string{`mode = "balance-alb"`, `mac = "02:00:00:00:00:07"`}, []byte{7, 1, odd}, nil, 7, []byte{7, 1, 2}},
		{"alb, a MAC of the bond's own, the active one", []string{`mode = "balance-alb"`, `mac = "02:00:00:00:00:07"`}, []byte{odd, 1, 2}, nil, 7, []byte{7, 1, 2}},
		{"tlb", []string{`mode = "balance-tlb"`}, own, nil, 0, nil},
		{"tlb, the active one", []string{`mode = "balance-tlb"`}, []byte{odd, 1, 2}, nil, 0, own},
		{"tlb, another", []string{`mode = "balance-tlb"`}, []byte{0, 1, odd}, nil, 0, own},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, target := slaved(t, tt.lines...)
			set := func(n *state.Network, macs []byte) {
				for i := range macs {
					n.Links[i].MAC = mac(macs[i])
				}
			}
			if f.Link("bond0").MAC != mac(tt.bond) {
				t.Fatalf("the bond has %s", f.Link("bond0").MAC)
			}
			set(&f.Network, tt.macs)
			if tt.last != nil {
				set(target.Before, tt.last)
			} else if tt.want != nil {
				set(target.Before, tt.want)
			}
			found := Differences(target, &f.Network)
			var differ []string
			for i := range tt.want {
				if tt.macs[i] != tt.want[i] {
					differ = append(differ, fmt.Sprintf("eth%d has MAC %s, and bond0 relies on %s", i, mac(tt.macs[i]), mac(tt.want[i])))
				}
			}
			var got []string
			for _, d := range found {
				got = append(got, d.Text)
				if d.Leave {
					t.Errorf("%+v is to be left, although its MAC can be set at once", d)
				}
			}
			slices.Sort(got)
			expect(t, "differences", got, differ)
			converge(t, f, target)
			if tt.want == nil && len(f.log) != 0 {
				t.Errorf("written: %s", strings.Join(f.log, ", "))
			}
			if tt.want != nil {
				for i := range tt.want {
					if f.Links[i].MAC != mac(tt.want[i]) {
						t.Errorf("eth%d has %s, want %s", i, f.Links[i].MAC, mac(tt.want[i]))
					}
				}
				if n := len(f.log); n != len(differ) {
					t.Errorf("written: %s; want one write for each slave", strings.Join(f.log, ", "))
				}
			}
			if left := Differences(target, &f.Network); len(left) != 0 {
				t.Errorf("there is still %+v", left)
			}
		})
	}
}

// A card whose driver takes a MAC only while it is down is taken down for it;
// before that, traffic should leave it where another slave can take it.
func TestRigidSlave(t *testing.T) {
	down := func(name string) []string {
		return []string{"take " + name + " down", "set MAC of " + name + " to 02:00:00:00:00:00", "take " + name + " up"}
	}
	for _, tt := range []struct {
		name  string
		lines []string
		slave string
		spare bool // another slave has link
		leave bool
	}{
		{"the active slave", nil, "eth0", true, true},
		{"the active slave, and no other has link", nil, "eth0", false, false},
		{"a backup", nil, "eth1", true, false},
		{"a share of the traffic", []string{`mode = "balance-rr"`}, "eth0", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, target := slaved(t, tt.lines...)
			f.rigid = map[string]bool{tt.slave: true}
			f.Link(tt.slave).MAC = mac(0x99)
			for i := range 3 {
				f.Links[i].Carrier = tt.spare || f.Links[i].Name == tt.slave
			}
			expect(t, "as long as it is not known", plan(t, f, target), down(tt.slave)[1:2])
			target.Rigid = []string{tt.slave}
			if d := Differences(target, &f.Network); len(d) != 1 || d[0].Leave != tt.leave || !d[0].Deaf {
				t.Errorf("differences are %+v, want it left: %t", d, tt.leave)
			}
			expect(t, "once it is known", plan(t, f, target), down(tt.slave))
			converge(t, f, target)
		})
	}
}

// The MTU of a slave is put back, but traffic leaves the slave first where
// another can take it: many cards lose their link for a moment.
func TestSlaveMTU(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		slave string
		mtu   int
		spare bool
		leave bool
		want  []string
	}{
		{"too small, the active one", nil, "eth0", 1400, true, true, nil},
		{"too small, the active one, and no other has link", nil, "eth0", 1400, false, false, []string{"set MTU of eth0 to 1500"}},
		{"too small, a backup", nil, "eth1", 1400, true, false, []string{"set MTU of eth1 to 1500"}},
		{"too large, the active one", nil, "eth0", 9000, true, true, nil},
		{"too large, the active one, and no other has link", nil, "eth0", 9000, false, false, nil},
		{"too large, a backup", nil, "eth1", 9000, true, false, []string{"set MTU of eth1 to 1500"}},
		{"a share of the traffic", []string{`mode = "802.3ad"`}, "eth2", 1400, true, false, []string{"set MTU of eth2 to 1500"}},
		{"the bond gets another one", []string{"mtu = 1300"}, "eth1", 1400, true, false, []string{"set MTU of bond0 to 1300"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, target := slaved(t, tt.lines...)
			if len(tt.lines) > 0 && tt.lines[0] == "mtu = 1300" {
				f.Link("bond0").MTU = 1500
			}
			f.Link(tt.slave).MTU = tt.mtu
			for i := range 3 {
				f.Links[i].Carrier = tt.spare || f.Links[i].Name == tt.slave
			}
			expect(t, "plan", plan(t, f, target), tt.want)
			d := Differences(target, &f.Network)
			if f.Link("bond0").MTU == 1500 && tt.lines != nil && tt.lines[0] == "mtu = 1300" {
				if len(d) != 0 {
					t.Errorf("differences are %+v, want none beside the bond's", d)
				}
				return
			}
			if len(d) != 1 || d[0].Leave != tt.leave || d[0].Deaf || d[0].Text != fmt.Sprintf("%s has MTU %d, and bond0 has 1500", tt.slave, tt.mtu) {
				t.Errorf("differences are %+v, want it left: %t", d, tt.leave)
			}
		})
	}
}

// A slave that is down is told, and taken up once it has what it lacks beside that.
func TestSlaveDown(t *testing.T) {
	f, target := slaved(t)
	l := f.Link("eth1")
	l.Up, l.MAC, l.MTU = false, mac(0x99), 1400
	f.rigid = map[string]bool{"eth1": true}
	var got []string
	for _, d := range Differences(target, &f.Network) {
		got = append(got, d.Text)
	}
	expect(t, "differences", got, []string{"eth1 has MAC 02:00:00:00:00:99, and bond0 relies on 02:00:00:00:00:00", "eth1 has MTU 1400, and bond0 has 1500", "eth1 is down, and a slave has to be up"})
	expect(t, "plan", plan(t, f, target), []string{"set MAC of eth1 to 02:00:00:00:00:00", "set MTU of eth1 to 1500", "take eth1 up"})
	converge(t, f, target)
	if left := Differences(target, &f.Network); len(left) != 0 {
		t.Errorf("there is still %+v", left)
	}
}
