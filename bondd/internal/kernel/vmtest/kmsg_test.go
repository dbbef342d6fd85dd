package vmtest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/kernel"
)

// logLine has the kernel log a line now, and returns when it did.
func logLine(t *testing.T, line string) time.Time {
	t.Helper()
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	now := time.Now()
	if _, err := f.WriteString("<6>" + line + "\n"); err != nil {
		t.Fatal(err)
	}
	return now
}

func openLog(t *testing.T) *kernel.Log {
	t.Helper()
	l, err := kernel.OpenLog()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// near checks a stamp against when the line was written.
func near(t *testing.T, what string, got time.Time, ok bool, want time.Time) {
	t.Helper()
	if d := got.Sub(want); !ok || d < -time.Millisecond || d > 2*time.Millisecond {
		t.Errorf("%s: got %v, %t; want %v, which is %v earlier", what, got, ok, want, d)
	}
}

func TestLinkDown(t *testing.T) {
	logLine(t, "e1000: eth0 NIC Link is Down") // before it was opened
	time.Sleep(10 * time.Millisecond)
	log := openLog(t)
	start := time.Now()
	if at, ok := log.LinkDown("eth0", start.Add(-time.Hour), "nothing yet"); ok {
		t.Errorf("a line from before the log was opened is told, at %v", at)
	}
	lost0 := logLine(t, "e1000: eth0 NIC Link is Down")
	time.Sleep(300 * time.Millisecond)
	lost1 := logLine(t, "igb 0000:01:00.0 eth1: igb: eth1 NIC Link is Down")
	logLine(t, "bond0: (slave eth0): link status definitely down, disabling slave")
	time.Sleep(700 * time.Millisecond)
	at, ok := log.LinkDown("eth1", start, "bond0: eth1 -> eth0 (link)")
	near(t, "eth1", at, ok, lost1)
	// What was read over on the way is kept.
	at, ok = log.LinkDown("eth0", start, "bond1: eth0 -> eth2 (link)")
	near(t, "eth0", at, ok, lost0)
	at, ok = log.LinkDown("eth0", lost0.Add(100*time.Millisecond), "too late")
	if ok || !at.IsZero() {
		t.Errorf("a line from before is told, at %v", at)
	}
	if at, ok := log.LinkDown("eth2", start, "no such line"); ok {
		t.Errorf("eth2 lost its link at %v although nothing says so", at)
	}
	// The last one of several counts.
	time.Sleep(100 * time.Millisecond)
	again := logLine(t, "e1000: eth0 NIC Link is Down")
	at, ok = log.LinkDown("eth0", start, "again")
	near(t, "eth0 again", at, ok, again)

	// The markers are in the log, for whoever reads it, and on no console.
	lines := readLog(t)
	if !strings.Contains(lines, ";bondd: bond0: eth1 -> eth0 (link)\n") {
		t.Errorf("the marker is not in the log:\n%s", lines)
	}
	for line := range strings.Lines(lines) {
		if head, _, _ := strings.Cut(line, ","); strings.Contains(line, ";bondd: ") && head != "15" { // LOG_USER, KERN_DEBUG
			t.Errorf("the marker is logged as %s", line)
		}
	}
}

// readLog is the kernel's whole log.
func readLog(t *testing.T) string {
	t.Helper()
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var all strings.Builder
	buf := make([]byte, 8<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN {
			return all.String()
		}
		if err == nil {
			all.Write(buf[:n])
		}
	}
}

// When the kernel drops the marker, the time is unknown; it never waits for it.
func TestLinkDownLimited(t *testing.T) {
	log := openLog(t)
	since := time.Now()
	known, last := 0, true
	for i := range 20 {
		logLine(t, "e1000: eth0 NIC Link is Down")
		if _, last = log.LinkDown("eth0", since, fmt.Sprintf("marker %d", i)); last {
			known++
		}
	}
	if known != 10 || last {
		t.Errorf("of 20 in a row %d were known, the last: %t; want the kernel's 10", known, last)
	}
	time.Sleep(6 * time.Second)
	if _, ok := log.LinkDown("eth0", since, "later"); !ok {
		t.Error("what was logged while markers were dropped is unknown for ever")
	}
}

// What is overwritten before it is read is lost, and no more than that.
func TestLinkDownOverrun(t *testing.T) {
	log := openLog(t)
	since := time.Now()
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("ratelimit\n"), 0)
	long := strings.Repeat("x", 900)
	for i := range 3000 {
		if _, err := fmt.Fprintf(f, "<7>%d %s\n", i, long); err != nil {
			t.Fatal(err)
		}
	}
	lost := logLine(t, "r8169 0000:03:00.0 eth0: Link is Down")
	at, ok := log.LinkDown("eth0", since, "after a flood")
	near(t, "eth0", at, ok, lost)
}

// A card without a PHY offers nothing, and one that is not there is an error.
func TestFastLinkDown(t *testing.T) {
	h := newHost(t, 1)
	err := h.lan.Host.Do(func() error {
		got, err := kernel.FastLinkDown(context.Background(), "eth0")
		if err == nil && got != kernel.FastLinkDownNotOffered {
			err = fmt.Errorf("a veth says %q", got)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	err = h.lan.Host.Do(func() error {
		_, err := kernel.FastLinkDown(context.Background(), "eth9")
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "eth9") {
		t.Errorf("a card that is not there gives %v", err)
	}
}
