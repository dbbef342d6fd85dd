package engine

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bondd.internal/bondd/internal/engine/core"
	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
)

var target = netip.MustParseAddr("192.0.2.1")

// pathConfig is testConfig with a path, in this mode.
func pathConfig(mode string) *config.Config {
	cfg := testConfig()
	b := &cfg.Bonds[0]
	b.Options["mode"] = mode
	b.PathPolicy = "all"
	b.Paths = []config.Path{{Target: target, Interval: time.Second, Timeout: time.Second / 5, MissedMax: 3, ReturnAfter: 3}}
	return cfg
}

// A fakeChecker finds what the test says that it finds.
type fakeChecker struct{}

func (fakeChecker) SetSlaves(pathcheck.Bond, []pathcheck.Slave) {}

func (fakeChecker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// found has the path checks of bond0 find these states, of eth0 and eth1.
func found(e *Engine, states ...state.PathState) {
	r := map[int][]state.Path{}
	for i, s := range states {
		r[i+1] = []state.Path{{Target: target, State: s, Proven: s == state.PathUp}}
	}
	e.inputC <- core.PathReport{Bond: "bond0", Paths: r}
	time.Sleep(50 * time.Millisecond)
	synctest.Wait()
}

func TestPathSwitches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, cfg := newFake(), pathConfig("active-backup")
		e := run(t, f, cfg)
		found(e, state.PathUp, state.PathUp)
		found(e, state.PathDown, state.PathUp)
		b := e.Snapshot().Bonds[0]
		if b.ActiveSlave != "eth1" || b.Failovers[state.ReasonPath] != 1 || !b.Up() || !b.Degraded() || *b.Slaves[0].PathUp || !*b.Slaves[1].PathUp {
			t.Errorf("with the path of eth0 dead: %+v", b)
		}
		if want := "eth0 has a link, but no path to 192.0.2.1"; !strings.HasPrefix(report.BondProblem(e.Snapshot(), &b), want) {
			t.Errorf("problem is %q, want %q", report.BondProblem(e.Snapshot(), &b), want)
		}
		found(e, state.PathDown, state.PathDown)
		b = e.Snapshot().Bonds[0]
		if b.ActiveSlave != "eth1" || b.Failovers[state.ReasonPath] != 1 || b.Up() || report.BondProblem(e.Snapshot(), &b) != "192.0.2.1 answers no slave" {
			t.Errorf("with all paths dead: %+v", b)
		}
		found(e, state.PathUp, state.PathUp)
		time.Sleep(time.Minute)
		b = e.Snapshot().Bonds[0]
		if ops, requests := f.counts(); b.ActiveSlave != "eth1" || !b.Up() || b.Degraded() || ops != 0 || requests != 1 {
			t.Errorf("with all paths back: %+v, %d writes, %d requests", b, ops, requests)
		}
	})
}

// The driver, which knows nothing of paths, is kept from returning to a primary
// whose path is dead.
func TestHold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, cfg := newFake(), pathConfig("active-backup")
		cfg.Bonds[0].Options["primary"], cfg.Bonds[0].Options["primary_reselect"] = "eth0", "always"
		f.net.LinkByIndex(bond0).Bond.Options["primary"], f.net.LinkByIndex(bond0).Bond.Options["primary_reselect"] = "eth0", "always"
		e := run(t, f, cfg)
		found(e, state.PathDown, state.PathUp)
		hold := state.SetOption{Bond: "bond0", Option: "primary_reselect", Value: "failure"}
		if !slices.Contains(f.written(), state.Op(hold)) || e.Snapshot().Bonds[0].ActiveSlave != "eth1" {
			t.Fatalf("written: %v; want %v", f.written(), hold)
		}
		f.change(func(n *state.Network) { n.LinkByIndex(bond0).Bond.Options["primary_reselect"] = "failure" })
		f.forget()
		time.Sleep(time.Minute)
		if ops, _ := f.counts(); ops != 0 || len(e.Snapshot().Config.Drift) != 0 {
			t.Errorf("while held: written %v, drift %v", f.written(), e.Snapshot().Config.Drift)
		}
		found(e, state.PathUp, state.PathUp)
		release := state.SetOption{Bond: "bond0", Option: "primary_reselect", Value: "always"}
		if b := e.Snapshot().Bonds[0]; b.ActiveSlave != "eth0" || b.Failovers[state.ReasonPrimary] != 1 || !slices.Contains(f.written(), state.Op(release)) {
			t.Errorf("with the path back: %+v, written %v", b, f.written())
		}
	})
}

