package appliance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/vm"
)

// classic is the configuration of the two-card recipe: one static address on
// two cards, their links looked at every 100 ms.
const classic = `
[[bond]]
name = "bond0"
mode = %q
slaves = ["eth0", "eth1"]
miimon = "100ms"
addresses = ["192.168.1.202/24"]
broadcast = "192.168.1.255"
gateways = ["192.168.1.1"]
%s`

// packets is how many packets the appliance is made to send where it matters
// which card sends them.
const packets = 1000

// The models whose drivers notice a pulled cable. QEMU's e1000e and i82557b do
// not tell theirs. The recipe's own card is the pcnet.
var models = []struct{ name, driver string }{
	{"pcnet", "pcnet32"},
	{"e1000", "e1000"},
	{"virtio-net-pci", "virtio_net"},
	{"rtl8139", "8139cp"},
	{"vmxnet3", "vmxnet3"},
}

// The recipe: two cards, one address, and whichever cable is pulled, the host
// keeps talking.
func TestClassic(t *testing.T) {
	for _, model := range models {
		t.Run(model.name, func(t *testing.T) {
			t.Parallel()
			t.Run("mode0", func(t *testing.T) {
				t.Parallel()
				testBalance(t, model.name, model.driver)
			})
			t.Run("mode1-primary", func(t *testing.T) {
				t.Parallel()
				testBackup(t, model.name, model.driver, `primary = "eth0"`, true)
			})
			t.Run("mode1", func(t *testing.T) {
				t.Parallel()
				testBackup(t, model.name, model.driver, `primary_reselect = "failure"`, false)
			})
		})
	}
}

// bootClassic boots the recipe's configuration and checks what is true in every mode:
// one Ethernet address on everything, the addresses, the driver.
func bootClassic(t *testing.T, cfg vm.Config, driver, mode, more string) *machine {
	t.Helper()
	m := boot(t, fmt.Sprintf(classic, mode, more), cfg)
	st := m.await("bond0 whole on two cards", func(st *status) bool { return st.whole() && st.Config.Applied })
	b := st.bond("bond0")
	if b.Mode != mode {
		t.Errorf("the mode is %s, want %s", b.Mode, mode)
	}
	if got := fmt.Sprint(b.Addresses, b.Gateways); got != "[192.168.1.202/24] [192.168.1.1]" {
		t.Errorf("bond0 has addresses and gateways %s", got)
	}
	if want := "52:54:00:b0:d0:00"; b.MAC != want {
		t.Errorf("bond0 has the MAC %s, want the first card's, %s", b.MAC, want)
	}
	if len(b.Slaves) != 2 {
		t.Fatalf("%d slaves, want 2", len(b.Slaves))
	}
	for i, s := range b.Slaves {
		if want := fmt.Sprintf("52:54:00:b0:d0:%02x", i); s.Driver != driver || s.PermanentMAC != want || s.Name != fmt.Sprintf("eth%d", i) {
			t.Errorf("slave %d: %s with driver %s and MAC %s, want %s and %s", i, s.Name, s.Driver, s.PermanentMAC, driver, want)
		}
	}
	if st.Hardware.Verdict != "pass" {
		t.Errorf("two cards of one model: verdict %q, findings %v", st.Hardware.Verdict, st.Hardware.Findings)
	}
	// The kernel has everything that the configuration says, the broadcast
	// address too: else it would be counted as drift.
	if config, _ := m.says("/api/v1/config"); !strings.Contains(config, `broadcast = "192.168.1.255"`) || len(st.Config.Drift) != 0 {
		t.Errorf("the running configuration, which differs from the kernel in %q:\n%s", st.Config.Drift, config)
	}
	return m
}

