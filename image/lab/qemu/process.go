package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// ErrKilled says that QEMU did not end by itself: its owner had it killed.
var ErrKilled = errors.New("QEMU was killed")

// A QEMU is the program, as this host has it.
type QEMU struct{ path string }

// Find finds QEMU.
func Find() (QEMU, error) {
	path, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return QEMU{}, fmt.Errorf("find QEMU: %w; `make deps` installs it", err)
	}
	return QEMU{path}, nil
}

// A Process is QEMU running a machine.
type Process struct {
	output bytes.Buffer  // what QEMU says; read it after exited
	exited chan struct{} // closed when QEMU has ended
	err    error         // why; read it after exited
}

// Start starts a machine. It runs until its own power goes off or ctx ends, and
// is killed when this program dies.
func (q QEMU) Start(ctx context.Context, m *Machine) (*Process, error) {
	p := &Process{exited: make(chan struct{})}
	cmd := exec.CommandContext(ctx, q.path, m.args...)
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	// In a process group of its own it does not get the terminal's Ctrl-C, so
	// that it is this program that stops it, in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the thread ends that started the
		// process: this goroutine keeps its thread until the process has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		switch {
		case err != nil && ctx.Err() != nil:
			p.err = fmt.Errorf("%w: %w", ErrKilled, ctx.Err())
		case err != nil:
			p.err = fmt.Errorf("QEMU exited unexpectedly: %w: %s", err, p.said())
		}
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	return p, nil
}

// said is what QEMU has said, once it has ended.
func (p *Process) said() []byte { return bytes.TrimSpace(p.output.Bytes()) }

// Exited returns a channel that is closed when QEMU has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Wait waits until QEMU has ended. The error is an ErrKilled if that was because
// ctx had ended; if QEMU failed, the error has what it said.
func (p *Process) Wait() error {
	<-p.exited
	return p.err
}

// connectLimit is how long QEMU may take from its start until it has connected
// to its sockets.
const connectLimit = 2 * time.Minute

// Accept waits for QEMU to connect to a channel made by Dial. On an error the
// listener is closed.
func (p *Process) Accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	accepted := make(chan result, 1)
	go func() {
		conn, err := l.Accept()
		accepted <- result{conn, err}
	}()
	var err error
	select {
	case r := <-accepted:
		return r.conn, r.err
	case <-p.exited:
		err = fmt.Errorf("QEMU exited before it connected: %s", p.said())
	case <-ctx.Done():
		err = fmt.Errorf("QEMU does not connect: %w", ctx.Err())
	}
	l.Close()
	if r := <-accepted; r.conn != nil {
		r.conn.Close()
	}
	return nil, err
}
