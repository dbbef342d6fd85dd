package state

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// An Op is one write to the kernel's network state. Ops name links, not
// indexes: an op may follow the one that makes its link. String says what it
// does as a person would, for plans and logs.
type Op interface {
	fmt.Stringer
	// Subject is the link that the op is about: when an op fails, the later
	// ones about the same link are not tried.
	Subject() string
}

// CreateBond makes a bond, down and without slaves. It succeeds or fails as a
// whole (bond_newlink, drivers/net/bonding/bond_netlink.c).
type CreateBond struct {
	Name    string
	MAC     MAC     // zero: the kernel's choice
	Options Options // those that do not name a slave
}

// SetOption writes one bonding option. The kernel does not undo the first
// attributes of a message when a later one is refused, so each goes alone.
type SetOption struct{ Bond, Option, Value string }

// SetSlaveOption writes one bonding option of a slave, such as prio.
type SetSlaveOption struct{ Slave, Bond, Option, Value string }

// SetUp takes a link up or down.
type SetUp struct {
	Link string
	Up   bool
}

// Park takes a NIC that belongs to no bond up for probes alone: it takes no
// address by itself and does not answer for the addresses of others. A NIC with
// the bond's MAC must say nothing, or the switch sends the bond's traffic there.
type Park struct{ Link string }

// Unpark takes a parked NIC down and lets it be as it was before.
type Unpark struct{ Link string }

// OpenBond takes a bond up, without VLAN 0 on its slaves.
type OpenBond struct{ Bond string }

// Rename gives a link another name.
type Rename struct{ Link, To string }

// SetMAC changes a link's address.
type SetMAC struct {
	Link string
	MAC  MAC
}

// SetMTU changes a link's MTU.
type SetMTU struct {
	Link string
	MTU  int // bytes
}

// Enslave makes a link, which has to be down, a slave. The kernel takes it up.
type Enslave struct{ Slave, Bond string }

// Release takes a slave out of its bond. The kernel takes it down.
type Release struct{ Slave, Bond string }

// AddAddress adds an address, or changes the lifetime of one that is there.
type AddAddress struct {
	Link      string
	Prefix    netip.Prefix
	Broadcast netip.Addr    // invalid: none
	Lifetime  time.Duration // 0: for ever
	Protocol  int           // IFA_PROTO: who adds it
}

// DelAddress removes an address.
type DelAddress struct {
	Link   string
	Prefix netip.Prefix
}

// RestoreAddress puts back an address that another program had added, as it was.
type RestoreAddress struct {
	Link    string
	Address Address
}

// KeepSecondaries has a link keep the other addresses of an IPv4 network when
// the first one goes; the kernel takes them all otherwise.
type KeepSecondaries struct{ Link string }

// RestoreRoute puts back a route that another program had made, as it was.
type RestoreRoute struct {
	Link    string
	Text    string // which route, for a person
	Message string // the kernel's own
	Route   Route  // the same, read; zero for one of Network.Others
}

// AddRoute adds a route to the main table, before another one of the same
// destination and metric.
type AddRoute struct {
	Link     string
	Dst      netip.Prefix
	Gateway  netip.Addr
	Metric   int
	Protocol int // RTPROT_*
}

// DelRoute removes a route from the main table.
type DelRoute struct {
	Link     string
	Dst      netip.Prefix
	Gateway  netip.Addr
	Metric   int
	Protocol int
}

// Subject implements Op.
func (o CreateBond) Subject() string { return o.Name }

// Subject implements Op.
func (o SetOption) Subject() string { return o.Bond }

// Subject implements Op.
func (o SetSlaveOption) Subject() string { return o.Slave }

// Subject implements Op.
func (o SetUp) Subject() string { return o.Link }

// Subject implements Op.
func (o Park) Subject() string { return o.Link }

// Subject implements Op.
func (o Unpark) Subject() string { return o.Link }

// Subject implements Op.
func (o OpenBond) Subject() string { return o.Bond }

// Subject implements Op.
func (o Rename) Subject() string { return o.Link }

