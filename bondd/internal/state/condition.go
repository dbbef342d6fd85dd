package state

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Condition says how a slave is. A slave is in one condition at a time, the
// first of the list whose facts hold: what makes the others meaningless stands
// before them. Package report has the words.
type Condition uint8

// The conditions, in the order in which they are looked for.
const (
	ConditionAbsent       Condition = iota // no NIC answers to the configured name
	ConditionDetached                      // the interface is there, its device no longer replies
	ConditionLeftOut                       // the NIC is there and was not enslaved, for Slave.LeftOut
	ConditionParked                        // taken out of the bond until it may be used again
	ConditionNotEnslaved                   // the NIC is there and not, or not yet, in the bond
	ConditionNoLink                        // by carrier or by ethtool
	ConditionHeldDown                      // it flapped, and flap damping keeps it from being used
	ConditionDeaf                          // it receives nothing for the bond, for Slave.Lacks
	ConditionPathDead                      // by the bond's policy over its paths
	ConditionDriverDown                    // it has a link, and to the driver it is down
	ConditionHalfOpen                      // LACP is agreed at one end only
	ConditionReturning                     // it has a link, and the driver waits for updelay
	ConditionActive                        // it carries the traffic, or a share of it
	ConditionNoPartner                     // nobody at the other end of the whole bond speaks LACP
	ConditionStandby                       // it is in another LACP aggregator than the one in use
	ConditionJoining                       // both ends are about to agree by LACP
	ConditionPathUnproven                  // it stands by, and has not shown yet that its paths lead somewhere
	ConditionBackup                        // it stands by, and nothing is wrong with it

	conditions // how many there are
)

// conditionTable has the names in the API, and whether a slave in the condition
// could carry traffic now, by the driver's choice or by bondd's.
var conditionTable = [conditions]struct {
	name   string
	usable bool
}{
	ConditionAbsent:       {name: "absent"},
	ConditionDetached:     {name: "detached"},
	ConditionLeftOut:      {name: "left-out"},
	ConditionParked:       {name: "parked"},
	ConditionNotEnslaved:  {name: "not-enslaved"},
	ConditionNoLink:       {name: "no-link"},
	ConditionHeldDown:     {name: "held-down"},
	ConditionDeaf:         {name: "deaf"},
	ConditionPathDead:     {name: "path-dead"},
	ConditionDriverDown:   {name: "driver-down"},
	ConditionHalfOpen:     {name: "half-open"},
	ConditionReturning:    {name: "returning", usable: true}, // the driver takes it where no other is left
	ConditionActive:       {name: "active", usable: true},
	ConditionNoPartner:    {name: "no-partner"},
	ConditionStandby:      {name: "standby", usable: true}, // the driver goes over to its aggregator
	ConditionJoining:      {name: "joining"},
	ConditionPathUnproven: {name: "path-unproven", usable: true}, // better than dead
	ConditionBackup:       {name: "backup", usable: true},
}

// Conditions lists every Condition.
func Conditions() []Condition {
	all := make([]Condition, conditions)
	for i := range all {
		all[i] = Condition(i)
	}
	return all
}

// String is the condition's name in the API: "no-link".
func (c Condition) String() string {
	if c >= conditions {
		return fmt.Sprintf("condition %d", uint8(c))
	}
	return conditionTable[c].name
}

// Usable reports whether a slave in this condition could carry traffic now.
func (c Condition) Usable() bool { return c < conditions && conditionTable[c].usable }

// Condition says how a slave of the bond is.
func (b *Bond) Condition(s *Slave) Condition {
	switch {
	case !s.Present:
		return ConditionAbsent
	case s.Detached:
		return ConditionDetached
	case !s.Enslaved && s.LeftOut != "":
		return ConditionLeftOut
	case s.Parked:
		return ConditionParked
	case !s.Enslaved:
		return ConditionNotEnslaved
	case !s.LinkUp:
		return ConditionNoLink
	case s.Suppressed:
		return ConditionHeldDown
	case s.Deaf:
		return ConditionDeaf
	case s.PathUp != nil && !*s.PathUp:
		return ConditionPathDead
	case s.MIIStatus == MIIDown:
		return ConditionDriverDown
	}
	lacp := LACPAgreed
	if s.LACP != nil {
		lacp, _ = b.PortLACP(s)
	}
	switch {
	case lacp == LACPHalfOpen:
		return ConditionHalfOpen // also while the driver counts it as active: its traffic gets lost
	case s.MIIStatus == MIIBack:
		return ConditionReturning // where the traffic is shared out, the driver counts it as active
	case s.Active:
		return ConditionActive // without any LACP partner the driver uses one slave alone
	case lacp == LACPNoPartner:
		return ConditionNoPartner
	case lacp == LACPStandby:
		return ConditionStandby
	case s.LACP != nil:
		return ConditionJoining
	case b.unproven(s):
		return ConditionPathUnproven
	}
	return ConditionBackup
}

