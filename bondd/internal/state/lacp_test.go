package state

import "testing"

func TestLACPState(t *testing.T) {
	const (
		spoken = PortActivity | PortAggregation
		passes = PortSynchronization | PortCollecting | PortDistributing
		fresh  = PortDefaulted | PortExpired
	)
	for name, tt := range map[string]struct {
		want   LACPState
		fault  LACPFault
		change func(*Bond, *Slave)
	}{
		"all is well": {LACPAgreed, LACPNoFault, func(*Bond, *Slave) {}},
		"the cable is out, and the bits are stale": {LACPDown, LACPNoFault, func(_ *Bond, s *Slave) { s.LinkUp = false }},
		"it just came up":                          {LACPNegotiating, LACPNoFault, func(_ *Bond, s *Slave) { s.LACP.Actor, s.LACP.Partner = spoken|fresh, 0 }},
		"the other just came":                      {LACPNegotiating, LACPNoFault, func(_ *Bond, s *Slave) { s.LACP.Actor, s.LACP.Partner = spoken, spoken|fresh }},
		"both are about to agree": {LACPNegotiating, LACPNoFault, func(_ *Bond, s *Slave) {
			s.LACP.Actor, s.LACP.Partner, s.LACP.PartnerChurn = spoken, spoken|PortSynchronization, "monitoring"
		}},
		"the other fell silent": {LACPHalfOpen, LACPFellSilent, func(_ *Bond, s *Slave) {
			s.LACP.Actor, s.LACP.Partner = spoken|PortExpired, spoken|PortTimeout|PortCollecting|PortDistributing
		}},
		"the other stays silent": {LACPHalfOpen, LACPSilent, func(_ *Bond, s *Slave) {
			s.LACP.Actor, s.LACP.Partner, s.LACP.Aggregator = spoken|PortDefaulted, 0, 2
		}},
		"nobody speaks": {LACPNoPartner, LACPNobody, func(b *Bond, s *Slave) {
			s.LACP.Actor, s.LACP.Partner, b.LACP.PartnerMAC = spoken|PortDefaulted, 0, MAC{}
		}},
		"the other hears nothing any more": {LACPHalfOpen, LACPUnheard, func(_ *Bond, s *Slave) {
			s.LACP.Actor, s.LACP.Partner = spoken, spoken|PortExpired
		}},
		"the other never heard anything": {LACPHalfOpen, LACPUnheard, func(_ *Bond, s *Slave) {
			s.LACP.Actor, s.LACP.Partner = spoken, spoken|PortDefaulted
		}},
		"the other refuses": {LACPHalfOpen, LACPRefused, func(_ *Bond, s *Slave) {
			s.LACP.Actor, s.LACP.Partner, s.LACP.PartnerChurn = spoken, spoken, "churned"
		}},
		"a second switch stands by": {LACPStandby, LACPNoFault, func(_ *Bond, s *Slave) {
			s.LACP.Actor, s.LACP.Partner, s.LACP.Aggregator = spoken, spoken|PortSynchronization, 2
		}},
	} {
		b := &Bond{LACP: &LACP{Aggregator: 1, Ports: 2, PartnerMAC: MAC{0, 1, 2, 3, 4, 5}}}
		s := &Slave{LinkUp: true, LACP: &LACPPort{Aggregator: 1, Actor: spoken | passes, Partner: spoken | passes, ActorChurn: "none", PartnerChurn: "none"}}
		tt.change(b, s)
		got, fault := b.PortLACP(s)
		if got != tt.want || fault != tt.fault {
			t.Errorf("%s: %s, fault %d; want %s, %d", name, got, fault, tt.want, tt.fault)
		}
	}
}
