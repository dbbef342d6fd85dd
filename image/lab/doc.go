// Package lab is the folder of everything that tests stand on and the
// appliance does not have. It has no code; nothing in it is part of the image.
//
// Two kinds of machine run there, both under the kernel that the appliance
// ships and both started by package qemu:
//
//   - vm boots the whole image, with real models of network cards and in real
//     time. Cables are pulled, cards removed and keys pressed from outside, over
//     QEMU's monitor. lan is the switch that its cables lead to. `make run` uses
//     it, and the tests in appliance.
//   - guest runs a package's test binary as process 1, on a clock that counts
//     instructions. initramfs packs what the binary needs. Inside, netlab
//     builds the network: namespaces, cables, bridges, streams of packets, which
//     sender sends. usbcard is a card whose device can die under its driver.
//
// skip says which kinds of test the environment variable BONDD_SKIP leaves out.
//
// A package's tests that run in a guest are in a package vmtest below it; see
// CONTRIBUTING.md.
package lab
