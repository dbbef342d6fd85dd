package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/hwprobe"
)

// A fake is a kernel with a bond that is as configured, for as long as the test
// does not change it.
type fake struct {
	mu       sync.Mutex
	net      state.Network
	reads    int
	ops      []state.Op       // what Do was asked for
	refuse   error            // what Do answers
	unread   error            // what Network answers; nil: the state
	requests []kernel.Request // what the switchers were asked for
	switches func() error     // what they answer; nil: done
	events   chan state.LinkEvent
}

// Indexes of the links.
const (
	eth0  = 1
	eth1  = 2
	bond0 = 7
)

func newFake() *fake {
	f := &fake{events: make(chan state.LinkEvent, 16)}
	for i, name := range []string{"eth0", "eth1"} {
		f.net.Links = append(f.net.Links, state.Link{Index: i + 1, Name: name, Kind: "veth", Up: true, Carrier: true, Master: bond0, MTU: 1500,
			Slave: &state.SlaveLink{Active: i == 0, MIIStatus: state.MIIUp}})
	}
	f.net.Links = append(f.net.Links, state.Link{Index: bond0, Name: "bond0", Kind: "bond", Up: true, Carrier: true, MTU: 1500,
		Bond: &state.BondLink{ActiveSlave: eth0, Options: state.Options(maps.Clone(testConfig().Bonds[0].Options))}})
	f.net.Addresses = []state.Address{{Index: bond0, Prefix: netip.MustParsePrefix("192.0.2.2/24"), Broadcast: netip.MustParseAddr("192.0.2.255"), Permanent: true}}
	return f
}

func testConfig() *config.Config {
	cfg := config.Default()
	b := &cfg.Bonds[0]
	b.Auto, b.Slaves, b.DHCP4 = false, []string{"eth0", "eth1"}, false
	b.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}
	return cfg
}

// change changes the kernel's state.
func (f *fake) change(how func(n *state.Network)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how(&f.net)
}

// Network implements Kernel; what it returns is never changed after.
func (f *fake) Network(context.Context) (*state.Network, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.unread != nil {
		return nil, f.unread
	}
	n := &state.Network{Links: slices.Clone(f.net.Links), Addresses: slices.Clone(f.net.Addresses), Routes: slices.Clone(f.net.Routes)}
	for i := range n.Links {
		if s := n.Links[i].Slave; s != nil {
			c := *s
			n.Links[i].Slave = &c
		}
		if b := n.Links[i].Bond; b != nil {
			n.Links[i].Bond = &state.BondLink{ActiveSlave: b.ActiveSlave, Options: maps.Clone(b.Options)}
		}
	}
	return n, nil
}

// write implements Kernel's Do.
func (f *fake) write(op state.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops = append(f.ops, op)
	return f.refuse
}

type fakeKernel struct{ *fake }

func (f fakeKernel) Do(_ context.Context, op state.Op) error { return f.write(op) }

type fakeSwitcher struct{ *fake }

func (f fakeSwitcher) Do(r *kernel.Request) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, *r)
	if f.switches != nil {
		return f.switches()
	}
	for _, to := range []int{eth0, eth1} {
		if reflect.DeepEqual(*r, kernel.SetActiveSlave(bond0, to)) {
			f.net.LinkByIndex(bond0).Bond.ActiveSlave = to
			f.events <- state.LinkEvent{Index: bond0, LinkUp: true, Failover: true, Active: to}
		}
	}
	return nil
}

type fakeListener struct{ *fake }

func (f fakeListener) Run(ctx context.Context, handle func(*state.LinkEvent)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-f.events:
			ev.Received = time.Now()
			handle(&ev)
		}
	}
}

// event tells of a link as the kernel has it; of a bond, that it failed over.
func (f *fake) event(index int) {
	f.mu.Lock()
	l := f.net.LinkByIndex(index)
	ev := state.LinkEvent{Index: index, LinkUp: l.LinkUp()}
	if l.Bond != nil {
		ev.Failover, ev.Active = true, l.Bond.ActiveSlave
	}
	f.mu.Unlock()
	f.events <- ev
	synctest.Wait()
}

