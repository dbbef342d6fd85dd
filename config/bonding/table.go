package bonding

import (
	"math"
	"time"
)

// table has one row for every option that bondd reads or writes. It is never
// written to.
var table = []Option{
	{
		Name:  "mode",
		Kind:  KindEnum,
		Words: Names(Modes()),
		// The kernel's default is balance-rr. It spreads the packets of one
		// connection over all slaves and wants a switch that is told of it;
		// active-backup works on any switch.
		Default:   string(ActiveBackup),
		OnlyDown:  true,
		OnlyEmpty: true,
		Attribute: 1, // IFLA_BOND_MODE
		Form:      FormU8,
	},
	{
		Name:      "miimon",
		Kind:      KindDuration,
		Max:       math.MaxInt32,
		Unit:      time.Millisecond,
		Default:   "100", // the kernel's is 0, a bond that never fails over
		Attribute: 3,     // IFLA_BOND_MIIMON
		Form:      FormU32,
	},
	{
		Name:       "updelay",
		Kind:       KindDuration,
		Max:        math.MaxInt32,
		Unit:       time.Millisecond,
		Default:    "0",
		MultipleOf: "miimon",
		Attribute:  4, // IFLA_BOND_UPDELAY
		Form:       FormU32,
	},
	{
		Name:       "downdelay",
		Kind:       KindDuration,
		Max:        math.MaxInt32,
		Unit:       time.Millisecond,
		Default:    "0",
		MultipleOf: "miimon",
		Attribute:  5, // IFLA_BOND_DOWNDELAY
		Form:       FormU32,
	},
	{
		Name:       "peer_notif_delay",
		Kind:       KindDuration,
		Max:        300_000,
		Unit:       time.Millisecond,
		Default:    "0",
		MultipleOf: "miimon",
		Attribute:  28, // IFLA_BOND_PEER_NOTIF_DELAY
		Form:       FormU32,
	},
	// The targets before the interval: the ARP monitor that has none to ask
	// takes every slave for down.
	{
		Name:      "arp_ip_target",
		Kind:      KindIPv4s,
		Default:   "",
		Needs:     "arp_interval",
		Attribute: 8, // IFLA_BOND_ARP_IP_TARGET
		Form:      FormNested,
	},
	{
		Name:      "ns_ip6_target",
		Kind:      KindIPv6s,
		Default:   "",
		Needs:     "arp_interval",
		Attribute: 31, // IFLA_BOND_NS_IP6_TARGET
		Form:      FormNested,
	},
	{
		Name:      "arp_interval",
		Kind:      KindDuration,
		Max:       math.MaxInt32,
		Unit:      time.Millisecond,
		Default:   "0",
		Modes:     withARPMonitor,
		Attribute: 7, // IFLA_BOND_ARP_INTERVAL
		Form:      FormU32,
	},
	{
		Name: "arp_validate",
		Kind: KindEnum,
		Words: []string{
			"none",
			"active",
			"backup",
			"all",
			"filter",
			"filter_active",
			"filter_backup",
		},
		Default:   "none",
		Modes:     withARPMonitor,
		Needs:     "arp_interval",
		Attribute: 9, // IFLA_BOND_ARP_VALIDATE
		Form:      FormU32,
	},
	{
		Name:      "arp_all_targets",
		Kind:      KindEnum,
		Words:     []string{"any", "all"},
		Default:   "any",
		Needs:     "arp_interval",
		Attribute: 10, // IFLA_BOND_ARP_ALL_TARGETS
		Form:      FormU32,
	},
	{
		Name:      "arp_missed_max",
		Kind:      KindInteger,
		Min:       1,
		Max:       255,
		Default:   "2",
		Modes:     withARPMonitor,
		Needs:     "arp_interval",
		Attribute: 30, // IFLA_BOND_MISSED_MAX
		Form:      FormU8,
	},
	{
		Name:      "primary",
		Kind:      KindSlave,
		Default:   "",
		Modes:     withActiveSlave,
		Attribute: 11, // IFLA_BOND_PRIMARY
		Form:      FormU32,
	},
	{
		Name:      "primary_reselect",
		Kind:      KindEnum,
		Words:     []string{"always", "better", "failure"},
		Default:   "always",
		Attribute: 12, // IFLA_BOND_PRIMARY_RESELECT
		Form:      FormU8,
	},
	{
		Name:      "fail_over_mac",
		Kind:      KindEnum,
		Words:     []string{"none", "active", "follow"},
		Default:   "none",
		Effective: []Mode{ActiveBackup},
		OnlyEmpty: true,
		Attribute: 13, // IFLA_BOND_FAIL_OVER_MAC
		Form:      FormU8,
	},
	{
		Name:      "num_grat_arp", // and, by another name, num_unsol_na: the kernel keeps one value for both
		Kind:      KindInteger,
		Max:       255,
		Default:   "1",
		Attribute: 16, // IFLA_BOND_NUM_PEER_NOTIF
		Form:      FormU8,
	},
	{
		Name:      "resend_igmp",
		Kind:      KindInteger,
		Max:       255,
		Default:   "1",
		Attribute: 15, // IFLA_BOND_RESEND_IGMP
		Form:      FormU32,
	},
	{
		Name: "xmit_hash_policy",
		Kind: KindEnum,
		Words: []string{
			"layer2",
			"layer3+4",
			"layer2+3",
			"encap2+3",
			"encap3+4",
			"vlan+srcmac",
		},
		Default:   "layer2",
		Attribute: 14, // IFLA_BOND_XMIT_HASH_POLICY
		Form:      FormU8,
	},
	{
		Name:      "packets_per_slave",
		Kind:      KindInteger,
		Max:       math.MaxUint16,
		Default:   "1",
		Modes:     []Mode{BalanceRR},
		Attribute: 20, // IFLA_BOND_PACKETS_PER_SLAVE
		Form:      FormU32,
	},
	{
		Name:      "all_slaves_active",
		Kind:      KindBool,
		Default:   "0",
		Attribute: 17, // IFLA_BOND_ALL_SLAVES_ACTIVE
		Form:      FormU8,
	},
	{
		Name:      "tlb_dynamic_lb",
		Kind:      KindBool,
		Default:   "1",
		Modes:     withOwnMACs,
		OnlyDown:  true,
		Attribute: 27, // IFLA_BOND_TLB_DYNAMIC_LB
		Form:      FormU8,
	},
	{
		Name:      "lp_interval",
		Kind:      KindDuration,
		Min:       1,
		Max:       math.MaxInt32,
		Unit:      time.Second,
		Default:   "1",
		Attribute: 19, // IFLA_BOND_LP_INTERVAL
		Form:      FormU32,
	},
	{
		Name:      "min_links",
		Kind:      KindInteger,
		Max:       math.MaxInt32,
		Default:   "0",
		Effective: withLACP, // bond_set_carrier asks for it nowhere else
		Attribute: 18,       // IFLA_BOND_MIN_LINKS
		Form:      FormU32,
	},
	{
		Name:      "lacp_active",
		Kind:      KindBool,
		Default:   "1",
		Modes:     withLACP,
		OnlyDown:  true,
		Attribute: 29, // IFLA_BOND_AD_LACP_ACTIVE
		Form:      FormU8,
	},
	{
		Name:      "lacp_rate",
		Kind:      KindEnum,
		Words:     []string{"slow", "fast"},
		Default:   "slow",
		Modes:     withLACP,
		OnlyDown:  true,
		Attribute: 21, // IFLA_BOND_AD_LACP_RATE
		Form:      FormU8,
	},
	{
		Name:      "ad_select",
		Kind:      KindEnum,
		Words:     []string{"stable", "bandwidth", "count"},
		Default:   "stable",
		Effective: withLACP,
		OnlyDown:  true,
		Attribute: 22, // IFLA_BOND_AD_SELECT
		Form:      FormU8,
	},
	{
		Name:      "ad_actor_sys_prio",
		Kind:      KindInteger,
		Min:       1,
		Max:       math.MaxUint16,
		Default:   "65535",
		Modes:     withLACP,
		Attribute: 24, // IFLA_BOND_AD_ACTOR_SYS_PRIO
		Form:      FormU16,
	},
	{
		Name:      "ad_actor_system",
		Kind:      KindMAC,
		Default:   "00:00:00:00:00:00", // the bond's own
		Modes:     withLACP,
		Attribute: 26, // IFLA_BOND_AD_ACTOR_SYSTEM
		Form:      FormMAC,
	},
	{
		Name:      "ad_user_port_key",
		Kind:      KindInteger,
		Max:       1023, // the upper 10 of 16 bits; speed and duplex have the others
		Default:   "0",
		Modes:     withLACP,
		OnlyDown:  true,
		Attribute: 25, // IFLA_BOND_AD_USER_PORT_KEY
		Form:      FormU16,
	},
	{
		Name:      "coupled_control",
		Kind:      KindBool,
		Default:   "1",
		Modes:     withLACP,
		OnlyDown:  true,
		Attribute: 32, // IFLA_BOND_COUPLED_CONTROL
		Form:      FormU8,
	},
	{
		Name:      "active_slave",
		Scope:     ScopeState,
		Kind:      KindSlave,
		Default:   "", // the driver's choice
		Modes:     withActiveSlave,
		Attribute: 2, // IFLA_BOND_ACTIVE_SLAVE
		Form:      FormU32,
	},
	{
		Name:      "prio",
		Scope:     ScopeSlave,
		Kind:      KindInteger,
		Min:       math.MinInt32,
		Max:       math.MaxInt32,
		Default:   "0",
		Modes:     withActiveSlave,
		Attribute: 9, // IFLA_BOND_SLAVE_PRIO
		Form:      FormS32,
	},
}
