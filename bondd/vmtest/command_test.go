package vmtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

const (
	adminPassword = "correct horse"
	primaryEth0   = `primary = "eth0"`
	peerAsGateway = `gateways = ["192.0.2.1"]`
)

// A commanded is a bondd that takes orders.
type commanded struct {
	*daemon
	password string // path of the administrator's
}

// command starts bondd with n cards and a password.
func command(t *testing.T, n int, options ...string) (*netlab.LAN, *commanded) {
	t.Helper()
	lan := netlab.NewLAN(t, n)
	folder := t.TempDir()
	file, password := filepath.Join(folder, "bondd.toml"), filepath.Join(folder, "gokr-pw.txt")
	for name, text := range map[string]string{file: bondConfig(n, options...), password: adminPassword + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := &commanded{run(t, lan, file, lan.Host.Command("bondd", "run", "--config", file, "--admin-password", password)), password}
	c.ready()
	c.healthy()
	return lan, c
}

// post sends an order and returns the code and the body of the answer.
func (c *commanded) post(path, body string, change ...func(*http.Request)) (code int, answer string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "http://127.0.0.1:80"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth("gokrazy", adminPassword)
	for _, f := range change {
		f(r)
	}
	response, err := c.client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// program is a call of bondd in the host, with the address of its page and the
// password.
func (c *commanded) program(args ...string) (cmd *exec.Cmd, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	args = append(args, "--url", "http://127.0.0.1", "--password-file", c.password)
	cmd = c.lan.Host.Command("bondd", args...)
	cmd.Stdout, cmd.Stderr = out, errs
	return cmd, out, errs
}

// call runs bondd in the host, and returns its exit code and what it said.
func (c *commanded) call(args ...string) (code int, out, errs string) {
	c.t.Helper()
	cmd, o, e := c.program(args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// chosen is the slave that is kept because an operator asked for it.
func (c *commanded) chosen() string {
	c.t.Helper()
	var s struct {
		Bonds []struct {
			Chosen string `json:"chosen"`
		} `json:"bonds"`
	}
	if code, body := c.get("/api/v1/status"); code != http.StatusOK || json.Unmarshal([]byte(body), &s) != nil || len(s.Bonds) != 1 {
		c.t.Fatalf("status: %d %s", code, body)
	}
	return s.Bonds[0].Chosen
}

// An order is carried out at once, told of, and stands against a preferred
// slave until the chosen one fails.
func TestOrderedFailover(t *testing.T) {
	lan, c := command(t, 3, primaryEth0, `primary_reselect = "always"`)
	c.agree("eth0")
	acquaint(lan)
	stream := toPeer(t, lan, 100*time.Microsecond)
	time.Sleep(100 * time.Millisecond)
	code, body := c.post("/api/v1/failover", `{"bond":"bond0","to":"eth1"}`)
	if h := c.history(); len(h) != 1 || h[0].Reason != "admin" {
		t.Errorf("when the order is answered the history is %+v", h)
	}
	time.Sleep(100 * time.Millisecond)
	r := stream.Stop()
	t.Log(r)
	if r.LostAtEnd != 0 || r.LongestGap > 10*time.Millisecond {
		t.Errorf("the switch costs %v", r)
	}
	var done struct {
		Bond, From, To string
		Took           float64 `json:"took_seconds"`
	}
	if err := json.Unmarshal([]byte(body), &done); code != http.StatusOK || err != nil || done.Bond != "bond0" || done.From != "eth0" || done.To != "eth1" || done.Took <= 0 || done.Took > .1 {
		t.Errorf("the answer is %d %s, %v", code, body, err)
	}
	c.agree("eth1")

	// What else happens does not bring it back.
	lan.Cables[2].Pull()
	time.Sleep(2 * time.Second)
	lan.Cables[2].Plug()
	time.Sleep(2 * time.Second)
	c.agree("eth1")
	if got := c.chosen(); got != "eth1" {
		t.Errorf("the slave that is kept is %q, want eth1", got)
	}
	if h := c.history(); len(h) != 1 || h[0].Reason != "admin" || h[0].From != "eth0" || h[0].To != "eth1" {
		t.Errorf("the history is %+v", h)
	}

	// Its own failure does, and the choice is gone then.
	lan.Cables[1].Pull()
	c.agree("eth0")
	lan.Cables[1].Plug()
	c.healthy()
	time.Sleep(2 * time.Second)
	c.agree("eth0")
	if got := c.chosen(); got != "" {
		t.Errorf("the slave that is kept is %q, want none", got)
	}
	if admin, link := c.moved("admin"), c.moved("link"); admin != 1 || link != 1 {
		t.Errorf("%d failovers by order and %d by link, want one of each", admin, link)
	}
}

// What is refused changes nothing, and says why.
func TestRefusedOrders(t *testing.T) {
	lan, c := command(t, 3, primaryEth0)
	c.agree("eth0")
	lan.Cables[2].Pull()
	c.eventually("lost link of eth2", func() bool { b := c.bond0(); return !b.slave("eth2").LinkUp })
	watcher := watch(t, lan.Host)
	for _, tt := range []struct {
		name   string
		to     string
		change func(*http.Request)
		code   int
		why    string
	}{
		{"no password", "eth1", func(r *http.Request) { r.Header.Del("Authorization") }, 401, "a name and a password are needed"},
		{"a wrong password", "eth1", func(r *http.Request) { r.SetBasicAuth("gokrazy", "wrong") }, 401, "the name or the password is wrong"},
		{"a page of another origin", "eth1", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, 403, "a page of another origin may change nothing here"},
		{"an unknown slave", "eth7", func(*http.Request) {}, 404, `bond0 has no slave "eth7"`},
		{"a slave without link", "eth2", func(*http.Request) {}, 409, "eth2 has no link"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, body := c.post("/api/v1/failover?to="+tt.to, "", tt.change)
			var refused struct{ Error string }
			if err := json.Unmarshal([]byte(body), &refused); code != tt.code || err != nil || refused.Error != tt.why {
				t.Errorf("%d %s, want %d %q", code, body, tt.code, tt.why)
			}
		})
	}
	if code, _ := c.post("/api/v1/failover?bond=bond7&to=eth1", ""); code != http.StatusNotFound {
		t.Errorf("an unknown bond: %d", code)
	}
	c.agree("eth0")
	if n := watcher.count(unix.RTM_NEWLINK); n != 0 {
		t.Errorf("the kernel tells of %d changes of links", n)
	}
	if admin := c.moved("admin"); admin != 0 {
		t.Errorf("%d failovers by order", admin)
	}
	if err := os.Remove(c.password); err != nil {
		t.Fatal(err)
	}
	if code, body := c.post("/api/v1/failover?to=eth1", ""); code != http.StatusForbidden || !strings.Contains(body, "no password is set") {
		t.Errorf("without a password on the machine: %d %s", code, body)
	}
}

func TestFailoverProgram(t *testing.T) {
	_, c := command(t, 2, primaryEth0)
	if code, out, errs := c.call("failover", "--to", "eth1"); code != 0 || !strings.HasPrefix(out, "bond0: traffic moved from eth0 to eth1 in ") || errs != "" {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	c.agree("eth1")
	if code, out, errs := c.call("failover", "--bond", "bond0", "--to", "eth1"); code != 0 || out != "bond0: traffic was on eth1 already\n" || errs != "" {
		t.Errorf("once more: exit code %d, %q, %q", code, out, errs)
	}
	if code, out, errs := c.call("failover", "--to", "eth7"); code != 1 || out != "" || errs != "bondd failover: bond0 has no slave \"eth7\"\n" {
		t.Errorf("to an unknown slave: exit code %d, %q, %q", code, out, errs)
	}
	if code, out, _ := c.call("failover", "--to", "eth0"); code != 0 || !strings.HasPrefix(out, "bond0: traffic moved from eth1 to eth0 in ") {
		t.Errorf("back: exit code %d, %q", code, out)
	}
	c.agree("eth0")
	if got := c.chosen(); got != "" {
		t.Errorf("eth0, where the configuration wants the traffic, needs no keeping; %q is kept", got)
	}
	if admin := c.moved("admin"); admin != 2 {
		t.Errorf("%d failovers by order, want 2", admin)
	}
}

func TestDrillProgram(t *testing.T) {
	for _, tt := range []struct{ name, options string }{
		{"with a gateway", peerAsGateway},
		{"with a path", path("192.0.2.1")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lan, c := command(t, 3, tt.options)
			c.agree("eth0")
			acquaint(lan)
			stream := toPeer(t, lan, time.Millisecond)
			code, out, errs := c.call("drill")
			r := stream.Stop()
			t.Logf("%s%v", out, r)
			if code != 0 || !strings.HasSuffix(out, "\n2 of 2 standbys passed\n") || errs != "" {
				t.Errorf("exit code %d, %q, %q", code, out, errs)
			}
			if r.LostAtEnd != 0 || r.LongestGap > 10*time.Millisecond {
				t.Errorf("it costs other traffic %v", r)
			}
			c.agree("eth0")
			if got := c.chosen(); got != "" {
				t.Errorf("after it %q is kept", got)
			}
			if admin := c.moved("admin"); admin != 4 {
				t.Errorf("%d failovers by order, want 4: to each standby and back", admin)
			}
		})
	}
}

// A standby with a link and nothing behind it: found by the drill alone, for no
// path is checked.
func TestDrillOfASilentStandby(t *testing.T) {
	lan, c := command(t, 3, peerAsGateway)
	c.agree("eth0")
	acquaint(lan)
	lan.Cables[1].Silence(true)
	stream := toPeer(t, lan, time.Millisecond)
	code, out, errs := c.call("drill", "--bond", "bond0")
	r := stream.Stop()
	t.Logf("%s%v", out, r)
	if code != 3 || !strings.Contains(out, "\neth1: nothing was answered for 3") || !strings.HasSuffix(out, "\n1 of 2 standbys passed\n") || errs != "" {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	if r.LostAtEnd != 0 || r.LongestGap > 350*time.Millisecond {
		t.Errorf("it costs other traffic %v, want it back after 300 ms", r)
	}
	c.agree("eth0")

	// With its path checked, the standby is known to be dead, and spared.
	lan, c = command(t, 2, path("192.0.2.1"))
	lan.Cables[1].Silence(true)
	c.eventually("dead path of eth1", func() bool { b := c.bond0(); return isFalse(b.slave("eth1").PathUp) })
	code, out, errs = c.call("drill")
	if code != 3 || !strings.HasSuffix(out, "\neth1: its path is dead\n0 of 1 standbys passed\n") || errs != "" {
		t.Errorf("with a path: exit code %d, %q, %q", code, out, errs)
	}
	if admin := c.moved("admin"); admin != 0 {
		t.Errorf("with a path: %d failovers by order", admin)
	}
}

// A drill that is refused says what is missing.
func TestRefusedDrill(t *testing.T) {
	_, c := command(t, 2)
	code, out, errs := c.call("drill")
	if code != 1 || out != "" || errs != "bondd drill: bond0 has nobody to ask: configure a gateway, or a [[bond.path]] with a target\n" {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	if admin := c.moved("admin"); admin != 0 {
		t.Errorf("%d failovers by order", admin)
	}
}

// Whatever ends a drill on a dead standby, traffic goes back where it was.
func TestDrillIsCutOff(t *testing.T) {
	for _, who := range []string{"the program", "bondd"} {
		t.Run(who, func(t *testing.T) {
			lan, c := command(t, 2, peerAsGateway)
			c.agree("eth0")
			lan.Cables[1].Silence(true)
			cmd, _, errs := c.program("drill")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			netlab.Eventually(t, 5*time.Second, "switch to eth1", func() bool { return activeSlave(lan) == "eth1" })
			switch who {
			case "the program":
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			case "bondd":
				if err := c.stop(unix.SIGTERM); err != nil {
					t.Errorf("bondd ends with %v", err)
				}
			}
			netlab.Eventually(t, 200*time.Millisecond, "way back to eth0", func() bool { return activeSlave(lan) == "eth0" })
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); who == "bondd" && code != 1 {
				t.Errorf("exit code %d, %q", code, errs)
			}
		})
	}
}
