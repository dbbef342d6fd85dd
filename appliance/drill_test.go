package appliance_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/vm"
)

// pairs is a bond of two cards that carries the traffic, and two of two other
// cards each that carry none. Cards of several models are named by their own
// addresses: which becomes eth0 is the kernel's affair.
const pairs = `
[[bond]]
name = "bond0"
mode = "active-backup"
slaves = ["mac:52:54:00:b0:d0:00", "mac:52:54:00:b0:d0:01"]
miimon = "100ms"
addresses = ["192.168.1.202/24"]
gateways = ["192.168.1.1"]

[[bond]]
name = "bond1"
mode = "active-backup"
slaves = ["mac:52:54:00:b0:d0:02", "mac:52:54:00:b0:d0:03"]
miimon = "100ms"

[[bond]]
name = "bond2"
mode = "active-backup"
slaves = ["mac:52:54:00:b0:d0:04", "mac:52:54:00:b0:d0:05"]
miimon = "100ms"
`

// On a machine with three bonds: a drill of one finds the standby whose path is
// dead, which nothing else does where no path is checked; and a cable pulled
// from another, whose driver logs it, is recorded with the kernel's own stamp.
func TestDrillAndStamps(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	cfg := with("virtio-net-pci", "virtio-net-pci", "vmxnet3", "vmxnet3", "e1000", "e1000")
	cfg.Network.Forwards = []vm.Forward{{Listen: address, Port: 80}}
	m := boot(t, pairs, cfg)
	m.await("all bonds whole", func(st *status) bool {
		return len(st.Bonds) == 3 && !slices.ContainsFunc(st.Bonds, func(b bond) bool { return !b.Up || b.Degraded })
	})
	testDrill(m, "http://"+address+"/")
	testStamps(m)
}

// testDrill runs `bondd drill`, which asks a host every 10 ms. A busy machine
// that stands still meanwhile loses what the standby does not, but not each
// time.
func testDrill(m *machine, page string) {
	t := m.t
	bondd := buildBondd(t)
	password := filepath.Join(filepath.Dir(wholeImage(t).file), "admin-password")
	drill := func(code int, texts ...string) {
		t.Helper()
		m.eventually(fmt.Sprintf("a drill that exits with %d and prints %q", code, texts), func(context.Context) string {
			out, got := bondd.run(t, "drill", "--bond", "bond0", "--url", page, "--password-file", password)
			t.Logf("bondd drill exits with %d:\n%s", got, out)
			if got != code || slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(out, text) }) {
				return out
			}
			return ""
		})
	}
	active := m.await("bond0 whole", (*status).whole).bond("bond0").ActiveSlave
	drill(0, "1 of 1 standbys passed")

	// The cards of bond0 are eth0 and eth1 of the virtual machine.
	b := m.await("traffic back where it was", func(st *status) bool { return st.whole() && st.bond("bond0").ActiveSlave == active }).bond("bond0")
	i := slices.IndexFunc(b.Slaves, func(s slave) bool { return s.Name != active })
	standby, nic := b.Slaves[i].Name, fmt.Sprintf("eth%d", i)
	if err := m.Silence(nic, true); err != nil {
		t.Fatal(err)
	}
	if st := m.await("nothing to see of a dead path", (*status).whole); st.bond("bond0").Degraded {
		t.Errorf("bond0 knows of a path that nobody checks: %+v", st.bond("bond0"))
	}
	drill(3, standby+": nothing was answered for ", "0 of 1 standbys passed")
	m.await("traffic back where it was", func(st *status) bool { return st.whole() && st.bond("bond0").ActiveSlave == active })
	m.reachable("after a drill")
	if err := m.Silence(nic, false); err != nil {
		t.Fatal(err)
	}
	drill(0, "1 of 1 standbys passed")
}

// testStamps pulls cables of the bonds that carry no traffic. The driver vmxnet3
// looks at its link when the card tells of it, and logs what it finds; e1000
// looks every two seconds, mostly after bondd, and must not be taken to have
// logged this loss when it has logged an earlier one.
func testStamps(m *machine) {
	t := m.t
	const pulls = 3 // the third is from the same card as the first
	for range pulls {
		s := m.pullActive("bond2", 4)
		if d := s.CarrierLost.Sub(s.EventRead).Abs(); !s.CarrierLost.IsZero() && d > stampSlack {
			t.Errorf("an e1000's stamp is %v off what bondd read, want %v at most or none: %s", d, stampSlack, s)
		}
	}
	// bondd takes no stamp for true that a busy machine may have put off.
	for round := 1; ; round++ {
		s := m.pullActive("bond1", 2)
		if s.CarrierLost.IsZero() && round < rounds {
			continue
		}
		if d := s.EventRead.Sub(s.CarrierLost); d < 0 || d > stampSlack {
			t.Errorf("a vmxnet3's stamp is %v before what bondd read, want 0 to %v: %s", d, stampSlack, s)
		}
		return
	}
}

const (
	// stampsSettle is more than it takes until all stamps of a switch are known,
	// by the machine's clock.
	stampsSettle = 3 * time.Second
	// stampSlack is how far the kernel's stamp of a lost link and bondd's reading
	// of it may be apart.
	stampSlack = 2 * time.Second
)

// pullActive pulls the cable of a bond's active slave and puts it back. It
// returns the recorder's entry with all that will ever be known. first is the
// place of the bond's first card in the virtual machine.
func (m *machine) pullActive(name string, first int) entry {
	m.t.Helper()
	whole := func(st *status) bool { return st.bond(name).Up && !st.bond(name).Degraded }
	b := m.await(name+" whole", whole).bond(name)
	i := slices.IndexFunc(b.Slaves, func(s slave) bool { return s.Name == b.ActiveSlave })
	nic := fmt.Sprintf("eth%d", first+i)
	before := m.history()[0].Seq
	m.unplug(nic)
	s := m.recorded("the switch", func(s entry) bool { return s.Seq > before && s.Bond == name })
	m.await("all stamps", func(st *status) bool { return st.Time.Sub(s.EventRead) > stampsSettle })
	s = m.recorded("the switch", func(now entry) bool { return now.Seq == s.Seq })
	m.plug(nic)
	m.await(name+" whole again", whole)
	if s.From != b.ActiveSlave || s.Reason != "link" && s.Reason != "kernel" {
		m.t.Errorf("with the cable of %s pulled the history has %s", b.ActiveSlave, s)
	}
	m.t.Logf("with the cable of %s pulled the history has %s", b.ActiveSlave, s)
	return s
}
