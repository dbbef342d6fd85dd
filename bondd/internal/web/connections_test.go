package web

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"bondd.internal/bondd/internal/web/fixture"
)

// halfOpen is a request without its end.
const halfOpen = "GET /metrics HTTP/1.1\r\nHost: bondd\r\n"

// A flood is a number of connections that a client opens and keeps open.
type flood struct {
	ended atomic.Int32 // by the server
}

// flood opens n connections from an IP address and sends a text on each.
func (l *pipeListener) flood(t *testing.T, n int, from, text string) *flood {
	t.Helper()
	f := new(flood)
	for range n {
		conn, err := l.dial(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = io.WriteString(conn, text) // the server may not read it
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
			f.ended.Add(1)
		}()
	}
	synctest.Wait()
	return f
}

// piped serves a handler on a network in memory until the test ends.
func piped(t *testing.T, h http.Handler) *pipeListener {
	t.Helper()
	l := newPipeListener()
	ctx, cancel := context.WithCancel(t.Context())
	doneC := make(chan error, 1)
	go func() { doneC <- serve(ctx, l, "", h, discard()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-doneC; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l
}

// scrapeFrom gets the metrics from an IP address and returns how long it took.
func (l *pipeListener) scrapeFrom(t *testing.T, ip string) (took time.Duration) {
	t.Helper()
	began := time.Now()
	response, err := l.client(ip).Get("http://bondd/metrics")
	if err != nil {
		t.Errorf("scrape from %s: %v", ip, err)
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("scrape from %s: %s, %v", ip, response.Status, err)
	}
	return time.Since(began)
}

func scraped() http.Handler {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "bondd_build_info 1\n")
	})
	return Handler(fixture.NewLiveSource(fixture.Healthy()), metrics, nil, discard())
}

// A source that holds open what it can does not delay another source, and its own
// requests by a few seconds at most.
func TestFloodsFromOneSource(t *testing.T) {
	const idle = "GET /metrics HTTP/1.1\r\nHost: bondd\r\n\r\n"
	for _, tt := range []struct {
		name, from, text string
		same, other      string
	}{
		{"half-open requests", "192.0.2.2", halfOpen, "192.0.2.2", "192.0.2.3"},
		{"nothing sent", "192.0.2.2", "", "192.0.2.2", "192.0.2.3"},
		{"idle", "192.0.2.2", idle, "192.0.2.2", "192.0.2.3"},
		{"idle, and half a request", "192.0.2.2", idle + halfOpen, "192.0.2.2", "192.0.2.3"},
		{"IPv6", "2001:db8::1:1", halfOpen, "2001:db8::2:2", "2001:db8:0:1::1"},
		{"IPv4 on a socket for both", "::ffff:192.0.2.2", halfOpen, "192.0.2.2", "192.0.2.3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := piped(t, scraped())
				const n = 256
				f := l.flood(t, n, tt.from, tt.text)
				if open := n - f.ended.Load(); open > maxPerSource+maxSourceQueue {
					t.Errorf("%d connections are open, want at most %d", open, maxPerSource+maxSourceQueue)
				}
				if took := l.scrapeFrom(t, tt.other); took != 0 {
					t.Errorf("a scrape from %s waits for %v", tt.other, took)
				}
				if took := l.scrapeFrom(t, tt.same); took > 3*time.Second {
					t.Errorf("a scrape from %s waits for %v", tt.same, took)
				}
			})
		})
	}
}

// While all of a source's connections are of use, one more waits for its turn.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		l := piped(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			for n, m := now.Add(1), most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(100 * time.Millisecond)
			now.Add(-1)
		}))
		var clients sync.WaitGroup
		for range maxPerSource + maxSourceQueue {
			clients.Go(func() { l.scrapeFrom(t, "192.0.2.2") })
		}
		clients.Wait()
		if got := most.Load(); got != maxPerSource {
			t.Errorf("%d connections were served at once, want %d", got, maxPerSource)
		}
	})
}

// Many sources together can take every place, and the next one still gets one.
func TestFloodsFromManySources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := piped(t, scraped())
		var ended []*flood
		const sources, each = 20, 64
		for i := range sources {
			ended = append(ended, l.flood(t, each, fmt.Sprintf("192.0.2.%d", 100+i), halfOpen))
		}
		open := sources * each
		for _, f := range ended {
			open -= int(f.ended.Load())
		}
		if open > maxConnections+maxQueue {
			t.Errorf("%d connections are open, want at most %d", open, maxConnections+maxQueue)
		}
		for range 3 {
			if took := l.scrapeFrom(t, "192.0.2.3"); took > courtesy {
				t.Errorf("a scrape waits for %v", took)
			}
		}
	})
}

