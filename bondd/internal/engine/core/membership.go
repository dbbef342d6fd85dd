package core

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
	again   bool      // another one is wanted after that
	changed bool      // interfaces came, went or were renamed since that was asked for
	stale   int       // inventories in a row that were passed over for it
	err     string    // why the last one failed; empty if it did not
	partial bool      // the last one does not know every NIC's driver
	fails   int       // in a row, partial ones included
	retryAt time.Time // when a failed or partial one is tried again
	began   time.Time // when the last one that succeeded began
	last    time.Time // when it came
	linkAt  time.Time // when one is due for a link that returned; zero: none is
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
	// A link that returns may have another speed. Links that come and go all the
	// time have the cards read no more often than this.
	inventoryLinkEvery = time.Second
)

// Start begins: everything has to be looked at for the first time.
type Start struct{}

// apply implements Input.
func (Start) apply(c *Core) {
	c.probeHardware()
	c.resolvers()
	c.read(0)
}

// probeHardware asks for an inventory. One that is under way may have looked
// already at what has changed: then there is another one after it.
func (c *Core) probeHardware() {
	h := &c.hardware
	if h.wanted {
		h.again = true
		return
	}
	h.wanted, h.linkAt = true, time.Time{}
	c.out.Inventory = true
}

// linkReturned asks for the speed and duplex of a link that has returned.
func (c *Core) linkReturned() {
	h := &c.hardware
	if !h.wanted && c.now.Sub(h.last) >= inventoryLinkEvery {
		c.probeHardware()
	} else if h.linkAt.IsZero() {
		h.linkAt = c.now.Add(inventoryLinkEvery)
	}
}

// interfacesChanged notes that a read has other interfaces than the one before.
// What is known of a NIC goes with it when it gets another name.
func (c *Core) interfacesChanged(before *network) {
	h := &c.hardware
	h.judged, h.changed = false, true
	for i := range c.net.Links {
		l := &c.net.Links[i]
		if old := before.LinkByIndex(l.Index); old != nil && old.Name != l.Name {
			if at, ok := h.at[old.Name]; ok && c.net.Link(old.Name) == nil {
				h.nics[at].Name = l.Name
				h.index()
			}
		}
	}
	c.probeHardware()
}

// index notes where each NIC is.
func (h *hardware) index() {
	h.at = make(map[string]int, len(h.nics))
	for i := range h.nics {
		h.at[h.nics[i].Name] = i
	}
}

// repeatInventory asks for an inventory when it is time for one.
func (c *Core) repeatInventory() {
	h := &c.hardware
	switch {
	case (h.err != "" || h.partial) && !c.now.Before(h.retryAt),
		h.err == "" && h.known && c.now.Sub(h.last) >= inventoryEvery,
		!h.linkAt.IsZero() && !c.now.Before(h.linkAt):
		c.probeHardware()
	}
}

// maxStale bounds how many inventories are passed over because interfaces
// changed while they were made: where they always do, an old one is better than none.
const maxStale = 3

// apply implements Input.
func (i Inventory) apply(c *Core) {
	h := &c.hardware
	again, changed := h.again, h.changed
	h.wanted, h.again, h.changed = false, false, false
	defer func() {
		if again {
			c.probeHardware()
		}
	}()
	if i.Err != nil {
		// What could not be read is not an empty machine: the last one stands.
		if h.err != i.Err.Error() {
			c.log(slog.LevelError, "hardware: the network cards could not be read", slog.Any("err", i.Err))
		}
		h.err = i.Err.Error()
		h.retry(c.now)
		c.out.Publish = true
		return
	}
	if again && changed && h.known && h.stale < maxStale {
		h.stale++ // what is known already was changed with the interfaces
		return
	}
	if h.err != "" {
		c.log(slog.LevelInfo, "hardware: the network cards can be read again")
	}
	h.err, h.known, h.judged, h.stale, h.began, h.last = "", true, false, 0, i.Began, c.now
	before := h.nics
	h.nics = slices.Clone(i.NICs)
	h.partial = slices.ContainsFunc(h.nics, func(n hwprobe.NIC) bool { return n.Driver == "" })
	if h.partial {
		h.retry(c.now)
		fill(h.nics, before)
	} else {
		h.fails = 0
	}
	h.index()
	c.read(0)
}

// retry sets when the inventory is tried again.
func (h *hardware) retry(now time.Time) {
	h.retryAt = now.Add(min(inventoryRetryFirst<<min(h.fails, 10), inventoryRetryMost))
	h.fails++
}

