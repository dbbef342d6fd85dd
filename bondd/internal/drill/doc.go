// Package drill finds a dead standby before it is needed: it switches a bond to
// each of its standbys and back, while it keeps asking a host on the network,
// and reports what was lost.
//
// It stands beside the flow, as an operator would: it reads the published
// Snapshot, gives the engine the same order that "bondd failover" gives, and
// writes nothing to the kernel itself. Its traffic goes out of the bond's own
// device with the bond's own addresses, so that it takes the way that all other
// traffic takes: ARP requests or neighbour solicitations to one host, which
// every host answers, sent to that host alone.
//
// A drill ends on the slave that it began with, also when it fails and when
// whoever asked for it is gone.
package drill
