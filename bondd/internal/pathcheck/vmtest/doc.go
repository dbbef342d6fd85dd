// Package vmtest tests the pathcheck package in a virtual machine, against the
// kernel's own bonds, bridges and neighbour tables. A checker runs there as a
// process of its own, in the namespace of the host whose slaves it probes from.
// It has no code but its tests.
package vmtest
