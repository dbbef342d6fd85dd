package pathcheck

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bondd.internal/bondd/internal/state"
)

// A fakeWire is a wire on which everything takes as long as a test says.
type fakeWire struct {
	opening time.Duration // what use takes to take effect
	// deliver says what becomes of a frame: after what time the answer comes
	// in, less than 0 for never, or that it cannot be sent.
	deliver func(c card) (time.Duration, error)
	failing error // of wait

	bell chan struct{}

	mu     sync.Mutex
	open   map[card]bool
	inbox  []arrival
	woken  bool
	wakes  int
	probes int
	closed bool
}

type arrival struct {
	in    card
	frame []byte
	at    time.Time
}

func (w *fakeWire) ring() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

func (w *fakeWire) use(cards []card, _ int) {
	time.AfterFunc(w.opening, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open = make(map[card]bool)
		for _, c := range cards {
			w.open[c] = true
		}
		w.woken = true
		w.ring()
	})
}

func (w *fakeWire) ready(c card) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[c]
}

func (w *fakeWire) send(c card, frame []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	after, err := w.deliver(c)
	if err != nil {
		return err
	}
	w.probes++
	if after >= 0 {
		time.AfterFunc(after, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.inbox = append(w.inbox, arrival{c, answerTo(frame), time.Now()})
			w.ring()
		})
	}
	return nil
}

func (w *fakeWire) mac(card) (state.MAC, error) { return bondMAC, nil }

func (w *fakeWire) wait(until time.Time) error {
	if w.failing != nil {
		return w.failing
	}
	var timeout <-chan time.Time
	if !until.IsZero() {
		timeout = time.After(time.Until(until))
	}
	select {
	case <-w.bell:
	case <-timeout:
	}
	return nil
}

func (w *fakeWire) receive(handle func(in card, frame []byte, at time.Time)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.inbox {
		handle(a.in, a.frame, a.at)
	}
	w.inbox = nil
	woken := w.woken
	w.woken = false
	return woken
}

func (w *fakeWire) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakes++
	w.woken = true
	w.ring()
}

func (w *fakeWire) run(ctx context.Context) {
	<-ctx.Done()
	w.wake()
}

func (w *fakeWire) close() { w.closed = true }

// A told is a report with the time of it.
type told struct {
	at     time.Time
	report Report
}

// A bench is a Checker at work on a fake wire.
type bench struct {
	*Checker
	wire *fakeWire
	end  func() error

	mu   sync.Mutex
	told []told
	text bytes.Buffer // the log
}

// Write takes the log.
func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// log are the lines of the log.
func (b *bench) log() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(strings.TrimSpace(b.text.String()), "\n")
}

// sent is the number of probes sent.
func (w *fakeWire) sent() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.probes
}

// newBench starts a Checker, in a bubble of synctest.
func newBench(t *testing.T, deliver func(card) (time.Duration, error), targets ...Target) *bench {
	t.Helper()
	b := &bench{wire: &fakeWire{deliver: deliver, bell: make(chan struct{}, 1)}}
	c, err := New(Config{Bond: "bond0", Targets: targets, Strict: true, Log: slog.New(slog.NewTextHandler(b, nil)),
		Report: func(_ context.Context, r Report) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.told = append(b.told, told{time.Now(), r})
		}})
	if err != nil {
		t.Fatal(err)
	}
	c.dial = func(*Config) (wire, error) { return b.wire, nil }
	b.Checker = c
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	b.end = func() error { cancel(); return <-done }
	return b
}

// first is the first report since a time that is as it should be.
func (b *bench) first(since time.Time, ok func(Report) bool) (told, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.told {
		if !r.at.Before(since) && ok(r.report) {
			return r, true
		}
	}
	return told{}, false
}

// reports is how many there were.
func (b *bench) reports() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.told)
}

// last is the last report.
func (b *bench) last() told {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.told) == 0 {
		return told{}
	}
	return b.told[len(b.told)-1]
}

// all says whether every path of the given slaves has a state.
func all(want state.PathState, slaves ...int) func(Report) bool {
	return func(r Report) bool {
		for _, index := range slaves {
			for _, p := range r[index] {
				if p.State != want {
					return false
				}
			}
		}
		return len(r) > 0
	}
}

