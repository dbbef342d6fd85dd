// Package vm starts the appliance in QEMU and does to it from outside what
// happens to a machine: cables are pulled and put back, cards leave and
// return, a switch port goes silent, the power goes.
//
// Every network card has a port on a switch of our own (package lan), which
// also knows when a cable is pulled, as a real one would. Behind the switch is
// a network in user space with a gateway, DHCP, DNS and the way out, and the
// way in: ports of the host that lead to the machine, and [VM.DialContext] for
// tests. Nothing of it needs privileges, and nothing is left when the machine
// is closed or the process that started it dies.
//
// The package stands between the disk image (package build) and those who use
// it: `make run`, and the tests of the whole image.
package vm
