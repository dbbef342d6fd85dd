package vmtest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
	"bondd.internal/image/lab/usbcard"
)

// mixed lets cards of different drivers share a bond.
const mixed = "[hardware]\npolicy = \"off\"\n"

// newUSBLAN makes a LAN with this many cards, and with the USB card as one more,
// the last by name.
func newUSBLAN(t *testing.T, cards int) (*netlab.LAN, *usbcard.Card) {
	t.Helper()
	lan := netlab.NewLAN(t, cards)
	c := usbcard.Connect(t, lan.Host, fmt.Sprintf("eth%d", cards), lan.Peer, fmt.Sprintf("port%d", cards))
	lan.Peer.IP("link set " + c.FarName + " master br0")
	// The kernel may look at the state of a new port a second late.
	netlab.Eventually(t, 10*time.Second, "switch whose ports forward", func() bool {
		return strings.Contains(lan.Peer.Bridge("link show dev "+c.FarName), " state forwarding ")
	})
	return lan, c
}

// count reads a series that counts.
func (d *daemon) count(series string) int {
	d.t.Helper()
	n, err := strconv.Atoi(d.metric(series))
	if err != nil {
		d.t.Fatalf("%s: %v", series, err)
	}
	return n
}

func pollErrors(slave string) string {
	return fmt.Sprintf(`bondd_poll_errors_total{bond="bond0",slave=%q}`, slave)
}

// A dead card that is in no bond costs the others nothing.
func TestForeignCardDead(t *testing.T) {
	lan, dead := newUSBLAN(t, 2)
	dead.Near.IP("link set " + dead.NearName + " up")
	d := startEngine(t, lan, "poll", bondConfig(2, `miimon = "10s"`))
	d.healthy()
	acquaint(lan)
	dead.Die()
	r := whilePulled(t, lan, lan.Cables[0])
	t.Log(r)
	if r.LostAtEnd != 0 || r.LongestGap > pollEvery+10*time.Millisecond {
		t.Errorf("with the cable of eth0 pulled and another card dead: %v; want traffic again within a poll", r)
	}
	for _, name := range []string{"eth0", "eth1"} {
		if n := d.count(pollErrors(name)); n != 0 {
			t.Errorf("%d poll errors of %s, want none", n, name)
		}
	}
	if log := d.log.String(); strings.Contains(log, "poll:") {
		t.Error("the log speaks of the poll")
	}
}

