package vmtest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/history"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
	"bondd.internal/image/lab/guest"
)

func TestMain(m *testing.M) { guest.Main(m, guest.Config{}) }

// newDisk mounts a small disk, and returns a function that lets it only be read
// or written again.
func newDisk(t *testing.T) (dir string, readOnly func(bool)) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir, func(only bool) {
		var flags uintptr = unix.MS_REMOUNT
		if only {
			flags |= unix.MS_RDONLY
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "size=256k"); err != nil {
			t.Fatalf("mount again: %v", err)
		}
	}
}

// A run is a Run with its log.
type run struct {
	src  *fixture.Source
	stop func()

	mu  sync.Mutex
	log bytes.Buffer
}

// Write implements io.Writer for the log.
func (r *run) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(line)
}

// logged returns what was logged since the last call.
func (r *run) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.log.Reset()
	return r.log.String()
}

func start(t *testing.T, dir string) *run {
	t.Helper()
	r := &run{src: fixture.NewSource(&state.Snapshot{})}
	ctx, cancel := context.WithCancel(t.Context())
	endedC := make(chan struct{})
	go func() {
		defer close(endedC)
		history.Run(ctx, dir, nil, r.src, slog.New(slog.NewTextHandler(r, nil)))
	}()
	r.stop = func() { cancel(); <-endedC }
	t.Cleanup(r.stop)
	return r
}

// How long a write takes to come: soon for the first one, then one a minute. The
// machine skips the time that it would sleep.
const (
	soon  = 6 * time.Second
	later = 62 * time.Second
)

// tell publishes a history of n failovers and waits.
func (r *run) tell(n int, wait time.Duration) {
	var list []*state.Failover
	for i := range n {
		list = append(list, &state.Failover{Seq: uint64(n - i), Bond: "bond0", From: "eth0", To: "eth1", Cause: strings.Repeat("x", 1000)})
	}
	r.src.Publish(&state.Snapshot{History: list})
	time.Sleep(wait)
}

func kept(t *testing.T, dir string) int {
	t.Helper()
	list, err := history.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// logsOnce fails unless exactly one line was logged, and has these words.
func logsOnce(t *testing.T, r *run, words ...string) {
	t.Helper()
	log := r.logged()
	for _, w := range words {
		if !strings.Contains(log, w) {
			t.Errorf("the log does not say %q", w)
		}
	}
	if strings.Count(log, "\n") != 1 {
		t.Errorf("logged, instead of one line:\n%s", log)
	}
}

func TestFullDisk(t *testing.T) {
	dir, _ := newDisk(t)
	r := start(t, dir)
	r.tell(2, soon)
	if n := kept(t, dir); n != 2 {
		t.Fatalf("%d failovers are kept, want 2", n)
	}

	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	r.tell(20, later)
	r.tell(30, later)
	logsOnce(t, r, "no space left on device", "not kept on disk")
	if n := kept(t, dir); n != 2 {
		t.Errorf("%d failovers are kept of the file that is there, want 2", n)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("a write that failed left something behind: %v", entries)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	time.Sleep(later)
	logsOnce(t, r, "kept on disk again")
	if n := kept(t, dir); n != 30 {
		t.Errorf("%d failovers are kept, want 30", n)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	dir, readOnly := newDisk(t)
	damaged := filepath.Join(dir, "history.json")
	if err := os.WriteFile(damaged, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	readOnly(true)
	if list, err := history.Load(dir); list != nil || !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "unexpected end of JSON input") {
		t.Errorf("Load of a damaged file that cannot be set aside: %v, %v", list, err)
	}
	r := start(t, dir)
	r.tell(1, soon)
	r.tell(2, later)
	logsOnce(t, r, "read-only file system", "not kept on disk")

	readOnly(false)
	time.Sleep(later)
	logsOnce(t, r, "kept on disk again")
	if n := kept(t, dir); n != 2 {
		t.Errorf("%d failovers are kept, want 2", n)
	}
	readOnly(true)
	r.tell(3, time.Second)
	r.stop() // does not hang
	logsOnce(t, r, "read-only file system")
}
