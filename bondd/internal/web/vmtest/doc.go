// Package vmtest holds the tests of what bondd says of itself over HTTP that
// need a machine of their own: its clock is set, and the kernel's lock over the
// network configuration is held.
package vmtest
