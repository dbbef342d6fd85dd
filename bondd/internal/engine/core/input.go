package core

import (
	"time"

	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// An Input is one thing that the daemon has learned. The types of this file are
// all there are; a new source of events is a new type here.
type Input interface {
	// apply takes the input. c.now is the time of the step.
	apply(c *Core)
}

// A LinkEvent is an event of the kernel about a link, and what the fast path has
// done about it.
type LinkEvent struct {
	state.LinkEvent
	Count    uint64 // events seen by the fast path, this one included
	Reaction Acted  // Bond is 0 if the fast path did nothing
	Missed   bool   // the fast path could not pass every event on: something is missing before this one
}

// A Poll is one round of asking ethtool for the link state of the slaves.
type Poll struct {
	Began time.Time
	Took  time.Duration
	Links []state.LinkState // those that were to be asked; not kept
	Err   error             // nothing could be asked
}

// A PathReport is what the path checks of a bond know, by the slave's interface
// index, in the order of the bond's targets.
type PathReport struct {
	Bond  string
	Paths map[int][]state.Path
}

// A Lease is what the DHCP client of a bond reports.
type Lease struct {
	Bond   string
	Status string           // in words
	Lease  *reconcile.Lease // nil: none
}

// An Inventory is what hwprobe found, or why it could not look.
type Inventory struct {
	Began time.Time
	NICs  []hwprobe.NIC
	Err   error
}

// A NetworkRead is the kernel's network state, or why it could not be read.
type NetworkRead struct {
	Began   time.Time
	Network *state.Network // not changed after
	Err     error
}

// An Acted says that a Request was sent and answered.
type Acted struct {
	Request
	Issued, Done time.Time
	Err          error // the kernel's refusal
}

// A PlanDone says that a Plan was carried out, as far as the kernel let it.
type PlanDone struct {
	Bond     string
	Ops      int // of the plan
	Failures []reconcile.Failure
}

// An Order is an operator's command to make a slave the active one. It is
// answered once, by Output.Answers.
type Order struct {
	ID       uint64
	Bond, To string
}

// A Stamps has the kernel's stamps of an entry of the flight recorder; what is
// not known is zero.
type Stamps struct {
	Seq         uint64
	FirstPacket time.Time
	CarrierLost time.Time
}

// A Tuned says what a card answered when it was asked to report a lost link at once.
type Tuned struct {
	Index int
	State string
}

// A Tick passes every second.
type Tick struct{}

// A Wake asks for a read of the kernel: something happened that no event tells,
// such as an event socket that was opened again.
type Wake struct {
	Lost bool // events were lost: what the fast path has prepared is void
}
