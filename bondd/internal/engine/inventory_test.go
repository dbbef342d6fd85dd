package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/hwprobe"
)

// A fakeInventory finds the fake's cards, or what the test says.
type fakeInventory struct {
	mu    sync.Mutex
	nics  []hwprobe.NIC
	err   error
	hang  chan struct{} // it does not return before this is closed
	asked []time.Time
}

func newInventory() *fakeInventory {
	i := new(fakeInventory)
	for n, name := range []string{"eth0", "eth1"} {
		i.nics = append(i.nics, hwprobe.NIC{Name: name, Driver: "igb", Bus: "pci", PCIID: "8086:1521",
			Address: fmt.Sprintf("0000:0%d:00.0", n+1), PermanentMAC: fmt.Sprintf("02:00:00:00:00:0%d", n)})
	}
	return i
}

func (i *fakeInventory) read(ctx context.Context) ([]hwprobe.NIC, error) {
	i.mu.Lock()
	i.asked = append(i.asked, time.Now())
	nics, err, hang := slices.Clone(i.nics), i.err, i.hang
	i.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return nics, err
}

// change changes what is found from now on.
func (i *fakeInventory) change(how func(i *fakeInventory)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	how(i)
}

func (i *fakeInventory) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked)
}

// runWith starts an engine on the fake and this inventory, with its log.
func runWith(t *testing.T, f *fake, i *fakeInventory, cfg *config.Config) (*Engine, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	d := deps(f)
	d.Inventory, d.Log = i.read, slog.New(slog.NewTextHandler(log, nil))
	e := New(cfg, Source{Name: "a test"}, d)
	runEngine(t, e)
	return e, log
}

var errHardware = errors.New("list network interfaces: i/o timeout")

// finding is the finding of a check, or nil.
func finding(s *state.Snapshot, check string) *hwprobe.Finding {
	for i := range s.Hardware.Findings {
		if f := &s.Hardware.Findings[i]; f.Check == check {
			return f
		}
	}
	return nil
}

// As long as nobody knows the cards, nothing is written to a bond, however its
// slaves are named; but it is watched, and a failover is made. The inventory is
// repeated, later and later, until it succeeds.
func TestInventoryRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mode   string
		slaves []string // nil: automatic
	}{
		{"names", "active-backup", []string{"eth0", "eth1"}},
		{"names, shared", "balance-rr", []string{"eth0", "eth1"}},
		{"MACs", "active-backup", []string{"mac:02:00:00:00:00:00", "mac:02:00:00:00:00:01"}},
		{"places", "active-backup", []string{"pci:0000:01:00.0", "pci:0000:02:00.0"}},
		{"automatic", "active-backup", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f, i, cfg := newFake(), newInventory(), testConfig()
				cfg.Bonds[0].Slaves, cfg.Bonds[0].Auto = tt.slaves, tt.slaves == nil
				cfg.Bonds[0].Options["mode"], f.net.LinkByIndex(bond0).Bond.Options["mode"] = tt.mode, tt.mode
				f.net.LinkByIndex(bond0).Bond.Options["num_grat_arp"] = "9" // is not as configured
				for n := range 2 {
					f.net.LinkByIndex(n + 1).PermanentMAC = state.MAC{2, 0, 0, 0, 0, byte(n)}
				}
				i.err = errHardware
				e, log := runWith(t, f, i, cfg)
				time.Sleep(20 * time.Second)
				s := e.Snapshot()
				if ops, _ := f.counts(); ops != 0 {
					t.Errorf("written: %v, although no card is known", f.written())
				}
				if b := s.Bonds[0]; !b.Up() || b.Degraded() || len(b.Slaves) != 2 || b.Slaves[0].Name != "eth0" || b.Slaves[1].Name != "eth1" {
					t.Errorf("the bond is %+v", b)
				}
				if s.Hardware.Verdict != state.VerdictUnknown || s.Config.Applied || report.FirstError(s) != "" {
					t.Errorf("verdict %q, applied %t, first error %q", s.Hardware.Verdict, s.Config.Applied, report.FirstError(s))
				}
				if got := finding(s, state.CheckInventory); got == nil || got.Severity != hwprobe.SeverityWarn ||
					!strings.Contains(got.Message, "i/o timeout") || !strings.Contains(got.Message, "no bond is changed") {
					t.Errorf("the finding is %+v", got)
				}
				if n := strings.Count(log.String(), "could not be read"); n != 2 { // as an error and as an event
					t.Errorf("the log says it %d times, want once each:\n%s", n, log)
				}
				// At 0, 1, 3, 7 and 15 s, each up to a tick late.
				if n := i.count(); n != 5 {
					t.Errorf("%d inventories in 20 s: %v", n, i.asked)
				}
				if tt.mode == "active-backup" {
					f.lose(eth0)
					if b := e.Snapshot().Bonds[0]; b.ActiveSlave != "eth1" || b.Failovers[state.ReasonLink] != 1 {
						t.Errorf("with the link of eth0 lost: %+v", b)
					}
					f.change(func(n *state.Network) { n.LinkByIndex(eth0).Slave.MIIStatus = state.MIIDown })
				}
				i.change(func(i *fakeInventory) { i.err = nil })
				time.Sleep(31 * time.Second)
				s = e.Snapshot()
				if s.Hardware.Verdict != hwprobe.VerdictPass || finding(s, state.CheckInventory) != nil {
					t.Errorf("verdict %q, findings %+v", s.Hardware.Verdict, s.Hardware.Findings)
				}
				if !strings.Contains(log.String(), "can be read again") {
					t.Errorf("the log does not say that it is over:\n%s", log)
				}
				released := slices.ContainsFunc(f.written(), func(op state.Op) bool { _, ok := op.(state.Release); return ok })
				if want := (state.SetOption{Bond: "bond0", Option: "num_grat_arp", Value: "1"}); released || !slices.Contains(f.written(), state.Op(want)) {
					t.Errorf("written: %v, want %v and no release", f.written(), want)
				}
			})
		})
	}
}