// lose takes the carrier of a slave away; the driver does not notice.
func (f *fake) lose(index int) {
	f.change(func(n *state.Network) { n.LinkByIndex(index).Carrier = false })
	f.event(index)
}

func (f *fake) counts() (ops, requests int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ops), len(f.requests)
}

// written is what was written to the kernel, but for requests to the driver.
func (f *fake) written() []state.Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ops)
}

// requested is what was requested of the driver.
func (f *fake) requested() []kernel.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// forget forgets what was written.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops = nil
}

// run starts an engine on the fake. It ends with the test's bubble.
func run(t *testing.T, f *fake, cfg *config.Config) *Engine {
	t.Helper()
	e := New(cfg, Source{Name: "a test"}, deps(f))
	runEngine(t, e)
	return e
}

// deps have an engine work on a fake.
func deps(f *fake) Deps {
	return Deps{
		Kernel: fakeKernel{f}, Reflex: fakeSwitcher{f}, Switcher: fakeSwitcher{f},
		Listen: func() (Listener, error) { return fakeListener{f}, nil },
		Paths:  func(pathcheck.Config) (PathChecker, error) { return fakeChecker{}, nil },
		Inventory: func(context.Context) ([]hwprobe.NIC, error) {
			return []hwprobe.NIC{{Name: "eth0", Driver: "veth", Bus: "virtual"}, {Name: "eth1", Driver: "veth", Bus: "virtual"}}, nil
		},
		Log: slog.New(slog.DiscardHandler),
	}
}

// runEngine runs an engine until the test ends.
func runEngine(t *testing.T, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the engine ends with %v", err)
		}
	})
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
}

func bubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func TestNothingToDo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		e := run(t, f, testConfig())
		time.Sleep(time.Hour)
		if ops, requests := f.counts(); ops+requests != 0 {
			t.Errorf("%v and %d requests, although all is as configured", f.written(), requests)
		}
		if s := e.Snapshot(); !s.Config.Applied || !s.Bonds[0].Up() || s.Bonds[0].Degraded() || report.FirstError(s) != "" {
			t.Errorf("snapshot says %+v", s.Bonds[0])
		}
	})
}

// The loss of the active slave is answered by one write, made beforehand, and
// counted once.
func TestReflexSwitches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		e := run(t, f, testConfig())
		f.lose(eth0)
		if want := []kernel.Request{kernel.SetActiveSlave(bond0, eth1)}; !reflect.DeepEqual(f.requested(), want) {
			t.Errorf("requests %+v, want %+v", f.requested(), want)
		}
		time.Sleep(time.Minute)
		b := e.Snapshot().Bonds[0]
		if ops, requests := f.counts(); ops != 0 || requests != 1 {
			t.Errorf("%d writes and %d requests in all; want the one", ops, requests)
		}
		if b.ActiveSlave != "eth1" || !b.Up() || !b.Degraded() || b.Failovers[state.ReasonLink] != 1 || b.FailoverDuration.Count != 1 {
			t.Errorf("snapshot says %+v", b)
		}
	})
}

// The loss of the standby needs no answer.
func TestStandbyLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		e := run(t, f, testConfig())
		f.lose(eth1)
		time.Sleep(time.Minute)
		if ops, requests := f.counts(); ops+requests != 0 {
			t.Errorf("%d writes, %d requests", ops, requests)
		}
		if b := e.Snapshot().Bonds[0]; !b.Up() || !b.Degraded() || b.Failovers[state.ReasonLink] != 0 {
			t.Errorf("snapshot says %+v", b)
		}
	})
}

// Lost events cost a read, and what they would have told is found.
func TestLostEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		e := run(t, f, testConfig())
		f.change(func(n *state.Network) { n.LinkByIndex(eth0).Carrier = false })
		before := f.reads
		f.events <- state.LinkEvent{Lost: true}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		s := e.Snapshot()
		if s.Totals.Resyncs != 1 || f.reads == before || s.Bonds[0].ActiveSlave != "eth1" || s.Bonds[0].Failovers[state.ReasonLink] != 1 {
			t.Errorf("%d resyncs, %d reads, active slave %s", s.Totals.Resyncs, f.reads-before, s.Bonds[0].ActiveSlave)
		}
	})
}

