package engine

import (
	"context"
	"sync/atomic"
	"time"

	"bondd.internal/bondd/internal/engine/core"
	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/state"
)

// A reaction is what the fast path does when a slave loses its link.
type reaction struct {
	slave   int // index of the slave whose loss it answers
	request core.Request
	encoded kernel.Request
}

// reactions is what the core has decided beforehand.
type reactions struct {
	consumed uint64 // see core.Prepared
	list     []reaction
}

// A seen is a link event and what the fast path did about it.
type seen struct {
	state.LinkEvent
	count  uint64 // of events, this one included
	acted  *reaction
	err    error // the kernel's refusal
	done   time.Time
	issued time.Time
}

// input is the core's form of it.
func (s *seen) input(missed bool) core.Input {
	in := core.LinkEvent{LinkEvent: s.LinkEvent, Count: s.count, Missed: missed}
	if s.acted != nil {
		in.Reaction = core.Acted{Request: s.acted.request, Issued: s.issued, Done: s.done, Err: s.err}
	}
	return in
}

// fastPath runs on the thread that receives link events.
type fastPath struct {
	switcher Switcher
	prepared atomic.Pointer[reactions]
	seenC    chan seen
	dropped  atomic.Bool // the engine was too slow for an event: everything has to be read
	count    uint64
}

// prepare encodes what the core has decided beforehand.
func (f *fastPath) prepare(p *core.Prepared) {
	r := &reactions{consumed: p.Consumed, list: make([]reaction, len(p.Reactions))}
	for i := range p.Reactions {
		q := &p.Reactions[i]
		r.list[i] = reaction{slave: q.Slave, request: q.Request, encoded: encode(&q.Request)}
	}
	f.prepared.Store(r)
}

// encode is the kernel's form of a request.
func encode(r *core.Request) kernel.Request {
	if r.To != 0 {
		return kernel.SetActiveSlave(r.Bond, r.To)
	}
	return kernel.InspectNow(r.Bond, r.Miimon)
}

// handle answers one event and passes it on. It must not wait, log or allocate.
func (f *fastPath) handle(ev *state.LinkEvent) {
	s := seen{LinkEvent: *ev}
	if prepared := f.prepared.Load(); !ev.LinkUp && !ev.Lost && prepared != nil && prepared.consumed == f.count {
		for i := range prepared.list {
			if p := &prepared.list[i]; p.slave == ev.Index {
				s.acted, s.issued = p, time.Now()
				s.err = f.switcher.Do(&p.encoded)
				s.done = time.Now()
				break
			}
		}
	}
	f.count++
	s.count = f.count
	select {
	case f.seenC <- s:
	default:
		f.dropped.Store(true)
	}
}

// listen receives events until ctx ends; a broken socket is opened again.
func (e *Engine) listen(ctx context.Context) error {
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			// Events were missed meanwhile.
			e.fast.dropped.Store(true)
			e.wake()
			if sleep(ctx, retryListen) != nil {
				break
			}
		}
		l, err := e.deps.Listen()
		if err == nil {
			e.wake() // what changed before the socket was there is read now
			err = l.Run(ctx, e.fast.handle)
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
