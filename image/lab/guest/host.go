package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bondd.internal/image/lab/initramfs"
	"bondd.internal/image/lab/qemu"
)

const (
	defaultMemory = "512M"
	defaultLimit  = 2 * time.Hour

	// workDir is the tests' working directory in the guest; their testdata is
	// below it.
	workDir = "/work"

	// consoleTail is how much of the guest's console is shown when it ends
	// without an exit status, in bytes.
	consoleTail = 8 << 10
)

// kernelArgs is the kernel's command line, without the part that says what to
// run. A panic ends the machine at once; the random layout of kernel and
// processes is off, for equal runs and a quicker boot. Timers come from the
// HPET: measuring the local APIC's costs seconds of the host's time at every
// boot. Mitigations of processors' faults, which an emulated one has not, are off:
// each indirect call of theirs costs the emulation so much that tests took half as
// long again.
const kernelArgs = "console=ttyS0 loglevel=5 panic=-1 nokaslr norandmaps random.trust_cpu=on " +
	"nolapic_timer tsc=reliable mitigations=off " +
	"bonding.max_bonds=0 rdinit=/init " + roleVar + "=" + roleInit

// runHost runs the tests in a guest and returns their exit status.
func runHost(cfg Config, args []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()

	cwd, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	root, err := qemu.Repository()
	if err != nil {
		return 0, err
	}
	kernel, err := qemu.ShippedKernel()
	if err != nil {
		return 0, err
	}
	program, err := qemu.Find()
	if err != nil {
		return 0, err
	}

	tmp, err := os.MkdirTemp("", "bondd-guest-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()

	translated, back := guestArgs(args, cwd)
	initrd := filepath.Join(tmp, "initramfs")
	if err := pack(ctx, cfg, cwd, tmp, initrd, translated); err != nil {
		return 0, fmt.Errorf("pack the guest: %w", err)
	}
	m := machine{program: program, kernel: kernel, initrd: initrd, dir: tmp, cfg: cfg}
	if err := m.run(ctx); err != nil {
		return 0, err
	}
	back[outputDir] = outputFolder(root, cwd)
	code, err = receiveResult(m.resultFile(), back)
	if err != nil {
		return 0, fmt.Errorf("the guest ended without an exit status: %w\n%s", err, m.consoleTail())
	}
	return code, nil
}

// outputFolder returns where on the host the files of Output end up.
func outputFolder(root, cwd string) string {
	if dir := os.Getenv("BONDD_GUEST_OUTPUT"); dir != "" {
		return absolute(cwd, dir)
	}
	rel, err := filepath.Rel(root, cwd)
	if err != nil {
		rel = filepath.Base(cwd)
	}
	return filepath.Join(root, "build", "guest", rel)
}

// pack writes the guest's initramfs.
func pack(ctx context.Context, cfg Config, cwd, tmp, file string, args []string) error {
	var root initramfs.Archive
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := root.AddProgram(ctx, "/init", self); err != nil {
		return err
	}
	for _, name := range cfg.Programs {
		source, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("find a program that the tests need: %w; `make deps` installs what is missing", err)
		}
		if err := root.AddProgram(ctx, path.Join("/bin", filepath.Base(name)), source); err != nil {
			return err
		}
	}
	for i, name := range slices.Sorted(maps.Keys(cfg.Packages)) {
		binary := filepath.Join(tmp, "package"+strconv.Itoa(i))
		if err := buildPackage(ctx, cfg.Packages[name], binary); err != nil {
			return err
		}
		if err := root.AddFile(name, binary); err != nil {
			return err
		}
	}
	for name, source := range cfg.Files {
		if err := root.AddFile(name, absolute(cwd, source)); err != nil {
			return err
		}
	}
	testdata := filepath.Join(cwd, "testdata")
	if _, err := os.Stat(testdata); err == nil {
		if err := root.AddTree(path.Join(workDir, "testdata"), testdata); err != nil {
			return err
		}
	}
	// Makes workDir exist, testdata or not.
	root.AddData(path.Join(workDir, ".keep"), nil)

	data, err := json.Marshal(job{Args: args, Env: guestEnv(cfg), Dir: workDir})
	if err != nil {
		return err
	}
	root.AddData(jobFile, data)
	return root.Write(file)
}

// buildPackage builds a Go package's binary, static and without the state of
// the checkout in it.
func buildPackage(ctx context.Context, pkg, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", binary, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// guestEnv returns the variables of the host's environment that pass to the
// tests.
func guestEnv(cfg Config) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		// Where the output goes on the host is none of the guest's business, and
		// would be a difference between equal runs.
		if name == "BONDD_GUEST_OUTPUT" {
			continue
		}
		if strings.HasPrefix(name, "BONDD_") || slices.Contains(cfg.Env, name) {
			env = append(env, kv)
		}
	}
	slices.Sort(env)
	return env
}

