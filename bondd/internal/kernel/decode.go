package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// decodeLink reads one RTM_NEWLINK (rtnl_fill_ifinfo, net/core/rtnetlink.c).
func decodeLink(data []byte) (state.Link, error) {
	if len(data) < unix.SizeofIfInfomsg {
		return state.Link{}, fmt.Errorf("decode link: %d bytes are less than an ifinfomsg", len(data))
	}
	flags := binary.NativeEndian.Uint32(data[8:])
	l := state.Link{
		Index: int(int32(binary.NativeEndian.Uint32(data[4:]))),
		Up:    flags&unix.IFF_UP != 0,
		NoARP: flags&unix.IFF_NOARP != 0,
	}
	ad, err := netlink.NewAttributeDecoder(data[unix.SizeofIfInfomsg:])
	if err != nil {
		return state.Link{}, fmt.Errorf("decode link %d: %w", l.Index, err)
	}
	var away bool
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			l.Name = ad.String()
		case unix.IFLA_ADDRESS:
			l.MAC = mac(ad.Bytes())
		case unix.IFLA_PERM_ADDRESS:
			l.PermanentMAC = mac(ad.Bytes())
		case unix.IFLA_MTU:
			l.MTU = int(ad.Uint32())
		case unix.IFLA_MASTER:
			l.Master = int(ad.Uint32())
		case unix.IFLA_LINK:
			l.Lower = int(ad.Uint32())
		case unix.IFLA_LINK_NETNSID:
			away = true
		case unix.IFLA_CARRIER:
			l.Carrier = ad.Uint8() != 0
		case unix.IFLA_CARRIER_CHANGES:
			l.CarrierChanges = uint64(ad.Uint32())
		case unix.IFLA_STATS64:
			l.Counters = decodeStats(ad.Bytes())
		case unix.IFLA_LINKINFO:
			ad.Nested(func(ad *netlink.AttributeDecoder) error { return decodeLinkInfo(ad, &l) })
		case unix.IFLA_AF_SPEC:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				decodeFamilies(ad, &l)
				return nil
			})
		}
	}
	if away {
		l.Lower = 0 // an index of another network namespace
	}
	if err := ad.Err(); err != nil {
		return state.Link{}, fmt.Errorf("decode link %d: %w", l.Index, err)
	}
	if l.Name == "" {
		return state.Link{}, fmt.Errorf("decode link %d: it has no name", l.Index)
	}
	return l, nil
}

// decodeFamilies reads IFLA_AF_SPEC: what a link does with IPv4 and IPv6. A family
// is not there on a link that cannot have it (inet6_fill_link_af, net/ipv6/addrconf.c).
func decodeFamilies(ad *netlink.AttributeDecoder, l *state.Link) {
	const disableIPv6 = 26 // DEVCONF_DISABLE_IPV6, include/uapi/linux/ipv6.h
	for ad.Next() {
		switch ad.Type() {
		case unix.AF_INET6:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					if conf := ad.Bytes(); ad.Type() == unix.IFLA_INET6_CONF && len(conf) >= (disableIPv6+1)*4 {
						l.IPv6 = binary.NativeEndian.Uint32(conf[disableIPv6*4:]) == 0
					}
				}
				return nil
			})
		case unix.AF_INET:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					// Counted from 1 when they are written, and from 0 here (inet_fill_link_af, net/ipv4/devinet.c).
					const at = promoteSecondaries - 1
					if conf := ad.Bytes(); ad.Type() == unix.IFLA_INET_CONF && len(conf) >= (at+1)*4 {
						l.Promotes = binary.NativeEndian.Uint32(conf[at*4:]) != 0
					}
				}
				return nil
			})
		}
	}
}

// promoteSecondaries is IPV4_DEVCONF_PROMOTE_SECONDARIES (include/uapi/linux/ip.h).
const promoteSecondaries = 20

// decodeLinkInfo reads IFLA_LINKINFO. The kernel puts each kind before its data.
func decodeLinkInfo(ad *netlink.AttributeDecoder, l *state.Link) error {
	var slaveKind string
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_INFO_KIND:
			l.Kind = ad.String()
		case unix.IFLA_INFO_SLAVE_KIND:
			slaveKind = ad.String()
		case unix.IFLA_INFO_DATA:
			if l.Kind == "bond" {
				ad.Nested(func(ad *netlink.AttributeDecoder) error {
					l.Bond = decodeBond(ad)
					return nil
				})
			}
		case unix.IFLA_INFO_SLAVE_DATA:
			if slaveKind == "bond" {
				ad.Nested(func(ad *netlink.AttributeDecoder) error {
					l.Slave = decodeSlave(ad)
					return nil
				})
			}
		}
	}
	return nil
}

