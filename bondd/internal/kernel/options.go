package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// An option is how one bonding option travels: its attribute inside
// IFLA_INFO_DATA or IFLA_INFO_SLAVE_DATA and the form of its value (bond_policy
// and bond_fill_info, drivers/net/bonding/bond_netlink.c).
type option struct {
	name  string
	attr  uint16
	form  form
	words []string // of an enum: the word of each value (bond_options.c)
}

type form uint8

const (
	formU8 form = iota
	formU16
	formU32
	formS32
	formEnum   // u8, told by a word
	formEnum32 // u32, told by a word
	formSlave  // u32, an interface index, told by the slave's name
	formMAC    // six bytes, all of them zero for none
	formIPv4   // nested: addresses, in the slots' order
	formIPv6
)

// An attribute of a slave that golang.org/x/sys/unix does not name
// (include/uapi/linux/if_link.h).
const (
	slaveChurnActor   = 11 // IFLA_BOND_SLAVE_AD_CHURN_ACTOR_STATE
	slaveChurnPartner = 12 // IFLA_BOND_SLAVE_AD_CHURN_PARTNER_STATE
)

// options has every option that bondd reads and writes, in the order in which
// bond_changelink applies them, so that a message with several is applied as
// this table reads.
var options = []option{
	{"mode", unix.IFLA_BOND_MODE, formEnum, []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}},
	{"active_slave", unix.IFLA_BOND_ACTIVE_SLAVE, formSlave, nil},
	{"miimon", unix.IFLA_BOND_MIIMON, formU32, nil},
	{"updelay", unix.IFLA_BOND_UPDELAY, formU32, nil},
	{"downdelay", unix.IFLA_BOND_DOWNDELAY, formU32, nil},
	{"peer_notif_delay", unix.IFLA_BOND_PEER_NOTIF_DELAY, formU32, nil},
	{"arp_interval", unix.IFLA_BOND_ARP_INTERVAL, formU32, nil},
	{"arp_ip_target", unix.IFLA_BOND_ARP_IP_TARGET, formIPv4, nil},
	{"ns_ip6_target", unix.IFLA_BOND_NS_IP6_TARGET, formIPv6, nil},
	{"arp_validate", unix.IFLA_BOND_ARP_VALIDATE, formEnum32, []string{"none", "active", "backup", "all", "filter", "filter_active", "filter_backup"}},
	{"arp_all_targets", unix.IFLA_BOND_ARP_ALL_TARGETS, formEnum32, []string{"any", "all"}},
	{"primary", unix.IFLA_BOND_PRIMARY, formSlave, nil},
	{"primary_reselect", unix.IFLA_BOND_PRIMARY_RESELECT, formEnum, []string{"always", "better", "failure"}},
	{"fail_over_mac", unix.IFLA_BOND_FAIL_OVER_MAC, formEnum, []string{"none", "active", "follow"}},
	{"xmit_hash_policy", unix.IFLA_BOND_XMIT_HASH_POLICY, formEnum, []string{"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"}},
	{"resend_igmp", unix.IFLA_BOND_RESEND_IGMP, formU32, nil},
	{"num_grat_arp", unix.IFLA_BOND_NUM_PEER_NOTIF, formU8, nil},
	{"all_slaves_active", unix.IFLA_BOND_ALL_SLAVES_ACTIVE, formU8, nil},
	{"min_links", unix.IFLA_BOND_MIN_LINKS, formU32, nil},
	{"lp_interval", unix.IFLA_BOND_LP_INTERVAL, formU32, nil},
	{"packets_per_slave", unix.IFLA_BOND_PACKETS_PER_SLAVE, formU32, nil},
	{"lacp_active", unix.IFLA_BOND_AD_LACP_ACTIVE, formU8, nil},
	{"lacp_rate", unix.IFLA_BOND_AD_LACP_RATE, formEnum, []string{"slow", "fast"}},
	{"ad_select", unix.IFLA_BOND_AD_SELECT, formEnum, []string{"stable", "bandwidth", "count"}},
	{"ad_actor_sys_prio", unix.IFLA_BOND_AD_ACTOR_SYS_PRIO, formU16, nil},
	{"ad_user_port_key", unix.IFLA_BOND_AD_USER_PORT_KEY, formU16, nil},
	{"ad_actor_system", unix.IFLA_BOND_AD_ACTOR_SYSTEM, formMAC, nil},
	{"tlb_dynamic_lb", unix.IFLA_BOND_TLB_DYNAMIC_LB, formU8, nil},
	{"arp_missed_max", unix.IFLA_BOND_MISSED_MAX, formU8, nil},
	{"coupled_control", unix.IFLA_BOND_COUPLED_CONTROL, formU8, nil},
}

// slaveOptions has every option of a slave that bondd writes.
var slaveOptions = []option{
	{"prio", unix.IFLA_BOND_SLAVE_PRIO, formS32, nil},
}

func optionByName(table []option, name string) (*option, error) {
	for i := range table {
		if table[i].name == name {
			return &table[i], nil
		}
	}
	return nil, fmt.Errorf("bonding option %q is not known", name)
}

