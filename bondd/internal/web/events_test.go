package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
)

// A stream reads server-sent events.
type stream struct {
	*bufio.Scanner
	close func()
}

func open(t *testing.T, server *httptest.Server) (*stream, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a test that hangs must end
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{bufio.NewScanner(response.Body), func() { cancel(); response.Body.Close() }}
	s.Buffer(nil, 1<<20)
	t.Cleanup(s.close)
	return s, response.StatusCode
}

// next returns the next event as the headline of its status.
func (s *stream) next(t *testing.T) string {
	t.Helper()
	for s.Scan() {
		if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
			var st report.Status
			if err := json.Unmarshal([]byte(data), &st); err != nil {
				t.Fatal(err)
			}
			return st.Headline()
		}
	}
	t.Fatalf("the stream ended: %v", s.Err())
	return ""
}

// later is a snapshot as published some time after the others.
func later(s *state.Snapshot, seconds int) *state.Snapshot {
	s.Time = fixture.Now.Add(time.Duration(seconds) * time.Second)
	return s
}

func TestEventsTellChangesOnly(t *testing.T) {
	src, server := start(t, fixture.Healthy())
	events, code := open(t, server)
	if code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	if got := events.next(t); !strings.HasPrefix(got, "bond0 is healthy") {
		t.Errorf("first event: %q", got)
	}

	// Traffic is no event, or the next one would be about a healthy bond.
	traffic := later(fixture.Healthy(), 1)
	traffic.Bonds[0].Slaves[0].Counters.RxPackets += 1000
	src.Publish(traffic)
	src.Publish(later(fixture.Degraded(), 2))
	if got := events.next(t); !strings.HasPrefix(got, "bond0 is degraded") {
		t.Errorf("event after the change: %q", got)
	}

	second, _ := open(t, server)
	if got := second.next(t); !strings.HasPrefix(got, "bond0 is degraded") {
		t.Errorf("first event of a new stream: %q", got)
	}
	src.Publish(later(fixture.Down(), 3))
	for _, s := range []*stream{events, second} {
		if got := s.next(t); !strings.HasPrefix(got, "bond0 is down") {
			t.Errorf("event after the second change: %q", got)
		}
	}
}

func TestEventStreamsAreBoundedAndEnd(t *testing.T) {
	src, server := start(t, fixture.Healthy())
	const most = 16
	var streams []*stream
	for range most {
		s, code := open(t, server)
		if code != http.StatusOK {
			t.Fatalf("stream %d: status %d", len(streams), code)
		}
		s.next(t)
		streams = append(streams, s)
	}
	if got := do(t, server, http.MethodGet, "/api/v1/events"); got.code != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("one stream too many: %d, Retry-After %q", got.code, got.header.Get("Retry-After"))
	}
	if got := do(t, server, http.MethodGet, "/"); got.code != http.StatusOK {
		t.Errorf("the page beside all streams: %d", got.code)
	}
	for _, s := range streams {
		s.close()
	}
	for src.Subscribers() > 0 { // the test's own time limit bounds this
		time.Sleep(time.Millisecond)
	}
	if s, code := open(t, server); code == http.StatusOK {
		s.next(t)
	}
}
