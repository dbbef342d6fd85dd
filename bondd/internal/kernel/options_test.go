package kernel

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
)

// Values that every option can have, and the bytes of their attributes' values,
// of the lengths that bond_policy and bond_fill_info have.
var optionValues = []struct{ name, value, bytes string }{
	{"mode", "802.3ad", "\x04"},
	{"miimon", "50", "\x32\x00\x00\x00"},
	{"updelay", "100", "\x64\x00\x00\x00"},
	{"downdelay", "150", "\x96\x00\x00\x00"},
	{"peer_notif_delay", "200", "\xc8\x00\x00\x00"},
	{"arp_ip_target", "192.0.2.1,192.0.2.9", "\x08\x00\x00\x00\xc0\x00\x02\x01" + "\x08\x00\x01\x00\xc0\x00\x02\x09"},
	{"ns_ip6_target", "2001:db8::1", "\x14\x00\x00\x00\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
	{"arp_interval", "1000", "\xe8\x03\x00\x00"},
	{"arp_validate", "filter_backup", "\x06\x00\x00\x00"},
	{"arp_all_targets", "all", "\x01\x00\x00\x00"},
	{"arp_missed_max", "255", "\xff"},
	{"primary", "4", "\x04\x00\x00\x00"},
	{"primary_reselect", "better", "\x01"},
	{"fail_over_mac", "follow", "\x02"},
	{"num_grat_arp", "0", "\x00"},
	{"resend_igmp", "255", "\xff\x00\x00\x00"},
	{"xmit_hash_policy", "vlan+srcmac", "\x05"},
	{"packets_per_slave", "65535", "\xff\xff\x00\x00"},
	{"all_slaves_active", "1", "\x01"},
	{"tlb_dynamic_lb", "0", "\x00"},
	{"lp_interval", "7", "\x07\x00\x00\x00"},
	{"min_links", "2", "\x02\x00\x00\x00"},
	{"lacp_active", "0", "\x00"},
	{"lacp_rate", "fast", "\x01"},
	{"ad_select", "count", "\x02"},
	{"ad_actor_sys_prio", "65535", "\xff\xff"},
	{"ad_actor_system", "02:00:5e:10:00:01", "\x02\x00\x5e\x10\x00\x01"},
	{"ad_user_port_key", "1023", "\xff\x03"},
	{"coupled_control", "0", "\x00"},
	{"active_slave", "3", "\x03\x00\x00\x00"},
}

// What is written is what is read, in the order of the table, and nothing is written that is not asked for.
func TestOptions(t *testing.T) {
	all := make(state.Options)
	for _, tt := range optionValues {
		all[tt.name] = tt.value
	}
	if there := len(slices.Collect(bonding.BondOptions())); len(optionValues) != there {
		t.Errorf("%d options are tested, there are %d", len(optionValues), there)
	}
	byIndex := func(name string) (int, error) { return strings.Index("0123456789", name), nil }
	message := func(values state.Options) []byte {
		ae := netlink.NewAttributeEncoder()
		ae.String(unix.IFLA_IFNAME, "bond0")
		if err := bondOptions(ae, values, byIndex); err != nil {
			t.Fatal(err)
		}
		b, err := ae.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	data := dataOf(t, message(all))
	for _, tt := range optionValues {
		if len(data) == 0 {
			t.Fatalf("%s and what follows is not written", tt.name)
		}
		o, _ := bonding.Lookup(tt.name)
		a := data[0]
		data = data[1:]
		if a.Type&nlaTypeMask != o.Attribute || string(a.Data) != tt.bytes {
			t.Errorf("%s %s is written as attribute %d, %x; want %d, %x", tt.name, tt.value, a.Type&nlaTypeMask, a.Data, o.Attribute, tt.bytes)
		}
	}
	l, err := decodeLink(append(ifinfo(7, 0), message(all)...))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l.Bond.Options, all) || l.Bond.ActiveSlave != 3 {
		t.Errorf("read  %v, active slave %d\nwrote %v", l.Bond.Options, l.Bond.ActiveSlave, all)
	}
	if data := dataOf(t, message(state.Options{"mode": "802.3ad"})); len(data) != 1 {
		t.Errorf("the mode alone is written as %d attributes", len(data))
	}
	// None at all is an empty set, index 0 or zeros.
	for name, want := range map[string]string{"arp_ip_target": "", "ns_ip6_target": "", "primary": "\x00\x00\x00\x00"} {
		if data := dataOf(t, message(state.Options{name: ""})); len(data) != 1 || string(data[0].Data) != want {
			t.Errorf("no %s is written as %+v", name, data)
		}
	}
}

// dataOf are the attributes in IFLA_INFO_DATA.
func dataOf(t *testing.T, b []byte) []netlink.Attribute {
	t.Helper()
	for _, kind := range []uint16{unix.IFLA_LINKINFO, unix.IFLA_INFO_DATA} {
		attributes, err := netlink.UnmarshalAttributes(b)
		if err != nil {
			t.Fatal(err)
		}
		b = nil
		for _, a := range attributes {
			if a.Type&nlaTypeMask == kind {
				b = a.Data
			}
		}
	}
	attributes, err := netlink.UnmarshalAttributes(b)
	if err != nil {
		t.Fatal(err)
	}
	return attributes
}

func TestOptionsRefused(t *testing.T) {
	for _, values := range []state.Options{
		{"mode": "7"}, {"mode": ""}, {"arp_validate": "some"}, {"miimon": "-1"}, {"miimon": "4294967296"}, {"num_grat_arp": "256"}, {"ad_user_port_key": "65536"},
		{"arp_ip_target": "2001:db8::1"}, {"arp_ip_target": "192.0.2.1,"}, {"arp_ip_target": "gateway"}, {"ns_ip6_target": "192.0.2.1"}, {"ns_ip6_target": "fe80::1%eth0"},
		{"ad_actor_system": "02:00"}, {"ad_actor_system": ""}, {"lacp_speed": "fast"}, {"prio": "1"},
	} {
		ae := netlink.NewAttributeEncoder()
		err := bondOptions(ae, values, nil)
		if err == nil {
			_, err = ae.Encode()
		}
		if err == nil {
			t.Errorf("%v is written", values)
		}
	}
}

// A bond in mode 802.3ad and its slave, as the kernel tells them.
func TestDecodeLACP(t *testing.T) {
	bond := attributes(t, ifinfo(7, unix.IFF_UP), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, "bond0")
		ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_INFO_KIND, "bond")
			ae.Nested(unix.IFLA_INFO_DATA, func(ae *netlink.AttributeEncoder) error {
				ae.Uint8(unix.IFLA_BOND_MODE, 4)
				ae.Nested(unix.IFLA_BOND_AD_INFO, func(ae *netlink.AttributeEncoder) error {
					ae.Uint16(unix.IFLA_BOND_AD_INFO_AGGREGATOR, 2)
					ae.Uint16(unix.IFLA_BOND_AD_INFO_NUM_PORTS, 1)
					ae.Uint16(unix.IFLA_BOND_AD_INFO_ACTOR_KEY, 15)
					ae.Uint16(unix.IFLA_BOND_AD_INFO_PARTNER_KEY, 16)
					ae.Bytes(unix.IFLA_BOND_AD_INFO_PARTNER_MAC, macA[:])
					ae.Uint16(4000, 1) // of a newer kernel
					return nil
				})
				return nil
			})
			return nil
		})
	})
	l, err := decodeLink(bond)
	if want := (state.LACP{Aggregator: 2, Ports: 1, ActorKey: 15, PartnerKey: 16, PartnerMAC: macA}); err != nil || l.Bond.LACP == nil || *l.Bond.LACP != want {
		t.Errorf("got %+v, %v; want %+v", l.Bond, err, want)
	}
	slave := attributes(t, ifinfo(3, unix.IFF_UP|unix.IFF_NOARP), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, "eth0")
		ae.Nested(unix.IFLA_AF_SPEC, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(unix.AF_INET6, func(ae *netlink.AttributeEncoder) error {
				ae.Bytes(unix.IFLA_INET6_CONF, make([]byte, 60*4))
				return nil
			})
			return nil
		})
		ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_INFO_SLAVE_KIND, "bond")
			ae.Nested(unix.IFLA_INFO_SLAVE_DATA, func(ae *netlink.AttributeEncoder) error {
				ae.Uint8(unix.IFLA_BOND_SLAVE_STATE, 0)
				ae.Int32(unix.IFLA_BOND_SLAVE_PRIO, -5)
				ae.Uint16(unix.IFLA_BOND_SLAVE_AD_AGGREGATOR_ID, 2)
				ae.Uint8(unix.IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE, 0x3f)
				ae.Uint16(unix.IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE, 0x3d)
				ae.Uint8(slaveChurnActor, 2)
				ae.Uint8(slaveChurnPartner, 1)
				return nil
			})
			return nil
		})
	})
	l, err = decodeLink(slave)
	want := state.LACPPort{Aggregator: 2, Actor: 0x3f, Partner: 0x3d, ActorChurn: "none", PartnerChurn: "churned"}
	if err != nil || l.Slave.LACP == nil || *l.Slave.LACP != want || l.Slave.Prio != -5 || !l.Slave.Active {
		t.Errorf("got %+v, %v; want %+v", l.Slave, err, want)
	}
	if !l.IPv6 || !l.NoARP || l.Parked() {
		t.Errorf("got %+v; want one with IPv6 and without ARP", l)
	}
}

// IPv6 runs unless the kernel says otherwise.
func TestDecodeIPv6(t *testing.T) {
	for name, tt := range map[string]struct {
		words, off int // 32-bit words of IFLA_INET6_CONF, and disable_ipv6
		want       bool
	}{"on": {60, 0, true}, "off": {60, 1, false}, "cut off": {26, 0, false}} {
		conf := make([]byte, tt.words*4)
		if tt.words > 26 {
			binary.NativeEndian.PutUint32(conf[26*4:], uint32(tt.off))
		}
		l, err := decodeLink(attributes(t, ifinfo(3, unix.IFF_UP|unix.IFF_NOARP), func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_IFNAME, "eth0")
			ae.Nested(unix.IFLA_AF_SPEC, func(ae *netlink.AttributeEncoder) error {
				ae.Nested(unix.AF_INET6, func(ae *netlink.AttributeEncoder) error {
					ae.Bytes(unix.IFLA_INET6_CONF, conf)
					return nil
				})
				return nil
			})
		}))
		if err != nil || l.IPv6 != tt.want || l.Parked() == tt.want {
			t.Errorf("%s: got %+v, %v", name, l, err)
		}
	}
}
