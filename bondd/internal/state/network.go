package state

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"bondd.internal/config/bonding"
)

// A Network is the kernel's network state as read at one moment.
type Network struct {
	Links     []Link
	Addresses []Address
	Routes    []Route
	Others    []OtherRoute
}

// Link returns the link of that name, or nil.
func (n *Network) Link(name string) *Link {
	for i := range n.Links {
		if n.Links[i].Name == name {
			return &n.Links[i]
		}
	}
	return nil
}

// LinkByIndex returns the link of that index, or nil.
func (n *Network) LinkByIndex(index int) *Link {
	for i := range n.Links {
		if n.Links[i].Index == index {
			return &n.Links[i]
		}
	}
	return nil
}

// A Link is one network interface (RTM_NEWLINK, rtnetlink(7)).
type Link struct {
	Index        int
	Name         string
	Kind         string // IFLA_INFO_KIND: "bond", "veth", …; empty for a hardware NIC
	MAC          MAC
	PermanentMAC MAC // IFLA_PERM_ADDRESS: the factory's; zero where the driver has none
	MTU          int
	Master       int  // index of the bond it is enslaved to, or 0
	Lower        int  // index of the link below a VLAN and its like, or 0
	Up           bool // IFF_UP: the administrator wants it up
	Carrier      bool // IFLA_CARRIER: the cable is in and the far end is there
	NoARP        bool // IFF_NOARP: it neither asks nor answers
	IPv6         bool // IPv6 runs on it (sysctl disable_ipv6)
	// when the first address of an IPv4 network goes, the next takes its place (sysctl
	// promote_secondaries)
	Promotes bool

	CarrierChanges uint64 // IFLA_CARRIER_CHANGES: both directions since the interface was made
	Counters       Counters

	Bond  *BondLink  // set where Kind is "bond"
	Slave *SlaveLink // set where it is a bond's slave
}

// LinkUp reports whether frames can leave by this link: it is up and has carrier.
func (l *Link) LinkUp() bool { return l.Up && l.Carrier }

// Parked reports whether the link is as the op Park leaves it.
func (l *Link) Parked() bool { return l.Up && l.NoARP && !l.IPv6 }

// A BondLink is what only a bond has (IFLA_INFO_DATA, IFLA_BOND_*).
type BondLink struct {
	ActiveSlave int     // index; 0 where there is none or the mode has none
	Options     Options // every option that the kernel reported and bondd knows
	LACP        *LACP   // set in mode 802.3ad
}

// LACP is what a bond in mode 802.3ad has agreed with its partner
// (IFLA_BOND_AD_INFO). A partner that never spoke has the MAC 00:00:00:00:00:00.
type LACP struct {
	Aggregator int `json:"aggregator"` // the active one
	Ports      int `json:"ports"`      // of the active aggregator
	ActorKey   int `json:"actor_key"`
	PartnerKey int `json:"partner_key"`
	PartnerMAC MAC `json:"partner_mac"`
}

// A SlaveLink is what only a slave of a bond has (IFLA_INFO_SLAVE_DATA, IFLA_BOND_SLAVE_*).
type SlaveLink struct {
	Active       bool      // IFLA_BOND_SLAVE_STATE: it may carry traffic
	MIIStatus    MIIStatus // the bonding driver's own view of the link
	LinkFailures uint64    // downs that the bonding driver itself counted
	Prio         int       // IFLA_BOND_SLAVE_PRIO: higher is preferred
	EnslavedMAC  MAC       // IFLA_BOND_SLAVE_PERM_HWADDR: what it had when it was enslaved
	LACP         *LACPPort // set in mode 802.3ad
}

// A LACPPort is a slave as LACP sees it (IEEE 802.1AX, 6.4.7).
type LACPPort struct {
	Aggregator   int       `json:"aggregator"`    // that it belongs to
	Actor        PortState `json:"actor"`         // what this end says
	Partner      PortState `json:"partner"`       // what the other end said last
	ActorChurn   string    `json:"actor_churn"`   // "none", "monitoring" or "churned"
	PartnerChurn string    `json:"partner_churn"` // the same of the other end
}

// A PortState is the state of a LACP port, the bits of IEEE 802.1AX, 6.4.2.3
// (LACP_STATE_*, include/uapi/linux/if_bonding.h).
type PortState uint8

// The bits of a PortState.
const (
	PortActivity        PortState = 1 << iota // speaks without being asked
	PortTimeout                               // wants to hear every second, not every 30
	PortAggregation                           // may be aggregated
	PortSynchronization                       // is in the right aggregator
	PortCollecting                            // takes traffic in
	PortDistributing                          // sends traffic out
	PortDefaulted                             // hears nothing, acts on defaults
	PortExpired                               // has heard nothing for too long
)

