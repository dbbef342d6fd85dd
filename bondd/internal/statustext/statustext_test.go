package statustext_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/statustext"
	"bondd.internal/bondd/internal/web/fixture"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	time.Local = time.UTC // the golden files have its times
	os.Exit(m.Run())
}

// decoded is the status as a client has it, after its way over the network.
func decoded(t *testing.T, st *report.Status) *report.Status {
	t.Helper()
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	got := new(report.Status)
	if err := json.Unmarshal(text, got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWrite(t *testing.T) {
	for _, shape := range fixture.Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			var out bytes.Buffer
			if err := statustext.Write(&out, decoded(t, report.From(shape.Snapshot))); err != nil {
				t.Fatal(err)
			}
			golden := "testdata/" + shape.Name + ".txt"
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("another text than %s; run with -update if that is meant (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func TestExitCode(t *testing.T) {
	want := map[string]int{
		"healthy": 0, "degraded": 3, "down": 1, "missing": 3, "left-out": 3, "broken-config": 0, "no-nic": 1,
		"starting": 1, "broadcast": 0, "round-robin": 0, "single": 3, "many": 3, "several": 1,
		"detached": 3, "path-dead": 3, "all-paths-dead": 1, "suppressed": 3, "parked": 3, "lacp": 0, "half-open": 3, "no-partner": 3, "foreign": 0, "deaf": 3, "driver-down": 3, "unproven": 0,
	}
	for _, shape := range fixture.Shapes() {
		if got := statustext.ExitCode(report.From(shape.Snapshot)); got != want[shape.Name] {
			t.Errorf("%s: exit code %d, want %d", shape.Name, got, want[shape.Name])
		}
	}
}

func TestFetch(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); r.Host == "" || password == "wrong" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		json.NewEncoder(w).Encode(report.From(fixture.Degraded()))
	})
	mux.HandleFunc("GET /other/api/v1/status", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<html>")) })
	server := httptest.NewServer(mux)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	closed := httptest.NewServer(nil)
	closed.Close()

	for _, address := range []string{server.URL, server.URL + "/", host} {
		st, err := statustext.Fetch(t.Context(), address)
		if err != nil {
			t.Errorf("Fetch(%q): %v", address, err)
			continue
		}
		if got, want := st.Headline(), "bond0 is degraded: eth1 has no link"; got != want {
			t.Errorf("Fetch(%q) says %q, want %q", address, got, want)
		}
	}
	for address, want := range map[string]string{
		closed.URL:                 "connection refused",
		server.URL + "/none":       "404 Not Found",
		server.URL + "/other":      "may not be bondd",
		"http://u:wrong@" + host:   "http://u:xxxxx@" + host + ": 401 Unauthorized",
		"http://bond.example:port": "read address",
	} {
		if _, err := statustext.Fetch(t.Context(), address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Fetch(%q) = %v, want an error with %q", address, err, want)
		}
	}
}
