package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
)

// An attribute of a slave that golang.org/x/sys/unix does not name
// (include/uapi/linux/if_link.h).
const (
	slaveChurnActor   = 11 // IFLA_BOND_SLAVE_AD_CHURN_ACTOR_STATE
	slaveChurnPartner = 12 // IFLA_BOND_SLAVE_AD_CHURN_PARTNER_STATE
)

// encodeOption appends an option with this value. index finds a slave's interface index.
func encodeOption(
	ae *netlink.AttributeEncoder,
	o *bonding.Option,
	value string,
	index func(name string) (int, error),
) error {
	var err error
	switch o.Kind {
	case bonding.KindEnum:
		n, ok := o.Number(value)
		if !ok {
			return fmt.Errorf("bonding option %s has no value %q", o.Name, value)
		}
		encodeNumber(ae, o, int64(n))
	case bonding.KindSlave:
		i := 0 // the kernel's "none"
		if value != "" {
			i, err = index(value)
		}
		encodeNumber(ae, o, int64(i))
	case bonding.KindMAC:
		var m state.MAC
		m, err = state.ParseMAC(value)
		ae.Bytes(o.Attribute, m[:])
	case bonding.KindIPv4s, bonding.KindIPv6s:
		err = encodeAddresses(ae, o, value)
	default:
		var n int64
		n, err = parseNumber(o.Form, value)
		encodeNumber(ae, o, n)
	}
	if err != nil {
		return fmt.Errorf("bonding option %s has no value %q: %w", o.Name, value, err)
	}
	return nil
}

// parseNumber reads a number that has to fit into an attribute of this form.
func parseNumber(f bonding.Form, value string) (int64, error) {
	bits := 32
	switch f {
	case bonding.FormS32:
		return strconv.ParseInt(value, 10, 32)
	case bonding.FormU8:
		bits = 8
	case bonding.FormU16:
		bits = 16
	}
	n, err := strconv.ParseUint(value, 10, bits)
	return int64(n), err
}

func encodeNumber(ae *netlink.AttributeEncoder, o *bonding.Option, n int64) {
	switch o.Form {
	case bonding.FormU8:
		ae.Uint8(o.Attribute, uint8(n))
	case bonding.FormU16:
		ae.Uint16(o.Attribute, uint16(n))
	case bonding.FormS32:
		ae.Int32(o.Attribute, int32(n))
	default:
		ae.Uint32(o.Attribute, uint32(n))
	}
}

// encodeAddresses appends a list of targets. The kernel replaces the whole set
// by it: an empty list takes all away.
func encodeAddresses(ae *netlink.AttributeEncoder, o *bonding.Option, value string) error {
	var targets []netip.Addr
	for s := range strings.SplitSeq(value, ",") {
		if value == "" {
			break
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return err
		}
		if a.Is4() != (o.Kind == bonding.KindIPv4s) || a.Zone() != "" {
			return fmt.Errorf("%s is of the wrong kind", a)
		}
		targets = append(targets, a)
	}
	ae.Nested(o.Attribute, func(ae *netlink.AttributeEncoder) error {
		for i, a := range targets {
			ae.Bytes(uint16(i), a.AsSlice())
		}
		return nil
	})
	return nil
}

// decodeOption is the text form of an option whose attribute ad is at.
func decodeOption(ad *netlink.AttributeDecoder, o *bonding.Option) string {
	switch o.Form {
	case bonding.FormMAC:
		return net.HardwareAddr(ad.Bytes()).String()
	case bonding.FormNested:
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
	n := decodeNumber(ad, o.Form)
	if word, ok := o.Word(uint32(n)); ok {
		return word
	}
	return strconv.FormatInt(n, 10) // also of an enumeration: what only a newer kernel has
}

func decodeNumber(ad *netlink.AttributeDecoder, f bonding.Form) int64 {
	switch f {
	case bonding.FormU8:
		return int64(ad.Uint8())
	case bonding.FormU16:
		return int64(ad.Uint16())
	case bonding.FormS32:
		return int64(ad.Int32())
	}
	return int64(ad.Uint32())
}

// decodeBond reads IFLA_INFO_DATA of a bond. Options that name a slave are left
// as the decimal index; nameSlaves turns them into names once all links are known.
func decodeBond(ad *netlink.AttributeDecoder) *state.BondLink {
	b := &state.BondLink{Options: make(state.Options)}
	for o := range bonding.BondOptions() {
		if o.Optional() {
			b.Options[o.Name] = ""
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
		for o := range bonding.BondOptions() {
			if o.Attribute == ad.Type() {
				b.Options[o.Name] = decodeOption(ad, o)
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
		for o := range bonding.BondOptions() {
			if o.Kind == bonding.KindSlave && b.Options[o.Name] != "" {
				b.Options[o.Name] = names[b.Options[o.Name]]
			}
		}
	}
}
