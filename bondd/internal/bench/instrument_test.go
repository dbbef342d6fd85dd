package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
	"bondd.internal/image/lab/sender"
)

// The test binary, started again with roleVar in its environment, is one of
// the processes beside the test's own.
const (
	roleVar     = "BONDD_BENCH_ROLE"
	rolePuller  = "puller"
	roleLoop    = "loop"
	roleScraper = "scraper"
)

// self returns a command that runs the test binary in a role.
func self(t *testing.T, role string, wrapper ...string) *exec.Cmd {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(wrapper, executable)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// pullerPriority is the puller's among SCHED_FIFO: above everything that is
// measured, so that no contender and no load holds up the pull, and below the
// sender, which a pull must not make late.
const pullerPriority = 40

// A puller is a process with real-time priority that pulls cables at a given
// time. It is a process of its own for the reason that the sender is one, see
// the sender package.
type puller struct {
	t   *testing.T
	in  *json.Encoder
	out *json.Decoder
}

// An order tells the puller what to do, and when: to close a port of the peer,
// or to write a command to QEMU's monitor.
type order struct {
	Port    string    `json:"port,omitempty"`
	Command []byte    `json:"command,omitempty"`
	At      time.Time `json:"at"`
}

// A pull is what the puller has done.
type pull struct {
	// Began and Ended are the times around the system call that closes the
	// port; a command begins and ends when it is about to be written.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	Error string    `json:"error,omitempty"`
}

// What the puller has open, the first of ExtraFiles.
const (
	peerFD    = 3 // a socket in the peer
	monitorFD = 4 // QEMU's monitor
)

// startPuller starts a puller. monitor is QEMU's, nil without orders that need it.
func startPuller(t *testing.T, lan *netlab.LAN, monitor *os.File) *puller {
	t.Helper()
	var socket *os.File
	err := lan.Peer.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		socket = os.NewFile(uintptr(fd), "ioctl")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close() // the process has its own
	cmd := self(t, rolePuller, sender.Program, "--fifo", strconv.Itoa(pullerPriority))
	cmd.Env = append(cmd.Env, "GOMAXPROCS=2", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	cmd.ExtraFiles = []*os.File{socket}
	if monitor != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, monitor)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("end the puller: %v", err)
		}
	})
	return &puller{t: t, in: json.NewEncoder(in), out: json.NewDecoder(out)}
}

// order has the puller carry an order out.
func (p *puller) order(o order) {
	p.t.Helper()
	if err := p.in.Encode(o); err != nil {
		p.t.Fatalf("order a pull: %v", err)
	}
}

// wait returns what came of the order.
func (p *puller) wait() pull {
	p.t.Helper()
	var done pull
	if err := p.out.Decode(&done); err != nil {
		p.t.Fatalf("wait for the pull: %v", err)
	}
	if done.Error != "" {
		p.t.Fatalf("pull: %s", done.Error)
	}
	return done
}

// pullerMain is the process. Its orders come on the standard input, with whose
// end it ends.
func pullerMain() int {
	runtime.LockOSThread()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return 0
		}
		done, err := o.carryOut()
		if err != nil {
			done.Error = err.Error()
		}
		if err := out.Encode(done); err != nil {
			return 1
		}
	}
}

// quiet is how long the puller does nothing after a pull: what it would do at
// its priority would hold up everybody else.
const quiet = 50 * time.Millisecond

