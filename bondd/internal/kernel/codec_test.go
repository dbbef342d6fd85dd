package kernel

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// ifinfo is an ifinfomsg.
func ifinfo(index int, flags uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	return b
}

// attributes encodes attributes after a fixed header.
func attributes(t testing.TB, header []byte, f func(*netlink.AttributeEncoder)) []byte {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	f(ae)
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return append(header, b...)
}

var macA = state.MAC{2, 0, 0x5e, 0x10, 0, 1}

// bondMessage is a bond in active-backup as the kernel tells it.
func bondMessage(t testing.TB) []byte {
	return attributes(t, ifinfo(7, unix.IFF_UP|unix.IFF_RUNNING), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, "bond0")
		ae.Bytes(unix.IFLA_ADDRESS, macA[:])
		ae.Uint32(unix.IFLA_MTU, 1500)
		ae.Uint8(unix.IFLA_CARRIER, 1)
		ae.Uint32(unix.IFLA_CARRIER_CHANGES, 5)
		ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_INFO_KIND, "bond")
			ae.Nested(unix.IFLA_INFO_DATA, func(ae *netlink.AttributeEncoder) error {
				ae.Uint8(unix.IFLA_BOND_MODE, 1)
				ae.Uint32(unix.IFLA_BOND_ACTIVE_SLAVE, 3)
				ae.Uint32(unix.IFLA_BOND_MIIMON, 100)
				ae.Uint32(unix.IFLA_BOND_UPDELAY, 200)
				ae.Uint32(unix.IFLA_BOND_DOWNDELAY, 0)
				ae.Uint8(unix.IFLA_BOND_PRIMARY_RESELECT, 2)
				ae.Uint8(unix.IFLA_BOND_NUM_PEER_NOTIF, 3)
				ae.Uint8(4000, 1) // of a newer kernel
				return nil
			})
			return nil
		})
	})
}

// slaveMessage is a slave of that bond.
func slaveMessage(t testing.TB, stats []byte) []byte {
	return attributes(t, ifinfo(3, unix.IFF_UP), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, "eth0")
		ae.Uint32(unix.IFLA_MASTER, 7)
		ae.Bytes(unix.IFLA_PERM_ADDRESS, macA[:])
		ae.Uint8(unix.IFLA_CARRIER, 0)
		ae.Bytes(unix.IFLA_STATS64, stats)
		ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_INFO_SLAVE_KIND, "bond")
			ae.Nested(unix.IFLA_INFO_SLAVE_DATA, func(ae *netlink.AttributeEncoder) error {
				ae.Uint8(unix.IFLA_BOND_SLAVE_STATE, 1)
				ae.Uint8(unix.IFLA_BOND_SLAVE_MII_STATUS, 2)
				ae.Uint32(unix.IFLA_BOND_SLAVE_LINK_FAILURE_COUNT, 4)
				return nil
			})
			return nil
		})
	})
}

// stats has the value of each 64-bit field be its number, counted from 1.
func stats(fields int) []byte {
	b := make([]byte, fields*8)
	for i := range fields {
		binary.NativeEndian.PutUint64(b[i*8:], uint64(i+1))
	}
	return b
}

func TestDecodeBond(t *testing.T) {
	got, err := decodeLink(bondMessage(t))
	if err != nil {
		t.Fatal(err)
	}
	links := []state.Link{got, {Index: 3, Name: "eth0"}}
	nameSlaves(links)
	want := state.Link{Index: 7, Name: "bond0", Kind: "bond", MAC: macA, MTU: 1500, Up: true, Carrier: true, CarrierChanges: 5,
		Bond: &state.BondLink{ActiveSlave: 3, Options: state.Options{
			"mode": "active-backup", "active_slave": "eth0", "miimon": "100", "updelay": "200", "downdelay": "0",
			"primary": "", "primary_reselect": "failure", "num_grat_arp": "3", "arp_ip_target": "", "ns_ip6_target": "",
		}}}
	if !reflect.DeepEqual(links[0], want) {
		t.Errorf("got  %+v %+v\nwant %+v %+v", links[0], links[0].Bond, want, want.Bond)
	}
}

