package core

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// hardware is what hwprobe has found.
type hardware struct {
	nics   []hwprobe.NIC
	at     map[string]int // index in nics by name
	report hwprobe.Report
	judged bool // nothing has changed that the verdict depends on

	// known is set once an inventory has succeeded. Until then nobody knows which
	// NIC may be a slave: what is in a bond stays there, and nothing is planned.
	known   bool
	wanted  bool      // one was asked for, and did not come yet
	err     string    // why the last one failed; empty if it did not
	fails   int       // in a row
	retryAt time.Time // when a failed one is tried again
	last    time.Time // when the last one succeeded
}

// membership is which NICs are the slaves of a bond.
type membership struct {
	slaves  []member // as configured, in order of preference
	usable  []string // names of the NICs that are there and may be enslaved
	primary string   // name of the primary's NIC; empty: none, or not there
	chosen  []string // with automatic slaves: every NIC that was ever taken
}

// A member is one configured slave.
type member struct {
	ref     string // as configured
	name    string // of the NIC that answers to it, or the reference itself
	present bool
	leftOut string // why it is not enslaved although it is there
}

// Inventories are repeated after a failure, later and later, and once a minute:
// speed and duplex change without an event.
const (
	inventoryRetryFirst = time.Second
	inventoryRetryMost  = 30 * time.Second
	inventoryEvery      = time.Minute
)

// Start begins: everything has to be looked at for the first time.
type Start struct{}

// apply implements Input.
func (Start) apply(c *Core) {
	c.probeHardware()
	c.resolvers()
	c.read(0)
}

// probeHardware asks for an inventory.
func (c *Core) probeHardware() {
	if !c.hardware.wanted {
		c.hardware.wanted = true
		c.out.Inventory = true
	}
}

// repeatInventory asks for an inventory when it is time for one.
func (c *Core) repeatInventory() {
	h := &c.hardware
	switch {
	case h.err != "" && !c.now.Before(h.retryAt), h.err == "" && h.known && c.now.Sub(h.last) >= inventoryEvery:
		c.probeHardware()
	}
}

// apply implements Input.
func (i Inventory) apply(c *Core) {
	h := &c.hardware
	h.wanted = false
	if i.Err != nil {
		// What could not be read is not an empty machine: the last one stands.
		if h.err != i.Err.Error() {
			c.log(slog.LevelError, "hardware: the network cards could not be read", slog.Any("err", i.Err))
		}
		h.err = i.Err.Error()
		h.retryAt = c.now.Add(min(inventoryRetryFirst<<min(h.fails, 10), inventoryRetryMost))
		h.fails++
		c.out.Publish = true
		return
	}
	if h.err != "" {
		c.log(slog.LevelInfo, "hardware: the network cards can be read again")
	}
	h.err, h.fails, h.known, h.judged, h.last = "", 0, true, false, c.now
	h.nics, h.at = i.NICs, make(map[string]int, len(i.NICs))
	for n := range i.NICs {
		h.at[i.NICs[n].Name] = n
	}
	c.read(0)
}

// nic is the NIC of that name, or nil.
func (c *Core) nic(name string) *hwprobe.NIC {
	if i, ok := c.hardware.at[name]; ok {
		return &c.hardware.nics[i]
	}
	return nil
}

// judge matches the configuration with the hardware.
func (c *Core) judge() {
	h := &c.hardware
	if !h.known {
		for _, b := range c.bonds {
			c.assume(b)
		}
		return
	}
	policy := hwprobe.Policy{Mode: hwprobe.Mode(c.cfg.Hardware.Policy), Match: hwprobe.Match(c.cfg.Hardware.Match)}
	// What another bond names is not for the automatic choice.
	named := make(map[string]bool)
	h.judged = true
	for _, b := range c.bonds {
		for _, ref := range b.cfg.Slaves {
			if name, ok := hwprobe.Resolve(h.nics, ref); ok {
				named[name] = true
			}
		}
		h.judged = h.judged && !b.cfg.Auto // that choice depends on addresses too
	}
	free := slices.DeleteFunc(slices.Clone(h.nics), func(n hwprobe.NIC) bool { return named[n.Name] })
	var reports []hwprobe.Report
	owner := make(map[string]string) // bond by NIC: one NIC may be named in two ways
	for _, b := range c.bonds {
		reports = append(reports, c.match(b, policy, free, owner))
	}
	h.report = hwprobe.Merge(reports...)
}

