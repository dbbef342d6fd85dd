package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asBondd makes the test binary bondd, so that its exit status can be seen.
const asBondd = "BONDD_TEST_AS_BONDD"

func TestMain(m *testing.M) {
	if os.Getenv(asBondd) != "" {
		main()
	}
	os.Exit(m.Run())
}

// bondd is a run of bondd with these arguments.
func bondd(ctx context.Context, t *testing.T, args ...string) (cmd *exec.Cmd, out, errs *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), asBondd+"=1")
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, errs
	return cmd, out, errs
}

func TestCommandLine(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.toml")
	bad := filepath.Join(t.TempDir(), "bad.toml")
	saved := filepath.Join(t.TempDir(), "machine.json")
	const machines = "../hwprobe/testdata/machines/"
	for name, text := range map[string]string{
		good: "[[bond]]\nname = \"bond0\"\nslaves = [\"eth0\", \"eth1\"]\naddresses = [\"192.0.2.2/24\"]\n",
		bad:  "[[bond]]\nname = \"bond0\"\nslaves = [\"eth0\"]\nmiimon = 100\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args        []string
		code        int
		out, errors string // what must be in there; empty: nothing may be
	}{
		{[]string{"--help"}, 0, "usage: bondd [COMMAND]", ""},
		{[]string{"-h"}, 0, "check FILE", ""},
		{[]string{"help"}, 0, "status [--json] [--url URL]", ""},
		{[]string{"fly"}, 2, "", `bondd: there is no command "fly"`},
		{[]string{""}, 2, "", `bondd: there is no command ""`},
		{[]string{"version"}, 0, "bondd ", ""},
		{[]string{"version", "please"}, 2, "", "1 arguments given, 0 wanted"},
		{[]string{"run", "--help"}, 0, "", "usage: bondd run [--config FILE]"},
		{[]string{"run", "--fast"}, 2, "", "flag provided but not defined: -fast"},
		{[]string{"--fast"}, 2, "", "flag provided but not defined: -fast"},
		{[]string{"run", "now"}, 2, "", "1 arguments given, 0 wanted"},
		{[]string{"check"}, 2, "", "0 arguments given, 1 wanted"},
		{[]string{"check", "--help"}, 0, "", "usage: bondd check FILE"},
		{[]string{"check", good}, 0, good + ": good", ""},
		{[]string{"check", bad}, 1, "", bad + ":4:"},
		{[]string{"check", bad}, 1, "", `write "100ms"`},
		{[]string{"check", filepath.Join(t.TempDir(), "none.toml")}, 1, "", "none.toml: no such file"},
		{[]string{"check", t.TempDir()}, 1, "", "is a directory"},
		{[]string{"status", "--url", "http://127.0.0.1:1"}, 1, "", "127.0.0.1:1"},
		{[]string{"status", "--loud"}, 2, "", "flag provided but not defined: -loud"},
		{[]string{"probe", "--help"}, 0, "", "usage: bondd probe [--json] [--save FILE] [--from FILE]"},
		{[]string{"probe", "--from", machines + "cwwk-ad4l-n.json"}, 0, "verdict: pass; may be bonded: enp3s0, enp4s0", ""},
		{[]string{"probe", "--from", machines + "openwrt-mt7622-rtl8125.json"}, 3, "behind one PCIe switch", ""},
		{[]string{"probe", "--from", machines + "raspberry-pi-4-rtl8153.json"}, 1, "FAIL  driver: eth1", ""},
		{[]string{"probe", "--json", "--from", machines + "cwwk-ad4l-n.json"}, 0, `"check": "shared-fate"`, ""},
		{[]string{"probe", "--from", machines + "cwwk-ad4l-n.json", "--save", saved}, 0, "verdict: pass", "addresses replaced"},
		{[]string{"probe", "--from", saved}, 0, "verdict: pass", ""},
		{[]string{"probe", "--from", bad}, 1, "", "decode archive"},
		{[]string{"probe", "--from", machines + "none.json"}, 1, "", "no such file"},
		{[]string{"probe", "--read-roms", "--from", saved}, 2, "", "--read-roms"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			cmd, out, errs := bondd(t.Context(), t, tt.args...)
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
			}
		})
	}
}

// The daemon exits with 0 when it is asked to stop: gokrazy takes that for the
// end of its work. Its bond has no slave that exists, and is nothing that this
// machine would let an ordinary user make.
func TestDaemonStops(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bondd.toml")
	if err := os.WriteFile(file, []byte("[http]\nlisten = \"127.0.0.1:0\"\n[[bond]]\nname = \"bondtest0\"\nslaves = [\"none0\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd, _, _ := bondd(ctx, t, "--config", file)
		log, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd.Stderr = log
		// A network of its own, where it may be root: it must not touch this machine's.
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for {
			text, err := os.ReadFile(log.Name())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "Listening on") {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("bondd does not serve its page:\n%s", text)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Errorf("after %v bondd ends with %v:\n%s", sig, err, text)
		}
	}
}
