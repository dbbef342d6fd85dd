package web

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/chromedp"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
)

// answerOf is what the handler answers to a GET.
func answerOf(h http.Handler, path string) (code int, body string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// An engine that does not run publishes nothing, and the last snapshot goes on
// saying that all is well. Whoever asks is told all the same.
func TestHealthWithoutEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := fixture.NewSource(fixture.Healthy())
		h := Handler(src, http.NotFoundHandler(), nil, discard())
		check := func(when string, wantCode int, wantError string) {
			t.Helper()
			code, body := answerOf(h, "/healthz")
			var got health
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			if code != wantCode || got.OK != (wantCode == http.StatusOK) ||
				!strings.Contains(got.FirstError, wantError) || wantError == "" && got.FirstError != "" {
				t.Errorf("%s: healthz %d %s; want %d and %q", when, code, body, wantCode, wantError)
			}
			code, body = answerOf(h, "/api/v1/status")
			var st report.Status
			if err := json.Unmarshal([]byte(body), &st); err != nil {
				t.Fatal(err)
			}
			if code != http.StatusOK || st.OK != got.OK || st.FirstError != got.FirstError {
				t.Errorf("%s: status %d says ok %t and %q; healthz %t and %q",
					when, code, st.OK, st.FirstError, got.OK, got.FirstError)
			}
			if code, body := answerOf(h, "/readyz"); code != http.StatusOK {
				t.Errorf("%s: readyz %d %s: the configuration is applied", when, code, body)
			}
		}
		check("at once", 200, "")
		time.Sleep(state.MaxAge)
		check("after 5 s", 200, "")
		time.Sleep(2 * time.Second)
		check("after 7 s", 503, "published nothing for 7s")
		time.Sleep(time.Hour)
		check("after an hour", 503, "published nothing for 1h0m7s")
		src.Publish(fixture.Healthy())
		check("published again", 200, "")
		src.Publish(fixture.Down())
		check("published that it is down", 503, "eth0 has no link, eth1 has no link")
		time.Sleep(6 * time.Second)
		check("down, 6 s ago", 503, "published nothing for 6s")
	})
}

func TestAgeInDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := fixture.NewSource(fixture.Healthy())
		h := Handler(src, http.NotFoundHandler(), nil, discard())
		time.Sleep(2500 * time.Millisecond)
		for _, path := range []string{"/api/v1/status", "/api/v1/history"} {
			_, body := answerOf(h, path)
			var got struct {
				Age *float64 `json:"snapshot_age_seconds"`
			}
			if err := json.Unmarshal([]byte(body), &got); err != nil || got.Age == nil || *got.Age != 2.5 {
				t.Errorf("%s does not say that it is 2.5 s old: %v\n%s", path, err, body)
			}
		}
	})
}

func TestReadyWithoutEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Handler(fixture.NewSource(fixture.Starting()), http.NotFoundHandler(), nil, discard())
		time.Sleep(8 * time.Second)
		code, body := answerOf(h, "/readyz")
		if code != http.StatusServiceUnavailable || !strings.Contains(body, "not applied yet; ") ||
			!strings.Contains(body, "published nothing for 8s") {
			t.Errorf("readyz of an engine that has hung since the start: %d %s", code, body)
		}
	})
}

// The page is rendered again although no new snapshot was published.
func TestPageWithoutEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := fixture.NewSource(fixture.Several())
		h := Handler(src, http.NotFoundHandler(), nil, discard())
		const banner = `id="stale"`
		for _, tt := range []struct {
			wait   time.Duration
			banner bool
			age    string
		}{
			{0, false, ""},
			{4 * time.Second, false, ""},
			{4 * time.Second, true, "<b>8 s</b>"},
			{2 * time.Minute, true, "<b>2 min</b>"},
		} {
			time.Sleep(tt.wait)
			_, body := answerOf(h, "/")
			if strings.Contains(body, banner) != tt.banner || !strings.Contains(body, tt.age) ||
				strings.Contains(body, `<html lang="en" data-health="unknown">`) != tt.banner {
				t.Errorf("after %v more: want a banner %t with %q\n%.4000s", tt.wait, tt.banner, tt.age, body)
			}
		}
	})
}

// A stream carries that the engine does not run, although nothing is published
// that could wake it, and once only; and that it runs again.
func TestEventsWithoutEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := fixture.NewSource(fixture.Healthy())
		l := newPipeListener()
		ctx, cancel := context.WithCancel(t.Context())
		doneC := make(chan error, 1)
		go func() { doneC <- serve(ctx, l, "", Handler(src, http.NotFoundHandler(), nil, discard()), discard()) }()
		response, err := l.client("192.0.2.7").Get("http://bondd/api/v1/events")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		next := func() *report.Status {
			t.Helper()
			for lines.Scan() {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					st := new(report.Status)
					if err := json.Unmarshal([]byte(data), st); err != nil {
						t.Fatal(err)
					}
					return st
				}
			}
			t.Fatalf("the stream ended: %v", lines.Err())
			return nil
		}
		began := time.Now()
		if st := next(); !st.OK {
			t.Errorf("first event: %q", st.FirstError)
		}
		if st := next(); st.OK || !strings.Contains(st.FirstError, "published nothing for 5s") ||
			!strings.Contains(st.Headline(), "is not known") {
			t.Errorf("second event: ok %t, %q, %q", st.OK, st.FirstError, st.Headline())
		}
		if got := time.Since(began).Round(time.Millisecond); got != state.MaxAge {
			t.Errorf("the event came after %v, want %v", got, state.MaxAge)
		}
		go func() {
			time.Sleep(time.Minute)
			src.Publish(fixture.Healthy())
		}()
		if st := next(); !st.OK || st.Health() != report.Healthy {
			t.Errorf("event after the engine runs again: %q, %q", st.FirstError, st.Headline())
		}
		cancel()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Errorf("the stream ends with %v", err)
		}
		if err := <-doneC; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// A page that was live says that what it shows is old, although bondd goes on
// answering; and that it is live again.
func TestBrowserNoticesAnEngineThatHangs(t *testing.T) {
	b := newBrowser(t)
	complaints := b.listen()
	b.do(chromedp.EmulateViewport(360, 740))
	p := newPageServer(t, fixture.Healthy())
	b.do(chromedp.Navigate(p.url()))
	b.await(says("#live", "Live"))
	if eval[bool](b, `document.querySelector("#stale") !== null`) {
		t.Error("a live page says that it is old")
	}
	p.src.Hang(12 * time.Second)
	b.await(says("#stale", "published nothing for "))
	b.await(says("#headline", "The state of bond0 is not known"))
	b.await(says("#live", "Not live"))
	b.await(`document.title.startsWith("The state of bond0 is not known")`)
	b.await(`document.querySelector('link[rel="icon"]').href.includes("unknown.svg")`)
	if got := eval[int](b, `document.documentElement.scrollWidth`); got > 360 {
		t.Errorf("the page is %d wide on a screen of 360", got)
	}
	p.src.Publish(after(fixture.Healthy(), time.Second))
	b.await(says("#headline", "bond0 is healthy"))
	b.await(`document.querySelector("#stale") === null && document.querySelector("#live").innerText === "Live"`)
	for _, c := range complaints() {
		t.Errorf("the browser complains: %s", c)
	}
}
