package drill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bondd.internal/bondd/internal/state"
)

const (
	rtt        = 200 * time.Microsecond
	switchTook = 1300 * time.Microsecond
)

// A fake is an engine with one bond, and a network in which some slaves answer.
type fake struct {
	mu      sync.Mutex
	bond    state.Bond
	deaf    map[string]bool   // slaves that answer nothing
	refused map[string]error  // what Failover returns
	after   map[string]func() // what happens after the switch to a slave
	orders  []string
	open    func(ctx context.Context, bond string, target netip.Addr) (line, error)
}

func newFake(slaves ...string) *fake {
	f := &fake{
		bond:    state.Bond{Name: "bond0", Mode: "active-backup", ActiveSlave: slaves[0], Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		deaf:    map[string]bool{},
		refused: map[string]error{},
		after:   map[string]func(){},
	}
	f.open = func(context.Context, string, netip.Addr) (line, error) {
		return &fakeLine{f: f, answerC: make(chan struct{}, 1), closeC: make(chan struct{})}, nil
	}
	for _, name := range slaves {
		f.bond.Slaves = append(f.bond.Slaves, state.Slave{Name: name, Present: true, Enslaved: true, LinkUp: true})
	}
	return f
}

func (f *fake) Snapshot() *state.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &state.Snapshot{Bonds: []state.Bond{f.bond}}
}

func (f *fake) Failover(ctx context.Context, bond, to string) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(switchTook): // so that no switch falls together with a request
	}
	f.mu.Lock()
	f.orders = append(f.orders, to)
	err := f.refused[to]
	if err == nil {
		f.bond.ActiveSlave = to
	}
	after := f.after[to]
	f.mu.Unlock()
	if err == nil && after != nil {
		after()
	}
	return err
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// fakeLine answers after a fixed time, if the active slave answers at all.
type fakeLine struct {
	f       *fake
	answerC chan struct{}
	closeC  chan struct{}
}

func (l *fakeLine) ask() error {
	l.f.mu.Lock()
	deaf := l.f.deaf[l.f.bond.ActiveSlave]
	l.f.mu.Unlock()
	if deaf {
		return nil
	}
	time.AfterFunc(rtt, func() { l.answerC <- struct{}{} })
	return nil
}

func (l *fakeLine) answer() error {
	select {
	case <-l.answerC:
		return nil
	case <-l.closeC:
		return errors.New("closed")
	}
}

func (l *fakeLine) close() error { close(l.closeC); return nil }

// drill runs a drill, and checks that it ends on the slave that it began with.
func (f *fake) drill(t *testing.T, ctx context.Context) (*Report, error) {
	t.Helper()
	home := f.bond.ActiveSlave
	r := &Runner{Source: f, Control: f, Log: slog.New(slog.DiscardHandler), open: f.open}
	report, err := r.Run(ctx, "bond0")
	if f.bond.ActiveSlave != home {
		t.Errorf("the drill ends on %s, want %s; orders: %s", f.bond.ActiveSlave, home, f.orders)
	}
	return report, err
}

// outcome is a report in a line for each slave.
func outcome(r *Report) string {
	var b strings.Builder
	for _, s := range r.Slaves {
		fmt.Fprintf(&b, "%s tried=%t %q to=%v back=%v\n", s.Name, s.Tried, s.Problem, s.To, s.Back)
	}
	fmt.Fprintf(&b, "ok=%t %q", r.OK, r.Problem)
	return b.String()
}

