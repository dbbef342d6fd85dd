package report

import "bondd.internal/bondd/internal/state"

// A LACPPort is a slave as LACP sees it (IEEE 802.1AX, 6.4.7).
type LACPPort struct {
	Aggregator   int             `json:"aggregator"` // that it belongs to
	State        state.LACPState `json:"state"`
	Problem      string          `json:"problem"`       // one sentence, where State needs a person's attention; else empty
	Actor        []string        `json:"actor"`         // what this end says: the names of the bits that are set
	Partner      []string        `json:"partner"`       // what the other end said last
	ActorChurn   string          `json:"actor_churn"`   // "none", "monitoring" or "churned"
	PartnerChurn string          `json:"partner_churn"` // the same of the other end
}

func fromLACP(b *state.Bond, s *state.Slave) *LACPPort {
	if s.LACP == nil {
		return nil
	}
	p := &LACPPort{
		Aggregator:   s.LACP.Aggregator,
		Actor:        s.LACP.Actor.Words(),
		Partner:      s.LACP.Partner.Words(),
		ActorChurn:   s.LACP.ActorChurn,
		PartnerChurn: s.LACP.PartnerChurn,
	}
	agreed, fault := b.PortLACP(s)
	p.State, p.Problem = agreed, faults[fault]
	return p
}

// faults has a sentence for every state.LACPFault but state.LACPNoFault.
var faults = map[state.LACPFault]string{
	state.LACPNobody:     "no LACP comes from the other end: set up an LACP group for this port on the switch",
	state.LACPSilent:     "the link is up, but no LACP comes from the other end",
	state.LACPFellSilent: "the link is up, but no LACP comes from the other end any more",
	state.LACPUnheard:    "the other end sends LACP, but does not hear this end's",
	state.LACPRefused:    "the other end speaks LACP, but does not take this port into the group",
}
