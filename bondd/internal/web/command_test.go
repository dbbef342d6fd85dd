package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"bondd.internal/bondd/internal/drill"
	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web"
	"bondd.internal/bondd/internal/web/fixture"
)

const secret = "correct horse"

// An engine takes orders, and answers what a test sets.
type engine struct {
	err    error
	report *drill.Report
	drill  func(context.Context) error // what a drill does; nil: it takes no time

	mu     sync.Mutex
	orders []string
}

func (e *engine) Failover(ctx context.Context, bond, to string) error {
	e.note("failover " + bond + " " + to)
	return e.err
}

func (e *engine) Run(ctx context.Context, bond string) (*drill.Report, error) {
	e.note("drill " + bond)
	if e.drill != nil {
		if err := e.drill(ctx); err != nil {
			return nil, err
		}
	}
	return e.report, e.err
}

func (e *engine) note(order string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.orders = append(e.orders, order)
}

// taken are the orders since the last call.
func (e *engine) taken() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := strings.Join(e.orders, ", ")
	e.orders = nil
	return all
}

// A commanded is a server that takes commands.
type commanded struct {
	*httptest.Server
	engine   *engine
	password string // path of the password's file
	log      *strings.Builder
}

// command serves a snapshot and takes commands with the password.
func command(t *testing.T, s *state.Snapshot, webConfig string) *commanded {
	t.Helper()
	c := &commanded{engine: new(engine), password: filepath.Join(t.TempDir(), "gokr-pw.txt"), log: new(strings.Builder)}
	write(t, c.password, secret+"\n")
	log := slog.New(slog.NewTextHandler(c.log, nil))
	c.Server = httptest.NewServer(web.Handler(fixture.NewSource(s), http.NotFoundHandler(), &web.Commands{
		Control: c.engine, Drills: c.engine,
		Credentials: web.Credentials{WebConfig: webConfig, Passwords: []string{filepath.Join(t.TempDir(), "none"), c.password}},
	}, log))
	t.Cleanup(c.Close)
	return c
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// post sends a body and returns the code, the error that was answered if any,
// and the answer.
func (c *commanded) post(t *testing.T, path, body string, change ...func(*http.Request)) (code int, why string, got answer) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(web.Administrator, secret)
	for _, f := range change {
		f(r)
	}
	response, err := c.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	got = answer{response.StatusCode, response.Header, string(text)}
	if kind := got.header.Get("Content-Type"); got.code != http.StatusOK && kind == "application/json" {
		var refused report.Refused
		if err := json.Unmarshal(text, &refused); err != nil || refused.Error == "" {
			t.Errorf("%s %s: %v in %s", path, body, err, text)
		}
		why = refused.Error
	}
	return got.code, why, got
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func user(name, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, password) }
}

