package vmtest

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// A slave that is not there is told of, and the rest carries traffic.
func TestMissingSlave(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(3))
	reachable(t, lan)
	b := d.bond0()
	if missing := b.slave("eth2"); !b.Up || !b.Degraded || len(b.Slaves) != 3 || missing == nil || missing.Present || !strings.Contains(b.Problem, "eth2 is missing") {
		t.Errorf("status says %+v", b)
	}
	if code, body := d.get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz says %d %s; want ok, since the bond carries traffic", code, body)
	}
	for series, want := range map[string]string{
		`bondd_bond_up{bond="bond0"}`:                       "1",
		`bondd_bond_degraded{bond="bond0"}`:                 "1",
		`bondd_bond_slaves_configured{bond="bond0"}`:        "3",
		`bondd_bond_slaves_up{bond="bond0"}`:                "2",
		`bondd_slave_present{bond="bond0",slave="eth2"}`:    "0",
		`bondd_slave_present{bond="bond0",slave="eth1"}`:    "1",
		`bondd_slave_link_up{bond="bond0",slave="eth2"}`:    "0",
		`bondd_failovers_total{bond="bond0",reason="link"}`: "0",
	} {
		if got := d.metric(series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
	if _, page := d.get("/"); !strings.Contains(page, "eth2 is missing") {
		t.Error("the page does not say that eth2 is missing")
	}
	// It comes after all.
	c := netlab.Connect(lan.Host, "eth2", lan.Peer, "port2")
	lan.Peer.IP("link set port2 master br0")
	d.healthy()
	if got := links(lan)[c.NearName]; got.Master != "bond0" {
		t.Errorf("eth2 is %+v; want a slave of bond0", got)
	}
}

// A broken file is told of with its line; the built-in default runs, which in
// this machine finds no hardware.
func TestBrokenFile(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := launch(t, lan, "[[bond]]\nname = \"bond0\"\nslaves = [\"eth0\", \"eth1\"\n")
	d.answering()
	d.eventually("status with the error", func() bool { return d.status().Config.Error != "" })
	s := d.status()
	if !strings.Contains(s.Config.Error, d.file+":3:") || !strings.Contains(s.Config.Source, "built-in default") {
		t.Errorf("config says %+v; want the file's line and the built-in default", s.Config)
	}
	if log := d.log.String(); !strings.Contains(log, d.file+":3:") {
		t.Error("the log does not have the error with its line")
	}
	if _, page := d.get("/"); !strings.Contains(page, "bondd.toml:3:") {
		t.Error("the page does not show the error with its line")
	}
	if got := d.metric("bondd_config_error"); got != "1" {
		t.Errorf("bondd_config_error is %s", got)
	}
	d.noCards()
}

// noCards checks what bondd says of a machine without a network card.
func (d *daemon) noCards() {
	d.t.Helper()
	time.Sleep(2 * time.Second)
	s := d.status()
	if len(s.Bonds) != 1 || s.Bonds[0].Up || !strings.Contains(s.Bonds[0].Problem, "no network card") || s.Hardware.Verdict != "fail" {
		d.t.Errorf("status says %+v; want that there is no network card", s)
	}
	if code, body := d.get("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no network card") {
		d.t.Errorf("healthz says %d %s", code, body)
	}
	if err := d.stop(unix.SIGTERM); err != nil {
		d.t.Errorf("bondd ends with %v; want 0", err)
	}
}

// No network card at all: bondd stays up and says so.
func TestNoCards(t *testing.T) {
	lan := netlab.NewLAN(t, 0)
	d := launchFile(t, lan, filepath.Join(t.TempDir(), "none.toml"))
	d.answering()
	s := d.status()
	if !strings.Contains(s.Config.Error, "none.toml") {
		t.Errorf("config says %+v; want that the file is not there", s.Config)
	}
	d.noCards()
}

// None of the configured cards is there; then they come.
func TestCardsComeLater(t *testing.T) {
	lan := netlab.NewLAN(t, 0)
	d := launch(t, lan, bondConfig(2))
	d.answering()
	d.eventually("bond without slaves", func() bool {
		b := d.bond0()
		return !b.Up && strings.Contains(b.Problem, "eth0 is missing")
	})
	lan2 := *lan
	for i, name := range []string{"eth0", "eth1"} {
		c := netlab.Connect(lan.Host, name, lan.Peer, "port"+string(rune('0'+i)))
		lan.Peer.IP("link set " + c.FarName + " master br0")
		lan2.Cables = append(lan2.Cables, c)
	}
	d.healthy()
	reachable(t, lan)
	if l := links(lan); l["bond0"].Address != l["eth0"].Address || l["bond0"].Address != l["eth1"].Address {
		t.Errorf("MACs are %s %s %s; want one on all", l["bond0"].Address, l["eth0"].Address, l["eth1"].Address)
	}
}

// A card that is taken out and put back belongs to the bond again, by itself.
func TestReplug(t *testing.T) {
	for _, gone := range []string{"eth0", "eth1"} {
		t.Run(gone, func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			d := start(t, lan, bondConfig(2))
			d.healthy()
			acquaint(lan)
			mac := links(lan)["bond0"].Address
			far := strings.Replace(gone, "eth", "port", 1)
			out := toPeer(t, lan, 500*time.Microsecond)
			time.Sleep(100 * time.Millisecond)
			lan.Host.IP("link del " + gone)
			time.Sleep(300 * time.Millisecond)
			if r := out.Stop(); r.LostAtEnd != 0 || r.LongestGap > 50*time.Millisecond {
				t.Errorf("while %s was removed: %v", gone, r)
			}
			d.eventually("removed card", func() bool {
				b := d.bond0()
				return b.Up && b.Degraded && !b.slave(gone).Present
			})
			netlab.Connect(lan.Host, gone, lan.Peer, far)
			lan.Peer.IP("link set " + far + " master br0")
			d.healthy()
			l := links(lan)
			if l[gone].Master != "bond0" || l[gone].Address != mac || l["bond0"].Address != mac {
				t.Errorf("MACs are %s on %s, %s on bond0; want %s, as before", l[gone].Address, gone, l["bond0"].Address, mac)
			}
			reachable(t, lan)
		})
	}
}