// Without any event the next full read finds a loss.
func TestLossWithoutEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		e := run(t, f, testConfig())
		f.change(func(n *state.Network) { n.LinkByIndex(eth0).Carrier = false })
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if b := e.Snapshot().Bonds[0]; b.ActiveSlave != "eth1" || b.Failovers[state.ReasonLink] != 1 {
			t.Errorf("snapshot says %+v", b)
		}
	})
}

// A refused switch is no failover; what the kernel says is taken over.
func TestRefusedSwitch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.switches = func() error { return unix.EINVAL }
		e := run(t, f, testConfig())
		f.lose(eth0)
		time.Sleep(50 * time.Millisecond)
		if b := e.Snapshot().Bonds[0]; b.Failovers[state.ReasonLink] != 0 || b.ActiveSlave != "eth0" || b.Up() {
			t.Errorf("after the refusal snapshot says %+v", b)
		}
		f.change(func(n *state.Network) {
			n.LinkByIndex(eth0).Slave.MIIStatus = state.MIIDown
			n.LinkByIndex(bond0).Bond.ActiveSlave = eth1
		})
		f.event(bond0)
		time.Sleep(50 * time.Millisecond)
		if b := e.Snapshot().Bonds[0]; b.Failovers[state.ReasonKernel] != 1 || b.ActiveSlave != "eth1" || !b.Up() {
			t.Errorf("after the kernel's own failover snapshot says %+v", b)
		}
		_, before := f.counts()
		time.Sleep(time.Minute)
		if _, after := f.counts(); after != before {
			t.Errorf("%d more requests although the kernel is where it should be", after-before)
		}
	})
}

// Bonds whose state cannot be read, or cannot any more, are not called healthy
// for long.
func TestUnreadable(t *testing.T) {
	for _, fromStart := range []bool{false, true} {
		t.Run(fmt.Sprintf("from the start %t", fromStart), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake()
				fail := func(err error) {
					f.mu.Lock()
					defer f.mu.Unlock()
					f.unread = err
				}
				notToday := errors.New("not today")
				if fromStart {
					fail(notToday)
				}
				e := run(t, f, testConfig())
				fail(notToday)
				time.Sleep(10 * time.Second)
				const unread = "could not be read for "
				if got := report.FirstError(e.Snapshot()); strings.Contains(got, unread) || !fromStart && got != "" {
					t.Errorf("after ten seconds: %q", got)
				}
				time.Sleep(25 * time.Second)
				if got := report.FirstError(e.Snapshot()); !strings.Contains(got, unread+"3") {
					t.Errorf("after 35 seconds: %q", got)
				}
				fail(nil)
				time.Sleep(2 * time.Second)
				if got := report.FirstError(e.Snapshot()); got != "" {
					t.Errorf("read again: %q", got)
				}
			})
		})
	}
}

// What is refused, or taken and not kept, is tried again, later and later, and
// told of once it lasts.
func TestRetriesBackOff(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		drift string
	}{
		{"refused", errors.New("not today"), "not today"},
		{"not kept", nil, "did not keep it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake()
				f.refuse = tt.err
				f.net.LinkByIndex(bond0).Bond.Options["num_grat_arp"] = "9"
				e := run(t, f, testConfig())
				time.Sleep(10 * time.Minute)
				// 1, 2, 4, 8, 16, then every 30 seconds, each up to a tick late.
				if n, _ := f.counts(); n < 20 || n > 26 {
					t.Errorf("%d tries in ten minutes, want about 24", n)
				}
				if drift := e.Snapshot().Config.Drift; len(drift) != 1 || !strings.Contains(drift[0], tt.drift) {
					t.Errorf("drift is %q", drift)
				}
				// Another write does not wait for the one that fails.
				f.mu.Lock()
				f.refuse, f.ops = nil, nil
				f.mu.Unlock()
				f.change(func(n *state.Network) { n.LinkByIndex(bond0).Bond.Options["resend_igmp"] = "9" })
				f.event(bond0)
				time.Sleep(50 * time.Millisecond)
				want := state.SetOption{Bond: "bond0", Option: "resend_igmp", Value: "1"}
				if ops := f.written(); !slices.Contains(ops, state.Op(want)) {
					t.Errorf("written: %v; want %v at once", ops, want)
				}
				f.change(func(n *state.Network) {
					o := n.LinkByIndex(bond0).Bond.Options
					o["num_grat_arp"], o["resend_igmp"] = "1", "1"
				})
				time.Sleep(2 * time.Second)
				if s := e.Snapshot(); len(s.Config.Drift) != 0 || !s.Config.Applied {
					t.Errorf("drift is still %q", s.Config.Drift)
				}
			})
		})
	}
}