// Event streams have no end. Those of a source must not keep it from all else.
func TestEventStreamsYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := piped(t, scraped())
		var ended atomic.Int32
		for range maxPerSource {
			response, err := l.client("192.0.2.2").Get("http://bondd/api/v1/events")
			if err != nil || response.StatusCode != http.StatusOK {
				t.Fatalf("open event stream: %v", err)
			}
			go func() {
				_, _ = io.Copy(io.Discard, response.Body) // it is closed or the test ends
				response.Body.Close()
				ended.Add(1)
			}()
		}
		time.Sleep(time.Minute)
		if got := ended.Load(); got != 0 {
			t.Fatalf("%d event streams ended although nothing waits", got)
		}
		if took := l.scrapeFrom(t, "192.0.2.2"); took != 0 {
			t.Errorf("a scrape waits for %v", took)
		}
		synctest.Wait()
		if got := ended.Load(); got != 1 {
			t.Errorf("%d event streams ended for one scrape", got)
		}
	})
}

// A connection that cannot be served in time is closed.
func TestQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := piped(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		complete := halfOpen + "\r\n"
		l.flood(t, maxPerSource, "192.0.2.2", complete)
		f := l.flood(t, 3, "192.0.2.2", complete)
		time.Sleep(queueTime - time.Millisecond)
		if got := f.ended.Load(); got != 0 {
			t.Errorf("%d connections ended before their time", got)
		}
		time.Sleep(2 * time.Millisecond)
		if got := f.ended.Load(); got != 3 {
			t.Errorf("%d connections ended, want all 3 that waited for %v", got, queueTime)
		}
	})
}

// from is a dialler whose connections come from an address of this machine.
func from(ip string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
}

// tlsConfig writes a web configuration with a certificate of its own for 127.0.0.1.
func tlsConfig(t *testing.T) (file string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bondd"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file = filepath.Join(dir, "web.yml")
	text := "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(cert)
	return file, pool
}

// 256 half-open requests, or half-open handshakes, from one address, opened again
// as soon as they are closed, and another address that scrapes.
func TestScrapesBesideHalfOpenRequests(t *testing.T) {
	config, pool := tlsConfig(t)
	for name, tt := range map[string]struct{ config, scheme, text string }{
		"HTTP":                          {"", "http", halfOpen},
		"TLS, nothing sent":             {config, "https", ""},
		"TLS, the start of a handshake": {config, "https", "\x16\x03\x01\x02\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			url, stop := serveOn(t, tt.config, scraped())
			address := strings.TrimPrefix(url, "http://")
			// Ten scrapes that wait for connections to time out take longer.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var attackers, opened sync.WaitGroup
			for range 256 {
				opened.Add(1)
				attackers.Go(func() {
					for first := true; ctx.Err() == nil; first = false {
						conn, err := from("127.0.0.2").DialContext(ctx, "tcp", address)
						if first {
							opened.Done()
						}
						if err != nil {
							continue // the kernel's queue is full, or the test has ended
						}
						end := context.AfterFunc(ctx, func() { conn.Close() })
						_, _ = io.WriteString(conn, tt.text)
						_, _ = io.Copy(io.Discard, conn)
						end()
						conn.Close()
						select {
						case <-time.After(300 * time.Millisecond):
						case <-ctx.Done():
						}
					}
				})
			}
			opened.Wait()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
				DialContext: from("127.0.0.1").DialContext, TLSClientConfig: &tls.Config{RootCAs: pool}}}
			for i := range 10 {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, tt.scheme+"://"+address+"/metrics", nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := client.Do(request)
				if err != nil {
					t.Errorf("scrape %d: %v", i+1, err)
					break
				}
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Errorf("scrape %d: %s", i+1, response.Status)
				}
			}
			cancel()
			attackers.Wait()
			if err := stop(); err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
}

// An h2Client speaks HTTP/2 frame by frame, and obeys no limits of the server's.
type h2Client struct {
	conn   net.Conn
	framer *http2.Framer
}

