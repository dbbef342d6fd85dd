package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/drill"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web"
	"bondd.internal/bondd/internal/web/fixture"
)

const (
	secret = "correct horse"
	wrong  = "wrong battery"
)

// A remote is the engine of a bondd that takes orders.
type remote struct{}

func (remote) Failover(_ context.Context, bond, to string) error {
	switch to {
	case "eth0", "eth1":
		return nil
	case "eth2":
		return &state.Refusal{Why: "eth2 has no link"}
	}
	return &state.Refusal{Unknown: true, Why: fmt.Sprintf("%s has no slave %q", bond, to)}
}

func (remote) Run(_ context.Context, bond string) (*drill.Report, error) {
	report := &drill.Report{
		Bond: bond, Slave: "eth0", Target: netip.MustParseAddr("192.0.2.1"), OK: true,
		Slaves: []drill.Trial{{Name: "eth1", Tried: true, To: &drill.Figures{Sent: 100}, Back: &drill.Figures{Sent: 100}}},
	}
	switch bond {
	case "bond0":
		return report, nil
	case "bond1":
		report.OK = false
		report.Slaves[0].Problem = "nothing was answered for 300.0 ms"
		return report, nil
	}
	return nil, &state.Refusal{Unknown: true, Why: fmt.Sprintf("there is no bond %q", bond)}
}

// newRemote serves a bondd that takes orders with the password, and returns its
// address without the scheme.
func newRemote(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gokr-pw.txt")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(web.Handler(fixture.NewSource(fixture.Healthy()), http.NotFoundHandler(),
		&web.Commands{Control: remote{}, Drills: remote{}, Credentials: web.Credentials{Passwords: []string{file}}}, slog.New(slog.DiscardHandler)))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestOperate(t *testing.T) {
	host := newRemote(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+host+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer elsewhere.Close()
	files := t.TempDir()
	for name, text := range map[string]string{"right": secret + "\n", "wrong": wrong, "empty": " \n", "long": strings.Repeat("x", 2000)} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args        string // @ is the folder of files, HOST the bondd
		env         string // BONDD_PASSWORD
		code        int
		out, errors string // what must be in there; empty: nothing may be
	}{
		{"failover --to eth1 --url HOST --password-file @/right", "", 0, "bond0: traffic moved from eth0 to eth1 in ", ""},
		{"failover --bond bond0 --to eth1 --url http://HOST/ --password-file @/right", "", 0, "bond0: traffic moved from eth0 to eth1 in ", ""},
		{"failover --to eth0 --url HOST --password-file @/right", "", 0, "bond0: traffic was on eth0 already", ""},
		{"failover --to eth1 --url http://gokrazy:SECRET@HOST", "", 0, "traffic moved", ""},
		{"failover --to eth1 --url HOST", secret, 0, "traffic moved", ""},
		{"failover --to eth1 --url HOST --password-file @/right", wrong, 0, "traffic moved", ""},
		{"failover --to eth1 --url HOST --password-file @/wrong", "", 1, "", "http://" + host + " does not take this name and password"},
		{"failover --to eth1 --url http://root:SECRET@HOST", "", 1, "", "http://root:xxxxx@" + host + " does not take this name and password"},
		{"failover --to eth1 --url HOST", "", 1, "", "a password is needed: give it with --password-file FILE or in $BONDD_PASSWORD"},
		{"failover --to eth1 --url HOST --password-file @/none", "", 1, "", "read password: open " + files + "/none: no such file or directory"},
		{"failover --to eth1 --url HOST --password-file @/empty", "", 1, "", "read password: " + files + "/empty has none"},
		{"failover --to eth1 --url HOST --password-file @/long", "", 1, "", "read password: " + files + "/long has none"},
		{"failover --to eth2 --url HOST", secret, 1, "", "bondd failover: eth2 has no link\n"},
		{"failover --to eth7 --url HOST", secret, 1, "", "bondd failover: bond0 has no slave \"eth7\"\n"},
		{"failover --to eth1 --url http://127.0.0.1:1", secret, 1, "", "bondd failover: ask http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"},
		{"failover --to eth1 --url HOST/elsewhere", secret, 1, "", "404 Not Found; is this bondd's base URL?"},
		{"failover --to eth1 --url " + elsewhere.URL, secret, 1, "", "307 Temporary Redirect"},
		{"failover --to eth1 --url http://user:SECRET@host:port", "", 1, "", `bondd failover: read address: invalid port ":port" after host`},
		{"failover --url HOST", secret, 2, "", "bondd failover: say which slave is to carry the traffic: --to SLAVE\nusage: bondd failover [--bond BOND] --to SLAVE"},
		{"failover eth1", secret, 2, "", `bondd failover: unexpected argument "eth1"; did you mean --to eth1?`},
		{"failover --to eth1 eth0", secret, 2, "", `bondd failover: unexpected argument "eth0"` + "\n"},
		{"failover HOST --to eth1", secret, 2, "", `unexpected argument "` + host + `"; did you mean --url ` + host + "?"},
		{"failover --help", "", 0, "--password-file FILE", ""},
		{"drill --url HOST --password-file @/right", "", 0, "1 of 1 standbys passed", ""},
		{"drill --bond bond1 --url HOST", secret, 3, "eth1: nothing was answered for 300.0 ms\n0 of 1 standbys passed", ""},
		{"drill --bond bond7 --url HOST", secret, 1, "", "bondd drill: there is no bond \"bond7\"\n"},
		{"drill --url HOST", wrong, 1, "", "does not take this name and password"},
		{"drill eth1", "", 2, "", `bondd drill: unexpected argument "eth1"` + "\n"},
		{"drill --help", "", 0, "usage: bondd drill [--bond BOND]", ""},
	} {
		t.Run(tt.args, func(t *testing.T) {
			args := strings.NewReplacer("HOST", host, "@/", files+"/", "SECRET", "correct%20horse").Replace(tt.args)
			cmd, out, errs := bondd(t.Context(), t, strings.Fields(args)...)
			cmd.Env = append(cmd.Env, passwordVariable+"="+tt.env)
			err := cmd.Run()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
			}
			for _, s := range []struct{ name, got, want string }{{"output", out.String(), tt.out}, {"errors", errs.String(), tt.errors}} {
				if s.want == "" && s.got != "" || !strings.Contains(s.got, s.want) {
					t.Errorf("%s are %q, want %q", s.name, s.got, s.want)
				}
				if strings.Contains(s.got, secret) || strings.Contains(s.got, "correct%20horse") || strings.Contains(s.got, wrong) {
					t.Errorf("%s have the password: %q", s.name, s.got)
				}
			}
		})
	}
}

