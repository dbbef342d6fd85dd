// Package vmtest has the tests of drills on the kernel's bonding driver, in
// the virtual machine; the switches are made by ip(8), so that nothing else of
// bondd is part of them.
package vmtest
