package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/netlab"
)

// startBondd has bondd share the cards among a number of bonds, in order, with
// the kernel's miimon of 100 ms beneath it. The first bond, bond0, is the one
// that is measured; options are more lines of its configuration.
func startBondd(bonds int, options string) func(*testing.T, *netlab.LAN) joined {
	return func(t *testing.T, lan *netlab.LAN) joined {
		var toml strings.Builder
		each := len(lan.Cables) / bonds
		for i := range bonds {
			var slaves []string
			for _, c := range lan.Cables[i*each : (i+1)*each] {
				slaves = append(slaves, strconv.Quote(c.NearName))
			}
			address, more := netlab.HostAddress.String(), options
			if i > 0 {
				address, more = fmt.Sprintf("10.0.%d.2/24", i), ""
			}
			fmt.Fprintf(&toml, "[[bond]]\nname = \"bond%d\"\nslaves = [%s]\naddresses = [%q]\nmiimon = \"100ms\"\n%s\n",
				i, strings.Join(slaves, ", "), address, more)
		}
		d := startDaemon(t, lan, toml.String())
		return joined{device: "bond0", view: d.view, daemon: d}
	}
}

// A daemon is a bondd that runs in the host of a LAN.
type daemon struct {
	t      *testing.T
	lan    *netlab.LAN
	pid    int
	client http.Client
}

// startDaemon runs bondd and waits until its configuration is applied.
func startDaemon(t *testing.T, lan *netlab.LAN, toml string) *daemon {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bondd.toml")
	if err := os.WriteFile(file, []byte(toml), 0o644); err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, lan: lan, pid: run(t, lan, "bondd", "run", "--config", file)}
	d.client.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = lan.Host.Do(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}
	netlab.Eventually(t, time.Minute, "bondd that is ready", func() bool { return d.get("/readyz") != nil })
	return d
}

// get returns what a page says, or nil if bondd does not give it.
func (d *daemon) get(path string) []byte {
	resp, err := d.client.Get("http://127.0.0.1:80" + path)
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

// view is what bondd says of bond0's active slave, and whether it and the
// driver hold everything to be well.
func (d *daemon) view() (active string, healthy bool) {
	d.t.Helper()
	// The driver must have seen the cable return as well, or there is nothing
	// that bondd could switch to.
	active, healthy = bondView(d.lan)
	var status struct {
		Bonds []struct {
			Name        string `json:"name"`
			ActiveSlave string `json:"active_slave"`
			Degraded    bool   `json:"degraded"`
		} `json:"bonds"`
	}
	if body := d.get("/api/v1/status"); json.Unmarshal(body, &status) != nil || len(status.Bonds) == 0 {
		d.t.Fatalf("bondd's status is %s", body)
	}
	for _, b := range status.Bonds {
		healthy = healthy && !b.Degraded && (b.Name != "bond0" || b.ActiveSlave == active)
	}
	return active, healthy
}

// metrics returns the values of all metrics without labels.
func (d *daemon) metrics() map[string]float64 {
	d.t.Helper()
	body := d.get("/metrics")
	if body == nil {
		d.t.Fatal("bondd does not give its metrics")
	}
	values := make(map[string]float64)
	for line := range strings.Lines(string(body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(line, "#") || strings.Contains(name, "{") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			d.t.Fatalf("read %s: %v", name, err)
		}
		values[name] = v
	}
	return values
}

// cpu returns the processor time that bondd has used, by the scheduler's count
// of each of its threads.
func (d *daemon) cpu() time.Duration {
	d.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", d.pid))
	if err != nil || len(files) == 0 {
		d.t.Fatalf("bondd has no threads: %v", err)
	}
	var sum time.Duration
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			d.t.Fatal(err) // the threads of a Go program do not end
		}
		var ran int64
		if _, err := fmt.Sscan(string(data), &ran); err != nil {
			d.t.Fatalf("read %s: %v", f, err)
		}
		sum += time.Duration(ran)
	}
	return sum
}
