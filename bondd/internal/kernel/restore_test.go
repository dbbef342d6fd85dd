package kernel

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"reflect"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// nexthop is one way of RTA_MULTIPATH.
func nexthop(index uint32, flags byte, gateway []byte) []byte {
	b := make([]byte, unix.SizeofRtNexthop, unix.SizeofRtNexthop+4+len(gateway))
	b[2] = flags
	binary.NativeEndian.PutUint32(b[4:], index)
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(gateway)))
	b = binary.NativeEndian.AppendUint16(b, unix.RTA_GATEWAY)
	b = append(b, gateway...)
	binary.NativeEndian.PutUint16(b, uint16(len(b)))
	return b
}

// routeHeader is an rtmsg.
func routeHeader(family, bits, table, protocol byte, flags uint32) []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1], b[4], b[5], b[7] = family, bits, table, protocol, unix.RTN_UNICAST
	binary.NativeEndian.PutUint32(b[8:], flags)
	return b
}

// What is compared with bondd's own routes, and what is only kept to be put back.
func TestAddRoute(t *testing.T) {
	const foreign = 77
	v4, v6 := []byte{192, 0, 2, 1}, netip.MustParseAddr("2001:db8::1").AsSlice()
	one := func(header []byte, index uint32) []byte {
		return attributes(t, header, func(ae *netlink.AttributeEncoder) {
			ae.Uint32(unix.RTA_OIF, index)
			ae.Bytes(unix.RTA_GATEWAY, v4)
		})
	}
	multi := func(header []byte, ways ...[]byte) []byte {
		return attributes(t, header, func(ae *netlink.AttributeEncoder) {
			var b []byte
			for _, w := range ways {
				b = append(b, w...)
			}
			ae.Bytes(unix.RTA_MULTIPATH, b)
		})
	}
	other := func(index int, text string, data []byte) []state.OtherRoute {
		return []state.OtherRoute{{Index: index, Text: text, Gateway: true, Message: string(data)}}
	}
	main4, table100 := routeHeader(unix.AF_INET, 0, unix.RT_TABLE_MAIN, foreign, 0), routeHeader(unix.AF_INET, 0, 100, foreign, 0)
	onBond, elsewhere := one(main4, 7), one(main4, 3)
	inTable := one(table100, 7)
	both := multi(main4, nexthop(7, 0, v4), nexthop(7, 0, []byte{192, 0, 2, 3}))
	for _, tt := range []struct {
		name   string
		data   []byte
		routes []state.Route
		others []state.OtherRoute
	}{
		{"on a bond", onBond, []state.Route{{Index: 7, Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Protocol: foreign, Message: string(onBond)}}, nil},
		{"on another link", elsewhere, []state.Route{{Index: 3, Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Protocol: foreign}}, nil},
		{"of another table", inTable, nil, other(7, "to 0.0.0.0/0 via 192.0.2.1 by bond0 in table 100", inTable)},
		{"of another table and link", one(table100, 3), nil, nil},
		{"several ways, all on the bond", both, nil, other(7, "to 0.0.0.0/0 via 192.0.2.1 via 192.0.2.3 by bond0", both)},
		{"several ways, one elsewhere", multi(main4, nexthop(7, 0, v4), nexthop(3, 0, v4)), nil, nil},
		{"IPv6, one that was made of two", multi(routeHeader(unix.AF_INET6, 0, unix.RT_TABLE_MAIN, foreign, 0), nexthop(7, 0, v6), nexthop(3, 0, v6)),
			[]state.Route{{Index: 7, Dst: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("2001:db8::1"), Protocol: foreign, Shared: true},
				{Index: 3, Dst: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("2001:db8::1"), Protocol: foreign, Shared: true}}, nil},
		{"the kernel's own of another table", one(routeHeader(unix.AF_INET, 0, 100, unix.RTPROT_KERNEL, 0), 7), nil, nil},
		{"of the local table", one(routeHeader(unix.AF_INET, 0, unix.RT_TABLE_LOCAL, foreign, 0), 7), nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := &state.Network{Links: []state.Link{{Index: 7, Name: "bond0"}}}
			if err := addRoute(n, tt.data, map[int]bool{7: true}); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(n.Routes, tt.routes) || !reflect.DeepEqual(n.Others, tt.others) {
				t.Errorf("got  %+v and %+v\nwant %+v and %+v", n.Routes, n.Others, tt.routes, tt.others)
			}
		})
	}
	for name, data := range map[string][]byte{
		"a way that is too short": multi(main4, []byte{8, 0, 0}),
		"a way that is too long":  multi(main4, []byte{60, 0, 0, 0, 7, 0, 0, 0}),
		"a way of no length":      multi(main4, []byte{0, 0, 0, 0, 7, 0, 0, 0}),
	} {
		if err := addRoute(new(state.Network), data, nil); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

// What is put back is what the kernel told, without what only describes a state.
func TestRestore(t *testing.T) {
	index := func(string) (int, error) { return 9, nil } // it was 7
	address := func(family, flags byte, f func(*netlink.AttributeEncoder)) string {
		b := make([]byte, unix.SizeofIfAddrmsg)
		b[0], b[1], b[2] = family, 24, flags
		binary.NativeEndian.PutUint32(b[4:], 7)
		return string(attributes(t, b, f))
	}
	route := func(flags uint32, f func(*netlink.AttributeEncoder)) string {
		return string(attributes(t, routeHeader(unix.AF_INET, 24, 100, 77, flags), f))
	}
	const (
		v4  = "02188000" + "09000000"
		v6  = "0a188000" + "09000000"
		rtm = "02180000" + "644d0001"
	)
	for _, tt := range []struct {
		name string
		op   state.Op
		want string
	}{
		{"an IPv4 address with its label and mark", state.RestoreAddress{Link: "bond0", Address: state.Address{Message: address(unix.AF_INET, unix.IFA_F_PERMANENT, func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.IFA_LOCAL, []byte{192, 0, 2, 9})
			ae.Bytes(unix.IFA_LABEL, []byte("bond0:1\x00"))
			ae.Uint8(ifaProto, 18)
			ae.Uint32(unix.IFA_FLAGS, unix.IFA_F_PERMANENT|unix.IFA_F_NOPREFIXROUTE)
		})}}, v4 + "08000200" + "c0000209" + "0c000300" + "626f6e64303a3100" + "05000b00" + "12000000" + "08000800" + "80020000"},
		{"an IPv6 address is usable at once", state.RestoreAddress{Link: "bond0", Address: state.Address{Message: address(unix.AF_INET6, unix.IFA_F_PERMANENT, func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.IFA_ADDRESS, netip.MustParseAddr("2001:db8::9").AsSlice())
			ae.Uint32(unix.IFA_FLAGS, unix.IFA_F_PERMANENT|unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC)
		})}}, v6 + "14000100" + "20010db8000000000000000000000009" + "08000800" + "82000000"},
		{"a route with its source, and whether it was dead", state.RestoreRoute{Link: "bond0", Message: route(unix.RTNH_F_ONLINK|unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN, func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.RTA_DST, []byte{198, 51, 100, 0})
			ae.Uint32(unix.RTA_OIF, 7)
			ae.Bytes(unix.RTA_PREFSRC, []byte{192, 0, 2, 9})
			ae.Uint32(rtaNhID, 5)
			ae.Bytes(unix.RTA_CACHEINFO, make([]byte, 32))
		})}, rtm + "04000000" + "08000100" + "c6336400" + "08000400" + "09000000" + "08000700" + "c0000209"},
		{"a route that ends", state.RestoreRoute{Link: "bond0", Message: route(0, func(ae *netlink.AttributeEncoder) {
			ci := make([]byte, 32)
			binary.NativeEndian.PutUint32(ci[8:], 1234)
			ae.Bytes(unix.RTA_CACHEINFO, ci)
		})}, rtm + "00000000" + "08001700" + "0c000000"},
		{"several ways", state.RestoreRoute{Link: "bond0", Message: route(0, func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.RTA_MULTIPATH, append(nexthop(7, unix.RTNH_F_DEAD, []byte{192, 0, 2, 1}), nexthop(7, 0, []byte{192, 0, 2, 3})...))
		})}, rtm + "00000000" + "24000900" + "10000000" + "09000000" + "08000500" + "c0000201" + "10000000" + "09000000" + "08000500" + "c0000203"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := encode(tt.op, index)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(m.Data); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Who added an address, when, and what is below and above a bond.
