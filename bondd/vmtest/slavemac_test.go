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

// odd is an Ethernet address that is none of the LAN's.
const odd = "02:00:00:00:00:99"

// macs lists the addresses of the bond and its slaves.
func macs(lan *netlab.LAN) []string {
	l := links(lan)
	list := []string{l["bond0"].Address}
	for _, c := range lan.Cables {
		list = append(list, l[c.NearName].Address)
	}
	return list
}

// told reports whether an event of this kind has these words.
func (d *daemon) told(kind, words string) bool {
	d.t.Helper()
	for _, e := range d.status().Events {
		if e.Kind == kind && strings.Contains(e.Message, words) {
			return true
		}
	}
	return false
}

// Somebody gives a slave another MAC: in every mode and with every fail_over_mac
// it has the right one again at once, traffic passes, and the event says what it was.
func TestSlaveMAC(t *testing.T) {
	type variant struct {
		name  string
		lines []string
	}
	var variants []variant
	for _, mode := range allModes {
		variants = append(variants, variant{mode, []string{fmt.Sprintf("mode = %q", mode)}})
	}
	for _, fom := range []string{"active", "follow"} {
		variants = append(variants, variant{"fail_over_mac " + fom, []string{fmt.Sprintf("fail_over_mac = %q", fom)}})
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			mode := strings.Fields(v.name)[0]
			lan := modeLAN(t, mode)
			d := start(t, lan, bondConfig(2, v.lines...))
			d.settle()
			d.balanced(mode)
			acquaint(lan)
			want := macs(lan)
			for _, slave := range []string{"eth0", "eth1"} {
				free := slave == "eth1" && strings.HasPrefix(v.name, "fail_over_mac") // a backup's own address is nobody's business
				in := toHost(t, lan, time.Millisecond)
				time.Sleep(100 * time.Millisecond)
				lan.Host.IP("link set " + slave + " address " + odd)
				time.Sleep(500 * time.Millisecond)
				if r := in.Stop(); r.LostAtEnd != 0 || r.LongestGap > 100*time.Millisecond {
					t.Errorf("%s, to the host: %v; want traffic back at once", slave, r)
				}
				if free {
					if got := links(lan)[slave].Address; got != odd {
						t.Errorf("%s has %s, although the bond relies on none", slave, got)
					}
					continue
				}
				d.eventually("the MACs as they were", func() bool { return slices.Equal(macs(lan), want) })
				d.eventually("event", func() bool { return d.told("config", slave+" has MAC "+odd) })
				if drift := d.status().Config.Drift; len(drift) != 0 {
					t.Errorf("drift is still %v", drift)
				}
			}
			d.noFailovers()
			if !d.status().OK {
				t.Errorf("status says %+v", d.status())
			}
			reachable(t, lan)
		})
	}
}

// What happened while bondd was away is found when it comes.
func TestSlaveMACRestart(t *testing.T) {
	for _, mode := range allModes {
		t.Run(mode, func(t *testing.T) {
			lan := modeLAN(t, mode)
			d := start(t, lan, bondConfig(2, fmt.Sprintf("mode = %q", mode)))
			d.settle()
			d.balanced(mode)
			acquaint(lan)
			want := macs(lan)
			_ = d.stop(unix.SIGKILL)
			lan.Host.IP("link set eth0 address " + odd)
			lan.Host.IP("link set eth1 mtu 1400")
			in := toHost(t, lan, time.Millisecond)
			time.Sleep(200 * time.Millisecond)
			d = d.again()
			d.ready()
			time.Sleep(500 * time.Millisecond)
			if r := in.Stop(); r.LostAtEnd != 0 {
				t.Errorf("to the host: %v; want traffic back", r)
			}
			if got := macs(lan); !slices.Equal(got, want) {
				t.Errorf("the MACs are %v, want %v", got, want)
			}
			if got := links(lan)["eth1"].MTU; got != 1500 {
				t.Errorf("eth1 has MTU %d", got)
			}
			d.eventually("no drift", func() bool { return len(d.status().Config.Drift) == 0 })
		})
	}
}

// The driver moves MACs about among the slaves at every failover: none of that
// is a difference, and bondd writes nothing against it.
func TestDriversOwnMACs(t *testing.T) {
	for _, lines := range [][]string{{`mode = "balance-alb"`}, {`mode = "balance-tlb"`}, {`fail_over_mac = "follow"`}, {`fail_over_mac = "active"`},
		{`mode = "balance-alb"`, `mac = "02:00:5e:10:00:01"`}, {`mode = "balance-tlb"`, `mac = "02:00:5e:10:00:01"`}, {`fail_over_mac = "follow"`, `mac = "02:00:5e:10:00:01"`}} {
		t.Run(strings.Join(lines, " "), func(t *testing.T) {
			lan := netlab.NewLAN(t, 3)
			d := start(t, lan, bondConfig(3, lines...))
			d.settle()
			time.Sleep(1500 * time.Millisecond)
			seen := map[string]bool{strings.Join(macs(lan), " "): true}
			for range 2 {
				for _, c := range lan.Cables {
					c.Pull()
					time.Sleep(1200 * time.Millisecond)
					c.Plug()
					time.Sleep(1200 * time.Millisecond)
					seen[strings.Join(macs(lan), " ")] = true
				}
			}
			d.healthy()
			if len(seen) < 2 {
				t.Errorf("the driver has moved no MAC: %v", seen)
			}
			if d.told("config", "has MAC") || strings.Contains(d.log.String(), "kernel: set MAC of eth") {
				t.Errorf("bondd takes what the driver does for a difference; the arrangements were %v", seen)
			}
			if drift := d.status().Config.Drift; len(drift) != 0 {
				t.Errorf("drift is %v", drift)
			}
		})
	}
}