// A slave whose device is dead keeps its carrier. bondd leaves it, says what is
// the matter with it, and takes it back when it returns.
func TestSlaveDead(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options []string
	}{
		{"active-backup", []string{`mode = "active-backup"`}},
		{"active-backup with delays", []string{`mode = "active-backup"`, `downdelay = "200ms"`, `updelay = "200ms"`}},
		{"active-backup with a primary", []string{`mode = "active-backup"`, `primary = "eth2"`, `primary_reselect = "always"`}},
		{"balance-rr", []string{`mode = "balance-rr"`}},
		{"balance-alb", []string{`mode = "balance-alb"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lan, card := newUSBLAN(t, 2)
			config := mixed + strings.Replace(bondConfig(2, tt.options...), `["eth0"`, `["eth2", "eth0"`, 1)
			d := start(t, lan, config)
			d.healthy()
			acquaint(lan)
			active := strings.HasPrefix(tt.name, "active-backup")
			if active {
				d.agree("eth2")
			}
			if n := d.count(pollErrors("eth2")); n != 0 {
				t.Errorf("%d poll errors before", n)
			}

			card.Die()
			d.detached("eth2")
			if active {
				d.agree("eth0")
				d.failovers(map[string]int{"link": 1})
			}
			passes(t, lan)
			time.Sleep(3 * time.Second)
			d.detached("eth2")
			passes(t, lan)
			if active {
				d.agree("eth0")
			} else if m := links(lan)["eth2"].Master; m != "" {
				t.Errorf("the dead card still is in %s", m)
			}
			if s := d.status(); len(s.Config.Drift) != 0 {
				t.Errorf("drift is %v", s.Config.Drift)
			}
			for _, name := range []string{"eth0", "eth1"} {
				if n := d.count(pollErrors(name)); n != 0 {
					t.Errorf("%d poll errors of %s, want none", n, name)
				}
			}
			if n := strings.Count(d.log.String(), "eth2 is detached"); n != 1 {
				t.Errorf("the log says %d times that eth2 is detached, want once", n)
			}

			// A restart beside the dead card.
			if err := d.stop(unix.SIGTERM); err != nil {
				t.Errorf("asked to stop, bondd ends with %v", err)
			}
			// The driver's removal of the card hangs, and so does whoever reads of the
			// device in /sys: the inventory does not come back.
			d = d.again()
			d.answering()
			d.detached("eth2")
			passes(t, lan)

			card.Remove()
			d.eventually("missing card", func() bool {
				s := d.slave("eth2")
				return s != nil && !s.Present && !s.Detached
			})
			passes(t, lan)
			card.Return()
			if tt.name == "balance-alb" {
				// There the card has to get another MAC, which it takes only while it
				// is down, and the driver takes no link for up whose speed it does not
				// know (bond_miimon_commit), as that of this card.
				d.eventually("card that is back in the bond", func() bool { return links(lan)["eth2"].Master == "bond0" })
			} else {
				d.healthy()
			}
			if s := d.slave("eth2"); s == nil || s.Detached {
				t.Errorf("the card that returned is %+v", s)
			}
			if got := d.metric(`bondd_slave_detached{bond="bond0",slave="eth2"}`); got != "0" {
				t.Errorf("bondd_slave_detached is %s", got)
			}
			if active && len(tt.options) == 3 && strings.Contains(tt.name, "primary") {
				d.agree("eth2")
			}
			passes(t, lan)
			if s := d.status(); len(s.Config.Drift) != 0 {
				t.Errorf("drift is %v", s.Config.Drift)
			}
		})
	}
}

// A card that died while bondd was away is found by the next bondd; and where it
// is the only one, nothing is taken away.
func TestSlaveDeadBefore(t *testing.T) {
	t.Run("another one is there", func(t *testing.T) {
		lan, card := newUSBLAN(t, 1)
		d := start(t, lan, mixed+strings.Replace(bondConfig(1), `["eth0"`, `["eth1", "eth0"`, 1))
		d.healthy()
		d.agree("eth1")
		acquaint(lan)
		if err := d.stop(unix.SIGTERM); err != nil {
			t.Error(err)
		}
		card.Die()
		d = d.again()
		d.answering()
		d.agree("eth0")
		d.detached("eth1")
		passes(t, lan)
	})
	t.Run("it is the only one", func(t *testing.T) {
		lan, card := newUSBLAN(t, 0)
		d := start(t, lan, mixed+bondConfig(1, `mode = "balance-rr"`))
		d.carrying()
		card.Die()
		d.detached("eth0")
		time.Sleep(3 * time.Second)
		if m := links(lan)["eth0"].Master; m != "bond0" {
			t.Errorf("the only card is in %q, want bond0", m)
		}
		if code, body := d.get("/healthz"); code != 503 || !strings.Contains(body, "eth0 is detached") {
			t.Errorf("healthz says %d %s", code, body)
		}
	})
}

// slave is a slave of the only bond, or nil.
func (d *daemon) slave(name string) *slaveStatus {
	d.t.Helper()
	b := d.bond0()
	return b.slave(name)
}

// carrying waits until the only slave of a bond carries its traffic.
func (d *daemon) carrying() {
	d.t.Helper()
	d.eventually("bond that carries traffic", func() bool { return d.bond0().Up })
}

// detached checks that bondd says of a slave that its device is dead.
func (d *daemon) detached(name string) {
	d.t.Helper()
	d.eventually(name+" that is detached", func() bool {
		s := d.slave(name)
		return s != nil && s.Detached
	})
	b := d.bond0()
	if s := b.slave(name); s.LinkUp || !s.Present {
		d.t.Errorf("the dead card is %+v", s)
	}
	if !strings.Contains(b.Problem, name+" is detached") || !strings.Contains(b.Problem, "power cycle") {
		d.t.Errorf("the problem is %q", b.Problem)
	}
	if got := d.metric(fmt.Sprintf(`bondd_slave_detached{bond="bond0",slave=%q}`, name)); got != "1" {
		d.t.Errorf("bondd_slave_detached is %s, want 1", got)
	}
	if n := d.count(pollErrors(name)); n == 0 {
		d.t.Errorf("no poll errors of %s", name)
	}
}

// passes checks that no packet from host to peer gets lost.
func passes(t *testing.T, lan *netlab.LAN) {
	t.Helper()
	out := toPeer(t, lan, time.Millisecond)
	time.Sleep(100 * time.Millisecond)
	if r := out.Stop(); r.Lost != 0 {
		t.Errorf("traffic does not pass: %v", r)
	}
}

// A bond that only the ARP monitor watches does not have ethtool asked a hundred
// times a second.
func TestPollOfARPMonitor(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2, `miimon = "0s"`, `arp_interval = "100ms"`, fmt.Sprintf("arp_ip_target = [%q]", netlab.PeerAddress.Addr())))
	d.eventually("first poll", func() bool { return d.count("bondd_polls_total") > 0 })
	before := d.count("bondd_polls_total")
	time.Sleep(3500 * time.Millisecond)
	// What is counted is shown by the next snapshot, up to a second later.
	if n := d.count("bondd_polls_total") - before; n < 2 || n > 5 {
		t.Errorf("%d polls in 3.5 s, want one a second", n)
	}
}
