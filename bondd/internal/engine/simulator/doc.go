// Package simulator runs engine/core against a model of the bonding driver and of
// the network, on virtual time. It is for tests alone: nothing of it is in the
// daemon.
//
// A World has NICs with cables, switch ports that forward only some time after
// their link came, targets that reply or do not, a bonding driver with its
// monitor, its own choice of the active slave and its LACP, and a bondd that can be
// restarted at any moment, with another configuration too. Actions change it: a
// cable is pulled, a path dies, frames pass in one direction only, a switch no
// longer speaks LACP, a read of the kernel fails; events are lost, late or doubled.
// Everything that happens follows from the seed. There is one bond in it: what bonds
// have in common is their cards alone.
//
// After every step of the core the World checks what must always hold, see
// invariants.go. A run that breaks an invariant is shrunk to the shortest list of
// actions that breaks it, in the form of the scripts in testdata, which are tests
// of their own. That the invariants are worth something is shown by mutants: bugs
// that are put back on purpose and have to be found. The same scripts run against the real driver in the package
// enginetest, which keeps the model honest.
package simulator