func TestFailoverCommand(t *testing.T) {
	one := command(t, fixture.Healthy(), "")
	several := command(t, fixture.Several(), "")
	for _, tt := range []struct {
		name       string
		c          *commanded
		path, body string
		err        error
		code       int
		why        string
		orders     string
	}{
		{"as JSON", one, "", `{"bond":"bond0","to":"eth1"}`, nil, 200, "", "failover bond0 eth1"},
		{"without the bond", one, "", `{"to":"eth1"}`, nil, 200, "", "failover bond0 eth1"},
		{"as a query", one, "?bond=bond0&to=eth1", "", nil, 200, "", "failover bond0 eth1"},
		{"as a query without the bond", one, "?to=eth1", "", nil, 200, "", "failover bond0 eth1"},
		{"one of several bonds", several, "?bond=bond1&to=eth2", "", nil, 200, "", "failover bond1 eth2"},
		{"which of several bonds", several, "?to=eth1", "", nil, 400, "it does not say which bond: there are bond0, bond1 and bond2", ""},
		{"without the slave", one, "", `{}`, nil, 400, `it does not say to which slave: send {"to":"eth1"}, or ?to=eth1`, ""},
		{"without anything", one, "", "", nil, 400, `it does not say to which slave: send {"to":"eth1"}, or ?to=eth1`, ""},
		{"an unknown key", one, "", `{"slave":"eth1"}`, nil, 400, `the body is not what is wanted (json: unknown field "slave"): send {"bond":"bond0","to":"eth1"}`, ""},
		{"a form", one, "", `to=eth1`, nil, 400, `the body is not what is wanted (invalid character 'o' in literal true (expecting 'r')): send {"bond":"bond0","to":"eth1"}`, ""},
		{"two orders", one, "", `{"to":"eth1"}{"to":"eth0"}`, nil, 400, `the body is not what is wanted (there is more after it): send {"bond":"bond0","to":"eth1"}`, ""},
		{"a long body", one, "", `{"to":"` + strings.Repeat("x", 5000) + `"}`, nil, 413, `the body is longer than 4096 bytes: send {"bond":"bond0","to":"eth1"}`, ""},
		{"an unknown slave", one, "?to=eth7", "", &state.Refusal{Unknown: true, Why: `bond0 has no slave "eth7"`}, 404, `bond0 has no slave "eth7"`, "failover bond0 eth7"},
		{"a slave without link", one, "?to=eth1", "", &state.Refusal{Why: "eth1 has no link"}, 409, "eth1 has no link", "failover bond0 eth1"},
		{"a kernel that refuses", one, "?to=eth1", "", errors.New("switch bond0 to eth1: invalid argument"), 500, "switch bond0 to eth1: invalid argument", "failover bond0 eth1"},
		{"an engine that hangs", one, "?to=eth1", "", fmt.Errorf("switch bond0 to eth1: %w", context.DeadlineExceeded), 504, "it was not done within 10s, and may be done yet; /api/v1/status says where traffic is", "failover bond0 eth1"},
		{"a server that stops", one, "?to=eth1", "", context.Canceled, 503, "it was cancelled", "failover bond0 eth1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.engine.err = tt.err
			code, why, got := tt.c.post(t, "/api/v1/failover"+tt.path, tt.body)
			if code != tt.code || why != tt.why {
				t.Errorf("%d %q, want %d %q", code, why, tt.code, tt.why)
			}
			if got := tt.c.engine.taken(); got != tt.orders {
				t.Errorf("the engine was told %q, want %q", got, tt.orders)
			}
			if kind := got.header.Get("Content-Type"); kind != "application/json" {
				t.Errorf("Content-Type: %q", kind)
			}
			if code != http.StatusOK {
				return
			}
			var done map[string]any
			if err := json.Unmarshal([]byte(got.body), &done); err != nil {
				t.Fatal(err)
			}
			if took, ok := done["took_seconds"].(float64); !ok || took < 0 || "failover "+fmt.Sprint(done["bond"], " ", done["to"]) != tt.orders || done["from"] == "" || len(done) != 4 {
				t.Errorf("done: %s", got.body)
			}
		})
	}
}

func TestDrillCommand(t *testing.T) {
	c := command(t, fixture.Healthy(), "")
	c.engine.report = &drill.Report{Bond: "bond0", Slave: "eth0", Target: netip.MustParseAddr("192.0.2.1"), Slaves: []drill.Trial{{Name: "eth1"}}}
	for _, tt := range []struct {
		name, path, body string
		err              error
		code             int
		why, orders      string
	}{
		{"as JSON", "", `{"bond":"bond0"}`, nil, 200, "", "drill bond0"},
		{"without the bond", "", "", nil, 200, "", "drill bond0"},
		{"as a query", "?bond=bond7", "", nil, 200, "", "drill bond7"},
		{"to one slave", "", `{"to":"eth1"}`, nil, 400, `the body is not what is wanted (json: unknown field "to"): send {"bond":"bond0"}`, ""},
		{"refused", "", "", &state.Refusal{Why: "bond0 has nobody to ask"}, 409, "bond0 has nobody to ask", "drill bond0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.engine.err = tt.err
			code, why, got := c.post(t, "/api/v1/drill"+tt.path, tt.body)
			if code != tt.code || why != tt.why || code == 200 && !strings.Contains(got.body, `"target": "192.0.2.1"`) {
				t.Errorf("%d %q %s, want %d %q", code, why, got.body, tt.code, tt.why)
			}
			if got := c.engine.taken(); got != tt.orders {
				t.Errorf("the engine was told %q, want %q", got, tt.orders)
			}
		})
	}
}

