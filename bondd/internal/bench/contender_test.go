package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// A contender is one way to keep a host with two cards reachable.
type contender struct {
	name string
	// program is the name of the program that switches; empty: the kernel does.
	program string
	// start has it join the cards of the host of a LAN. What it starts ends
	// with the test.
	start func(t *testing.T, lan *netlab.LAN) joined
	// loaded says that another program keeps the processor busy, scraped that
	// one asks bondd for its metrics all the time.
	loaded, scraped bool
}

// joined is what a contender has made of the cards.
type joined struct {
	device string // the interface over the cards
	// view asks the contender which card carries the traffic, and whether it
	// holds both links to be up.
	view func() (active string, healthy bool)
	// rewind has the contender's monitor begin an interval now; nil if it has
	// none that decides. Left to itself a monitor drifts against the clock, and
	// a few failovers would be a sample of luck.
	rewind func()
	daemon *daemon // nil if it is not bondd
}

// The names of the contenders that are held to account.
const (
	kernel100   = "kernel, miimon 100 ms"
	kernel10    = "kernel, miimon 10 ms"
	teamd       = "teamd, ethtool watcher"
	bondd       = "bondd"
	teamdLoaded = teamd + ", CPU loaded"
	bonddLoaded = bondd + ", CPU loaded"
	bonddScrape = bondd + ", CPU loaded, scraped"
)

func contenders() []contender {
	return []contender{
		{name: kernel100, start: kernelMonitor(100)},
		{name: kernel10, start: kernelMonitor(10)},
		{name: teamd, program: "teamd", start: startTeamd(sameAll, ethtool)},
		{name: bondd, program: "bondd", start: startBondd(1, "")},
		{name: teamdLoaded, program: "teamd", start: startTeamd(sameAll, ethtool), loaded: true},
		{name: bonddLoaded, program: "bondd", start: startBondd(1, ""), loaded: true},
		{name: bonddScrape, program: "bondd", start: startBondd(1, ""), loaded: true, scraped: true},
	}
}

// startBond makes a bond that only the bonding driver watches.
func startBond(monitor string) func(*testing.T, *netlab.LAN) joined {
	return func(_ *testing.T, lan *netlab.LAN) joined {
		lan.Host.IP("link add bond0 type bond mode active-backup " + monitor)
		for _, c := range lan.Cables {
			lan.Host.IP("link set " + c.NearName + " master bond0")
		}
		lan.Host.IP("addr add " + netlab.HostAddress.String() + " dev bond0")
		lan.Host.IP("link set bond0 up")
		return joined{device: "bond0", view: func() (string, bool) { return bondView(lan) }}
	}
}

// kernelMonitor is a bond under the driver's link monitor, whose interval is
// given in milliseconds.
func kernelMonitor(miimon int) func(*testing.T, *netlab.LAN) joined {
	set := fmt.Sprintf("miimon %d", miimon)
	return func(t *testing.T, lan *netlab.LAN) joined {
		j := startBond(set)(t, lan)
		j.rewind = func() {
			// Writing the interval that it has would not: the timer runs already.
			lan.Host.IP("link set bond0 type bond miimon 0")
			lan.Host.IP("link set bond0 type bond " + set)
		}
		return j
	}
}

// bondView is what the bonding driver says of bond0, and whether it holds all
// links to be up.
func bondView(lan *netlab.LAN) (active string, healthy bool) {
	var links []struct {
		Name     string `json:"ifname"`
		LinkInfo struct {
			Data struct {
				ActiveSlave string `json:"active_slave"`
			} `json:"info_data"`
			SlaveData struct {
				MIIStatus string `json:"mii_status"`
			} `json:"info_slave_data"`
		} `json:"linkinfo"`
	}
	lan.Host.IPJSON(&links, "link show")
	up := 0
	for _, l := range links {
		if l.Name == "bond0" {
			active = l.LinkInfo.Data.ActiveSlave
		}
		if l.LinkInfo.SlaveData.MIIStatus == "UP" {
			up++
		}
	}
	return active, up == len(lan.Cables)
}

// ethtool is the watcher of teamd's that answers to a link monitor.
var ethtool = map[string]any{"name": "ethtool"}

// startTeamd runs teamd with the runner that answers to active-backup, which
// gives the cards their addresses by the given policy, and one or several
// watchers.
func startTeamd(addresses string, watchers ...map[string]any) func(*testing.T, *netlab.LAN) joined {
	return func(t *testing.T, lan *netlab.LAN) joined {
		t.Helper()
		ports := make(map[string]struct{})
		for _, c := range lan.Cables {
			ports[c.NearName] = struct{}{}
		}
		cfg, err := json.Marshal(map[string]any{
			"device":     "team0",
			"runner":     map[string]string{"name": "activebackup", "hwaddr_policy": addresses},
			"link_watch": watchers,
			"ports":      ports,
		})
		if err != nil {
			t.Fatal(err)
		}
		return joinTeam(t, lan, string(cfg))
	}
}

// sameAll is teamd's own choice of the cards' addresses: all have the team's.
const sameAll = "same_all"

// joinTeam runs teamd with a configuration.
func joinTeam(t *testing.T, lan *netlab.LAN, cfg string) joined {
	t.Helper()
	run(t, lan, "teamd", "--config", cfg)
	view := func() (string, bool) {
		out, err := lan.Host.Command("teamdctl", "team0", "state", "dump").Output()
		if err != nil {
			return "", false // it does not listen yet
		}
		var state struct {
			Ports map[string]struct {
				Link struct {
					Up bool `json:"up"`
				} `json:"link"`
			} `json:"ports"`
			Runner struct {
				ActivePort string `json:"active_port"`
			} `json:"runner"`
		}
		if err := json.Unmarshal(out, &state); err != nil {
			t.Fatalf("decode teamd's state: %v\n%s", err, out)
		}
		up := 0
		for _, p := range state.Ports {
			if p.Link.Up {
				up++
			}
		}
		return state.Runner.ActivePort, up == len(lan.Cables)
	}
	netlab.Eventually(t, 10*time.Second, "teamd with all ports", func() bool {
		_, healthy := view()
		return healthy
	})
	lan.Host.IP("addr add " + netlab.HostAddress.String() + " dev team0")
	lan.Host.IP("link set team0 up")
	return joined{device: "team0", view: view}
}

// run starts a program in the host of a LAN, ends it with the test, and returns
// its process id.
func run(t *testing.T, lan *netlab.LAN, name string, args ...string) int {
	t.Helper()
	var said bytes.Buffer
	cmd := lan.Host.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Errorf("end %s: %v", name, err)
		}
		err := cmd.Wait()
		if err != nil || t.Failed() {
			t.Logf("%s ended: %v; it said:\n%s", name, err, said.String())
		}
	})
	return cmd.Process.Pid // ip(8) becomes the program that it was told to run
}

// ip runs ip(8) in the namespace in which the guest has begun.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}
