package engine

import (
	"testing"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
)

// A standby that has a link and that the driver keeps down would not take the
// traffic: the bond is degraded, and says so.
func TestDownInTheDriver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		e := run(t, f, testConfig())
		status := func() report.Bond { return report.From(e.Snapshot()).Bonds[0] }
		if b := status(); b.Health() != report.Healthy {
			t.Fatalf("before: %s", b.Sentence())
		}
		f.change(func(n *state.Network) { n.LinkByIndex(eth1).Slave.MIIStatus = state.MIIDown })
		time.Sleep(2 * time.Second)
		b := status()
		if want := "bond0 is degraded: eth1 has a link, but the bonding driver keeps it down"; b.Sentence() != want {
			t.Errorf("%q, want %q", b.Sentence(), want)
		}
		if s := b.Slaves[1]; !s.LinkUp || s.Usable || s.MIIStatus != "down" || s.Condition != "driver-down" {
			t.Errorf("eth1 is %+v", s)
		}
		f.change(func(n *state.Network) { n.LinkByIndex(eth1).Slave.MIIStatus = state.MIIUp })
		time.Sleep(2 * time.Second)
		if b := status(); b.Health() != report.Healthy {
			t.Errorf("after: %s", b.Sentence())
		}
	})
}

// A slave that is not enslaved has no state in the driver.
func TestStateOfASlaveThatIsNotEnslaved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		cfg := testConfig()
		cfg.Bonds[0].Slaves = append(cfg.Bonds[0].Slaves, "eth2")
		e := run(t, f, cfg)
		slaves := report.From(e.Snapshot()).Bonds[0].Slaves
		for i, want := range []string{"active", "backup"} {
			if got := slaves[i].State; got == nil || *got != want {
				t.Errorf("%s is %v, want %s", slaves[i].Name, got, want)
			}
		}
		if slaves[2].State != nil || slaves[2].Word != "missing" {
			t.Errorf("eth2 is %+v", slaves[2])
		}
	})
}
