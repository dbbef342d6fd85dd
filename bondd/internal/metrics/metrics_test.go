package metrics_test

import (
	"bytes"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"bondd.internal/bondd/internal/metrics"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
	"bondd.internal/image/lab/skip"
)

var update = flag.Bool("update", false, "write the golden files")

// bits is the one complaint about a name: the speed of a link is known to
// everyone in bits per second.
const bits = `use base unit "bytes" instead of "bits"`

func collector(s *state.Snapshot) prometheus.Collector {
	if s.Published.IsZero() {
		s.Published = time.Now()
	}
	return metrics.NewCollector(func() *state.Snapshot { return s })
}

// scrape returns what bondd itself says of a snapshot that was published just
// now, without the runtime's metrics.
func scrape(t *testing.T, s *state.Snapshot) string { return scrapeAfter(t, s, 0) }

// scrapeAfter is scrape that time after the snapshot was published.
func scrapeAfter(t *testing.T, s *state.Snapshot, age time.Duration) (got string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s.Published = time.Now()
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(collector(s))
		time.Sleep(age)
		w := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).
			ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK {
			t.Fatalf("scrape: %d %s", w.Code, w.Body)
		}
		got = w.Body.String()
	})
	return got
}

func TestScrape(t *testing.T) {
	for name, s := range map[string]*state.Snapshot{
		"healthy": fixture.Healthy(),
		"missing": fixture.Missing(),
		"no-nic":  fixture.NoNIC(),

		"detached":       fixture.Detached(),
		"path-dead":      fixture.PathDead(),
		"all-paths-dead": fixture.AllPathsDead(),
		"suppressed":     fixture.Suppressed(),
		"half-open":      fixture.HalfOpen(),
		"no-partner":     fixture.NoPartner(),
	} {
		t.Run(name, func(t *testing.T) {
			got, golden := scrape(t, s), "testdata/"+name+".metrics"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("other metrics than %s; run with -update if that is meant (-want +got):\n%s", golden, diff)
			}
		})
	}
}

// Every shape must pass the registry's checks: no series twice, each as described.
func TestEveryShapeIsConsistent(t *testing.T) {
	for _, shape := range fixture.Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			problems, err := testutil.CollectAndLint(collector(shape.Snapshot))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems {
				if p.Metric == "bondd_slave_speed_bytes_per_second" && p.Text == bits {
					continue
				}
				t.Errorf("%s: %s", p.Metric, p.Text)
			}
			scrape(t, shape.Snapshot)
		})
	}
}

func TestUnknownSpeedHasNoSeries(t *testing.T) {
	if got := scrape(t, fixture.Degraded()); strings.Contains(got, `bondd_slave_speed_bytes_per_second{bond="bond0",slave="eth1"}`) {
		t.Errorf("a slave without a link has a speed:\n%s", got)
	}
}

// What is not known has no series, so that no alert takes it for a fault.
func TestUnknownPathHasNoSeries(t *testing.T) {
	got := scrape(t, fixture.Degraded())
	const eth1 = `{bond="bond0",slave="eth1",target="192.168.1.1"}`
	if strings.Contains(got, "bondd_slave_path_up"+eth1) {
		t.Errorf("a slave without a link has a path that is up or down:\n%s", got)
	}
	if !strings.Contains(got, "bondd_path_rtt_seconds"+eth1) {
		t.Errorf("the last answer is forgotten:\n%s", got)
	}
	unheard := fixture.Healthy()
	unheard.Bonds[0].Slaves[1].Paths[0] = state.Path{Target: unheard.Bonds[0].Slaves[1].Paths[0].Target}
	got = scrape(t, unheard)
	if strings.Contains(got, "bondd_path_rtt_seconds"+eth1) {
		t.Errorf("a path that nobody answered has a time:\n%s", got)
	}
	if !strings.Contains(got, `bondd_path_probes_total{bond="bond0",result="missed",slave="eth1",target="192.168.1.1"} 0`) {
		t.Errorf("a counter does not begin at 0:\n%s", got)
	}
}

