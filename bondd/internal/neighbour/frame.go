package neighbour

import "golang.org/x/sys/unix"

// Lengths and numbers in frames. Lengths are in bytes.
const (
	etherLen    = 14
	etherMinLen = 60 // without the checksum; a card may leave padding to the sender
	arpLen      = 28
	ipv6Len     = 40
	neighLen    = 24 // ICMPv6 type to target address, the same in question and answer
	optionLen   = 8  // a link-layer address
	tagLen      = 4  // of IEEE 802.1Q, between the MACs and the protocol

	arpRequest = 1
	arpReply   = 2

	neighSolicitation = 135
	neighAdvert       = 136

	optionSourceLinkLayer = 1
	optionTargetLinkLayer = 2

	vlanMask = 0x0fff // of a tag: which VLAN

	// hopLimit proves that a packet was not routed: it comes from this link.
	hopLimit = 255
)

// Where the addresses of an ARP packet are.
const (
	arpSenderMAC = 8
	arpSenderIP  = 14
	arpTargetMAC = 18
	arpTargetIP  = 24
)

// icmpv6Sum returns the Internet checksum, before it is inverted, over the body
// of an IPv6 packet and its pseudo header (RFC 8200, 8.1). The packet is as
// long as its header says. Over one whose checksum is right it is 0xffff.
func icmpv6Sum(packet []byte) uint16 {
	sum := uint32(len(packet)-ipv6Len) + unix.IPPROTO_ICMPV6
	b := packet[8:] // the addresses, and the body
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