func TestDrill(t *testing.T) {
	// Four switches together take half an interval, and one request more.
	const (
		fine   = "0 of 100 lost, gap 10.0 ms, answer in 0.20 ms"
		fourth = "0 of 101 lost, gap 10.0 ms, answer in 0.20 ms"
	)
	down := false
	for _, tt := range []struct {
		name   string
		slaves string
		change func(*fake)
		want   string
		orders string
		took   time.Duration // at most
	}{
		{"all well", "eth0 eth1 eth2", func(f *fake) {},
			`eth1 tried=true "" to=` + fine + ` back=` + fine + `
eth2 tried=true "" to=` + fine + ` back=` + fourth + `
ok=true ""`, "eth1 eth0 eth2 eth0", 5 * time.Second},
		{"from the second", "eth0 eth1", func(f *fake) { f.bond.ActiveSlave = "eth1" },
			`eth0 tried=true "" to=` + fine + ` back=` + fine + `
ok=true ""`, "eth0 eth1", 3 * time.Second},
		{"a silent standby", "eth0 eth1 eth2", func(f *fake) { f.deaf["eth1"] = true },
			`eth1 tried=true "nothing was answered for 306.1 ms" to=30 of 30 lost, gap 306.1 ms back=` + fine + `
eth2 tried=true "" to=` + fine + ` back=` + fourth + `
ok=false ""`, "eth1 eth0 eth2 eth0", 4 * time.Second},
		{"a standby that goes silent", "eth0 eth1", func(f *fake) {
			f.after["eth1"] = func() { time.AfterFunc(500*time.Millisecond, func() { f.set(func() { f.deaf["eth1"] = true }) }) }
		},
			`eth1 tried=true "nothing was answered for 306.1 ms" to=30 of 80 lost, gap 306.1 ms, answer in 0.20 ms back=` + fine + `
ok=false ""`, "eth1 eth0", 3 * time.Second},
		{"a standby that returns late", "eth0 eth1", func(f *fake) {
			f.deaf["eth1"] = true
			f.after["eth1"] = func() { time.AfterFunc(195*time.Millisecond, func() { f.set(func() { f.deaf["eth1"] = false }) }) }
		},
			`eth1 tried=true "20 of 100 requests were lost" to=20 of 100 lost, gap 210.0 ms, answer in 0.20 ms back=` + fine + `
ok=false ""`, "eth1 eth0", 3 * time.Second},
		{"standbys that are not fit", "eth0 eth1 eth2 eth3 eth4 eth5 eth6 eth7", func(f *fake) {
			f.bond.Slaves[1].LinkUp = false
			f.bond.Slaves[2].Present = false
			f.bond.Slaves[3].PathUp = &down
			f.bond.Slaves[4].Suppressed = true
			f.bond.Slaves[5].Enslaved, f.bond.Slaves[5].LeftOut = false, "its chipset is another"
			f.bond.Slaves[6].Enslaved = false
			f.bond.Slaves[7].MIIStatus = state.MIIBack
		},
			`eth1 tried=false "it has no link" to=- back=-
eth2 tried=false "it is missing: no card in this machine answers to that name" to=- back=-
eth3 tried=false "its path is dead" to=- back=-
eth4 tried=false "it is held out because it flaps" to=- back=-
eth5 tried=false "it is left out because its chipset is another" to=- back=-
eth6 tried=false "it is not in the bond" to=- back=-
eth7 tried=false "the kernel does not use it: to the kernel its link is \"going back\"" to=- back=-
ok=false ""`, "", time.Second},
		{"a standby that is refused", "eth0 eth1 eth2", func(f *fake) { f.refused["eth1"] = refuse("eth1 has no link") },
			`eth1 tried=false "eth1 has no link" to=- back=-
eth2 tried=true "" to=` + fine + ` back=` + fine + `
ok=false ""`, "eth1 eth2 eth0", 3 * time.Second},
		{"a switch that may have been made", "eth0 eth1", func(f *fake) {
			f.refused["eth1"] = errors.New("the kernel is busy")
			f.after["eth0"] = func() {}
		},
			`eth1 tried=false "the kernel is busy" to=- back=-
ok=false ""`, "eth1 eth0", time.Second},
		{"traffic that bondd takes off the standby", "eth0 eth1", func(f *fake) {
			f.after["eth1"] = func() { time.AfterFunc(45*time.Millisecond, func() { f.set(func() { f.bond.ActiveSlave = "eth0" }) }) }
		},
			`eth1 tried=true "the traffic was taken off it again; the history says why" to=` + fine + ` back=` + fine + `
ok=false ""`, "eth1 eth0", 3 * time.Second},
		{"a way back that is not open at once", "eth0 eth1", func(f *fake) {
			f.after["eth1"] = func() {
				f.set(func() { f.refused["eth0"] = refuse("the kernel takes eth0 to be \"going back\"") })
				time.AfterFunc(3*time.Second, func() { f.set(func() { delete(f.refused, "eth0") }) })
			}
		},
			`eth1 tried=true "" to=` + fine + ` back=0 of 303 lost, gap 10.0 ms, answer in 0.20 ms
ok=true ""`, "", 6 * time.Second},
		{"a first slave that answers no more", "eth0 eth1 eth2", func(f *fake) {
			f.after["eth1"] = func() { f.set(func() { f.deaf["eth0"] = true }) }
		},
			`eth1 tried=true "after the switch back nothing was answered for 307.4 ms" to=` + fine + ` back=30 of 30 lost, gap 307.4 ms
eth2 tried=false "the drill had ended before" to=- back=-
ok=false "nothing is answered any more since the switch back from eth1 to eth0"`, "eth1 eth0", 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(strings.Fields(tt.slaves)...)
				tt.change(f)
				began := time.Now()
				r, err := f.drill(t, t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, outcome(r)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if got := strings.Join(f.orders, " "); tt.orders != "" && got != tt.orders {
					t.Errorf("switches to %s, want %s", got, tt.orders)
				}
				if took := time.Since(began); took > tt.took {
					t.Errorf("it took %v, want at most %v", took, tt.took)
				}
				if r.Before.Sent < 50 || r.Before.Lost != 0 {
					t.Errorf("before: %v", &r.Before)
				}
			})
		})
	}
}

