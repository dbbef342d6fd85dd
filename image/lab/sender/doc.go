// Package sender is the process that sends the packets of a stream: the test
// binary, started again by the netlab package for each stream, with real-time
// priority.
//
// It is a process of its own because real-time priority must be that of all
// threads of a Go program or of none. A thread that returns from a system call
// may have to wait, in a loop that yields the processor, for the runtime's
// monitor thread. On the one processor of the guest a real-time thread yields
// only to its like: it would wait, and all else with it, until the kernel
// grants the others the 50 ms of every second that are theirs.
package sender
