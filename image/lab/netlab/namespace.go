package netlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/sender"
)

// Programs returns the programs of the host that this package runs in the
// guest, for guest.Config.
func Programs() []string { return []string{"bridge", "ip", sender.Program} }

// A Namespace is a network namespace that lives as long as the test. Every
// method that fails ends the test.
type Namespace struct {
	// Name is its name for `ip netns`.
	Name string

	t  testing.TB
	fd int // a socket inside, for ioctls
}

// NewNamespace makes a network namespace with lo up. Its name is the given one
// with a number that makes it unique in the guest.
//
// Addresses answer ARP only on their own interface (arp_ignore 1): a bridge
// port that was taken out of its bridge must not answer for the bridge. IPv6
// addresses are usable at once (no duplicate address detection).
func NewNamespace(t testing.TB, name string) *Namespace {
	t.Helper()
	n := &Namespace{t: t}
	for i := 0; n.Name == ""; i++ {
		candidate := name + strconv.Itoa(i)
		if _, err := os.Stat(namespacePath(candidate)); errors.Is(err, fs.ErrNotExist) {
			n.Name = candidate
		}
	}
	run(t, "ip", "netns", "add", n.Name)
	t.Cleanup(func() { run(t, "ip", "netns", "del", n.Name) })
	n.IP("link set lo up")
	n.Sysctl("net/ipv4/conf/all/arp_ignore", "1")
	n.Sysctl("net/ipv6/conf/default/accept_dad", "0")

	n.fd = n.socket(unix.AF_INET, unix.SOCK_DGRAM)
	t.Cleanup(func() { unix.Close(n.fd) })
	return n
}

func namespacePath(name string) string { return filepath.Join("/run/netns", name) }

// Path returns the file that stands for the namespace, as setns(2) takes it.
func (n *Namespace) Path() string { return namespacePath(n.Name) }

// IP runs ip(8) in the namespace with the given arguments, split at white
// space, and returns what it prints.
func (n *Namespace) IP(args string) string {
	n.t.Helper()
	return run(n.t, "ip", append([]string{"-n", n.Name}, strings.Fields(args)...)...)
}

// IPJSON runs ip(8) like IP and decodes its JSON output into v.
func (n *Namespace) IPJSON(v any, args string) {
	n.t.Helper()
	if err := json.Unmarshal([]byte(n.IP("-d -j "+args)), v); err != nil {
		n.t.Fatalf("decode the output of ip %s: %v", args, err)
	}
}

// Bridge runs bridge(8) in the namespace with the given arguments, split at
// white space, and returns what it prints.
func (n *Namespace) Bridge(args string) string {
	n.t.Helper()
	return run(n.t, "bridge", append([]string{"-n", n.Name}, strings.Fields(args)...)...)
}

// Command returns a command that will run in the namespace, with a /sys that
// shows it.
func (n *Namespace) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", n.Name, name}, args...)...)
}

// Do runs f on a thread that is in the namespace, and returns its error. What
// f opens stays in the namespace; goroutines it starts do not, and /sys shows
// the guest's first namespace.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so no other
		// goroutine finds itself in the namespace.
		runtime.LockOSThread()
		result <- func() error {
			fd, err := unix.Open(n.Path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open namespace %s: %w", n.Name, err)
			}
			defer unix.Close(fd)
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter namespace %s: %w", n.Name, err)
			}
			return f()
		}()
	}()
	return <-result
}

// Sysctl writes a network setting, named as below /proc/sys.
func (n *Namespace) Sysctl(name, value string) {
	n.t.Helper()
	err := n.Do(func() error {
		// /proc/sys/net shows the namespace of the thread that looks.
		return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0)
	})
	if err != nil {
		n.t.Fatalf("set %s in %s: %v", name, n.Name, err)
	}
}

// MAC returns an interface's current hardware address.
func (n *Namespace) MAC(dev string) net.HardwareAddr {
	n.t.Helper()
	var mac net.HardwareAddr
	err := n.Do(func() error {
		ifi, err := net.InterfaceByName(dev)
		if err == nil {
			mac = ifi.HardwareAddr
		}
		return err
	})
	if err != nil {
		n.t.Fatalf("read the MAC of %s in %s: %v", dev, n.Name, err)
	}
	return mac
}

// Neighbour fixes the hardware address of a neighbour, so that no ARP request
// is part of a measurement.
func (n *Namespace) Neighbour(dev string, address netip.Addr, mac net.HardwareAddr) {
	n.t.Helper()
	n.IP(fmt.Sprintf("neigh replace %v lladdr %v nud permanent dev %s", address, mac, dev))
}

// SetLink sets an interface administratively up or down by one system call.
func (n *Namespace) SetLink(dev string, up bool) {
	n.t.Helper()
	if err := n.setLink(dev, up); err != nil {
		n.t.Fatalf("set %s in %s up=%t: %v", dev, n.Name, up, err)
	}
}

func (n *Namespace) setLink(dev string, up bool) error {
	req, err := unix.NewIfreq(dev)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(n.fd, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	flags := req.Uint16() &^ unix.IFF_UP
	if up {
		flags |= unix.IFF_UP
	}
	req.SetUint16(flags)
	return unix.IoctlIfreq(n.fd, unix.SIOCSIFFLAGS, req)
}

// socket opens a socket in the namespace.
func (n *Namespace) socket(family, typ int) int {
	n.t.Helper()
	fd := -1
	err := n.Do(func() (err error) {
		fd, err = unix.Socket(family, typ|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		n.t.Fatalf("open a socket in %s: %v", n.Name, err)
	}
	return fd
}

// Eventually calls ok until it returns true: every millisecond, and more rarely
// the longer it waits. The test ends if that takes longer than limit, in the
// guest's time, with what as the description of what was waited for.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	const least, most = time.Millisecond, 100 * time.Millisecond
	for began := time.Now(); !ok(); time.Sleep(min(max(least, time.Since(began)/32), most)) {
		if time.Since(began) > limit {
			t.Fatalf("no %s within %v", what, limit)
		}
	}
}

// run runs a program and returns its output; a failure ends the test.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