// Whoever asked may go at any moment.
func TestDrillCancelled(t *testing.T) {
	for after := 20 * time.Millisecond; after < 5*time.Second; after += 70 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			began := time.Now()
			r, err := newFake("eth0", "eth1", "eth2").drill(t, ctx)
			if r == nil && !errors.Is(err, context.DeadlineExceeded) || r != nil && !r.OK {
				t.Errorf("after %v: %+v, %v", after, r, err)
			}
			if took := time.Since(began); took > after+late+2*switchTook {
				t.Errorf("it ends %v after whoever asked is gone", took-after)
			}
		})
	}
}

// A way back that stays closed is told of, and so is where traffic is.
func TestDrillWithoutAWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("eth0", "eth1", "eth2")
		f.after["eth1"] = func() { f.set(func() { f.refused["eth0"] = refuse("eth0 has no link") }) }
		r := &Runner{Source: f, Control: f, Log: slog.New(slog.DiscardHandler), open: f.open}
		report, err := r.Run(t.Context(), "bond0")
		if err != nil {
			t.Fatal(err)
		}
		if want := "the way back failed, traffic is on eth1 instead of eth0: eth0 has no link"; report.OK || report.Problem != want {
			t.Errorf("ok=%t %q, want %q", report.OK, report.Problem, want)
		}
		if s := report.Slaves[1]; s.Tried || s.Problem != "the drill had ended before" {
			t.Errorf("eth2 after that: %+v", s)
		}
	})
}

func TestDrillRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		slaves string
		change func(*fake)
		want   string
	}{
		{"unknown bond", "eth0 eth1", func(f *fake) { f.bond.Name = "bond1" }, `there is no bond "bond0"`},
		{"no standby", "eth0", func(f *fake) {}, "bond0 has no slave but eth0: there is no standby to try"},
		{"no active slave", "eth0 eth1", func(f *fake) { f.bond.ActiveSlave = "" }, "bond0 has no active slave to begin with"},
		{"another mode", "eth0 eth1", func(f *fake) { f.bond.Mode = "balance-rr" }, "bond0 is in mode balance-rr, in which every slave carries traffic: a drill is for active-backup"},
		{"nobody to ask", "eth0 eth1", func(f *fake) { f.bond.Gateways = nil }, "bond0 has nobody to ask: configure a gateway, or a [[bond.path]] with a target"},
		{"nobody answers", "eth0 eth1", func(f *fake) {
			f.open = func(context.Context, string, netip.Addr) (line, error) {
				return nil, errors.New("192.0.2.1 does not answer")
			}
		}, "a dead standby of bond0 looks the same as a dead host, so nothing was moved: 192.0.2.1 does not answer"},
		{"nobody answers any more", "eth0 eth1", func(f *fake) { f.deaf["eth0"] = true }, "192.0.2.1 answered once and then no more, so nothing was moved"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(strings.Fields(tt.slaves)...)
				tt.change(f)
				_, err := f.drill(t, t.Context())
				var refusal *state.Refusal
				if !errors.As(err, &refusal) || refusal.Why != tt.want || refusal.Unknown != (tt.name == "unknown bond") {
					t.Errorf("%v, want %q", err, tt.want)
				}
				if len(f.orders) != 0 {
					t.Errorf("and yet it was switched to %s", f.orders)
				}
			})
		})
	}
}

func TestTargets(t *testing.T) {
	a := netip.MustParseAddr
	b := newFake("eth0", "eth1").bond
	b.Slaves[0].Paths = []state.Path{{Target: a("192.0.2.7"), State: state.PathDown}, {Target: a("192.0.2.8"), State: state.PathUp}, {Target: a("192.0.2.9")}}
	b.Slaves[1].Paths = []state.Path{{Target: a("192.0.2.7"), State: state.PathUp}, {Target: a("192.0.2.8")}, {Target: a("192.0.2.9")}}
	b.Gateways = []netip.Addr{a("192.0.2.9"), a("192.0.2.1")}
	if diff := cmp.Diff("[192.0.2.8 192.0.2.9 192.0.2.1]", fmt.Sprint(targets(&b))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The second target is asked if the first does not answer.
func TestDrillFindsWhoAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("eth0", "eth1")
		first, second := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.3")
		f.bond.Gateways = []netip.Addr{first, second}
		open := f.open
		f.open = func(ctx context.Context, bond string, target netip.Addr) (line, error) {
			if target == first {
				return nil, errors.New("it does not answer")
			}
			return open(ctx, bond, target)
		}
		if r, err := f.drill(t, t.Context()); err != nil || !r.OK || r.Target != second {
			t.Errorf("%+v, %v; want one that asked %s", r, err, second)
		}
	})
}
