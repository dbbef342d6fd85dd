package failover

import "bondd.internal/bondd/internal/state"

// A Bond is what a decision depends on.
type Bond struct {
	// ActiveBackup: one slave carries all traffic (mode 1). In the other modes
	// the bonding driver itself shares traffic out over the slaves it takes to be up.
	ActiveBackup bool

	Active  int // index of the active slave; 0: none
	Primary int // index of the preferred slave; 0: none

	// Left is the index of the preferred slave if a Switch went to another one
	// and the driver has taken the preferred one to be up ever since; 0 if not.
	Left int

	// UpDelay and DownDelay: the configuration asks that a returned or a lost
	// link is watched for a while first. The bonding driver keeps that time,
	// and every inspection that is forced on it would shorten it.
	UpDelay, DownDelay bool

	Slaves []Slave // those that are enslaved, in order of preference
}

// A Slave is one slave as it is known now.
type Slave struct {
	Index  int
	LinkUp bool            // frames can pass, by every watch
	MII    state.MIIStatus // the bonding driver's own view, which may be older
}

// An Action is what has to be done.
type Action uint8

const (
	// Nothing has to be done.
	Nothing Action = iota
	// Switch: make Decision.To the active slave.
	Switch
	// Inspect: have the bonding driver look at its slaves now.
	Inspect
	// Reselect: have the bonding driver choose the active slave anew, by its
	// own rules.
	Reselect
)

// A Decision is an action and its reason.
type Decision struct {
	Action Action
	To     int // index of the new active slave
	Reason state.Reason
}

// Decide says what has to be done. The same Bond always gives the same
// Decision, and a bond on which every watch and the driver agree gives Nothing.
func Decide(b *Bond) Decision {
	if b.ActiveBackup {
		return decideActiveBackup(b)
	}
	for i := range b.Slaves {
		if disagrees(b, &b.Slaves[i]) {
			return Decision{Action: Inspect, Reason: state.ReasonLink}
		}
	}
	return Decision{}
}

// decideActiveBackup leaves the return of a primary to the driver, which does it
// by primary_reselect as soon as its monitor sees the link; here only traffic
// that goes nowhere is moved. A loss that was over before the monitor looked is
// no return in its eyes, so that it has to be told.
func decideActiveBackup(b *Bond) Decision {
	if b.DownDelay && b.Active != 0 {
		return Decision{} // the driver gives the link up when its time is over
	}
	best, waiting, alive := 0, false, false
	for i := range b.Slaves {
		s := &b.Slaves[i]
		if !s.LinkUp {
			continue
		}
		if s.Index == b.Active {
			alive = true
			continue
		}
		// The driver refuses a slave that it does not take to be up
		// (bond_option_active_slave_set, drivers/net/bonding/bond_options.c).
		if s.MII != state.MIIUp {
			waiting = true
		} else if best == 0 || s.Index == b.Primary {
			best = s.Index
		}
	}
	switch {
	case alive && best != 0 && best == b.Left:
		return Decision{Action: Reselect, Reason: state.ReasonPrimary}
	case alive:
		return Decision{}
	case best != 0 && b.Active != 0:
		return Decision{Action: Switch, To: best, Reason: state.ReasonLink}
	case best != 0 || waiting && !b.UpDelay:
		// Without an active slave the driver refuses to be told one, and a link
		// that it has not seen return it has to see first.
		return Decision{Action: Inspect, Reason: state.ReasonLink}
	}
	return Decision{} // there is nothing better: the last link stays
}

// disagrees reports whether the driver has another view of a slave than the
// watches have, and may be told to look.
func disagrees(b *Bond, s *Slave) bool {
	if s.LinkUp {
		return s.MII == state.MIIDown && !b.UpDelay
	}
	return s.MII == state.MIIUp && !b.DownDelay
}

// Without returns what would be decided if this slave lost its link now.
func Without(b *Bond, index int) Decision {
	lost := *b
	lost.Slaves = append([]Slave(nil), b.Slaves...)
	for i := range lost.Slaves {
		if lost.Slaves[i].Index == index {
			lost.Slaves[i].LinkUp = false
		}
	}
	return Decide(&lost)
}
