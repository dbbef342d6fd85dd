package appliance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"bondd.internal/image/lab/skip"
	"bondd.internal/image/lab/vm"
)

// A pulled cable, as everybody sees it who looks: a browser that has the page
// open, Prometheus, the command line, and someone who asks again and again.
func TestViews(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	// QEMU's e1000 hears nothing for a second after its filter was written,
	// which every switch does (set_rx_control in hw/net/e1000.c).
	cfg := with("virtio-net-pci", "virtio-net-pci")
	cfg.Network.Forwards = []vm.Forward{{Listen: address, Port: 80}}
	m := boot(t, fmt.Sprintf(classic, "active-backup", ""), cfg)
	page := "http://" + address + "/"
	client := &http.Client{Timeout: answerLimit, Transport: &http.Transport{DisableKeepAlives: true}}
	m.await("bond0 whole", (*status).whole)

	if !t.Run("requests", func(t *testing.T) {
		m.t = t
		testRequests(t, m, client, page+"healthz")
	}) {
		return
	}
	m.t = t
	active := m.await("bond0 whole", (*status).whole).bond("bond0").ActiveSlave
	standby := map[string]string{"eth0": "eth1", "eth1": "eth0"}[active]
	healthy := fmt.Sprintf("bond0 is healthy: traffic on %s, %s ready", active, standby)
	degraded := fmt.Sprintf("bond0 is degraded: %s has no link", active)
	swapped := fmt.Sprintf("bond0 is healthy: traffic on %s, %s ready", standby, active)
	moved := fmt.Sprintf("traffic moved from %s to %s", active, standby)

	bondd := buildBondd(t)
	t.Run("command healthy", func(t *testing.T) {
		bondd.status(t, page, 0, healthy, "currently active slave "+active, "192.168.1.202/24", "TX packets", "collisions")
	})
	prometheus := startPrometheus(t, address)
	tab := openTab(t, page)
	t.Run("browser healthy", func(t *testing.T) {
		tab.on(t).await(says("#headline", healthy))
		tab.await(`document.querySelector('[data-slave="` + active + `"]').dataset.state === "active"`)
		tab.await(says("#live", "Live"))
		tab.await(`window.sameDocument = true`)
		tab.photograph("healthy")
	})
	var failovers string // counted before the cable is pulled
	t.Run("prometheus healthy", func(t *testing.T) {
		prometheus.on(t).await(`bondd_bond_up{bond="bond0"} == 1`)
		prometheus.await(`bondd_slave_active{bond="bond0",slave="` + active + `"} == 1`)
		prometheus.await(`bondd_slave_active{bond="bond0",slave="` + standby + `"} == 0`)
		prometheus.await(`bondd_hardware_verdict{verdict="pass"} == 1`)
		failovers = prometheus.value(`bondd_failovers_total{bond="bond0",reason="link"}`)
	})
	t.Run("openmetrics", func(t *testing.T) { testOpenMetrics(t, client, page+"metrics") })

	m.unplug(active)
	m.await("traffic on "+standby, func(st *status) bool { return st.bond("bond0").ActiveSlave == standby && st.bond("bond0").Degraded })
	t.Run("browser degraded", func(t *testing.T) {
		tab.on(t).await(says("#headline", degraded))
		tab.await(`document.querySelector('[data-slave="` + standby + `"]').dataset.state === "active"`)
		tab.await(`document.querySelector('[data-slave="` + active + `"]').dataset.state === "down"`)
		tab.await(says("#events", moved))
		tab.await(`document.title.startsWith("bond0 is degraded")`)
		if !tab.eval(`window.sameDocument === true`) {
			t.Error("the page was loaded again")
		}
		tab.photograph("degraded")
	})
	t.Run("prometheus degraded", func(t *testing.T) {
		prometheus.on(t).await(`bondd_bond_degraded{bond="bond0"} == 1`)
		prometheus.await(`bondd_slave_active{bond="bond0",slave="` + standby + `"} == 1`)
		prometheus.await(`bondd_slave_link_up{bond="bond0",slave="` + active + `"} == 0`)
		prometheus.await(`bondd_failovers_total{bond="bond0",reason="link"} > ` + failovers)
		prometheus.await(`bondd_failover_duration_seconds_count{bond="bond0"} > 0`)
	})
	t.Run("command degraded", func(t *testing.T) {
		bondd.status(t, page, 3, degraded, "currently active slave "+standby, moved)
	})

	m.plug(active)
	m.await("bond0 whole again", (*status).whole)
	t.Run("browser again", func(t *testing.T) {
		tab.on(t).await(says("#headline", swapped))
		if !tab.eval(`window.sameDocument === true`) {
			t.Error("the page was loaded again")
		}
	})
	t.Run("command again", func(t *testing.T) {
		bondd.status(t, page, 0, swapped)
	})
	if err := m.Close(); err != nil {
		t.Errorf("close the machine: %v", err)
	}
	t.Run("command unreachable", func(t *testing.T) {
		bondd.status(t, page, 1, "bondd status: ask "+strings.TrimSuffix(page, "/"))
	})
}

// rounds is how often a cable may be pulled until requests come through as they
// should: an appliance that loses them does so every time, and a busy machine
// does not stay as busy.
const rounds = 4