// unproven reports whether a slave's paths have not replied for long enough
// since its link came, although their targets reply to some slave.
func (b *Bond) unproven(s *Slave) bool {
	heard, proven := 0, 0
	for t := range s.Paths {
		if !slices.ContainsFunc(b.Slaves, func(o Slave) bool {
			return o.LinkUp && t < len(o.Paths) && o.Paths[t].State == PathUp
		}) {
			continue
		}
		heard++
		if s.Paths[t].Proven {
			proven++
		}
	}
	if b.PathPolicy == "any" {
		return heard > 0 && proven == 0
	}
	return proven < heard
}

// PathsUp combines the paths of a slave by a bond's policy, "all" or "any"; nil
// while nothing is known.
func PathsUp(policy string, paths []Path) *bool {
	up, down := 0, 0
	for i := range paths {
		switch paths[i].State {
		case PathUp, PathMissing:
			up++
		case PathDown:
			down++
		}
	}
	var is bool
	switch {
	case policy == "any" && up > 0:
		is = true
	case down > 0 && (policy != "any" || down == len(paths)):
		is = false
	case up > 0 && up == len(paths):
		is = true
	default:
		return nil
	}
	return &is
}

// Up reports whether the bond carries traffic: it has its carrier, and a slave
// that is in use is usable.
func (b *Bond) Up() bool {
	return b.AdminUp && b.Carrier && slices.ContainsFunc(b.Slaves, func(s Slave) bool {
		return s.Active && b.Condition(&s).Usable()
	})
}

// Degraded reports whether the bond carries traffic and has a Shortfall: fewer
// usable slaves than configured, or a redundancy that is not there.
func (b *Bond) Degraded() bool { return b.Up() && len(b.Shortfalls()) > 0 }

// SlavesUp is the number of slaves that could carry traffic now.
func (b *Bond) SlavesUp() int {
	n := 0
	for i := range b.Slaves {
		if b.Condition(&b.Slaves[i]).Usable() {
			n++
		}
	}
	return n
}

// A Lack is a kind of Shortfall.
type Lack uint8

// The kinds.
const (
	LackTarget     Lack = iota // a target replies to no slave: one path less, or none is left
	LackPartner                // no LACP partner: the driver uses one slave alone
	LackSlave                  // a slave is not usable
	LackPath                   // a usable slave does not reach a target that replies to another one
	LackAggregator             // a usable slave has no part in the aggregator that is in use
	LackSecond                 // the only slave: there is nothing to fail over to
)

// A Shortfall is one thing that keeps a bond from being all that it is configured
// to be.
type Shortfall struct {
	Lack   Lack
	Slave  *Slave     // nil where it is about the bond
	Target netip.Addr // of LackTarget
}

// Shortfalls lists what keeps the bond from being all that it is configured to
// be: what is about all slaves first, and then by slave in the configured order.
func (b *Bond) Shortfalls() []Shortfall {
	var list []Shortfall
	for _, t := range b.silent() {
		list = append(list, Shortfall{Lack: LackTarget, Target: t})
	}
	if b.LACP != nil && b.LACP.PartnerMAC.IsZero() {
		list = append(list, Shortfall{Lack: LackPartner})
	}
	for i := range b.Slaves {
		s := &b.Slaves[i]
		switch c := b.Condition(s); {
		case !c.Usable():
			list = append(list, Shortfall{Lack: LackSlave, Slave: s})
		case c == ConditionStandby:
			list = append(list, Shortfall{Lack: LackAggregator, Slave: s})
		case len(b.Unreached(s)) > 0:
			list = append(list, Shortfall{Lack: LackPath, Slave: s})
		}
	}
	if len(b.Slaves) == 1 {
		list = append(list, Shortfall{Lack: LackSecond, Slave: &b.Slaves[0]})
	}
	return list
}

// Unreached lists the targets that a slave does not reach and another one does.
func (b *Bond) Unreached(s *Slave) []netip.Addr {
	var dead []netip.Addr
	for t := range s.Paths {
		if s.Paths[t].State == PathDown && b.replies(s.Paths[t].Target) {
			dead = append(dead, s.Paths[t].Target)
		}
	}
	return dead
}

// silent lists the targets that are dead from every slave of which it is known.
func (b *Bond) silent() []netip.Addr {
	var targets []netip.Addr
	for i := range b.Slaves {
		for _, p := range b.Slaves[i].Paths {
			if p.State == PathDown && !b.replies(p.Target) && !slices.Contains(targets, p.Target) {
				targets = append(targets, p.Target)
			}
		}
	}
	return targets
}

// replies reports whether a target has replied to some slave lately.
func (b *Bond) replies(target netip.Addr) bool {
	return slices.ContainsFunc(b.Slaves, func(s Slave) bool {
		return slices.ContainsFunc(s.Paths, func(p Path) bool {
			return p.Target == target && (p.State == PathUp || p.State == PathMissing)
		})
	})
}
