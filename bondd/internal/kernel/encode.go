package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
)

// encode turns an op into the one request that carries it out. index finds the
// interface index of a link.
func encode(op state.Op, index func(name string) (int, error)) (netlink.Message, error) {
	switch op := op.(type) {
	case state.CreateBond:
		return linkMessage(0, 0, 0, netlink.Create|netlink.Excl, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_IFNAME, op.Name)
			if !op.MAC.IsZero() {
				ae.Bytes(unix.IFLA_ADDRESS, op.MAC[:])
			}
			return bondOptions(ae, op.Options, index)
		})
	case state.DelAddress:
		return addressMessage(unix.RTM_DELADDR, 0, &state.AddAddress{Link: op.Link, Prefix: op.Prefix}, index)
	case state.AddAddress:
		return addressMessage(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, &op, index)
	case state.AddRoute:
		// Not in the place of another one of its destination and metric, which
		// may be another program's, on another link even.
		return routeMessage(unix.RTM_NEWROUTE, netlink.Create, state.DelRoute(op), index)
	case state.DelRoute:
		return routeMessage(unix.RTM_DELROUTE, 0, op, index)
	}

	i, err := index(op.Subject())
	if err != nil {
		return netlink.Message{}, err
	}
	switch op := op.(type) {
	case state.SetOption:
		return linkMessage(i, 0, 0, 0, func(ae *netlink.AttributeEncoder) error {
			return bondOptions(ae, state.Options{op.Option: op.Value}, index)
		})
	case state.SetSlaveOption:
		return linkMessage(i, 0, 0, 0, func(ae *netlink.AttributeEncoder) error {
			return slaveOption(ae, op.Option, op.Value)
		})
	case state.SetUp:
		var flags uint32
		if op.Up {
			flags = unix.IFF_UP
		}
		return linkMessage(i, flags, unix.IFF_UP, 0, nil)
	case state.Park:
		return linkMessage(i, unix.IFF_UP|unix.IFF_NOARP, unix.IFF_UP|unix.IFF_NOARP, 0, nil)
	case state.Unpark:
		return linkMessage(i, 0, unix.IFF_UP|unix.IFF_NOARP, 0, nil)
	case state.Rename:
		return linkMessage(i, 0, 0, 0, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_IFNAME, op.To)
			return nil
		})
	case state.SetMAC:
		return linkMessage(i, 0, 0, 0, func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(unix.IFLA_ADDRESS, op.MAC[:])
			return nil
		})
	case state.KeepSecondaries:
		return linkMessage(i, 0, 0, 0, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(unix.IFLA_AF_SPEC, func(ae *netlink.AttributeEncoder) error {
				ae.Nested(unix.AF_INET, func(ae *netlink.AttributeEncoder) error {
					ae.Nested(unix.IFLA_INET_CONF, func(ae *netlink.AttributeEncoder) error {
						ae.Uint32(promoteSecondaries, 1)
						return nil
					})
					return nil
				})
				return nil
			})
			return nil
		})
	case state.RestoreAddress:
		return restoreAddress(op.Address.Message, i)
	case state.RestoreRoute:
		return restoreRoute(op.Message, i)
	case state.SetMTU:
		return linkMessage(i, 0, 0, 0, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.IFLA_MTU, uint32(op.MTU))
			return nil
		})
	case state.Enslave:
		master, err := index(op.Bond)
		if err != nil {
			return netlink.Message{}, err
		}
		return setMaster(i, master)
	case state.Release:
		return setMaster(i, 0)
	}
	return netlink.Message{}, fmt.Errorf("there is no request for a %T", op)
}

func setMaster(index, master int) (netlink.Message, error) {
	return linkMessage(index, 0, 0, 0, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.IFLA_MASTER, uint32(master))
		return nil
	})
}

// linkMessage is an RTM_NEWLINK: on an index it changes that link, on index 0 it creates one.
func linkMessage(
	index int,
	flags, change uint32,
	header netlink.HeaderFlags,
	attrs func(*netlink.AttributeEncoder) error,
) (netlink.Message, error) {
	ifi := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(ifi[4:], uint32(index))
	binary.NativeEndian.PutUint32(ifi[8:], flags)
	binary.NativeEndian.PutUint32(ifi[12:], change)
	return message(unix.RTM_NEWLINK, header, ifi, attrs)
}

