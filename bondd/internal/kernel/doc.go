// Package kernel is the only code that talks to the kernel's network: it reads
// state.Networks, carries out state.Ops, streams link events, polls ethtool's
// link state, and finds out when the kernel's log and a slave's first packet say
// that something happened. It decides nothing.
//
// In the flow it is both ends: what it reads goes to the engine, what the engine
// decided comes back to it. Bonding has no generic netlink family, so bonds are
// read and written over rtnetlink; the link state that a card's driver itself
// tells comes from the ethtool family.
//
// The codec is bondd's own, on mdlayher/netlink: it tolerates structures that
// grow with the kernel, checks every attribute stream, and sends exactly the
// attributes that an Op names. Those are the three things for which the general
// rtnetlink libraries have failed their users.
package kernel