// Whenever a path dies, that is told within interval × missed_max + timeout, of
// all slaves that it died from in one report, and of no other.
func TestDeathIsTold(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			target := Target{Addr: addr4, Interval: time.Duration(10+rng.IntN(1000)) * time.Millisecond,
				MissedMax: 1 + rng.IntN(5), ReturnAfter: 1 + rng.IntN(5)}
			target.Timeout = target.Interval * time.Duration(1+rng.IntN(100)) / 100
			rtt := time.Duration(rng.Int64N(int64(target.Timeout)))
			both := rng.IntN(2) == 0
			dead := false
			b := newBench(t, func(c card) (time.Duration, error) {
				if dead && (both || c.index == 2) {
					return -1, nil
				}
				return rtt, nil
			}, target)
			b.SetSlaves(Bond{}, cards("eth0", "eth1"))
			time.Sleep(10*target.Interval + time.Duration(rng.Int64N(int64(10*target.Interval))))
			synctest.Wait()
			if last := b.last(); !all(state.PathUp, 1, 2)(last.report) {
				t.Fatalf("seed %d, %+v: in the beginning the report is %+v, want all up", seed, target, last)
			}

			b.wire.mu.Lock()
			dead = true
			b.wire.mu.Unlock()
			died := time.Now()
			bound := target.Interval*time.Duration(target.MissedMax) + target.Timeout
			time.Sleep(bound)
			synctest.Wait()
			r, ok := b.first(died, all(state.PathDown, 2))
			if !ok {
				t.Fatalf("seed %d, %+v: not told within %v: %+v", seed, target, bound, b.last())
			}
			if got := all(state.PathDown, 1)(r.report); got != both {
				t.Errorf("seed %d: the report that eth1 is dead says %v of eth0, which died too: %v", seed, r.report[1][0].State, both)
			}

			b.wire.mu.Lock()
			dead = false
			b.wire.mu.Unlock()
			back := time.Now()
			time.Sleep(target.Interval*time.Duration(target.ReturnAfter) + target.Timeout)
			synctest.Wait()
			r, ok = b.first(back, all(state.PathUp, 1, 2))
			if !ok {
				t.Fatalf("seed %d, %+v: not told to be back: %+v", seed, target, b.last())
			}
			if least := target.Interval * time.Duration(target.ReturnAfter-1); r.at.Sub(back) < least {
				t.Errorf("seed %d, %+v: told to be back after %v", seed, target, r.at.Sub(back))
			}
			if err := b.end(); err != nil {
				t.Errorf("Run ended with: %v", err)
			}
		})
	}
}

// Every slave is probed once in every interval, by the card that it is now, and
// the receiver is told once for each round and for each change of the slaves.
func TestOneReportARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(card) (time.Duration, error) { return time.Millisecond, nil }, target(addr4), target(addr6))
		b.wire.opening = 300 * time.Millisecond
		slaves := cards("eth0", "eth1")
		b.SetSlaves(Bond{}, slaves)
		time.Sleep(299 * time.Millisecond)
		synctest.Wait()
		if b.wire.sent() != 0 || b.reports() != 1 {
			t.Errorf("%d probes were sent and %d reports made before there was a socket; want none, and one for the slaves", b.wire.sent(), b.reports())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if b.wire.sent() != 40 || b.reports() != 11 {
			t.Errorf("%d probes, %d reports after 10 rounds from 2 slaves to 2 targets; want 40, and 11 with the one for the slaves", b.wire.sent(), b.reports())
		}
		wakes := b.wire.wakes
		b.SetSlaves(Bond{}, cards("eth0", "eth1"))
		if b.wire.wakes != wakes {
			t.Error("slaves that are the same as before are news")
		}
		slaves[0].LinkUp = false // the caller keeps its own
		if _, ok := b.first(time.Now(), all(state.PathUnknown, 1)); ok {
			t.Error("a slice that was handed over is used")
		}
		lost := time.Now()
		b.SetSlaves(Bond{}, slaves)
		synctest.Wait()
		if r, ok := b.first(lost, all(state.PathUnknown, 1)); !ok || !all(state.PathUp, 2)(r.report) {
			t.Errorf("of a lost link the last report is %+v, want its paths unknown, at once", b.last())
		}
		if err := b.end(); err != nil {
			t.Errorf("Run ended with: %v", err)
		}
		if !b.wire.closed {
			t.Error("the sockets are left open")
		}
		b.SetSlaves(Bond{}, nil) // nobody there any more
	})
}

// A receiver that takes its time holds nothing up, and then gets what is newest.
func TestSlowReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(card) (time.Duration, error) { return time.Millisecond, nil }, target(addr4))
		slow := b.cfg.Report
		b.cfg.Report = func(ctx context.Context, r Report) {
			slow(ctx, r)
			time.Sleep(time.Second)
		}
		b.SetSlaves(Bond{}, cards("eth0"))
		time.Sleep(1990 * time.Millisecond)
		synctest.Wait()
		if got := b.reports(); got != 2 {
			t.Fatalf("%d reports, want 2", got)
		}
		// The first is of the slaves alone; the second was the newest after one second.
		if got := b.told[1].report[1][0].Answered; got != 10 {
			t.Errorf("the second report tells of %d answers, want 10", got)
		}
		if b.wire.sent() != 20 {
			t.Errorf("%d probes were sent meanwhile, want 20", b.wire.sent())
		}
		if err := b.end(); err != nil {
			t.Errorf("Run ended with: %v", err)
		}
	})
}

