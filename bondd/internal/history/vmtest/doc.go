// Package vmtest tests, in a machine of its own, how the history bears disks
// that are full or can only be read. It has no code but its tests.
package vmtest
