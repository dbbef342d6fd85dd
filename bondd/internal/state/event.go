package state

import "time"

// A LinkEvent says that the kernel told something about a link. It means "look
// again"; the level in it is what the fast path needs.
type LinkEvent struct {
	Received time.Time // when the socket became readable
	Index    int       // of the link
	LinkUp   bool      // up and with carrier
	Gone     bool      // the interface was removed
	Lost     bool      // events were lost or undecodable; nothing else is set

	// Failover says that the link is a bond whose driver has just made Active
	// the active slave, by its index; 0 is none (NETDEV_BONDING_FAILOVER).
	Failover bool
	Active   int
}