// newH2Client connects from an address and returns the server's settings.
func newH2Client(t *testing.T, local, address string, pool *x509.CertPool) (*h2Client, map[http2.SettingID]uint32) {
	t.Helper()
	dialer := &tls.Dialer{NetDialer: from(local), Config: &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c := &h2Client{conn, http2.NewFramer(conn, bufio.NewReader(conn))}
	if err := c.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := c.framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	first, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the server begins with %v", frame)
	}
	settings := make(map[http2.SettingID]uint32)
	for i := range first.NumSettings() {
		settings[first.Setting(i).ID] = first.Setting(i).Val
	}
	if err := c.framer.WriteSettingsAck(); err != nil {
		t.Fatal(err)
	}
	return c, settings
}

// get opens a stream with a request whose header has that many more bytes.
func (c *h2Client) get(stream uint32, path string, padding int) error {
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	fields := []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: "bondd"}, {Name: ":path", Value: path},
		{Name: "x-padding", Value: strings.Repeat("~", padding), Sensitive: true},
	}
	for _, f := range fields {
		if err := enc.WriteField(f); err != nil {
			return err
		}
	}
	rest := block.String()
	const most = 16 << 10 // bytes of a frame
	first := rest[:min(most, len(rest))]
	rest = rest[len(first):]
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(first),
		EndStream: true, EndHeaders: rest == ""})
	for err == nil && rest != "" {
		next := rest[:min(most, len(rest))]
		rest = rest[len(next):]
		err = c.framer.WriteContinuation(stream, rest == "", []byte(next))
	}
	return err
}

// A client that opens many streams at once gets no more than its share.
func TestHTTP2StreamsAreBounded(t *testing.T) {
	config, pool := tlsConfig(t)
	enteredC, leaveC := make(chan struct{}, 1000), make(chan struct{})
	url, stop := serveOn(t, config, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		enteredC <- struct{}{}
		<-leaveC
	}))
	c, settings := newH2Client(t, "127.0.0.1", strings.TrimPrefix(url, "http://"), pool)
	const streams, most = 100, 8
	if got := settings[http2.SettingMaxConcurrentStreams]; got != most {
		t.Errorf("the server allows %d streams at once, want %d", got, most)
	}
	if got := settings[http2.SettingMaxFrameSize]; got != 16<<10 {
		t.Errorf("the server allows frames of %d bytes, want %d", got, 16<<10)
	}
	if got := settings[http2.SettingInitialWindowSize]; got > 64<<10 {
		t.Errorf("the server takes %d bytes of every request, want at most %d", got, 64<<10)
	}
	for i := range uint32(streams) {
		if err := c.get(2*i+1, "/", 0); err != nil {
			t.Fatal(err)
		}
	}
	// Each stream is either refused, or entered and not answered.
	refused := make(map[uint32]bool)
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for len(refused) < streams-most {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			t.Fatalf("%d streams were refused, want %d: %v", len(refused), streams-most, err)
		}
		if reset, ok := frame.(*http2.RSTStreamFrame); ok {
			refused[reset.StreamID] = true
		}
	}
	for range most {
		<-enteredC
	}
	select {
	case <-enteredC:
		t.Errorf("more than %d requests of one connection are answered at once", most)
	default:
	}
	close(leaveC)
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
}

// As many connections and streams as there can be, each request as large as it
// may be and never answered, take only so much memory.
func TestHTTP2Memory(t *testing.T) {
	const most = 64 << 20
	config, pool := tlsConfig(t)
	blockedC := make(chan struct{})
	url, stop := serveOn(t, config, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-blockedC }))
	address := strings.TrimPrefix(url, "http://")
	before := memory()
	var clients sync.WaitGroup
	for i := range maxConnections {
		c, settings := newH2Client(t, fmt.Sprintf("127.0.0.%d", 2+i/maxPerSource), address, pool)
		streams := int(settings[http2.SettingMaxConcurrentStreams])
		clients.Go(func() {
			for i := range streams {
				if err := c.get(uint32(2*i+1), "/", 15_000); err != nil {
					return
				}
			}
			// The answer to a ping says that the streams before it were taken.
			err := errors.Join(c.framer.WritePing(false, [8]byte{}), c.conn.SetReadDeadline(time.Now().Add(patience)))
			if err != nil {
				t.Error(err)
				return
			}
			for {
				frame, err := c.framer.ReadFrame()
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				if ping, ok := frame.(*http2.PingFrame); ok && ping.IsAck() {
					return
				}
			}
		})
	}
	clients.Wait()
	if got := memory() - before; got > most {
		t.Errorf("%d connections with all streams take %d MB, want at most %d", maxConnections, got>>20, most>>20)
	} else {
		t.Logf("%d connections with all their streams take %d MB", maxConnections, got>>20)
	}
	close(blockedC)
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
}

// memory is what this process uses of it, heap and stacks, in bytes.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
