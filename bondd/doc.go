// Command bondd bonds network cards for failover.
//
// This package is the command line and the wiring, nothing else: it finds the
// configuration, opens the kernel's sockets, hands them to the engine and the
// engine's snapshots to the views, and ends them in order.
package main