// Without a bond yet there is none before the cards are known.
func TestInventoryRefusedAtFirstStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, i := newFake(), newInventory()
		f.net.Links = f.net.Links[:2]
		for n := range f.net.Links {
			f.net.Links[n].Master, f.net.Links[n].Slave = 0, nil
		}
		f.net.Addresses = nil
		i.err = errHardware
		cfg := testConfig()
		cfg.Bonds[0].Slaves, cfg.Bonds[0].Auto = nil, true
		e, _ := runWith(t, f, i, cfg)
		time.Sleep(10 * time.Second)
		if ops, _ := f.counts(); ops != 0 {
			t.Errorf("written: %v", f.written())
		}
		if got := report.FirstError(e.Snapshot()); got != "bond0: the network cards are not known yet" {
			t.Errorf("first error is %q", got)
		}
		i.change(func(i *fakeInventory) { i.err = nil })
		time.Sleep(16 * time.Second)
		if ops, _ := f.counts(); ops == 0 {
			t.Error("nothing is written although the cards are known")
		}
	})
}

// An inventory that fails later leaves what is known, and says so.
func TestInventoryRefusedLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, i := newFake(), newInventory()
		e, log := runWith(t, f, i, testConfig())
		i.change(func(i *fakeInventory) { i.err = errHardware })
		time.Sleep(90 * time.Second) // one a minute
		s := e.Snapshot()
		if ops, _ := f.counts(); ops != 0 || !s.Bonds[0].Up() || s.Bonds[0].Degraded() || len(s.Hardware.NICs) != 2 {
			t.Errorf("written: %v; %+v", f.written(), s)
		}
		if got := finding(s, state.CheckInventory); got == nil || s.Hardware.Verdict != hwprobe.VerdictWarn || strings.Contains(got.Message, "no bond is changed") {
			t.Errorf("verdict %q, finding %+v", s.Hardware.Verdict, got)
		}
		if n := i.count(); n < 4 || n > 7 {
			t.Errorf("%d inventories in 90 s", n)
		}
		// What is not the cards' is mended all the same.
		f.change(func(n *state.Network) { n.LinkByIndex(bond0).Bond.Options["num_grat_arp"] = "9" })
		f.event(bond0)
		time.Sleep(50 * time.Millisecond)
		if ops, _ := f.counts(); ops != 1 {
			t.Errorf("written: %v, want the option", f.written())
		}
		f.change(func(n *state.Network) { n.LinkByIndex(bond0).Bond.Options["num_grat_arp"] = "1" })
		i.change(func(i *fakeInventory) { i.err = nil })
		time.Sleep(35 * time.Second)
		if s := e.Snapshot(); s.Hardware.Verdict != hwprobe.VerdictPass || finding(s, state.CheckInventory) != nil {
			t.Errorf("after that: %+v", s.Hardware)
		}
		if n := strings.Count(log.String(), `level=ERROR msg="hardware: the network cards could not be read"`); n != 1 {
			t.Errorf("the log says it %d times:\n%s", n, log)
		}
	})
}

