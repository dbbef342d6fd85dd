package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	collectEvery = 100 * time.Millisecond // how often the heap's size is looked at
	collectFrom  = 8 << 20                // bytes of garbage that are worth it
	// collectLimit is the memory, in bytes, from which on Go collects by itself.
	collectLimit = 256 << 20
)

// collect runs Go's garbage collector until ctx ends, each time through run, so
// that it happens at no other time: see kernel.Priority.
func collect(ctx context.Context, run func(func())) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(collectLimit))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(heap)
		if live, used := heap[0].Value.Uint64(), heap[1].Value.Uint64(); used > live+max(live, collectFrom) {
			run(runtime.GC)
		}
	}
}
