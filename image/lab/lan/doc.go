// Package lan is an Ethernet switch in user space. It learns on which port an
// address is, can treat several ports as one (a static channel group, what the
// switch of a bond in balance-rr, balance-xor or broadcast mode needs), and
// gives tests what a real switch's management port gives: each port's link,
// counters and address table, and, beyond that, a port that silently drops
// everything while its link stays up.
//
// A port's other end is a network card of a virtual machine (QEMU's stream
// protocol, see [Port.Serve]), or the test itself as a host on the network
// (see [Switch.Tap]).
package lan
