package build

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// sbin is where distributions keep the tools of file systems, outside of the
// search path of an ordinary user.
var sbin = []string{"/usr/sbin", "/sbin"}

// find returns the path of a program of e2fsprogs.
func find(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range sbin {
		if p, err := exec.LookPath(dir + "/" + name); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: run `make deps`, or install e2fsprogs", name)
}

// e2fs runs a program of e2fsprogs in dir and returns what it wrote to standard
// output and to standard error. An error wraps the *exec.ExitError.
func e2fs(ctx context.Context, dir, name string, args ...string) (stdout, stderr []byte, err error) {
	p, err := find(name)
	if err != nil {
		return nil, nil, err
	}
	var out, messages bytes.Buffer
	cmd := command(ctx, dir, p, args...)
	cmd.Stdout = &out
	cmd.Stderr = &messages
	if err := cmd.Run(); err != nil {
		return out.Bytes(), messages.Bytes(), fmt.Errorf(
			"%s: %w: %s",
			name,
			err,
			strings.TrimSpace(out.String()+messages.String()),
		)
	}
	return out.Bytes(), messages.Bytes(), nil
}

// command returns a command that ends with ctx, and with it every process that
// it has started: the packer starts compilers.
func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