// match finds the slaves of one bond. NICs that a bond before it has taken are in owner.
func (c *Core) match(b *bond, policy hwprobe.Policy, free []hwprobe.NIC, owner map[string]string) hwprobe.Report {
	h := &c.hardware
	refs := b.cfg.Slaves
	if b.cfg.Auto {
		// A NIC that was chosen once stays configured: that it is gone is news.
		for _, name := range hwprobe.Judge(c.idle(free), policy, nil).Members {
			if !slices.Contains(b.chosen, name) {
				b.chosen = append(b.chosen, name)
			}
		}
		refs = b.chosen
	}
	var own []string // the references that no other bond has taken
	for _, ref := range refs {
		if name, ok := hwprobe.Resolve(h.nics, ref); !ok || owner[name] == "" {
			own = append(own, ref)
		}
	}
	report := hwprobe.Judge(h.nics, policy, own)
	if len(own) == 0 {
		report = hwprobe.Judge(nil, policy, refs)
	}
	b.slaves, b.usable, b.primary = nil, nil, ""
	for _, ref := range refs {
		m := member{ref: ref, name: ref}
		if name, ok := hwprobe.Resolve(h.nics, ref); ok {
			m.name = name
			m.present = c.net.Link(name) != nil
		}
		if other := owner[m.name]; other != "" && other != b.cfg.Name {
			m.leftOut = fmt.Sprintf("%s belongs to %s, which names it too", m.name, other)
		} else if m.present && slices.Contains(report.Members, m.name) {
			owner[m.name] = b.cfg.Name
			b.usable = append(b.usable, m.name)
			if ref == b.cfg.Options["primary"] {
				b.primary = m.name
			}
		} else if m.present {
			m.leftOut = report.LeftOut[m.name]
		}
		b.slaves = append(b.slaves, m)
	}
	if b.cfg.Auto {
		for _, n := range free {
			if why := c.inUse(n.Name); why != "" && !n.Virtual() && !slices.Contains(b.chosen, n.Name) {
				b.slaves = append(b.slaves, member{ref: n.Name, name: n.Name, present: true, leftOut: why})
			}
		}
	}
	return report
}

// assume takes what is in a bond for its slaves while the hardware is not known:
// a bond that an earlier run has made is watched from the first moment.
func (c *Core) assume(b *bond) {
	bond := c.net.Link(b.cfg.Name)
	b.slaves, b.usable, b.primary = nil, nil, ""
	for _, ref := range b.cfg.Slaves {
		m := member{ref: ref, name: ref, present: c.net.Link(ref) != nil}
		if m.present && ref == b.cfg.Options["primary"] {
			b.primary = ref
		}
		b.slaves = append(b.slaves, m)
	}
	if bond == nil {
		return
	}
	for i := range c.net.Links {
		l := &c.net.Links[i]
		if l.Master == bond.Index && !slices.ContainsFunc(b.slaves, func(m member) bool { return m.name == l.Name }) {
			b.slaves = append(b.slaves, member{ref: l.Name, name: l.Name, present: true})
		}
	}
}

// idle are the NICs that an automatic choice may take: without slaves in the
// configuration no NIC that something else gave an address to is taken from it.
// A NIC in a bond has none.
func (c *Core) idle(nics []hwprobe.NIC) []hwprobe.NIC {
	return slices.DeleteFunc(slices.Clone(nics), func(n hwprobe.NIC) bool { return c.inUse(n.Name) != "" })
}

// inUse says why an automatic choice leaves a NIC alone; empty if it does not.
func (c *Core) inUse(name string) string {
	l := c.net.Link(name)
	if l == nil {
		return ""
	}
	for _, a := range c.net.Addresses {
		if a.Index == l.Index && !a.LinkLocal {
			return fmt.Sprintf("%s is in use, with address %s: to have it bonded, name it under slaves in the configuration",
				name, a.Prefix)
		}
	}
	return ""
}

// wanted reports whether a link is one that some bond asks for.
func (c *Core) wanted(index int) bool {
	name := c.nameOf(index)
	for _, b := range c.bonds {
		if slices.ContainsFunc(b.slaves, func(m member) bool { return m.name == name }) {
			return true
		}
	}
	return false
}

// interfacesChanged reports whether a link came, went or was renamed.
func interfacesChanged(old, new *state.Network) bool {
	return !slices.EqualFunc(old.Links, new.Links, func(a, b state.Link) bool {
		return a.Index == b.Index && a.Name == b.Name
	})
}
