package vmtest

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// Each net catches the fall alone: link events without a poll, in every mode.
// The kernel's own monitor is too slow to be first.
func TestFailoverByEvent(t *testing.T) {
	for mode, name := range modeNames {
		t.Run(name, func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			d := startEngine(t, lan, "events", bondConfig(2, `miimon = "10s"`, fmt.Sprintf("mode = %d", mode)))
			d.healthy()
			acquaint(lan)
			for i, c := range lan.Cables {
				r := whilePulled(t, lan, c)
				t.Log(r)
				if r.LostAtEnd != 0 || r.LongestGap > 10*time.Millisecond {
					t.Errorf("with the cable of eth%d pulled: %v; want traffic again within 10ms", i, r)
				}
				c.Plug()
				d.healthy() // long before the kernel's monitor has looked
				if got, want := d.metric(`bondd_failovers_total{bond="bond0",reason="link"}`), fmt.Sprint(i+1); got != want {
					t.Errorf("%s failovers by link, want %s", got, want)
				}
			}
			if got := d.metric("bondd_polls_total"); got != "0" {
				t.Errorf("%s polls although there was to be none", got)
			}
		})
	}
}

// The poll without link events.
func TestFailoverByPoll(t *testing.T) {
	for mode, name := range modeNames {
		t.Run(name, func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			d := startEngine(t, lan, "poll", bondConfig(2, `miimon = "10s"`, fmt.Sprintf("mode = %d", mode)))
			d.healthy()
			acquaint(lan)
			for i, c := range lan.Cables {
				r := whilePulled(t, lan, c)
				t.Log(r)
				if r.LostAtEnd != 0 || r.LongestGap > pollEvery+10*time.Millisecond {
					t.Errorf("with the cable of eth%d pulled: %v; want traffic again within a poll", i, r)
				}
				c.Plug()
				d.healthy()
				if got, want := d.metric(`bondd_failovers_total{bond="bond0",reason="link"}`), fmt.Sprint(i+1); got != want {
					t.Errorf("%s failovers by link, want %s", got, want)
				}
			}
			if d.metric("bondd_link_disagreements_total") == "0" {
				t.Error("no poll found another link state than the events had told, although there were no events")
			}
		})
	}
}

// The kernel alone, with bondd killed.
func TestFailoverByKernel(t *testing.T) {
	for mode, name := range modeNames {
		t.Run(name, func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			d := start(t, lan, bondConfig(2, `miimon = "100ms"`, fmt.Sprintf("mode = %d", mode)))
			d.healthy()
			acquaint(lan)
			_ = d.stop(unix.SIGKILL)
			for i, c := range lan.Cables {
				r := whilePulled(t, lan, c)
				t.Log(r)
				if r.LostAtEnd != 0 || r.LongestGap > 120*time.Millisecond {
					t.Errorf("with the cable of eth%d pulled: %v; want traffic again within miimon", i, r)
				}
				c.Plug()
				netlab.Eventually(t, 5*time.Second, "return of the slave", func() bool {
					return links(lan)[c.NearName].LinkInfo.SlaveData.MIIStatus == "UP"
				})
			}
		})
	}
}

// whilePulled pulls a cable under traffic and says what that cost.
func whilePulled(t *testing.T, lan *netlab.LAN, c *netlab.Cable) netlab.Report {
	t.Helper()
	stream := toPeer(t, lan, 100*time.Microsecond)
	time.Sleep(100 * time.Millisecond)
	c.Pull()
	time.Sleep(300 * time.Millisecond)
	return stream.Stop()
}