// encode appends the option with this value. index finds a slave's interface index.
func (o *option) encode(ae *netlink.AttributeEncoder, value string, index func(name string) (int, error)) error {
	var err error
	switch o.form {
	case formEnum, formEnum32:
		n := slices.Index(o.words, value)
		if n < 0 {
			return fmt.Errorf("bonding option %s has no value %q", o.name, value)
		}
		if o.form == formEnum {
			ae.Uint8(o.attr, uint8(n))
		} else {
			ae.Uint32(o.attr, uint32(n))
		}
	case formSlave:
		i := 0 // the kernel's "none"
		if value != "" {
			i, err = index(value)
		}
		ae.Uint32(o.attr, uint32(i))
	case formMAC:
		var m state.MAC
		m, err = state.ParseMAC(value)
		ae.Bytes(o.attr, m[:])
	case formIPv4, formIPv6:
		err = o.encodeAddresses(ae, value)
	case formS32:
		var n int64
		n, err = strconv.ParseInt(value, 10, 32)
		ae.Int32(o.attr, int32(n))
	default:
		err = o.encodeNumber(ae, value)
	}
	if err != nil {
		return fmt.Errorf("bonding option %s has no value %q: %w", o.name, value, err)
	}
	return nil
}

func (o *option) encodeNumber(ae *netlink.AttributeEncoder, value string) error {
	bits := map[form]int{formU8: 8, formU16: 16, formU32: 32}[o.form]
	n, err := strconv.ParseUint(value, 10, bits)
	switch o.form {
	case formU8:
		ae.Uint8(o.attr, uint8(n))
	case formU16:
		ae.Uint16(o.attr, uint16(n))
	default:
		ae.Uint32(o.attr, uint32(n))
	}
	return err
}

// encodeAddresses appends a list of targets. The kernel replaces the whole set
// by it: an empty list takes all away.
func (o *option) encodeAddresses(ae *netlink.AttributeEncoder, value string) error {
	var targets []netip.Addr
	for s := range strings.SplitSeq(value, ",") {
		if value == "" {
			break
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return err
		}
		if a.Is4() != (o.form == formIPv4) || a.Zone() != "" {
			return fmt.Errorf("%s is of the wrong kind", a)
		}
		targets = append(targets, a)
	}
	ae.Nested(o.attr, func(ae *netlink.AttributeEncoder) error {
		for i, a := range targets {
			ae.Bytes(uint16(i), a.AsSlice())
		}
		return nil
	})
	return nil
}

// decode is the text form of the attribute that ad is at.
func (o *option) decode(ad *netlink.AttributeDecoder) string {
	switch o.form {
	case formEnum:
		return o.word(uint32(ad.Uint8()))
	case formEnum32:
		return o.word(ad.Uint32())
	case formU8:
		return strconv.Itoa(int(ad.Uint8()))
	case formU16:
		return strconv.Itoa(int(ad.Uint16()))
	case formMAC:
		return net.HardwareAddr(ad.Bytes()).String()
	case formIPv4, formIPv6:
		var targets []string
		ad.Nested(func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				if a, ok := netip.AddrFromSlice(ad.Bytes()); ok {
					targets = append(targets, a.String())
				}
			}
			return nil
		})
		return strings.Join(targets, ",")
	}
	return strconv.FormatUint(uint64(ad.Uint32()), 10)
}

// word is the word for a value; that of a newer kernel is shown as it is.
func (o *option) word(n uint32) string {
	if n < uint32(len(o.words)) {
		return o.words[n]
	}
	return strconv.FormatUint(uint64(n), 10)
}

// optional reports whether the kernel leaves the attribute out for "none".
func (o *option) optional() bool {
	return o.form == formSlave || o.form == formIPv4 || o.form == formIPv6
}

// decodeBond reads IFLA_INFO_DATA of a bond. Options that name a slave are left
// as the decimal index; nameSlaves turns them into names once all links are known.
func decodeBond(ad *netlink.AttributeDecoder) *state.BondLink {
	b := &state.BondLink{Options: make(state.Options, len(options))}
	for i := range options {
		if options[i].optional() {
			b.Options[options[i].name] = ""
		}
	}
	for ad.Next() {
		if ad.Type() == unix.IFLA_BOND_AD_INFO {
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				b.LACP = decodeLACP(ad)
				return nil
			})
			continue
		}
		for i := range options {
			if o := &options[i]; o.attr == ad.Type() {
				b.Options[o.name] = o.decode(ad)
			}
		}
	}
	b.ActiveSlave, _ = strconv.Atoi(b.Options["active_slave"])
	return b
}

// decodeLACP reads IFLA_BOND_AD_INFO, which a bond in mode 802.3ad has once an
// aggregator is active (bond_fill_info).
func decodeLACP(ad *netlink.AttributeDecoder) *state.LACP {
	l := &state.LACP{}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_BOND_AD_INFO_AGGREGATOR:
			l.Aggregator = int(ad.Uint16())
		case unix.IFLA_BOND_AD_INFO_NUM_PORTS:
			l.Ports = int(ad.Uint16())
		case unix.IFLA_BOND_AD_INFO_ACTOR_KEY:
			l.ActorKey = int(ad.Uint16())
		case unix.IFLA_BOND_AD_INFO_PARTNER_KEY:
			l.PartnerKey = int(ad.Uint16())
		case unix.IFLA_BOND_AD_INFO_PARTNER_MAC:
			l.PartnerMAC = mac(ad.Bytes())
		}
	}
	return l
}

// nameSlaves replaces the indexes in options that name a slave by names.
func nameSlaves(links []state.Link) {
	names := make(map[string]string, len(links))
	for i := range links {
		names[strconv.Itoa(links[i].Index)] = links[i].Name
	}
	for i := range links {
		b := links[i].Bond
		if b == nil {
			continue
		}
		for j := range options {
			if o := &options[j]; o.form == formSlave && b.Options[o.name] != "" {
				b.Options[o.name] = names[b.Options[o.name]]
			}
		}
	}
}