// The counters' structure has grown with the kernel's versions.
func TestDecodeSlave(t *testing.T) {
	full := state.Counters{
		RxPackets: 1, TxPackets: 2, RxBytes: 3, TxBytes: 4, RxErrors: 5, TxErrors: 6, RxDropped: 7 + 16, TxDropped: 8,
		Collisions: 10, RxFrame: 11 + 12 + 13 + 14, RxOverruns: 15, TxCarrier: 17 + 18 + 20 + 21, TxOverruns: 19, RxNoHandler: 24,
	}
	older := full
	older.RxNoHandler = 0
	for _, tt := range []struct {
		name   string
		fields int
		want   state.Counters
	}{
		{"6.12", 25, full}, {"newer", 30, full}, {"4.5, without nohandler", 23, older},
		{"four fields", 4, state.Counters{RxPackets: 1, TxPackets: 2, RxBytes: 3, TxBytes: 4}}, {"none", 0, state.Counters{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeLink(slaveMessage(t, stats(tt.fields)))
			if err != nil {
				t.Fatal(err)
			}
			want := state.Link{Index: 3, Name: "eth0", Master: 7, PermanentMAC: macA, Up: true, Counters: tt.want,
				Slave: &state.SlaveLink{MIIStatus: state.MIIDown, LinkFailures: 4}}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// What cannot be read is an error, never a half-read link.
func TestDecodeBroken(t *testing.T) {
	whole := slaveMessage(t, stats(25))
	for n := range whole {
		if l, err := decodeLink(whole[:n]); err == nil && l.Name != "eth0" {
			t.Errorf("the first %d bytes of a link read as %+v", n, l)
		}
	}
	for _, tt := range []struct {
		name string
		data []byte
	}{
		{"no name", attributes(t, ifinfo(3, 0), func(ae *netlink.AttributeEncoder) { ae.Uint8(unix.IFLA_CARRIER, 1) })},
		{"attribute longer than the message", append(ifinfo(3, 0), 0xff, 0xff, unix.IFLA_IFNAME, 0)},
		{"attribute shorter than its header", append(ifinfo(3, 0), 2, 0, unix.IFLA_IFNAME, 0)},
		{"MTU of one byte", attributes(t, ifinfo(3, 0), func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_IFNAME, "eth0")
			ae.Uint8(unix.IFLA_MTU, 1)
		})},
		{"broken nest", attributes(t, ifinfo(3, 0), func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_IFNAME, "eth0")
			ae.Bytes(unix.IFLA_LINKINFO|netlink.Nested, []byte{1, 0, 0, 0})
		})},
	} {
		if l, err := decodeLink(tt.data); err == nil {
			t.Errorf("%s: read as %+v", tt.name, l)
		}
	}
}

func TestDecodeAddress(t *testing.T) {
	header := func(family, bits, flags, scope byte) []byte {
		b := make([]byte, unix.SizeofIfAddrmsg)
		b[0], b[1], b[2], b[3] = family, bits, flags, scope
		binary.NativeEndian.PutUint32(b[4:], 7)
		return b
	}
	v4 := netip.MustParseAddr("192.0.2.2")
	got, err := decodeAddress(attributes(t, header(unix.AF_INET, 24, 0, 0), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_ADDRESS, []byte{192, 0, 2, 9}) // the peer's
		ae.Bytes(unix.IFA_LOCAL, v4.AsSlice())
		ae.Bytes(unix.IFA_BROADCAST, []byte{192, 0, 2, 255})
		ae.Uint32(unix.IFA_FLAGS, unix.IFA_F_PERMANENT)
	}))
	want := state.Address{Index: 7, Prefix: netip.PrefixFrom(v4, 24), Broadcast: netip.MustParseAddr("192.0.2.255"), Permanent: true}
	if err != nil || got != want {
		t.Errorf("IPv4: got %+v, %v; want %+v", got, err, want)
	}
	got, err = decodeAddress(attributes(t, header(unix.AF_INET6, 64, 0, unix.RT_SCOPE_LINK), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_ADDRESS, netip.MustParseAddr("fe80::1").AsSlice())
	}))
	want = state.Address{Index: 7, Prefix: netip.MustParsePrefix("fe80::1/64"), LinkLocal: true}
	if err != nil || got != want {
		t.Errorf("IPv6: got %+v, %v; want %+v", got, err, want)
	}
	for name, data := range map[string][]byte{
		"too short":       {2, 24},
		"no address":      header(unix.AF_INET, 24, 0, 0),
		"prefix too long": attributes(t, header(unix.AF_INET, 33, 0, 0), func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.IFA_LOCAL, v4.AsSlice()) }),
	} {
		if a, err := decodeAddress(data); err == nil {
			t.Errorf("%s: read as %+v", name, a)
		}
	}
}

