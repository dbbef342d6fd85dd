package vmtest

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// common are options that every mode takes, each at another value than the kernel's.
var common = state.Options{
	"miimon": "50", "updelay": "100", "downdelay": "150", "peer_notif_delay": "200", "arp_ip_target": "192.0.2.1,192.0.2.9", "ns_ip6_target": "2001:db8::1,2001:db8::9",
	"arp_all_targets": "all", "primary_reselect": "failure", "fail_over_mac": "follow", "num_grat_arp": "7", "resend_igmp": "5", "xmit_hash_policy": "layer3+4",
	"all_slaves_active": "1", "min_links": "1", "lp_interval": "9", "ad_select": "count",
}

// special are those that only some modes take.
var special = map[string]state.Options{
	"balance-rr":    {"packets_per_slave": "4", "arp_missed_max": "5"},
	"active-backup": {"arp_missed_max": "5"},
	"balance-xor":   {"arp_missed_max": "5"},
	"broadcast":     {"arp_missed_max": "5"},
	"802.3ad": {"lacp_active": "0", "lacp_rate": "fast", "ad_actor_sys_prio": "1000", "ad_actor_system": "02:00:5e:10:00:77", "ad_user_port_key": "7",
		"coupled_control": "0"},
	"balance-tlb": {"tlb_dynamic_lb": "0"},
	"balance-alb": {"tlb_dynamic_lb": "0"},
}

// Every option is written on creation and read back, in every mode.
func TestOptions(t *testing.T) {
	for mode, more := range special {
		t.Run(mode, func(t *testing.T) {
			want := state.Options{"mode": mode}
			maps.Copy(want, common)
			maps.Copy(want, more)
			h := newHost(t, 2)
			h.bond(want)
			compare(t, h.link("bond0").Bond.Options, want)
			h.do(state.SetUp{Link: "bond0"}, state.Release{Slave: "eth0", Bond: "bond0"}, state.Release{Slave: "eth1", Bond: "bond0"})
			// And one by one, back to where the kernel begins.
			for name := range want {
				if value := kernelDefaults[name]; name != "mode" {
					h.do(state.SetOption{Bond: "bond0", Option: name, Value: value})
					want[name] = value
				}
			}
			// With miimon its multiples go.
			delete(want, "miimon")
			for _, name := range []string{"updelay", "downdelay", "peer_notif_delay"} {
				delete(want, name)
			}
			compare(t, h.link("bond0").Bond.Options, want)
		})
	}
}

// kernelDefaults are the kernel's, but for miimon, which the delays need.
var kernelDefaults = state.Options{
	"miimon": "100", "updelay": "0", "downdelay": "0", "peer_notif_delay": "0", "arp_ip_target": "", "ns_ip6_target": "", "arp_all_targets": "any",
	"primary_reselect": "always", "fail_over_mac": "none", "num_grat_arp": "1", "resend_igmp": "1", "xmit_hash_policy": "layer2", "all_slaves_active": "0",
	"min_links": "0", "lp_interval": "1", "ad_select": "stable", "packets_per_slave": "1", "arp_missed_max": "2", "lacp_active": "1", "lacp_rate": "slow",
	"ad_actor_sys_prio": "65535", "ad_actor_system": "00:00:00:00:00:00", "ad_user_port_key": "0", "coupled_control": "1", "tlb_dynamic_lb": "1",
}

func compare(t *testing.T, got, want state.Options) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
}

// The ARP monitor is no option beside the other one.
func TestARPMonitor(t *testing.T) {
	h := newHost(t, 2)
	want := state.Options{"mode": "active-backup", "miimon": "0", "arp_interval": "500", "arp_ip_target": "192.0.2.1", "arp_validate": "all", "arp_missed_max": "3"}
	h.bond(want)
	compare(t, h.link("bond0").Bond.Options, want)
	h.do(state.SetOption{Bond: "bond0", Option: "miimon", Value: "100"})
	compare(t, h.link("bond0").Bond.Options, state.Options{"miimon": "100", "arp_interval": "0", "arp_validate": "none"})
	h.do(state.SetOption{Bond: "bond0", Option: "arp_interval", Value: "1000"})
	compare(t, h.link("bond0").Bond.Options, state.Options{"miimon": "0", "arp_interval": "1000"})
}

// Options that name a slave, and those of a slave.
func TestSlaveOptions(t *testing.T) {
	h := newHost(t, 2)
	h.bond(state.Options{"mode": "active-backup", "miimon": "100"})
	h.do(state.SetOption{Bond: "bond0", Option: "primary", Value: "eth1"},
		state.SetSlaveOption{Slave: "eth0", Bond: "bond0", Option: "prio", Value: "-2147483648"},
		state.SetSlaveOption{Slave: "eth1", Bond: "bond0", Option: "prio", Value: "2147483647"})
	if got := h.link("bond0").Bond.Options["primary"]; got != "eth1" {
		t.Errorf("the primary is %q, want eth1", got)
	}
	if a, b := h.link("eth0").Slave.Prio, h.link("eth1").Slave.Prio; a != -1<<31 || b != 1<<31-1 {
		t.Errorf("the slaves have prio %d and %d", a, b)
	}
	h.do(state.SetOption{Bond: "bond0", Option: "primary", Value: ""})
	if got := h.link("bond0").Bond.Options["primary"]; got != "" {
		t.Errorf("the primary is %q, want none", got)
	}
	// Where there is no active slave there is no prio.
	h.do(state.CreateBond{Name: "bond7", Options: state.Options{"mode": "802.3ad", "miimon": "100"}}, state.Release{Slave: "eth1", Bond: "bond0"}, state.Enslave{Slave: "eth1", Bond: "bond7"})
	if err := h.try(state.SetSlaveOption{Slave: "eth1", Bond: "bond7", Option: "prio", Value: "1"}); !errors.Is(err, unix.EACCES) {
		t.Errorf("in 802.3ad prio gives %v, want EACCES", err)
	}
}

// A parked NIC is up and says nothing: not to a neighbour that asks for the
// bond's address, and not by itself.
func TestPark(t *testing.T) {
	h := newHost(t, 2)
	h.bond(state.Options{"mode": "balance-rr", "miimon": "100"})
	h.do(state.AddAddress{Link: "bond0", Prefix: netlabHost})
	h.do(state.Release{Slave: "eth1", Bond: "bond0"}, state.Park{Link: "eth1"})
	l := h.link("eth1")
	if !l.Parked() || !l.Up || !l.NoARP || l.IPv6 {
		t.Errorf("the parked NIC is %+v", l)
	}
	h.eventually("carrier of the parked NIC", func() bool { return h.link("eth1").LinkUp() })
	before := transmitted(h, "eth1")
	// Only eth1 hears the peer now, which asks.
	h.lan.Cables[0].Silence(true)
	_ = h.lan.Peer.Do(func() error { return ping(context.Background(), netlabHost.Addr()) })
	h.lan.Cables[0].Silence(false)
	if got := transmitted(h, "eth1") - before; got != 0 {
		t.Errorf("the parked NIC sent %d packets, want none", got)
	}
	if got := h.lan.Host.IP("-o addr show dev eth1"); strings.TrimSpace(got) != "" {
		t.Errorf("the parked NIC has addresses: %s", got)
	}
	h.do(state.Unpark{Link: "eth1"})
	if l := h.link("eth1"); l.Up || l.NoARP || !l.IPv6 {
		t.Errorf("afterwards the NIC is %+v", l)
	}
	h.do(state.Enslave{Slave: "eth1", Bond: "bond0"})
}
