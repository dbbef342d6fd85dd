package engine

import (
	"context"
	"sync/atomic"
	"time"

	"bondd.internal/bondd/internal/kernel"
)

// A reaction is what the reflex does when a slave loses its link.
type reaction struct {
	slave   int // index of the slave whose loss it answers
	bond    int // index of its bond
	to      int // the new active slave, or 0 for an inspection
	request kernel.Request
}

// reactions is what the engine has decided beforehand.
type reactions struct {
	// consumed is how many events the engine had seen when it decided. The
	// reflex acts only on decisions that know of every event before the one at
	// hand; else it leaves the event to the engine, which decides anew.
	consumed uint64
	list     []reaction
}

// A seen is a link event and what the reflex did about it.
type seen struct {
	kernel.LinkEvent
	count  uint64 // of events, this one included
	bond   int    // index of the bond that was written to; 0: nothing was done
	to     int    // as in reaction
	err    error  // the kernel's refusal
	done   time.Time
	issued time.Time
}

// reflex runs on the thread that receives link events.
type reflex struct {
	switcher Switcher
	prepared atomic.Pointer[reactions]
	seenC    chan seen
	dropped  atomic.Bool // the engine was too slow for an event: it has to read anew
	count    uint64
}

// handle answers one event and passes it on. It must not wait, log or allocate.
func (r *reflex) handle(ev *kernel.LinkEvent) {
	s := seen{LinkEvent: *ev}
	if prepared := r.prepared.Load(); !ev.LinkUp && !ev.Lost && prepared != nil && prepared.consumed == r.count {
		for i := range prepared.list {
			if p := &prepared.list[i]; p.slave == ev.Index {
				s.bond, s.to, s.issued = p.bond, p.to, time.Now()
				s.err = r.switcher.Do(&p.request)
				s.done = time.Now()
				break
			}
		}
	}
	r.count++
	s.count = r.count
	select {
	case r.seenC <- s:
	default:
		r.dropped.Store(true)
	}
}

// listen receives events until ctx ends; a broken socket is opened anew.
func (e *Engine) listen(ctx context.Context) error {
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			// Events were missed meanwhile.
			e.reflex.dropped.Store(true)
			e.wake()
			if sleep(ctx, retryListen) != nil {
				break
			}
		}
		l, err := e.deps.Listen()
		if err == nil {
			e.wake() // what changed before the socket was there is read now
			err = l.Run(ctx, e.reflex.handle)
		}
		if err != nil && ctx.Err() == nil {
			e.log.Error("link events: the socket failed and is opened again", "err", err)
		}
	}
	return nil
}

// retryListen is the wait before the event socket is opened again; until then
// the poll and the kernel's own monitor watch.
const retryListen = 100 * time.Millisecond

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