// What other people do to slaves is put right.
func TestInterference(t *testing.T) {
	for _, tt := range []struct{ name, command string }{
		{"taken down", "link set eth0 down"},
		{"released", "link set eth0 nomaster"},
		{"put into a bridge", "link set eth0 master br7"},
		{"bond down", "link set bond0 down"},
		{"address removed", "addr flush dev bond0"},
		{"option changed", "link set bond0 type bond miimon 20 num_grat_arp 9"},
		{"bond removed", "link del bond0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			lan.Host.IP("link add br7 type bridge")
			d := start(t, lan, bondConfig(2))
			d.healthy()
			d.agree("eth0")
			out := toPeer(t, lan, 500*time.Microsecond)
			time.Sleep(100 * time.Millisecond)
			lan.Host.IP(tt.command)
			time.Sleep(1500 * time.Millisecond)
			r := out.Stop()
			if r.LostAtEnd != 0 {
				t.Errorf("after somebody's ip %s: %v", tt.command, r)
			}
			d.healthy()
			l := links(lan)
			if got := l["bond0"].LinkInfo.Data; got.Miimon != 100 || got.NumPeerNotif != 1 {
				t.Errorf("bond0 has options %+v", got)
			}
			for _, name := range []string{"eth0", "eth1"} {
				if l[name].Master != "bond0" || l[name].Address != l["bond0"].Address {
					t.Errorf("%s is %+v", name, l[name])
				}
			}
			if s := d.status(); len(s.Config.Drift) != 0 {
				t.Errorf("drift is %v", s.Config.Drift)
			}
			reachable(t, lan)
		})
	}
}

// A card that is renamed is the same card: one that was configured by its
// address stays, one that was configured by its name is missing.
func TestRename(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2))
	d.healthy()
	d.agree("eth0")
	lan.Host.IP("link set eth1 down")
	lan.Host.IP("link set eth1 name lan1")
	d.eventually("missing eth1", func() bool {
		b := d.bond0()
		return b.Up && b.Degraded && !b.slave("eth1").Present
	})
	if l := links(lan); l["lan1"].Master != "" {
		t.Errorf("lan1 is still in %s although nobody configured it", l["lan1"].Master)
	}
	lan.Host.IP("link set lan1 name eth1")
	d.healthy()
	reachable(t, lan)
}

// A configuration that is asked for and cannot be had is an error like one in the
// file: page and metric tell it, and the built-in default runs.
func TestConfigurationThatCannotBeHad(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(at("folder.toml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(at("gone.toml"), at("link.toml")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(at("pipe.toml"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ file, want string }{
		{at("none.toml"), "open " + at("none.toml") + ": no such file or directory"},
		{at("folder.toml"), "read " + at("folder.toml") + ": is a directory"},
		{at("link.toml"), "open " + at("link.toml") + ": no such file or directory"},
		{at("pipe.toml"), "read " + at("pipe.toml") + ": not a regular file"},
		{"", "--config is empty: write the path of a file, or leave --config out"},
	} {
		t.Run(filepath.Base(tt.file), func(t *testing.T) {
			lan := netlab.NewLAN(t, 0)
			d := launchFile(t, lan, tt.file)
			d.answering()
			if s := d.status(); s.Config.Error != tt.want || s.Config.Source != "the built-in default" {
				t.Errorf("config says %+v; want the error %q and the built-in default", s.Config, tt.want)
			}
			if _, page := d.get("/"); !strings.Contains(page, tt.want) {
				t.Errorf("the page does not say %q", tt.want)
			}
			if got := d.metric("bondd_config_error"); got != "1" {
				t.Errorf("bondd_config_error is %s", got)
			}
		})
	}
}

// A file that is good and hardly means what was wanted runs, and page and log
// say what it lacks.
func TestDoubtfulFile(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, "[[bond]]\nname = \"bond0\"\nslaves = [\"eth0\", \"eth1\"]\n")
	const want = ":1:3: warning: bond0 has no address and does not ask for one by DHCP"
	if _, page := d.get("/"); !strings.Contains(page, d.file+want) {
		t.Errorf("the page does not say %q", want)
	}
	if log := d.log.String(); !strings.Contains(log, d.file+want) {
		t.Errorf("the log does not say %q", want)
	}
	if got := d.metric("bondd_config_error"); got != "0" {
		t.Errorf("bondd_config_error is %s", got)
	}
	if s := d.status(); s.Config.Error != "" || s.Config.Source != d.file {
		t.Errorf("config says %+v", s.Config)
	}
}
