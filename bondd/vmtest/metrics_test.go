package vmtest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// failovers checks the counters of failovers; a reason that is not named has none.
func (d *daemon) failovers(want map[string]int) {
	d.t.Helper()
	for _, reason := range []string{"link", "kernel", "primary", "admin", "path"} {
		got := d.metric(fmt.Sprintf(`bondd_failovers_total{bond="bond0",reason=%q}`, reason))
		if got != strconv.Itoa(want[reason]) {
			d.t.Errorf("%s failovers by %s, want %d", got, reason, want[reason])
		}
	}
}

// Every failover is counted once, and timed.
func TestFailoverMetrics(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2))
	d.healthy()
	const rounds = 10
	for i := range rounds {
		active, standby := i%2, (i+1)%2
		d.agree(lan.Cables[active].NearName)
		lan.Cables[active].Pull()
		d.agree(lan.Cables[standby].NearName)
		lan.Cables[active].Plug()
		d.healthy()
	}
	// The standby's cable is no failover.
	lan.Cables[1].Pull()
	d.eventually("degraded bond", func() bool { return d.bond0().Degraded })
	lan.Cables[1].Plug()
	d.healthy()
	d.failovers(map[string]int{"link": rounds})
	if got := d.metric(`bondd_failover_duration_seconds_count{bond="bond0"}`); got != strconv.Itoa(rounds) {
		t.Errorf("%s failovers were timed, want %d", got, rounds)
	}
	if got := d.metric(`bondd_failover_duration_seconds_bucket{bond="bond0",le="0.01"}`); got != strconv.Itoa(rounds) {
		t.Errorf("%s failovers took at most 10ms, want all %d", got, rounds)
	}
	if got, err := strconv.ParseFloat(d.metric("bondd_last_failover_timestamp_seconds{bond=\"bond0\"}"), 64); err != nil || time.Since(time.UnixMilli(int64(got*1000))) > 10*time.Second {
		t.Errorf("the last failover was at %v, %v", got, err)
	}
	for _, name := range []string{"eth0", "eth1"} {
		l := links(lan)[name].LinkInfo.SlaveData
		if got := d.metric(fmt.Sprintf(`bondd_slave_link_failures_total{bond="bond0",slave=%q}`, name)); got != strconv.Itoa(l.LinkFailures) {
			t.Errorf("%s has %s link failures by bondd, %d by the kernel", name, got, l.LinkFailures)
		}
	}
}

// What a person switches by hand is noticed, and left as it is.
func TestSwitchByHand(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2))
	d.healthy()
	d.agree("eth0")
	lan.Host.IP("link set bond0 type bond active_slave eth1")
	d.agree("eth1")
	time.Sleep(1500 * time.Millisecond)
	d.agree("eth1")
	d.failovers(map[string]int{"kernel": 1})
}

// A failover that the kernel made while bondd stood still is counted, once.
func TestFailoverWhileStopped(t *testing.T) {
	for _, mode := range []int{0, 1} {
		t.Run(modeNames[mode], func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			d := start(t, lan, bondConfig(2, fmt.Sprintf("mode = %d", mode)))
			d.healthy()
			if err := unix.Kill(d.pid, unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			lan.Cables[0].Pull()
			netlab.Eventually(t, 5*time.Second, "failover by the kernel", func() bool {
				return links(lan)["eth0"].LinkInfo.SlaveData.MIIStatus == "DOWN"
			})
			time.Sleep(500 * time.Millisecond)
			if err := unix.Kill(d.pid, unix.SIGCONT); err != nil {
				t.Fatal(err)
			}
			d.eventually("degraded bond", func() bool { return d.bond0().Degraded })
			if mode == 1 {
				d.agree("eth1")
			}
			time.Sleep(1500 * time.Millisecond)
			total := 0
			for _, reason := range []string{"link", "kernel"} {
				n, err := strconv.Atoi(d.metric(fmt.Sprintf(`bondd_failovers_total{bond="bond0",reason=%q}`, reason)))
				if err != nil {
					t.Fatal(err)
				}
				total += n
			}
			// Who was first cannot be told from what the kernel has kept for
			// bondd; that it happened can.
			if total != 1 {
				t.Errorf("%d failovers are counted, want 1", total)
			}
		})
	}
}

// Whatever happens to the cables, when it is quiet again the bond carries
// traffic if it can, and bondd and the kernel agree.
func TestRandomCables(t *testing.T) {
	for _, options := range [][]string{nil, {`primary = "eth1"`}} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			lan := netlab.NewLAN(t, 3)
			d := start(t, lan, bondConfig(3, options...))
			d.healthy()
			acquaint(lan)
			files, goroutines := openFiles(t, d.pid), d.metric("go_goroutines")

			random := rand.New(rand.NewPCG(1, uint64(len(options))))
			in := []bool{true, true, true}
			for i := range 200 {
				n := random.IntN(3)
				if in[n] = !in[n]; in[n] {
					lan.Cables[n].Plug()
				} else {
					lan.Cables[n].Pull()
				}
				// Short ones often: within a look of the kernel's, within a read of bondd's.
				time.Sleep(time.Duration(random.ExpFloat64() * float64(20*time.Millisecond)))
				if i%10 == 9 {
					quiet(t, lan, d, in, len(options) > 0)
				}
			}
			for i, c := range lan.Cables {
				if !in[i] {
					c.Plug()
				}
			}
			d.healthy()
			reachable(t, lan)
			if got := openFiles(t, d.pid); got > files+2 {
				t.Errorf("bondd has %d open files, %d before", got, files)
			}
			before, _ := strconv.Atoi(goroutines)
			if after, err := strconv.Atoi(d.metric("go_goroutines")); err != nil || after > before+2 {
				t.Errorf("bondd has %d goroutines, %d before", after, before)
			}
			if s := d.status(); len(s.Config.Drift) != 0 {
				t.Errorf("drift is %v", s.Config.Drift)
			}
		})
	}
}

// quiet checks the bond when nothing has happened for a while. in says which
// cables are in.
func quiet(t *testing.T, lan *netlab.LAN, d *daemon, in []bool, primary bool) {
	t.Helper()
	time.Sleep(400 * time.Millisecond)
	l, b := links(lan), d.bond0()
	any := in[0] || in[1] || in[2]
	active := l["bond0"].LinkInfo.Data.ActiveSlave
	if any != (active != "") || any != b.Up {
		t.Fatalf("cables %v: the active slave is %q, status says %+v", in, active, b)
	}
	if b.ActiveSlave != active {
		t.Errorf("the active slave is %q in bondd's view, %q in the kernel's", b.ActiveSlave, active)
	}
	for i, c := range lan.Cables {
		s := b.slave(c.NearName)
		if s.LinkUp != in[i] || (l[c.NearName].LinkInfo.SlaveData.MIIStatus == "UP") != in[i] {
			t.Errorf("%s with cable %t: status says %+v, the kernel %+v", c.NearName, in[i], s, l[c.NearName].LinkInfo.SlaveData)
		}
		if active == c.NearName && !in[i] {
			t.Errorf("the active slave %s has no cable, of %v", active, in)
		}
	}
	if primary && in[1] && active != "eth1" {
		t.Errorf("the primary eth1 has its cable, and the active slave is %s", active)
	}
	if any {
		out := toPeer(t, lan, time.Millisecond)
		time.Sleep(20 * time.Millisecond)
		if r := out.Stop(); r.Lost != 0 {
			t.Errorf("cables %v: %v", in, r)
		}
	}
}
