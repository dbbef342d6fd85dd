package core

import (
	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/state"
)

// A Memory is what a restart must not forget and the kernel does not keep.
type Memory struct {
	Boot  string                `json:"boot,omitempty"` // the start of the machine that Owned is of
	Bonds map[string]BondMemory `json:"bonds"`
}

// A BondMemory is the Memory of one bond.
type BondMemory struct {
	Active    string                      `json:"active,omitempty"`    // the active slave in the ledger
	Parked    []string                    `json:"parked,omitempty"`    // NICs that are kept out of the bond
	Ordered   string                      `json:"ordered,omitempty"`   // the slave that an operator has chosen
	Penalties map[string]failover.Penalty `json:"penalties,omitempty"` // of flap damping, by the slave's name
	// addresses and routes that are bondd's, see state.Owned
	Owned state.Owned `json:"owned,omitzero"`
}

// Memory returns what to keep for the next run. It has changed when
// Output.Remember says so.
func (c *Core) Memory() *Memory {
	m := &Memory{Boot: c.opts.Boot, Bonds: make(map[string]BondMemory)}
	for _, b := range c.bonds {
		kept := BondMemory{Active: b.told, Ordered: b.recalled.Ordered, Parked: b.parked}
		if !b.inherited {
			kept = b.recalled
		}
		kept.Owned = b.owned
		if b.ordered != 0 {
			kept.Ordered = c.nameOf(b.ordered)
		}
		for name, w := range b.watches {
			if p, ok := w.Keep(c.now); ok {
				if kept.Penalties == nil {
					kept.Penalties = make(map[string]failover.Penalty)
				}
				kept.Penalties[name] = p
			}
		}
		m.Bonds[b.cfg.Name] = kept
	}
	return m
}

// recall takes what an earlier run has kept. It is of use if the bond is still
// there, see inherit.
func (c *Core) recall(m *Memory) {
	if m == nil {
		return
	}
	for _, b := range c.bonds {
		kept := m.Bonds[b.cfg.Name]
		b.recalled = kept
		if c.opts.Boot != "" && m.Boot == c.opts.Boot {
			b.owned = kept.Owned // interface indexes start anew with the machine
		}
		if b.cfg.Damping == nil {
			continue
		}
		for name, p := range kept.Penalties {
			b.watch(name).Restore(p)
		}
	}
}
