package main

import (
	"bytes"
	"context"
	"errors"
	"io"
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
	cmd.Env = append(os.Environ(), asBondd+"=1", firstStartVariable+"=")
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, errs
	return cmd, out, errs
}

const (
	goodText    = "[[bond]]\nname = \"bond0\"\nslaves = [\"eth0\", \"eth1\"]\naddresses = [\"192.0.2.2/24\"]\n"
	badText     = "[[bond]]\nname = \"bond0\"\nslaves = [\"eth0\"]\nmiimon = 100\n"
	goodSummary = "bond:      bond0\nslaves:    eth0, eth1, in this order of preference\n" +
		"mode:      active-backup, miimon 100ms\naddresses: 192.0.2.2/24\n"
)

func TestCommandLine(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.toml")
	bad := filepath.Join(t.TempDir(), "bad.toml")
	doubtful := filepath.Join(t.TempDir(), "doubtful.toml")
	none := filepath.Join(t.TempDir(), "none.toml")
	saved := filepath.Join(t.TempDir(), "machine.json")
	const machines = "../hwprobe/testdata/machines/"
	for name, text := range map[string]string{
		good:     goodText,
		bad:      badText,
		doubtful: "[[bond]]\nname = \"bond0\"\nslaves = [\"eth0\", \"eth1\"]\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args        []string // with one entry more, "<TEXT", that is the standard input
		code        int
		out, errors string // what must be in there; empty: nothing may be
	}{
		{[]string{"--help"}, 0, "usage: bondd COMMAND", ""},
		{[]string{"-h"}, 0, "check [--strict] FILE", ""},
		{[]string{"help"}, 0, "status [--json] [--url URL]", ""},
		{[]string{"help", "check"}, 0, "usage: bondd check [--strict] FILE", ""},
		{[]string{"help", "check"}, 0, "\n  --strict\n", ""},
		{[]string{"help", "status"}, 0, "\n  --url URL\n", ""},
		{[]string{"help", "version"}, 0, "usage: bondd version\n", ""},
		{[]string{"help", "help"}, 0, "usage: bondd help [COMMAND|config]", ""},
		{[]string{"help", "config"}, 0, "miimon = \"100ms\"\n", ""},
		{[]string{"help", "fly"}, 2, "", `bondd: there is no command "fly"`},
		{[]string{"help", "check", "run"}, 2, "", `bondd help: unexpected argument "run": write bondd help COMMAND`},
		{[]string{"--version"}, 0, "bondd ", ""},
		{[]string{"-version"}, 0, "bondd ", ""},
		{[]string{"fly"}, 2, "", `bondd: there is no command "fly"`},
		{[]string{""}, 2, "", `bondd: there is no command ""`},
		{[]string{"version"}, 0, "bondd ", ""},
		{[]string{"version", "please"}, 2, "", `bondd version: unexpected argument "please"` + "\n"},
		{[]string{"run", "--help"}, 0, "usage: bondd run [--config FILE]", ""},
		{[]string{"run", "--fast"}, 2, "", "flag provided but not defined: -fast"},
		{[]string{"--fast"}, 2, "", "bondd: missing command before --fast; the daemon is bondd run\n"},
		{[]string{"run", "now.toml"}, 2, "", `bondd run: unexpected argument "now.toml"; did you mean --config now.toml?`},
		{[]string{"check"}, 2, "", "bondd check: missing argument FILE\n"},
		{[]string{"check", "--help"}, 0, "usage: bondd check [--strict] FILE", ""},
		{[]string{"check", good, "-h"}, 0, "usage: bondd check [--strict] FILE", ""},
		{[]string{"check", good}, 0, good + ": good\n" + goodSummary, ""},
		{[]string{"check", "--strict", good}, 0, good + ": good\n" + goodSummary, ""},
		{[]string{"check", good, "--strict"}, 0, good + ": good\n" + goodSummary, ""},
		{[]string{"check", "--", good}, 0, good + ": good\n" + goodSummary, ""},
		{[]string{"check", good, bad}, 2, "", "bondd check: unexpected argument \"" + bad + "\"\n"},
		{[]string{"check", good, "strict"}, 2, "", `bondd check: unexpected argument "strict"; did you mean --strict?`},
		{[]string{"check", "-", "<" + goodText}, 0, "<standard input>: good\n" + goodSummary, ""},
		{[]string{"check", "-", "<" + badText}, 1, "", "<standard input>:4:10: miimon is a duration"},
		{[]string{"check", "/dev/stdin", "<" + goodText}, 0, "/dev/stdin: good\n", ""},
		{[]string{"check", doubtful}, 0, "addresses: none\n", doubtful + ":1:3: warning: bond0 has no address"},
		{[]string{"check", "--strict", doubtful}, 1, "", doubtful + ":1:3: bond0 has no address"},
		{[]string{"check", "-", "<"}, 0, "bond:      bond0, the built-in default\n", "<standard input>:1:1: warning: the file sets nothing"},
		{[]string{"check", "--strict", "-", "<"}, 1, "", "<standard input>:1:1: the file sets nothing"},
		{[]string{"check", bad}, 1, "", bad + ":4:"},
		{[]string{"check", bad}, 1, "", `write "100ms"`},
		{[]string{"check", none}, 1, "", "bondd check: open " + none + ": no such file or directory\n"},
		{[]string{"check", t.TempDir()}, 1, "", "is a directory"},
		{[]string{"check", ""}, 1, "", "bondd check: open : no such file or directory\n"},
		{[]string{"status", "--url", "http://127.0.0.1:1"}, 1, "", "127.0.0.1:1"},
		{[]string{"status", "--loud"}, 2, "", "flag provided but not defined: -loud"},
		{[]string{"status", "192.168.1.202"}, 2, "", `bondd status: unexpected argument "192.168.1.202"; did you mean --url 192.168.1.202?`},
		{[]string{"status", "json"}, 2, "", `bondd status: unexpected argument "json"; did you mean --json?`},
		{[]string{"probe", "--help"}, 0, "usage: bondd probe [--json] [--save FILE] [--from FILE]", ""},
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
			args, input := tt.args, ""
			if last := args[len(args)-1]; strings.HasPrefix(last, "<") {
				args, input = args[:len(args)-1], last[1:]
			}
			cmd, out, errs := bondd(t.Context(), t, args...)
			cmd.Stdin = strings.NewReader(input)
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

// ownNetwork is for a process that must not touch this machine's network: it
// has one of its own, where it may be root.
func ownNetwork() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
	}
}

