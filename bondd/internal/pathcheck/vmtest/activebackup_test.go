package vmtest

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/netlab"
)

// newBond makes a LAN with two cards in an active-backup bond, which carries
// traffic by eth0, has the address of eth0 and stays where it is.
func newBond(t testing.TB) *netlab.LAN {
	t.Helper()
	lan := netlab.NewLAN(t, 2)
	lan.Peer.IP("addr add " + peer6.String() + "/64 dev br0")
	lan.Host.IP("link add bond0 type bond mode active-backup miimon 10 primary_reselect failure")
	for _, c := range lan.Cables {
		lan.Host.IP("link set " + c.NearName + " master bond0")
	}
	lan.Host.IP("addr add " + netlab.HostAddress.String() + " dev bond0")
	lan.Host.IP("addr add 2001:db8::2/64 dev bond0")
	lan.Host.IP("link set bond0 up")
	netlab.Eventually(t, 5*time.Second, "active slave eth0", func() bool { return active(lan) == "eth0" })
	return lan
}

// active is the bond's active slave.
func active(lan *netlab.LAN) string {
	return linksOf(lan.Host)["bond0"].LinkInfo.Data.ActiveSlave
}

// traffic is a stream of packets in each direction, with all the ARP and
// neighbour discovery that it takes.
func traffic(t testing.TB, lan *netlab.LAN, d time.Duration) []netlab.Report {
	t.Helper()
	var streams []*netlab.Stream
	var reports []netlab.Report
	for _, s := range []struct {
		from, to *netlab.Namespace
		dest     netip.Addr
	}{
		{lan.Host, lan.Peer, peer4}, {lan.Peer, lan.Host, netlab.HostAddress.Addr()},
		{lan.Host, lan.Peer, peer6}, {lan.Peer, lan.Host, netip.MustParseAddr("2001:db8::2")},
	} {
		streams = append(streams, netlab.StartStream(t, netlab.StreamConfig{From: s.from, To: s.to, Interval: 5 * time.Millisecond,
			Dest: netip.AddrPortFrom(s.dest, 9000)}))
	}
	time.Sleep(d)
	for _, s := range streams {
		reports = append(reports, s.Stop())
	}
	return reports
}

// Both slaves reach the peer, the standby too, whichever it is, for as long as
// one looks; and the switch and its hosts keep to what they know of the bond.
func TestSwitchIsNotMisled(t *testing.T) {
	lan := newBond(t)
	c := startChecker(t, lan.Host, setup{targets(peer4, peer6), true})
	start := time.Now()
	c.probeFrom("eth0", "eth1")
	c.until(start, time.Second, "both slaves up", are(state.PathUp))

	bond := lan.Host.MAC("bond0").String()
	if perm := (state.MAC{2}).String(); bond != perm {
		t.Fatalf("the bond has the address %s, want that of eth0, %s", bond, perm)
	}
	for _, slave := range []string{"eth0", "eth1"} {
		if slave != active(lan) {
			lan.Host.IP("link set bond0 type bond active_slave " + slave)
			c.probeFrom("eth0", "eth1")
		}
		traffic(t, lan, 200*time.Millisecond) // the switch has to know where the bond is
		table := watch(t, lan.Peer)
		begin := time.Now()
		// Longer than the peer takes to doubt what it knows of its neighbours, and to ask them.
		for range 4 {
			for _, r := range traffic(t, lan, 5*time.Second) {
				if r.Lost != 0 {
					t.Errorf("beside the probes, with %s active: %v", slave, r)
				}
			}
		}
		if got := active(lan); got != slave {
			t.Fatalf("the active slave is %s, want %s", got, slave)
		}
		probes := 0
		for _, n := range table.learned() {
			switch {
			case n.MAC == bond && !n.IP.IsValid():
				t.Errorf("with %s active the switch learned that the bond is at port %d", slave, n.Port)
			case n.MAC != bond && (n.IP == netlab.HostAddress.Addr() || n.IP == netip.MustParseAddr("2001:db8::2")) && n.MAC != "":
				t.Errorf("with %s active the peer learned that the bond's %v is at %s", slave, n.IP, n.MAC)
			case n.MAC != bond:
				probes++
			}
		}
		if probes == 0 {
			t.Error("the peer learned nothing at all of the probes: nobody was watching")
		}
		rounds := uint64(time.Since(begin) / (100 * time.Millisecond))
		last := c.all(begin)
		first, final := last[0].Paths, last[len(last)-1].Paths
		for index, paths := range final {
			for i, p := range paths {
				if got := p.Answered - first[index][i].Answered; p.Missed+p.Failed != 0 || got < rounds-2 {
					t.Errorf("with %s active the path from %d is %+v, want all of about %d probes answered", slave, index, p, rounds)
				}
				if p.RTT <= 0 || p.RTT > time.Millisecond {
					t.Errorf("with %s active the round trip from %d to %v is %v", slave, index, p.Target, p.RTT)
				}
			}
		}
		if len(last) > int(rounds)+2 {
			t.Errorf("%d reports of %d rounds", len(last), rounds)
		}

		// That is how it looks when a standby sends under its own permanent
		// address, or here: under the bond's.
		standby := map[string]string{"eth0": "eth1", "eth1": "eth0"}[slave]
		if err := send(lan.Host, standby, lan.Host.MAC("bond0")); err != nil {
			t.Fatal(err)
		}
		moved := false
		for _, n := range table.learned() {
			moved = moved || n.MAC == bond && !n.IP.IsValid()
		}
		if !moved {
			t.Error("a moved entry of the forwarding table would not have been seen")
		}
	}

	if !letsIn(lan.Host, "eth0", probes0) || !letsIn(lan.Host, "eth1", probes1) || letsIn(lan.Host, "eth1", probes0) {
		t.Errorf("each card has to let in what answers its own probes:\n%s", lan.Host.Bridge("fdb show"))
	}
	c.stop()
	if letsIn(lan.Host, "eth0", probes0) || letsIn(lan.Host, "eth1", probes1) {
		t.Errorf("after the checker the cards still let in:\n%s", lan.Host.Bridge("fdb show"))
	}
	if log := c.log.String(); log != "" {
		t.Errorf("there was nothing to log:\n%s", log)
	}
}

