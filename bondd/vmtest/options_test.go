package vmtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/netlab"
)

// The delays are the bonding driver's to keep, and bondd does not shorten them.
func TestDownDelay(t *testing.T) {
	for _, mode := range []int{0, 1, 2} {
		t.Run(modeNames[mode], func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			d := start(t, lan, bondConfig(2, fmt.Sprintf("mode = %d", mode), `downdelay = "500ms"`))
			d.healthy()
			// A blink that is shorter is none.
			lan.Cables[0].Pull()
			time.Sleep(300 * time.Millisecond)
			if l := links(lan)["eth0"].LinkInfo.SlaveData; l.MIIStatus != "GOING_DOWN" || l.LinkFailures != 0 {
				t.Errorf("300ms after the loss eth0 is %+v; want it to be watched", l)
			}
			lan.Cables[0].Plug()
			d.healthy()
			if mode == 1 {
				d.agree("eth0")
			}
			d.noFailovers()
			// One that is longer takes the delay and at most two looks more.
			lan.Cables[0].Pull()
			began := time.Now()
			netlab.Eventually(t, 5*time.Second, "loss in the driver's eyes", func() bool {
				return links(lan)["eth0"].LinkInfo.SlaveData.MIIStatus == "DOWN"
			})
			if took := time.Since(began); took < 480*time.Millisecond || took > 750*time.Millisecond {
				t.Errorf("the loss took %v; want 500ms and what the looks take", took)
			}
			if mode == 1 {
				d.agree("eth1")
			}
		})
	}
}

func TestUpDelay(t *testing.T) {
	for _, mode := range []int{0, 1, 2} {
		t.Run(modeNames[mode], func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			options := []string{fmt.Sprintf("mode = %d", mode), `updelay = "500ms"`}
			if mode == 1 {
				options = append(options, `primary = "eth0"`)
			}
			d := start(t, lan, bondConfig(2, options...))
			d.healthy()
			lan.Cables[0].Pull()
			d.eventually("loss in the driver's eyes", func() bool {
				return links(lan)["eth0"].LinkInfo.SlaveData.MIIStatus == "DOWN"
			})
			lan.Cables[0].Plug()
			began := time.Now()
			netlab.Eventually(t, 5*time.Second, "return in the driver's eyes", func() bool {
				return links(lan)["eth0"].LinkInfo.SlaveData.MIIStatus == "UP"
			})
			if took := time.Since(began); took < 480*time.Millisecond || took > 750*time.Millisecond {
				t.Errorf("the return took %v; want 500ms and what the looks take", took)
			}
			if mode == 1 {
				d.agree("eth0")
			}
		})
	}
}

// Putting the cable of the primary back does what primary_reselect says.
func TestPrimaryReselect(t *testing.T) {
	for _, tt := range []struct {
		options   []string
		returns   bool // to the primary eth1 when its cable is back
		onFailure bool // and when the slave that took over fails
	}{
		{[]string{`primary = "eth1"`}, true, true},
		{[]string{`primary = "eth1"`, `primary_reselect = "always"`}, true, true},
		// veths are all equally fast, so the primary is not better.
		{[]string{`primary = "eth1"`, `primary_reselect = "better"`}, false, true},
		{[]string{`primary = "eth1"`, `primary_reselect = "failure"`}, false, true},
	} {
		t.Run(strings.Join(tt.options, " "), func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			d := start(t, lan, bondConfig(2, tt.options...))
			d.healthy()
			d.agree("eth1")
			lan.Cables[1].Pull()
			d.agree("eth0")
			lan.Cables[1].Plug()
			d.healthy()
			time.Sleep(300 * time.Millisecond)
			if tt.returns {
				d.agree("eth1")
				if got := d.metric(`bondd_failovers_total{bond="bond0",reason="primary"}`); got != "1" {
					t.Errorf("%s returns to the primary are counted, want 1", got)
				}
				return
			}
			d.agree("eth0")
			lan.Cables[0].Pull()
			d.agree("eth1")
			lan.Cables[0].Plug()
			d.healthy()
			d.agree("eth1")
			if got := d.metric(`bondd_failovers_total{bond="bond0",reason="link"}`); got != "2" {
				t.Errorf("%s failovers by link are counted, want 2", got)
			}
		})
	}
}

