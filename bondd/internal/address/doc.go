// Package address finds out which addresses a bond should have where the
// configuration leaves that to the network: it keeps a DHCPv4 lease and tells
// the engine of every change. It also writes the resolver's configuration.
//
// In the flow it stands beside the configuration: what it learns goes to the
// engine, which has reconcile plan it and the kernel package write it. It
// writes no address itself.
package address
