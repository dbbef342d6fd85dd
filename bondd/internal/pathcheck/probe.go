package pathcheck

import (
	"crypto/rand"
	"net/netip"

	"bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/state"
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

// probeFrame returns the frame that asks a target to answer to mac, from an IPv4
// address, which may be none. It is for everybody, so that the target need not be
// known. An IPv6 target is asked from the link-local address of mac: a host takes
// a solicitation from no address at all for somebody who wants the address that
// it is checking (RFC 4862, 5.4.3), but not this one.
func probeFrame(mac state.MAC, from, target netip.Addr) []byte {
	own := neighbour.Host{MAC: mac, IP: from}
	if target.Is6() {
		own.IP = linkLocal(mac)
	}
	return neighbour.Question(own, neighbour.Host{IP: target})
}

// address has a frame go to one MAC, or to everybody if it is zero.
func address(frame []byte, to state.MAC) []byte {
	if to.IsZero() {
		to = state.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	copy(frame, to[:])
	return frame
}
