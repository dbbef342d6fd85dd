package vmtest

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	probe "bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/neighbour/neighbourtest"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/netlab"
)

// newModeBond makes a LAN with two cards in a bond of a mode. Where the switch
// has to take them for one port, it does.
func newModeBond(t testing.TB, mode string) *netlab.LAN {
	t.Helper()
	lan := netlab.NewLAN(t, 2)
	group := mode != "balance-tlb" && mode != "balance-alb"
	rate := ""
	if mode == "802.3ad" {
		rate = " lacp_rate fast"
	}
	lan.Host.IP("link add bond0 type bond mode " + mode + " miimon 10" + rate)
	if group {
		lan.Peer.IP("link add lag0 type bond mode " + mode + " miimon 10" + rate)
	}
	for _, c := range lan.Cables {
		lan.Host.IP("link set " + c.NearName + " master bond0")
		if group {
			lan.Peer.IP("link set " + c.FarName + " nomaster")
			lan.Peer.IP("link set " + c.FarName + " down")
			lan.Peer.IP("link set " + c.FarName + " master lag0")
		}
	}
	if group {
		lan.Peer.IP("link set lag0 master br0 up")
	}
	lan.Host.IP("addr add " + netlab.HostAddress.String() + " dev bond0")
	lan.Host.IP("link set bond0 up")
	netlab.Eventually(t, 10*time.Second, "bond that carries traffic", func() bool {
		return lan.Host.Command("arping", "-q", "-c", "1", "-w", "1", "-I", "bond0", peer4.String()).Run() == nil
	})
	return lan
}

// In every mode every slave's path is found and stays, to a target that answers
// neutral probes and to one that does not, and nobody's table moves for it.
func TestModes(t *testing.T) {
	for _, mode := range []string{"balance-rr", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"} {
		t.Run(mode, func(t *testing.T) {
			lan := newModeBond(t, mode)
			odd := &neighbourtest.Router{IP: netip.MustParseAddr("192.0.2.9"), MAC: mustMAC(t, "02:00:00:00:02:09"), Hears: func(q probe.Request, _ bool) bool {
				return q.Sender.IP == netlab.HostAddress.Addr() || q.Sender.IP.IsUnspecified()
			}}
			odd.Start(t, lan.Peer, "br0")
			// What the kernel asks by itself must not be taken for ours.
			lan.Host.Neighbour("bond0", peer4, lan.Peer.MAC("br0"))
			tp, w := tapInto(t, lan), watch(t, lan.Peer)
			c := startChecker(t, lan.Host, setup{targets(peer4, odd.IP), false})
			begin := time.Now()
			c.probeFrom("eth0", "eth1")
			if mode == "balance-alb" {
				// The bond asks nobody here: what shows the odd target's life is other traffic.
				time.Sleep(time.Second)
				if out, err := lan.Host.Command("arping", "-c", "1", "-I", "bond0", odd.IP.String()).CombinedOutput(); err != nil {
					t.Fatalf("arping: %v\n%s", err, out)
				}
			}
			c.until(begin, 3*time.Second, "all paths up", are(state.PathUp))
			known := time.Now()
			time.Sleep(3 * time.Second)
			rs := c.all(known)
			first, last := rs[0].Paths, rs[len(rs)-1].Paths
			for index, paths := range last {
				for i, p := range paths {
					if p.State != state.PathUp || p.Missed+p.Failed != first[index][i].Missed+first[index][i].Failed || p.Answered < first[index][i].Answered+28 {
						t.Errorf("the path from %d is %+v after %+v, want every probe answered", index, p, first[index][i])
					}
				}
			}
			bond := macOf(lan.Host, "bond0")
			for _, q := range tp.requests(known) {
				switch {
				case q.Sender.IP == netlab.HostAddress.Addr() && (mode == "balance-alb" || q.Wanted == peer4):
					t.Errorf("the bond asks where it need not: %v", q)
				case q.Sender.IP == netlab.HostAddress.Addr() && q.Sender.MAC != bond, q.Sender.MAC == bond && q.Sender.IP != netlab.HostAddress.Addr():
					t.Errorf("it claims only half of what is the bond's: %v", q)
				case q.Sender.IP.IsUnspecified() && (q.Wanted == peer4 || q.to != odd.MAC):
					t.Errorf("a probe without a sender where it need not be: %v", q)
				}
			}
			ports := map[int]string{}
			for name, l := range linksOf(lan.Peer) {
				ports[l.Index] = name
			}
			var moved []string
			for _, n := range w.learned() {
				if n.IP == netlab.HostAddress.Addr() && n.MAC != "" && n.MAC != bond.String() && mode != "balance-alb" {
					t.Errorf("the peer learned that the bond's %v is at %s", n.IP, n.MAC)
				}
				if !n.IP.IsValid() && n.MAC == bond.String() {
					moved = append(moved, ports[n.Port])
				}
			}
			if slices.Sort(moved); len(slices.Compact(moved)) > 1 {
				t.Errorf("the switch learned the bond's MAC at %s", fmt.Sprint(moved))
			}
		})
	}
}