// Where the mode shares traffic out, a slave without a path leaves the bond.
func TestParks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, cfg := newFake(), pathConfig("balance-rr")
		cfg.Bonds[0].Options["primary_reselect"] = "always"
		for _, o := range []string{"mode", "primary_reselect"} {
			f.net.LinkByIndex(bond0).Bond.Options[o] = cfg.Bonds[0].Options[o]
		}
		for _, i := range []int{eth0, eth1} {
			f.net.LinkByIndex(i).Slave.Active = true
		}
		f.net.LinkByIndex(bond0).Bond.ActiveSlave = 0
		e := run(t, f, cfg)
		found(e, state.PathDown, state.PathUp)
		if release := (state.Release{Slave: "eth0", Bond: "bond0"}); len(f.written()) == 0 || f.written()[0] != state.Op(release) {
			t.Fatalf("written: %v; want %v first", f.written(), release)
		}
		f.change(func(n *state.Network) {
			l := n.LinkByIndex(eth0)
			l.Slave, l.Master = nil, 0
		})
		f.event(eth0)
		time.Sleep(50 * time.Millisecond)
		b := e.Snapshot().Bonds[0]
		if !b.Slaves[0].Parked || b.Failovers[state.ReasonPath] != 1 || !b.Up() || !b.Degraded() {
			t.Errorf("with eth0 out: %+v", b)
		}
		f.forget()
		found(e, state.PathUp, state.PathUp)
		if enslave := (state.Enslave{Slave: "eth0", Bond: "bond0"}); !slices.Contains(f.written(), state.Op(enslave)) {
			t.Errorf("with the path back: written %v; want %v", f.written(), enslave)
		}
	})
}

func TestDamping(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, cfg := newFake(), testConfig()
		b := &cfg.Bonds[0]
		b.Options["primary"], b.Options["primary_reselect"] = "eth0", "always"
		b.Damping = &config.Damping{HalfLife: 15 * time.Second, Suppress: 3, Reuse: 1}
		f.net.LinkByIndex(bond0).Bond.Options["primary"], f.net.LinkByIndex(bond0).Bond.Options["primary_reselect"] = "eth0", "always"
		e := run(t, f, cfg)
		for range 4 {
			f.lose(eth0)
			f.change(func(n *state.Network) { n.LinkByIndex(eth0).Carrier = true })
			f.event(eth0)
		}
		time.Sleep(50 * time.Millisecond)
		s := e.Snapshot()
		eth := s.Bonds[0].Slaves[0]
		if s.Bonds[0].ActiveSlave != "eth1" || !eth.Suppressed || s.Bonds[0].Condition(&eth).Usable() || eth.Penalty < 2 || eth.ReuseAt.Sub(s.Time) < 10*time.Second {
			t.Fatalf("after four failures: %+v", s.Bonds[0])
		}
		if s.Bonds[0].Failovers[state.ReasonLink] != 3 {
			t.Errorf("%d failovers for the link, want 3: the fourth loss is that of a slave that is held out", s.Bonds[0].Failovers[state.ReasonLink])
		}
		f.lose(eth1) // the last resort
		if got := e.Snapshot().Bonds[0]; got.ActiveSlave != "eth0" {
			t.Errorf("with the other one lost: %+v", got)
		}
		f.change(func(n *state.Network) { n.LinkByIndex(eth1).Carrier = true })
		f.event(eth1)
		if got := e.Snapshot().Bonds[0]; got.ActiveSlave != "eth1" {
			t.Errorf("with the other one back: %+v", got)
		}
		time.Sleep(time.Until(eth.ReuseAt) + 2*time.Second)
		if got := e.Snapshot().Bonds[0]; got.ActiveSlave != "eth0" || got.Slaves[0].Suppressed {
			t.Errorf("after the time that was told: %+v", got)
		}
	})
}

