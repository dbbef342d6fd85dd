package simulator

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
)

// A nic is a network card, its cable, and the switch port at the other end.
type nic struct {
	index   int
	name    string
	present bool
	up      bool // IFF_UP
	noARP   bool
	ipv6    bool
	carrier bool
	turned  time.Time // when its carrier last changed
	master  bool      // it is the bond's slave

	speed    int           // Mb/s
	mac      state.MAC     // that it has at present
	cable    bool          // it is plugged in
	crashed  bool          // its device does not reply, and nothing passes; the carrier stays
	dead     bool          // nothing behind the switch port replies
	deadTo   [2]bool       // nor does this target alone
	oneWay   string        // what is lost: "in", from the switch to the card, or "out"; empty: nothing
	forwards time.Time     // when the switch port begins to forward
	delay    time.Duration // from link to forwarding
	training time.Duration // from up to carrier

	lost int // of 100 replies, in one direction

	mii      state.MIIStatus
	wait     int // inspections until updelay or downdelay is over
	active   bool
	failures uint64
	prio     int
	changes  uint64

	paths [2]pathModel // to each target

	lacp    string // what the switch port does: "agrees", "silent" (it has no LACP) or "other" (it is another switch's)
	blocked bool   // the switch port passes nothing since LACP is not agreed
	port    port
}

// good reports whether packets get through by the card.
func (n *nic) good(now time.Time) bool {
	return n.linked() && n.oneWay == "" && !n.blocked && !now.Before(n.forwards)
}

// A driver is the bonding driver with one bond, as far as bondd can tell:
// drivers/net/bonding/bond_main.c and bond_options.c of Linux 6.12.
type driver struct {
	exists  bool
	up      bool
	mac     state.MAC
	mtu     int
	options state.Options
	slaves  []*nic // in the order in which they were enslaved
	active  *nic
	primary string // the name that is recorded, be it a slave or not

	aggregator int // in mode 802.3ad the one in use; 0: none

	// changed is called for every change of the active slave; nil is none.
	changed func(from, to *nic)
}

const bondIndex = 100

func (d *driver) mode() bonding.Mode { return d.options.Mode() }

func (d *driver) number(option string) int {
	n, _ := strconv.Atoi(d.options[option])
	return n
}

// ticks is a delay in inspections.
func (d *driver) ticks(option string) int {
	if m := d.number("miimon"); m > 0 {
		return d.number(option) / m
	}
	return 0
}

// inspect is bond_miimon_inspect and bond_miimon_commit.
func (d *driver) inspect() {
	if !d.exists || !d.up || d.number("miimon") == 0 {
		return
	}
	ignoreUpdelay := d.active == nil
	if d.mode() != bonding.ActiveBackup {
		ignoreUpdelay = true
		for _, s := range d.slaves {
			if s.mii == state.MIIUp {
				ignoreUpdelay = false
			}
		}
	}
	reselect := false
	up := func(s *nic) {
		s.mii = state.MIIUp
		s.active = s == d.active || !d.mode().HasActiveSlave() && d.mode() != bonding.LACP
		reselect = reselect || d.active == nil || s.name == d.primary || s.prio > d.active.prio
	}
	for _, s := range d.slaves {
		link := s.up && s.carrier
		if s.mii == state.MIIUp && !link {
			s.mii, s.wait = state.MIIFail, d.ticks("downdelay")
		}
		if s.mii == state.MIIFail {
			switch {
			case link:
				up(s)
				continue
			case s.wait <= 0:
				s.mii, s.active = state.MIIDown, false
				s.failures++
				reselect = reselect || s == d.active
			default:
				s.wait--
			}
			continue
		}
		if s.mii == state.MIIDown && link {
			s.mii, s.wait = state.MIIBack, d.ticks("updelay")
			if ignoreUpdelay {
				s.wait = 0
			}
		}
		if s.mii == state.MIIBack {
			switch {
			case !link:
				s.mii = state.MIIDown
			case s.wait <= 0 || ignoreUpdelay:
				up(s)
				ignoreUpdelay = false
			default:
				s.wait--
			}
		}
	}
	if reselect {
		d.reselect(false)
	}
}

// reselect is bond_select_active_slave; force is bond->force_primary.
func (d *driver) reselect(force bool) {
	if !d.mode().HasActiveSlave() {
		return
	}
	if best := d.best(force); best != d.active {
		d.change(best)
	}
}

