package kerneltest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/guest/netlab"
)

// A daemon is a running bondd in the host of a LAN.
type daemon struct {
	t      testing.TB
	lan    *netlab.LAN
	stop   func(unix.Signal) error // ends it and waits
	log    *lockedBuffer
	client http.Client
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs bondd with this configuration, and waits until it is applied.
func start(t testing.TB, lan *netlab.LAN, toml string) *daemon {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bondd.toml")
	if err := os.WriteFile(file, []byte(toml), 0o644); err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, lan: lan, log: new(lockedBuffer)}
	cmd := lan.Host.Command("bondd", "run", "--config", file)
	cmd.Stdout, cmd.Stderr = d.log, d.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	ended := false
	d.stop = func(sig unix.Signal) error {
		if ended {
			return nil
		}
		ended = true
		if err := cmd.Process.Signal(sig); err != nil {
			return err
		}
		return <-exited
	}
	t.Cleanup(func() {
		_ = d.stop(unix.SIGKILL)
		if t.Failed() {
			t.Logf("bondd said:\n%s", d.log)
		}
	})
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
	netlab.Eventually(t, 10*time.Second, "bondd is ready", func() bool {
		code, _ := d.get("/readyz")
		return code == http.StatusOK
	})
	return d
}

// get reads a page of bondd's.
func (d *daemon) get(path string) (code int, body string) {
	resp, err := d.client.Get("http://127.0.0.1:80" + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// status is what the tests read of /api/v1/status.
type status struct {
	Bonds []struct {
		Name        string   `json:"name"`
		Mode        string   `json:"mode"`
		Up          bool     `json:"up"`
		MAC         string   `json:"mac"`
		Addresses   []string `json:"addresses"`
		ActiveSlave string   `json:"active_slave"`
		Degraded    bool     `json:"degraded"`
		Slaves      []struct {
			Name    string `json:"name"`
			Present bool   `json:"present"`
			LinkUp  bool   `json:"link_up"`
			State   string `json:"state"`
		} `json:"slaves"`
	} `json:"bonds"`
}

func (d *daemon) status() status {
	d.t.Helper()
	code, body := d.get("/api/v1/status")
	var s status
	if err := json.Unmarshal([]byte(body), &s); code != http.StatusOK || err != nil {
		d.t.Fatalf("status: %d %v\n%s", code, err, body)
	}
	return s
}

// metric reads one series of /metrics, written as Prometheus writes it.
func (d *daemon) metric(series string) string {
	d.t.Helper()
	_, body := d.get("/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	d.t.Fatalf("there is no metric %s in\n%s", series, body)
	return ""
}

// An ipLink is what the tests read of ip -details -json link show.
type ipLink struct {
	Name      string   `json:"ifname"`
	Flags     []string `json:"flags"`
	MTU       int      `json:"mtu"`
	Address   string   `json:"address"`
	Master    string   `json:"master"`
	OperState string   `json:"operstate"`
	LinkInfo  struct {
		Kind string `json:"info_kind"`
		Data struct {
			Mode            string `json:"mode"`
			ActiveSlave     string `json:"active_slave"`
			Primary         string `json:"primary"`
			PrimaryReselect string `json:"primary_reselect"`
			Miimon          int    `json:"miimon"`
			UpDelay         int    `json:"updelay"`
			DownDelay       int    `json:"downdelay"`
			NumPeerNotif    int    `json:"num_peer_notif"`
		} `json:"info_data"`
		SlaveData struct {
			State        string `json:"state"`
			MIIStatus    string `json:"mii_status"`
			LinkFailures int    `json:"link_failure_count"`
		} `json:"info_slave_data"`
	} `json:"linkinfo"`
	Stats struct {
		TX struct {
			Packets int `json:"packets"`
		} `json:"tx"`
	} `json:"stats64"`
}

// links reads every link of the host from the kernel, by name.
func links(lan *netlab.LAN) map[string]ipLink {
	var list []ipLink
	lan.Host.IPJSON(&list, "-details -statistics link show")
	m := make(map[string]ipLink, len(list))
	for _, l := range list {
		m[l.Name] = l
	}
	return m
}

// activeSlave is the kernel's word.
func activeSlave(lan *netlab.LAN) string { return links(lan)["bond0"].LinkInfo.Data.ActiveSlave }

// bondConfig is a configuration of bond0 over the first n cards with the host's
// address; options are more lines of the bond's table.
func bondConfig(n int, options ...string) string {
	var slaves []string
	for i := range n {
		slaves = append(slaves, fmt.Sprintf("%q", fmt.Sprintf("eth%d", i)))
	}
	return fmt.Sprintf("[[bond]]\nname = \"bond0\"\nslaves = [%s]\naddresses = [%q]\n%s\n",
		strings.Join(slaves, ", "), netlab.HostAddress, strings.Join(options, "\n"))
}