// A standby whose switch port takes nothing any more is told to be dead in
// time, and nobody else is; it is back after as many answers as it takes.
func TestSilentStandby(t *testing.T) {
	lan := newBond(t)
	eth0, eth1 := linksOf(lan.Host)["eth0"].Index, linksOf(lan.Host)["eth1"].Index
	to := targets(peer4, peer6)
	c := startChecker(t, lan.Host, setup{to, true})
	start := time.Now()
	c.probeFrom("eth0", "eth1")
	c.until(start, time.Second, "both slaves up", are(state.PathUp))
	for i := range 5 {
		time.Sleep(time.Duration(i) * 23 * time.Millisecond) // not at the same point of the interval each time
		lan.Cables[1].Silence(true)
		silent := time.Now()
		r := c.until(silent, time.Second, "eth1 down", are(state.PathDown, eth1))
		if took, most := r.At.Sub(silent), bound(to[0]); took > most || took < most-130*time.Millisecond {
			t.Errorf("that eth1 is dead is told after %v, want at most %v, and not much less", took, most)
		}
		time.Sleep(200 * time.Millisecond)
		lan.Cables[1].Silence(false)
		back := time.Now()
		r = c.until(back, time.Second, "eth1 back", are(state.PathUp, eth1))
		if took := r.At.Sub(back); took < 100*time.Millisecond || took > 225*time.Millisecond {
			t.Errorf("that eth1 is back is told after %v, want 2 answers at intervals of 100ms", took)
		}
		for _, r := range c.all(silent) {
			if !are(state.PathUp, eth0)(r.Paths) {
				t.Fatalf("eth0 has lost its path, too: %+v", r)
			}
		}
	}
}