// best is bond_find_best_slave with bond_choose_primary_or_current.
func (d *driver) best(force bool) *nic {
	var preferred, highest *nic
	for _, s := range d.slaves {
		if s.name == d.primary {
			preferred = s
		}
		if s.mii == state.MIIUp && (highest == nil || s.prio > highest.prio) {
			highest = s
		}
	}
	current := d.active
	usable := func(s *nic) bool { return s != nil && s.mii == state.MIIUp }
	choose := func() *nic {
		if highest != nil && highest != current && (preferred == nil || preferred.mii != state.MIIUp) {
			preferred, force = highest, false
		} else if !usable(preferred) {
			if usable(current) {
				return current
			}
			return nil
		} else if force {
			return preferred
		}
		if !usable(current) {
			return preferred
		}
		switch d.options["primary_reselect"] {
		case "failure":
			return current
		case "better": // all links are full duplex
			if preferred.speed <= current.speed {
				return current
			}
		}
		return preferred
	}
	if s := choose(); s != nil {
		return s
	}
	var back *nic
	for _, s := range d.slaves {
		if s.mii == state.MIIUp {
			return s
		}
		if s.mii == state.MIIBack && s.up && (back == nil || s.wait < back.wait) {
			back = s
		}
	}
	return back
}

func (d *driver) change(to *nic) {
	from := d.active
	if from != nil {
		from.active = false
	}
	if to != nil {
		to.active, to.mii, to.wait = true, state.MIIUp, 0
	}
	d.active = to
	d.failOverMAC(from, to)
	d.changed(from, to)
}

// failOverMAC is bond_do_fail_over_mac.
func (d *driver) failOverMAC(from, to *nic) {
	switch {
	case to == nil || d.mode() != bonding.ActiveBackup:
	case d.options["fail_over_mac"] == "active":
		d.mac = to.mac
	case d.options["fail_over_mac"] == "follow" && from != nil:
		from.mac, to.mac = to.mac, from.mac
	case d.options["fail_over_mac"] == "follow":
		to.mac = d.mac
	}
}

var errRefused = errors.New("invalid argument")

// setActive is bond_option_active_slave_set.
func (d *driver) setActive(to *nic) error {
	switch {
	case !d.exists || to == nil || !to.master:
		return errRefused
	case to == d.active:
		return nil
	case d.active == nil || to.mii != state.MIIUp || !to.up || !to.carrier:
		return errRefused
	}
	d.change(to)
	return nil
}

// setOption writes one option, as far as its effects matter here.
func (d *driver) setOption(option, value string) error {
	switch option {
	case "mode":
		if d.up || len(d.slaves) > 0 {
			return errRefused
		}
	case "fail_over_mac":
		if len(d.slaves) > 0 {
			return errRefused
		}
	case "updelay", "downdelay", "peer_notif_delay":
		if d.number("miimon") == 0 {
			return errRefused
		}
	}
	d.options[option] = value
	switch option {
	case "primary":
		d.primary = value
		d.reselect(true)
	case "primary_reselect":
		d.reselect(false)
	}
	return nil
}

// enslave is bond_enslave.
func (d *driver) enslave(n *nic) error {
	if n == nil || !n.present || n.crashed || n.master || n.up || !d.exists {
		return errRefused
	}
	n.master, n.up, n.prio = true, true, 0
	n.mii, n.wait, n.active = state.MIIDown, 0, false
	n.port = newPort()
	if fom := d.options["fail_over_mac"]; d.mode() != bonding.ActiveBackup || fom == "" || fom == "none" {
		n.mac = d.mac
	}
	if n.carrier {
		n.mii = state.MIIUp
		if d.ticks("updelay") > 0 {
			n.mii, n.wait = state.MIIBack, d.ticks("updelay")
		}
	}
	d.slaves = append(d.slaves, n)
	if d.mode().HasActiveSlave() {
		d.reselect(n.name == d.primary)
	} else {
		n.active = d.mode() != bonding.LACP
	}
	return nil
}

// release is __bond_release_one; gone: the card itself is removed.
func (d *driver) release(n *nic) error {
	if n == nil || !n.master {
		return errRefused
	}
	for i, s := range d.slaves {
		if s == n {
			d.slaves = append(d.slaves[:i:i], d.slaves[i+1:]...)
			break
		}
	}
	n.master, n.active = false, false
	if d.mode() == bonding.LACP {
		d.selectAggregator() // as bond_3ad_unbind_slave
	}
	if d.active == n {
		d.active = nil
		if best := d.best(false); best != nil {
			d.active = best
			best.active, best.mii = true, state.MIIUp
			d.failOverMAC(n, best)
			d.changed(n, best)
		} else {
			d.changed(n, nil)
		}
	}
	n.mac = ownMAC(n.index)
	return nil
}

