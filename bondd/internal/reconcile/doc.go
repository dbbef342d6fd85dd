// Package reconcile plans, purely: from what a bond should be and what the
// kernel has to the writes that are missing, in an order that the bonding
// driver accepts. A kernel that already is as it should be gets none.
//
// In the flow it stands beside failover: the engine asks it after every read
// and carries the plan out. Plans are made anew from what was read, never
// remembered, so that what one round could not see (delays that were rescaled
// with miimon, what the driver changed with a mode) the next one sees.
//
// The driver takes some options only while the bond is down or has no slaves.
// For those, and only where they differ and do something in the mode, a plan
// takes the bond down or empties it, and brings back what that costs: routes,
// IPv6 addresses, the bond's MAC.
package reconcile
