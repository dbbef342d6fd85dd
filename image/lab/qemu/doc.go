// Package qemu starts the lab's virtual machines: it finds QEMU, chooses who
// executes the guest's instructions, assembles the command line, runs the
// process until its owner ends it, and talks to its monitor.
//
// What a machine is for is its owner's: package vm has machines like the ones
// that the appliance runs on, package guest has one on deterministic time for a
// package's tests.
package qemu
