package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/guest/netlab"
)

// A contender is one way to keep a host with two cards reachable.
type contender struct {
	name string
	// start has it join the cards of the host of a LAN. What it starts ends
	// with the test.
	start func(t *testing.T, lan *netlab.LAN) joined
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
	// switches asks the contender when it made its last switch, and how long all
	// its switches took together, each from the event that told it; nil if the
	// contender does not say.
	switches func() (last time.Time, took time.Duration)
}

func contenders() []contender {
	return []contender{
		{"kernel, miimon 100 ms", kernelMonitor(100)},
		{"kernel, miimon 10 ms", kernelMonitor(10)},
		{"teamd, ethtool watcher", startTeamd},
		{"bondd", startBondd},
	}
}

// kernelMonitor is a bond that only the bonding driver watches.
func kernelMonitor(miimon int) func(*testing.T, *netlab.LAN) joined {
	return func(t *testing.T, lan *netlab.LAN) joined {
		lan.Host.IP(fmt.Sprintf("link add bond0 type bond mode active-backup miimon %d", miimon))
		for _, c := range lan.Cables {
			lan.Host.IP("link set " + c.NearName + " master bond0")
		}
		lan.Host.IP("addr add " + netlab.HostAddress.String() + " dev bond0")
		lan.Host.IP("link set bond0 up")
		return joined{
			device: "bond0",
			view:   func() (string, bool) { return bondView(lan) },
			// Writing the interval that it has would not: the timer runs already.
			rewind: func() {
				lan.Host.IP("link set bond0 type bond miimon 0")
				lan.Host.IP(fmt.Sprintf("link set bond0 type bond miimon %d", miimon))
			},
		}
	}
}

// bondView is what the bonding driver says.
func bondView(lan *netlab.LAN) (active string, healthy bool) {
	var links []struct {
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
		if a := l.LinkInfo.Data.ActiveSlave; a != "" {
			active = a
		}
		if l.LinkInfo.SlaveData.MIIStatus == "UP" {
			up++
		}
	}
	return active, up == len(lan.Cables)
}

// startTeamd runs teamd with the runner and the watcher that answer to
// active-backup and to a link monitor.
func startTeamd(t *testing.T, lan *netlab.LAN) joined {
	ports := make(map[string]struct{})
	for _, c := range lan.Cables {
		ports[c.NearName] = struct{}{}
	}
	cfg, err := json.Marshal(map[string]any{
		"device":     "team0",
		"runner":     map[string]string{"name": "activebackup"},
		"link_watch": map[string]string{"name": "ethtool"},
		"ports":      ports,
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, lan, "teamd", "--config", string(cfg))
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

// startBondd runs bondd as it comes, with the kernel's miimon of 100 ms
// beneath it.
func startBondd(t *testing.T, lan *netlab.LAN) joined {
	var slaves []string
	for _, c := range lan.Cables {
		slaves = append(slaves, strconv.Quote(c.NearName))
	}
	file := filepath.Join(t.TempDir(), "bondd.toml")
	toml := fmt.Sprintf("[[bond]]\nname = \"bond0\"\nslaves = [%s]\naddresses = [%q]\nmiimon = \"100ms\"\n",
		strings.Join(slaves, ", "), netlab.HostAddress)
	if err := os.WriteFile(file, []byte(toml), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, lan, "bondd", "run", "--config", file)

	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = lan.Host.Do(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}}
	get := func(path string) []byte {
		resp, err := client.Get("http://127.0.0.1:80" + path)
		if err != nil {
			return nil // it does not listen yet
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			return nil
		}
		return body
	}
	netlab.Eventually(t, 10*time.Second, "bondd that is ready", func() bool { return get("/readyz") != nil })
	type bond struct {
		ActiveSlave  string    `json:"active_slave"`
		Degraded     bool      `json:"degraded"`
		LastFailover time.Time `json:"last_failover"`
	}
	status := func() bond {
		var s struct {
			Bonds []bond `json:"bonds"`
		}
		if body := get("/api/v1/status"); json.Unmarshal(body, &s) != nil || len(s.Bonds) != 1 {
			t.Fatalf("bondd's status is %s", body)
		}
		return s.Bonds[0]
	}
	view := func() (string, bool) {
		// The driver must have seen the cable return as well, or there is
		// nothing that bondd could switch to.
		active, healthy := bondView(lan)
		b := status()
		return b.ActiveSlave, healthy && !b.Degraded && b.ActiveSlave == active
	}
	switches := func() (time.Time, time.Duration) {
		const series = `bondd_failover_duration_seconds_sum{bond="bond0"} `
		for line := range bytes.Lines(get("/metrics")) {
			if value, ok := bytes.CutPrefix(line, []byte(series)); ok {
				seconds, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
				if err != nil {
					t.Fatalf("read %s: %v", series, err)
				}
				return status().LastFailover, time.Duration(math.Round(seconds * float64(time.Second)))
			}
		}
		t.Fatalf("bondd has no metric %s", series)
		return time.Time{}, 0
	}
	return joined{device: "bond0", view: view, switches: switches}
}

// run starts a program in the host of a LAN and ends it with the test.
func run(t *testing.T, lan *netlab.LAN, name string, args ...string) {
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
}