func (o order) carryOut() (pull, error) {
	var act func() unix.Errno
	if len(o.Command) > 0 {
		act = func() unix.Errno {
			_, _, errno := unix.RawSyscall(unix.SYS_WRITE, monitorFD, uintptr(unsafe.Pointer(&o.Command[0])), uintptr(len(o.Command)))
			return errno
		}
	} else {
		req, err := unix.NewIfreq(o.Port)
		if err != nil {
			return pull{}, err
		}
		if err := unix.IoctlIfreq(peerFD, unix.SIOCGIFFLAGS, req); err != nil {
			return pull{}, fmt.Errorf("read the flags of %s: %w", o.Port, err)
		}
		req.SetUint16(req.Uint16() &^ unix.IFF_UP)
		act = func() unix.Errno {
			_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, peerFD, unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(req)))
			return errno
		}
	}
	// The calls are raw: to the runtime this thread computes all the time, and
	// none of its other threads wakes up beside the pull.
	at := unix.NsecToTimespec(o.At.UnixNano())
	if _, _, errno := unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_REALTIME, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&at)), 0, 0, 0); errno != 0 {
		return pull{}, fmt.Errorf("sleep: %w", errno)
	}
	var began, ended unix.Timespec
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&began)), 0)
	errno := act()
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&ended)), 0)
	if len(o.Command) > 0 {
		ended = began
	}
	rest := unix.NsecToTimespec(int64(quiet))
	_, _, _ = unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&rest)), 0, 0, 0)
	if errno != 0 {
		return pull{}, fmt.Errorf("pull: %w", errno)
	}
	return pull{Began: time.Unix(began.Unix()), Ended: time.Unix(ended.Unix())}, nil
}

// loadLoops is how many processes of another program make the load, each a
// loop without an end at normal priority.
const loadLoops = 2

// loopMain is one of those processes. It ends by a signal.
func loopMain() {
	for turns := 0; ; turns++ {
		runtime.KeepAlive(turns)
	}
}

// scrapes is how many scrapes of bondd's metrics run at once: all that bondd
// admits.
const scrapes = 4

// scraperMain is a process that scrapes the metrics of the bondd in its
// namespace without a pause, and writes a byte to the standard output for each
// time that it got them. It ends by a signal.
func scraperMain() int {
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: scrapes}}
	failed := make(chan error)
	for range scrapes {
		go func() {
			for {
				if err := scrape(&client); err != nil {
					failed <- err
					return
				}
				if _, err := os.Stdout.Write([]byte{'.'}); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	fmt.Fprintf(os.Stderr, "scrape: %v\n", <-failed)
	return 1
}

// scrape gets bondd's metrics once.
func scrape(client *http.Client) error {
	resp, err := client.Get("http://127.0.0.1:80/metrics")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// A load is processes that want the processor while it is on.
type load struct {
	t         *testing.T
	processes []*os.Process
	scraped   *os.File // gets a byte for each scrape; nil without any
}

// startLoad makes the load of a contender, which is off.
func startLoad(t *testing.T, c contender, lan *netlab.LAN) *load {
	t.Helper()
	l := &load{t: t}
	if c.loaded {
		for range loadLoops {
			l.add(self(t, roleLoop))
		}
	}
	if c.scraped {
		var err error
		if l.scraped, err = os.Create(filepath.Join(t.TempDir(), "scrapes")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.scraped.Close() })
		cmd := self(t, roleScraper, "ip", "netns", "exec", lan.Host.Name)
		cmd.Stdout = l.scraped
		l.add(cmd)
	}
	return l
}

// add starts a process that is part of the load.
func (l *load) add(cmd *exec.Cmd) {
	l.t.Helper()
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	l.processes = append(l.processes, cmd.Process)
	l.off()
}

// scrapes returns how many scrapes there were so far.
func (l *load) scrapes() int {
	l.t.Helper()
	if l.scraped == nil {
		return 0
	}
	info, err := l.scraped.Stat()
	if err != nil {
		l.t.Fatal(err)
	}
	return int(info.Size())
}

func (l *load) on()  { l.signal(unix.SIGCONT) }
func (l *load) off() { l.signal(unix.SIGSTOP) }

func (l *load) signal(s os.Signal) {
	l.t.Helper()
	for _, p := range l.processes {
		if err := p.Signal(s); err != nil {
			l.t.Fatalf("signal the load: %v", err)
		}
	}
}
