package vmtest

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	probe "bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/neighbour/neighbourtest"
	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/netlab"
)

// A client is a dhcpcd that gives br0 of the peer a fixed address, after it has
// checked that it is free.
type client struct {
	t   testing.TB
	cmd *exec.Cmd
	log bytes.Buffer
}

func startDhcpcd(t testing.TB, lan *netlab.LAN) *client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dhcpcd.conf")
	text := "noipv6\nnoipv6rs\ninterface br0\nstatic ip_address=" + netlab.PeerAddress.String() + "\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t}
	c.cmd = lan.Peer.Command("dhcpcd", "-4", "-B", "-d", "-f", file, "-c", "/bin/true", "br0")
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("start dhcpcd: %v", err)
	}
	t.Cleanup(c.stop)
	return c
}

// stop ends it; its address goes with it.
func (c *client) stop() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Signal(os.Interrupt)
		_ = c.cmd.Wait() // a client that has given its address up says so in its status
	}
}

// has reports whether the peer has its address.
func has(lan *netlab.LAN) bool {
	return slices.Contains(addressesOf(lan.Peer, "br0"), netlab.PeerAddress)
}

// bareBond is newBond with a peer that has no IPv4 address yet.
func bareBond(t testing.TB) *netlab.LAN {
	t.Helper()
	lan := newBond(t)
	lan.Peer.IP("addr del " + netlab.PeerAddress.String() + " dev br0")
	return lan
}

// slow returns a target that is probed as often as by default.
func slow(a netip.Addr) pathcheck.Target {
	return pathcheck.Target{Addr: a, Interval: 500 * time.Millisecond, Timeout: 200 * time.Millisecond, MissedMax: 3, ReturnAfter: 3}
}

// judge compares what came into the switch and what the peer learned since a
// time with what a bond may send whose active slave is by port 0.
func judge(t *testing.T, lan *netlab.LAN, tp *tap, w *watcher, since time.Time) {
	t.Helper()
	bond := macOf(lan.Host, "bond0")
	for _, q := range tp.requests(since) {
		switch {
		case q.Sender.IP == netlab.PeerAddress.Addr(), q.Sender.MAC == macOf(lan.Peer, "br0"):
		case q.Sender.IP.IsUnspecified():
			t.Errorf("a probe without a sender: %v", q)
		case (q.from == bond || q.Sender.MAC == bond || q.Sender.IP == netlab.HostAddress.Addr()) &&
			(q.from != bond || q.Sender.MAC != bond || q.Sender.IP != netlab.HostAddress.Addr() || q.port != 0):
			t.Errorf("it claims what is the bond's, or only half: %v", q)
		}
	}
	for _, n := range w.learned() {
		switch {
		case n.IP == netlab.HostAddress.Addr() && n.MAC != "" && n.MAC != bond.String():
			t.Errorf("the peer learned that the bond's %v is at %s", n.IP, n.MAC)
		case !n.IP.IsValid() && n.MAC == bond.String() && n.Port != linksOf(lan.Peer)["port0"].Index:
			t.Errorf("the switch learned that the bond is at port %d", n.Port)
		}
	}
}

// A target that checks its own address while it is probed from both slaves gets
// it and keeps it, at its first boot and at the next, with a bond that has an
// address and with one that has none; and it is found from the standby, too.
func TestDhcpcdKeepsItsAddress(t *testing.T) {
	for _, addressed := range []bool{true, false} {
		name := "bond with an address"
		if !addressed {
			name = "bond without an address"
		}
		t.Run(name, func(t *testing.T) {
			lan := bareBond(t)
			if !addressed {
				lan.Host.IP("addr del " + netlab.HostAddress.String() + " dev bond0")
			}
			tp, w := tapInto(t, lan), watch(t, lan.Peer)
			c := startChecker(t, lan.Host, setup{[]pathcheck.Target{slow(peer4)}, true})
			begin := time.Now()
			c.probeFrom("eth0", "eth1")
			c.until(begin, 5*time.Second, "both paths dead", are(state.PathDown))
			for boot := range map[bool]int{true: 2, false: 1}[addressed] {
				booted := time.Now()
				d := startDhcpcd(t, lan)
				netlab.Eventually(t, 20*time.Second, "address of the target", func() bool { return has(lan) })
				got := time.Now()
				c.until(got, 3*time.Second, "both paths up", are(state.PathUp))
				time.Sleep(12 * time.Second) // two within 10 s are one too many
				if !has(lan) || strings.Contains(d.log.String(), "claims") {
					t.Fatalf("boot %d: the target's addresses are %v; dhcpcd says\n%s", boot, addressesOf(lan.Peer, "br0"), d.log.String())
				}
				if rs := c.all(got.Add(3 * time.Second)); !are(state.PathUp)(rs[len(rs)-1].Paths) {
					t.Errorf("boot %d: the paths are %+v, want all up", boot, rs[len(rs)-1].Paths)
				}
				t.Logf("boot %d: the target had its address after %v, and both paths were up", boot, got.Sub(booted))
				d.stop()
				lan.Peer.IP("addr flush dev br0")
				gone := time.Now()
				c.until(gone, 3*time.Second, "both paths dead", are(state.PathDown))
			}
			judge(t, lan, tp, w, begin)
		})
	}
}

