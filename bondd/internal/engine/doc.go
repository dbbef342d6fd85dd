// Package engine is the shell around the core: it turns sockets and timers into
// inputs, has engine/core take them one after the other, carries out what the
// core puts out, and publishes a new immutable state.Snapshot. Nothing is decided
// here.
//
// It stands in the middle of the flow, with one goroutine, loop, that owns the
// core. Goroutines for events, polls, inventories, stamps and tuning do the I/O
// that may take a while and send their results as inputs; Run starts them and
// they end with its context.
//
// One thing happens outside loop: the fast path. For every slave the core decides
// beforehand what would have to be written if that slave lost its link, and the
// thread that receives link events has the encoded request at hand. It looks the
// request up and sends it, and allocates nothing.
package engine
