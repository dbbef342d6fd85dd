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

// probeFrame returns the frame that asks a target to answer to mac. It is for
// everybody, so that the target need not be known. Without a source it has no
// address of the host: 0.0.0.0 for IPv4, for IPv6 the link-local one of mac.
func probeFrame(mac state.MAC, t *Target) []byte {
	own := neighbour.Host{MAC: mac, IP: t.Source}
	if t.Addr.Is6() {
		own.IP = linkLocal(mac)
	}
	return neighbour.Question(own, neighbour.Host{IP: t.Addr})
}

// answersProbe reports whether an answer is one to a probe from the MAC that
// its frame is to, as probeFrame makes them. What hosts say unasked is not: it
// would come in without a way from here to there.
func answersProbe(a *neighbour.Answer) bool {
	if a.About.Is4() {
		return a.Asker.MAC == a.To
	}
	return a.Asker.IP == linkLocal(a.To)
}
