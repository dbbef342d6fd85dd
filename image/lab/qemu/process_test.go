package qemu_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bondd.internal/image/lab/qemu"
)

// ownerVar makes the test binary the owner of a machine, which says so when the
// machine runs, and then waits.
const ownerVar = "QEMU_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerVar) == "" {
		os.Exit(m.Run())
	}
	q, err := qemu.Find()
	if err == nil {
		_, err = q.Start(context.Background(), qemu.NewMachine(qemu.AccelTCG, 1, "1G"))
	}
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	select {}
}

// fake puts a shell script in QEMU's place.
func fake(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "qemu-system-x86_64")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func find(t *testing.T) qemu.QEMU {
	t.Helper()
	q, err := qemu.Find()
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func start(t *testing.T, ctx context.Context) *qemu.Process {
	t.Helper()
	p, err := find(t).Start(ctx, qemu.NewMachine(qemu.AccelTCG, 1, "1G"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := qemu.Find()
	if !errors.Is(err, exec.ErrNotFound) || !strings.HasSuffix(err.Error(), "`make deps` installs it") {
		t.Errorf("without QEMU: %v", err)
	}
}

func TestExit(t *testing.T) {
	fake(t, "exit 0")
	if err := start(t, t.Context()).Wait(); err != nil {
		t.Errorf("a machine that went off: %v", err)
	}
	fake(t, "echo 'no such device: pcnet2' >&2; exit 1")
	const want = "QEMU exited unexpectedly: exit status 1: no such device: pcnet2"
	if err := start(t, t.Context()).Wait(); err == nil || err.Error() != want {
		t.Errorf("a machine that cannot be: %v\nwant %s", err, want)
	}
}

// A QEMU that ends before it has connected is not waited for.
func TestAccept(t *testing.T) {
	fake(t, "echo 'no such device: pcnet2' >&2; exit 1")
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "QEMU exited before it connected: no such device: pcnet2"
	if _, err := start(t, t.Context()).Accept(t.Context(), l); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestKilledWithContext(t *testing.T) {
	fake(t, "exec sleep 1000000")
	ctx, cancel := context.WithCancel(t.Context())
	p := start(t, ctx)
	cancel()
	if err := p.Wait(); !errors.Is(err, qemu.ErrKilled) || !errors.Is(err, context.Canceled) {
		t.Errorf("a machine that was ended: %v", err)
	}
}

// No machine outlives its owner, however that ends.
func TestKilledWithOwner(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	fake(t, "exec 3>"+pipe+"; echo runs >&3; exec sleep 1000000")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	owner := exec.Command(self)
	owner.Env = append(os.Environ(), ownerVar+"=1")
	owner.Stderr = os.Stderr
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	// The machine has the only other end of the pipe.
	machine, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	if n, err := io.ReadFull(machine, make([]byte, len("runs\n"))); err != nil {
		t.Fatalf("the machine said %d bytes: %v", n, err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // it was killed
	if _, err := io.ReadAll(machine); err != nil {
		t.Error(err)
	}
}
