package failover

import (
	"slices"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
)

// A Bond is what a decision depends on.
type Bond struct {
	// ActiveBackup: one slave carries all traffic (mode 1). In the other modes
	// the bonding driver itself shares traffic out over the slaves it takes to be up.
	ActiveBackup bool

	Active  int // index of the active slave; 0: none
	Primary int // index of the preferred slave; 0: none
	Chosen  int // index of the slave that an operator asked for; 0: none

	Held bool // what Hold said last

	// Reselect says when a preferred slave that is usable again takes the
	// traffic back from one that works (primary_reselect).
	Reselect Reselect

	// UpDelay and DownDelay: the configuration asks that a returned or a lost
	// link is watched for a while first. The bonding driver keeps that time,
	// and every inspection that is forced on it would shorten it.
	UpDelay, DownDelay bool

	// Monitored: the driver looks at the carrier itself (miimon) and can be told
	// to do so now. Otherwise it only asks by ARP.
	Monitored bool

	// AllPaths: every path of a slave has to be up for it to be usable; if not
	// set, one of them.
	AllPaths bool
	// Targets is how many paths are checked. Where there are any, a slave gets
	// traffic by preference only once it is proven.
	Targets int

	Slaves []Slave // those that are enslaved or parked, in order of preference
}

// A Slave is one slave as it is known now.
type Slave struct {
	Index      int
	LinkUp     bool            // frames can pass, by every watch
	MII        state.MIIStatus // the bonding driver's own view, which may be older
	Prio       int             // preference beside the order; higher is preferred
	Speed      int             // Mb/s; 0: not known
	FullDuplex bool
	Suppressed bool // held out by flap damping
	Parked     bool // not in the bond at present, see Park
	Excused    bool // in the bond although its path is dead: LACP has to judge it
	// Spare: it lacks something that the bond relies on and that cannot be put
	// right while it carries the traffic.
	Spare bool
	// Detached: its device no longer replies, whatever its carrier says. The
	// driver goes by the carrier alone and will never know.
	Detached bool
	// Lagging: ethtool says that there is no link, and the carrier, by which
	// alone the driver goes, has said otherwise for too long.
	Lagging bool

	// Paths are the states of the bond's paths from this slave, in the same
	// order for every slave. Where none is checked, nothing is known.
	Paths [bonding.MaxTargets]state.PathState
	// Proven are those of Paths, as bits, that have replied for long enough since
	// the link came.
	Proven uint
}

// Reselect is the policy of returning to a preferred slave, as bonding.rst has it.
type Reselect uint8

// The policies.
const (
	Always  Reselect = iota // as soon as it is usable
	Better                  // if it is faster than the active one
	Failure                 // only when the active one fails
)

// An Action is what has to be done.
type Action uint8

