// Package failover decides, purely: from what is known of a bond to what has to
// be done so that traffic flows, and why. It does no I/O and keeps nothing.
//
// Which slave is the best is a matter of what is usable (in the bond, link up,
// path not dead, not held out for flapping), then of the primary, of prio and of
// the configured order; a tie moves nothing. Beside the one decision of the
// moment (Decide) it says what the driver must not decide by itself (Hold), which
// slaves must be kept out where the driver shares traffic out (Park), and how
// long a flapping slave is held out (Damper).
//
// In the flow it stands between the engine's view and the kernel's write. The
// engine asks it after every change, and beforehand what it would do if a slave
// were lost, so that the answer is ready when that happens.
package failover
