package reconcile

import (
	"fmt"
	"slices"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
)

// A Difference is something that a slave lacks although the bond relies on it:
// the driver set it when it enslaved the card, and does not look at it again.
//
// Of what the driver sets then (bond_enslave, drivers/net/bonding/bond_main.c)
// these can be read and can be changed by others: the MAC, the MTU, and that the
// card is up. Promiscuity, multicast and VLAN filters are counted for each user,
// so that nobody can take away what the bond asked for; IFF_NO_ADDRCONF is told
// to nobody.
type Difference struct {
	Slave string
	Text  string // in a sentence
	// Deaf: the slave receives nothing for the bond until it is put right.
	Deaf bool
	// Leave: putting it right costs the card its link for a moment, and it
	// carries the bond's traffic, which another slave could do.
	Leave bool
}

// Differences lists what the slaves of a bond lack.
func Differences(t *Target, n *state.Network) []Difference {
	bond := n.Link(t.Bond.Name)
	if bond == nil || bond.Bond == nil {
		return nil
	}
	var list []Difference
	for _, m := range mends(t, n, bond) {
		d := Difference{Slave: m.slave.Name}
		switch {
		case m.up:
			d.Text = m.slave.Name + " is down, and a slave has to be up"
		case m.mac != state.MAC{}:
			// Some backups have the wrong address for a slave that may become the active one.
			d.Deaf = m.mac == bond.MAC || bond.Bond.Options.Mode() == bonding.BalanceALB
			d.Leave = m.leave
			d.Text = fmt.Sprintf("%s has MAC %s, and %s relies on %s", m.slave.Name, m.slave.MAC, bond.Name, m.mac)
		default:
			d.Leave = m.leave
			d.Text = fmt.Sprintf("%s has MTU %d, and %s has %d", m.slave.Name, m.slave.MTU, bond.Name, m.mtu)
		}
		list = append(list, d)
	}
	return list
}

// A mend is one thing that a slave lacks.
type mend struct {
	slave *state.Link
	up    bool
	mac   state.MAC
	mtu   int
	leave bool // see Difference
	wait  bool // it is not for now
}

// mends finds what the slaves of a bond lack.
func mends(t *Target, n *state.Network, bond *state.Link) []mend {
	var list []mend
	slaves := slavesOf(n, bond)
	kept := func(l *state.Link) bool { return slices.Contains(t.Slaves, l.Name) }
	macs := wantedMACs(bond, slaves, t.Before)
	if m, err := state.ParseMAC(t.Bond.MAC); err == nil && m != bond.MAC {
		macs = nil // the bond gets another one, and the driver sees to its slaves
	}
	// The active slave's last: the address that it is to have may be another's still.
	for _, active := range []bool{false, true} {
		for _, l := range slaves {
			if m, ok := macs[l.Index]; ok && kept(l) && active == (l.Index == bond.Bond.ActiveSlave) {
				rigid := slices.Contains(t.Rigid, l.Name)
				list = append(
					list,
					mend{
						slave: l,
						mac:   m,
						wait:  slices.Contains(t.Stuck, l.Name),
						leave: active && rigid && t.Bond.Mode() == bonding.ActiveBackup &&
							spare(slaves, l, macs) != nil,
					},
				)
			}
		}
	}
	for _, l := range slaves {
		// With another one for the bond its slaves get it as well.
		if l.MTU == bond.MTU || !kept(l) || t.Bond.MTU != 0 && t.Bond.MTU != bond.MTU {
			continue
		}
		m := mend{slave: l, mtu: bond.MTU}
		other := spare(slaves, l, macs) != nil
		switch {
		case t.Bond.Mode() == bonding.ActiveBackup && l.Index == bond.Bond.ActiveSlave && other:
			m.leave, m.wait = true, true
		case !other && l.MTU > bond.MTU:
			// It loses nothing by it, and there is nothing else to carry the traffic.
			m.wait = l.LinkUp()
		}
		list = append(list, m)
	}
	for _, l := range slaves {
		if kept(l) && !l.Up {
			list = append(list, mend{slave: l, up: true})
		}
	}
	return list
}

func slavesOf(n *state.Network, bond *state.Link) []*state.Link {
	var slaves []*state.Link
	for i := range n.Links {
		if l := &n.Links[i]; l.Master == bond.Index && l.Slave != nil {
			slaves = append(slaves, l)
		}
	}
	return slaves
}

// spare is a slave that could carry the bond's traffic in the place of another one.
func spare(slaves []*state.Link, other *state.Link, wrong map[int]state.MAC) *state.Link {
	for _, l := range slaves {
		if _, bad := wrong[l.Index]; l != other && l.LinkUp() && l.Slave.MIIStatus == state.MIIUp && !bad {
			return l
		}
	}
	return nil
}

