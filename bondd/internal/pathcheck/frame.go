package pathcheck

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// Lengths and offsets in a frame, in bytes. The formats are RFC 826 (ARP),
// RFC 8200 (IPv6) and RFC 4861 (neighbour discovery); probes without a sender
// address are those of RFC 5227.
const (
	etherLen    = 14
	etherMinLen = 60 // without the checksum; a card may leave padding to the sender
	arpLen      = 28
	ipv6Len     = 40
	neighLen    = 24 // ICMPv6 type to target address, the same in question and answer
	optionLen   = 8  // a link-layer address

	arpRequest = 1
	arpReply   = 2

	icmpv6            = 58
	neighSolicitation = 135
	neighAdvert       = 136

	optionSourceLinkLayer = 1

	// ndHopLimit proves that a packet was not routed: it comes from this link.
	ndHopLimit = 255
)

// probeMAC derives the Ethernet address of a card's probes from the card's
// permanent address: the bit "locally administered" (0x02) of the first octet
// set, the bit "group" (0x01) clear, and 0x40 inverted, so that it differs from
// an address that is locally administered already. The rest stays, so that a
// person who finds it in a switch's table sees whose it is:
//
//	00:0c:29:12:34:56 → 42:0c:29:12:34:56
//	52:54:00:12:34:56 → 12:54:00:12:34:56
//
// A probe must never leave a standby under the card's own permanent address,
// for that may be the bond's: the switch would send the bond's traffic there.
func probeMAC(permanent state.MAC) state.MAC {
	m := permanent
	m[0] = (m[0]&^0x01 | 0x02) ^ 0x40
	return m
}

// randomMAC returns an address for the probes of a card whose own is not known:
// two hosts without would else have the same.
func randomMAC() state.MAC {
	var m state.MAC
	_, _ = rand.Read(m[:]) // never fails
	return probeMAC(m)
}

// nextMAC returns the address to try where two cards would have the same one:
// the last three octets counted up.
func nextMAC(m state.MAC) state.MAC {
	for i := 5; i >= 3; i-- {
		if m[i]++; m[i] != 0 {
			break
		}
	}
	return m
}

// linkLocal returns the IPv6 address that a MAC has by itself (RFC 4291, appendix A).
func linkLocal(m state.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 0x02, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// solicitedNode returns the multicast address at which the owner of an IPv6
// address is asked (RFC 4291, 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 0x02, 11: 0x01, 0xff, b[13], b[14], b[15]})
}

// probeFrame returns the frame that asks a target to answer to mac.
func probeFrame(mac state.MAC, t *Target) []byte {
	if t.Addr.Is4() {
		return arpFrame(mac, t.Source, t.Addr)
	}
	return solicitation(mac, t.Addr)
}

// arpFrame returns an ARP request. An invalid source is 0.0.0.0.
func arpFrame(mac state.MAC, source, target netip.Addr) []byte {
	b := make([]byte, 0, etherMinLen)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	b = append(b, mac[:]...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_ARP)
	b = binary.BigEndian.AppendUint16(b, unix.ARPHRD_ETHER)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	b = append(b, 6, 4) // lengths of the addresses
	b = binary.BigEndian.AppendUint16(b, arpRequest)
	b = append(b, mac[:]...)
	if source.IsValid() {
		b = append(b, source.AsSlice()...)
	} else {
		b = append(b, 0, 0, 0, 0)
	}
	b = append(b, 0, 0, 0, 0, 0, 0)
	b = append(b, target.AsSlice()...)
	return b[:etherMinLen]
}

