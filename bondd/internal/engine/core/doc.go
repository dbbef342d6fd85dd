// Package core is the state machine of the daemon. Step takes one input and the
// time, and returns what has to be done: requests to the bonding driver, plans of
// writes, what the fast path should do by itself, when to read the kernel next.
// It does no I/O, reads no clock and starts no goroutine, so that the simulator,
// the scripts in testdata and the daemon run the same code.
//
// It stands in the middle of the flow: everything that bondd learns is an Input,
// everything that bondd does is in an Output, and everything that bondd shows is
// in the state.Snapshot that Snapshot makes. What has to be done is decided by
// the failover package (which slave carries the traffic) and the reconcile
// package (what the kernel lacks); core keeps what they decide on, in parts that
// each own their fields:
//
//   - hardware and membership: which NICs there are, and which of them are slaves
//   - evidence: the links by events, by ethtool and by the last read; the paths
//   - restrictions: held, parked, excused, damped, chosen by an operator
//   - convergence: what was planned, what was refused, when it is tried again
//   - ledger: every failover, from the request to the entry of the flight recorder
package core