func TestDecodeOwner(t *testing.T) {
	header := make([]byte, unix.SizeofIfAddrmsg)
	header[0], header[1] = unix.AF_INET, 24
	a, err := decodeAddress(attributes(t, header, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_LOCAL, []byte{192, 0, 2, 2})
		ae.Uint8(ifaProto, state.ProtocolLease)
		ci := make([]byte, unix.SizeofIfaCacheinfo)
		binary.NativeEndian.PutUint32(ci[8:], 4711)
		ae.Bytes(unix.IFA_CACHEINFO, ci)
	}))
	if err != nil || a.Protocol != state.ProtocolLease || a.Created != 4711 {
		t.Errorf("address: %+v, %v", a, err)
	}
	link := func(name, kind string, index, lower, namespace int) state.Link {
		l, err := decodeLink(attributes(t, ifinfo(index, 0), func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_IFNAME, name)
			if lower != 0 {
				ae.Uint32(unix.IFLA_LINK, uint32(lower))
			}
			if namespace != 0 {
				ae.Uint32(unix.IFLA_LINK_NETNSID, uint32(namespace))
			}
			ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
				ae.String(unix.IFLA_INFO_KIND, kind)
				if kind == "bond" {
					ae.Nested(unix.IFLA_INFO_DATA, func(*netlink.AttributeEncoder) error { return nil })
				}
				return nil
			})
			ae.Nested(unix.IFLA_AF_SPEC, func(ae *netlink.AttributeEncoder) error {
				ae.Nested(unix.AF_INET, func(ae *netlink.AttributeEncoder) error {
					conf := make([]byte, 4*33)
					conf[4*(promoteSecondaries-1)] = 1
					ae.Bytes(unix.IFLA_INET_CONF, conf)
					return nil
				})
				return nil
			})
		}))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	links := []state.Link{link("v2", "vlan", 5, 6, 0), link("v1", "vlan", 6, 7, 0), link("bond0", "bond", 7, 0, 0),
		link("veth", "veth", 8, 7, 1), link("v3", "vlan", 9, 8, 0), link("mv", "macvlan", 10, 7, 0)}
	if !links[2].Promotes || links[1].Lower != 7 || links[3].Lower != 0 {
		t.Errorf("links: %+v", links)
	}
	if got, want := restorable(links), map[int]bool{5: true, 6: true, 7: true}; !reflect.DeepEqual(got, want) {
		t.Errorf("to be put back: those of %v, want %v", got, want)
	}
}
