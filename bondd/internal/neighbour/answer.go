package neighbour

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// An Answer is a frame in which a host tells its MAC. Nobody need have asked:
// hosts announce themselves with the same frames.
type Answer struct {
	From, To state.MAC  // of the Ethernet header
	About    netip.Addr // whose MAC it tells
	// Asker is whom the packet inside the frame answers: the target of an ARP
	// reply, the destination of an advertisement, which has no MAC of it.
	Asker Host
}

// Parse reads an Ethernet frame without checksum. It reports false for
// everything that is not an ARP reply of IPv4 over Ethernet or a neighbour
// advertisement that is valid by RFC 4861, 7.1.2. It does not allocate.
func Parse(frame []byte) (Answer, bool) {
	if len(frame) < etherLen {
		return Answer{}, false
	}
	a, ok := Answer{To: state.MAC(frame[:6]), From: state.MAC(frame[6:12])}, false
	switch Protocol(binary.BigEndian.Uint16(frame[12:])) {
	case ARP:
		ok = a.reply(frame[etherLen:])
	case Discovery:
		ok = a.advert(frame[etherLen:])
	}
	if !ok {
		return Answer{}, false
	}
	return a, true
}

// reply reads an ARP reply, which may be padded.
func (a *Answer) reply(b []byte) bool {
	const senderIP, targetMAC, targetIP = 14, 18, 24
	if len(b) < arpLen ||
		binary.BigEndian.Uint16(b) != unix.ARPHRD_ETHER || binary.BigEndian.Uint16(b[2:]) != unix.ETH_P_IP ||
		b[4] != 6 || b[5] != 4 || binary.BigEndian.Uint16(b[6:]) != arpReply {
		return false
	}
	a.About = netip.AddrFrom4([4]byte(b[senderIP:]))
	a.Asker = Host{state.MAC(b[targetMAC:]), netip.AddrFrom4([4]byte(b[targetIP:]))}
	return true
}

// advert reads a neighbour advertisement, which may be padded.
func (a *Answer) advert(b []byte) bool {
	const destination, target = 24, 8 // the one in the header, the other in the body
	if len(b) < ipv6Len+neighLen || b[0]>>4 != 6 || b[6] != unix.IPPROTO_ICMPV6 || b[7] != hopLimit {
		return false
	}
	size := ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
	if size < ipv6Len+neighLen || size > len(b) {
		return false
	}
	b = b[:size]
	body := b[ipv6Len:]
	if body[0] != neighAdvert || body[1] != 0 || icmpv6Sum(b) != 0xffff || !wellFormed(body[neighLen:]) {
		return false
	}
	a.About = netip.AddrFrom16([16]byte(body[target:]))
	a.Asker.IP = netip.AddrFrom16([16]byte(b[destination:]))
	return true
}

// wellFormed reports whether options of neighbour discovery fill their room.
func wellFormed(options []byte) bool {
	for len(options) > 0 {
		if len(options) < 2 {
			return false
		}
		n := int(options[1]) * 8
		if n == 0 || n > len(options) {
			return false
		}
		options = options[n:]
	}
	return true
}
