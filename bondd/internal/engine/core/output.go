package core

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"bondd.internal/bondd/internal/state"
)

// An Output is what has to be done after a step, in the order of its fields. It
// is valid until the next step.
type Output struct {
	Requests []Request  // to the driver, at once; each is answered by an Acted
	Prepared *Prepared  // for the fast path; nil: as before
	Answers  []Answer   // to orders; after the snapshot is published
	Plans    []Plan     // to the kernel; each is answered by a PlanDone
	Renewals []state.Op // lifetimes of addresses that are there; without an answer
	Probes   []Probes   // who checks paths from now on
	Polled   *Polled    // who is asked by ethtool from now on; nil: as before

	Stamps    *StampRequest // what only the kernel knows of the newest failover
	Tune      []TuneRequest
	Inventory bool         // look at the hardware
	Resolvers []netip.Addr // the DNS servers, if they have changed
	Remember  bool         // Memory has changed
	ReadAt    time.Time    // when to read the kernel; zero: not before the next Tick
	Publish   bool         // Snapshot has changed
	Log       []LogLine
}

// A Request is one prepared write about the active slave.
type Request struct {
	Bond   int           // index
	To     int           // index of the new active slave; 0: have the driver inspect its slaves now
	Miimon time.Duration // of the bond, for an inspection

	reason state.Reason
	cause  string    // in a sentence, where it may be over when the driver reports; empty: see cause
	since  time.Time // when what led to it was seen
	found  state.Watch
	order  uint64 // the order that it carries out; 0: none
}

// Prepared is what the fast path does by itself when a slave loses its link.
type Prepared struct {
	// Consumed is how many events were known when it was decided. The fast path
	// acts only on decisions that know of every event before the one at hand.
	Consumed  uint64
	Reactions []Reaction
}

// A Reaction is the answer to the loss of one slave.
type Reaction struct {
	Slave int // index of the slave whose loss it answers
	Request
}

// An Answer ends an order.
type Answer struct {
	ID  uint64
	Err error // a *state.Refusal, unless the kernel refused
}

// A Plan is what the kernel lacks of a bond's configuration.
type Plan struct {
	Bond   string
	Ops    []state.Op
	Before *state.Network // that it was made from
}

// Probes is who checks a bond's paths.
type Probes struct {
	Bond   string
	Sender Sender
	Slaves []ProbeSlave
}

// A Sender is the bond itself as a prober.
type Sender struct {
	Index     int            // of the bond; 0: it is not there
	Quiet     bool           // it does not probe itself
	Addresses []netip.Prefix // IPv4, its own
	Foreign   []netip.Prefix // IPv4, that another program has put on it and may take back
}

func (s *Sender) equal(o *Sender) bool {
	return s.Index == o.Index && s.Quiet == o.Quiet && slices.Equal(s.Addresses, o.Addresses) &&
		slices.Equal(s.Foreign, o.Foreign)
}

// A ProbeSlave is a NIC to probe from.
type ProbeSlave struct {
	Name   string
	Index  int
	MAC    state.MAC // permanent; zero: not known
	LinkUp bool
	Active bool // the bond's frames leave by it, in mode active-backup
}

// Polled are the links whose drivers are asked for their link state. The list is
// not changed after.
type Polled struct {
	Links []PollLink
}

// A PollLink is one of them.
type PollLink struct {
	Index int
	Every time.Duration // how often at least
}

// A StampRequest asks for what only the kernel knows of a failover.
type StampRequest struct {
	Seq   uint64
	Index int       // of the new slave; 0: none
	Lost  string    // name of the slave that lost its link; empty: none did
	Since time.Time // what was logged earlier is of another loss
	Mark  string    // to leave in the kernel's log
}

// A TuneRequest asks a card to report a lost link at once.
type TuneRequest struct {
	Index int
	Name  string
}

// A LogLine is a line for the daemon's log.
type LogLine struct {
	Level   slog.Level
	Message string
	Attrs   []slog.Attr
}
