package vmtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// bondd's end and its return cost no packet and change nothing.
func TestRestart(t *testing.T) {
	for mode, name := range modeNames {
		for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
			t.Run(fmt.Sprintf("%s/%v", name, unix.SignalName(sig)), func(t *testing.T) {
				lan := netlab.NewLAN(t, 2)
				d := start(t, lan, bondConfig(2, fmt.Sprintf("mode = %d", mode), fmt.Sprintf("gateways = [%q]", netlab.PeerAddress.Addr())))
				d.healthy()
				acquaint(lan)
				told := watch(t, lan.Host)

				out, in := toPeer(t, lan, time.Millisecond), toHost(t, lan, time.Millisecond)
				time.Sleep(100 * time.Millisecond)
				err := d.stop(sig)
				if sig == unix.SIGTERM && err != nil {
					t.Errorf("asked to stop, bondd ends with %v; want exit code 0", err)
				}
				time.Sleep(200 * time.Millisecond)
				d = d.again()
				d.ready()
				time.Sleep(1500 * time.Millisecond) // one more full read
				for _, r := range []netlab.Report{out.Stop(), in.Stop()} {
					if r.Lost != 0 {
						t.Errorf("during the restart: %v; want nothing lost", r)
					}
				}
				if m := told.messages(); len(m) != 0 {
					t.Errorf("the kernel told of %d changes during the restart: %v", len(m), m)
				}
				if n := d.writes(); n != 0 {
					t.Errorf("bondd sent %d writes although nothing differed:\n%s", n, strings.Join(writesIn(d.log), ""))
				}
				if b := d.bond0(); !b.Up || b.Degraded || len(b.Gateways) != 1 {
					t.Errorf("status says %+v", b)
				}
				d.noFailovers()
			})
		}
	}
}

// A restart at which the cards cannot be looked at for a while leaves the bond as
// it is, and watches it.
func TestRestartWithoutInventory(t *testing.T) {
	for mode, name := range modeNames {
		t.Run(name, func(t *testing.T) {
			lan := netlab.NewLAN(t, 3)
			config := bondConfig(3, fmt.Sprintf("mode = %d", mode), fmt.Sprintf("gateways = [%q]", netlab.PeerAddress.Addr()))
			d := start(t, lan, config)
			d.healthy()
			if err := d.stop(unix.SIGTERM); err != nil {
				t.Errorf("asked to stop, bondd ends with %v", err)
			}
			acquaint(lan)
			told := watch(t, lan.Host)
			out := toPeer(t, lan, time.Millisecond)
			d = launchEngine(t, lan, "events,poll,refuse", config)
			d.answering()
			d.eventually("refused inventory", func() bool { return d.status().Hardware.Verdict == "unknown" })
			b := d.bond0()
			if !b.Up || b.Degraded || len(b.Slaves) != 3 {
				t.Errorf("without an inventory status says %+v", b)
			}
			if code, body := d.get("/healthz"); code != 200 {
				t.Errorf("healthz says %d %s", code, body)
			}
			if code, _ := d.get("/readyz"); code != 503 {
				t.Errorf("readyz says %d although no card is known", code)
			}
			if !strings.Contains(d.log.String(), "refused for the 1. time") {
				t.Error("the log does not say why")
			}
			d.ready() // it is repeated
			time.Sleep(1500 * time.Millisecond)
			if r := out.Stop(); r.Lost != 0 {
				t.Errorf("during the restart: %v; want nothing lost", r)
			}
			if m := told.messages(); len(m) != 0 {
				t.Errorf("the kernel told of %d changes during the restart: %v", len(m), m)
			}
			if n := d.writes(); n != 0 {
				t.Errorf("%d writes although nothing differed:\n%s", n, strings.Join(writesIn(d.log), ""))
			}
			if s := d.status(); s.Hardware.Verdict != "pass" || !s.Bonds[0].Up || s.Bonds[0].Degraded {
				t.Errorf("after that status says %+v", s)
			}
			d.noFailovers()
		})
	}
}

// noFailovers checks that no switch is counted.
func (d *daemon) noFailovers() {
	d.t.Helper()
	for _, reason := range []string{"link", "kernel", "primary", "admin", "path"} {
		if got := d.metric(fmt.Sprintf(`bondd_failovers_total{bond="bond0",reason=%q}`, reason)); got != "0" {
			d.t.Errorf("%s failovers by %s, want none", got, reason)
		}
	}
}

// foreign makes a bond as somebody else would, with every slave and the host's address.
func foreign(lan *netlab.LAN, options string) {
	lan.Host.IP("link add bond0 type bond " + options)
	for _, c := range lan.Cables {
		lan.Host.IP("link set " + c.NearName + " master bond0")
	}
	lan.Host.IP("link set bond0 up")
	lan.Host.IP("addr add " + netlab.HostAddress.String() + " brd + dev bond0")
}

const matching = "mode active-backup miimon 100 primary_reselect failure num_grat_arp 1"

// What somebody else made and is as configured is taken over as it is.
func TestAdopt(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	foreign(lan, matching)
	lan.Host.IP("route add default via " + netlab.PeerAddress.Addr().String())
	for _, active := range []string{"eth0", "eth1"} {
		t.Run(active, func(t *testing.T) {
			netlab.Eventually(t, 5*time.Second, "both slaves with link", func() bool {
				l := links(lan)
				return l["eth0"].LinkInfo.SlaveData.MIIStatus == "UP" && l["eth1"].LinkInfo.SlaveData.MIIStatus == "UP"
			})
			lan.Host.IP("link set bond0 type bond active_slave " + active)
			time.Sleep(time.Second) // what follows a switch is told
			told := watch(t, lan.Host)
			d := startEngine(t, lan, "events,poll", bondConfig(2, fmt.Sprintf("gateways = [%q]", netlab.PeerAddress.Addr())))
			d.agree(active)
			time.Sleep(2500 * time.Millisecond)
			if n := d.writes(); n != 0 {
				t.Errorf("%d writes to a bond that is as configured:\n%s", n, d.log)
			}
			if m := told.messages(); len(m) != 0 {
				t.Errorf("the kernel told of %d changes: %v", len(m), m)
			}
			d.agree(active)
			d.noFailovers()
			if err := d.stop(unix.SIGTERM); err != nil {
				t.Errorf("the engine ends with %v", err)
			}
		})
	}
}

