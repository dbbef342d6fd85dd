// Package pathcheck finds out, for every slave of a bond, whether frames get
// through to the targets that the configuration names: by ARP (IPv4) and by
// neighbour solicitation (IPv6), from the standby as from the active slave. The
// kernel cannot do that beside MII monitoring.
//
// It stands at the entry of the flow, beside the kernel package: the engine
// tells it which slaves there are and gets Reports of their paths, from which
// the failover package decides. It neither reads nor writes the kernel's
// network configuration.
//
// Probes never lie to the switch, nor to anybody behind it: the bond asks as
// itself, and each other slave from an Ethernet address that nothing else has
// (see probeMAC), which is its own for ever, so that no failover moves it; and
// with a sender that no host has or none, so that no neighbour learns anything of
// the bond by them, and no host takes them for a probe of its own address. Which
// of them goes where is in docs/decisions/probe-sender.md. A reply counts if it
// answers a probe of that slave and comes in time.
//
// A path that dies is reported within interval × missed_max + timeout, and a
// target that dies is reported for all slaves in one Report.
//
// Inside, path and rounds decide and are pure, probe.go says what a probe is and
// what answers one, in the frames of the neighbour package, a wire sends and
// receives them (sockets in earnest, a fake in the tests), and Checker is the
// loop between. The vmtest package runs all of it against the kernel's bonds.
package pathcheck