// testRequests pulls the active cable while the appliance is asked again and
// again. Everything must be answered, and the pulled cable must not make anyone
// wait a second longer than the machine on which the test runs does without it:
// that one may have other things to do, and plays the appliance on one thread.
// What is asked for is the health, the cheapest answer, so that the same
// emulated processor has time for it when it gets only a part of a real one.
func testRequests(t *testing.T, m *machine, client *http.Client, url string) {
	for round := 1; ; round++ {
		active := m.await("bond0 whole", (*status).whole).bond("bond0").ActiveSlave
		r := newRequests(client, url)
		r.wait(100)
		calm := r.stop()
		r = newRequests(client, url)
		r.wait(50)
		m.unplug(active)
		m.await("traffic on the other card", func(st *status) bool {
			b := st.bond("bond0")
			return b.Up && b.Degraded && b.ActiveSlave != active
		})
		r.wait(50)
		pulled := r.stop()
		m.plug(active)
		t.Logf("before: %v; with the cable of %s pulled: %v", calm, active, pulled)
		if pulled.answered == pulled.asked && pulled.longest <= calm.longest+lossLimit {
			return
		}
		if round == rounds {
			t.Fatalf("with the cable of %s pulled: %v; before, it was: %v", active, pulled, calm)
		}
	}
}

// testOpenMetrics asks for the metrics as a newer Prometheus does.
func testOpenMetrics(t *testing.T, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/openmetrics-text") || !strings.HasSuffix(string(body), "# EOF\n") {
		t.Errorf("content type %q, want OpenMetrics; it ends with %q", kind, body[max(0, len(body)-40):])
	}
}

// freeAddress is a TCP address of this host that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A command is bondd's own program, run on the host for its client's commands
// only: never as the daemon, which would take this host's cards.
type command string

func buildBondd(t *testing.T) command {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bondd")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", name, "../bondd").CombinedOutput(); err != nil {
		t.Fatalf("build bondd: %v\n%s", err, out)
	}
	return command(name)
}

// run runs a client's command and returns its exit code and what it prints.
func (c command) run(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), string(c), args...)
	printed, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(printed), cmd.ProcessState.ExitCode()
}

// status runs `bondd status` and checks its exit code and what it prints.
func (c command) status(t *testing.T, url string, code int, texts ...string) {
	t.Helper()
	out, got := c.run(t, "status", "--url", url)
	if got != code {
		t.Errorf("bondd status exits with %d, want %d", got, code)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("bondd status does not print %q:\n%s", text, out)
		}
	}
}

// A scraper is a Prometheus that scrapes the appliance; nil if it is skipped.
type scraper struct {
	t   *testing.T
	api string
}

// startPrometheus starts a real Prometheus with its data in a folder that is
// removed.
func startPrometheus(t *testing.T, target string) *scraper {
	t.Helper()
	if skip.Named(skip.Prometheus) {
		return nil
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: bondd
    static_configs:
      - targets: [%q]
`, target), 0o644); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Prometheus: %v; `make deps` installs it", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("Prometheus' log (%v):\n%s", err, text)
		}
	})
	return &scraper{t, "http://" + address + "/api/v1/query?query="}
}

// on returns the scraper for a subtest. There is none only where BONDD_SKIP says so.
func (s *scraper) on(t *testing.T) *scraper {
	t.Helper()
	skip.If(t, skip.Prometheus)
	s.t = t
	return s
}

// await waits until a query has a result.
func (s *scraper) await(query string) {
	s.t.Helper()
	s.value(query)
}

// value waits until a query has a result and returns its value.
func (s *scraper) value(query string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		var answer struct {
			Data struct {
				Result []struct {
					Value [2]any `json:"value"` // time, and the value as text
				} `json:"result"`
			} `json:"data"`
		}
		body, _, err := get(ctx, http.DefaultClient, s.api+url.QueryEscape(query))
		if err == nil {
			err = json.Unmarshal([]byte(body), &answer)
		}
		if err == nil && len(answer.Data.Result) == 1 {
			return fmt.Sprint(answer.Data.Result[0].Value[1])
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("Prometheus never had %s; at last: %s (error %v)", query, body, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// A tab is one of a real Chromium; nil if it is skipped.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// openTab starts Chromium with a page.
func openTab(t *testing.T, page string) *tab {
	t.Helper()
	if skip.Named(skip.Browser) {
		return nil
	}
	allocator, stopAllocator := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"),
		chromedp.NoSandbox, // tests may run as root, as in a container
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(patience),
	)...)
	t.Cleanup(stopAllocator)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(stop)
	b := &tab{t, ctx}
	b.do(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(page))
	return b
}

// on returns the tab for a subtest. There is none only where BONDD_SKIP says so.
func (b *tab) on(t *testing.T) *tab {
	t.Helper()
	skip.If(t, skip.Browser)
	b.t = t
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns whether an expression of JavaScript is true.
func (b *tab) eval(expression string) bool {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until an expression is true.
func (b *tab) await(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for !b.eval(expression) {
		if time.Now().After(deadline) {
			text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
			b.t.Fatalf("never came true: %s\nthe page says (error %v): %s", expression, err, text)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// says is an expression: the element's visible text contains this.
func says(selector, text string) string {
	return `(document.querySelector("` + selector + `")?.innerText ?? "").includes("` + text + `")`
}

// screens is where the pictures of the page go.
const screens = "../build/screens"

// photograph takes the whole page on a desktop's and a phone's screen.
func (b *tab) photograph(name string) {
	b.t.Helper()
	if err := os.MkdirAll(screens, 0o755); err != nil {
		b.t.Fatal(err)
	}
	for _, screen := range []struct {
		name          string
		width, height int64
	}{{"phone", 390, 844}, {"desktop", 1280, 900}} {
		b.do(chromedp.EmulateViewport(screen.width, screen.height))
		picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
		if err != nil {
			b.t.Fatalf("photograph the page: %v", err)
		}
		if err := os.WriteFile(filepath.Join(screens, name+"-"+screen.name+".png"), picture, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
}
