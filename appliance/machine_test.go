package appliance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/build"
	"bondd.internal/image/lab/vm"
)

const (
	// patience is how long anything may take that a test waits for, on a machine
	// however busy. No test depends on how long it does take.
	patience = 5 * time.Minute
	// answerLimit is how long one answer may take.
	answerLimit = 30 * time.Second
)

// A status is what the tests read of /api/v1/status: the names are the API's
// promise, so they are written down here once more.
type status struct {
	OK         bool      `json:"ok"`
	FirstError string    `json:"first_error"`
	Time       time.Time `json:"time"`
	Hardware   struct {
		Verdict  string    `json:"verdict"`
		Findings []finding `json:"findings"`
		NICs     []struct {
			Name         string `json:"name"`
			Driver       string `json:"driver"`
			PermanentMAC string `json:"permanent_mac"`
		} `json:"nics"`
	} `json:"hardware"`
	Bonds  []bond `json:"bonds"`
	Config struct {
		Source  string   `json:"source"`
		Error   string   `json:"error"`
		Applied bool     `json:"applied"`
		Drift   []string `json:"drift"`
	} `json:"config"`
	Events []event `json:"events"`
}

type finding struct {
	Check    string `json:"check"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
}

type event struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

type bond struct {
	Name        string   `json:"name"`
	Mode        string   `json:"mode"`
	Up          bool     `json:"up"`
	MAC         string   `json:"mac"`
	Addresses   []string `json:"addresses"`
	Gateways    []string `json:"gateways"`
	DHCP        string   `json:"dhcp"`
	ActiveSlave string   `json:"active_slave"`
	Degraded    bool     `json:"degraded"`
	Problem     string   `json:"problem"`
	Slaves      []slave  `json:"slaves"`
}

type slave struct {
	Name         string `json:"name"`
	Present      bool   `json:"present"`
	Enslaved     bool   `json:"enslaved"`
	LeftOut      string `json:"left_out"`
	LinkUp       bool   `json:"link_up"`
	PathUp       *bool  `json:"path_up"`
	State        string `json:"state"`
	MIIStatus    string `json:"mii_status"`
	Driver       string `json:"driver"`
	PermanentMAC string `json:"permanent_mac"`
	LinkFailures int    `json:"link_failures"`
	Counters     struct {
		TxPackets int `json:"tx_packets"`
	} `json:"counters"`
}

// bond returns the bond of that name, an empty one if there is none.
func (st *status) bond(name string) bond {
	for _, b := range st.Bonds {
		if b.Name == name {
			return b
		}
	}
	return bond{}
}

// slave returns the slave of that name, an empty one if there is none.
func (b bond) slave(name string) slave {
	for _, s := range b.Slaves {
		if s.Name == name {
			return s
		}
	}
	return slave{}
}

// works reports whether a slave has link and its place in the bond.
func (s slave) works() bool {
	return s.Present && s.Enslaved && s.LinkUp && s.MIIStatus == "up"
}

// whole reports whether bond0 is up and has nothing to complain of.
func (st *status) whole() bool {
	b := st.bond("bond0")
	for _, s := range b.Slaves {
		if !s.works() {
			return false
		}
	}
	return st.OK && b.Up && !b.Degraded && len(b.Slaves) > 0
}

// A machine is the appliance in QEMU, as seen by its users.
type machine struct {
	t *testing.T
	*vm.VM
	client *http.Client // reaches the machine at http://guest/
	cfg    vm.Config
}

// boot starts the image with this configuration on its /perm, or without any if
// it is empty. What is said on failure is for whoever has to find out why.
func boot(t *testing.T, configuration string, cfg vm.Config) *machine {
	t.Helper()
	cfg.Image = wholeImage(t).file
	if configuration != "" {
		cfg.Image = copyImage(t)
		if err := build.WritePerm(cfg.Image, map[string][]byte{"bondd/bondd.toml": []byte(configuration)}); err != nil {
			t.Fatal(err)
		}
	}
	return bootFile(t, cfg)
}

// copyImage returns a copy of the image, which a test may change.
func copyImage(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "appliance.img")
	out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", wholeImage(t).file, file).CombinedOutput()
	if err != nil {
		t.Fatalf("copy the image: %v: %s", err, out)
	}
	return file
}

// bootFile starts a machine with the image that its configuration names.
func bootFile(t *testing.T, cfg vm.Config) *machine {
	t.Helper()
	m := &machine{t: t, cfg: cfg}
	m.start()
	t.Cleanup(func() {
		if t.Failed() {
			m.explain()
		}
		if err := m.Close(); err != nil {
			t.Errorf("close the machine: %v", err)
		}
	})
	return m
}

// start switches the machine on.
func (m *machine) start() {
	m.t.Helper()
	// It outlives the test's context, for a look at it after a failure.
	v, err := vm.Start(context.WithoutCancel(m.t.Context()), m.cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.VM, m.client = v, v.HTTPClient(answerLimit)
}

// restart waits until the machine is off, and switches it on again. Its disk is
// as it was left only if its configuration says Persistent.
func (m *machine) restart() {
	m.t.Helper()
	select {
	case <-m.Done():
	case <-time.After(patience):
		m.t.Fatal("the machine does not go off")
	}
	if err := m.Wait(); err != nil {
		m.t.Fatalf("the machine went off: %v", err)
	}
	m.start()
}

// with returns a machine with cards of these models, named eth0, eth1, ….
func with(models ...string) vm.Config {
	var cfg vm.Config
	for _, model := range models {
		cfg.NICs = append(cfg.NICs, vm.NIC{Model: model})
	}
	return cfg
}

// explain logs how the machine is after a failure.
func (m *machine) explain() {
	for _, n := range []string{"eth0", "eth1"} {
		if p := m.Port(n); p != nil {
			m.t.Logf("switch port %v", p)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.t.Context()), answerLimit)
	defer cancel()
	body, _, err := get(ctx, m.client, "http://guest/api/v1/status")
	m.t.Logf("status: %s (error %v)", body, err)
	m.t.Logf("the console:\n%s", m.Console())
}

// get returns the body and the code of an answer.
func get(ctx context.Context, client *http.Client, url string) (string, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), resp.StatusCode, err
}

// eventually tries until it is told nothing; what it was told last is in the
// failure.
func (m *machine) eventually(what string, try func(ctx context.Context) (complaint string)) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	for {
		complaint := try(ctx)
		if complaint == "" {
			return
		}
		select {
		case <-ctx.Done():
			m.t.Fatalf("%s: never came true; at last: %s", what, complaint)
		case <-m.Done():
			m.t.Fatalf("%s: the machine went off: %v", what, m.Wait())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// await waits until the status is as wanted, and returns it.
func (m *machine) await(what string, ok func(*status) bool) *status {
	m.t.Helper()
	var st *status
	m.eventually(what, func(ctx context.Context) string {
		body, code, err := get(ctx, m.client, "http://guest/api/v1/status")
		if err != nil || code != http.StatusOK {
			return fmt.Sprintf("%s (code %d, error %v)", body, code, err)
		}
		st = new(status)
		if err := json.Unmarshal([]byte(body), st); err != nil {
			m.t.Fatalf("/api/v1/status: %v:\n%s", err, body)
		}
		if !ok(st) {
			return body
		}
		return ""
	})
	return st
}

// says waits until an answer contains these texts, and returns it.
func (m *machine) says(path string, texts ...string) (body string, code int) {
	m.t.Helper()
	m.eventually(path, func(ctx context.Context) string {
		var err error
		body, code, err = get(ctx, m.client, "http://guest"+path)
		if err != nil {
			return err.Error()
		}
		for _, text := range texts {
			if !strings.Contains(body, text) {
				return fmt.Sprintf("there is no %q in:\n%s", text, body)
			}
		}
		return ""
	})
	return body, code
}

// reachable fetches the page a few times, each time by a new connection. The
// first may take as long as the network needs to learn of a change.
func (m *machine) reachable(when string) {
	m.t.Helper()
	m.says("/", "bond0")
	for range 3 {
		if _, code, err := get(m.t.Context(), m.client, "http://guest/"); err != nil || code != http.StatusOK {
			m.t.Errorf("%s: the page: code %d, error %v", when, code, err)
		}
	}
}

func (m *machine) unplug(nic string) {
	m.t.Helper()
	if err := m.Unplug(m.t.Context(), nic); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) plug(nic string) {
	m.t.Helper()
	if err := m.Plug(m.t.Context(), nic); err != nil {
		m.t.Fatal(err)
	}
}

// A host is another machine on the appliance's network, on a port of its own.
type host struct {
	m       *machine
	mac     net.HardwareAddr
	ip      net.IP
	send    func([]byte)
	receive func(context.Context) ([]byte, error)
}

// newHost joins the machine's network.
func (m *machine) newHost() *host {
	tap := m.Switch().Tap("host")
	return &host{m: m, mac: net.HardwareAddr{0x02, 0, 0, 0, 0, 0x77}, ip: net.IPv4(192, 168, 1, 77).To4(), send: tap.Send, receive: tap.Receive}
}

// ask asks for the appliance's Ethernet address once (ARP, RFC 826) and returns
// it with the answer's source address. The appliance answers each question with
// one packet. A question that the network has lost is asked again.
func (h *host) ask() (mac net.HardwareAddr) {
	h.m.t.Helper()
	guest := h.m.Network().Guest.As4()
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	question := bytes.Join([][]byte{
		broadcast, h.mac, {0x08, 0x06},
		{0, 1, 0x08, 0, 6, 4, 0, 1}, // Ethernet, IPv4, request
		h.mac, h.ip, make([]byte, 6), guest[:],
	}, nil)
	answered := func(f []byte) bool {
		return len(f) >= 42 && bytes.Equal(f[12:14], []byte{0x08, 0x06}) && f[21] == 2 && bytes.Equal(f[28:32], guest[:]) && bytes.Equal(f[0:6], h.mac)
	}
	h.m.eventually("an answer to ARP", func(ctx context.Context) string {
		h.send(question)
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		for {
			f, err := h.receive(ctx)
			if err != nil {
				return err.Error()
			}
			if answered(f) {
				mac = net.HardwareAddr(f[22:28])
				if !bytes.Equal(f[6:12], mac) {
					h.m.t.Errorf("an answer from %v gives the address %v", net.HardwareAddr(f[6:12]), mac)
				}
				return ""
			}
		}
	})
	return mac
}

// sent is how many frames the appliance has sent by a card, as the switch counts.
func (m *machine) sent(nic string) int { return int(m.Port(nic).Counters().RxFrames) }

// quiet waits until the appliance sends nothing for a moment, so that counters
// that are read one after the other belong together, and returns what it has
// sent by each card.
func (m *machine) quiet(nics ...string) (sent []int) {
	m.t.Helper()
	var before string
	m.eventually("a quiet moment", func(context.Context) string {
		sent = nil
		for _, nic := range nics {
			sent = append(sent, m.sent(nic))
		}
		now := fmt.Sprint(sent)
		if now == before {
			return ""
		}
		before = now
		return "frames sent: " + now
	})
	return sent
}