var portWords = [...]string{
	"activity",
	"timeout",
	"aggregation",
	"synchronization",
	"collecting",
	"distributing",
	"defaulted",
	"expired",
}

// Words lists the bits that are set, by their names in the standard.
func (p PortState) Words() []string {
	words := []string{}
	for i, w := range portWords {
		if p&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return words
}

// MarshalJSON writes the names of the bits that are set.
func (p PortState) MarshalJSON() ([]byte, error) { return json.Marshal(p.Words()) }

// Carries reports whether traffic passes by a port in both directions.
func (p *LACPPort) Carries() bool {
	const both = PortSynchronization | PortCollecting | PortDistributing
	return p.Actor&both == both && p.Partner&(PortSynchronization|PortCollecting) == PortSynchronization|PortCollecting
}

// Options are bonding options: the kernel's name of the option to its value in
// the kernel's text form, as /sys/class/net/*/bonding/ and bonding.rst have
// them. Times are in milliseconds, lists separated by commas, a slave is its
// name, and "none at all" is the empty string:
//
//	{"mode": "active-backup", "miimon": "100", "primary": "eth0"}
type Options map[string]string

// Mode is the bond's mode; empty where the kernel has not told it.
func (o Options) Mode() bonding.Mode { return bonding.Mode(o["mode"]) }

// MIIStatus is the bonding driver's view of a slave's link (include/uapi/linux/if_bonding.h).
type MIIStatus uint8

// The states of a link. While Fail, the driver still sends by that slave.
const (
	MIIUp   MIIStatus = iota // up
	MIIFail                  // lost, downdelay is running
	MIIDown                  // down
	MIIBack                  // returned, updelay is running
)

func (s MIIStatus) String() string {
	if int(s) < len(miiNames) {
		return miiNames[s]
	}
	return "unknown"
}

var miiNames = [...]string{"up", "going down", "down", "going back"} // bond_slave_link_status, include/net/bonding.h

// MarshalText writes the driver's own words.
func (s MIIStatus) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the driver's own words.
func (s *MIIStatus) UnmarshalText(b []byte) error {
	i := slices.Index(miiNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("%q is not a state of a link", b)
	}
	*s = MIIStatus(i)
	return nil
}

// An Address is an IP address on a link (RTM_NEWADDR).
type Address struct {
	Index     int // of the link
	Prefix    netip.Prefix
	Broadcast netip.Addr // IPv4 only; invalid where there is none
	Permanent bool       // IFA_F_PERMANENT: has no lifetime
	LinkLocal bool       // scope link
	Protocol  int        // IFA_PROTO: who added it; 0: did not say, or the kernel is older than 5.18
	// in hundredths of a second since the machine's start: tells it from a later one of the same prefix
	Created uint32
	Message string // the kernel's own, where the address may have to be put back
}

// A Route is a route of the main table (RTM_NEWROUTE).
type Route struct {
	Index    int // of the link it leaves by
	Dst      netip.Prefix
	Gateway  netip.Addr // invalid for a route on the link
	Metric   int
	Protocol int    // RTPROT_*: who made it
	Shared   bool   // it is one of several of its destination that share traffic out; Protocol is that of the first
	Message  string // the kernel's own, where the route may have to be put back; empty for one that is shared
}

// An OtherRoute is a route that bondd does not compare with anything: of another
// table than the main one, or shared out over several gateways. It is read where
// bondd may have to put it back.
type OtherRoute struct {
	Index   int    // of the link that all of its ways leave by
	Text    string // for a person
	Gateway bool   // it needs another route, to its gateway
	Message string // the kernel's own
}

// Counters are the counters of a link, folded from rtnl_link_stats64 as
// ifconfig and /proc/net/dev fold them (net/core/net-procfs.c, dev_seq_printf_stats).
type Counters struct {
	RxPackets   uint64 `json:"rx_packets"`
	RxBytes     uint64 `json:"rx_bytes"`
	RxErrors    uint64 `json:"rx_errors"`
	RxDropped   uint64 `json:"rx_dropped"`
	RxOverruns  uint64 `json:"rx_overruns"`
	RxFrame     uint64 `json:"rx_frame"`
	RxNoHandler uint64 `json:"rx_nohandler"` // arrived on a standby for nobody: no fault
	TxPackets   uint64 `json:"tx_packets"`
	TxBytes     uint64 `json:"tx_bytes"`
	TxErrors    uint64 `json:"tx_errors"`
	TxDropped   uint64 `json:"tx_dropped"`
	TxOverruns  uint64 `json:"tx_overruns"`
	TxCarrier   uint64 `json:"tx_carrier"`
	Collisions  uint64 `json:"collisions"`
}
