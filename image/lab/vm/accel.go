package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Accel says who executes the guest's instructions.
type Accel string

// The accelerators. AccelAuto tries KVM and falls back to TCG, QEMU's own
// emulation.
const (
	AccelAuto Accel = "auto"
	AccelKVM  Accel = "kvm"
	AccelTCG  Accel = "tcg"
)

// args returns QEMU's arguments for the accelerator. QEMU's emulation with one thread per CPU has a
// race with code that changes itself, which the kernel's static branches do:
// a guest in QEMU 7.2 then dies of an int3 now and then. So it gets one thread.
func (a Accel) args() []string {
	if a == AccelKVM {
		return []string{"-accel", "kvm"}
	}
	return []string{"-accel", "tcg,thread=single"}
}

// best returns QEMU's arguments for the processor with most features.
func (a Accel) best() []string {
	if a == AccelKVM {
		return []string{"-cpu", "host"}
	}
	return []string{"-cpu", "max"}
}

// plain returns QEMU's arguments for a processor without instructions for
// random numbers. QEMU's default model has none.
func (a Accel) plain() []string {
	if a == AccelKVM {
		return []string{"-cpu", "host,-rdrand,-rdseed"}
	}
	return nil
}

// cpus is how many CPUs a machine gets by default: emulated ones share one
// thread, and more than one of them only costs.
func (a Accel) cpus() int {
	if a == AccelKVM {
		return 2
	}
	return 1
}

// trialLimit is how long KVM has to boot a kernel until it finds no root file
// system. A working one needs one or two seconds; on some machines /dev/kvm
// exists and runs small programs, but a kernel hangs.
const trialLimit = 10 * time.Second

// resolve turns AccelAuto into what works on this machine.
func (a Accel) resolve(ctx context.Context, qemu string) (Accel, error) {
	switch a {
	case AccelKVM, AccelTCG:
		return a, nil
	case AccelAuto:
		return tryAll(ctx, qemu)
	}
	return "", fmt.Errorf("accelerator %q is none of kvm, tcg, auto", a)
}

// tryAll returns the best accelerator that works. Since the trial of one that
// does not work takes its full time, its outcome is kept in the user's cache
// until the host is booted again. A host without such a cache tries each time.
func tryAll(ctx context.Context, qemu string) (Accel, error) {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return AccelTCG, nil
	}
	var cache string
	if dir, err := os.UserCacheDir(); err == nil {
		cache = filepath.Join(dir, "bondd", "accel")
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("identify this boot of the host: %w", err)
	}
	known, err := os.ReadFile(cache)
	for _, accel := range []Accel{AccelKVM, AccelTCG} {
		if err == nil && string(known) == string(boot)+string(accel) {
			return accel, nil
		}
	}

	accel := AccelKVM
	if err := tryKVM(ctx, qemu); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		accel = AccelTCG
	}
	if err := os.MkdirAll(filepath.Dir(cache), 0o755); err == nil {
		// Without the cache the next start is slower, no more.
		_ = os.WriteFile(cache, []byte(string(boot)+string(accel)), 0o644)
	}
	return accel, nil
}

// tryKVM boots the appliance's kernel without a root file system under KVM:
// it panics, and the machine ends.
func tryKVM(ctx context.Context, qemu string) error {
	kernel, err := shippedKernel()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	args := append(AccelKVM.args(), AccelKVM.best()...)
	args = append(args, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "pc", "-m", "256M", "-kernel", kernel, "-append", "panic=-1 quiet")
	cmd := exec.CommandContext(ctx, qemu, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // see startQEMU
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("try KVM: %w", errors.Join(err, ctx.Err()))
	}
	return nil
}

// shippedKernel finds the appliance's kernel in the repository that the
// working directory is in.
func shippedKernel() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		kernel := filepath.Join(dir, "image", "kernel", "vmlinuz")
		if _, err := os.Stat(kernel); err == nil {
			return kernel, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the working directory is not in the repository: no image/kernel/vmlinuz above it")
		}
		dir = filepath.Dir(dir)
	}
}