// decodeSlave reads IFLA_INFO_SLAVE_DATA (bond_fill_slave_info, bond_netlink.c).
func decodeSlave(ad *netlink.AttributeDecoder) *state.SlaveLink {
	s := &state.SlaveLink{}
	var port state.LACPPort
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_BOND_SLAVE_STATE:
			s.Active = ad.Uint8() == 0 // BOND_STATE_ACTIVE
		case unix.IFLA_BOND_SLAVE_MII_STATUS:
			s.MIIStatus = state.MIIStatus(ad.Uint8())
		case unix.IFLA_BOND_SLAVE_LINK_FAILURE_COUNT:
			s.LinkFailures = uint64(ad.Uint32())
		case unix.IFLA_BOND_SLAVE_PERM_HWADDR:
			s.EnslavedMAC = mac(ad.Bytes())
		case unix.IFLA_BOND_SLAVE_PRIO:
			s.Prio = int(ad.Int32())
		case unix.IFLA_BOND_SLAVE_AD_AGGREGATOR_ID:
			port.Aggregator = int(ad.Uint16())
			s.LACP = &port // only mode 802.3ad has one
		case unix.IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE:
			port.Actor = state.PortState(ad.Uint8())
		case unix.IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE:
			port.Partner = state.PortState(ad.Uint16()) // eight bits in sixteen
		case slaveChurnActor:
			port.ActorChurn = churn(ad.Uint8())
		case slaveChurnPartner:
			port.PartnerChurn = churn(ad.Uint8())
		}
	}
	return s
}

// churn is the word for a churn_state_t (include/net/bond_3ad.h).
func churn(n uint8) string {
	words := [...]string{"monitoring", "churned", "none"}
	if int(n) < len(words) {
		return words[n]
	}
	return strconv.Itoa(int(n))
}

// decodeStats folds rtnl_link_stats64 as net/core/net-procfs.c does. The
// structure has grown at its end before: what is missing counts as zero, what
// is new is passed over.
func decodeStats(b []byte) state.Counters {
	at := func(i int) uint64 {
		if len(b) < (i+1)*8 {
			return 0
		}
		return binary.NativeEndian.Uint64(b[i*8:])
	}
	// Indexes of the fields, include/uapi/linux/if_link.h.
	const (
		rxPackets, txPackets, rxBytes, txBytes            = 0, 1, 2, 3
		rxErrors, txErrors, rxDropped, txDropped          = 4, 5, 6, 7
		collisions                                        = 9
		rxLength, rxOver, rxCRC, rxFrame, rxFifo, rxMiss  = 10, 11, 12, 13, 14, 15
		txAborted, txCarrier, txFifo, txHeartbeat, txWind = 16, 17, 18, 19, 20
		rxNoHandler                                       = 23
	)
	return state.Counters{
		RxPackets: at(rxPackets), RxBytes: at(rxBytes), RxErrors: at(rxErrors),
		RxDropped:   at(rxDropped) + at(rxMiss),
		RxOverruns:  at(rxFifo),
		RxFrame:     at(rxLength) + at(rxOver) + at(rxCRC) + at(rxFrame),
		RxNoHandler: at(rxNoHandler),
		TxPackets:   at(txPackets), TxBytes: at(txBytes), TxErrors: at(txErrors), TxDropped: at(txDropped),
		TxOverruns: at(txFifo),
		TxCarrier:  at(txCarrier) + at(txAborted) + at(txWind) + at(txHeartbeat),
		Collisions: at(collisions),
	}
}

// ifaProto is IFA_PROTO (include/uapi/linux/if_addr.h), which golang.org/x/sys/unix does not name.
const ifaProto = 11

// decodeAddress reads one RTM_NEWADDR (inet_fill_ifaddr, net/ipv4/devinet.c).
func decodeAddress(data []byte) (state.Address, error) {
	if len(data) < unix.SizeofIfAddrmsg {
		return state.Address{}, fmt.Errorf("decode address: %d bytes are less than an ifaddrmsg", len(data))
	}
	a := state.Address{
		Index:     int(binary.NativeEndian.Uint32(data[4:])),
		LinkLocal: data[3] == unix.RT_SCOPE_LINK,
		Permanent: data[2]&unix.IFA_F_PERMANENT != 0,
	}
	bits := int(data[1])
	var address, local netip.Addr
	ad, err := netlink.NewAttributeDecoder(data[unix.SizeofIfAddrmsg:])
	if err != nil {
		return state.Address{}, fmt.Errorf("decode address on link %d: %w", a.Index, err)
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_BROADCAST:
			a.Broadcast, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_FLAGS:
			a.Permanent = ad.Uint32()&unix.IFA_F_PERMANENT != 0
		case ifaProto:
			a.Protocol = int(ad.Uint8())
		case unix.IFA_CACHEINFO:
			if ci := ad.Bytes(); len(ci) >= unix.SizeofIfaCacheinfo {
				a.Created = binary.NativeEndian.Uint32(ci[8:])
			}
		}
	}
	if err := ad.Err(); err != nil {
		return state.Address{}, fmt.Errorf("decode address on link %d: %w", a.Index, err)
	}
	if local.IsValid() { // IPv4: the own end; IFA_ADDRESS is the peer's on a point-to-point link
		address = local
	}
	if a.Prefix = netip.PrefixFrom(address, bits); !a.Prefix.IsValid() {
		return state.Address{}, fmt.Errorf("decode address on link %d: %v/%d is not an address", a.Index, address, bits)
	}
	return a, nil
}

// mac reads an Ethernet address; anything of another length is none.
func mac(b []byte) state.MAC {
	if len(b) != 6 {
		return state.MAC{}
	}
	return state.MAC(b)
}
