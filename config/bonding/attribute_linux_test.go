package bonding

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The attributes have the numbers of the kernel's header. The package has them
// as figures because it builds for every operating system.
func TestAttributes(t *testing.T) {
	want := map[string]uint16{
		"mode":              unix.IFLA_BOND_MODE,
		"active_slave":      unix.IFLA_BOND_ACTIVE_SLAVE,
		"miimon":            unix.IFLA_BOND_MIIMON,
		"updelay":           unix.IFLA_BOND_UPDELAY,
		"downdelay":         unix.IFLA_BOND_DOWNDELAY,
		"peer_notif_delay":  unix.IFLA_BOND_PEER_NOTIF_DELAY,
		"arp_interval":      unix.IFLA_BOND_ARP_INTERVAL,
		"arp_ip_target":     unix.IFLA_BOND_ARP_IP_TARGET,
		"ns_ip6_target":     unix.IFLA_BOND_NS_IP6_TARGET,
		"arp_validate":      unix.IFLA_BOND_ARP_VALIDATE,
		"arp_all_targets":   unix.IFLA_BOND_ARP_ALL_TARGETS,
		"arp_missed_max":    unix.IFLA_BOND_MISSED_MAX,
		"primary":           unix.IFLA_BOND_PRIMARY,
		"primary_reselect":  unix.IFLA_BOND_PRIMARY_RESELECT,
		"fail_over_mac":     unix.IFLA_BOND_FAIL_OVER_MAC,
		"xmit_hash_policy":  unix.IFLA_BOND_XMIT_HASH_POLICY,
		"resend_igmp":       unix.IFLA_BOND_RESEND_IGMP,
		"num_grat_arp":      unix.IFLA_BOND_NUM_PEER_NOTIF,
		"all_slaves_active": unix.IFLA_BOND_ALL_SLAVES_ACTIVE,
		"min_links":         unix.IFLA_BOND_MIN_LINKS,
		"lp_interval":       unix.IFLA_BOND_LP_INTERVAL,
		"packets_per_slave": unix.IFLA_BOND_PACKETS_PER_SLAVE,
		"lacp_active":       unix.IFLA_BOND_AD_LACP_ACTIVE,
		"lacp_rate":         unix.IFLA_BOND_AD_LACP_RATE,
		"ad_select":         unix.IFLA_BOND_AD_SELECT,
		"ad_actor_sys_prio": unix.IFLA_BOND_AD_ACTOR_SYS_PRIO,
		"ad_user_port_key":  unix.IFLA_BOND_AD_USER_PORT_KEY,
		"ad_actor_system":   unix.IFLA_BOND_AD_ACTOR_SYSTEM,
		"tlb_dynamic_lb":    unix.IFLA_BOND_TLB_DYNAMIC_LB,
		"coupled_control":   unix.IFLA_BOND_COUPLED_CONTROL,
		"prio":              unix.IFLA_BOND_SLAVE_PRIO,
	}
	for i := range table {
		if o := &table[i]; o.Attribute != want[o.Name] {
			t.Errorf("%s has attribute %d, want %d", o.Name, o.Attribute, want[o.Name])
		}
	}
}
