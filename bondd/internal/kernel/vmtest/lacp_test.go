package vmtest

import (
	"fmt"
	"testing"
	"time"

	"bondd.internal/bondd/internal/state"
)

// peerBond makes the peer's end of the cables a bond in mode 802.3ad, which is
// in its bridge. Between each cable and the bond is a switch of its own, so that
// a port can fall silent while both ends keep their link.
func peerBond(h *host) (mac state.MAC) {
	h.t.Helper()
	peer := h.lan.Peer
	peer.IP("link add lag address 02:00:00:00:02:00 type bond mode 802.3ad miimon 100 lacp_rate fast")
	for i, c := range h.lan.Cables {
		sw, port, far := fmt.Sprintf("sw%d", i), fmt.Sprintf("lag%d", i), fmt.Sprintf("up%d", i)
		peer.IP(fmt.Sprintf("link add %s type bridge stp_state 0 forward_delay 0 mcast_snooping 0", sw))
		peer.IP(fmt.Sprintf("link add %s type veth peer name %s", port, far))
		for _, dev := range []string{c.FarName, far} {
			peer.IP(fmt.Sprintf("link set %s master %s", dev, sw))
			const lacp = 1 << 2 // 01:80:c2:00:00:02, which a bridge keeps to itself otherwise
			peer.IP(fmt.Sprintf("link set %s type bridge_slave group_fwd_mask %d", dev, lacp))
			peer.IP(fmt.Sprintf("link set %s up", dev))
		}
		peer.IP("link set " + sw + " up")
		peer.IP("link set " + port + " master lag")
	}
	peer.IP("link set lag master br0")
	peer.IP("link set lag up")
	return state.MAC{2, 0, 0, 0, 2, 0}
}

// What two bonds agree on is read, and so is what they no longer agree on.
func TestLACP(t *testing.T) {
	h := newHost(t, 2)
	partner := peerBond(h)
	h.bond(state.Options{"mode": "802.3ad", "miimon": "100", "lacp_rate": "fast"})
	carries := func(name string) bool {
		p := h.link(name).Slave.LACP
		return p != nil && p.Carries()
	}
	h.eventually("agreement", func() bool { return carries("eth0") && carries("eth1") })
	b := h.link("bond0").Bond.LACP
	if b == nil || b.PartnerMAC != partner || b.Ports != 2 || b.Aggregator == 0 || b.ActorKey == 0 || b.PartnerKey == 0 {
		t.Errorf("the bond has agreed on %+v, want two ports with %v", b, partner)
	}
	for _, name := range []string{"eth0", "eth1"} {
		const all = state.PortActivity | state.PortTimeout | state.PortAggregation | state.PortSynchronization | state.PortCollecting | state.PortDistributing
		p := h.link(name).Slave.LACP
		if p.Aggregator != b.Aggregator || p.Actor != all || p.Partner != all {
			t.Errorf("%s is %+v, %v; %v", name, p, p.Actor.Words(), p.Partner.Words())
		}
	}
	if got := h.link("eth0").Slave.LACP.ActorChurn; got != "monitoring" {
		t.Errorf("churn is %q at the start, want it monitored", got)
	}
	h.eventually("end of the churn detection", func() bool {
		p := h.link("eth1").Slave.LACP
		return p.ActorChurn == "none" && p.PartnerChurn == "none"
	})

	// A partner that falls silent while the link stays up.
	h.lan.Peer.IP("link set port0 nomaster")
	silent := time.Now()
	h.eventually("loss of the partner", func() bool { return !carries("eth0") })
	if took := time.Since(silent); took > 5*time.Second {
		t.Errorf("with lacp_rate fast the loss took %v, want three seconds", took)
	}
	l := h.link("eth0")
	if !l.LinkUp() || l.Slave.MIIStatus != state.MIIUp || l.Slave.LACP.Actor&(state.PortExpired|state.PortDefaulted) == 0 {
		t.Errorf("eth0 is %+v, %v", l.Slave, l.Slave.LACP.Actor.Words())
	}
	h.eventually("churn", func() bool { return h.link("eth0").Slave.LACP.PartnerChurn == "churned" })
	h.eventually("one port", func() bool { return h.link("bond0").Bond.LACP.Ports == 1 })
	if !carries("eth1") {
		t.Errorf("eth1 is %+v", h.link("eth1").Slave.LACP)
	}
	// Another mode has none of this.
	other := newHost(t, 1)
	other.bond(state.Options{"mode": "active-backup", "miimon": "100"})
	if b, s := other.link("bond0").Bond.LACP, other.link("eth0").Slave.LACP; b != nil || s != nil {
		t.Errorf("in active-backup there is %+v, %+v", b, s)
	}
}

// A peer that does not speak LACP at all.
func TestLACPAlone(t *testing.T) {
	h := newHost(t, 2)
	h.bond(state.Options{"mode": "802.3ad", "miimon": "100"})
	h.eventually("an aggregator", func() bool { return h.link("bond0").Bond.LACP != nil })
	time.Sleep(5 * time.Second)
	b := h.link("bond0").Bond.LACP
	if !b.PartnerMAC.IsZero() || b.Ports != 1 {
		t.Errorf("alone the bond has agreed on %+v", b)
	}
}
