package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
)

// entry is a complete entry of the flight recorder.
func entry(seq uint64, at time.Time) *state.Failover {
	up := true
	return &state.Failover{
		Seq: seq, Bond: "bond0", From: "eth0", To: "eth1", Reason: state.ReasonLink, Cause: "eth0 lost its link",
		CarrierLost: at.Add(-2 * time.Millisecond), EventRead: at.Add(-time.Millisecond), Decided: at.Add(-900 * time.Microsecond),
		Written: at, Agreed: at.Add(time.Millisecond), FirstPacket: at.Add(2 * time.Millisecond),
		Before: []state.SlaveView{{Name: "eth0", Active: true, MIIStatus: state.MIIDown}, {Name: "eth1", LinkUp: true, PathUp: &up}},
		After:  []state.SlaveView{{Name: "eth0", MIIStatus: state.MIIDown}, {Name: "eth1", Active: true, LinkUp: true, PathUp: &up}},
	}
}

// entries are n failovers a second apart, newest first, without a monotonic clock.
func entries(n int) []*state.Failover {
	var list []*state.Failover
	for i := range n {
		list = append(list, entry(uint64(n-i), fixture.Now.Add(-time.Duration(i)*time.Second)))
	}
	return list
}

func snapshot(history []*state.Failover) *state.Snapshot {
	return &state.Snapshot{Time: time.Now(), History: history}
}

// add publishes one more switch, as the engine does: in a new list.
func add(src *fixture.Source) {
	old := src.Snapshot().History
	next := append([]*state.Failover{entry(uint64(len(old)+1), time.Now().UTC())}, old[:min(len(old), state.MaxHistory-1)]...)
	if len(old) > 0 {
		next[0].Seq = old[0].Seq + 1
	}
	src.Publish(snapshot(next))
}

// A run is a Run whose writes are counted, with its log.
type run struct {
	writes atomic.Int64
	stop   func() // ends it and waits

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

// start runs on a disk that behaves as disk does before each write.
func start(t *testing.T, dir string, loaded []*state.Failover, src Source, disk func() error) *run {
	t.Helper()
	r := new(run)
	k := &keeper{src: src, log: slog.New(slog.NewTextHandler(r, nil)), saved: loaded}
	k.write = func(failovers []*state.Failover) error {
		r.writes.Add(1)
		if err := disk(); err != nil {
			return err
		}
		return write(dir, failovers)
	}
	ctx, cancel := context.WithCancel(t.Context())
	endedC := make(chan struct{})
	go func() {
		defer close(endedC)
		k.run(ctx)
	}()
	r.stop = func() { cancel(); <-endedC }
	return r
}

func fine() error { return nil }

// kept is what a new start of bondd finds.
func kept(t *testing.T, dir string) []*state.Failover {
	t.Helper()
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func same(t *testing.T, what string, got, want []*state.Failover) {
	t.Helper()
	text := func(list []*state.Failover) string {
		b, err := json.MarshalIndent(list, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if diff := cmp.Diff(text(want), text(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestBurstCostsAWriteAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, src := t.TempDir(), fixture.NewSource(snapshot(nil))
		r := start(t, dir, nil, src, fine)
		const failovers = 500
		for range failovers {
			time.Sleep(time.Hour / failovers)
			add(src)
		}
		synctest.Wait()
		if n := r.writes.Load(); n < 50 || n > 60 {
			t.Errorf("%d writes in the hour, want about one a minute and 60 at most", n)
		}
		r.stop()
		same(t, "kept after the end", kept(t, dir), src.Snapshot().History)
		if log := r.logged(); log != "" {
			t.Errorf("it logs:\n%s", log)
		}
	})
}

func TestNothingNewNothingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, loaded := t.TempDir(), entries(3)
		src := fixture.NewSource(snapshot(loaded))
		r := start(t, dir, loaded, src, fine)
		for range 1000 {
			time.Sleep(time.Minute)
			src.Publish(snapshot(loaded)) // traffic counted, nothing switched
		}
		r.stop()
		if n := r.writes.Load(); n != 0 {
			t.Errorf("%d writes without a switch", n)
		}
	})
}

// A switch is known in parts: that the kernel agreed and that a packet came is
// seen after the switch.
func TestASwitchIsWrittenOnceAndWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, src := t.TempDir(), fixture.NewSource(snapshot(nil))
		r := start(t, dir, nil, src, fine)
		whole := entry(1, time.Now().UTC())
		first, second := *whole, *whole
		first.Agreed, first.FirstPacket, first.After = time.Time{}, time.Time{}, nil
		second.FirstPacket = time.Time{}
		for _, s := range []*state.Failover{&first, &second, whole} {
			src.Publish(snapshot([]*state.Failover{s}))
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if n := r.writes.Load(); n != 1 {
			t.Errorf("%d writes for one switch", n)
		}
		same(t, "kept while running", kept(t, dir), []*state.Failover{whole})
		r.stop()
		if n := r.writes.Load(); n != 1 {
			t.Errorf("%d writes after the end: nothing was left to write", n)
		}
	})
}

func TestRestartContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for round := 1; round <= 3; round++ {
			loaded := kept(t, dir)
			if len(loaded) != 2*(round-1) {
				t.Fatalf("round %d begins with %d failovers", round, len(loaded))
			}
			src := fixture.NewSource(snapshot(loaded))
			r := start(t, dir, loaded, src, fine)
			add(src)
			time.Sleep(time.Hour)
			add(src) // and bondd is stopped before it is due
			r.stop()
			same(t, fmt.Sprintf("kept after round %d", round), kept(t, dir), src.Snapshot().History)
		}
		for i, s := range kept(t, dir) {
			if want := uint64(6 - i); s.Seq != want {
				t.Errorf("entry %d has number %d, want %d", i, s.Seq, want)
			}
		}
	})
}

func TestDamagedFileIsSetAside(t *testing.T) {
	whole, err := encode(entries(3))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ content, want string }{
		"empty":        {"", "unexpected end of JSON input"},
		"cut off":      {string(whole[:len(whole)/2]), "unexpected end of JSON input"},
		"foreign":      {"# what I did last summer", "invalid character"},
		"other JSON":   {`{"name":"x"}`, "its version is 0, this bondd reads version 1"},
		"newer":        {`{"version":2,"events":{}}`, "its version is 2, this bondd reads version 1"},
		"null":         {`{"version":1,"failovers":[null]}`, "entry 0 is empty"},
		"out of order": {`{"version":1,"failovers":[{"seq":1},{"seq":2}]}`, "entry 1 has number 2 and follows number 1"},
		"bad time":     {`{"version":1,"failovers":[{"seq":1,"written":"yesterday"}]}`, "parsing time"},
		"huge":         {strings.Repeat(" ", maxBytes+1), "more than 4194304 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, fileName)
			if err := os.WriteFile(path, []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := Load(dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "set aside as "+filepath.Join(dir, fileName+".aside")) {
				t.Errorf("Load: %v, want %q and where it was set aside", err, tt.want)
			}
			if len(got) != 0 {
				t.Errorf("Load returned %d failovers of a damaged file", len(got))
			}
			if aside, err := os.ReadFile(filepath.Join(dir, fileName+".aside")); err != nil || string(aside) != tt.content {
				t.Errorf("what was set aside is not what was there: %v", err)
			}
			if got, err := Load(dir); err != nil || got != nil {
				t.Errorf("the next start: %v, %v", got, err)
			}
		})
	}
}

func TestUnreadableFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, fileName), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("Load of a folder: %v", err)
	}
	if got, err := Load(filepath.Join(dir, "none")); got != nil || err != nil {
		t.Errorf("Load without a folder: %v, %v", got, err)
	}
}

func TestPowerCutLeavesNoLitter(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir, entries(2)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".history.json4711", ".other"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "kept", kept(t, dir), entries(2))
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 2 || names[0].Name() != ".other" || names[1].Name() != fileName {
		t.Errorf("left in the folder: %v", names)
	}
}

