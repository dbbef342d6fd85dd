// Package selftest has the tests of the guest runner as its users see it: they
// run on the host, start test binaries that behave in every way a test can,
// and look at output and exit status.
package selftest