const (
	// Nothing has to be done.
	Nothing Action = iota
	// Switch: make Decision.To the active slave.
	Switch
	// Inspect: have the bonding driver look at its slaves now.
	Inspect
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

// disagrees reports whether the driver has another view of a slave than the
// watches have, and may be told to look.
func disagrees(b *Bond, s *Slave) bool {
	if !b.Monitored || s.Parked || s.Detached {
		return false
	}
	if s.LinkUp {
		return s.MII == state.MIIDown && !b.UpDelay
	}
	return s.MII == state.MIIUp && !b.DownDelay
}

func decideActiveBackup(b *Bond) Decision {
	active := b.slave(b.Active)
	if active != nil && !active.LinkUp && !active.Detached && b.DownDelay && active.MII != state.MIIDown {
		return Decision{} // the driver gives the link up when its time is over
	}
	to, reason := choose(b, active)
	switch {
	case to == 0 && waiting(b), to != 0 && active == nil:
		// Without an active slave the driver refuses to be told one, and a link
		// that it has not seen return it has to see first. With none left it
		// ignores updelay, so that the inspection shortens nothing.
		if b.Monitored {
			return Decision{Action: Inspect, Reason: state.ReasonLink}
		}
	case to != 0 && to != b.Active:
		return Decision{Action: Switch, To: to, Reason: reason}
	}
	return Decision{} // all is well, or there is nothing better: the last link stays
}

// waiting reports whether some slave has a link that the driver does not use yet.
func waiting(b *Bond) bool {
	return slices.ContainsFunc(b.Slaves, func(s Slave) bool { return s.LinkUp && !s.Parked })
}

// How good a slave is: bits, of which the larger sum is the better. One that is
// held down for flapping is better than one that is not proven, and that is
// better than one whose path is dead.
const (
	unfit  = 0 // no link, or not to be had from the driver
	steady = 1 // not held down, nor to be spared
	proven = 2
	alive  = 4 // its path is not dead
	linked = 8
)

// grade tells how good a slave is. The driver refuses a slave that it does not
// take to be up (bond_option_active_slave_set, drivers/net/bonding/bond_options.c),
// except that the active one may stay.
func grade(b *Bond, s *Slave, heard uint) int {
	if !s.LinkUp || s.Parked || s.MII != state.MIIUp && s.Index != b.Active {
		return unfit
	}
	g := linked
	if !s.Suppressed && !s.Spare {
		g += steady
	}
	if !blamed(b, s, heard) {
		g += alive
		// Traffic does not leave the active slave only because it is not proven:
		// it will soon be either proven or dead.
		if s.Index == b.Active || !unproven(b, s, heard) {
			g += proven
		}
	}
	return g
}

// choose names the slave that should carry the traffic, 0 if there is none, and
// why it is not the active one. Among equally good ones the active one stays,
// unless a preferred one is to have the traffic back.
func choose(b *Bond, active *Slave) (index int, reason state.Reason) {
	best, top := unfit, (*Slave)(nil)
	heard := answering(b)
	for i := range b.Slaves {
		s := &b.Slaves[i]
		if g := grade(b, s, heard); g > best || g == best && top != nil && prefers(b, s, top) {
			best, top = g, s
		}
	}
	switch {
	case top == nil:
		return 0, ""
	case active == nil || !active.LinkUp:
		return top.Index, state.ReasonLink
	case grade(b, active, heard) < best:
		if blamed(b, active, heard) && best&alive != 0 {
			return top.Index, state.ReasonPath
		}
		if active.Spare {
			return top.Index, state.ReasonPath
		}
		return top.Index, state.ReasonLink // it flaps, the other does not
	case b.Chosen != b.Active && prefers(b, top, active) && returns(b, top, active) && replied(b, top):
		return top.Index, state.ReasonPrimary
	}
	return active.Index, ""
}

// prefers reports whether the configuration prefers s to another equally good
// slave: the primary, then by prio. The order among equals is that of the list.
func prefers(b *Bond, s, other *Slave) bool {
	switch b.Primary {
	case s.Index:
		return other != s
	case other.Index:
		return false
	}
	return s.Prio > other.Prio
}

// returns reports whether a preferred slave takes the traffic from the active
// one, which works (bond_choose_primary_or_current, drivers/net/bonding/bond_main.c).
func returns(b *Bond, preferred, active *Slave) bool {
	switch b.Reselect {
	case Always:
		return true
	case Better:
		if preferred.Speed != active.Speed {
			return preferred.Speed > active.Speed
		}
		return preferred.FullDuplex && !active.FullDuplex
	}
	return false
}

// answering are the targets that have just answered some slave, as bits.
func answering(b *Bond) uint {
	var bits uint
	for i := range b.Slaves {
		if s := &b.Slaves[i]; s.LinkUp {
			for t, p := range s.Paths {
				if p == state.PathUp {
					bits |= 1 << t
				}
			}
		}
	}
	return bits
}

// blamed reports whether a slave's path is dead by the bond's policy, and it is
// the slave's fault: a target that no slave reaches says nothing about any of them.
func blamed(b *Bond, s *Slave, heard uint) bool {
	if !s.LinkUp || heard == 0 {
		return false
	}
	var down uint
	for t, p := range s.Paths {
		if p == state.PathDown {
			down |= 1 << t
		}
	}
	down &= heard
	if b.AllPaths {
		return down != 0
	}
	return down == heard
}

// unproven reports whether a slave's paths have not replied for long enough
// since its link came, although their targets reply to some slave: little is
// known of it, which is worse than good and better than dead.
func unproven(b *Bond, s *Slave, heard uint) bool {
	switch {
	case b.Targets == 0 || heard == 0 || !s.LinkUp:
		return false
	case b.AllPaths:
		return heard&^s.Proven != 0
	}
	return heard&s.Proven == 0
}

// replied reports whether a slave has shown since its link came that its paths
// lead somewhere: then it may get traffic by preference alone. Where no path is
// checked, nothing has to be shown.
func replied(b *Bond, s *Slave) bool {
	if b.Targets == 0 {
		return true
	}
	heard := answering(b)
	return s.Proven != 0 && !unproven(b, s, heard) && !blamed(b, s, heard)
}

// Unproven reports whether the paths of the slave of that index have not replied
// yet since its link came, although their targets reply to another slave.
func Unproven(b *Bond, index int) bool {
	s := b.slave(index)
	return s != nil && unproven(b, s, answering(b))
}

// Unjudged reports whether nothing is known of the paths of the slave of that
// index, good or bad.
func Unjudged(b *Bond, index int) bool {
	s := b.slave(index)
	return s != nil && b.Targets > 0 && !slices.ContainsFunc(s.Paths[:b.Targets], func(p state.PathState) bool {
		return p != state.PathUnknown
	})
}

// slave returns the slave of that index, or nil.
func (b *Bond) slave(index int) *Slave {
	for i := range b.Slaves {
		if b.Slaves[i].Index == index {
			return &b.Slaves[i]
		}
	}
	return nil
}

// Equal reports whether two views are the same.
func (b *Bond) Equal(o *Bond) bool {
	return b.ActiveBackup == o.ActiveBackup && b.Active == o.Active && b.Primary == o.Primary &&
		b.Chosen == o.Chosen && b.Held == o.Held &&
		b.Reselect == o.Reselect && b.UpDelay == o.UpDelay && b.DownDelay == o.DownDelay && b.Monitored == o.Monitored &&
		b.AllPaths == o.AllPaths && b.Targets == o.Targets &&
		slices.Equal(b.Slaves, o.Slaves)
}

// Without returns what would be decided if this slave lost its link now.
func Without(b *Bond, index int) Decision {
	lost := *b
	lost.Slaves = slices.Clone(b.Slaves)
	if s := lost.slave(index); s != nil {
		s.LinkUp = false
	}
	return Decide(&lost)
}

// Blamed reports whether the slave of that index is one through which targets
// are not reached that others reach, so that the bond's policy on paths is not met.
func Blamed(b *Bond, index int) bool {
	s := b.slave(index)
	return s != nil && blamed(b, s, answering(b))
}

// Hold reports whether the driver has to be kept from choosing the active slave
// by its own preference: it knows nothing of paths, flapping or operators. Where
// paths are checked, it is kept from a preferred slave from the moment at which
// that one is left until it is proven: when the link returns, the driver would
// be there first.
func Hold(b *Bond) bool {
	if !b.ActiveBackup || b.Reselect == Failure {
		return false
	}
	if b.Chosen != 0 && b.Chosen == b.Active {
		return true
	}
	heard, active := answering(b), b.slave(b.Active)
	return slices.ContainsFunc(b.Slaves, func(s Slave) bool {
		if s.Index == b.Active {
			return false
		}
		// One that lost its link meanwhile has not shown yet that it is well.
		return s.Suppressed || s.Spare || s.Detached || blamed(b, &s, heard) || b.Held && !s.LinkUp ||
			active != nil && prefers(b, &s, active) && !replied(b, &s)
	})
}

// Park lists the slaves that are to be kept out of a bond whose mode shares the
// traffic out: a share that goes to a dead path is lost, and there is no other
// way to have the driver spare a slave whose link is up. As long as no slave is
// good, none is kept out. A dead device cannot be taken up to be parked: see Leave.
func Park(b *Bond) []int {
	if b.ActiveBackup {
		return nil
	}
	heard := answering(b)
	good := slices.ContainsFunc(b.Slaves, func(s Slave) bool {
		return s.LinkUp && !s.Suppressed && !blamed(b, &s, heard) && (s.Parked || s.MII == state.MIIUp)
	})
	if !good {
		return nil
	}
	var park []int
	for i := range b.Slaves {
		// One that lost its link out there has not shown yet that it is well.
		s := &b.Slaves[i]
		if s.Detached {
			continue
		}
		if s.Suppressed || blamed(b, s, heard) && !s.Excused || s.Parked && !s.LinkUp || s.Lagging {
			park = append(park, s.Index)
		}
	}
	return park
}

// Leave lists the slaves that have to leave a bond whose mode shares the traffic
// out since their device no longer replies: the driver goes by the carrier, which
// stays. As long as no other slave carries traffic, none has to.
func Leave(b *Bond) []int {
	if b.ActiveBackup || !slices.ContainsFunc(b.Slaves, func(s Slave) bool {
		return s.LinkUp && !s.Parked && s.MII == state.MIIUp
	}) {
		return nil
	}
	var leave []int
	for i := range b.Slaves {
		if s := &b.Slaves[i]; s.Detached && !s.Parked {
			leave = append(leave, s.Index)
		}
	}
	return leave
}