// Without a primary a healthy slave is never left, whatever returns or joins.
func TestNoPrimary(t *testing.T) {
	lan := netlab.NewLAN(t, 3)
	d := start(t, lan, bondConfig(3))
	d.healthy()
	d.agree("eth0")
	lan.Cables[0].Pull()
	d.agree("eth1")
	lan.Cables[0].Plug()
	d.healthy()
	d.agree("eth1")
	lan.Host.IP("link set eth2 nomaster") // is enslaved again, which makes the driver select
	d.healthy()
	d.agree("eth1")
	if got := d.metric(`bondd_failovers_total{bond="bond0",reason="link"}`); got != "1" {
		t.Errorf("%s failovers, want 1", got)
	}
}

// A primary that returns within a second after it was lost is counted as such.
func TestPrimarySoon(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2, `primary = "eth0"`))
	d.healthy()
	lan.Cables[0].Pull()
	time.Sleep(200 * time.Millisecond)
	lan.Cables[0].Plug()
	d.healthy()
	d.agree("eth0")
	for reason, want := range map[string]string{"link": "1", "primary": "1", "kernel": "0"} {
		if got := d.metric(fmt.Sprintf(`bondd_failovers_total{bond="bond0",reason=%q}`, reason)); got != want {
			t.Errorf("%s failovers by %s, want %s", got, reason, want)
		}
	}
	if got := d.metric(`bondd_failover_duration_seconds_count{bond="bond0"}`); got != "1" {
		t.Errorf("%s failovers were timed, want 1", got)
	}
}

// The peer hears of a switch as often as num_grat_arp says.
func TestGratuitousARP(t *testing.T) {
	for _, n := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			d := start(t, lan, bondConfig(2, fmt.Sprintf("num_grat_arp = %d", n)))
			d.healthy()
			d.agree("eth0")
			time.Sleep(time.Second) // those of the start
			heard := sniff(t, lan.Peer, "port1")
			lan.Cables[0].Pull()
			d.agree("eth1")
			time.Sleep(time.Second)
			if got := heard.gratuitousARPs(netlab.HostAddress.Addr()); got != n {
				t.Errorf("the peer heard %d announcements, want %d", got, n)
			}
		})
	}
}

// Addresses, broadcast addresses, gateways and the MTU are as configured.
func TestAddresses(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	lan.Peer.IP("addr add 2001:db8::1/64 dev br0")
	toml := strings.Replace(bondConfig(2, `broadcast = "192.0.2.127"`, `gateways = ["192.0.2.1", "192.0.2.3", "2001:db8::1"]`, `mtu = 1480`),
		`"192.0.2.2/24"`, `"192.0.2.2/24", "198.51.100.2/25", "203.0.113.4/31", "2001:db8::2/64"`, 1)
	d := start(t, lan, toml)
	addresses := lan.Host.IP("-o addr show dev bond0")
	for _, want := range []string{
		"192.0.2.2/24 brd 192.0.2.127 scope global bond0", "198.51.100.2/25 brd 198.51.100.127 scope global bond0",
		"203.0.113.4/31 scope global bond0", "2001:db8::2/64 scope global",
	} {
		if !strings.Contains(addresses, want) {
			t.Errorf("bond0 lacks %s:\n%s", want, addresses)
		}
	}
	routes := lan.Host.IP("route show default") + lan.Host.IP("-6 route show default")
	for _, want := range []string{"default via 192.0.2.1 dev bond0 proto 176 \n", "default via 192.0.2.3 dev bond0 proto 176 metric 1 \n", "default via 2001:db8::1 dev bond0 proto 176 metric 1024"} {
		if !strings.Contains(routes, want) {
			t.Errorf("there is no route %q:\n%s", want, routes)
		}
	}
	if l := links(lan); l["bond0"].MTU != 1480 || l["eth0"].MTU != 1480 || l["eth1"].MTU != 1480 {
		t.Errorf("MTUs are %d %d %d", l["bond0"].MTU, l["eth0"].MTU, l["eth1"].MTU)
	}
	if b := d.bond0(); len(b.Addresses) != 4 || len(b.Gateways) != 3 {
		t.Errorf("status says %+v", b)
	}
	told := watch(t, lan.Host)
	time.Sleep(3 * time.Second)
	if m := told.messages(); len(m) != 0 {
		t.Errorf("bondd goes on changing things: %v", m)
	}
}
