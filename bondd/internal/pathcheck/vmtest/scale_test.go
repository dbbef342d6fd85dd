package vmtest

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/netlab"
)

// hogVar makes the test binary a program that wants all of the processor.
const hogVar = "VMTEST_HOG"

// 64 slaves with 16 targets: all are probed in every round, and what it costs is
// said.
func TestManySlaves(t *testing.T) {
	const slaves, targetCount, rounds = 64, 16, 30
	lan := netlab.NewLAN(t, slaves)
	var names []string
	var addrs []netip.Addr
	for i, c := range lan.Cables {
		// Isolated ports: the probes, which are broadcast, go to the bridge and not to each other's cards.
		lan.Peer.Bridge("link set dev " + c.FarName + " isolated on flood off mcast_flood off bcast_flood off")
		lan.Host.IP("link set " + c.NearName + " up")
		names = append(names, fmt.Sprintf("eth%d", i))
	}
	for i := range targetCount {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)})
		if i%2 == 1 {
			a = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(10 + i)})
		}
		addrs = append(addrs, a)
		lan.Peer.IP(fmt.Sprintf("addr add %v dev br0", netip.PrefixFrom(a, a.BitLen()/4*3)))
	}
	c := startChecker(t, lan.Host, setup{targets(addrs...), false})
	start := time.Now()
	c.probeFrom(names...)
	c.until(start, 5*time.Second, "all up", are(state.PathUp))
	time.Sleep(rounds * 100 * time.Millisecond)
	all := c.all(start)
	final := all[len(all)-1].Paths
	if len(final) != slaves {
		t.Fatalf("the report is of %d slaves, want %d", len(final), slaves)
	}
	for index, paths := range final {
		for _, p := range paths {
			if p.State != state.PathUp || p.Missed+p.Failed != 0 || p.Answered < rounds {
				t.Errorf("the path from %d is %+v, want %d probes answered", index, p, rounds)
			}
		}
	}
	took := time.Since(start)
	c.stop()
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / took.Seconds() }
	t.Logf("%d probes a second from %d slaves to %d targets took %.1f%% of the processor in bondd and %.1f%% in the kernel, the part of switch and targets included",
		slaves*targetCount*10, slaves, targetCount, share(c.cmd.ProcessState.UserTime()), share(c.cmd.ProcessState.SystemTime()))
}

// Where other programs want all of the processor, the checker may be late, but
// takes no answer for missing that was there in time.
func TestBusyMachine(t *testing.T) {
	lan := newBond(t)
	to := targets(peer4, peer6)
	for i := range to {
		to[i].Interval, to[i].Timeout = 20*time.Millisecond, 2*time.Millisecond
	}
	c := startChecker(t, lan.Host, setup{to, true})
	start := time.Now()
	c.probeFrom("eth0", "eth1")
	c.until(start, time.Second, "both slaves up", are(state.PathUp))
	var hogs []*exec.Cmd
	for range 3 {
		hog := exec.Command(c.cmd.Args[len(c.cmd.Args)-1])
		hog.Env = append(os.Environ(), hogVar+"=1")
		if err := hog.Start(); err != nil {
			t.Fatalf("start a program that wants the processor: %v", err)
		}
		t.Cleanup(func() { hog.Process.Kill(); hog.Wait() })
		hogs = append(hogs, hog)
	}
	time.Sleep(3 * time.Second)
	var used time.Duration
	for _, hog := range hogs {
		hog.Process.Kill()
		hog.Wait()
		used += hog.ProcessState.UserTime()
	}
	if used < 2*time.Second {
		t.Fatalf("the machine was not busy: other programs ran for %v of 3s", used)
	}
	all := c.all(start)
	for index, paths := range all[len(all)-1].Paths {
		for _, p := range paths {
			if p.Missed+p.Failed != 0 || p.Answered < 50 {
				t.Errorf("the path from %d is %+v, want every probe answered", index, p)
			}
		}
	}
}
