package vmtest

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/netlab"
)

// checkerVar makes the test binary a checker. It reads a setup and then lists
// of slaves from its standard input, and writes reports to its standard output.
const checkerVar = "VMTEST_CHECKER"

// A setup says what a checker is to check.
type setup struct {
	Targets []pathcheck.Target
	Strict  bool
}

// A scene is what a checker is told of a bond and its slaves.
type scene struct {
	Bond   pathcheck.Bond
	Slaves []pathcheck.Slave
}

// A report is what a checker found, and when it told.
type report struct {
	At    time.Time
	Paths pathcheck.Report
}

// runChecker is the checker's process. It ends with its input.
func runChecker() int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := serveChecker(log); err != nil {
		log.Error("the checker ends", "err", err)
		return 1
	}
	return 0
}

func serveChecker(log *slog.Logger) error {
	in, out := gob.NewDecoder(os.Stdin), gob.NewEncoder(os.Stdout)
	var s setup
	if err := in.Decode(&s); err != nil {
		return err
	}
	c, err := pathcheck.New(pathcheck.Config{
		Bond: "bond0", Targets: s.Targets, Strict: s.Strict, Log: log,
		Report: func(_ context.Context, r pathcheck.Report) {
			if err := out.Encode(report{time.Now(), r}); err != nil {
				log.Error("tell report", "err", err)
			}
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for {
		var s scene
		if err := in.Decode(&s); errors.Is(err, io.EOF) {
			cancel()
			return <-done
		} else if err != nil {
			return err
		}
		c.SetSlaves(s.Bond, s.Slaves)
	}
}

// A checker is such a process, run in a namespace.
type checker struct {
	t      testing.TB
	ns     *netlab.Namespace
	cmd    *exec.Cmd
	stdin  io.Closer
	slaves *gob.Encoder
	log    bytes.Buffer // to be read when it is stopped

	mu      sync.Mutex
	reports []report
	ended   chan struct{}
}

// startChecker starts a checker in a namespace. It has no slaves yet.
func startChecker(t testing.TB, ns *netlab.Namespace, s setup) *checker {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{t: t, ns: ns, cmd: ns.Command(self), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), checkerVar+"=1")
	c.cmd.Stderr = &c.log
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("start a checker: %v", err)
	}
	c.stdin, c.slaves = stdin, gob.NewEncoder(stdin)
	go c.read(stdout)
	t.Cleanup(c.stop)
	if err := c.slaves.Encode(s); err != nil {
		t.Fatalf("set a checker up: %v", err)
	}
	return c
}

// read takes reports until the process ends.
func (c *checker) read(stdout io.Reader) {
	defer close(c.ended)
	for in := gob.NewDecoder(stdout); ; {
		var r report
		if err := in.Decode(&r); err != nil {
			return
		}
		c.mu.Lock()
		c.reports = append(c.reports, r)
		c.mu.Unlock()
	}
}

// stop ends the process, which has to end well.
func (c *checker) stop() {
	c.t.Helper()
	if c.cmd.ProcessState != nil {
		return
	}
	c.stdin.Close()
	<-c.ended
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the checker ended with: %v\n%s", err, c.log.String())
	}
}

// probeFrom tells the checker of the named interfaces as they are now, and of
// bond0. Their permanent addresses are those that netlab gives: a veth has none
// by itself.
func (c *checker) probeFrom(names ...string) {
	c.t.Helper()
	var s scene
	links := linksOf(c.ns)
	bond, isBond := links["bond0"]
	info := bond.LinkInfo.Data
	if isBond {
		s.Bond = pathcheck.Bond{Index: bond.Index, Quiet: info.Mode == "balance-alb", Addresses: addressesOf(c.ns, "bond0")}
	}
	for i, name := range names {
		if l, ok := links[name]; ok {
			s.Slaves = append(s.Slaves, pathcheck.Slave{Name: name, Index: l.Index, LinkUp: slices.Contains(l.Flags, "LOWER_UP"),
				MAC: state.MAC{0x02, 5: byte(i)}, Active: info.Mode == "active-backup" && info.ActiveSlave == name})
		}
	}
	if err := c.slaves.Encode(s); err != nil {
		c.t.Fatalf("tell a checker of its slaves: %v", err)
	}
}

