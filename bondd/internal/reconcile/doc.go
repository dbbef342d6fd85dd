// Package reconcile plans, purely: from what a bond should be and what the
// kernel has to the writes that are missing, in an order that the bonding
// driver accepts. A kernel that already is as it should be gets none.
//
// In the flow it stands beside failover: the engine asks it after every read
// and carries the plan out. Plans are made anew from what was read, never
// remembered, so that what one round could not see (addresses that went with a
// mode, delays that were rescaled with miimon) the next one sees.
package reconcile
