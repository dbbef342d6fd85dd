package state

// A LACPState says in one word how far a slave and the other end have agreed.
type LACPState string

// The states of a slave in mode 802.3ad.
const (
	LACPAgreed      LACPState = "agreed"      // traffic passes in both directions
	LACPNegotiating LACPState = "negotiating" // both ends are about to agree
	LACPStandby     LACPState = "standby"     // in another aggregator than the one in use
	// the link is up, and one end does not hear the other or does not take its traffic
	LACPHalfOpen  LACPState = "half-open"
	LACPNoPartner LACPState = "no-partner" // nobody at the other end of the whole bond speaks LACP
	LACPDown      LACPState = "down"       // there is no link
)

// LACPStates lists every LACPState.
var LACPStates = []LACPState{LACPAgreed, LACPNegotiating, LACPStandby, LACPHalfOpen, LACPNoPartner, LACPDown}

// A LACPFault says what is wrong between a slave and the other end.
type LACPFault uint8

// The faults.
const (
	LACPNoFault    LACPFault = iota
	LACPNobody               // nobody at the other end of the whole bond speaks LACP
	LACPSilent               // the other end of this port sends none
	LACPFellSilent           // it sends none any more
	LACPUnheard              // it sends LACP, and does not hear this end's
	LACPRefused              // it hears this end, and does not take the port into the group

	lacpFaults // how many there are
)

// LACPFaults lists every LACPFault but LACPNoFault.
func LACPFaults() []LACPFault {
	var all []LACPFault
	for f := LACPNoFault + 1; f < lacpFaults; f++ {
		all = append(all, f)
	}
	return all
}

// PortLACP says how far a slave in mode 802.3ad and the other end have agreed, and
// what is wrong if that needs a person's attention.
//
// A port that just came up is defaulted and expired at once; after that it is
// expired for 3 seconds when it hears nothing, and then defaulted
// (ad_rx_machine, drivers/net/bonding/bond_3ad.c). The partner's bits are what
// the other end says of itself, and so of what it hears from here.
func (b *Bond) PortLACP(s *Slave) (LACPState, LACPFault) {
	const fresh = PortDefaulted | PortExpired
	p := s.LACP
	switch actor, partner := p.Actor&fresh, p.Partner&fresh; {
	case !s.LinkUp:
		return LACPDown, LACPNoFault
	case actor == PortDefaulted && (b.LACP == nil || b.LACP.PartnerMAC.IsZero()):
		return LACPNoPartner, LACPNobody
	case actor == PortDefaulted:
		return LACPHalfOpen, LACPSilent
	case actor == PortExpired:
		return LACPHalfOpen, LACPFellSilent
	case actor == fresh || partner == fresh:
		return LACPNegotiating, LACPNoFault
	case partner != 0:
		return LACPHalfOpen, LACPUnheard
	case b.LACP != nil && p.Aggregator != b.LACP.Aggregator:
		return LACPStandby, LACPNoFault
	case p.Carries():
		return LACPAgreed, LACPNoFault
	case p.ActorChurn == "churned" || p.PartnerChurn == "churned":
		return LACPHalfOpen, LACPRefused
	}
	return LACPNegotiating, LACPNoFault
}