func TestOrders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, cfg := newFake(), testConfig()
		cfg.Bonds[0].Options["primary"], cfg.Bonds[0].Options["primary_reselect"] = "eth0", "always"
		f.net.LinkByIndex(bond0).Bond.Options["primary"], f.net.LinkByIndex(bond0).Bond.Options["primary_reselect"] = "eth0", "always"
		e := run(t, f, cfg)
		ctx := context.Background()
		var refusal *state.Refusal
		if err := e.Failover(ctx, "bond9", "eth1"); !errors.As(err, &refusal) || !refusal.Unknown {
			t.Errorf("an unknown bond: %v", err)
		}
		if err := e.Failover(ctx, "bond0", "eth9"); !errors.As(err, &refusal) || !refusal.Unknown {
			t.Errorf("an unknown slave: %v", err)
		}
		if err := e.Failover(ctx, "bond0", "eth1"); err != nil {
			t.Fatal(err)
		}
		// Who ordered it finds it in the flight recorder.
		if h := e.Snapshot().History; len(h) != 1 || h[0].Reason != state.ReasonAdmin || h[0].To != "eth1" {
			t.Errorf("when the order was answered the history was %+v", h)
		}
		time.Sleep(time.Minute)
		b := e.Snapshot().Bonds[0]
		if b.ActiveSlave != "eth1" || b.Chosen != "eth1" || b.Failovers[state.ReasonAdmin] != 1 || b.Failovers[state.ReasonPrimary] != 0 {
			t.Errorf("a minute after the order: %+v", b)
		}
		if err := e.Failover(ctx, "bond0", "eth0"); err != nil {
			t.Fatal(err)
		}
		if b := e.Snapshot().Bonds[0]; b.ActiveSlave != "eth0" || b.Chosen != "" || b.Failovers[state.ReasonAdmin] != 2 {
			t.Errorf("back on the primary: %+v", b)
		}
		f.lose(eth1)
		if err := e.Failover(ctx, "bond0", "eth1"); !errors.As(err, &refusal) || refusal.Unknown || err.Error() != "eth1 has no link" {
			t.Errorf("a slave without link: %v", err)
		}
	})
}

