package state

// A LACPState says in one word how far a slave and the other end have agreed.
type LACPState string

// The states of a slave in mode 802.3ad.
const (
	LACPAgreed      LACPState = "agreed"      // traffic passes in both directions
	LACPNegotiating LACPState = "negotiating" // both ends are about to agree
	LACPStandby     LACPState = "standby"     // in another aggregator than the one in use
	LACPHalfOpen    LACPState = "half-open"   // the link is up, and one end does not hear the other or does not take its traffic
	LACPNoPartner   LACPState = "no-partner"  // nobody at the other end of the whole bond speaks LACP
	LACPDown        LACPState = "down"        // there is no link
)

// LACPStates lists every LACPState.
var LACPStates = []LACPState{LACPAgreed, LACPNegotiating, LACPStandby, LACPHalfOpen, LACPNoPartner, LACPDown}

// PortLACP says how far a slave in mode 802.3ad and the other end have agreed, and
// in a sentence what is wrong if that needs a person's attention.
//
// A port that just came up is defaulted and expired at once; after that it is
// expired for 3 seconds when it hears nothing, and then defaulted
// (ad_rx_machine, drivers/net/bonding/bond_3ad.c). The partner's bits are what
// the other end says of itself, and so of what it hears from here.
func (b *Bond) PortLACP(s *Slave) (LACPState, string) {
	const fresh = PortDefaulted | PortExpired
	p := s.LACP
	switch actor, partner := p.Actor&fresh, p.Partner&fresh; {
	case !s.LinkUp:
		return LACPDown, ""
	case actor == PortDefaulted && (b.LACP == nil || b.LACP.PartnerMAC.IsZero()):
		return LACPNoPartner, "no LACP comes from the other end: set up an LACP group for this port on the switch"
	case actor == PortDefaulted:
		return LACPHalfOpen, "the link is up, but no LACP comes from the other end"
	case actor == PortExpired:
		return LACPHalfOpen, "the link is up, but no LACP comes from the other end any more"
	case actor == fresh || partner == fresh:
		return LACPNegotiating, ""
	case partner != 0:
		return LACPHalfOpen, "the other end sends LACP, but does not hear this end's"
	case b.LACP != nil && p.Aggregator != b.LACP.Aggregator:
		return LACPStandby, ""
	case p.Carries():
		return LACPAgreed, ""
	case p.ActorChurn == "churned" || p.PartnerChurn == "churned":
		return LACPHalfOpen, "the other end speaks LACP, but does not take this port into the group"
	}
	return LACPNegotiating, ""
}