// After a forced switch nothing is written until the driver has seen the loss:
// any write could have it go back.
func TestSettle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		run(t, f, testConfig())
		f.change(func(n *state.Network) { n.LinkByIndex(bond0).Bond.Options["num_grat_arp"] = "9" })
		f.lose(eth0)
		time.Sleep(500 * time.Millisecond)
		if ops, requests := f.counts(); ops != 0 || requests != 1 {
			t.Errorf("%v written and %d requests before the driver agrees; want the switch alone", f.written(), requests)
		}
		f.change(func(n *state.Network) { n.LinkByIndex(eth0).Slave.MIIStatus = state.MIIDown })
		f.event(eth0)
		time.Sleep(50 * time.Millisecond)
		if want := (state.SetOption{Bond: "bond0", Option: "num_grat_arp", Value: "1"}); len(f.written()) == 0 || f.written()[0] != state.Op(want) {
			t.Errorf("written after the driver agrees: %v, want %v", f.written(), want)
		}
	})
}

// A loss that was over before the driver looked is no return in its eyes.
func TestBlink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Bonds[0].Options["primary"], cfg.Bonds[0].Options["primary_reselect"] = "eth0", "always"
		f := newFake()
		f.net.LinkByIndex(bond0).Bond.Options = state.Options(maps.Clone(cfg.Bonds[0].Options))
		e := run(t, f, cfg)
		f.lose(eth0)
		f.change(func(n *state.Network) { n.LinkByIndex(eth0).Carrier = true })
		f.event(eth0)
		time.Sleep(time.Minute)
		if want := []kernel.Request{kernel.SetActiveSlave(bond0, eth1), kernel.SetActiveSlave(bond0, eth0)}; !reflect.DeepEqual(f.requested(), want) {
			t.Errorf("requests %+v, want %+v", f.requested(), want)
		}
		if b := e.Snapshot().Bonds[0]; b.ActiveSlave != "eth0" || b.Failovers[state.ReasonLink] != 1 || b.Failovers[state.ReasonPrimary] != 1 {
			t.Errorf("snapshot says %+v", b)
		}
	})
}

// prepared is a reflex that has an answer to the loss of eth0.
func prepared(f *fake, consumed uint64) *fastPath {
	r := &fastPath{switcher: fakeSwitcher{f}, seenC: make(chan seen, 4)}
	r.prepared.Store(&reactions{consumed: consumed, list: []reaction{{slave: eth0, encoded: kernel.SetActiveSlave(bond0, eth1)}}})
	return r
}

// The reflex answers only what was decided knowing of every event before.
func TestReflexOrder(t *testing.T) {
	lost, other, returned := state.LinkEvent{Index: eth0}, state.LinkEvent{Index: bond0, LinkUp: true}, state.LinkEvent{Index: eth0, LinkUp: true}
	for _, tt := range []struct {
		name   string
		events []state.LinkEvent
		acts   bool
	}{
		{"a loss", []state.LinkEvent{lost}, true},
		{"after another event", []state.LinkEvent{other, lost}, false},
		{"a return", []state.LinkEvent{returned}, false},
		{"another link's loss", []state.LinkEvent{{Index: eth1}}, false},
		{"lost events", []state.LinkEvent{{Lost: true}}, false},
		{"a removed card", []state.LinkEvent{{Index: eth0, Gone: true}}, true},
	} {
		f := newFake()
		r := prepared(f, 0)
		for i := range tt.events {
			r.handle(&tt.events[i])
		}
		if _, n := f.counts(); (n == 1) != tt.acts {
			t.Errorf("%s: %d requests, want one: %t", tt.name, n, tt.acts)
		}
		for i := range tt.events {
			if s := <-r.seenC; s.count != uint64(i+1) || s.Index != tt.events[i].Index {
				t.Errorf("%s: event %d is passed on as %+v", tt.name, i, s)
			}
		}
	}
}