// The flight recorder has every switch, with what the kernel alone knows.
func TestRecord(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		old := &state.Failover{Seq: 41, Bond: "bond0", From: "eth1", To: "eth0"}
		d := deps(f)
		d.History = []*state.Failover{old}
		e := New(testConfig(), Source{}, d)
		e.deps.FirstPacket = func(_ context.Context, index int, _ time.Duration) (time.Time, error) {
			if index != eth1 {
				t.Errorf("first packet asked of %d", index)
			}
			return time.Now().Add(time.Millisecond), nil
		}
		e.deps.LinkDown = func(name string, _ time.Time, mark string) (time.Time, bool) {
			if name != "eth0" || mark != "bond0: eth0 -> eth1 (link)" {
				t.Errorf("the kernel's log is asked for %s, and marked %q", name, mark)
			}
			return time.Now().Add(-time.Millisecond), true
		}
		runEngine(t, e)
		f.lose(eth0)
		f.change(func(n *state.Network) { n.LinkByIndex(eth0).Slave.MIIStatus = state.MIIDown })
		time.Sleep(2 * time.Second)
		h := e.Snapshot().History
		if len(h) != 2 || h[1] != old {
			t.Fatalf("history is %+v", h)
		}
		s := h[0]
		if s.Seq != 42 || s.From != "eth0" || s.To != "eth1" || s.Reason != state.ReasonLink || s.Cause != "eth0 lost its link" {
			t.Errorf("entry is %+v", s)
		}
		times := []time.Time{s.EventRead, s.Decided, s.Written, s.Agreed}
		if slices.ContainsFunc(append(times, s.CarrierLost, s.FirstPacket), time.Time.IsZero) || !slices.IsSortedFunc(times, time.Time.Compare) {
			t.Errorf("time line is %v, carrier lost %v, first packet %v", times, s.CarrierLost, s.FirstPacket)
		}
		before := []state.SlaveView{{Name: "eth0", Active: true, LinkUp: true}, {Name: "eth1", LinkUp: true}}
		after := []state.SlaveView{{Name: "eth0", MIIStatus: state.MIIDown}, {Name: "eth1", Active: true, LinkUp: true}}
		if !reflect.DeepEqual(s.Before, before) || !reflect.DeepEqual(s.After, after) {
			t.Errorf("before %+v, after %+v", s.Before, s.After)
		}
	})
}

// A driver may log a lost link only after bondd has found it. Its stamp is not
// taken for that of the next loss.
func TestStampOfAnEarlierLoss(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		e := New(testConfig(), Source{}, deps(f))
		var logged time.Time // when the driver logged last that eth0 lost its link
		e.deps.LinkDown = func(name string, since time.Time, _ string) (time.Time, bool) {
			return logged, name == "eth0" && !logged.IsZero() && !logged.Before(since)
		}
		runEngine(t, e)
		carrier := func(index int, up bool) {
			f.change(func(n *state.Network) { n.LinkByIndex(index).Carrier = up })
			f.event(index)
			time.Sleep(time.Second)
		}
		f.lose(eth0)
		time.Sleep(time.Second)
		logged = time.Now()
		time.Sleep(time.Second)
		carrier(eth0, true)
		f.lose(eth1)
		time.Sleep(time.Second)
		carrier(eth1, true)
		f.lose(eth0)
		time.Sleep(2 * time.Second)
		h := e.Snapshot().History
		if len(h) != 3 || h[0].From != "eth0" || h[0].EventRead.Sub(logged) > 5*time.Second {
			t.Fatalf("history is %+v", h)
		}
		for _, s := range h {
			if !s.CarrierLost.IsZero() {
				t.Errorf("the stamp %v is taken for that of %+v", s.CarrierLost, s)
			}
		}
	})
}

// The kernel's own switches are recorded too, and one that the driver had no
// reason for was made by hand: it stands.
func TestByHand(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, cfg := newFake(), testConfig()
		cfg.Bonds[0].Options["primary"], cfg.Bonds[0].Options["primary_reselect"] = "eth0", "always"
		f.net.LinkByIndex(bond0).Bond.Options["primary"], f.net.LinkByIndex(bond0).Bond.Options["primary_reselect"] = "eth0", "always"
		e := run(t, f, cfg)
		f.change(func(n *state.Network) { n.LinkByIndex(bond0).Bond.ActiveSlave = eth1 })
		f.event(bond0)
		time.Sleep(time.Minute)
		s := e.Snapshot()
		if b := s.Bonds[0]; b.ActiveSlave != "eth1" || b.Chosen != "eth1" || b.Failovers[state.ReasonKernel] != 1 {
			t.Errorf("snapshot says %+v", b)
		}
		if len(s.History) != 1 || s.History[0].Reason != state.ReasonKernel || s.History[0].Agreed.IsZero() {
			t.Errorf("history is %+v", s.History)
		}
		if _, requests := f.counts(); requests != 0 {
			t.Errorf("%d requests", requests)
		}
	})
}