// A target that nobody has, and one that dies, are dead from every slave in the
// same report.
func TestDeadTarget(t *testing.T) {
	lan := newBond(t)
	to := append(targets(peer4, peer6), targets(netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8::77"))...)
	c := startChecker(t, lan.Host, setup{to, true})
	start := time.Now()
	c.probeFrom("eth0", "eth1")
	// together waits until the targets from the given one on are down from all
	// slaves, and sees that it never was from one alone.
	together := func(since time.Time, first, count int) report {
		r := c.until(since, time.Second, "targets down", func(r pathcheck.Report) bool {
			from := map[int]int{}
			for _, paths := range r {
				for i := first; i < first+count; i++ {
					if paths[i].State == state.PathDown {
						from[i]++
					}
				}
			}
			for i, slaves := range from {
				if slaves != 2 {
					t.Errorf("a report says that %v is down from %d slaves alone: %+v", to[i].Addr, slaves, r)
				}
			}
			return len(from) == count
		})
		if took := r.At.Sub(since); took > bound(to[0]) {
			t.Errorf("that targets are dead is told after %v, want at most %v", took, bound(to[0]))
		}
		return r
	}
	r := together(start, 2, 2)
	for index, paths := range r.Paths {
		if paths[0].State != state.PathUp || paths[1].State != state.PathUp {
			t.Errorf("other targets suffer: from %d the paths are %+v", index, paths)
		}
	}
	died := time.Now()
	lan.Peer.IP("addr del " + netlab.PeerAddress.String() + " dev br0")
	r = together(died, 0, 1)
	for index, paths := range r.Paths {
		if paths[1].State != state.PathUp {
			t.Errorf("the other target suffers: from %d the paths are %+v", index, paths)
		}
	}
}

// Where a router takes no probe without a sender, an address that nobody has
// serves, and the bond's own stays where it is.
func TestSource(t *testing.T) {
	lan := newBond(t)
	to := targets(peer4)
	to[0].Source = netip.MustParseAddr("192.0.2.250")
	c := startChecker(t, lan.Host, setup{to, true})
	table := watch(t, lan.Peer)
	start := time.Now()
	c.probeFrom("eth0", "eth1")
	c.until(start, time.Second, "both slaves up", are(state.PathUp))
	for _, r := range traffic(t, lan, 2*time.Second) {
		if r.Lost != 0 {
			t.Errorf("beside the probes: %v", r)
		}
	}
	if rs := c.all(start); !are(state.PathUp)(rs[len(rs)-1].Paths) {
		t.Errorf("the paths are %+v, want all up", rs[len(rs)-1].Paths)
	}
	seen := false
	for _, n := range table.learned() {
		seen = seen || n.IP == to[0].Source && (n.MAC == probes0 || n.MAC == probes1)
		if n.IP == netlab.HostAddress.Addr() && n.MAC != "" && n.MAC != lan.Host.MAC("bond0").String() {
			t.Errorf("the peer learned that the bond's %v is at %s", n.IP, n.MAC)
		}
	}
	if !seen {
		t.Error("the probes are not from the address that was asked for")
	}
}

// A cable that is pulled makes a path unknown at once, and a dead path does not
// become good by it.
func TestPulledCable(t *testing.T) {
	lan := newBond(t)
	eth0, eth1 := linksOf(lan.Host)["eth0"].Index, linksOf(lan.Host)["eth1"].Index
	c := startChecker(t, lan.Host, setup{targets(peer4, peer6), true})
	start := time.Now()
	c.probeFrom("eth0", "eth1")
	c.until(start, time.Second, "both slaves up", are(state.PathUp))

	for _, silent := range []bool{false, true} {
		before := state.PathUp
		if silent {
			lan.Cables[1].Silence(true)
			c.until(time.Now(), time.Second, "eth1 down", are(state.PathDown, eth1))
			before = state.PathDown
		}
		pulled := time.Now()
		lan.Cables[1].Pull()
		c.probeFrom("eth0", "eth1")
		r := c.until(pulled, 100*time.Millisecond, "paths of eth1 unknown", are(state.PathUnknown, eth1))
		missed := r.Paths[eth1][0].Missed
		time.Sleep(time.Second)
		if rs := c.all(pulled); rs[len(rs)-1].Paths[eth1][0].Missed != missed || !are(state.PathUnknown, eth1)(rs[len(rs)-1].Paths) {
			t.Errorf("without a link eth1 goes on: %+v", rs[len(rs)-1].Paths[eth1])
		}
		lan.Cables[1].Silence(false)
		plugged := time.Now()
		lan.Cables[1].Plug()
		netlab.Eventually(t, time.Second, "link of eth1", func() bool {
			return strings.Contains(lan.Host.IP("link show eth1"), "LOWER_UP")
		})
		c.probeFrom("eth0", "eth1")
		c.until(plugged, time.Second, "eth1 up", are(state.PathUp, eth1))
		for _, r := range c.all(plugged) {
			if r.Paths[eth1][0].State == state.PathUp {
				if got := r.At.Sub(plugged); before == state.PathDown && got < 100*time.Millisecond {
					t.Errorf("a dead path is good again %v after its cable was put back", got)
				}
				break
			}
		}
		for _, r := range c.all(pulled) {
			if !are(state.PathUp, eth0)(r.Paths) {
				t.Fatalf("eth0 suffers: %+v", r)
			}
		}
	}
}

// A slave that is released and enslaved again, for which the kernel closes it,
// is probed all the time, as far as that goes, and no path dies of it.
func TestReleaseAndEnslave(t *testing.T) {
	lan := newBond(t)
	c := startChecker(t, lan.Host, setup{targets(peer4, peer6), true})
	start := time.Now()
	c.probeFrom("eth0", "eth1") // and told nothing more: the engine may not know yet
	c.until(start, time.Second, "both slaves up", are(state.PathUp))
	eth1 := linksOf(lan.Host)["eth1"].Index
	for _, change := range []string{"nomaster", "down", "master bond0"} {
		lan.Host.IP("link set eth1 " + change)
		time.Sleep(150 * time.Millisecond)
	}
	back := time.Now()
	time.Sleep(time.Second)
	rs := c.all(start)
	final := rs[len(rs)-1].Paths[eth1]
	for i, p := range final {
		if p.State != state.PathUp || p.Failed == 0 || p.Missed != 0 {
			t.Errorf("after it was closed and opened the path from eth1 is %+v, want some probes failed, none missed", final[i])
		}
	}
	for _, r := range c.all(back) {
		if !are(state.PathUp)(r.Paths) {
			t.Errorf("a path suffered after all was over: %+v", r)
		}
	}

	// A card that has a link, as it says, and takes nothing for good, is of no use.
	lan.Host.IP("link set eth1 nomaster")
	closed := time.Now()
	c.until(closed, time.Second, "eth1 down", are(state.PathDown, eth1))
	lan.Host.IP("link set eth1 up")
	time.Sleep(11 * time.Second) // trouble is over when there was none for 10
	c.until(time.Now(), time.Second, "eth1 up", are(state.PathUp, eth1))
	c.stop()
	log := c.log.String()
	if strings.Count(log, "\n") != 2 || !strings.Contains(log, `msg="probes cannot be sent" bond=bond0 slave=eth1 err="send: network is down"`) ||
		!strings.Contains(log, `msg="probes are sent again" bond=bond0 slave=eth1 failed=`) {
		t.Errorf("the log is, want that trouble began and ended:\n%s", log)
	}
}

// An interface that vanishes and comes back is probed again, under another
// index, and under the same one without a word from anybody.
func TestVanishedInterface(t *testing.T) {
	lan := newBond(t)
	c := startChecker(t, lan.Host, setup{targets(peer4, peer6), true})
	start := time.Now()
	c.probeFrom("eth0", "eth1")
	first := c.until(start, time.Second, "both slaves up", are(state.PathUp))
	eth0, old := linksOf(lan.Host)["eth0"].Index, linksOf(lan.Host)["eth1"].Index

	again := func(index string) {
		lan.Host.IP("link del eth1")
		time.Sleep(250 * time.Millisecond)
		lan.Host.IP("link add eth1 " + index + " type veth peer name port1 netns " + lan.Peer.Name)
		lan.Peer.IP("link set port1 master br0 up")
		lan.Host.IP("link set eth1 master bond0")
	}
	again("index 777")
	known := time.Now()
	c.probeFrom("eth0", "eth1")
	r := c.until(known, time.Second, "eth1 up again", func(r pathcheck.Report) bool { return len(r[777]) > 0 && are(state.PathUp, 777)(r) })
	if _, ok := r.Paths[old]; ok || len(r.Paths) != 2 {
		t.Errorf("the report still tells of the index that is gone: %+v", r)
	}
	for i, p := range r.Paths[777] {
		if p.Answered <= first.Paths[old][i].Answered || p.Failed == 0 {
			t.Errorf("what was counted under the other index is gone: %+v", p)
		}
	}

	again("index 777")
	silent := time.Now()
	// The socket is found to be of no use, and a new one opened within a second.
	time.Sleep(1500 * time.Millisecond)
	c.until(time.Now(), time.Second, "eth1 up again, under the same index", are(state.PathUp, 777))
	for _, r := range c.all(silent) {
		if !are(state.PathUp, eth0)(r.Paths) {
			t.Fatalf("eth0 suffers: %+v", r)
		}
	}
	if !letsIn(lan.Host, "eth1", probes1) {
		t.Errorf("eth1 is probed and does not let answers in:\n%s", lan.Host.Bridge("fdb show dev eth1"))
	}
	// With nothing left to probe from, nothing is left open.
	c.probeFrom()
	netlab.Eventually(t, time.Second, "closed sockets", func() bool {
		return !letsIn(lan.Host, "eth0", probes0) && !letsIn(lan.Host, "eth1", probes1)
	})
}