// Another program that sets the MAC again and again is told as drift while it
// lasts, is not fought with without end, and costs no traffic where another
// slave can carry it.
func TestSlaveMACFight(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2, `primary = "eth0"`, `primary_reselect = "always"`))
	d.healthy()
	acquaint(lan)
	want := macs(lan)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				_ = lan.Host.Command("ip", "link", "set", "eth0", "address", odd).Run()
			}
		}
	}()
	d.eventually("traffic on the other slave", func() bool { return activeSlave(lan) == "eth1" })
	d.eventually("drift that names the slave", func() bool {
		return slices.ContainsFunc(d.status().Config.Drift, func(s string) bool {
			return s == "eth0 has MAC "+odd+", and bond0 relies on "+want[0]
		})
	})
	if b := d.bond0(); !b.Up || !b.Degraded || !strings.Contains(b.Problem, odd) {
		t.Errorf("status says %+v", b)
	}
	if got := d.metric("bondd_config_drift"); got == "0" {
		t.Error("the metric counts no drift")
	}
	in := toHost(t, lan, time.Millisecond)
	before := len(writesIn(d.log))
	time.Sleep(3 * time.Second)
	if r := in.Stop(); r.Lost != 0 {
		t.Errorf("to the host, meanwhile: %v; want nothing lost", r)
	}
	if n := len(writesIn(d.log)) - before; n > 20 {
		t.Errorf("bondd wrote %d times in three seconds", n)
	}
	close(stop)
	<-ended
	d.eventually("the MACs as they were", func() bool { return slices.Equal(macs(lan), want) })
	d.eventually("no drift", func() bool { return len(d.status().Config.Drift) == 0 })
	d.agree("eth0") // the primary has the traffic again
}

// A slave's MTU is put back; where it is the active one, the other carries the
// traffic meanwhile.
func TestSlaveMTU(t *testing.T) {
	for _, mode := range allModes {
		t.Run(mode, func(t *testing.T) {
			lan := modeLAN(t, mode)
			d := start(t, lan, bondConfig(2, fmt.Sprintf("mode = %q", mode)))
			d.settle()
			d.balanced(mode)
			acquaint(lan)
			for _, slave := range []string{"eth0", "eth1"} {
				active := activeSlave(lan)
				in := toHost(t, lan, time.Millisecond)
				time.Sleep(50 * time.Millisecond)
				lan.Host.IP("link set " + slave + " mtu 1400")
				d.eventually("the MTU as it was", func() bool { return links(lan)[slave].MTU == 1500 })
				time.Sleep(100 * time.Millisecond)
				// The driver drops what arrives on the slave that was the active one while
				// the switch does not know of the move yet: one packet may be on its way.
				most := 0
				if mode == "active-backup" && slave == active {
					most = 1
				}
				if r := in.Stop(); r.Lost > most {
					t.Errorf("%s, to the host: %v; want at most %d lost", slave, r, most)
				}
				d.eventually("event", func() bool { return d.told("config", slave+" has MTU 1400, and bond0 has 1500") })
				if mode == "active-backup" && slave == active && activeSlave(lan) == slave {
					t.Errorf("traffic was on %s while its MTU was changed", slave)
				}
			}
			d.eventually("no drift", func() bool { return len(d.status().Config.Drift) == 0 })
		})
	}
}

// What others may do with a slave and the bond does not rely on is left alone:
// the driver counts what it asked for by itself.
func TestSlaveUses(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2))
	d.healthy()
	acquaint(lan)
	n := d.writes()
	for _, c := range []string{"promisc on", "promisc off", "allmulticast on", "allmulticast off", "multicast off", "txqueuelen 77"} {
		lan.Host.IP("link set eth0 " + c)
	}
	time.Sleep(1500 * time.Millisecond)
	if got := d.writes(); got != n {
		t.Errorf("%d writes:\n%s", got-n, strings.Join(writesIn(d.log), ""))
	}
	reachable(t, lan)

	lan.Host.IP("link set eth1 down")
	d.eventually("eth1 up again", func() bool { return slices.Contains(links(lan)["eth1"].Flags, "UP") })
	d.healthy()
	if !d.told("config", "eth1 is down, and a slave has to be up") {
		t.Errorf("it is not told: %+v", d.status().Events)
	}
}