// testBalance is mode 0: the packets alternate, and either card alone is enough.
func testBalance(t *testing.T, model, driver string) {
	cfg := with(model, model)
	cfg.ChannelGroup = true
	// The driver counts its turns for each CPU apart.
	cfg.CPUs = 1
	m := bootClassic(t, cfg, driver, "balance-rr", "")
	h := m.newHost()

	// The e1000 driver reads each card's counters every two seconds, each at its
	// own time, and later on a busy machine: a look, and the one that it is compared
	// with, may be of two moments. The switch's counters are exact in each round.
	counted := "nothing"
	for round := 0; round < 3 && counted != ""; round++ {
		counted = m.balances(h)
	}
	if counted != "" {
		t.Error(counted)
	}

	for _, pulled := range []string{"eth0", "eth1"} {
		left := map[string]string{"eth0": "eth1", "eth1": "eth0"}[pulled]
		m.unplug(pulled)
		st := m.await(pulled+" without a link", func(st *status) bool {
			b := st.bond("bond0")
			return b.Up && b.Degraded && !b.slave(pulled).LinkUp && b.slave(pulled).MIIStatus == "down" && b.slave(left).works()
		})
		if problem := st.bond("bond0").Problem; problem != pulled+" has no link" {
			t.Errorf("with the cable of %s pulled the problem is %q", pulled, problem)
		}
		m.reachable("with the cable of " + pulled + " pulled")
		for range 20 {
			if mac := h.ask(); mac.String() != "52:54:00:b0:d0:00" {
				t.Fatalf("with the cable of %s pulled: an answer from the MAC %v", pulled, mac)
			}
		}
		if port, _ := m.Switch().Lookup(h.ask()); port != left {
			t.Errorf("with the cable of %s pulled the switch sees the bond on %q", pulled, port)
		}
		m.plug(pulled)
		m.await("bond0 whole again", (*status).whole)
		if !m.alternates(h) {
			t.Errorf("with the cable of %s back not both cards send", pulled)
		}
	}
	m.reachable("in the end")
}

// balances has the appliance answer many times, and checks that its two cards do so
// in turns. It returns what the kernel's counters say otherwise, which the switch
// did not.
func (m *machine) balances(h *host) (counted string) {
	m.t.Helper()
	before := m.settled()
	atSwitch := m.quiet("eth0", "eth1")
	seen := map[string]bool{}
	for range packets {
		if mac := h.ask(); mac.String() != "52:54:00:b0:d0:00" {
			m.t.Fatalf("an answer from the MAC %v", mac)
		} else if port, ok := m.Switch().Lookup(mac); ok {
			seen[port] = true
		}
	}
	if !seen["eth0"] || !seen["eth1"] {
		m.t.Errorf("the switch has seen the bond's MAC on %v, want it on the ports of both cards", seen)
	}
	now := m.quiet("eth0", "eth1")
	d0, d1 := now[0]-atSwitch[0], now[1]-atSwitch[1]
	if d0+d1 < packets || d0-d1 > 1 || d1-d0 > 1 {
		m.t.Errorf("the switch counted %d packets from eth0 and %d from eth1, want %d in all at least, and a difference of 1 at most",
			d0, d1, packets)
	}
	for range 4 {
		after := m.settled()
		tx := func(name string) int {
			return after.bond("bond0").slave(name).Counters.TxPackets - before.bond("bond0").slave(name).Counters.TxPackets
		}
		d0, d1 := tx("eth0"), tx("eth1")
		if d0+d1 >= packets && d0-d1 <= 1 && d1-d0 <= 1 {
			return ""
		}
		counted = fmt.Sprintf("the kernel counted %d packets from eth0 and %d from eth1, want %d in all at least, and a difference of 1 at most",
			d0, d1, packets)
	}
	return counted
}

// settled returns a status whose counters of both cards are of one moment. Some
// drivers count at their own pace, e1000 every two seconds and each card at
// another time, and to ask for the status makes packets too.
func (m *machine) settled() *status {
	m.t.Helper()
	// The status that is answered is older than the packets of its answer.
	look := func() *status {
		time.Sleep(4 * time.Second)
		return m.await("a look at the counters", (*status).whole)
	}
	skew := func(st *status) int {
		b := st.bond("bond0")
		return b.slave("eth0").Counters.TxPackets - b.slave("eth1").Counters.TxPackets
	}
	for last := look(); ; {
		st := look()
		if d := skew(st) - skew(last); -1 <= d && d <= 1 {
			return st
		}
		if m.t.Context().Err() != nil {
			m.t.Fatal("the counters never settled")
		}
		last = st
	}
}