// An engine that is too slow is told to read anew; the reflex never waits.
func TestReflexDrops(t *testing.T) {
	r := prepared(newFake(), 0)
	for range cap(r.seenC) + 1 {
		r.handle(&state.LinkEvent{Index: bond0})
	}
	if !r.dropped.Load() || r.count != uint64(cap(r.seenC)+1) {
		t.Errorf("dropped is %t after %d events", r.dropped.Load(), r.count)
	}
}

type nullSwitcher struct{ n int }

func (s *nullSwitcher) Do(*kernel.Request) error { s.n++; return nil }

func TestReflexAllocates(t *testing.T) {
	r, s, ev := prepared(newFake(), 0), new(nullSwitcher), &state.LinkEvent{Index: eth0}
	r.switcher = s
	if n := testing.AllocsPerRun(100, func() {
		r.count = 0
		r.handle(ev)
		<-r.seenC
	}); n != 0 || s.n == 0 {
		t.Errorf("%v allocations for each event, %d requests", n, s.n)
	}
}

// A bond that somebody has renamed gets its name back; it is not made twice.
func TestRenamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		e := run(t, f, testConfig())
		f.change(func(n *state.Network) { n.LinkByIndex(bond0).Name = "bond7" })
		f.event(bond0)
		time.Sleep(50 * time.Millisecond)
		if want := []state.Op{state.Rename{Link: "bond7", To: "bond0"}}; !reflect.DeepEqual(f.written(), want) {
			t.Errorf("written: %v, want %v", f.written(), want)
		}
		if got := report.FirstError(e.Snapshot()); got == "" {
			t.Error("a bond that is not there under its name is called healthy")
		}
		f.change(func(n *state.Network) { n.LinkByIndex(bond0).Name = "bond0" })
		f.event(bond0)
		time.Sleep(2 * time.Second)
		if got := report.FirstError(e.Snapshot()); got != "" {
			t.Errorf("with its name back: %q", got)
		}
	})
}

// Speed and duplex are read again when a link returns, and now and then.
func TestInventoryRepeated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		d := deps(f)
		var asked atomic.Int32
		inventory := d.Inventory
		d.Inventory = func(ctx context.Context) ([]hwprobe.NIC, error) {
			if asked.Add(1) <= 2 {
				return nil, errors.New("no such device")
			}
			return inventory(ctx)
		}
		f.net.LinkByIndex(bond0).Bond.Options["num_grat_arp"] = "9"
		e := New(testConfig(), Source{}, d)
		runEngine(t, e)
		if ops, _ := f.counts(); ops != 0 {
			t.Errorf("%v written before the hardware is known", f.written())
		}
		time.Sleep(10 * time.Second)
		if ops, _ := f.counts(); ops == 0 || asked.Load() != 3 {
			t.Errorf("%d writes after %d inventories, of which the third succeeded", ops, asked.Load())
		}
		f.lose(eth1)
		before := asked.Load()
		f.change(func(n *state.Network) { n.LinkByIndex(eth1).Carrier = true })
		f.event(eth1)
		time.Sleep(50 * time.Millisecond)
		if asked.Load() != before+1 {
			t.Errorf("%d inventories for a link that returned", asked.Load()-before)
		}
		before = asked.Load()
		time.Sleep(10 * time.Minute)
		if n := asked.Load() - before; n < 9 || n > 11 {
			t.Errorf("%d inventories in ten minutes, want one a minute", n)
		}
	})
}