// A card of which the inventory could not read everything stays where it is, and
// so do those that do not match it for that.
func TestInventoryPartial(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first bool // it is partial from the start
		nic   int
	}{
		{"the first card, at start", true, 0},
		{"the second card, at start", true, 1},
		{"the first card, later", false, 0},
		{"the second card, later", false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f, i := newFake(), newInventory()
				partial := func(i *fakeInventory) {
					n := &i.nics[tt.nic]
					*n = hwprobe.NIC{Name: n.Name, Bus: "unknown", PermanentMAC: n.PermanentMAC}
				}
				if tt.first {
					partial(i)
				}
				e, _ := runWith(t, f, i, testConfig())
				i.change(partial)
				time.Sleep(90 * time.Second)
				if ops, _ := f.counts(); ops != 0 {
					t.Errorf("written: %v", f.written())
				}
				if b := e.Snapshot().Bonds[0]; !b.Up() || b.Degraded() {
					t.Errorf("the bond is %+v", b)
				}
				n := i.count()
				time.Sleep(time.Minute)
				if i.count() == n+1 || i.count() > n+4 {
					t.Errorf("%d inventories in a minute", i.count()-n)
				}
				i.change(func(i *fakeInventory) { i.nics = newInventory().nics })
				time.Sleep(31 * time.Second)
				if s := e.Snapshot(); s.Hardware.Verdict != hwprobe.VerdictPass || len(f.written()) != 0 {
					t.Errorf("verdict %q, written %v", s.Hardware.Verdict, f.written())
				}
			})
		})
	}
}

// A card that really does not match is left out as soon as that is known.
func TestInventoryMismatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, i := newFake(), newInventory()
		i.nics[1].Driver, i.nics[1].PCIID = "e1000e", "8086:10d3"
		runWith(t, f, i, testConfig())
		if want := (state.Release{Slave: "eth1", Bond: "bond0"}); !slices.Contains(f.written(), state.Op(want)) {
			t.Errorf("written: %v, want %v", f.written(), want)
		}
	})
}

// What changes while the cards are looked at is not taken for what was found.
func TestInventoryOutdated(t *testing.T) {
	for _, tt := range []struct {
		name  string
		known bool // an inventory has succeeded before
	}{{"at start", false}, {"later", true}} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f, i, cfg := newFake(), newInventory(), testConfig()
				cfg.Bonds[0].Slaves = []string{"mac:02:00:00:00:00:00", "mac:02:00:00:00:00:01"}
				for n := range 2 {
					f.net.LinkByIndex(n + 1).PermanentMAC = state.MAC{2, 0, 0, 0, 0, byte(n)}
				}
				hang := make(chan struct{})
				if !tt.known {
					i.hang = hang
				}
				e, _ := runWith(t, f, i, cfg)
				if tt.known {
					time.Sleep(2 * time.Second) // inventories for a link are at least a second apart
					i.change(func(i *fakeInventory) { i.hang = hang })
					f.change(func(n *state.Network) { n.LinkByIndex(eth0).Carrier = false })
					f.event(eth0)
					f.change(func(n *state.Network) { n.LinkByIndex(eth0).Carrier = true })
					f.event(eth0) // a link that returns has the cards looked at
					time.Sleep(50 * time.Millisecond)
					f.requests, f.ops = nil, nil
				}
				f.change(func(n *state.Network) { n.LinkByIndex(eth1).Name = "lan1" })
				f.event(eth1)
				time.Sleep(50 * time.Millisecond)
				if ops, _ := f.counts(); ops != 0 {
					t.Errorf("written after the card was renamed: %v", f.written())
				}
				i.change(func(i *fakeInventory) { i.hang, i.nics[1].Name = nil, "lan1" })
				close(hang) // what comes back has the old name
				time.Sleep(5 * time.Second)
				if ops, requests := f.counts(); ops != 0 || requests != 0 {
					t.Errorf("written after an inventory from before: %v, %d requests", f.written(), requests)
				}
				if b := e.Snapshot().Bonds[0]; !b.Up() || b.Degraded() || b.Slaves[1].Name != "lan1" {
					t.Errorf("the bond is %+v", b)
				}
			})
		})
	}
}

// An inventory that does not come back is given up, and no other is made beside it.
func TestInventoryHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, i := newFake(), newInventory()
		i.hang = make(chan struct{})
		e, _ := runWith(t, f, i, testConfig())
		time.Sleep(2 * time.Minute)
		s := e.Snapshot()
		if got := finding(s, state.CheckInventory); got == nil || !strings.Contains(got.Message, "timed out after 15s") {
			t.Errorf("the finding is %+v", got)
		}
		if ops, _ := f.counts(); ops != 0 || i.count() != 1 || !s.Bonds[0].Up() {
			t.Errorf("written: %v, %d inventories, %+v", f.written(), i.count(), s.Bonds[0])
		}
		close(i.hang)
		time.Sleep(31 * time.Second)
		if s := e.Snapshot(); s.Hardware.Verdict != hwprobe.VerdictPass || !s.Config.Applied {
			t.Errorf("when it came back: %+v", s.Hardware)
		}
	})
}
