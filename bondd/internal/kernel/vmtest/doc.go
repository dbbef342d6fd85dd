// Package vmtest holds the tests of package kernel against the real kernel, in
// a virtual machine on deterministic time. The codec's own tests need no
// machine and stand beside it.
package vmtest