// A bond of another mode becomes one of the configured mode, and is reachable.
func TestConvert(t *testing.T) {
	for mode, name := range modeNames {
		t.Run("to "+name, func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			foreign(lan, "miimon 50 mode "+modeNames[(mode+1)%len(modeNames)])
			lan.Host.IP("route add default via " + netlab.PeerAddress.Addr().String())
			d := start(t, lan, bondConfig(2, fmt.Sprintf("mode = %d", mode), `mac = "02:00:5e:10:00:01"`, fmt.Sprintf("gateways = [%q]", netlab.PeerAddress.Addr())))
			d.healthy()
			l := links(lan)
			if got := l["bond0"]; got.LinkInfo.Data.Mode != name || got.LinkInfo.Data.Miimon != 100 || got.Address != "02:00:5e:10:00:01" {
				t.Errorf("bond0 is %+v", got)
			}
			if l["eth0"].Address != l["bond0"].Address || l["eth1"].Address != l["bond0"].Address {
				t.Errorf("MACs are %s %s %s; want one on all", l["bond0"].Address, l["eth0"].Address, l["eth1"].Address)
			}
			b := d.bond0()
			if len(b.Gateways) != 1 || b.Gateways[0] != netlab.PeerAddress.Addr().String() || len(b.Addresses) != 1 || b.Addresses[0] != netlab.HostAddress.String() {
				t.Errorf("after the conversion status says %+v", b)
			}
			if got := lan.Host.IP("route show default"); !strings.HasPrefix(got, "default via "+netlab.PeerAddress.Addr().String()) || strings.Count(got, "\n") != 1 {
				t.Errorf("the default route is %q", got)
			}
			reachable(t, lan)
		})
	}
}

// Options that differ are written, one by one, and nothing else.
func TestCorrect(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	foreign(lan, "mode active-backup miimon 50 updelay 100 downdelay 200 num_grat_arp 7 primary_reselect better")
	lan.Host.IP("link set bond0 type bond primary eth1")
	acquaint(lan)
	out := toPeer(t, lan, time.Millisecond)
	d := start(t, lan, bondConfig(2, `updelay = "300ms"`))
	time.Sleep(200 * time.Millisecond)
	if r := out.Stop(); r.Lost != 0 {
		t.Errorf("while options were corrected: %v; want nothing lost", r)
	}
	got := links(lan)["bond0"].LinkInfo.Data
	if got.Miimon != 100 || got.UpDelay != 300 || got.DownDelay != 0 || got.NumPeerNotif != 1 || got.PrimaryReselect != "failure" || got.Primary != "" {
		t.Errorf("bond0 has options %+v", got)
	}
	for _, line := range writesIn(d.log) {
		if !strings.Contains(line, "kernel: set ") {
			t.Errorf("bondd wrote more than options: %s", line)
		}
	}
}

// Slaves are taken from whatever holds them, and what is too much goes.
func TestTakeSlaves(t *testing.T) {
	lan := netlab.NewLAN(t, 4)
	foreign(lan, matching)
	for _, c := range []string{
		"link set eth0 nomaster", "link set eth1 nomaster", "link set eth2 nomaster",
		"link set eth0 up", "addr add 192.0.2.77/24 dev eth0", "addr add 2001:db8::77/64 dev eth0",
		"link add br7 type bridge", "link set eth1 master br7", "link set eth1 up",
		"link add bond7 type bond mode 1 miimon 100", "link set eth2 master bond7", "link set bond7 up",
	} {
		lan.Host.IP(c)
	}
	d := start(t, lan, bondConfig(3))
	d.healthy()
	l := links(lan)
	for _, name := range []string{"eth0", "eth1", "eth2"} {
		if l[name].Master != "bond0" || l[name].Address != l["bond0"].Address {
			t.Errorf("%s is %+v; want a slave with the bond's MAC %s", name, l[name], l["bond0"].Address)
		}
	}
	if l["eth3"].Master != "" {
		t.Errorf("eth3 still belongs to %s", l["eth3"].Master)
	}
	if got := lan.Host.IP("-o addr show dev eth0 scope global"); got != "" {
		t.Errorf("eth0 still has %s", got)
	}
	reachable(t, lan)
}

// A link of the bond's name that is no bond is told of, and left alone.
func TestConflict(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	lan.Host.IP("link add bond0 type dummy")
	d := launch(t, lan, bondConfig(2))
	d.answering()
	d.eventually("drift that names the dummy", func() bool {
		drift := d.status().Config.Drift
		return len(drift) == 1 && strings.Contains(drift[0], "bond0 exists and is not a bond but a dummy")
	})
	if code, body := d.get("/healthz"); code != 503 || !strings.Contains(body, "bond0") {
		t.Errorf("healthz says %d %s", code, body)
	}
	lan.Host.IP("link del bond0")
	d.ready() // the way is free now
	d.healthy()
	if got := d.status().Config.Drift; len(got) != 0 {
		t.Errorf("drift is still %v", got)
	}
}
