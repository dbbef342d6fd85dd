package simulator

import (
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
)

// A port is a slave of a bond in mode 802.3ad as LACP has it, with the switch port
// at the other end: drivers/net/bonding/bond_3ad.c, with lacp_rate fast. A step
// takes 100 ms. Each end hears the other in every step in which frames pass from
// there; what single frames are sent for is left out.
type port struct {
	enabled        bool
	actor, partner state.PortState
	system         int  // the switch that was heard last; 0: none
	rest           int  // steps after which what was heard no longer counts
	attached       bool // to its aggregator
	wait           int  // steps until it is
	far            farPort
}

// A farPort is a switch port.
type farPort struct {
	state state.PortState
	rest  int // steps for which what it has heard counts
	wait  int // steps until it is attached
}

const (
	lacpStep    = 100 * time.Millisecond // AD_TIMER_INTERVAL
	lacpTimeout = 30                     // AD_SHORT_TIMEOUT_TIME
	lacpWait    = 20                     // AD_AGGREGATE_WAIT_TIME

	portBasic = state.PortActivity | state.PortTimeout | state.PortAggregation
	portBoth  = state.PortCollecting | state.PortDistributing
)

// newPort is the port of a slave that was just enslaved.
func newPort() port {
	return port{actor: portBasic | state.PortDefaulted, partner: state.PortActivity, wait: lacpWait}
}

// aggregator is that of a slave. Without a partner each slave has one of its own.
func (n *nic) aggregator() int {
	if n.port.system > 0 {
		return 100 + n.port.system
	}
	return n.index
}

// speaks is the switch whose LACP comes from the port of a card; 0: none does.
func (n *nic) speaks() int {
	switch n.lacp {
	case "agrees":
		return 1
	case "other":
		return 2
	}
	return 0
}

// linked reports whether the two ends of a cable have anything of each other. A
// switch port that does not forward lets the frames of LACP through.
func (n *nic) linked() bool {
	return n.present && n.up && n.carrier && n.cable && !n.crashed && !n.dead
}

// lacp is a step of every port.
func (w *World) lacp() {
	w.at(lacpStep, w.lacp)
	on := w.driver.exists && w.driver.mode() == bonding.LACP
	for _, n := range w.nics {
		n.stepFar(on && n.master && n.port.enabled)
		n.blocked = n.speaks() != 0 && n.port.far.state&state.PortCollecting == 0
	}
	if on {
		w.driver.lacp()
	}
}

// stepFar is a step of the switch port; sends says that the card speaks LACP.
func (n *nic) stepFar(sends bool) {
	far := &n.port.far
	switch {
	case n.speaks() == 0 || !n.linked():
		*far = farPort{wait: lacpWait}
		return
	case sends && n.oneWay != "out":
		far.rest = lacpTimeout
	case far.rest > 0:
		far.rest--
	}
	far.state = portBasic
	switch {
	case far.rest == 0:
		far.state, far.wait = portBasic|state.PortDefaulted, lacpWait
	case far.wait > 0:
		far.wait--
	default:
		far.state |= state.PortSynchronization
		if n.port.actor&state.PortSynchronization != 0 {
			far.state |= portBoth
		}
	}
}

// lacp is ad_rx_machine and ad_mux_machine of every slave.
func (d *driver) lacp() {
	for _, n := range d.slaves {
		n.receive()
	}
	d.selectAggregator()
	for _, n := range d.slaves {
		n.attach(d.aggregator)
	}
}

// selectAggregator is ad_agg_selection_logic with ad_select stable.
func (d *driver) selectAggregator() {
	ports := make(map[int]int)
	for _, n := range d.slaves {
		if n.port.enabled {
			ports[n.aggregator()]++
		}
	}
	best := d.aggregator
	if ports[best] == 0 {
		best = 0
	}
	for _, n := range d.slaves {
		a := n.aggregator()
		partner, answers := a > 100, best > 100
		switch {
		case ports[a] == 0:
		case best == 0, partner && !answers, d.aggregator != best && partner == answers && ports[a] > ports[best]:
			best = a
		}
	}
	d.aggregator = best
}

// receive is what a slave hears, or no longer hears, in a step.
func (n *nic) receive() {
	p := &n.port
	enabled := n.mii == state.MIIUp || n.mii == state.MIIFail
	if !enabled || !p.enabled {
		if p.partner &^= state.PortSynchronization; enabled {
			p.actor |= state.PortExpired
			p.rest = lacpTimeout
		}
		p.enabled = enabled
		return
	}
	change := func(system int) {
		if p.system != system {
			p.system, p.attached, p.wait = system, false, lacpWait
		}
	}
	if n.speaks() != 0 && n.linked() && n.oneWay != "in" {
		change(n.speaks())
		p.actor &^= state.PortDefaulted | state.PortExpired
		p.partner, p.rest = p.far.state, lacpTimeout
		return
	}
	if p.rest == 0 {
		return
	}
	if p.rest--; p.rest > 0 {
		return
	}
	if p.actor&state.PortExpired == 0 {
		p.actor |= state.PortExpired
		p.partner &^= state.PortSynchronization
		p.rest = lacpTimeout
		return
	}
	change(0)
	p.actor = p.actor&^state.PortExpired | state.PortDefaulted
	p.partner = state.PortActivity
}

// attach is what a slave may do in its aggregator.
func (n *nic) attach(active int) {
	p := &n.port
	if !p.attached {
		if p.wait > 0 {
			p.wait--
		}
		p.attached = p.wait == 0
	}
	in := p.enabled && n.aggregator() == active
	p.actor &^= state.PortSynchronization | portBoth
	if in && p.attached {
		p.actor |= state.PortSynchronization
		if p.partner&state.PortSynchronization != 0 {
			p.actor |= portBoth
		}
	}
	n.active = in && (p.system == 0 || p.actor&portBoth == portBoth)
}

// lacpLink is a slave's port as a read reports it.
func (n *nic) lacpLink() *state.LACPPort {
	return &state.LACPPort{Aggregator: n.aggregator(), Actor: n.port.actor, Partner: n.port.partner,
		ActorChurn: "none", PartnerChurn: "none"}
}

// lacpBond is the bond's LACP state as a read reports it.
func (d *driver) lacpBond() *state.LACP {
	l := &state.LACP{Aggregator: d.aggregator}
	for _, n := range d.slaves {
		if n.port.enabled && n.aggregator() == d.aggregator {
			l.Ports++
		}
	}
	if d.aggregator > 100 {
		l.PartnerMAC = state.MAC{2, 0, 1, 0, 0, byte(d.aggregator - 100)}
	}
	return l
}
