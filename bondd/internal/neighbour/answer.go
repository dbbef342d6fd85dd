package neighbour

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// An Answer is a frame in which a host tells its MAC. Nobody need have asked:
// hosts announce themselves with the same frames.
//
// What it says is in the packet. The addresses of the frame around it say less:
// some hosts send their replies to everybody, and a router that shares its
// address with others (VRRP) sends them from one MAC and tells another.
type Answer struct {
	From, To state.MAC  // of the Ethernet header
	About    netip.Addr // whose MAC it tells
	MAC      state.MAC  // the MAC that it tells; zero: an advertisement without it
	// Asker is whom the packet inside the frame answers: the target of an ARP
	// reply, the destination of an advertisement, which has no MAC of it.
	Asker Host
}

// A Request is an ARP request as anybody on the link hears it.
type Request struct {
	Sender Host       // 0.0.0.0: the sender looks whether Wanted is free (RFC 5227, 2.1.1)
	Wanted netip.Addr // whose MAC is asked for; the sender's own: it announces itself
}

// Parse reads an Ethernet frame without checksum. It reports false for
// everything that is not an ARP reply of IPv4 over Ethernet or a neighbour
// advertisement that is valid by RFC 4861, 7.1.2. It does not allocate.
func Parse(frame []byte) (Answer, bool) {
	p, b := payload(frame)
	if b == nil {
		return Answer{}, false
	}
	a, ok := Answer{To: state.MAC(frame[:6]), From: state.MAC(frame[6:12])}, false
	switch p {
	case ARP:
		ok = a.reply(b)
	case Discovery:
		ok = a.advert(b)
	}
	if !ok {
		return Answer{}, false
	}
	return a, true
}

// ParseRequest reads an Ethernet frame without checksum. It reports false for
// everything that is not an ARP request for IPv4 over Ethernet. It does not
// allocate.
func ParseRequest(frame []byte) (Request, bool) {
	p, b := payload(frame)
	if b == nil || p != ARP {
		return Request{}, false
	}
	sender, target, ok := parseARP(b, arpRequest)
	if !ok {
		return Request{}, false
	}
	return Request{Sender: sender, Wanted: target.IP}, true
}

// payload returns the protocol of a frame and what is in it; nil if it is cut
// short. A tag of VLAN 0 marks a frame's priority alone and belongs to no VLAN
// (IEEE 802.1Q, 6.9): the frame is what it would be without. A frame of another
// VLAN is of a protocol that nobody here knows.
func payload(frame []byte) (Protocol, []byte) {
	if len(frame) < etherLen {
		return 0, nil
	}
	p, b := Protocol(binary.BigEndian.Uint16(frame[12:])), frame[etherLen:]
	if p == unix.ETH_P_8021Q && len(b) >= tagLen && binary.BigEndian.Uint16(b)&vlanMask == 0 {
		p, b = Protocol(binary.BigEndian.Uint16(b[2:])), b[tagLen:]
	}
	return p, b
}

// parseARP reads an ARP packet of an operation, which may be padded.
func parseARP(b []byte, op uint16) (sender, target Host, ok bool) {
	if len(b) < arpLen ||
		binary.BigEndian.Uint16(b) != unix.ARPHRD_ETHER || binary.BigEndian.Uint16(b[2:]) != unix.ETH_P_IP ||
		b[4] != 6 || b[5] != 4 || binary.BigEndian.Uint16(b[6:]) != op {
		return Host{}, Host{}, false
	}
	host := func(mac, ip int) Host { return Host{state.MAC(b[mac:]), netip.AddrFrom4([4]byte(b[ip:]))} }
	return host(arpSenderMAC, arpSenderIP), host(arpTargetMAC, arpTargetIP), true
}

// reply reads an ARP reply.
func (a *Answer) reply(b []byte) bool {
	sender, target, ok := parseARP(b, arpReply)
	a.About, a.MAC, a.Asker = sender.IP, sender.MAC, target
	return ok
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
	if body[0] != neighAdvert || body[1] != 0 || icmpv6Sum(b) != 0xffff || !a.options(body[neighLen:]) {
		return false
	}
	a.About = netip.AddrFrom16([16]byte(body[target:]))
	a.Asker.IP = netip.AddrFrom16([16]byte(b[destination:]))
	return true
}

// options reads the options of an advertisement. It reports whether they fill
// their room.
func (a *Answer) options(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 2 {
			return false
		}
		n := int(b[1]) * 8
		if n == 0 || n > len(b) {
			return false
		}
		if b[0] == optionTargetLinkLayer && n == optionLen {
			a.MAC = state.MAC(b[2:])
		}
		b = b[n:]
	}
	return true
}