// A machine is one run of QEMU.
type machine struct {
	program        qemu.QEMU
	kernel, initrd string
	dir            string // for what the guest sends
	cfg            Config
}

func (m *machine) consoleFile() string   { return filepath.Join(m.dir, "console") }
func (m *machine) outputFile() string    { return filepath.Join(m.dir, "output") }
func (m *machine) resultFile() string    { return filepath.Join(m.dir, "result") }
func (m *machine) monitorSocket() string { return filepath.Join(m.dir, "monitor") }

// describe returns QEMU's command line. Everything the guest could learn from the
// host is fixed: clock, random numbers, processor. What it sends goes to plain
// files, which never make it wait.
func (m *machine) describe() *qemu.Machine {
	memory := m.cfg.Memory
	if memory == "" {
		memory = defaultMemory
	}
	q := qemu.NewMachine(qemu.AccelTCG, 1, memory)
	q.Add("-no-reboot", "-cpu", qemu.AccelTCG.BestCPU(), "-icount", "shift=0,sleep=off",
		"-seed", "1", "-rtc", "base=2026-01-01T00:00:00,clock=vm")
	q.Boot(m.kernel, m.initrd, strings.TrimSpace(kernelArgs+" "+m.cfg.KernelArgs))
	q.Console(qemu.File(m.consoleFile()))
	q.SerialPorts()
	q.SerialPort("output", outputPort, qemu.File(m.outputFile()))
	q.SerialPort("result", resultPort, qemu.File(m.resultFile()))
	if m.cfg.Monitor {
		// The two ends of a socket: QEMU listens and calls itself.
		q.Monitor(qemu.Listen(m.monitorSocket()))
		q.SerialPort("monitor", monitorPort, qemu.Dial(m.monitorSocket()))
	}
	q.Add(m.cfg.Devices...)
	return q
}

// run boots the machine and copies the tests' output to the standard output
// until the machine is off.
func (m *machine) run(ctx context.Context) error {
	limit := m.cfg.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	process, err := m.program.Start(limited, m.describe())
	if err != nil {
		return err
	}
	copyErr := follow(os.Stdout, m.outputFile(), process.Exited())
	err = process.Wait()

	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted, the machine is stopped\n%s", m.consoleTail())
	case limited.Err() != nil:
		return fmt.Errorf("the machine ran longer than %v in real time and was killed\n%s", limit, m.consoleTail())
	case err != nil:
		return fmt.Errorf("%w\n%s", err, m.consoleTail())
	case copyErr != nil:
		return fmt.Errorf("copy the tests' output: %w", copyErr)
	}
	return nil
}

// consoleTail returns the end of the guest's console for a message.
func (m *machine) consoleTail() string {
	data, err := os.ReadFile(m.consoleFile())
	if err != nil {
		return "no console: " + err.Error()
	}
	data = bytes.ReplaceAll(data, []byte("\r"), nil)
	if len(data) > consoleTail {
		data = data[len(data)-consoleTail:]
	}
	return "--- the end of the guest's console\n" + string(data) + "--- "
}

// follow copies a growing file to w until done is closed and all of it is
// copied.
func follow(w io.Writer, name string, done <-chan struct{}) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var f *os.File
	for ended := false; ; {
		if f == nil {
			var err error
			if f, err = os.Open(name); err == nil {
				defer f.Close()
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if f != nil {
			if _, err := io.Copy(w, f); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
		select {
		case <-done:
			ended = true
		case <-tick.C:
		}
	}
}

// receiveResult reads the archive that the guest has sent, puts its files
// where back says, and returns the exit status.
func receiveResult(file string, back map[string]string) (int, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	tr := tar.NewReader(f)
	for {
		hdr, err := tr.Next()
		if err != nil {
			return 0, fmt.Errorf("read the guest's result: %w", err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return 0, fmt.Errorf("read the guest's result: %w", err)
		}
		if hdr.Name == exitEntry {
			return strconv.Atoi(string(data))
		}
		if err := place(hdr.Name, data, back); err != nil {
			return 0, err
		}
	}
}

// place writes one file from the guest to the host.
func place(name string, data []byte, back map[string]string) error {
	for in, out := range back {
		if name == in {
			return os.WriteFile(out, data, 0o644)
		}
		rel, ok := strings.CutPrefix(path.Clean(name), in+"/")
		if !ok {
			continue
		}
		target := filepath.Join(out, filepath.FromSlash(rel))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	}
	return fmt.Errorf("the guest sent %s, which nobody asked for", name)
}