// What is not IPv4 or IPv6 does not end the reading of what is.
func TestOtherFamilies(t *testing.T) {
	for family, other := range map[byte]bool{
		unix.AF_INET: false, unix.AF_INET6: false,
		unix.AF_MPLS: true, unix.AF_PHONET: true, unix.AF_DECnet: true, 45: true /* AF_MCTP */, 128: true /* RTNL_FAMILY_IPMR */, 129: true,
	} {
		if got := otherFamily([]byte{family, 0, 0, 0}); got != other {
			t.Errorf("family %d is another one: %t, want %t", family, got, other)
		}
	}
	if otherFamily(nil) {
		t.Error("a message without a header is skipped, want an error")
	}
}

// decodeRoute reads a route that is one of a network's, as ok says.
func decodeRoute(data []byte) (r state.Route, ok bool, err error) {
	n := new(state.Network)
	if err := addRoute(n, data, nil); err != nil || len(n.Routes) == 0 {
		return r, false, err
	}
	return n.Routes[0], true, nil
}

func TestDecodeRoute(t *testing.T) {
	header := func(family, bits, table, kind byte) []byte {
		b := make([]byte, unix.SizeofRtMsg)
		b[0], b[1], b[4], b[5], b[7] = family, bits, table, unix.RTPROT_STATIC, kind
		return b
	}
	via := func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.RTA_OIF, 7)
		ae.Bytes(unix.RTA_GATEWAY, []byte{192, 0, 2, 1})
		ae.Uint32(unix.RTA_PRIORITY, 100)
	}
	got, ok, err := decodeRoute(attributes(t, header(unix.AF_INET, 0, unix.RT_TABLE_MAIN, unix.RTN_UNICAST), via))
	want := state.Route{Index: 7, Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Metric: 100, Protocol: unix.RTPROT_STATIC}
	if err != nil || !ok || got != want {
		t.Errorf("got %+v, %t, %v; want %+v", got, ok, err, want)
	}
	for name, data := range map[string][]byte{
		"another table": attributes(t, header(unix.AF_INET, 0, unix.RT_TABLE_LOCAL, unix.RTN_UNICAST), via),
		"a table that needs 32 bits": attributes(t, header(unix.AF_INET, 0, unix.RT_TABLE_MAIN, unix.RTN_UNICAST), func(ae *netlink.AttributeEncoder) {
			via(ae)
			ae.Uint32(unix.RTA_TABLE, 1000)
		}),
		"a broadcast route": attributes(t, header(unix.AF_INET, 0, unix.RT_TABLE_MAIN, unix.RTN_BROADCAST), via),
		"a multipath route": header(unix.AF_INET, 0, unix.RT_TABLE_MAIN, unix.RTN_UNICAST),
		"a prefix too long": attributes(t, header(unix.AF_INET, 40, unix.RT_TABLE_MAIN, unix.RTN_UNICAST), via),
	} {
		if r, ok, err := decodeRoute(data); ok || err != nil {
			t.Errorf("%s: read as %+v, %v; want it passed over", name, r, err)
		}
	}
	if _, _, err := decodeRoute([]byte{2}); err == nil {
		t.Error("a message that is too short is read")
	}
}