// That is what happens to such a target otherwise: that it stays alone shows
// nothing.
func TestDhcpcdGivesItsAddressUp(t *testing.T) {
	lan := bareBond(t)
	ask := probe.Question(probe.Host{MAC: mustMAC(t, probes1)}, probe.Host{IP: peer4})
	d := startDhcpcd(t, lan)
	netlab.Eventually(t, 20*time.Second, "address of the target", func() bool { return has(lan) })
	for range 3 {
		time.Sleep(time.Second)
		neighbourtest.Send(t, lan.Host, "eth1", ask)
	}
	netlab.Eventually(t, 5*time.Second, "address that is given up", func() bool { return !has(lan) })
	d.stop()

	d = startDhcpcd(t, lan)
	for range 10 {
		time.Sleep(time.Second)
		neighbourtest.Send(t, lan.Host, "eth1", ask)
	}
	if has(lan) || !strings.Contains(d.log.String(), "claims") {
		t.Errorf("the target has its address although somebody asked without a sender; dhcpcd says\n%s", d.log.String())
	}
}

// A router that looks closely where an address should come from (strict
// rp_filter) and whose default route is elsewhere answers, to the standby too,
// and finds its address free whenever it looks.
func TestStrictRouter(t *testing.T) {
	lan := bareBond(t)
	lan.Peer.IP("link add wan type dummy")
	lan.Peer.IP("link set wan up")
	lan.Peer.IP("addr add 198.51.100.2/24 dev wan")
	lan.Peer.IP("route add default via 198.51.100.1")
	for _, dev := range []string{"all", "br0", "wan"} {
		lan.Peer.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "1")
	}
	isFree := func() bool {
		out, err := lan.Peer.Command("arping", "-D", "-q", "-c", "3", "-I", "br0", peer4.String()).CombinedOutput()
		if err != nil {
			t.Logf("arping -D: %v\n%s", err, out)
		}
		return err == nil
	}
	tp, w := tapInto(t, lan), watch(t, lan.Peer)
	c := startChecker(t, lan.Host, setup{[]pathcheck.Target{slow(peer4)}, true})
	begin := time.Now()
	c.probeFrom("eth0", "eth1")
	time.Sleep(3 * time.Second)
	for boot := range 3 {
		if !isFree() {
			t.Fatalf("boot %d: the router does not find its address free", boot)
		}
		lan.Peer.IP("addr add " + netlab.PeerAddress.String() + " dev br0")
		up := time.Now()
		c.until(up, 3*time.Second, "both paths up", are(state.PathUp))
		time.Sleep(5 * time.Second)
		rs := c.all(up.Add(2 * time.Second))
		first, last := rs[0].Paths, rs[len(rs)-1].Paths
		for index, paths := range last {
			if p := paths[0]; p.State != state.PathUp || p.Missed != first[index][0].Missed {
				t.Errorf("boot %d: the path from %d is %+v, want every probe answered", boot, index, p)
			}
		}
		if !isFree() {
			t.Fatalf("boot %d: the router takes its own address for another's", boot)
		}
		lan.Peer.IP("addr del " + netlab.PeerAddress.String() + " dev br0")
		time.Sleep(2 * time.Second)
	}
	for _, r := range tp.requests(begin) {
		if r.port == 1 && r.Sender.MAC == mustMAC(t, probes1) && r.Sender.IP != netip.MustParseAddr("192.0.2.0") {
			t.Errorf("the standby sends what such a router need not answer: %v", r)
		}
	}
	judge(t, lan, tp, w, begin)
}

// An active slave that has no path from the beginning, beside a standby that has
// one: that is found although the target was never heard before.
func TestDeadActiveAtTheBeginning(t *testing.T) {
	lan := newBond(t)
	lan.Cables[0].Silence(true)
	eth0, eth1 := linksOf(lan.Host)["eth0"].Index, linksOf(lan.Host)["eth1"].Index
	c := startChecker(t, lan.Host, setup{targets(peer4, peer6), true})
	begin := time.Now()
	c.probeFrom("eth0", "eth1")
	c.until(begin, 200*time.Millisecond, "standby up", are(state.PathUp, eth1))
	c.until(begin, time.Second, "active slave down", are(state.PathDown, eth0))
}

