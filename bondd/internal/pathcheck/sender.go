package pathcheck

import (
	"net/netip"
	"slices"
	"time"
)

// A Bond is what a Checker has to know of the bond's own interface. Its zero
// value is a bond without addresses.
type Bond struct {
	Index int // of the interface; 0: it is not there
	// Quiet says that it must not send ARP requests of its own. In mode
	// balance-alb hosts know the bond by the MACs of several slaves, and each
	// request takes all of them to one until the driver has told them otherwise.
	Quiet bool
	// Addresses are those by which the bond may call itself, each with its network.
	Addresses []netip.Prefix
	// Foreign are the others that it has: somebody else may take them away at any
	// time, to have them somewhere else (a VRRP address).
	Foreign []netip.Prefix
}

// equal reports whether two bonds are the same.
func (b *Bond) equal(other *Bond) bool {
	return b.Index == other.Index && b.Quiet == other.Quiet && slices.Equal(b.Addresses, other.Addresses) &&
		slices.Equal(b.Foreign, other.Foreign)
}

// A form is what a probe has as its sender, as a bit. Which form goes where, and
// the measurements from which that follows, is in docs/decisions/probe-sender.md.
type form uint8

const (
	// plain: the bond's own address and MAC, sent by the bond itself, so that it
	// leaves by the slave that the driver uses at that moment. It tells everybody
	// only what they know.
	plain form = 1 << iota
	// neutral: the probes' MAC and an address that no host has, or the one that
	// the configuration gives. No host can take it for a probe of its own address.
	neutral
	// zero: the probes' MAC and no address (RFC 5227, 2.1.1). A host that checks
	// its own address, as at its boot, would give it up. It goes only to one that
	// has just shown that it holds the address, and to nobody else.
	zero
)

// dummy is an IPv4 address that no host has and no packet goes to (RFC 7600, and
// IANA's registry of special-purpose addresses).
func dummy() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 0, 8}) }

// senders says from which address the bond may ask an IPv4 target plainly,
// invalid if from none, and which one no host can be meant by.
//
// The address of a network itself is no host's, and every host of the network
// takes it to be on its own link, so that a router answers it which looks where
// an address should come from (rp_filter). Where it is not known, the dummy has
// to do.
func (b *Bond) senders(target netip.Addr) (own, neutral netip.Addr) {
	bits := -1
	for _, p := range b.Addresses {
		if p.Contains(target) && p.Addr() != target && p.Bits() > bits {
			own, bits = p.Addr(), p.Bits()
		}
	}
	network := netip.Prefix{}
	for _, p := range slices.Concat(b.Addresses, b.Foreign) {
		// With two addresses or one, all are hosts' (RFC 3021).
		if p.Contains(target) && p.Bits() <= 30 && p.Bits() > max(network.Bits(), 0) {
			network = p.Masked()
		}
	}
	if a := network.Addr(); a.IsValid() && a != target && !b.has(a) {
		return own, a
	}
	return own, dummy()
}

// has reports whether the bond has an address.
func (b *Bond) has(a netip.Addr) bool {
	is := func(p netip.Prefix) bool { return p.Addr() == a }
	return slices.ContainsFunc(b.Addresses, is) || slices.ContainsFunc(b.Foreign, is)
}

const (
	// lonely is how long nothing was heard of a target before it is asked without
	// an address although it may be checking its own; and from one such probe to
	// the next. A host that holds its address may give it up at the second within
	// 10 s (DEFEND_INTERVAL of RFC 5227).
	lonely = time.Minute
	// checking is how long after its last probe a host may still be checking
	// (ANNOUNCE_WAIT of RFC 5227 is 2 s), with room to spare.
	checking = 10 * time.Second
)

// A service says which probes a target answered last that did not come from the
// bond itself.
type service uint8

const (
	unknown   service = iota
	asNeutral         // those with a neutral sender
	asZero            // only those without a sender
)

// evidence is what is known of a target that says which probes may go there.
type evidence struct {
	own     netip.Addr // sender of plain requests; invalid: there are none
	neutral netip.Addr // sender that no host has; invalid for IPv6, where each probe has its own
	fixed   bool       // neutral is all there is: the configured sender, or IPv6
	service service
	silent  bool // in the last round in which it lived it answered none of them

	life  time.Time // when the target was last heard to have its address
	doubt time.Time // when somebody was last heard to look whether it is free
	since time.Time // when it was first asked

	resort time.Time // when it was last asked by the last resort
	turn   int       // whose turn that is
}

// holds reports whether the target has its address, for all that was heard
// since a time. Somebody who looks whether it is free may be the target itself.
func (e *evidence) holds(since time.Time) bool {
	return !e.life.IsZero() && !e.life.Before(since) && e.life.After(e.doubt)
}

// lost reports whether the target is to be asked without a sender although
// nothing is heard of it. One that answers neutral probes is not, whatever
// becomes of it.
func (e *evidence) lost(now time.Time) bool {
	over := func(d time.Duration, t time.Time) bool { return t.IsZero() || now.Sub(t) >= d }
	return !e.fixed && e.service != asNeutral &&
		over(lonely, e.since) && over(lonely, e.life) && over(lonely, e.resort) && over(checking, e.doubt)
}