// bondOptions appends IFLA_LINKINFO with these options, in the table's order. The
// driver applies them in an order of its own, whichever they come in
// (bond_changelink, drivers/net/bonding/bond_netlink.c).
func bondOptions(ae *netlink.AttributeEncoder, values state.Options, index func(string) (int, error)) error {
	for name := range values {
		if _, ok := bonding.Lookup(name); !ok {
			return errNoOption(name)
		}
	}
	ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.IFLA_INFO_KIND, "bond")
		ae.Nested(unix.IFLA_INFO_DATA, func(ae *netlink.AttributeEncoder) error {
			for o := range bonding.BondOptions() {
				if value, ok := values[o.Name]; ok {
					if err := encodeOption(ae, o, value, index); err != nil {
						return err
					}
				}
			}
			return nil
		})
		return nil
	})
	return nil
}

func errNoOption(name string) error { return fmt.Errorf("bonding option %q is not known", name) }

// slaveOption appends IFLA_LINKINFO with one option of a bond's slave.
func slaveOption(ae *netlink.AttributeEncoder, name, value string) error {
	o, ok := bonding.LookupSlave(name)
	if !ok {
		return errNoOption(name)
	}
	ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.IFLA_INFO_SLAVE_KIND, "bond")
		ae.Nested(unix.IFLA_INFO_SLAVE_DATA, func(ae *netlink.AttributeEncoder) error {
			return encodeOption(ae, o, value, nil)
		})
		return nil
	})
	return nil
}

func addressMessage(kind netlink.HeaderType, header netlink.HeaderFlags, op *state.AddAddress,
	index func(string) (int, error)) (netlink.Message, error) {
	i, err := index(op.Link)
	if err != nil {
		return netlink.Message{}, err
	}
	address := op.Prefix.Addr()
	ifa := make([]byte, unix.SizeofIfAddrmsg)
	ifa[0], ifa[1] = family(address), uint8(op.Prefix.Bits())
	binary.NativeEndian.PutUint32(ifa[4:], uint32(i))
	return message(kind, header, ifa, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.IFA_ADDRESS, address.AsSlice())
		if address.Is4() {
			ae.Bytes(unix.IFA_LOCAL, address.AsSlice())
		} else {
			// The bond answers for its address at once: with two NICs on one
			// switch, duplicate address detection would only see an echo.
			ae.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
		}
		if op.Broadcast.IsValid() {
			ae.Bytes(unix.IFA_BROADCAST, op.Broadcast.AsSlice())
		}
		if op.Lifetime > 0 {
			ci := make([]byte, unix.SizeofIfaCacheinfo)
			seconds := uint32(op.Lifetime / time.Second)
			binary.NativeEndian.PutUint32(ci[0:], seconds) // preferred
			binary.NativeEndian.PutUint32(ci[4:], seconds) // valid
			ae.Bytes(unix.IFA_CACHEINFO, ci)
		}
		if op.Protocol != 0 {
			ae.Uint8(ifaProto, uint8(op.Protocol)) // kernels before 5.18 pass it over
		}
		return nil
	})
}

func routeMessage(
	kind netlink.HeaderType,
	header netlink.HeaderFlags,
	r state.DelRoute,
	index func(string) (int, error),
) (netlink.Message, error) {
	i, err := index(r.Link)
	if err != nil {
		return netlink.Message{}, err
	}
	scope := uint8(unix.RT_SCOPE_UNIVERSE)
	if !r.Gateway.IsValid() && r.Dst.Addr().Is4() {
		scope = unix.RT_SCOPE_LINK
	}
	rtm := make([]byte, unix.SizeofRtMsg)
	rtm[0], rtm[1] = family(r.Dst.Addr()), uint8(r.Dst.Bits())
	rtm[4], rtm[5], rtm[6], rtm[7] = unix.RT_TABLE_MAIN, uint8(r.Protocol), scope, unix.RTN_UNICAST
	return message(kind, header, rtm, func(ae *netlink.AttributeEncoder) error {
		if r.Dst.Bits() > 0 {
			ae.Bytes(unix.RTA_DST, r.Dst.Addr().AsSlice())
		}
		if r.Gateway.IsValid() {
			ae.Bytes(unix.RTA_GATEWAY, r.Gateway.AsSlice())
		}
		ae.Uint32(unix.RTA_OIF, uint32(i))
		if r.Metric > 0 {
			ae.Uint32(unix.RTA_PRIORITY, uint32(r.Metric))
		}
		return nil
	})
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// message is a request with a fixed header and attributes, to be acknowledged.
func message(
	kind netlink.HeaderType,
	header netlink.HeaderFlags,
	fixed []byte,
	attrs func(*netlink.AttributeEncoder) error,
) (netlink.Message, error) {
	m := netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Acknowledge | header},
		Data:   fixed,
	}
	if attrs == nil {
		return m, nil
	}
	ae := netlink.NewAttributeEncoder()
	if err := attrs(ae); err != nil {
		return m, err
	}
	b, err := ae.Encode()
	if err != nil {
		return m, err
	}
	m.Data = append(m.Data, b...)
	return m, nil
}
