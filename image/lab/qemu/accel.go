package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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

// args returns QEMU's arguments for the accelerator. QEMU's emulation with one
// thread per CPU has a race with code that changes itself, which the kernel's
// static branches do: a guest in QEMU 7.2 then dies of an int3 now and then. So
// it gets one thread.
func (a Accel) args() []string {
	if a == AccelKVM {
		return []string{"-accel", "kvm"}
	}
	return []string{"-accel", "tcg,thread=single"}
}

// BestCPU is the processor with most features, as QEMU names it.
func (a Accel) BestCPU() string {
	if a == AccelKVM {
		return "host"
	}
	return "max"
}

// CPUs is how many CPUs a machine gets by default: emulated ones share one
// thread, and more than one of them only costs.
func (a Accel) CPUs() int {
	if a == AccelKVM {
		return 2
	}
	return 1
}

// trialLimit is how long KVM has to boot a kernel until it finds no root file
// system. A working one needs one or two seconds; on some machines /dev/kvm
// exists and runs small programs, but a kernel hangs.
const trialLimit = 10 * time.Second

// Choose returns AccelKVM or AccelTCG. An empty a stands for what the environment
// variable BONDD_ACCEL says, and AccelAuto, also if that is empty, for what works
// on this machine.
func (q QEMU) Choose(ctx context.Context, a Accel) (Accel, error) {
	if a == "" {
		a = Accel(os.Getenv("BONDD_ACCEL"))
	}
	switch a {
	case AccelKVM, AccelTCG:
		return a, nil
	case AccelAuto, "":
		return q.tryAll(ctx)
	}
	return "", fmt.Errorf("accelerator %q is none of kvm, tcg, auto", a)
}

// tryAll returns the best accelerator that works. Since the trial of one that
// does not work takes its full time, its outcome is kept in the user's cache
// until the host is booted again. A host without such a cache tries each time.
func (q QEMU) tryAll(ctx context.Context) (Accel, error) {
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
	if err := q.tryKVM(ctx); err != nil {
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
func (q QEMU) tryKVM(ctx context.Context) error {
	kernel, err := ShippedKernel()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	m := NewMachine(AccelKVM, 1, "256M")
	m.Add("-cpu", AccelKVM.BestCPU(), "-no-reboot")
	m.Boot(kernel, "", "panic=-1 quiet")
	p, err := q.Start(ctx, m)
	if err != nil {
		return fmt.Errorf("try KVM: %w", err)
	}
	if err := p.Wait(); err != nil {
		return fmt.Errorf("try KVM: %w", err)
	}
	return nil
}
