package vmtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// A bond that somebody else made, in any mode, is taken over as it is.
func TestModeAdopt(t *testing.T) {
	for _, mode := range allModes {
		t.Run(mode, func(t *testing.T) {
			lan := modeLAN(t, mode)
			reselect := "always"
			if slices.Contains([]string{"active-backup", "balance-tlb", "balance-alb"}, mode) {
				reselect = "failure" // bondd's default where a slave is the active one
			}
			foreign(lan, fmt.Sprintf("mode %s miimon 100 primary_reselect %s", mode, reselect))
			netlab.Eventually(t, 30*time.Second, "both slaves with link", func() bool {
				time.Sleep(50 * time.Millisecond)
				l := links(lan)
				return l["eth0"].LinkInfo.SlaveData.MIIStatus == "UP" && l["eth1"].LinkInfo.SlaveData.MIIStatus == "UP"
			})
			time.Sleep(5 * time.Second) // LACP has agreed
			told := watch(t, lan.Host)
			d := start(t, lan, bondConfig(2, fmt.Sprintf("mode = %q", mode)))
			d.healthy()
			time.Sleep(1500 * time.Millisecond) // one more full read
			if n := d.writes(); n != 0 {
				t.Errorf("%d writes to a bond that is as configured:\n%s", n, strings.Join(writesIn(d.log), ""))
			}
			if m := told.messages(); len(m) != 0 {
				t.Errorf("the kernel told of %d changes: %v", len(m), m)
			}
			d.noFailovers()
		})
	}
}

// One bond goes through every mode, and is reachable in each by the same
// addresses and routes.
func TestModeConvert(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	lan.Peer.IP("addr add 2001:db8::1/64 dev br0")
	var d *daemon
	for _, mode := range []string{"balance-rr", "802.3ad", "active-backup", "balance-tlb", "balance-xor", "balance-alb", "broadcast", "balance-rr"} {
		if d != nil {
			if err := d.stop(unix.SIGTERM); err != nil {
				t.Errorf("bondd ends with %v", err)
			}
		}
		toml := strings.Replace(bondConfig(2, fmt.Sprintf("mode = %q", mode), `mac = "02:00:5e:10:00:01"`, `gateways = ["192.0.2.1", "2001:db8::1"]`),
			`"192.0.2.2/24"`, `"192.0.2.2/24", "2001:db8::2/64"`, 1)
		d = start(t, lan, toml)
		d.settle()
		l := links(lan)
		if got := l["bond0"]; got.LinkInfo.Data.Mode != mode || got.Address != "02:00:5e:10:00:01" || l["eth0"].Master != "bond0" || l["eth1"].Master != "bond0" {
			t.Errorf("in %s: bond0 is %+v, eth0 %+v, eth1 %+v", mode, got, l["eth0"], l["eth1"])
		}
		asConfigured(t, lan, d)
		for _, family := range []string{"-4", "-6"} {
			if got := lan.Host.IP(family + " route show default"); strings.Count(got, "\n") != 1 || !strings.Contains(got, "dev bond0") {
				t.Errorf("in %s: the default route is %q", mode, got)
			}
		}
		if b := d.bond0(); !b.Up || len(b.Addresses) != 2 || len(b.Gateways) != 2 {
			t.Errorf("in %s: status says %+v", mode, b)
		}
		reachable(t, lan)
	}
}
