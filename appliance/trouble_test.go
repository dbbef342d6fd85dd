package appliance_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/vm"
)

// mixed is a bond of two cards named by their own addresses: which of two models
// becomes eth0 is the kernel's affair.
const mixed = `
[hardware]
policy = %q

[[bond]]
name = "bond0"
mode = "active-backup"
slaves = ["mac:52:54:00:b0:d0:00", "mac:52:54:00:b0:d0:01"]
miimon = "100ms"
addresses = ["192.168.1.202/24"]
gateways = ["192.168.1.1"]
`

// first and second are the names that the kernel has for the cards of mixed.
func (st *status) names(t *testing.T) (first, second string) {
	t.Helper()
	for _, n := range st.Hardware.NICs {
		switch n.PermanentMAC {
		case "52:54:00:b0:d0:00":
			first = n.Name
		case "52:54:00:b0:d0:01":
			second = n.Name
		}
	}
	if first == "" || second == "" {
		t.Fatalf("the inventory has not both cards: %+v", st.Hardware.NICs)
	}
	return first, second
}

// Two cards that are not alike: enforced, the second is left out, and everything
// that shows something says why.
func TestUnlikeCardsEnforced(t *testing.T) {
	t.Parallel()
	m := boot(t, fmt.Sprintf(mixed, "enforce"), with("e1000", "virtio-net-pci"))
	st := m.await("a bond of one card", func(st *status) bool {
		return st.OK && st.bond("bond0").Degraded && len(st.bond("bond0").Addresses) > 0
	})
	first, second := st.names(t)
	b := st.bond("bond0")
	if b.ActiveSlave != first || !b.slave(first).works() {
		t.Errorf("the first card, %s, does not carry the traffic: %+v", first, b)
	}
	out := b.slave(second)
	if out.Enslaved || !strings.Contains(out.LeftOut, "virtio_net") || !strings.Contains(out.LeftOut, "e1000") {
		t.Errorf("the second card is in the bond, or it is not said why not: %+v", out)
	}
	if st.Hardware.Verdict != "fail" || !slices.ContainsFunc(st.Hardware.Findings, func(f finding) bool {
		return f.Severity == "fail" && strings.Contains(f.Message, second)
	}) {
		t.Errorf("verdict %q, want fail; findings %+v", st.Hardware.Verdict, st.Hardware.Findings)
	}
	m.says("/", "bond0 is degraded: "+second+" is left out", "left out", "virtio_net")
	m.says("/metrics", `bondd_hardware_verdict{verdict="fail"} 1`, `bondd_bond_degraded{bond="bond0"} 1`, `bondd_bond_up{bond="bond0"} 1`)
	// It is no reason to call the machine dead: its bond carries traffic.
	if _, code := m.says("/healthz", `"ok": true`); code != http.StatusOK {
		t.Errorf("/healthz: code %d, want 200", code)
	}
	m.reachable("with one card left out")
}

// The same cards under the policy warn: both are in, and either is enough.
func TestUnlikeCardsWarned(t *testing.T) {
	t.Parallel()
	m := boot(t, fmt.Sprintf(mixed, "warn"), with("e1000", "virtio-net-pci"))
	st := m.await("a bond of two cards", (*status).whole)
	first, second := st.names(t)
	if len(st.bond("bond0").Slaves) != 2 {
		t.Errorf("want %s and %s in the bond: %+v", first, second, st.bond("bond0"))
	}
	if st.Hardware.Verdict != "warn" {
		t.Errorf("verdict %q, want warn; findings %+v", st.Hardware.Verdict, st.Hardware.Findings)
	}
	m.says("/metrics", `bondd_hardware_verdict{verdict="warn"} 1`, `bondd_bond_degraded{bond="bond0"} 0`)
	// Whichever had a link first is active. The virtual machine's names of the
	// cards are eth0 and eth1.
	nic, left := "eth0", second
	if st.bond("bond0").ActiveSlave == second {
		nic, left = "eth1", first
	}
	m.unplug(nic)
	m.await("traffic on "+left, func(st *status) bool { return st.OK && st.bond("bond0").ActiveSlave == left })
	m.reachable("with the cable of the active card pulled")
	m.plug(nic)
	m.await("both again", (*status).whole)
}

