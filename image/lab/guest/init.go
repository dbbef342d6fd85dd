package guest

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// jobFile tells process 1 what to run.
const jobFile = "/run.json"

// A job is what the host asks the guest to run.
type job struct {
	// Args are the test binary's arguments.
	Args []string
	// Env is its environment, beside PATH and the like.
	Env []string
	// Dir is its working directory.
	Dir string
}

// Names of the virtio ports between guest and host.
const (
	outputPort  = "bondd.output"  // the tests' stdout and stderr
	resultPort  = "bondd.result"  // a tar archive, see sendResult
	monitorPort = "bondd.monitor" // QEMU's monitor, see OpenMonitor
)

// exitEntry is the last entry of the result archive; its content is the exit
// status in decimal.
const exitEntry = "exit"

// runInit is process 1. It does not return: it powers the machine off.
func runInit() {
	if err := initAndRun(); err != nil {
		// The host prints the end of the console when no status came back.
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	// Without ACPI the machine does not go off; a reboot ends QEMU as well.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func initAndRun() error {
	if err := mountAll(); err != nil {
		return err
	}
	if err := os.MkdirAll(outputDir, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(profileDir, "gocoverdir"), 0o755); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	data, err := os.ReadFile(jobFile)
	if err != nil {
		return err
	}
	var j job
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("parse %s: %w", jobFile, err)
	}
	output, err := openPort(outputPort, os.O_WRONLY)
	if err != nil {
		return err
	}
	result, err := openPort(resultPort, os.O_WRONLY)
	if err != nil {
		return err
	}
	status, err := runTests(j, output)
	if err != nil {
		return err
	}
	return errors.Join(sendResult(result, status), output.Close(), result.Close())
}

func mountAll() error {
	for _, m := range []struct {
		fstype, dir string
		flags       uintptr
		data        string
	}{
		{"proc", "/proc", 0, ""},
		{"sysfs", "/sys", 0, ""},
		{"devtmpfs", "/dev", 0, ""},
		{"tmpfs", "/tmp", 0, "mode=1777"},
		{"tmpfs", "/run", 0, "mode=0755"},
		{"tmpfs", "/var", 0, "mode=0755"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		err := unix.Mount(m.fstype, m.dir, m.fstype, m.flags, m.data)
		if err != nil && !errors.Is(err, unix.EBUSY) { // the kernel may have mounted /dev
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	return os.Symlink("/run", "/var/run")
}

// loopbackUp sets lo up, as any init does.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// openPort opens the virtio port with the given name, for what flag says. The kernel learns of the
// ports from the device in the background, so the first look may be too early.
func openPort(name string, flag int) (*os.File, error) {
	const dir = "/sys/class/virtio-ports"
	for range 1000 {
		ports, _ := filepath.Glob(dir + "/*/name")
		for _, p := range ports {
			got, err := os.ReadFile(p)
			if err == nil && strings.TrimSpace(string(got)) == name {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(p)), flag, 0)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("no virtio port %s", name)
}

// runTests runs the test binary and returns its exit status, as a shell would:
// 128 plus the signal if one killed it. Process 1 starts no other process, so
// it may wait for any child and reap the orphans that come to it.
func runTests(j job, output *os.File) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	proc, err := os.StartProcess("/init", append([]string{"/init"}, j.Args...), &os.ProcAttr{
		Dir: j.Dir,
		Env: append([]string{
			roleVar + "=" + roleTest,
			"PATH=/bin:/sbin:/usr/bin:/usr/sbin",
			"HOME=/tmp",
			"TMPDIR=/tmp",
		}, j.Env...),
		Files: []*os.File{null, output, output},
	})
	if err != nil {
		return 0, fmt.Errorf("start the tests: %w", err)
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the tests: %w", err)
		case pid != proc.Pid:
		case ws.Signaled():
			fmt.Fprintf(output, "guest: the tests were killed by %v\n", ws.Signal())
			return 128 + int(ws.Signal()), nil
		default:
			return ws.ExitStatus(), nil
		}
	}
}

// sendResult writes what the tests left for the host as a tar archive of
// absolute paths, and last the exit status.
func sendResult(w io.Writer, status int) error {
	tw := tar.NewWriter(w)
	for _, dir := range []string{outputDir, profileDir} {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			return writeTar(tw, path.Clean(p), data)
		})
		if err != nil {
			return fmt.Errorf("send %s: %w", dir, err)
		}
	}
	if err := writeTar(tw, exitEntry, []byte(strconv.Itoa(status))); err != nil {
		return fmt.Errorf("send the exit status: %w", err)
	}
	return tw.Close()
}

func writeTar(tw *tar.Writer, name string, data []byte) error {
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}
