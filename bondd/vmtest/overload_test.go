package vmtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// clientsVar makes the test binary a process of many HTTP clients: its value is
// clients as JSON.
const clientsVar = "VMTEST_CLIENTS"

// clients send one request after the other, each on a connection of its own. A
// client waits for nothing but its answer.
type clients struct {
	Addresses []string // that they connect from
	Each      int      // clients for each address
	Paths     []string // that each asks for, in turn
}

// answers is what became of the requests of clients.
type answers struct {
	Codes       map[int]int
	Unexplained int // answers 503 that do not say when to try again
	Failed      int // requests without an answer
}

// runClients is that process. It ends at SIGTERM, and then prints the answers.
func runClients() int {
	var c clients
	if err := json.Unmarshal([]byte(os.Getenv(clientsVar)), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	var (
		mu  sync.Mutex
		all = answers{Codes: make(map[int]int)}
		wg  sync.WaitGroup
	)
	note := func(code int, retryAfter string, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			all.Failed++
		default:
			all.Codes[code]++
			if code == http.StatusServiceUnavailable && retryAfter == "" {
				all.Unexplained++
			}
		}
	}
	for _, address := range c.Addresses {
		for n := range c.Each {
			wg.Go(func() {
				for i := n; ctx.Err() == nil; i++ {
					code, retryAfter, err := ask(ctx, address, c.Paths[i%len(c.Paths)])
					note(code, retryAfter, err)
					if err != nil {
						time.Sleep(100 * time.Millisecond) // as if to connect again took its time
					}
				}
			})
		}
	}
	wg.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
		return 1
	}
	return 0
}

// ask sends one request from an address and reads the answer to its end.
func ask(ctx context.Context, from, path string) (code int, retryAfter string, err error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(netlab.HostAddress.Addr().String(), "80"))
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: bondd\r\nConnection: close\r\n\r\n", path); err != nil {
		return 0, "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, "", err
	}
	return response.StatusCode, response.Header.Get("Retry-After"), nil
}

// startClients starts clients in the peer, from 16 addresses. stop ends them.
func startClients(t testing.TB, lan *netlab.LAN, c clients) (stop func() answers) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 16 {
		address := fmt.Sprintf("192.0.2.%d", 101+i)
		c.Addresses = append(c.Addresses, address)
		lan.Peer.IP("addr add " + address + "/24 dev br0")
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := lan.Peer.Command(self)
	cmd.Env = append(os.Environ(), clientsVar+"="+string(text))
	cmd.Stdout, cmd.Stderr = &output, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return func() (a answers) {
		t.Helper()
		if err := errors.Join(cmd.Process.Signal(unix.SIGTERM), cmd.Wait()); err != nil {
			t.Fatalf("end the clients: %v", err)
		}
		if err := json.Unmarshal(output.Bytes(), &a); err != nil {
			t.Fatalf("the clients print %q: %v", &output, err)
		}
		return a
	}
}

// However many ask over HTTP, and however much: links are polled, traffic moves
// as fast as ever, and what is asked or ordered of another kind is answered.
func TestOverload(t *testing.T) {
	const (
		cards   = 16          // make a page and the metrics long
		limit   = time.Second // for an answer
		publish = time.Second // between two snapshots while nothing happens
	)
	lan, c := command(t, cards, primaryEth0)
	acquaint(lan)
	began, before := time.Now(), c.polls()
	stop := startClients(t, lan, clients{Each: 32, Paths: []string{"/", "/metrics", "/api/v1/history", "/api/v1/config"}})
	time.Sleep(500 * time.Millisecond)

	for range 5 {
		asked := time.Now()
		code, body := c.get("/healthz")
		if took := time.Since(asked); code != http.StatusOK || took > limit {
			t.Errorf("/healthz is answered with %d in %v, want 200 in %v: %s", code, took, limit, body)
		}
		asked = time.Now()
		code, body = c.get("/api/v1/status")
		took := time.Since(asked)
		t.Logf("/api/v1/status is answered in %v", took)
		var s struct{ Time time.Time }
		if err := json.Unmarshal([]byte(body), &s); code != http.StatusOK || err != nil || took > limit {
			t.Errorf("/api/v1/status is answered with %d in %v, want 200 in %v; %v: %s", code, took, limit, err, body)
		} else if age := asked.Sub(s.Time); age > publish+publish/5 {
			t.Errorf("the status is %v old", age)
		}
	}
	for range 3 {
		r := whilePulled(t, lan, lan.Cables[0])
		t.Log(r)
		if r.LostAtEnd != 0 || r.LongestGap > 10*time.Millisecond {
			t.Errorf("with the cable of eth0 pulled: %v; want traffic again within 10ms", r)
		}
		lan.Cables[0].Plug()
		time.Sleep(200 * time.Millisecond)
	}
	ordered := time.Now()
	code, body := c.post("/api/v1/failover", `{"bond":"bond0","to":"eth5"}`)
	took := time.Since(ordered)
	t.Logf("an order is answered in %v", took)
	if code != http.StatusOK || took > limit {
		t.Errorf("an order is answered with %d in %v, want 200 in %v: %s", code, took, limit, body)
	}

	a := stop()
	polls, window := c.polls()-before, time.Since(began)
	t.Logf("in %v: %d polls, %+v", window, polls, a)
	// The counter is as old as the snapshot.
	if want := int((window - publish) / (100 * time.Millisecond)); polls < want*95/100 {
		t.Errorf("%d polls in %v, want %d", polls, window, want)
	}
	if a.Codes[http.StatusOK] == 0 || a.Codes[http.StatusServiceUnavailable] == 0 || len(a.Codes) > 2 || a.Unexplained != 0 {
		t.Errorf("the clients are answered %+v, want 200, and 503 with a time to try again", a)
	}
	for _, path := range []string{"/", "/metrics", "/api/v1/history"} {
		if code, body := c.get(path); code != http.StatusOK {
			t.Errorf("%s after that: code %d: %s", path, code, body)
		}
	}
	if log := c.log.String(); strings.Contains(log, "level=ERROR") {
		t.Error("there are errors in the log")
	}
}

// polls is how often bondd has polled.
func (d *daemon) polls() int {
	d.t.Helper()
	n, err := strconv.Atoi(d.metric("bondd_polls_total"))
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}
