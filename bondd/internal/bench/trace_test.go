package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The stations of a failover in the kernel, each a probe at the entrance of a
// function or one of the kernel's own trace points.
const (
	// carrierLost: the card's driver tells that the carrier has gone.
	carrierLost = "carrier_lost"
	// delivered: the kernel hands a message about a link to all who listen.
	delivered = "delivered"
	// written: a process sends something on a netlink socket.
	written = "written"
	// switched: the bonding or the team driver takes another active card.
	switched = "switched"
	// A thread begins and ends to wait for the RTNL lock.
	waitBegan = "contention_begin"
	waitEnded = "contention_end"
)

// probes are the probes in the form of the kernel's kprobe_events. A message
// about a link goes to group 1 (RTNLGRP_LINK), the fourth argument.
var probes = []string{
	"p:bench/" + carrierLost + " linkwatch_fire_event",
	"p:bench/" + delivered + " netlink_broadcast_filtered group=%cx:u32",
	"p:bench/" + written + " netlink_sendmsg",
	"p:bench/" + switched + " bond_change_active_slave",
	"p:bench/" + switched + "_team ab_active_port_set",
}

const tracing = "/sys/kernel/tracing"

// A tracer records when the stations of a failover were passed, by the
// kernel's own clock. It takes about a microsecond at each.
type tracer struct {
	t *testing.T
	// offset is what the wall clock shows beyond the trace's, which is
	// CLOCK_MONOTONIC. Nobody sets the guest's clock.
	offset time.Duration
}

// A passage is a station that was passed.
type passage struct {
	station string
	at      time.Time
	thread  int
	program string // the thread's name, the first 15 bytes
}

// newTracer sets the probes. They end with the test.
func newTracer(t *testing.T) *tracer {
	t.Helper()
	if _, err := os.Stat(filepath.Join(tracing, "trace")); errors.Is(err, os.ErrNotExist) {
		if err := unix.Mount("tracefs", tracing, "tracefs", 0, ""); err != nil {
			t.Fatalf("mount tracefs: %v", err)
		}
	}
	tr := &tracer{t: t}
	tr.set("tracing_on", "0")
	tr.set("trace_clock", "mono")
	tr.set("buffer_size_kb", "1024")
	tr.set("kprobe_events", strings.Join(probes, "\n")+"\n")
	t.Cleanup(func() {
		tr.set("events/enable", "0")
		tr.set("kprobe_events", "")
	})
	tr.set("events/bench/"+delivered+"/filter", "group == 1")
	tr.set("events/bench/enable", "1")
	lock := fmt.Sprintf("lock_addr == 0x%x", address(t, "rtnl_mutex"))
	for _, event := range []string{waitBegan, waitEnded} {
		tr.set("events/lock/"+event+"/filter", lock)
		tr.set("events/lock/"+event+"/enable", "1")
	}
	var mono, real unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono), unix.ClockGettime(unix.CLOCK_REALTIME, &real)); err != nil {
		t.Fatal(err)
	}
	tr.offset = time.Duration(real.Nano() - mono.Nano())
	return tr
}

// set writes a file of tracefs.
func (tr *tracer) set(file, value string) {
	tr.t.Helper()
	if err := os.WriteFile(filepath.Join(tracing, file), []byte(value), 0); err != nil {
		tr.t.Fatalf("trace: %v", err)
	}
}

// address returns where the kernel has a symbol.
func address(t *testing.T, symbol string) uint64 {
	t.Helper()
	data, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[2]) == symbol {
			a, err := strconv.ParseUint(string(f[0]), 16, 64)
			if err != nil {
				t.Fatalf("read the address of %s: %v", symbol, err)
			}
			return a
		}
	}
	t.Fatalf("the kernel has no %s", symbol)
	return 0
}

// start forgets what was recorded, and records.
func (tr *tracer) start() {
	tr.t.Helper()
	tr.set("trace", "")
	tr.set("tracing_on", "1")
}

// traceLine is a line such as
//
//	kworker/u4:0-12      [000] .....     3.318651: delivered: (netlink_broadcast_filtered+0x4/0x500) group=1
var traceLine = regexp.MustCompile(`^\s*(.+)-(\d+)\s+\[\d+\]\s+\S+\s+(\d+)\.(\d{6}): (\w+): `)

// traceTotals is the line of the trace's head that says how much is there and
// how much was.
var traceTotals = regexp.MustCompile(`^# entries-in-buffer/entries-written: (\d+)/(\d+)`)

// stop ends the recording and returns it, in the order of time.
func (tr *tracer) stop() []passage {
	tr.t.Helper()
	tr.set("tracing_on", "0")
	data, err := os.ReadFile(filepath.Join(tracing, "trace"))
	if err != nil {
		tr.t.Fatalf("read the trace: %v", err)
	}
	var passages []passage
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			if m := traceTotals.FindStringSubmatch(s.Text()); m != nil && m[1] != m[2] {
				tr.t.Fatalf("the trace lost a part: %s", s.Text())
			}
			continue
		}
		m := traceLine.FindStringSubmatch(s.Text())
		if m == nil {
			tr.t.Fatalf("the trace has a line that says nothing: %s", s.Text())
		}
		thread, _ := strconv.Atoi(m[2])
		seconds, _ := strconv.ParseInt(m[3], 10, 64)
		micros, _ := strconv.ParseInt(m[4], 10, 64)
		passages = append(passages, passage{
			station: strings.TrimSuffix(m[5], "_team"),
			at:      time.Unix(seconds, micros*1000).Add(tr.offset),
			thread:  thread,
			program: m[1],
		})
	}
	return passages
}
