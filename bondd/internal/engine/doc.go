// Package engine owns the state of the daemon. One goroutine takes a link event,
// a poll, a round of path checks, an operator's order, a tick, a lease or a
// finished inventory, brings its view of the kernel up to date, asks failover and reconcile what has to be done, has the kernel
// package do it, and publishes a new immutable state.Snapshot.
//
// It is the middle of the flow: everything that bondd learns comes in here, and
// everything that bondd shows comes out of here.
//
// Every switch becomes an entry of the flight recorder. Its story is the
// kernel's: an act is part of it once the kernel has told of it, and what the
// kernel did by itself is part of it too.
//
// One thing happens outside that goroutine: the reflex. For every slave the
// engine decides beforehand what would have to be written if that slave lost its
// link, and leaves the encoded request with the thread that receives link
// events. That thread only looks it up and sends it.
package engine
