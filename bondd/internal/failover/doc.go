// Package failover decides, purely: from what is known of a bond to what has to
// be done so that traffic flows, and why. It does no I/O and keeps nothing.
//
// In the flow it stands between the engine's view and the kernel's write. The
// engine asks it after every change, and beforehand what it would do if a slave
// were lost, so that the answer is ready when that happens.
package failover