// An engine that does not run shows by the age of what it published last. What
// the bonds do meanwhile is not known: bondd_bond_up neither stays 1 nor is 0.
func TestSnapshotAge(t *testing.T) {
	const age = "\nbondd_snapshot_age_seconds "
	state := []string{
		`bondd_bond_up{bond="bond0"}`, `bondd_bond_degraded{bond="bond0"}`, `bondd_bond_slaves_up{bond="bond0"}`,
		`bondd_slave_present{bond="bond0",slave="eth0"}`, `bondd_slave_active{bond="bond0",slave="eth0"}`,
		`bondd_slave_link_up{bond="bond0",slave="eth0"}`,
		`bondd_slave_path_up{bond="bond0",slave="eth0",target="192.168.1.1"}`,
	}
	counted := []string{
		`bondd_failovers_total{bond="bond0",reason="link"} 1`,
		`bondd_slave_receive_packets_total{bond="bond0",slave="eth0"} 1.8446213e+07`,
	}
	young := scrapeAfter(t, fixture.Healthy(), 4500*time.Millisecond)
	old := scrapeAfter(t, fixture.Healthy(), 90*time.Second)
	if !strings.Contains(young, age+"4.5\n") || !strings.Contains(old, age+"90\n") {
		t.Errorf("the ages 4.5 s and 90 s are not told:\n%s", old)
	}
	for _, series := range state {
		if !strings.Contains(young, series) {
			t.Errorf("after 4.5 s there is no %s:\n%s", series, young)
		}
		if strings.Contains(old, series) {
			t.Errorf("after 90 s %s claims to be known", series)
		}
	}
	for _, series := range counted {
		if !strings.Contains(young, series) || !strings.Contains(old, series) {
			t.Errorf("%s is not in both scrapes:\n%s", series, old)
		}
	}
	// From the start, before anything was read.
	if got := scrape(t, fixture.Starting()); !strings.Contains(got, age+"0\n") {
		t.Errorf("no age at the start:\n%s", got)
	}
}

func TestHelpIsASentence(t *testing.T) {
	sentence := regexp.MustCompile(`^# HELP bondd_\w+ [A-Z].*\.$`)
	for line := range strings.Lines(scrape(t, fixture.Healthy())) {
		if strings.HasPrefix(line, "# HELP") && !sentence.MatchString(strings.TrimSpace(line)) {
			t.Errorf("not a sentence: %s", line)
		}
	}
}

func TestHandlerFormats(t *testing.T) {
	snapshot := fixture.Healthy()
	snapshot.Published = time.Now()
	server := httptest.NewServer(metrics.Handler(func() *state.Snapshot { return snapshot }, slog.New(slog.DiscardHandler)))
	defer server.Close()
	for accept, want := range map[string][]string{
		"": {"text/plain", "bondd_bond_up{bond=\"bond0\"} 1\n", "go_goroutines", "process_start_time_seconds"},
		"application/openmetrics-text;version=1.0.0": {"application/openmetrics-text", "bondd_bond_up{bond=\"bond0\"} 1.0\n", "# EOF\n"},
	} {
		request, err := http.NewRequest(http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", accept)
		answer, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.Header.Get("Content-Type"); !strings.HasPrefix(got, want[0]) {
			t.Errorf("Accept %q: type %q, want %q", accept, got, want[0])
		}
		for _, text := range want[1:] {
			if !bytes.Contains(body, []byte(text)) {
				t.Errorf("Accept %q: no %q in\n%s", accept, text, body)
			}
		}
	}
}

func TestPromtool(t *testing.T) {
	skip.If(t, skip.Prometheus)
	for name, s := range map[string]*state.Snapshot{"healthy": fixture.Healthy(), "half-open": fixture.HalfOpen(), "all-paths-dead": fixture.AllPathsDead()} {
		check := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
		check.Stdin = strings.NewReader(scrape(t, s))
		out, err := check.CombinedOutput()
		if err != nil && check.ProcessState == nil {
			t.Fatalf("run promtool, which Debian has in its package prometheus: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(line); line != "bondd_slave_speed_bytes_per_second "+bits {
				t.Errorf("promtool: %s: %s", name, line)
			}
		}
	}
}