// A target that answers only requests with an address of its own network's hosts,
// or with none: the standby's path is checked by probes that follow a sign of
// life, and a dead path of the active slave is told from a dead target.
func TestZeroOnlyRouter(t *testing.T) {
	lan := newBond(t)
	odd := &neighbourtest.Router{IP: netip.MustParseAddr("192.0.2.9"), MAC: mustMAC(t, "02:00:00:00:02:09"), Hears: func(q probe.Request, broadcast bool) bool {
		return q.Sender.IP == netlab.HostAddress.Addr() || q.Sender.IP.IsUnspecified()
	}}
	odd.Start(t, lan.Peer, "br0")
	eth0, eth1 := linksOf(lan.Host)["eth0"].Index, linksOf(lan.Host)["eth1"].Index
	tp := tapInto(t, lan)
	c := startChecker(t, lan.Host, setup{targets(odd.IP), true})
	begin := time.Now()
	c.probeFrom("eth0", "eth1")
	c.until(begin, 200*time.Millisecond, "both paths up", are(state.PathUp))
	time.Sleep(5 * time.Second)
	rs := c.all(begin)
	for index, paths := range rs[len(rs)-1].Paths {
		if p := paths[0]; p.State != state.PathUp || p.Missed+p.Failed != 0 {
			t.Errorf("the path from %d is %+v, want every probe answered", index, p)
		}
	}

	silent := time.Now()
	lan.Cables[0].Silence(true)
	r := c.until(silent, time.Second, "active slave down", are(state.PathDown, eth0))
	if !are(state.PathUp, eth1)(r.Paths) {
		t.Errorf("with the active slave's path the standby's is gone: %+v", r.Paths)
	}
	if took := r.At.Sub(silent); took > bound(targets(odd.IP)[0])+10*time.Millisecond {
		t.Errorf("that eth0 is dead is told after %v", took)
	}
	for _, q := range tp.requests(begin) {
		if q.Sender.IP.IsUnspecified() && q.to != odd.MAC {
			t.Errorf("a probe without a sender goes to others than the target: %v", q)
		}
	}
	// Nobody has a path to it, as if it was gone; then the standby has one again.
	lan.Cables[1].Silence(true)
	c.until(time.Now(), time.Second, "all down", are(state.PathDown))
	time.Sleep(time.Second)
	quiet := time.Now()
	time.Sleep(30 * time.Second)
	for _, q := range tp.requests(quiet) {
		if q.Sender.IP.IsUnspecified() {
			t.Errorf("of a target that is silent is asked without a sender: %v", q)
		}
	}
	lan.Cables[1].Silence(false)
	back := time.Now()
	r = c.until(back, 2*time.Minute, "standby up", are(state.PathUp, eth1))
	t.Logf("without a sign of life the standby's path is found after %v", r.At.Sub(back))
}

// A host that checks an IPv6 address takes nothing that is sent here for another
// that wants it.
func TestTentativeTarget(t *testing.T) {
	lan := newBond(t)
	lan.Peer.IP("addr flush dev br0 scope global")
	lan.Peer.Sysctl("net/ipv6/conf/br0/accept_dad", "1")
	lan.Peer.Sysctl("net/ipv6/conf/br0/dad_transmits", "5")
	failed := func() bool { return strings.Contains(lan.Peer.IP("-6 addr show dev br0"), "dadfailed") }
	tentative := func() bool { return strings.Contains(lan.Peer.IP("-6 addr show dev br0"), "tentative") }
	c := startChecker(t, lan.Host, setup{targets(peer6), true})
	begin := time.Now()
	c.probeFrom("eth0", "eth1")
	time.Sleep(time.Second)
	lan.Peer.IP("-6 addr add " + peer6.String() + "/64 dev br0")
	if !tentative() {
		t.Fatal("the target does not check its address")
	}
	netlab.Eventually(t, 20*time.Second, "address that is checked", func() bool { return !tentative() || failed() })
	if failed() {
		t.Error("the target takes its address for another's")
	}
	c.until(begin, 30*time.Second, "both paths up", are(state.PathUp))
	c.stop()

	// That is how it looks otherwise.
	lan.Peer.IP("-6 addr flush dev br0 scope global")
	lan.Peer.IP("-6 addr add " + peer6.String() + "/64 dev br0")
	ns := probe.Question(probe.Host{MAC: mustMAC(t, probes1), IP: netip.IPv6Unspecified()}, probe.Host{IP: peer6})
	neighbourtest.Send(t, lan.Host, "eth1", withoutOption(ns))
	netlab.Eventually(t, 5*time.Second, "address that is given up", failed)
}
