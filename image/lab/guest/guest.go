package guest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"bondd.internal/image/lab/sender"
	"bondd.internal/image/lab/skip"
)

// Config says what a package's kernel tests need beside the test binary. The
// zero value is usable.
type Config struct {
	// Programs are programs of the host, each a name found in PATH or an
	// absolute path. They are in the guest's PATH under their base name,
	// together with the shared libraries they need.
	Programs []string

	// Packages maps an absolute path in the guest to the Go package whose
	// static binary is put there, for example
	// "/bin/bondd": "bondd.internal/bondd".
	Packages map[string]string

	// Files maps an absolute path in the guest to a file on the host, relative
	// to the package's folder. A testdata folder beside the tests is packed
	// without being listed.
	Files map[string]string

	// Memory is the guest's memory in QEMU's notation; "512M" if empty. The
	// initramfs lives in it.
	Memory string

	// KernelArgs is appended to the kernel's command line.
	KernelArgs string

	// Devices are more arguments for QEMU that give the machine devices, for
	// example network cards.
	Devices []string

	// Monitor joins QEMU's monitor with the guest, see OpenMonitor.
	Monitor bool

	// Env names variables whose values pass from the host to the tests. Those
	// whose names begin with BONDD_ pass always.
	Env []string

	// Limit is how long the machine may run in real time before it is killed;
	// 2 hours if zero, for a host that has little time for it. It is the net under -test.timeout, which counts the
	// guest's time and cannot end a guest whose kernel hangs.
	Limit time.Duration
}

// The environment variable roleVar says which part of the guest a process
// plays. The kernel hands it to process 1 from its command line, process 1 to
// the tests, and they to the sender of each stream.
const (
	roleVar    = sender.RoleVar
	roleInit   = "init"
	roleTest   = "test"
	roleSender = sender.Role
)

// outputDir is where tests leave files for the host.
const outputDir = "/run/guest/output"

// Main runs the package's tests in the guest and ends the process with their
// exit status. It is the whole body of a TestMain.
//
// If the environment variable BONDD_SKIP lists "vm", it says so and ends with
// status 0. A host without QEMU or without the kernel is a failure.
func Main(m *testing.M, cfg Config) {
	switch os.Getenv(roleVar) {
	case roleInit:
		if os.Getpid() == 1 {
			runInit()
		}
		fmt.Fprintf(os.Stderr, "guest: %s=%s is for process 1 of a test machine\n", roleVar, roleInit)
		os.Exit(2)
	case roleTest:
		os.Exit(m.Run())
	case roleSender:
		os.Exit(sender.Main())
	}
	if skip.Named(skip.VM) {
		fmt.Println("skipped: vm (BONDD_SKIP)")
		os.Exit(0)
	}
	if listsOnly(os.Args[1:]) {
		os.Exit(m.Run())
	}
	code, err := runHost(cfg, os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
		os.Exit(2)
	}
	os.Exit(code)
}

// OpenMonitor opens the other end of QEMU's monitor, which speaks QMP: so a
// test does to its own machine what a person would do to it from outside, for
// example take a card's cable out. Config.Monitor must have asked for it, and
// one process has it open at a time. A command takes effect when the host comes
// to it, while the guest goes on.
func OpenMonitor() (*os.File, error) { return openPort(monitorPort, os.O_RDWR) }

// Output returns the folder, in the guest, whose files are brought back to the
// host when the tests have ended: to the folder that the host's environment
// variable BONDD_GUEST_OUTPUT names, else to build/guest/PACKAGE in the
// repository.
func Output() string { return outputDir }
