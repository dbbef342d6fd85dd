package vmtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// A daemon is a running bondd in the host of a LAN.
type daemon struct {
	t      testing.TB
	lan    *netlab.LAN
	file   string                  // its configuration
	pid    int                     // of the process
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
	d := launch(t, lan, toml)
	d.ready()
	return d
}

// launch runs bondd with this configuration.
func launch(t testing.TB, lan *netlab.LAN, toml string) *daemon {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bondd.toml")
	if err := os.WriteFile(file, []byte(toml), 0o644); err != nil {
		t.Fatal(err)
	}
	return launchFile(t, lan, file)
}

// launchFile runs bondd with the configuration in a file.
func launchFile(t testing.TB, lan *netlab.LAN, file string) *daemon {
	t.Helper()
	return run(t, lan, file, lan.Host.Command("bondd", "run", "--config", file))
}

// run starts the command, which is to behave like bondd.
func run(t testing.TB, lan *netlab.LAN, file string, cmd *exec.Cmd) *daemon {
	t.Helper()
	d := &daemon{t: t, lan: lan, file: file, log: new(lockedBuffer)}
	cmd.Stdout, cmd.Stderr = d.log, d.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.pid = cmd.Process.Pid // ip(8) becomes the program that it was told to run
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
	return d
}

// ready waits until the configuration is applied.
func (d *daemon) ready() {
	d.t.Helper()
	d.eventually("bondd is ready", func() bool {
		code, _ := d.get("/readyz")
		return code == http.StatusOK
	})
}

// answering waits until bondd answers over HTTP.
func (d *daemon) answering() {
	d.t.Helper()
	d.eventually("answer over HTTP", func() bool {
		code, _ := d.get("/healthz")
		return code != 0
	})
}

// eventually waits for something that takes at most some seconds, or three tries
// of a DHCP client. It looks every 25 ms, and more rarely the longer it waits: what
// it asks costs the guest's one processor more than one.
func (d *daemon) eventually(what string, ok func() bool) {
	d.t.Helper()
	for began := time.Now(); !ok(); time.Sleep(min(max(25*time.Millisecond, time.Since(began)/16), 150*time.Millisecond)) {
		if time.Since(began) > patience {
			_, body := d.get("/api/v1/status")
			d.t.Fatalf("no %s within %v; status: %s", what, patience, body)
		}
	}
}

const patience = 30 * time.Second

// healthy waits until every slave is in use or ready to be, in the eyes of
// bondd and of the kernel.
func (d *daemon) healthy() {
	d.t.Helper()
	d.eventually("healthy bond", func() bool {
		for _, l := range links(d.lan) {
			if l.LinkInfo.SlaveKind == "bond" && l.LinkInfo.SlaveData.MIIStatus != "UP" {
				return false
			}
		}
		b := d.status().Bonds
		return len(b) == 1 && b[0].Up && !b[0].Degraded
	})
}

// again starts bondd once more with the same configuration.
func (d *daemon) again() *daemon {
	d.t.Helper()
	return launchFile(d.t, d.lan, d.file)
}

// agree checks that bondd and the kernel name this active slave.
func (d *daemon) agree(want string) {
	d.t.Helper()
	d.eventually("active slave "+want+" in bondd and in the kernel", func() bool {
		b := d.status().Bonds
		return len(b) == 1 && b[0].ActiveSlave == want && activeSlave(d.lan) == want
	})
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
	OK         bool         `json:"ok"`
	FirstError string       `json:"first_error"`
	Bonds      []bondStatus `json:"bonds"`
	Config     struct {
		Source string   `json:"source"`
		Error  string   `json:"error"`
		Drift  []string `json:"drift"`
	} `json:"config"`
	Hardware struct {
		Verdict string `json:"verdict"`
	} `json:"hardware"`
	Events []struct {
		Kind    string `json:"kind"`
		Message string `json:"message"`
	} `json:"events"`
}

type bondStatus struct {
	Name        string        `json:"name"`
	Mode        string        `json:"mode"`
	Up          bool          `json:"up"`
	MAC         string        `json:"mac"`
	Addresses   []string      `json:"addresses"`
	Gateways    []string      `json:"gateways"`
	DHCP        string        `json:"dhcp"`
	ActiveSlave string        `json:"active_slave"`
	Degraded    bool          `json:"degraded"`
	Problem     string        `json:"problem"`
	Slaves      []slaveStatus `json:"slaves"`
}

type slaveStatus struct {
	Name     string `json:"name"`
	Present  bool   `json:"present"`
	Enslaved bool   `json:"enslaved"`
	LinkUp   bool   `json:"link_up"`
	State    string `json:"state"`
	MII      string `json:"mii_status"`
	LeftOut  string `json:"left_out"`
	Detached bool   `json:"detached"`

	PathUp     *bool    `json:"path_up"`
	Parked     bool     `json:"parked"`
	Suppressed bool     `json:"suppressed"`
	ReuseIn    *float64 `json:"reuse_in_seconds"`

	ForwardingDelay *float64 `json:"forwarding_delay_seconds"`
	Paths           []struct {
		State string `json:"state"`
	} `json:"paths"`
}

// slave returns the slave of that name, or nil.
func (b *bondStatus) slave(name string) *slaveStatus {
	for i := range b.Slaves {
		if b.Slaves[i].Name == name {
			return &b.Slaves[i]
		}
	}
	return nil
}

// bond0 is the status of the only bond.
func (d *daemon) bond0() bondStatus {
	d.t.Helper()
	s := d.status()
	if len(s.Bonds) != 1 || s.Bonds[0].Name != "bond0" {
		d.t.Fatalf("status has the bonds %+v; want bond0", s.Bonds)
	}
	return s.Bonds[0]
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
	Index     int      `json:"ifindex"`
	Name      string   `json:"ifname"`
	Flags     []string `json:"flags"`
	MTU       int      `json:"mtu"`
	Address   string   `json:"address"`
	Master    string   `json:"master"`
	OperState string   `json:"operstate"`
	LinkInfo  struct {
		Kind      string `json:"info_kind"`
		SlaveKind string `json:"info_slave_kind"`
		Data      struct {
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
		RX, TX struct {
			Packets int `json:"packets"`
		}
	} `json:"stats64"`
}

// links reads every link of the host from the kernel, by name.
func links(lan *netlab.LAN) map[string]ipLink { return linksOf(lan.Host) }

// linksOf reads every link of a namespace from the kernel, by name.
func linksOf(ns *netlab.Namespace) map[string]ipLink {
	var list []ipLink
	ns.IPJSON(&list, "-details -statistics link show")
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
