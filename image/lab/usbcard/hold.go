package usbcard

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// holdVar makes the test binary a holder; its value names the frozen file. The
// device comes as standard input, and "go" as the first byte of goFD.
const (
	holdVar = "USBCARD_HOLD"
	goFD    = 3
)

// Main is for the first line of a TestMain: in a process that this package has
// started it does what that is for and ends it, in others it does nothing.
func Main() {
	file := os.Getenv(holdVar)
	if file == "" {
		return
	}
	if err := hold(file); err != nil {
		fmt.Fprintln(os.Stderr, "usbcard:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// hold reads from standard input to the first page of a file. While it waits for
// the page, no other thread of this process can allocate memory.
func hold(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	page, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", file, err)
	}
	fmt.Println("ready")
	var b [1]byte
	if _, err := io.ReadFull(os.NewFile(goFD, "go"), b[:]); err != nil {
		return fmt.Errorf("wait for the go: %w", err)
	}
	_, err = unix.Read(0, page)
	return errors.Join(err, unix.Munmap(page))
}

// A frozen file system has one file, whose page cannot be written to.
type frozen struct {
	t    testing.TB
	dir  *os.File // where it is mounted
	file string
}

// The requests of a frozen file system (include/uapi/linux/fs.h).
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// newFrozen makes such a file system. It is not frozen yet.
func newFrozen(t testing.TB) *frozen {
	t.Helper()
	tmp := t.TempDir()
	image, mount := filepath.Join(tmp, "image"), filepath.Join(tmp, "mount")
	err := errors.Join(os.Mkdir(mount, 0o755), os.WriteFile(image, nil, 0o600), os.Truncate(image, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	program(t, "mkfs.ext4", "-q", "-O", "^has_journal", image)
	program(t, "mount", "-o", "loop", image, mount)
	t.Cleanup(func() { program(t, "umount", mount) })
	f := &frozen{t: t, file: filepath.Join(mount, "page")}
	if err := os.WriteFile(f.file, make([]byte, os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	if f.dir, err = os.Open(mount); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.dir.Close() })
	return f
}

func (f *frozen) request(what uint, name string) {
	f.t.Helper()
	if _, err := unix.IoctlRetInt(int(f.dir.Fd()), what); err != nil {
		f.t.Fatalf("%s %s: %v", name, f.dir.Name(), err)
	}
}

// holdLock has a process hold the lock of a USB device, which is given by its
// file, until the function that it returns is called.
func holdLock(t testing.TB, device string) (release func()) {
	t.Helper()
	page := newFrozen(t)
	dev, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	goRead, goWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer goRead.Close()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), holdVar+"="+page.file, "GOGC=off")
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = dev, os.Stderr, []*os.File{goRead}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ready [1]byte
	if _, err := io.ReadFull(out, ready[:]); err != nil {
		t.Fatalf("start the holder: %v", err)
	}
	page.request(fiFreeze, "freeze")
	held := true
	release = func() {
		if !held {
			return
		}
		held = false
		page.request(fiThaw, "thaw")
		if err := cmd.Wait(); err != nil {
			t.Errorf("the holder: %v", err)
		}
	}
	t.Cleanup(release)
	if err := errors.Join(write(goWrite, "x"), goWrite.Close()); err != nil {
		t.Fatal(err)
	}
	netlab.Eventually(t, waitLimit, "process that waits for its page", func() bool { return waits(cmd.Process.Pid) })
	return release
}

// waits reports whether some thread of a process is in an uninterruptible wait.
func waits(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range threads {
		stat, err := os.ReadFile(file)
		if _, state, ok := strings.Cut(string(stat), ") "); err == nil && ok && strings.HasPrefix(state, "D") {
			return true
		}
	}
	return false
}

func write(f *os.File, s string) error {
	_, err := f.WriteString(s)
	return err
}

func program(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