// While a drill runs, nothing comes between.
func TestOneDrillAtATime(t *testing.T) {
	c := command(t, fixture.Healthy(), "")
	begun, end := make(chan struct{}), make(chan struct{})
	c.engine.report = &drill.Report{}
	c.engine.drill = func(context.Context) error { close(begun); <-end; return nil }
	firstC := make(chan int)
	go func() {
		code, _, _ := c.post(t, "/api/v1/drill", "")
		firstC <- code
	}()
	<-begun
	if code, why, _ := c.post(t, "/api/v1/drill", ""); code != 409 || why != "a drill or a failover is being carried out: try again when it has ended" {
		t.Errorf("a second drill: %d %q", code, why)
	}
	if code, why, _ := c.post(t, "/api/v1/failover?to=eth1", ""); code != 409 || why != "a drill is running: try again when it has ended" {
		t.Errorf("a failover: %d %q", code, why)
	}
	close(end)
	if code := <-firstC; code != 200 {
		t.Errorf("the drill itself: %d", code)
	}
	if code, why, _ := c.post(t, "/api/v1/failover?to=eth1", ""); code != 200 {
		t.Errorf("a failover after it: %d %q", code, why)
	}
}

// A drill ends when whoever asked for it goes.
func TestDrillOfAClientThatGoes(t *testing.T) {
	c := command(t, fixture.Healthy(), "")
	var drills atomic.Int32
	c.engine.report = &drill.Report{}
	c.engine.drill = func(ctx context.Context) error {
		if drills.Add(1) > 1 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/api/v1/drill", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(web.Administrator, secret)
	doneC := make(chan error, 1)
	go func() {
		response, err := c.Client().Do(r)
		if err == nil {
			response.Body.Close()
		}
		doneC <- err
	}()
	for drills.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-doneC; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// The next one is taken as soon as the server has noticed.
	for code := 0; code != 200; time.Sleep(time.Millisecond) {
		if code, _, _ = c.post(t, "/api/v1/drill", ""); code != 200 && code != 409 {
			t.Fatalf("the next drill: %d", code)
		}
	}
}

func TestWhoMayCommand(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("users' own"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "users.yml")
	write(t, users, "basic_auth_users:\n  admin: "+string(hash)+"\n")
	nobody := filepath.Join(t.TempDir(), "nobody.yml")
	write(t, nobody, "http_server_config:\n  http2: false\n")
	broken := filepath.Join(t.TempDir(), "broken.yml")
	write(t, broken, "basic_auth_user:\n  admin: "+string(hash)+"\n")

	without := func(r *http.Request) { r.Header.Del("Authorization") }
	plain := func(*http.Request) {}
	for _, tt := range []struct {
		name      string
		webConfig string
		file      string // what the password's file has
		change    func(*http.Request)
		code      int
		why       string
	}{
		{"the administrator", "", secret, plain, 200, ""},
		{"a password with a line end", "", "\t" + secret + " \r\n", plain, 200, ""},
		{"nobody", "", secret, without, 401, "a name and a password are needed"},
		{"a wrong password", "", secret, user(web.Administrator, "correct hors"), 401, "the name or the password is wrong"},
		{"an empty password", "", secret, user(web.Administrator, ""), 401, "the name or the password is wrong"},
		{"a wrong name", "", secret, user("root", secret), 401, "the name or the password is wrong"},
		{"another kind of authorization", "", secret, header("Authorization", "Bearer "+secret), 401, "a name and a password are needed"},
		{"no password's file", "", "", plain, 403, "nothing can be changed over HTTP, because no password is set: write one to /perm/gokr-pw.txt, or users to the file that [http] web_config names"},
		{"an empty file", "", " \n", user(web.Administrator, ""), 403, "nothing can be changed over HTTP, because no password is set: write one to /perm/gokr-pw.txt, or users to the file that [http] web_config names"},
		{"a file that is none", "", strings.Repeat("x", 2000), plain, 500, "the password or the users cannot be read; bondd's log says why"},

		{"a user", users, secret, user("admin", "users' own"), 200, ""},
		{"a user with a wrong password", users, secret, user("admin", secret), 401, "the name or the password is wrong"},
		{"an unknown user", users, secret, user("root", "users' own"), 401, "the name or the password is wrong"},
		{"the administrator although there are users", users, secret, plain, 401, "the name or the password is wrong"},
		{"a web configuration without users", nobody, secret, plain, 200, ""},
		{"a broken web configuration", broken, secret, plain, 500, "the password or the users cannot be read; bondd's log says why"},
		{"no web configuration", "/none.yml", secret, plain, 500, "the password or the users cannot be read; bondd's log says why"},

		{"a page of another origin", "", secret, header("Origin", "http://evil.example"), 403, "a page of another origin may change nothing here"},
		{"a page of another port", "", secret, header("Origin", "http://127.0.0.1:1"), 403, "a page of another origin may change nothing here"},
		{"a page of no origin", "", secret, header("Origin", "null"), 403, "a page of another origin may change nothing here"},
		{"a page of another site", "", secret, header("Sec-Fetch-Site", "cross-site"), 403, "a page of another origin may change nothing here"},
		{"a page of the same site", "", secret, header("Sec-Fetch-Site", "same-site"), 403, "a page of another origin may change nothing here"},
		{"a page of another origin, and no password", "", secret, func(r *http.Request) { without(r); r.Header.Set("Origin", "http://evil.example") }, 403, "a page of another origin may change nothing here"},
		{"its own page", "", secret, func(r *http.Request) { r.Header.Set("Origin", "http://"+r.URL.Host) }, 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := command(t, fixture.Healthy(), tt.webConfig)
			write(t, c.password, tt.file)
			if tt.file == "" {
				if err := os.Remove(c.password); err != nil {
					t.Fatal(err)
				}
			}
			for _, command := range []string{"failover?to=eth1", "drill"} {
				code, why, got := c.post(t, "/api/v1/"+command, "", tt.change)
				if code != tt.code || why != tt.why {
					t.Errorf("%s: %d %q, want %d %q", command, code, why, tt.code, tt.why)
				}
				if challenge := got.header.Get("WWW-Authenticate"); (challenge == `Basic realm="bondd", charset="UTF-8"`) != (code == 401) {
					t.Errorf("%s: %d with WWW-Authenticate %q", command, code, challenge)
				}
				if got := c.engine.taken(); (got != "") != (code == 200) {
					t.Errorf("%s: %d, and the engine was told %q", command, code, got)
				}
			}
			if strings.Contains(c.log.String(), "correct hor") {
				t.Errorf("the log has a password:\n%s", c.log)
			}
		})
	}
}