// solicitation returns a neighbour solicitation, sent from the link-local
// address of mac.
func solicitation(mac state.MAC, target netip.Addr) []byte {
	from, to := linkLocal(mac).As16(), solicitedNode(target).As16()
	b := make([]byte, 0, etherLen+ipv6Len+neighLen+optionLen)
	b = append(b, 0x33, 0x33, to[12], to[13], to[14], to[15])
	b = append(b, mac[:]...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IPV6)
	b = append(b, 0x60, 0, 0, 0) // version 6
	b = binary.BigEndian.AppendUint16(b, neighLen+optionLen)
	b = append(b, icmpv6, ndHopLimit)
	b = append(b, from[:]...)
	b = append(b, to[:]...)
	b = append(b, neighSolicitation, 0, 0, 0) // code, and the checksum below
	b = append(b, 0, 0, 0, 0)                 // reserved
	b = append(b, target.AsSlice()...)
	b = append(b, optionSourceLinkLayer, optionLen/8)
	b = append(b, mac[:]...)
	binary.BigEndian.PutUint16(b[etherLen+ipv6Len+2:], ^icmpv6Sum(b[etherLen:]))
	return b
}

// icmpv6Sum returns the Internet checksum, before it is inverted, over the body
// of an IPv6 packet and its pseudo header (RFC 8200, 8.1). The packet is as
// long as its header says. Over one whose checksum is right it is 0xffff.
func icmpv6Sum(packet []byte) uint16 {
	body := packet[ipv6Len:]
	sum := uint32(len(body)) + icmpv6
	for _, part := range [][]byte{packet[8:ipv6Len], body} {
		for ; len(part) >= 2; part = part[2:] {
			sum += uint32(part[0])<<8 | uint32(part[1])
		}
		if len(part) == 1 {
			sum += uint32(part[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// parseAnswer reads a frame that may answer a probe: from which target, and to
// which probe's MAC. Everything that could not be the answer to a probe sent by
// probeFrame from that MAC is refused.
func parseAnswer(b []byte) (from netip.Addr, to state.MAC, ok bool) {
	if len(b) < etherLen {
		return netip.Addr{}, state.MAC{}, false
	}
	to = state.MAC(b[:6])
	switch binary.BigEndian.Uint16(b[12:]) {
	case unix.ETH_P_ARP:
		from, ok = parseARP(b[etherLen:], to)
	case unix.ETH_P_IPV6:
		from, ok = parseAdvert(b[etherLen:], to)
	}
	return from, to, ok
}

// parseARP reads an ARP reply to a MAC and returns whose it is.
func parseARP(b []byte, to state.MAC) (netip.Addr, bool) {
	const senderIP, targetMAC = 14, 18
	if len(b) < arpLen ||
		binary.BigEndian.Uint16(b) != unix.ARPHRD_ETHER || binary.BigEndian.Uint16(b[2:]) != unix.ETH_P_IP ||
		b[4] != 6 || b[5] != 4 || binary.BigEndian.Uint16(b[6:]) != arpReply ||
		state.MAC(b[targetMAC:targetMAC+6]) != to {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b[senderIP:])), true
}

// parseAdvert reads a neighbour advertisement to the link-local address of a
// MAC and returns the address that it is about (RFC 4861, 7.1.2).
func parseAdvert(b []byte, to state.MAC) (netip.Addr, bool) {
	if len(b) < ipv6Len+neighLen || b[0]>>4 != 6 || b[6] != icmpv6 || b[7] != ndHopLimit ||
		netip.AddrFrom16([16]byte(b[24:])) != linkLocal(to) {
		return netip.Addr{}, false
	}
	size := ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
	if size < ipv6Len+neighLen || size > len(b) {
		return netip.Addr{}, false
	}
	b = b[:size] // a short frame was padded
	body := b[ipv6Len:]
	if body[0] != neighAdvert || body[1] != 0 || icmpv6Sum(b) != 0xffff {
		return netip.Addr{}, false
	}
	for options := body[neighLen:]; len(options) > 0; {
		if len(options) < 2 {
			return netip.Addr{}, false
		}
		n := int(options[1]) * 8
		if n == 0 || n > len(options) {
			return netip.Addr{}, false
		}
		options = options[n:]
	}
	return netip.AddrFrom16([16]byte(body[8:])), true
}