// The bytes of every request, as the kernel gets them after its header.
func TestEncode(t *testing.T) {
	index := func(name string) (int, error) {
		if i, ok := map[string]int{"bond0": 7, "eth0": 3}[name]; ok {
			return i, nil
		}
		return 0, errors.New("no such link")
	}
	const (
		bond = "00000000" + "07000000" + "00000000" + "00000000"
		eth  = "00000000" + "03000000" + "00000000" + "00000000"
		kind = "09000100" + "626f6e6400" + "000000" // IFLA_INFO_KIND "bond"
	)
	for _, tt := range []struct {
		op    state.Op
		kind  netlink.HeaderType
		flags netlink.HeaderFlags
		want  string
	}{
		{state.SetOption{Bond: "bond0", Option: "miimon", Value: "100"}, unix.RTM_NEWLINK, 0, bond + "1c001280" + kind + "0c000280" + "08000300" + "64000000"},
		{state.SetOption{Bond: "bond0", Option: "num_grat_arp", Value: "3"}, unix.RTM_NEWLINK, 0, bond + "1c001280" + kind + "0c000280" + "05001000" + "03000000"},
		{state.SetOption{Bond: "bond0", Option: "primary", Value: "eth0"}, unix.RTM_NEWLINK, 0, bond + "1c001280" + kind + "0c000280" + "08000b00" + "03000000"},
		{state.SetOption{Bond: "bond0", Option: "primary", Value: ""}, unix.RTM_NEWLINK, 0, bond + "1c001280" + kind + "0c000280" + "08000b00" + "00000000"},
		{state.SetSlaveOption{Slave: "eth0", Bond: "bond0", Option: "prio", Value: "-5"}, unix.RTM_NEWLINK, 0, eth + "1c001280" + "09000400" + "626f6e6400" + "000000" + "0c000580" + "08000900" + "fbffffff"},
		{state.Park{Link: "eth0"}, unix.RTM_NEWLINK, 0, "00000000" + "03000000" + "81000000" + "81000000"},
		{state.Unpark{Link: "eth0"}, unix.RTM_NEWLINK, 0, "00000000" + "03000000" + "00000000" + "81000000"},
		{state.SetUp{Link: "eth0", Up: true}, unix.RTM_NEWLINK, 0, "00000000" + "03000000" + "01000000" + "01000000"},
		{state.SetUp{Link: "eth0"}, unix.RTM_NEWLINK, 0, "00000000" + "03000000" + "00000000" + "01000000"},
		{state.SetMAC{Link: "bond0", MAC: macA}, unix.RTM_NEWLINK, 0, bond + "0a000100" + "02005e100001" + "0000"},
		{state.SetMTU{Link: "eth0", MTU: 1400}, unix.RTM_NEWLINK, 0, eth + "08000400" + "78050000"},
		{state.Enslave{Slave: "eth0", Bond: "bond0"}, unix.RTM_NEWLINK, 0, eth + "08000a00" + "07000000"},
		{state.Release{Slave: "eth0", Bond: "bond0"}, unix.RTM_NEWLINK, 0, eth + "08000a00" + "00000000"},
		{state.AddAddress{Link: "bond0", Prefix: netip.MustParsePrefix("192.0.2.2/24"), Broadcast: netip.MustParseAddr("192.0.2.255"), Lifetime: 90 * time.Second},
			unix.RTM_NEWADDR, netlink.Create | netlink.Replace, "02180000" + "07000000" + "08000100" + "c0000202" + "08000200" + "c0000202" + "08000400" + "c00002ff" +
				"14000600" + "5a000000" + "5a000000" + "0000000000000000"},
		{state.AddAddress{Link: "bond0", Prefix: netip.MustParsePrefix("2001:db8::2/64")},
			unix.RTM_NEWADDR, netlink.Create | netlink.Replace, "0a400000" + "07000000" + "14000100" + "20010db8000000000000000000000002" + "08000800" + "02000000"},
		{state.AddAddress{Link: "bond0", Prefix: netip.MustParsePrefix("2001:db8::2/64"), Protocol: state.ProtocolStatic},
			unix.RTM_NEWADDR, netlink.Create | netlink.Replace, "0a400000" + "07000000" + "14000100" + "20010db8000000000000000000000002" + "08000800" + "02000000" +
				"05000b00" + "b0000000"},
		{state.KeepSecondaries{Link: "bond0"}, unix.RTM_NEWLINK, 0, bond + "14001a80" + "10000280" + "0c000180" + "08001400" + "01000000"},
		{state.DelAddress{Link: "bond0", Prefix: netip.MustParsePrefix("192.0.2.2/24")},
			unix.RTM_DELADDR, 0, "02180000" + "07000000" + "08000100" + "c0000202" + "08000200" + "c0000202"},
		{state.AddRoute{Link: "bond0", Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Metric: 100, Protocol: unix.RTPROT_DHCP},
			unix.RTM_NEWROUTE, netlink.Create, "02000000" + "fe100001" + "00000000" + "08000500" + "c0000201" + "08000400" + "07000000" + "08000600" + "64000000"},
		{state.DelRoute{Link: "bond0", Dst: netip.MustParsePrefix("198.51.100.0/24"), Protocol: unix.RTPROT_STATIC},
			unix.RTM_DELROUTE, 0, "02180000" + "fe04fd01" + "00000000" + "08000100" + "c6336400" + "08000400" + "07000000"},
		{state.CreateBond{Name: "bond0", MAC: macA, Options: state.Options{"miimon": "100", "mode": "active-backup"}},
			unix.RTM_NEWLINK, netlink.Create | netlink.Excl, "00000000" + "00000000" + "00000000" + "00000000" + "0a000300" + "626f6e643000" + "0000" + "0a000100" + "02005e100001" + "0000" +
				"24001280" + kind + "14000280" + "05000100" + "01000000" + "08000300" + "64000000"},
	} {
		t.Run(tt.op.String(), func(t *testing.T) {
			m, err := encode(tt.op, index)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(m.Data); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if flags := netlink.Request | netlink.Acknowledge | tt.flags; m.Header.Type != tt.kind || m.Header.Flags != flags {
				t.Errorf("header is %+v, want type %d, flags %v", m.Header, tt.kind, flags)
			}
		})
	}
	for _, op := range []state.Op{
		state.SetOption{Bond: "bond0", Option: "miimon", Value: "fast"},
		state.SetOption{Bond: "bond0", Option: "mode", Value: "round"},
		state.SetOption{Bond: "bond0", Option: "num_grat_arp", Value: "256"},
		state.SetOption{Bond: "bond0", Option: "lacp_speed", Value: "fast"},
		state.SetOption{Bond: "bond0", Option: "primary", Value: "eth9"},
		state.SetSlaveOption{Slave: "eth0", Bond: "bond0", Option: "prio", Value: "2147483648"},
		state.SetSlaveOption{Slave: "eth0", Bond: "bond0", Option: "queue_id", Value: "1"},
		state.RestoreAddress{Link: "bond0"}, state.RestoreRoute{Link: "bond0"},
		state.SetUp{Link: "eth9"}, state.Enslave{Slave: "eth0", Bond: "bond9"}, state.AddAddress{Link: "eth9", Prefix: netip.MustParsePrefix("192.0.2.2/24")},
	} {
		if m, err := encode(op, index); err == nil {
			t.Errorf("%s is encoded as %x", op, m.Data)
		}
	}
}

