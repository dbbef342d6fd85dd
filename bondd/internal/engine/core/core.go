package core

import (
	"log/slog"
	"slices"
	"time"

	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/config/bonding"
)

// Source says where the running configuration comes from.
type Source struct {
	Name  string // a file's path, or what else it is
	Error string // why another one that should run does not; empty if it does

	Warnings []string // what is in it and hardly means what was wanted
}

// Options are what a Core starts from beside its configuration.
type Options struct {
	Version string
	Source  Source
	History []*state.Failover // of earlier runs, newest first
	Memory  *Memory           // of an earlier run; nil: none
	Boot    string            // tells one start of the machine from another; empty: not known
	Tune    bool              // cards can be asked to report a lost link at once
}

// A Core is the state of the daemon. It is for one goroutine.
type Core struct {
	cfg     *config.Config
	opts    Options
	toml    string
	started time.Time
	now     time.Time // of the step
	out     Output

	bonds    []*bond
	net      *network
	hardware hardware
	links    map[int]*link // by interface index
	tunings  map[int]string
	polled   []PollLink // the links that were to be polled last
	reading  reading
	ledger   ledger
	totals   state.Totals
}

// reading is what is known of the reads of the kernel's state.
type reading struct {
	last     time.Time // when the read of net began
	at       time.Time // when the next one is wanted; zero: none is
	rounds   int       // reads since the last tick that followed writes of our own
	consumed uint64    // link events seen
	err      string    // why the last read failed; empty if it did not
	applied  bool      // the configuration was found in the kernel at least once
	early    []early   // received before anything was read
}

// mostEarly bounds how many early failovers are kept: the first read may fail for long.
const mostEarly = 64

// An early failover was reported before the first read, which may not show it: by
// then the driver may have moved once more.
type early struct {
	bond, active int // interface indexes
	at           time.Time
}

// A bond is what is known of one bond between steps.
type bond struct {
	cfg   config.Bond
	rank  int // among the bonds: the first one's routes come first
	index int // interface index; 0: it is not there
	was   int // index under which it was seen last

	// active is the index of the active slave, by the kernel or by what was
	// written since.
	active int
	// decidedOn is what the last decision was made on: the same one is not
	// carried out twice before the kernel's view was read again.
	decidedOn failover.Bond

	lease *reconcile.Lease
	dhcp  string // what the DHCP client is doing, in words

	paths    map[int][]state.Path // the last report, by interface index
	reported time.Time            // when it came
	probes   []ProbeSlave         // who was told to probe
	sender   Sender               // and from where

	pollErrors map[string]uint64 // polls without a reply, by the NIC's name

	membership
	restrictions
	convergence
	account
}

// New returns the core for this configuration.
func New(cfg *config.Config, opts Options, now time.Time) *Core {
	c := &Core{
		cfg: cfg, opts: opts, toml: string(cfg.TOML()), started: now, now: now,
		net:     newNetwork(&state.Network{}),
		links:   make(map[int]*link),
		tunings: make(map[int]string),
		ledger:  ledger{history: opts.History},
	}
	c.totals.PollDuration = state.NewHistogram(pollBuckets...)
	for i, cfg := range cfg.Bonds {
		b := &bond{
			cfg:          cfg,
			rank:         i,
			restrictions: newRestrictions(&cfg),
			account:      newAccount(),
			pollErrors:   make(map[string]uint64),
		}
		for _, ref := range cfg.Slaves {
			b.slaves = append(b.slaves, member{ref: ref, name: ref})
		}
		b.convergence = newConvergence()
		c.bonds = append(c.bonds, b)
	}
	c.recall(opts.Memory)
	return c
}

// Step takes one input. The Output is valid until the next step.
func (c *Core) Step(in Input, now time.Time) *Output {
	c.now = now
	c.out = Output{Requests: c.out.Requests[:0], Answers: c.out.Answers[:0], Plans: c.out.Plans[:0],
		Renewals: c.out.Renewals[:0], Probes: c.out.Probes[:0], Tune: c.out.Tune[:0], Log: c.out.Log[:0]}
	in.apply(c)
	for _, b := range c.bonds {
		c.answer(b)
	}
	c.out.ReadAt = c.reading.at
	return &c.out
}

// sampleEvery is how often everything is read although nothing happened:
// counters grow, and what an event did not tell is found.
const sampleEvery = time.Second

// TickEvery is how often a Tick is due.
const TickEvery = sampleEvery

// settle is how long after a change the full read waits, so that one read
// serves a burst of events.
const settle = 5 * time.Millisecond

// read asks for a read of the kernel after that time.
func (c *Core) read(after time.Duration) {
	if at := c.now.Add(after); c.reading.at.IsZero() || at.Before(c.reading.at) {
		c.reading.at = at
	}
}

func (c *Core) log(level slog.Level, message string, attrs ...slog.Attr) {
	c.out.Log = append(c.out.Log, LogLine{level, message, attrs})
}

// apply implements Input: what had no effect is tried again, and everything is read.
func (Tick) apply(c *Core) {
	for _, b := range c.bonds {
		b.forget(c.now)
	}
	c.repeatInventory()
	c.reading.rounds = 0
	c.read(0)
}

// apply implements Input.
func (w Wake) apply(c *Core) {
	if w.Lost {
		c.lostEvents()
	}
	c.read(0)
}

// apply implements Input.
func (l Lease) apply(c *Core) {
	b := c.bond(l.Bond)
	if b == nil {
		return
	}
	b.dhcp, b.lease = l.Status, l.Lease
	// An address that is there, be it from an earlier run of bondd, lives on.
	if l.Lease != nil && slices.ContainsFunc(c.net.Addresses, func(a state.Address) bool {
		return a.Index == b.index && a.Prefix == l.Lease.Prefix && !a.Permanent &&
			(a.Protocol == 0 || a.Protocol == state.ProtocolLease)
	}) {
		c.out.Renewals = append(c.out.Renewals, reconcile.Renew(l.Bond, l.Lease, c.now))
	}
	c.resolvers()
	c.read(0)
}

// apply implements Input.
func (t Tuned) apply(c *Core) {
	if c.links[t.Index] != nil {
		c.tunings[t.Index] = t.State
	}
	c.out.Publish = true
}

// resolvers hands the DNS servers on: those of the configuration first.
func (c *Core) resolvers() {
	c.out.Resolvers = nil
	for _, b := range c.bonds {
		c.out.Resolvers = append(c.out.Resolvers, b.cfg.DNS...)
	}
	for _, b := range c.bonds {
		if b.lease != nil {
			c.out.Resolvers = append(c.out.Resolvers, b.lease.DNS...)
		}
	}
}

// bond is the bond of that name, or nil.
func (c *Core) bond(name string) *bond {
	for _, b := range c.bonds {
		if b.cfg.Name == name {
			return b
		}
	}
	return nil
}

func (c *Core) bondByIndex(index int) *bond {
	for _, b := range c.bonds {
		if b.index == index && index != 0 {
			return b
		}
	}
	return nil
}

// bondOf is the bond that a link is enslaved to, or nil.
func (c *Core) bondOf(index int) *bond {
	l := c.net.LinkByIndex(index)
	if l == nil || l.Master == 0 {
		return nil
	}
	return c.bondByIndex(l.Master)
}

// nameOf is the name of a link by its index, or empty.
func (c *Core) nameOf(index int) string {
	if l := c.net.LinkByIndex(index); index != 0 && l != nil {
		return l.Name
	}
	return ""
}

func (b *bond) activeBackup() bool { return b.cfg.Mode() == bonding.ActiveBackup }
