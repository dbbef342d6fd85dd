package drill

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// Lengths in bytes. The formats are RFC 826 (ARP), RFC 8200 (IPv6) and RFC 4861
// (neighbour discovery).
const (
	etherLen = 14
	arpLen   = 28
	ipv6Len  = 40
	neighLen = 24 // ICMPv6 type to target address, the same in question and answer

	arpReply = 2
	hopLimit = 255 // proves that a packet was not routed

	neighSolicitation = 135
	neighAdvert       = 136
)

// everybody is the Ethernet address of a host that is not known yet.
var everybody = state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// A peer is one end of a line.
type peer struct {
	mac state.MAC
	ip  netip.Addr
}

// question returns the frame with which own asks other for its MAC: that host
// alone, or everybody.
func question(own, other peer) []byte {
	if own.ip.Is4() {
		return arpRequest(own, other)
	}
	return solicitation(own, other)
}

// isAnswer reports whether a frame answers a question that own put to other, and
// from which MAC it comes.
func isAnswer(frame []byte, own, other netip.Addr) (from state.MAC, ok bool) {
	if len(frame) < etherLen {
		return state.MAC{}, false
	}
	from, body := state.MAC(frame[6:]), frame[etherLen:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		ok = own.Is4() && isReply(body, own.As4(), other.As4())
	case unix.ETH_P_IPV6:
		ok = own.Is6() && isAdvert(body, own.As16(), other.As16())
	}
	return from, ok
}

func ethernet(own, other peer, proto uint16) []byte {
	b := make([]byte, 0, etherLen+ipv6Len+neighLen+8)
	b = append(append(b, other.mac[:]...), own.mac[:]...)
	return binary.BigEndian.AppendUint16(b, proto)
}

func arpRequest(own, other peer) []byte {
	b := ethernet(own, other, unix.ETH_P_ARP)
	b = append(b, 0, unix.ARPHRD_ETHER, unix.ETH_P_IP>>8, unix.ETH_P_IP&0xff, 6, 4, 0, 1)
	b = append(append(b, own.mac[:]...), own.ip.AsSlice()...)
	b = append(append(b, 0, 0, 0, 0, 0, 0), other.ip.AsSlice()...)
	return b
}

func isReply(b []byte, own, other [4]byte) bool {
	const operation, sender, target = 6, 14, 24
	return len(b) >= arpLen && binary.BigEndian.Uint16(b[operation:]) == arpReply &&
		[4]byte(b[sender:]) == other && [4]byte(b[target:]) == own
}

func solicitation(own, other peer) []byte {
	to := other.ip.As16()
	if other.mac == everybody {
		// The solicited-node address (RFC 4291, 2.7.1), and its MAC (RFC 2464, 7).
		to = [16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: to[13], 14: to[14], 15: to[15]}
		other.mac = state.MAC{0x33, 0x33, to[12], to[13], to[14], to[15]}
	}
	const option = 8 // source link-layer address
	b := ethernet(own, other, unix.ETH_P_IPV6)
	b = append(b, 6<<4, 0, 0, 0, 0, neighLen+option, unix.IPPROTO_ICMPV6, hopLimit)
	b = append(append(b, own.ip.AsSlice()...), to[:]...)
	b = append(b, neighSolicitation, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, other.ip.AsSlice()...)
	b = append(append(b, 1, option/8), own.mac[:]...)
	binary.BigEndian.PutUint16(b[etherLen+ipv6Len+2:], ^sum(b[etherLen:]))
	return b
}

// isAdvert does not look at the checksum: the kernel, which gets the same
// packet, does not act on a frame that arrived damaged, and here it counts as
// an answer either way.
func isAdvert(b []byte, own, other [16]byte) bool {
	return len(b) >= ipv6Len+neighLen && b[0]>>4 == 6 && b[6] == unix.IPPROTO_ICMPV6 && b[7] == hopLimit &&
		[16]byte(b[24:]) == own && b[ipv6Len] == neighAdvert && [16]byte(b[ipv6Len+8:]) == other
}

// sum is the Internet checksum, before it is inverted, of a whole number of
// 16-bit words of ICMPv6 in an IPv6 packet, pseudo header included (RFC 8200, 8.1).
func sum(packet []byte) uint16 {
	s := uint32(len(packet)-ipv6Len) + unix.IPPROTO_ICMPV6
	for b := packet[8:]; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