// alternates reports whether the appliance answers by both cards.
func (m *machine) alternates(h *host) bool {
	m.t.Helper()
	before := m.quiet("eth0", "eth1")
	for range 4 {
		h.ask()
	}
	after := m.quiet("eth0", "eth1")
	return after[0] > before[0] && after[1] > before[1]
}

// testBackup is mode 1: one card sends, the other stands by. When the cable of
// the first is back, traffic returns to it only if it is the primary, eth0.
// Without a primary the first is the card that had a link first.
func testBackup(t *testing.T, model, driver, more string, primary bool) {
	m := bootClassic(t, with(model, model), driver, "active-backup", more)
	h := m.newHost()
	first := m.await("traffic on a card", func(st *status) bool {
		return st.whole() && (!primary || st.bond("bond0").ActiveSlave == "eth0")
	}).bond("bond0").ActiveSlave
	other := map[string]string{"eth0": "eth1", "eth1": "eth0"}
	second := other[first]

	// sendsOnly checks that all traffic is on one card, by what the switch and
	// the kernel count.
	sendsOnly := func(active, standby string) {
		t.Helper()
		before := m.await("a look at the counters", (*status).whole)
		sent := m.quiet(active, standby)
		for range packets {
			if mac := h.ask(); mac.String() != "52:54:00:b0:d0:00" {
				t.Fatalf("an answer from the MAC %v", mac)
			}
		}
		now := m.quiet(active, standby)
		if now[0]-sent[0] < packets || now[1] != sent[1] {
			t.Errorf("active %s sent %d packets, standby %s %d; want %d at least, and none", active, now[0]-sent[0], standby, now[1]-sent[1], packets)
		}
		tx := func(st *status, name string) int { return st.bond("bond0").slave(name).Counters.TxPackets }
		after := m.await("the kernel's counters", func(st *status) bool {
			return tx(st, active)-tx(before, active) >= packets
		})
		if n := tx(after, standby) - tx(before, standby); n != 0 {
			t.Errorf("the standby %s sent %d packets, says the kernel; want none", standby, n)
		}
		b := after.bond("bond0")
		if b.slave(active).State != "active" || b.slave(standby).State != "backup" {
			t.Errorf("%s is %s and %s is %s", active, b.slave(active).State, standby, b.slave(standby).State)
		}
	}
	sendsOnly(first, second)

	m.unplug(first)
	st := m.await("traffic on "+second, func(st *status) bool {
		b := st.bond("bond0")
		return b.Up && b.Degraded && b.ActiveSlave == second && !b.slave(first).LinkUp
	})
	if problem := st.bond("bond0").Problem; problem != first+" has no link" {
		t.Errorf("with the cable of %s pulled the problem is %q", first, problem)
	}
	m.reachable("with the active cable pulled")
	if port, _ := m.Switch().Lookup(h.ask()); port != second {
		t.Errorf("with the active cable pulled the switch sees the bond on %q", port)
	}

	m.plug(first)
	want := second
	if primary {
		want = first
	}
	m.await("bond0 whole, with traffic on "+want, func(st *status) bool { return st.whole() && st.bond("bond0").ActiveSlave == want })
	m.reachable("with the cable back")
	standby := other[want]
	sendsOnly(want, standby)

	// The standby's cable is of no concern to the traffic.
	m.unplug(standby)
	m.await(standby+" without a link", func(st *status) bool {
		b := st.bond("bond0")
		return b.Up && b.Degraded && b.ActiveSlave == want && !b.slave(standby).LinkUp
	})
	m.reachable("with the standby's cable pulled")
	m.plug(standby)
	m.await("bond0 whole again", (*status).whole)
}