// Whoever may not is told so before the body is read.
func TestBodyOfWhoMayNot(t *testing.T) {
	c := command(t, fixture.Healthy(), "")
	body, w := io.Pipe() // of which nothing ever comes
	defer w.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"/api/v1/failover", body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s, want 401", response.Status)
	}
}

// Wrong passwords are logged once, and not looked at any more after some.
func TestGuessing(t *testing.T) {
	c := command(t, fixture.Healthy(), "")
	codes := map[int]int{}
	for range 20 {
		code, _, got := c.post(t, "/api/v1/failover?to=eth1", "", user(web.Administrator, "guess"))
		codes[code]++
		if code == 429 && got.header.Get("Retry-After") != "3" {
			t.Errorf("Retry-After: %q", got.header.Get("Retry-After"))
		}
	}
	if codes[401] < 5 || codes[429] == 0 || codes[401]+codes[429] != 20 {
		t.Errorf("answers by code: %v, want some 401 and then 429", codes)
	}
	if code, why, _ := c.post(t, "/api/v1/failover?to=eth1", ""); code != 429 || why != "too many wrong passwords: try again in a few seconds" {
		t.Errorf("the right password after that: %d %q", code, why)
	}
	if got := c.engine.taken(); got != "" {
		t.Errorf("the engine was told %q", got)
	}
	if log := c.log.String(); strings.Count(log, "wrong name or password") != 1 || !strings.Contains(log, "remote=127.0.0.1:") || strings.Contains(log, "guess") {
		t.Errorf("the log has\n%s", log)
	}
}

func TestCommandsAreOnlyPosted(t *testing.T) {
	c := command(t, fixture.Healthy(), "")
	for _, path := range []string{"/api/v1/failover", "/api/v1/drill"} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			if got := do(t, c.Server, method, path); got.code != 405 || got.header.Get("Allow") != "POST" {
				t.Errorf("%s %s: %d, Allow %q", method, path, got.code, got.header.Get("Allow"))
			}
		}
	}
}