// wantedMACs are the addresses of the slaves that have another one than the bond
// relies on, by interface index. before is an earlier network, nil if there is none.
//
// Without fail_over_mac every slave has the bond's. In the other cases the
// driver moves addresses about among the slaves, and an arrangement that it has
// not made may be one that it is just making, for the links are not all read at
// one moment: it has to be found twice. An address that is none of the bond's is
// no such thing.
func wantedMACs(bond *state.Link, slaves []*state.Link, before *state.Network) map[int]state.MAC {
	if bond.MAC.IsZero() {
		return nil
	}
	mode, fom := bond.Bond.Options.Mode(), bond.Bond.Options["fail_over_mac"]
	a := arrangement{bond: bond, slaves: slaves, before: before, want: make(map[int]state.MAC)}
	switch {
	case mode.SwapsMACs():
		// bond_alb_handle_active_change, alb_handle_addr_collision_on_attach
		// (bond_alb.c): the active slave has the bond's address, each of the
		// others an address of its own from among those that the cards came with.
		if a.active() != nil {
			a.activeHasTheBonds()
			a.othersHaveTheirOwn()
		}
	case mode == bonding.ActiveBackup && fom == "active":
		// The bond takes its active slave's address at a failover. What the
		// others have is theirs, and the bond relies on none of it.
		a.activeHasTheBonds()
	case mode == bonding.ActiveBackup && fom == "follow":
		// bond_do_fail_over_mac: the active slave has the bond's, and the two
		// swap at a failover. Those of the others may be random (bond_enslave).
		if a.active() != nil {
			a.activeHasTheBonds()
			a.othersDiffer()
		}
	default:
		for _, l := range slaves {
			if l.MAC != bond.MAC {
				a.want[l.Index] = bond.MAC
			}
		}
	}
	return a.want
}

// An arrangement is which slave has which address.
type arrangement struct {
	bond   *state.Link
	slaves []*state.Link
	before *state.Network
	want   map[int]state.MAC
}

func (a *arrangement) active() *state.Link {
	for _, l := range a.slaves {
		if l.Index == a.bond.Bond.ActiveSlave {
			return l
		}
	}
	return nil
}

// known reports whether the driver may have given a slave this address.
func (a *arrangement) known(m state.MAC) bool {
	return m == a.bond.MAC ||
		slices.ContainsFunc(a.slaves, func(l *state.Link) bool { return l.Slave.EnslavedMAC == m })
}

// lasts reports whether a slave had the same address at the read before, under
// the same active slave.
func (a *arrangement) lasts(l *state.Link) bool {
	if a.before == nil {
		return false
	}
	b, o := a.before.LinkByIndex(a.bond.Index), a.before.LinkByIndex(l.Index)
	return b != nil && b.Bond != nil && b.Bond.ActiveSlave == a.bond.Bond.ActiveSlave && b.MAC == a.bond.MAC &&
		o != nil &&
		o.MAC == l.MAC
}

// set plans an address for a slave that has the wrong one.
func (a *arrangement) set(l *state.Link, m state.MAC) {
	if l.MAC != m && (!a.known(l.MAC) || a.lasts(l)) {
		a.want[l.Index] = m
	}
}

func (a *arrangement) activeHasTheBonds() {
	if l := a.active(); l != nil {
		a.set(l, a.bond.MAC)
	}
}

// othersHaveTheirOwn gives each slave that has an address which is not one of
// the cards', or which another slave has, one that is free: the one that it had
// at the read before, or came with, or another.
func (a *arrangement) othersHaveTheirOwn() {
	taken := map[state.MAC]bool{a.bond.MAC: true}
	var wrong []*state.Link
	for _, l := range a.slaves {
		switch {
		case l.Index == a.bond.Bond.ActiveSlave:
		case taken[l.MAC] || !a.known(l.MAC):
			wrong = append(wrong, l)
		default:
			taken[l.MAC] = true
		}
	}
	for _, l := range wrong {
		var candidates []state.MAC
		if a.before != nil {
			if o := a.before.LinkByIndex(l.Index); o != nil && a.known(o.MAC) {
				candidates = append(candidates, o.MAC)
			}
		}
		candidates = append(candidates, l.Slave.EnslavedMAC)
		for _, o := range a.slaves {
			candidates = append(candidates, o.Slave.EnslavedMAC)
		}
		for _, m := range candidates {
			if !m.IsZero() && !taken[m] {
				taken[m] = true
				a.set(l, m)
				break
			}
		}
	}
}

// othersDiffer keeps the bond's address, and every other, to one slave.
func (a *arrangement) othersDiffer() {
	taken := map[state.MAC]bool{a.bond.MAC: true}
	for _, l := range a.slaves {
		if l.Index == a.bond.Bond.ActiveSlave {
			continue
		}
		if own := l.Slave.EnslavedMAC; taken[l.MAC] && !own.IsZero() && !taken[own] {
			a.set(l, own)
			taken[own] = true
			continue
		}
		taken[l.MAC] = true
	}
}

// mend plans what puts a slave right.
func (p *planner) mend(m *mend) {
	name := m.slave.Name
	switch {
	case m.wait:
	case m.up:
		p.add(state.SetUp{Link: name, Up: true})
	case m.mtu != 0:
		p.add(state.SetMTU{Link: name, MTU: m.mtu})
	case slices.Contains(p.Rigid, name) && m.slave.Up:
		p.add(state.SetUp{Link: name}, state.SetMAC{Link: name, MAC: m.mac}, state.SetUp{Link: name, Up: true})
	default:
		p.add(state.SetMAC{Link: name, MAC: m.mac})
	}
}
