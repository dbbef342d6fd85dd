package bonding

import (
	"fmt"
	"slices"
)

// A Mode is a mode of the driver: the kernel's name of it, as it stands in
// state.Options and in the file. It can be one that this package does not know,
// of a newer kernel; then it is the kernel's number in decimal.
type Mode string

// The modes, in the order of the kernel's numbers, BOND_MODE_ROUNDROBIN (0) to
// BOND_MODE_ALB (6) (include/uapi/linux/if_bonding.h).
const (
	BalanceRR    Mode = "balance-rr"
	ActiveBackup Mode = "active-backup"
	BalanceXOR   Mode = "balance-xor"
	Broadcast    Mode = "broadcast"
	LACP         Mode = "802.3ad"
	BalanceTLB   Mode = "balance-tlb"
	BalanceALB   Mode = "balance-alb"
)

// What some modes have in common.
var (
	withActiveSlave = []Mode{ActiveBackup, BalanceTLB, BalanceALB}           // bond_uses_primary
	withARPMonitor  = []Mode{BalanceRR, ActiveBackup, BalanceXOR, Broadcast} // bond_mode_uses_arp
	withLACP        = []Mode{LACP}
	withOwnMACs     = []Mode{BalanceTLB, BalanceALB} // bond_is_lb
	withStaticGroup = []Mode{BalanceRR, BalanceXOR, Broadcast}
	withSpeed       = []Mode{LACP, BalanceTLB, BalanceALB} // bond_needs_speed_duplex
)

// Modes returns every mode, in the order of the kernel's numbers.
func Modes() []Mode {
	return []Mode{BalanceRR, ActiveBackup, BalanceXOR, Broadcast, LACP, BalanceTLB, BalanceALB}
}

// Names are the kernel's names of some modes.
func Names(modes []Mode) []string {
	names := make([]string, len(modes))
	for i, m := range modes {
		names[i] = m.String()
	}
	return names
}

// ParseMode reads a mode as the file may have it: its name, or the kernel's
// number of it in decimal.
func ParseMode(text string) (Mode, error) {
	o, _ := Lookup("mode")
	word, ok := o.ParseWord(text)
	if !ok {
		return "", fmt.Errorf("bonding mode %q is not known", text)
	}
	return Mode(word), nil
}

// String is the kernel's name of the mode.
func (m Mode) String() string { return string(m) }

// HasActiveSlave reports whether one slave is the active one, which can be
// chosen.
func (m Mode) HasActiveSlave() bool { return slices.Contains(withActiveSlave, m) }

// SharesTraffic reports whether traffic leaves by several slaves. That is every
// mode but active-backup; broadcast sends every frame by all of them.
func (m Mode) SharesTraffic() bool { return m != ActiveBackup }

// StaticGroup reports whether the switch takes the ports of the bond for one
// group without LACP, and sends to every one of them that has a link
// (Documentation/networking/bonding.rst, "Switch Configuration").
func (m Mode) StaticGroup() bool { return slices.Contains(withStaticGroup, m) }

// UsesARPMonitor reports whether the driver's ARP monitor can take the place of
// its link monitor.
func (m Mode) UsesARPMonitor() bool { return slices.Contains(withARPMonitor, m) }

// NeedsSpeed reports whether the driver keeps a slave down whose speed and duplex it
// does not know.
func (m Mode) NeedsSpeed() bool { return slices.Contains(withSpeed, m) }

// SwapsMACs reports whether every slave has a MAC of its own and the driver
// moves these about among the slaves, whatever fail_over_mac is.
func (m Mode) SwapsMACs() bool { return slices.Contains(withOwnMACs, m) }