// carrier is the bond's own (bond_set_carrier).
func (d *driver) carrier() bool {
	if d.mode() == bonding.LACP {
		return d.lacpBond().Ports > 0
	}
	for _, s := range d.slaves {
		if s.mii == state.MIIUp || s.mii == state.MIIFail {
			return true
		}
	}
	return false
}

// network is what a read of the kernel finds.
func (w *World) network() *state.Network {
	d := &w.driver
	n := &state.Network{Links: make([]state.Link, 0, len(w.nics)+1)}
	for _, c := range w.nics {
		if !c.present {
			continue
		}
		l := state.Link{Index: c.index, Name: c.name, Kind: "veth", MAC: c.mac, PermanentMAC: ownMAC(c.index),
			MTU: 1500, Up: c.up, Carrier: c.up && c.carrier, NoARP: c.noARP, IPv6: c.ipv6, CarrierChanges: c.changes}
		if c.master {
			l.Master = bondIndex
			l.Slave = &state.SlaveLink{Active: c.active, MIIStatus: c.mii, LinkFailures: c.failures, Prio: c.prio}
			if d.mode() == bonding.LACP {
				l.Slave.LACP = c.lacpLink()
			}
		}
		n.Links = append(n.Links, l)
	}
	if !d.exists {
		return n
	}
	options := make(state.Options, len(d.options))
	for k, v := range d.options {
		options[k] = v
	}
	options["primary"] = ""
	for _, s := range d.slaves {
		if s.name == d.primary {
			options["primary"] = s.name
		}
	}
	if !d.mode().HasActiveSlave() {
		delete(options, "primary")
	}
	bond := state.Link{Index: bondIndex, Name: "bond0", Kind: "bond", MAC: d.mac, MTU: d.mtu, Up: d.up,
		Carrier: d.up && d.carrier(), IPv6: true, Bond: &state.BondLink{Options: options}}
	if d.active != nil {
		bond.Bond.ActiveSlave = d.active.index
	}
	if d.mode() == bonding.LACP {
		bond.Bond.LACP = d.lacpBond()
	}
	n.Links = append(n.Links, bond)
	n.Addresses = append(n.Addresses, w.addresses...)
	return n
}

func ownMAC(index int) state.MAC { return state.MAC{2, 0, 0, 0, 0, byte(index)} }

// do carries an operation out.
func (w *World) do(op state.Op) error {
	d := &w.driver
	link := w.byName
	switch op := op.(type) {
	case state.CreateBond:
		*d = driver{exists: true, mac: op.MAC, mtu: 1500, options: make(state.Options), changed: d.changed}
		for k, v := range op.Options {
			d.options[k] = v
		}
	case state.SetOption:
		return d.setOption(op.Option, op.Value)
	case state.SetSlaveOption:
		n := link(op.Slave)
		if n == nil || !n.master || op.Option != "prio" {
			return errRefused
		}
		n.prio, _ = strconv.Atoi(op.Value)
		d.reselect(false)
	case state.SetUp:
		if op.Link == "bond0" {
			d.up = op.Up
			return nil
		}
		n := link(op.Link)
		if n == nil || n.crashed && op.Up {
			return errRefused
		}
		w.setUp(n, op.Up)
	case state.Park:
		n := link(op.Link)
		if n == nil || n.master || n.crashed {
			return errRefused
		}
		n.noARP, n.ipv6 = true, false
		w.setUp(n, true)
	case state.Unpark:
		n := link(op.Link)
		if n == nil {
			return errRefused
		}
		n.noARP, n.ipv6 = false, true
		w.setUp(n, false)
	case state.OpenBond:
		d.up = true
		d.reselect(false)
	case state.SetMAC:
		if op.Link == "bond0" {
			d.mac = op.MAC
			for _, s := range d.slaves { // bond_set_mac_address; without fail_over_mac
				s.mac = op.MAC
			}
		} else if n := link(op.Link); n != nil {
			n.mac = op.MAC
		}
	case state.SetMTU:
		if op.Link == "bond0" {
			d.mtu = op.MTU
		}
	case state.Enslave:
		n := link(op.Slave)
		if err := d.enslave(n); err != nil {
			return err
		}
		w.retrain(n)
	case state.Release:
		n := link(op.Slave)
		w.checkRelease(n)
		if err := d.release(n); err != nil {
			return err
		}
		w.setUp(n, false)
	case state.AddAddress:
		w.addresses = append(w.addresses, state.Address{Index: bondIndex, Prefix: op.Prefix, Broadcast: op.Broadcast,
			Permanent: op.Lifetime == 0})
	case state.DelAddress, state.RestoreAddress, state.DelRoute, state.RestoreRoute:
		// Without effect on what is looked at here.
	default:
		return fmt.Errorf("the model does not know %T", op)
	}
	return nil
}
