package vmtest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/engine/simulator"
	"bondd.internal/config/bonding"
	"bondd.internal/image/lab/netlab"
)

// The scripts of the simulator hold on the real driver as they do on its model.
func TestScripts(t *testing.T) {
	scripts, err := simulator.Scripts()
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for name, text := range scripts {
		script, err := simulator.ParseScript(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !playable(script) {
			continue
		}
		ran++
		t.Run(name, func(t *testing.T) { newStage(t, &script.Setup).play(script.Actions) })
	}
	if ran < 10 {
		t.Errorf("%d of %d scripts can be played on the real driver", ran, len(scripts))
	}
}

// playable reports whether the lab has all that a script asks for.
func playable(s *simulator.Script) bool {
	if s.Setup.Faults || s.Setup.Lag > 0 || s.Setup.Train > 0 || s.Setup.Kinds != nil || s.Setup.Forward > 0 ||
		s.Setup.Targets > 1 || s.Setup.Members != nil || s.Setup.Speeds != nil || s.Setup.Mode == bonding.LACP {
		return false
	}
	return !slices.ContainsFunc(s.Actions, func(a simulator.Action) bool {
		f := strings.Fields(string(a))
		switch f[0] {
		case "card", "device", "inventory", "reads", "refuse", "loss", "config", "oneway":
			return true
		case "expect":
			return f[1] == "penalty" || f[1] == "ledger" || f[1] == "answer"
		}
		return false
	})
}

// A stage is bondd, the real driver and a network on which a script is played.
type stage struct {
	*commanded
	args   []string
	dead   map[string]bool // cables behind which nothing replies
	silent bool            // nor does the target by any
}

func newStage(t *testing.T, s *simulator.Setup) *stage {
	t.Helper()
	options := []string{fmt.Sprintf("mode = %q", s.Mode)}
	if s.Primary != "" {
		options = append(options, fmt.Sprintf("primary = %q", s.Primary))
	}
	if s.UpDelay != "" {
		options = append(options, fmt.Sprintf("updelay = \"%sms\"", s.UpDelay))
	}
	if s.DownDelay != "" {
		options = append(options, fmt.Sprintf("downdelay = \"%sms\"", s.DownDelay))
	}
	if s.Reselect != "" {
		options = append(options, fmt.Sprintf("primary_reselect = %q", s.Reselect))
	}
	if s.FailOverMAC != "" {
		options = append(options, fmt.Sprintf("fail_over_mac = %q", s.FailOverMAC))
	}
	for i, p := range s.Prio {
		options = append(options, fmt.Sprintf("[[bond.slave]]\nname = \"eth%d\"\nprio = %d", i, p))
	}
	if s.Path {
		options = append(options, fmt.Sprintf("[[bond.path]]\ntarget = %q\ninterval = \"500ms\"\ntimeout = \"200ms\"\n"+
			"missed_max = 3\nreturn_after = 3", netlab.PeerAddress.Addr()))
	}
	if s.Damping {
		options = append(options, "[bond.damping]\nhalf_life = \"15s\"\nsuppress = 3\nreuse = 1")
	}
	lan := modeLAN(t, s.Mode.String())
	if s.Slaves != 2 {
		lan = netlab.NewLAN(t, s.Slaves)
	}
	folder := t.TempDir()
	file, password := filepath.Join(folder, "bondd.toml"), filepath.Join(folder, "gokr-pw.txt")
	for name, text := range map[string]string{file: bondConfig(s.Slaves, options...), password: adminPassword + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"bondd", "run", "--config", file, "--admin-password", password, "--state", filepath.Join(folder, "state")}
	st := &stage{args: args, dead: make(map[string]bool)}
	st.commanded = &commanded{run(t, lan, file, lan.Host.Command(args[0], args[1:]...)), password}
	st.ready()
	return st
}

func (s *stage) play(actions []simulator.Action) {
	s.t.Helper()
	for i, a := range actions {
		if err := s.do(strings.Fields(string(a))); err != nil {
			s.t.Fatalf("action %d, %q: %v; status %s", i+1, a, err, s.text())
		}
	}
}

func (s *stage) text() string {
	_, body := s.get("/api/v1/status")
	return body
}

func (s *stage) cable(name string) *netlab.Cable {
	for _, c := range s.lan.Cables {
		if c.NearName == name {
			return c
		}
	}
	s.t.Fatalf("there is no cable %s", name)
	return nil
}

func (s *stage) do(f []string) error {
	switch f[0] {
	case "cable":
		if f[2] == "out" {
			s.cable(f[1]).Pull()
		} else {
			s.cable(f[1]).Plug()
		}
	case "path":
		s.dead[f[1]] = f[2] == "dead"
		s.silence()
	case "target":
		s.silent = f[1] == "dead"
		s.silence()
	case "failover":
		if code, body := s.post("/api/v1/failover", fmt.Sprintf(`{"bond":"bond0","to":%q}`, f[1])); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
	case "kernel":
		s.lan.Host.IP("link set bond0 type bond active_slave " + f[2])
	case "restart":
		if err := s.stop(unix.SIGKILL); err == nil {
			return fmt.Errorf("bondd has ended by itself")
		}
		s.commanded = &commanded{run(s.t.(*testing.T), s.lan, s.file, s.lan.Host.Command(s.args[0], s.args[1:]...)), s.password}
		s.ready()
	case "wait":
		d, err := time.ParseDuration(f[1])
		time.Sleep(d)
		return err
	case "expect":
		return s.expect(f[1:])
	default:
		return fmt.Errorf("not an action of the lab")
	}
	return nil
}

func (s *stage) silence() {
	for _, c := range s.lan.Cables {
		c.Silence(s.silent || s.dead[c.NearName])
	}
}

func (s *stage) expect(f []string) error {
	var got string
	want := strings.Join(f[1:], " ")
	host := links(s.lan)
	switch f[0] {
	case "active":
		got = host["bond0"].LinkInfo.Data.ActiveSlave
		if b := s.bond0(); b.ActiveSlave != got {
			return fmt.Errorf("the driver's active slave is %q, bondd says %q", got, b.ActiveSlave)
		}
	case "failovers":
		want = f[1]
		n := 0
		for _, e := range s.history() {
			if len(f) < 3 || e.Reason == f[2] {
				n++
			}
		}
		got = strconv.Itoa(n)
	case "slaves":
		got = s.names(func(name string) bool { return host[name].Master == "bond0" })
	case "usable":
		b := s.bond0()
		got = s.names(func(name string) bool {
			sl := b.slave(name)
			return sl.Enslaved && sl.LinkUp && !sl.Suppressed && (sl.PathUp == nil || *sl.PathUp)
		})
	case "link":
		want = f[2]
		if got = "down"; slices.Contains(host[f[1]].Flags, "LOWER_UP") {
			got = "up"
		}
	case "option":
		return nil // the lab's own tests read them
	default:
		return fmt.Errorf("not something to expect in the lab")
	}
	if got != want {
		return fmt.Errorf("it is %q, want %q; history %+v", got, want, s.history())
	}
	return nil
}

// names lists the cards for which something holds.
func (s *stage) names(holds func(string) bool) string {
	var names []string
	for _, c := range s.lan.Cables {
		if holds(c.NearName) {
			names = append(names, c.NearName)
		}
	}
	return strings.Join(names, " ")
}