// terminal opens a pseudo terminal: what a person types and sees, and what a
// program has as its terminal.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// Without another password, a person is asked, and what is typed is not shown.
func TestPasswordIsAskedFor(t *testing.T) {
	host := newRemote(t)
	for _, tt := range []struct {
		typed string
		code  int
		out   string
	}{
		{secret + "\n", 0, "bond0: traffic moved from eth0 to eth1 in "},
		{wrong + "\n", 1, ""},
		{"\x03", 1, ""}, // Ctrl-C
	} {
		person, program := terminal(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd, out, _ := bondd(ctx, t, "failover", "--to", "eth1", "--url", host)
		cmd.Env = append(cmd.Env, passwordVariable+"=")
		cmd.Stdin, cmd.Stderr = program, program
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		seenC := make(chan string)
		go func() { // until the program's end of the terminal is closed
			text, _ := io.ReadAll(person)
			seenC <- string(text)
		}()
		for echoes(t, program) { // not before the program listens
			time.Sleep(time.Millisecond)
		}
		if _, err := person.WriteString(tt.typed); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // its exit code is looked at
		if got := cmd.ProcessState.ExitCode(); got != tt.code || !strings.HasPrefix(out.String(), tt.out) {
			t.Errorf("%q: exit code %d and %q, want %d and %q", tt.typed, got, out, tt.code, tt.out)
		}
		if !echoes(t, program) {
			t.Errorf("%q: the terminal is left without an echo", tt.typed)
		}
		program.Close()
		if seen := <-seenC; !strings.Contains(seen, "Password of gokrazy at http://"+host+": ") || bytes.Contains([]byte(seen), []byte(strings.TrimSpace(tt.typed))) {
			t.Errorf("%q: the person sees %q", tt.typed, seen)
		}
	}
}

// echoes reports whether a terminal shows what is typed.
func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}
