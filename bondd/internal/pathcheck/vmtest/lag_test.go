package vmtest

import (
	"slices"
	"testing"
	"time"

	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/netlab"
)

// Where the switch takes all slaves for one port, it answers by whichever it
// likes, and that counts; unless every slave is to hear for itself.
func TestLAG(t *testing.T) {
	host, peer := netlab.NewNamespace(t, "host"), netlab.NewNamespace(t, "switch")
	for _, ns := range []*netlab.Namespace{host, peer} {
		ns.IP("link add bond0 type bond mode balance-xor miimon 10 xmit_hash_policy layer2")
	}
	var cables []*netlab.Cable
	for i, names := range [][2]string{{"eth0", "port0"}, {"eth1", "port1"}} {
		c := netlab.Connect(host, names[0], peer, names[1])
		host.IP("link set " + names[0] + " address 02:00:00:00:00:0" + string(rune('0'+i)))
		host.IP("link set " + names[0] + " master bond0")
		peer.IP("link set " + names[1] + " down")
		peer.IP("link set " + names[1] + " master bond0")
		cables = append(cables, c)
	}
	host.IP("link set bond0 up")
	peer.IP("link set bond0 up")
	peer.IP("addr add " + netlab.PeerAddress.String() + " dev bond0")
	peer.IP("addr add " + peer6.String() + "/64 dev bond0")
	netlab.Eventually(t, 5*time.Second, "links", func() bool {
		for _, dev := range []string{"eth0", "eth1"} {
			if l := linksOf(host)[dev]; !slices.Contains(l.Flags, "LOWER_UP") {
				return false
			}
		}
		return true
	})
	eth0, eth1 := linksOf(host)["eth0"].Index, linksOf(host)["eth1"].Index

	// That answers do come in by the other slave is what makes this a test.
	strict := startChecker(t, host, setup{targets(peer4, peer6), true})
	start := time.Now()
	strict.probeFrom("eth0", "eth1")
	strict.until(start, time.Second, "a path down that only sees its own answers", func(r pathcheck.Report) bool {
		for _, index := range []int{eth0, eth1} {
			for _, p := range r[index] {
				if p.State == state.PathDown {
					return true
				}
			}
		}
		return false
	})
	strict.stop()

	c := startChecker(t, host, setup{targets(peer4, peer6), false})
	start = time.Now()
	c.probeFrom("eth0", "eth1")
	c.until(start, time.Second, "both slaves up", are(state.PathUp))
	time.Sleep(5 * time.Second)
	rs := c.all(start)
	for index, paths := range rs[len(rs)-1].Paths {
		for _, p := range paths {
			if p.State != state.PathUp || p.Missed+p.Failed != 0 || p.Answered < 49 {
				t.Errorf("the path from %d is %+v, want every probe answered", index, p)
			}
		}
	}
	// Each card has to let in what is for the other's probes, too.
	for _, dev := range []string{"eth0", "eth1"} {
		if !letsIn(host, dev, probes0) || !letsIn(host, dev, probes1) {
			t.Errorf("%s does not let in what answers the probes of both:\n%s", dev, host.Bridge("fdb show dev "+dev))
		}
	}
	// With one cable out, all answers take the other.
	cables[1].Pull()
	c.probeFrom("eth0")
	time.Sleep(300 * time.Millisecond)
	pulled := time.Now()
	c.until(pulled, time.Second, "eth0 up", are(state.PathUp, eth0))
}