// Subject implements Op.
func (o SetMAC) Subject() string { return o.Link }

// Subject implements Op.
func (o SetMTU) Subject() string { return o.Link }

// Subject implements Op.
func (o Enslave) Subject() string { return o.Slave }

// Subject implements Op.
func (o Release) Subject() string { return o.Slave }

// Subject implements Op.
func (o AddAddress) Subject() string { return o.Link }

// Subject implements Op.
func (o DelAddress) Subject() string { return o.Link }

// Subject implements Op.
func (o RestoreAddress) Subject() string { return o.Link }

// Subject implements Op.
func (o KeepSecondaries) Subject() string { return o.Link }

// Subject implements Op.
func (o RestoreRoute) Subject() string { return o.Link }

// Subject implements Op.
func (o AddRoute) Subject() string { return o.Link }

// Subject implements Op.
func (o DelRoute) Subject() string { return o.Link }

func (o CreateBond) String() string {
	monitor := "miimon"
	if ms := o.Options["arp_interval"]; ms != "" && ms != "0" {
		monitor = "arp_interval"
	}
	s := fmt.Sprintf("create bond %s: mode %s, %s %s", o.Name, o.Options["mode"], monitor, o.Options[monitor])
	if !o.MAC.IsZero() {
		s += ", MAC " + o.MAC.String()
	}
	return s
}

func (o SetOption) String() string {
	value := o.Value
	if value == "" {
		value = "none"
	}
	return fmt.Sprintf("set %s of %s to %s", o.Option, o.Bond, value)
}

func (o SetSlaveOption) String() string {
	return fmt.Sprintf("set %s of %s in %s to %s", o.Option, o.Slave, o.Bond, o.Value)
}

func (o SetUp) String() string {
	if o.Up {
		return "take " + o.Link + " up"
	}
	return "take " + o.Link + " down"
}

func (o Park) String() string   { return "park " + o.Link + ": up, for probes alone" }
func (o Unpark) String() string { return "end the parking of " + o.Link }

func (o OpenBond) String() string { return "take " + o.Bond + " up" }

func (o Rename) String() string  { return fmt.Sprintf("rename %s to %s", o.Link, o.To) }
func (o SetMAC) String() string  { return fmt.Sprintf("set MAC of %s to %s", o.Link, o.MAC) }
func (o SetMTU) String() string  { return fmt.Sprintf("set MTU of %s to %d", o.Link, o.MTU) }
func (o Enslave) String() string { return fmt.Sprintf("enslave %s to %s", o.Slave, o.Bond) }
func (o Release) String() string { return fmt.Sprintf("release %s from %s", o.Slave, o.Bond) }

func (o AddAddress) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "add address %s to %s", o.Prefix, o.Link)
	if o.Broadcast.IsValid() {
		fmt.Fprintf(&s, ", broadcast %s", o.Broadcast)
	}
	if o.Lifetime > 0 {
		fmt.Fprintf(&s, ", for %s", o.Lifetime)
	}
	return s.String()
}

func (o DelAddress) String() string {
	return fmt.Sprintf("remove address %s from %s", o.Prefix, o.Link)
}

func (o RestoreAddress) String() string {
	return fmt.Sprintf("put address %s back to %s", o.Address.Prefix, o.Link)
}

func (o KeepSecondaries) String() string {
	return "keep the other addresses of " + o.Link + " when the first of a network goes"
}

func (o RestoreRoute) String() string { return "put route " + o.Text + " back" }

func (o AddRoute) String() string { return "add route " + o.Text() }

// Text describes the route for a person.
func (o AddRoute) Text() string { return route(o.Dst, o.Gateway, o.Link) }

func (o DelRoute) String() string { return "remove route " + route(o.Dst, o.Gateway, o.Link) }

func route(dst netip.Prefix, gateway netip.Addr, link string) string {
	if !gateway.IsValid() {
		return fmt.Sprintf("to %s by %s", dst, link)
	}
	return fmt.Sprintf("to %s via %s by %s", dst, gateway, link)
}