// addressesOf are the IPv4 addresses of an interface.
func addressesOf(ns *netlab.Namespace, dev string) []netip.Prefix {
	var list []struct {
		Addresses []struct {
			Local string `json:"local"`
			Bits  int    `json:"prefixlen"`
		} `json:"addr_info"`
	}
	ns.IPJSON(&list, "-4 addr show dev "+dev)
	var prefixes []netip.Prefix
	for _, l := range list {
		for _, a := range l.Addresses {
			prefixes = append(prefixes, netip.PrefixFrom(netip.MustParseAddr(a.Local), a.Bits))
		}
	}
	return prefixes
}

// A link is an interface as ip(8) shows it.
type link struct {
	Index    int      `json:"ifindex"`
	Name     string   `json:"ifname"`
	Flags    []string `json:"flags"`
	LinkInfo struct {
		Data struct {
			Mode        string `json:"mode"`
			ActiveSlave string `json:"active_slave"`
		} `json:"info_data"`
	} `json:"linkinfo"`
}

func linksOf(ns *netlab.Namespace) map[string]link {
	var list []link
	ns.IPJSON(&list, "link show")
	links := make(map[string]link)
	for _, l := range list {
		links[l.Name] = l
	}
	return links
}

// The addresses from which the probes of netlab's eth0 and eth1 are sent.
const probes0, probes1 = "42:00:00:00:00:00", "42:00:00:00:00:01"

// letsIn reports whether a card was told to let in frames to an address beside
// its own.
func letsIn(ns *netlab.Namespace, dev, mac string) bool {
	return strings.Contains(ns.Bridge("fdb show dev "+dev), mac)
}

// all returns the reports since a time.
func (c *checker) all(since time.Time) []report {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, _ := slices.BinarySearchFunc(c.reports, since, func(r report, t time.Time) int { return r.At.Compare(t) })
	return slices.Clone(c.reports[i:])
}

// until waits for a report since a time that is as it should be, and returns it.
func (c *checker) until(since time.Time, limit time.Duration, what string, ok func(pathcheck.Report) bool) report {
	c.t.Helper()
	var last pathcheck.Report
	for time.Since(since) < limit {
		for _, r := range c.all(since) {
			if last = r.Paths; ok(last) {
				return r
			}
		}
		time.Sleep(time.Millisecond)
	}
	c.t.Fatalf("%s: not within %v; the last report is %+v", what, limit, last)
	return report{}
}

// are says whether every path of the given slaves has a state; of all slaves
// there are, if none is given.
func are(s state.PathState, slaves ...int) func(pathcheck.Report) bool {
	return func(r pathcheck.Report) bool {
		if len(r) == 0 {
			return false
		}
		for index, paths := range r {
			for _, p := range paths {
				if (len(slaves) == 0 || slices.Contains(slaves, index)) && p.State != s {
					return false
				}
			}
		}
		return true
	}
}

// The targets on netlab's peer, the first by ARP and the second by neighbour solicitation.
var (
	peer4 = netlab.PeerAddress.Addr()
	peer6 = netip.MustParseAddr("2001:db8::1")
)

// targets returns targets that are probed every 100 ms, with 20 ms for the
// answer, that are dead after 3 misses and back after 2 answers.
func targets(addrs ...netip.Addr) []pathcheck.Target {
	var list []pathcheck.Target
	for _, a := range addrs {
		list = append(list, pathcheck.Target{Addr: a, Interval: 100 * time.Millisecond, Timeout: 20 * time.Millisecond, MissedMax: 3, ReturnAfter: 2})
	}
	return list
}

// bound is within what time the death of a path is told: that of pathcheck, and
// what it takes the report to get here.
func bound(t pathcheck.Target) time.Duration {
	return t.Interval*time.Duration(t.MissedMax) + t.Timeout + 5*time.Millisecond
}
