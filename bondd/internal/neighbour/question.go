package neighbour

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// A Host is one end of a question. A zero MAC is one that is not known.
type Host struct {
	MAC state.MAC
	IP  netip.Addr
}

// Question returns the frame with which own asks other for its MAC: that host
// alone, or everybody if its MAC is not known.
//
// Both addresses are of one family. That of own may be invalid if other's is
// IPv4: the request then has the sender 0.0.0.0, which teaches nobody anything
// (RFC 5227, 2.1.1). An address that is missing otherwise is the caller's
// mistake and panics. Zones are not looked at.
func Question(own, other Host) []byte {
	if other.IP.Is4() {
		return request(own, other)
	}
	return solicitation(own, other)
}

// request returns an ARP request.
func request(own, other Host) []byte {
	to := other.MAC
	if to.IsZero() {
		to = state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	var sender [4]byte
	if own.IP.IsValid() {
		sender = own.IP.As4()
	}
	target := other.IP.As4()
	b := ethernet(own.MAC, to, ARP)
	b = binary.BigEndian.AppendUint16(b, unix.ARPHRD_ETHER)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	b = append(b, 6, 4) // lengths of the addresses
	b = binary.BigEndian.AppendUint16(b, arpRequest)
	b = append(append(b, own.MAC[:]...), sender[:]...)
	b = append(append(b, 0, 0, 0, 0, 0, 0), target[:]...) // the MAC is what is asked
	return b[:etherMinLen]
}

// solicitation returns a neighbour solicitation.
func solicitation(own, other Host) []byte {
	from, target := own.IP.As16(), other.IP.As16()
	to, mac := target, other.MAC
	if mac.IsZero() {
		// The solicited-node address (RFC 4291, 2.7.1), and its MAC (RFC 2464, 7).
		to = [16]byte{0xff, 0x02, 11: 0x01, 12: 0xff, 13: target[13], 14: target[14], 15: target[15]}
		mac = state.MAC{0x33, 0x33, to[12], to[13], to[14], to[15]}
	}
	b := ethernet(own.MAC, mac, Discovery)
	b = append(b, 6<<4, 0, 0, 0) // version
	b = binary.BigEndian.AppendUint16(b, neighLen+optionLen)
	b = append(b, unix.IPPROTO_ICMPV6, hopLimit)
	b = append(append(b, from[:]...), to[:]...)
	b = append(b, neighSolicitation, 0, 0, 0) // code, and the checksum below
	b = append(b, 0, 0, 0, 0)                 // reserved
	b = append(b, target[:]...)
	b = append(b, optionSourceLinkLayer, optionLen/8)
	b = append(b, own.MAC[:]...)
	binary.BigEndian.PutUint16(b[etherLen+ipv6Len+2:], ^icmpv6Sum(b[etherLen:]))
	return b
}

// ethernet returns an Ethernet header, with room for the longer question. What
// is in that room is zero.
func ethernet(from, to state.MAC, p Protocol) []byte {
	b := make([]byte, 0, etherLen+ipv6Len+neighLen+optionLen)
	b = append(append(b, to[:]...), from[:]...)
	return binary.BigEndian.AppendUint16(b, uint16(p))
}
