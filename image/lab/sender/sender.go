package sender

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RoleVar is the environment variable that says which part of the guest a
// process plays, Role its value in a sender.
const (
	RoleVar = "BONDD_GUEST"
	Role    = "sender"
)

// Program is the program of the host that Start runs in the guest. It gives
// the process its priority before the Go runtime starts a thread.
const Program = "chrt"

const (
	priority = 50 // of SCHED_FIFO

	// socketFD is the connected socket to send on: the first of ExtraFiles.
	socketFD = 3
)

// A Config says what to send.
type Config struct {
	// Interval is the time from one packet to the next.
	Interval time.Duration
	// MaxPackets is the most packets to send. A sender that is not stopped
	// before fails.
	MaxPackets int
}

// A Result is what the sender knows at its end.
type Result struct {
	// Packets is how many packets were sent, numbered from 0.
	Packets int
	// Lateness is the most that one of them was late.
	Lateness time.Duration
	// Error says why the stream is not what it should be; empty if it is.
	Error string `json:",omitempty"`
}

// A Process is a sender that runs.
type Process struct {
	cmd     *exec.Cmd
	stop    io.Closer // the sender's standard input
	results *json.Decoder
}

// Start starts a process that sends numbered packets on a connected datagram
// socket, and returns when it is about to send the first. A number has eight
// bytes, the highest first. The caller must stop the process and may close the
// socket.
func Start(socket *os.File, cfg Config) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(Program, "--fifo", strconv.Itoa(priority), self, string(arg))
	// Nothing interrupts the goroutine that sends: the one that waits for the
	// end has a P of its own, there is no garbage collection, and the runtime
	// sends no signals to goroutines that run for long.
	cmd.Env = append(os.Environ(), RoleVar+"="+Role, "GOMAXPROCS=2", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the sender: %w", err)
	}
	p := &Process{cmd: cmd, stop: stdin, results: json.NewDecoder(stdout)}
	if _, err := p.result(); err != nil {
		return nil, errors.Join(err, stdin.Close(), cmd.Wait())
	}
	return p, nil
}

// Stop ends the process and returns what it has sent.
func (p *Process) Stop() (Result, error) {
	closed := p.stop.Close()
	r, err := p.result()
	return r, errors.Join(err, closed, p.cmd.Wait())
}

func (p *Process) result() (Result, error) {
	var r Result
	if err := p.results.Decode(&r); err != nil {
		return Result{}, fmt.Errorf("read what the sender says: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// Main is the process. It says a Result twice on the standard output: an empty
// one before the first packet, and that of the stream when the standard input
// has ended. The result is the process's exit status.
func Main() int {
	var cfg Config
	if len(os.Args) != 2 {
		fmt.Fprintf(os.Stderr, "guest: %s=%s is for a process that netlab starts\n", RoleVar, Role)
		return 2
	}
	if err := json.Unmarshal([]byte(os.Args[1]), &cfg); err != nil {
		fmt.Fprintf(os.Stderr, "guest: parse the sender's configuration: %v\n", err)
		return 2
	}
	var stop atomic.Bool
	go func() {
		// It ends with the process. An error is an end, too.
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(Result{}); err != nil {
		return 1 // nobody listens
	}
	if err := out.Encode(send(cfg, &stop)); err != nil {
		return 1
	}
	return 0
}

// send sends packets until it is told to stop.
//
// Its system calls are raw: to the runtime it computes all the time. Otherwise
// the runtime's monitor would take its P away in each sleep, which costs more
// processor time than the packets.
func send(cfg Config, stop *atomic.Bool) Result {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var (
		result Result
		packet [8]byte
	)
	next := now()
	for !stop.Load() {
		if result.Packets == cfg.MaxPackets {
			result.Error = fmt.Sprintf(
				"%d packets were sent before the stream was stopped, set MaxPackets",
				result.Packets,
			)
			break
		}
		binary.BigEndian.PutUint64(packet[:], uint64(result.Packets))
		// A packet that cannot be sent is a lost packet, like any other.
		_, _, _ = unix.RawSyscall(unix.SYS_WRITE, socketFD, uintptr(unsafe.Pointer(&packet)), unsafe.Sizeof(packet))
		result.Packets++

		next += int64(cfg.Interval)
		sleepUntil(next)
		result.Lateness = max(result.Lateness, time.Duration(now()-next))
	}
	return result
}

// now returns the monotonic clock in nanoseconds.
func now() int64 {
	var ts unix.Timespec
	_, _, _ = unix.RawSyscall(
		unix.SYS_CLOCK_GETTIME,
		unix.CLOCK_MONOTONIC,
		uintptr(unsafe.Pointer(&ts)),
		0,
	) // cannot fail
	return ts.Nano()
}

// sleepUntil returns when the monotonic clock has reached t, in nanoseconds.
func sleepUntil(t int64) {
	ts := unix.NsecToTimespec(t)
	for {
		_, _, errno := unix.RawSyscall6(
			unix.SYS_CLOCK_NANOSLEEP,
			unix.CLOCK_MONOTONIC,
			unix.TIMER_ABSTIME,
			uintptr(unsafe.Pointer(&ts)),
			0,
			0,
			0,
		)
		if errno != unix.EINTR {
			return
		}
	}
}