// fill takes for a NIC whose details could not be read those of the inventory
// before, if it is the same one.
func fill(nics, before []hwprobe.NIC) {
	for i := range nics {
		n := &nics[i]
		at := slices.IndexFunc(
			before,
			func(o hwprobe.NIC) bool { return o.Name == n.Name && o.PermanentMAC == n.PermanentMAC },
		)
		if n.Driver != "" || at < 0 {
			continue
		}
		old := before[at]
		old.SpeedMbps, old.Duplex, old.LinkUp = n.SpeedMbps, n.Duplex, n.LinkUp
		*n = old
	}
}

// report is the verdict on the hardware, with what could not be read.
func (c *Core) hardwareReport() hwprobe.Report {
	h := &c.hardware
	r := h.report
	if h.err == "" {
		return r
	}
	f := hwprobe.Finding{Check: state.CheckInventory, Severity: hwprobe.SeverityWarn,
		Message: "the network cards could not be read: " + h.err + "; it is tried again"}
	switch {
	case !h.known:
		r.Verdict = state.VerdictUnknown
		f.Message += ", and until it succeeds no bond is changed"
	case r.Verdict == hwprobe.VerdictPass:
		r.Verdict = hwprobe.VerdictWarn
	}
	r.Findings = append([]hwprobe.Finding{f}, r.Findings...)
	return r
}

// unread reports whether a bond has a slave that came, or got its name, after the
// last inventory was made: nobody knows yet whether it belongs there.
func (c *Core) unread(b *bond) bool {
	for i := range c.net.Links {
		l := &c.net.Links[i]
		if b.index != 0 && l.Master == b.index && c.nic(l.Name) == nil &&
			c.links[l.Index].named.After(c.hardware.began) {
			return true
		}
	}
	return false
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
	report = c.lenient(b, policy, own, report)
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

// lenient keeps in a bond what is in it already where the policy leaves a NIC out
// that it may only seem to differ from: the driver of one could not be read.
func (c *Core) lenient(b *bond, policy hwprobe.Policy, refs []string, strict hwprobe.Report) hwprobe.Report {
	unknown := slices.ContainsFunc(refs, func(ref string) bool {
		name, ok := hwprobe.Resolve(c.hardware.nics, ref)
		return ok && c.nic(name).Driver == ""
	})
	if !unknown || len(strict.LeftOut) == 0 {
		return strict
	}
	policy.Mode = hwprobe.Warn
	report := hwprobe.Judge(c.hardware.nics, policy, refs)
	report.LeftOut = strict.LeftOut
	report.Members = slices.DeleteFunc(report.Members, func(name string) bool {
		l := c.net.Link(name)
		return !slices.Contains(strict.Members, name) && (l == nil || b.index == 0 || l.Master != b.index)
	})
	return report
}

// assume takes what is in a bond for its slaves while the hardware is not known:
// a bond that an earlier run has made is watched from the first moment.
func (c *Core) assume(b *bond) {
	bond := c.net.Link(b.cfg.Name)
	b.slaves, b.usable, b.primary = nil, nil, ""
	for _, ref := range b.cfg.Slaves {
		m := member{ref: ref, name: ref}
		if strings.Contains(ref, ":") {
			// Which card has this MAC address or place on the bus is for hwprobe to say.
			if m.name = c.withMAC(ref); m.name == "" {
				continue
			}
		}
		m.present = c.net.Link(m.name) != nil
		if m.present && ref == b.cfg.Options["primary"] {
			b.primary = m.name
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

// withMAC is the name of the link with the permanent address that a reference
// names, as far as rtnetlink knows it, or empty.
func (c *Core) withMAC(ref string) string {
	text, _ := strings.CutPrefix(ref, "mac:")
	mac, err := state.ParseMAC(text)
	for i := range c.net.Links {
		if l := &c.net.Links[i]; err == nil && l.PermanentMAC == mac && !mac.IsZero() {
			return l.Name
		}
	}
	return ""
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
			return fmt.Sprintf(
				"%s is in use, with address %s: to have it bonded, name it under slaves in the configuration",
				name,
				a.Prefix,
			)
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

// differ reports whether a link came, went or was renamed.
func differ(old, new *state.Network) bool {
	return !slices.EqualFunc(old.Links, new.Links, func(a, b state.Link) bool {
		return a.Index == b.Index && a.Name == b.Name
	})
}
