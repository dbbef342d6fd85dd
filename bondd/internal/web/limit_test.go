package web

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bondd.internal/bondd/internal/web/fixture"
)

// A request that comes while another is answered waits for its turn; one that
// has no room to wait, or has waited too long, is refused.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(1, 2, maxWait)
		began := time.Now()
		answered := make(chan string, 8)
		enter := func(name string) {
			if b.enter(t.Context()) {
				answered <- fmt.Sprint(name, " in ", time.Since(began))
			} else {
				answered <- fmt.Sprint(name, " out ", time.Since(began))
			}
		}
		enter("a")
		go enter("b")
		synctest.Wait()
		go enter("c")
		synctest.Wait()
		enter("d") // has no room
		time.Sleep(time.Second)
		b.leave()
		time.Sleep(time.Minute) // b is slow, and c waits too long
		b.leave()
		enter("e")
		b.leave()
		synctest.Wait()
		var got []string
		for len(answered) > 0 {
			got = append(got, <-answered)
		}
		if want := "a in 0s, d out 0s, b in 1s, c out 5s, e in 1m1s"; strings.Join(got, ", ") != want {
			t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
		}
	})
}

// However many ask for one thing, there is an answer for those who ask for
// another; and those who ask too much are told when to come again.
func TestKindsDoNotShutOutEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1 + maxWaiting
		atOnce, end := 0, make(chan struct{})
		metrics := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { atOnce++; <-end; atOnce-- })
		h := Handler(fixture.NewSource(fixture.Healthy()), metrics, nil, discard())
		get := func(path string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			return w
		}
		answers := make(chan *httptest.ResponseRecorder, maxConnections)
		for range maxConnections {
			go func() { answers <- get("/metrics") }()
		}
		synctest.Wait()
		if atOnce != 1 {
			t.Errorf("%d requests of one kind are answered at once", atOnce)
		}
		if got, want := len(answers), maxConnections-most; got != want {
			t.Errorf("%d requests are refused, want %d", got, want)
		}
		for len(answers) > 0 {
			if w := <-answers; w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
				t.Errorf("a request too many: code %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
		}
		for _, path := range []string{"/", "/healthz", "/readyz", "/api/v1/status", "/api/v1/history", "/api/v1/config"} {
			if w := get(path); w.Code != http.StatusOK {
				t.Errorf("%s beside many who ask for /metrics: code %d", path, w.Code)
			}
		}
		close(end)
		for range most {
			if w := <-answers; w.Code != http.StatusOK {
				t.Errorf("a request that waited: code %d", w.Code)
			}
		}
	})
}

// Clients that ask and do not read keep nobody waiting.
func TestClientsThatDoNotRead(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 5<<20) // more than the kernel takes on a connection
	metrics := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			write(w, body)
		}
	})
	address, _ := serveOn(t, "", Handler(fixture.NewLiveSource(fixture.Healthy()), metrics, nil, discard()))
	for i := range 33 {
		// A source has a share of its own of the connections.
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/8))}}
		conn, err := from.DialContext(t.Context(), "tcp", strings.TrimPrefix(address, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: bondd\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 "))); err != nil { // it is being answered
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/healthz", "/metrics?short"} {
		response, err := http.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s beside clients that do not read: code %d", path, response.StatusCode)
		}
	}
}
