package vmtest

import (
	"testing"
	"time"

	"bondd.internal/image/lab/netlab"
)

// Behind a switch with spanning tree (a Linux bridge, forward delay 15 s) a port
// that is not an edge port forwards 30 s after its link. A primary whose link is
// back gets the traffic only then, and nothing is lost.
func TestSpanningTree(t *testing.T) {
	lan, d := spanningTree(t, bondConfig(2, `mode = "active-backup"`, `primary = "eth0"`, path("192.0.2.1")))
	d.agree("eth0")
	lan.Cables[0].Pull()
	d.agree("eth1")

	stream := toPeer(t, lan, 2*time.Millisecond)
	lan.Cables[0].Plug()
	time.Sleep(25 * time.Second)
	if got := activeSlave(lan); got != "eth1" {
		t.Errorf("25 s after the link is back the active slave is %q, want eth1", got)
	}
	d.eventually("active slave eth0", func() bool { return activeSlave(lan) == "eth0" })
	time.Sleep(time.Second)
	r := stream.Stop()
	t.Log(r)
	if r.Lost != 0 {
		t.Errorf("at the return of the primary: %v; want nothing lost", r)
	}
	if h := d.history(); len(h) != 2 || h[0].Reason != "primary" || h[1].Reason != "link" {
		t.Errorf("history is %+v, want one failover and the return", h)
	}
	b := d.bond0()
	if delay := b.slave("eth0").ForwardingDelay; delay == nil || *delay < 29 || *delay > 32 {
		t.Errorf("the port of eth0 took %v s to forward, want about 30", delay)
	}
}

// spanningTree starts bondd on a switch with spanning tree, and waits until both of
// its ports forward.
func spanningTree(t *testing.T, toml string) (*netlab.LAN, *daemon) {
	t.Helper()
	lan := netlab.NewLAN(t, 2)
	lan.Peer.IP("link set br0 type bridge stp_state 1 forward_delay 1500")
	d := start(t, lan, toml)
	netlab.Eventually(t, time.Minute, "paths from both slaves", func() bool {
		b := d.bond0()
		up := func(s *slaveStatus) bool { return len(s.Paths) == 1 && s.Paths[0].State == "up" }
		return up(b.slave("eth0")) && up(b.slave("eth1"))
	})
	d.healthy()
	acquaint(lan)
	return lan, d
}
