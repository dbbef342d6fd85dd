// Package engine owns the state of the daemon. One goroutine takes a link event,
// a poll, a tick, a lease or a finished inventory, brings its view of the kernel
// up to date, asks failover and reconcile what has to be done, has the kernel
// package do it, and publishes a new immutable state.Snapshot.
//
// It is the middle of the flow: everything that bondd learns comes in here, and
// everything that bondd shows comes out of here.
//
// One thing happens outside that goroutine: the reflex. For every slave the
// engine decides beforehand what would have to be written if that slave lost its
// link, and leaves the encoded request with the thread that receives link
// events. That thread only looks it up and sends it.
package engine
