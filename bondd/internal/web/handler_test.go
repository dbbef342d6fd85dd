package web_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web"
	"bondd.internal/bondd/internal/web/fixture"
)

// start serves a snapshot with a stand-in for the metrics.
func start(t *testing.T, s *state.Snapshot) (*fixture.Source, *httptest.Server) {
	t.Helper()
	src := fixture.NewSource(s)
	metrics := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "bondd_build_info 1\n") })
	server := httptest.NewServer(web.Handler(src, metrics, nil, slog.New(slog.DiscardHandler)))
	t.Cleanup(func() {
		server.CloseClientConnections() // event streams have no end of their own
		server.Close()
	})
	return src, server
}

type answer struct {
	code   int
	header http.Header
	body   string
}

func do(t *testing.T, server *httptest.Server, method, path string, header ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func TestPaths(t *testing.T) {
	_, server := start(t, fixture.Healthy())
	for path, want := range map[string]struct {
		kind, text string
	}{
		"/":              {"text/html; charset=utf-8", "bond0 is healthy: traffic on eth0, eth1 ready"},
		"/metrics":       {"text/plain; charset=utf-8", "bondd_build_info 1"},
		"/healthz":       {"application/json", `"ok": true`},
		"/readyz":        {"text/plain; charset=utf-8", "ready"},
		"/api/v1/status": {"application/json", `"active_slave": "eth0"`},
		"/api/v1/config": {"text/plain; charset=utf-8", `miimon = "100ms"`},

		"/api/v1/history": {"application/json", `"cause": "eth0 lost its link"`},
	} {
		got := do(t, server, http.MethodGet, path)
		if got.code != http.StatusOK || got.header.Get("Content-Type") != want.kind || !strings.Contains(got.body, want.text) {
			t.Errorf("GET %s: %d %s, want 200 %s with %q\n%s", path, got.code, got.header.Get("Content-Type"), want.kind, want.text, got.body)
		}
		head := do(t, server, http.MethodHead, path)
		if head.code != http.StatusOK || head.header.Get("Content-Type") != want.kind || head.body != "" {
			t.Errorf("HEAD %s: %d %s %q, want GET's answer without its body", path, head.code, head.header.Get("Content-Type"), head.body)
		}
	}
	if got := do(t, server, http.MethodHead, "/api/v1/events"); got.code != http.StatusOK || got.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD /api/v1/events: %d %s", got.code, got.header.Get("Content-Type"))
	}
}

func TestWhatIsNotThere(t *testing.T) {
	_, server := start(t, fixture.Healthy())
	for _, tt := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/nothing", 404},
		{"GET", "/assets/", 404},
		{"GET", "/assets/page.html", 404},
		{"GET", "/assets/..%2ftemplates%2fpage.html", 404},
		{"GET", "/api/v1/", 404},
		{"POST", "/api/v1/failover", 404},
		{"POST", "/api/v1/status", 405},
		{"POST", "/", 405},
		{"DELETE", "/api/v1/config", 405},
	} {
		got := do(t, server, tt.method, tt.path)
		if got.code != tt.code || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s %s: %d %s, want %d in plain text", tt.method, tt.path, got.code, got.header.Get("Content-Type"), tt.code)
		}
	}
	if allow := do(t, server, http.MethodPost, "/").header.Get("Allow"); allow != "GET, HEAD" {
		t.Errorf("Allow: %q", allow)
	}
}

func TestHeaders(t *testing.T) {
	_, server := start(t, fixture.Healthy())
	for _, path := range []string{"/", "/metrics", "/api/v1/status", "/nothing"} {
		got := do(t, server, http.MethodGet, path).header
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
			"Cache-Control":           "no-store",
		} {
			if got.Get(name) != want {
				t.Errorf("%s: %s: %q, want %q", path, name, got.Get(name), want)
			}
		}
	}
}

func TestAssetsMayBeKept(t *testing.T) {
	_, server := start(t, fixture.Healthy())
	for _, url := range attributes(parse(t, do(t, server, http.MethodGet, "/").body), "link", "href") {
		got := do(t, server, http.MethodGet, url)
		if got.code != http.StatusOK || !strings.Contains(got.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, Cache-Control %q", url, got.code, got.header.Get("Cache-Control"))
		}
		bare, _, _ := strings.Cut(url, "?")
		unversioned := do(t, server, http.MethodGet, bare)
		if unversioned.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: Cache-Control %q: it would outlive an update", bare, unversioned.header.Get("Cache-Control"))
		}
		if again := do(t, server, http.MethodGet, bare, "If-None-Match", unversioned.header.Get("ETag")); again.code != http.StatusNotModified {
			t.Errorf("%s again: %d, want 304", bare, again.code)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	for _, tt := range []struct {
		shape      string
		health     int
		firstError string
		ready      int
	}{
		{"healthy", 200, "", 200},
		{"degraded", 200, "", 200}, // it still carries traffic on a healthy slave
		{"down", 503, "bond0: eth0 has no link, eth1 has no link", 200},
		{"several", 503, "bond2: eth4 has no link, eth5 has no link", 200},
		{"no-nic", 503, "there is no bond", 200},
		{"starting", 503, "the configuration is not applied yet", 503},
	} {
		t.Run(tt.shape, func(t *testing.T) {
			_, server := start(t, shape(t, tt.shape))
			got := do(t, server, http.MethodGet, "/healthz")
			var health map[string]any
			if err := json.Unmarshal([]byte(got.body), &health); err != nil {
				t.Fatal(err)
			}
			if got.code != tt.health || health["ok"] != (tt.health == 200) || health["first_error"] != tt.firstError || len(health) != 2 {
				t.Errorf("healthz: %d %v, want %d and %q", got.code, health, tt.health, tt.firstError)
			}
			if got := do(t, server, http.MethodGet, "/readyz"); got.code != tt.ready {
				t.Errorf("readyz: %d, want %d", got.code, tt.ready)
			}
		})
	}
}

func TestStatusFollowsTheSource(t *testing.T) {
	src, server := start(t, fixture.Healthy())
	src.Publish(fixture.Degraded())
	var got report.Status
	if err := json.Unmarshal([]byte(do(t, server, http.MethodGet, "/api/v1/status").body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Headline() != "bond0 is degraded: eth1 has no link" {
		t.Errorf("status says %q", got.Headline())
	}
}

// shape returns the snapshot of that name.
func shape(t *testing.T, name string) *state.Snapshot {
	t.Helper()
	for _, s := range fixture.Shapes() {
		if s.Name == name {
			return s.Snapshot
		}
	}
	t.Fatalf("there is no shape %q", name)
	return nil
}