// Without a configuration the machine has a bond of all its cards and its
// address from DHCP. A card may leave and return.
func TestDefault(t *testing.T) {
	t.Parallel()
	m := boot(t, "", with("virtio-net-pci", "virtio-net-pci"))
	st := m.await("a bond with a leased address", func(st *status) bool {
		return st.whole() && len(st.bond("bond0").Addresses) > 0 && len(st.bond("bond0").Gateways) > 0
	})
	b := st.bond("bond0")
	if b.Mode != "active-backup" || fmt.Sprint(b.Addresses, b.Gateways) != "[192.168.1.202/24] [192.168.1.1]" || !strings.Contains(b.DHCP, "192.168.1.") {
		t.Errorf("the default bond: %+v", b)
	}
	if st.Config.Source != "the built-in default" || st.Config.Error != "" {
		t.Errorf("the configuration: %+v", st.Config)
	}
	m.says("/", "bond0 is healthy", "built-in default")

	// The standby first, then the card that carries the traffic.
	for _, nic := range []string{"eth1", "eth0"} {
		r := newRequests(m.client, "http://guest/healthz")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := m.Remove(ctx, nic); err != nil {
			t.Fatal(err)
		}
		st := m.await(nic+" gone", func(st *status) bool {
			return st.OK && st.bond("bond0").Degraded && !st.bond("bond0").slave(nic).Present
		})
		if b := st.bond("bond0"); b.Problem != nic+" is missing" || fmt.Sprint(b.Addresses) != "[192.168.1.202/24]" {
			t.Errorf("without %s: %+v", nic, b)
		}
		m.says("/", "bond0 is degraded: "+nic+" is missing")
		if err := m.Insert(ctx, nic); err != nil {
			t.Fatal(err)
		}
		m.await(nic+" in the bond again", func(st *status) bool {
			return st.whole() && len(st.bond("bond0").Slaves) == 2
		})
		cancel()
		if o := r.stop(); o.answered != o.asked {
			t.Errorf("while %s left and returned: %v", nic, o)
		} else {
			t.Logf("while %s left and returned: %v", nic, o)
		}
	}
	m.reachable("in the end")
}

// A file with an error is no reason to be unreachable: the default runs, and the
// error is shown with its place.
func TestBrokenConfiguration(t *testing.T) {
	t.Parallel()
	m := boot(t, "[[bond]]\nname = \"bond0\"\nmode = \"active-backup\"\nslaves = [\"eth0\", \"eth1\"]\nmiimon = 100\n", with("e1000", "e1000"))
	st := m.await("a bond with a leased address", (*status).whole)
	const place = "/perm/bondd/bondd.toml:5:10"
	if !strings.Contains(st.Config.Error, place) || st.Config.Source != "the built-in default" {
		t.Errorf("the configuration: %+v, want an error at %s", st.Config, place)
	}
	m.says("/", place, "The configuration file has an error", "built-in default")
	m.says("/metrics", "bondd_config_error 1")
	if !slices.ContainsFunc(st.Events, func(e event) bool { return e.Kind == "config" && strings.Contains(e.Message, place) }) {
		t.Errorf("no event tells of the error: %+v", st.Events)
	}
	m.reachable("with a broken configuration")
}

// A configuration that names a card that is not there: the bond comes up with
// the rest.
func TestMissingCard(t *testing.T) {
	t.Parallel()
	m := boot(t, strings.ReplaceAll(fmt.Sprintf(classic, "active-backup", ""), `"eth1"`, `"eth7"`), with("e1000", "e1000"))
	st := m.await("a degraded bond", func(st *status) bool {
		return st.OK && st.bond("bond0").Degraded && len(st.bond("bond0").Addresses) > 0
	})
	b := st.bond("bond0")
	if b.Problem != "eth7 is missing" || b.ActiveSlave != "eth0" || b.slave("eth7").Present || len(b.Slaves) != 2 {
		t.Errorf("the bond: %+v", b)
	}
	if !slices.ContainsFunc(st.Hardware.Findings, func(f finding) bool { return f.Check == "missing" && strings.Contains(f.Message, "eth7") }) {
		t.Errorf("no finding names eth7: %+v", st.Hardware.Findings)
	}
	m.says("/", "bond0 is degraded: eth7 is missing")
	m.says("/metrics", `bondd_slave_present{bond="bond0",slave="eth7"} 0`, `bondd_bond_slaves_configured{bond="bond0"} 2`, `bondd_bond_slaves_up{bond="bond0"} 1`)
	m.reachable("with a slave missing")
}

// A machine without a card stays up and says on its console what it lacks.
func TestNoCard(t *testing.T) {
	t.Parallel()
	m := boot(t, "", vm.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := m.WaitConsole(ctx, "there is no Ethernet card in this machine"); err != nil {
		t.Error(err)
	}
	// What ends is started again, with a first line in the log each time.
	time.Sleep(5 * time.Second)
	if n := strings.Count(m.Console(), "bondd starts"); n != 1 {
		t.Errorf("bondd was started %d times", n)
	}
}
