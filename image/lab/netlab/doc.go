// Package netlab builds the networks of kernel tests: namespaces, cables
// between them that can be pulled, bridges that stand for a switch, and
// streams of packets that show what a failover cost.
//
// It serves tests that run in a guest (see the guest package), as root, with
// the host programs of [Programs] in their PATH. To stay independent of the
// code under test it configures through iproute2; only what happens while
// something is measured (pulling a cable, sending) is done by system calls,
// since on one processor the start of a program would be part of the measured
// time.
package netlab