// Bare bondd from another program than gokrazy's init prints its help and ends.
func TestBareBonddIsNoDaemon(t *testing.T) {
	for _, args := range [][]string{{}, {"--state", t.TempDir()}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd, out, errs := bondd(ctx, t, args...)
		cmd.SysProcAttr = ownNetwork()
		_ = cmd.Run() // its exit code is looked at
		if got := cmd.ProcessState.ExitCode(); got != exitUsage || out.Len() > 0 || !strings.Contains(errs.String(), "usage: bondd COMMAND") {
			t.Errorf("bondd %v: exit code %d, output %q, errors %q", args, got, out, errs)
		}
	}
}

// interrupted is a terminal at which somebody presses Ctrl-C while it is read.
type interrupted struct {
	cancel context.CancelFunc
	endC   chan struct{}
}

func (i *interrupted) Read([]byte) (int, error) {
	i.cancel()
	<-i.endC
	return 0, io.EOF
}

// Who has nothing to type to check - leaves by Ctrl-C.
func TestCheckIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in := &interrupted{cancel, make(chan struct{})}
	defer close(in.endC)
	var out, errs bytes.Buffer
	code := newProgram(stdio{in, &out, &errs}, origin{}).dispatch(ctx, []string{"check", "-"})
	if want := "bondd check: read configuration: context canceled\n"; code != exitError || out.Len() > 0 || errs.String() != want {
		t.Errorf("exit code %d, output %q, errors %q, want %q", code, out.String(), errs.String(), want)
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
		cmd, _, _ := bondd(ctx, t, "run", "--config", file)
		log, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd.Stderr = log
		cmd.SysProcAttr = ownNetwork()
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