// The folder is impossible at first: what is to be a folder is a file.
func TestFailingDiskIsLoggedOnceAndHurtsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := filepath.Join(t.TempDir(), "perm")
		if err := os.WriteFile(blocked, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		dir, src := filepath.Join(blocked, "bondd"), fixture.NewSource(snapshot(nil))
		r := start(t, dir, nil, src, fine)
		for range 120 {
			add(src)
			time.Sleep(30 * time.Second)
		}
		synctest.Wait()
		if n := r.writes.Load(); n < 50 || n > 60 {
			t.Errorf("%d attempts in an hour, want one a minute", n)
		}
		if log := r.logged(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "failovers are not kept on disk") || !strings.Contains(log, "not a directory") {
			t.Errorf("logged while it fails:\n%s", log)
		}

		if err := os.Remove(blocked); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if log := r.logged(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "kept on disk again") {
			t.Errorf("logged when it works again:\n%s", log)
		}
		same(t, "kept although nothing switched meanwhile", kept(t, dir), src.Snapshot().History)
		r.stop()
	})
}

func TestEndDoesNotWaitForADeadDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := fixture.NewSource(snapshot(nil))
		hungC := make(chan struct{})
		r := start(t, t.TempDir(), nil, src, func() error { <-hungC; return errors.New("too late") })
		add(src)
		time.Sleep(time.Minute) // the write is under way
		add(src)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took != lastWrite {
			t.Errorf("the end took %s, want %s", took, lastWrite)
		}
		if log := r.logged(); !strings.Contains(log, "the disk does not answer") {
			t.Errorf("logged:\n%s", log)
		}
		close(hungC)
	})
}

func TestEndWritesWhatCameDuringAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, src := t.TempDir(), fixture.NewSource(snapshot(nil))
		r := start(t, dir, nil, src, func() error { time.Sleep(4 * time.Second); return nil })
		add(src)
		time.Sleep(settle + time.Second) // the write is under way
		add(src)
		r.stop()
		same(t, "kept", kept(t, dir), src.Snapshot().History)
		if n := r.writes.Load(); n != 2 {
			t.Errorf("%d writes, want the one under way and the last", n)
		}
	})
}

// NTP sets the clock of a machine without one from 1970 to today, and back.
func TestClockThatJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, src := t.TempDir(), fixture.NewSource(snapshot(nil))
		r := start(t, dir, nil, src, fine)
		var want []*state.Failover
		for i, at := range []time.Time{time.Unix(30, 0), fixture.Now, fixture.Now.AddDate(10, 0, 0), time.Unix(60, 0)} {
			want = append([]*state.Failover{entry(uint64(i+1), at.UTC())}, want...)
			src.Publish(&state.Snapshot{Time: at, History: want})
			time.Sleep(time.Minute)
			synctest.Wait()
			same(t, fmt.Sprintf("kept after jump %d", i), kept(t, dir), want)
		}
		r.stop()
	})
}

func TestFileIsBounded(t *testing.T) {
	long := entries(state.MaxHistory)
	for i := range 64 {
		view := state.SlaveView{Name: fmt.Sprintf("enp%ds0f1np1", i), LinkUp: true}
		for _, s := range long {
			s.Before, s.After = append(s.Before, view), append(s.After, view)
		}
	}
	dir := t.TempDir()
	if err := write(dir, long); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxBytes || info.Size() < maxBytes*9/10 {
		t.Errorf("the file has %d bytes, want nearly %d", info.Size(), maxBytes)
	}
	got := kept(t, dir)
	same(t, "kept of too many", got, long[:len(got)])

	usual, err := encode(entries(state.MaxHistory))
	if err != nil {
		t.Fatal(err)
	}
	if len(usual) > 1_000_000 {
		t.Errorf("%d failovers of two slaves have %d bytes", state.MaxHistory, len(usual))
	}
	if err := write(dir, entries(state.MaxHistory+7)); err != nil {
		t.Fatal(err)
	}
	if n := len(kept(t, dir)); n != state.MaxHistory {
		t.Errorf("%d failovers were loaded, want at most %d", n, state.MaxHistory)
	}
}

// A file of an earlier version is read: there the list had another name.
func TestLoadEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	text := `{"version":1,"switches":[{"seq":2,"bond":"bond0","to":"eth1"},{"seq":1,"bond":"bond0","to":"eth0"}]}`
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil || len(got) != 2 || got[0].To != "eth1" {
		t.Errorf("loaded %+v, %v; want two entries", got, err)
	}
}