// datagram is one message with a netlink header.
func datagram(kind uint16, body []byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body)+3)
	binary.NativeEndian.PutUint32(b, uint32(len(b)+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	b = append(b, body...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// bridgePort is a message of the family of bridges, which has no carrier.
func bridgePort(link []byte) []byte {
	b := slices.Clone(link[:unix.SizeofIfInfomsg])
	b[0] = unix.AF_BRIDGE
	return b
}

func TestSplitEvents(t *testing.T) {
	slave, bond := slaveMessage(t, stats(25)), bondMessage(t)
	at := time.Unix(1, 0)
	for _, tt := range []struct {
		name string
		data []byte
		want []state.LinkEvent
	}{
		{"a slave without carrier", datagram(unix.RTM_NEWLINK, slave), []state.LinkEvent{{Received: at, Index: 3}}},
		{"a bond with carrier, then its slave", append(datagram(unix.RTM_NEWLINK, bond), datagram(unix.RTM_NEWLINK, slave)...),
			[]state.LinkEvent{{Received: at, Index: 7, LinkUp: true, Active: 3}, {Received: at, Index: 3}}},
		{"a link that went has none", datagram(unix.RTM_DELLINK, bond), []state.LinkEvent{{Received: at, Index: 7, Gone: true, Active: 3}}},
		{"down, whatever the carrier", datagram(unix.RTM_NEWLINK, attributes(t, ifinfo(3, 0), func(ae *netlink.AttributeEncoder) { ae.Uint8(unix.IFLA_CARRIER, 1) })),
			[]state.LinkEvent{{Received: at, Index: 3}}},
		{"other messages are passed over", append(datagram(unix.RTM_NEWADDR, slave), datagram(unix.RTM_NEWLINK, bond)...), []state.LinkEvent{{Received: at, Index: 7, LinkUp: true, Active: 3}}},
		{"a bond that failed over", datagram(unix.RTM_NEWLINK, attributes(t, bond, func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.IFLA_EVENT, unix.IFLA_EVENT_BONDING_FAILOVER) })),
			[]state.LinkEvent{{Received: at, Index: 7, LinkUp: true, Failover: true, Active: 3}}},
		{"a bridge's report about its port is passed over",
			append(datagram(unix.RTM_NEWLINK, bridgePort(slave)), datagram(unix.RTM_DELLINK, bridgePort(slave))...), nil},
		{"half a header", []byte{1, 2, 3}, []state.LinkEvent{{Received: at, Lost: true}}},
		{"a length beyond the end", datagram(unix.RTM_NEWLINK, slave)[:40], []state.LinkEvent{{Received: at, Lost: true}}},
		{"a length below the header", make([]byte, 32), []state.LinkEvent{{Received: at, Lost: true}}},
		{"no ifinfomsg", datagram(unix.RTM_NEWLINK, []byte{0, 0, 0, 0}), []state.LinkEvent{{Received: at, Lost: true}}},
		{"nothing", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []state.LinkEvent
			splitEvents(tt.data, at, new(state.LinkEvent), func(ev *state.LinkEvent) { got = append(got, *ev) })
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// The way of an event to the reflex is free of garbage.
func TestSplitEventsAllocates(t *testing.T) {
	data := append(datagram(unix.RTM_NEWLINK, bondMessage(t)), datagram(unix.RTM_NEWLINK, slaveMessage(t, stats(25)))...)
	ev, events := new(state.LinkEvent), 0
	handle := func(*state.LinkEvent) { events++ }
	if n := testing.AllocsPerRun(100, func() { splitEvents(data, time.Time{}, ev, handle) }); n != 0 || events == 0 {
		t.Errorf("%v allocations for each datagram, %d events", n, events)
	}
}

// A prepared request is what a SetOption would send, one message for each value.
func TestRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		request Request
		count   int
		want    string
	}{
		"set active slave": {SetActiveSlave(7, 3), 1, "3c00000010000500" + "0100000000000000" + "00000000070000000000000000000000" + "1c001280" + "09000100626f6e6400000000" + "0c000280" + "0800020003000000"},
		"inspect now": {InspectNow(7, 100*time.Millisecond), 2,
			"3c00000010000500" + "0100000000000000" + "00000000070000000000000000000000" + "1c001280" + "09000100626f6e6400000000" + "0c000280" + "0800030000000000" +
				"3c00000010000500" + "0200000000000000" + "00000000070000000000000000000000" + "1c001280" + "09000100626f6e6400000000" + "0c000280" + "0800030064000000"},
	} {
		if got := hex.EncodeToString(tt.request.packet); got != tt.want || tt.request.count != tt.count {
			t.Errorf("%s: %d messages\ngot  %s\nwant %s", name, tt.request.count, got, tt.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(bondMessage(f))
	f.Add(slaveMessage(f, stats(25)))
	f.Add(datagram(unix.RTM_NEWLINK, slaveMessage(f, stats(3))))
	f.Add([]byte{2, 24, 0, 0, 7, 0, 0, 0, 8, 0, 2, 0, 192, 0, 2, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		if l, err := decodeLink(data); err == nil && l.Name == "" {
			t.Error("a link without a name")
		}
		if a, err := decodeAddress(data); err == nil && !a.Prefix.IsValid() {
			t.Errorf("address %+v", a)
		}
		if r, ok, err := decodeRoute(data); err == nil && ok && (!r.Dst.IsValid() || r.Index == 0) {
			t.Errorf("route %+v", r)
		}
		splitEvents(data, time.Time{}, new(state.LinkEvent), func(ev *state.LinkEvent) {
			if ev.Lost && (ev.LinkUp || ev.Gone) && ev.Index == 0 {
				t.Errorf("event %+v", ev)
			}
		})
	})
}