// Trouble with sending is logged when it begins and when it is over, whether it
// is steady or comes and goes.
func TestTroubleIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trouble error
		n := 0
		b := newBench(t, func(c card) (time.Duration, error) {
			if n++; c.index == 2 && n%3 != 0 {
				return 0, trouble
			}
			return time.Millisecond, nil
		}, target(addr4))
		b.SetSlaves(Bond{}, cards("eth0", "eth1"))
		set := func(err error) {
			b.wire.mu.Lock()
			defer b.wire.mu.Unlock()
			trouble = err
		}
		time.Sleep(time.Second)
		set(errors.New("network is down"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := b.log(); len(got) != 1 || !strings.Contains(got[0], `msg="probes cannot be sent" bond=bond0 slave=eth1 err="network is down"`) {
			t.Errorf("in trouble the log is %q", got)
		}
		set(nil)
		time.Sleep(settled - time.Second)
		synctest.Wait()
		if got := b.log(); len(got) != 1 {
			t.Errorf("trouble is over too soon: %q", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := b.log(); len(got) != 2 || !strings.Contains(got[1], `msg="probes are sent again" bond=bond0 slave=eth1 failed=4`) {
			t.Errorf("after the trouble the log is %q", got)
		}
		if err := b.end(); err != nil {
			t.Errorf("Run ended with: %v", err)
		}
	})
}

func TestRunFails(t *testing.T) {
	c, err := New(Config{Bond: "bond0", Log: slog.New(slog.DiscardHandler), Report: func(context.Context, Report) {}})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("too many open files")
	c.dial = func(*Config) (wire, error) { return nil, broken }
	if err := c.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Run without sockets ends with: %v", err)
	}
	w := &fakeWire{failing: broken, bell: make(chan struct{}, 1)}
	c.dial = func(*Config) (wire, error) { return w, nil }
	if err := c.Run(t.Context()); !errors.Is(err, broken) || !w.closed {
		t.Errorf("Run that cannot wait ends with: %v; closed: %v", err, w.closed)
	}
}

func TestNew(t *testing.T) {
	good := target(addr4)
	with := func(change func(*Target)) []Target {
		bad := good
		change(&bad)
		return []Target{target(addr6), bad}
	}
	for _, tt := range []struct {
		name    string
		targets []Target
		want    string // in the error; empty: none
	}{
		{"none", nil, ""},
		{"two", []Target{good, target(addr6)}, ""},
		{"a link-local router", []Target{target(netip.MustParseAddr("fe80::1"))}, ""},
		{"with a source", with(func(t *Target) { t.Source = netip.MustParseAddr("192.0.2.250") }), ""},
		{"no address", with(func(t *Target) { t.Addr = netip.Addr{} }), "not an address that can be probed"},
		{"multicast", with(func(t *Target) { t.Addr = netip.MustParseAddr("224.0.0.1") }), "not an address that can be probed"},
		{"unspecified", with(func(t *Target) { t.Addr = netip.IPv6Unspecified() }), "not an address that can be probed"},
		{"mapped", with(func(t *Target) { t.Addr = netip.MustParseAddr("::ffff:192.0.2.1") }), "not an address that can be probed"},
		{"with a zone", with(func(t *Target) { t.Addr = netip.MustParseAddr("fe80::1%eth0") }), "not an address that can be probed"},
		{"source not IPv4", with(func(t *Target) { t.Source = addr6 }), "source 2001:db8::1"},
		{"no interval", with(func(t *Target) { t.Interval = 0 }), "interval of 0s"},
		{"no timeout", with(func(t *Target) { t.Timeout = 0 }), "timeout of 0s"},
		{"a timeout beyond the interval", with(func(t *Target) { t.Timeout = time.Second }), "timeout of 1s does not fit into an interval of 100ms"},
		{"none missed", with(func(t *Target) { t.MissedMax = 0 }), "0 missed"},
		{"none to return", with(func(t *Target) { t.ReturnAfter = 0 }), "0 answers"},
		{"twice", []Target{good, good}, "twice"},
	} {
		_, err := New(Config{Bond: "bond0", Targets: tt.targets})
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: the error is %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

// The work of a round, sockets aside, at the largest size there is: 64 slaves
// and 16 targets.
func BenchmarkRound(b *testing.B) {
	const slaves, targets = 64, 16
	var list []Slave
	for i := range slaves {
		list = append(list, Slave{Name: string(rune('a' + i)), Index: i + 1, MAC: state.MAC{2, 5: byte(i)}, LinkUp: true})
	}
	var to []Target
	for i := range targets {
		to = append(to, target(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})))
	}
	r := newTestRounds(true, list, to...)
	var answers [][]byte
	for _, s := range r.slaves {
		for i := range s.probes {
			answers = append(answers, answerTo(s.probes[i].neutral))
		}
	}
	now := t0
	b.ReportAllocs()
	for b.Loop() {
		if n := start(r, now); n != slaves*targets {
			b.Fatalf("%d probes", n)
		}
		for i, a := range answers {
			r.hear(card{index: i/targets + 1}, a, now, now)
		}
		now = now.Add(100 * time.Millisecond)
		r.end(now)
		r.report()
	}
	if p := r.slaves[0].paths[0]; p.State != state.PathUp || p.Missed != 0 {
		b.Fatalf("the path is %+v", p)
	}
}
