// Package vmtest holds the tests of bondd against the real kernel: the bondd
// binary, started as an operator starts it, in a network namespace of a virtual
// machine that runs the appliance's kernel on deterministic time.
//
// A new test is one more function in one more file: TestMain has everything run
// in the machine.
package vmtest
