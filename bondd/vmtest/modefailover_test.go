package vmtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// In the modes that balance by themselves or with a partner, each net catches
// the fall alone, of traffic in both directions: link events, the poll, and the
// kernel's own monitor.
func TestModeFailover(t *testing.T) {
	for _, mode := range []string{"802.3ad", "balance-tlb", "balance-alb"} {
		for _, net := range []struct {
			name   string
			miimon string // 10s is too slow for the kernel's monitor to be first
			limit  time.Duration
		}{
			{"events", "10s", 10 * time.Millisecond},
			{"poll", "10s", pollEvery + 10*time.Millisecond},
			{"kernel", "100ms", 120 * time.Millisecond},
		} {
			t.Run(mode+"/"+net.name, func(t *testing.T) {
				lan := modeLAN(t, mode)
				toml := bondConfig(2, fmt.Sprintf("mode = %q", mode), fmt.Sprintf("miimon = %q", net.miimon))
				if mode == "802.3ad" {
					toml += `lacp_rate = "fast"`
				}
				var d *daemon
				if net.name == "kernel" {
					d = start(t, lan, toml)
				} else {
					d = startEngine(t, lan, net.name, toml)
				}
				d.balanced(mode)
				acquaint(lan)
				if net.name == "kernel" {
					_ = d.stop(unix.SIGKILL)
				}
				for i, c := range lan.Cables {
					in := toHost(t, lan, time.Millisecond)
					for _, r := range []netlab.Report{whilePulled(t, lan, c), in.Stop()} {
						t.Log(r)
						if r.LostAtEnd != 0 || r.LongestGap > net.limit {
							t.Errorf("with the cable of eth%d pulled: %v; want traffic again within %v", i, r, net.limit)
						}
					}
					c.Plug()
					if net.name != "kernel" {
						d.balanced(mode)
						continue
					}
					netlab.Eventually(t, 30*time.Second, "return of the slave", func() bool {
						time.Sleep(50 * time.Millisecond)
						return links(lan)[c.NearName].LinkInfo.SlaveData.MIIStatus == "UP"
					})
					time.Sleep(5 * time.Second) // LACP has agreed
				}
			})
		}
	}
}

// balanced waits until the bond is healthy and traffic is shared out.
func (d *daemon) balanced(mode string) {
	d.t.Helper()
	d.healthy()
	if mode == "802.3ad" {
		d.lacpStates("agreed", "agreed")
	}
}

// bondd's end and its return cost no packet and change nothing.
func TestModeRestart(t *testing.T) {
	for _, mode := range []string{"802.3ad", "balance-tlb", "balance-alb"} {
		t.Run(mode, func(t *testing.T) {
			lan := modeLAN(t, mode)
			d := start(t, lan, bondConfig(2, fmt.Sprintf("mode = %q", mode)))
			d.balanced(mode)
			acquaint(lan)
			for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
				told := watch(t, lan.Host)
				out, in := toPeer(t, lan, time.Millisecond), toHost(t, lan, time.Millisecond)
				time.Sleep(100 * time.Millisecond)
				_ = d.stop(sig)
				time.Sleep(200 * time.Millisecond)
				d = d.again()
				d.ready()
				time.Sleep(1500 * time.Millisecond) // one more full read
				for _, r := range []netlab.Report{out.Stop(), in.Stop()} {
					if r.Lost != 0 {
						t.Errorf("after %v: %v; want nothing lost", unix.SignalName(sig), r)
					}
				}
				if m := told.messages(); len(m) != 0 {
					t.Errorf("after %v the kernel told of %d changes: %v", unix.SignalName(sig), len(m), m)
				}
				if n := d.writes(); n != 0 {
					t.Errorf("bondd sent %d writes although nothing differed:\n%s", n, strings.Join(writesIn(d.log), ""))
				}
				d.noFailovers()
			}
		})
	}
}
