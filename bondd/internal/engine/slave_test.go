package engine

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
)

// A macKernel carries writes of MACs and MTUs out, and takes cards up and down.
type macKernel struct {
	*fake
	rigid bool // a card takes another MAC only while it is down
}

func (k macKernel) Do(_ context.Context, op state.Op) error {
	_ = k.write(op)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch op := op.(type) {
	case state.SetMAC:
		l := k.net.Link(op.Link)
		if k.rigid && l.Up {
			return unix.EBUSY
		}
		l.MAC = op.MAC
	case state.SetMTU:
		k.net.Link(op.Link).MTU = op.MTU
	case state.SetUp:
		k.net.Link(op.Link).Up = op.Up
	}
	return nil
}

var (
	right = state.MAC{2, 0, 0, 0, 0, 1}
	wrong = state.MAC{2, 0, 0, 0, 0, 0x99}
)

// macFake is a bond with MACs, and an engine on it.
func macFake(t *testing.T, cfg *config.Config, rigid bool) (*fake, *Engine) {
	t.Helper()
	f := newFake()
	for i := range f.net.Links {
		f.net.Links[i].MAC = right
		if s := f.net.Links[i].Slave; s != nil && cfg.Bonds[0].Mode() == "balance-rr" {
			s.Active = true
		}
	}
	o := f.net.LinkByIndex(bond0).Bond.Options
	for name, value := range cfg.Bonds[0].Options {
		o[name] = value
	}
	d := deps(f)
	d.Kernel = macKernel{f, rigid}
	e := New(cfg, Source{Name: "a test"}, d)
	runEngine(t, e)
	return f, e
}

func (f *fake) set(index int, m state.MAC) {
	f.change(func(n *state.Network) { n.LinkByIndex(index).MAC = m })
	f.event(index)
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
}

func (f *fake) mac(index int) state.MAC {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.net.LinkByIndex(index).MAC
}

// A MAC that another program sets is put back at once a few times. Then traffic
// leaves the slave, if it can, and the tries become few; they never end.
func TestMACFight(t *testing.T) {
	for _, mode := range []string{"active-backup", "balance-rr"} {
		t.Run(mode, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cfg := testConfig()
				cfg.Bonds[0].Options["mode"] = mode
				f, e := macFake(t, cfg, false)
				for range 3 {
					f.set(eth0, wrong)
					if got := f.mac(eth0); got != right {
						t.Fatalf("eth0 has %s", got)
					}
				}
				if _, requests := f.counts(); requests != 0 {
					t.Errorf("%d requests for what was mended at once", requests)
				}
				before, _ := f.counts()
				for range 500 {
					time.Sleep(10 * time.Millisecond)
					f.set(eth0, wrong)
				}
				after, _ := f.counts()
				s := e.Snapshot()
				switch mode {
				case "active-backup":
					if s.Bonds[0].ActiveSlave != "eth1" || after-before > 10 {
						t.Errorf("after ten seconds traffic is on %s, and %d writes were made", s.Bonds[0].ActiveSlave, after-before)
					}
				default: // it carries traffic, and nothing can take it off
					if n := after - before; n < 40 || n > 120 {
						t.Errorf("%d writes in ten seconds, want some in each", n)
					}
				}
				if d := s.Config.Drift; len(d) == 0 || !strings.Contains(d[0], "eth0 has MAC "+wrong.String()) || !s.Bonds[0].Up() || !s.Bonds[0].Degraded() {
					t.Errorf("drift is %v, the bond %+v", d, s.Bonds[0])
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := f.mac(eth0); got != right || len(e.Snapshot().Config.Drift) != 0 {
					t.Errorf("a minute after it ended eth0 has %s, drift is %v", got, e.Snapshot().Config.Drift)
				}
			})
		})
	}
}

// A card that takes a MAC only while it is down gives the traffic up first.
func TestRigidCard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, e := macFake(t, testConfig(), true)
		f.set(eth0, wrong)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		var words []string
		for _, op := range f.written() {
			words = append(words, op.String())
		}
		want := "set MAC of eth0 to 02:00:00:00:00:01, take eth0 down, set MAC of eth0 to 02:00:00:00:00:01, take eth0 up"
		if got := strings.Join(words, ", "); got != want {
			t.Errorf("written: %s\nwant %s", got, want)
		}
		b := e.Snapshot().Bonds[0]
		if b.ActiveSlave != "eth1" || !b.Up() || f.mac(eth0) != right || len(e.Snapshot().Config.Drift) != 0 {
			t.Errorf("snapshot says %+v, drift %v", b, e.Snapshot().Config.Drift)
		}
		if h := e.Snapshot().History; len(h) != 1 || h[0].Reason != state.ReasonPath || !strings.Contains(h[0].Cause, "eth0 has MAC "+wrong.String()) {
			t.Errorf("the flight recorder says %+v", h)
		}
	})
}

// The MTU of the active slave is put back once another carries the traffic.
func TestMTUOfActive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, e := macFake(t, testConfig(), false)
		f.change(func(n *state.Network) { n.LinkByIndex(eth0).MTU = 1400 })
		f.event(eth0)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := e.Snapshot(); s.Bonds[0].ActiveSlave != "eth1" || len(s.Config.Drift) != 0 || s.Bonds[0].Failovers[state.ReasonPath] != 1 {
			t.Errorf("snapshot says %+v, drift %v", s.Bonds[0], s.Config.Drift)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.net.LinkByIndex(eth0).MTU != 1500 {
			t.Errorf("written: %v", f.ops)
		}
	})
}
