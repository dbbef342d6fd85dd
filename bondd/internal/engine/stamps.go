package engine

import (
	"context"
	"time"

	"bondd.internal/bondd/internal/engine/core"
)

// firstPacketWait is how long a new slave is watched for its first packet.
const firstPacketWait = time.Second

// stamps collects the kernel's stamps of failovers, one after the other.
func (e *Engine) stamps(ctx context.Context) error {
	for {
		var q core.StampRequest
		select {
		case <-ctx.Done():
			return nil
		case q = <-e.stampC:
		}
		s := core.Stamps{Seq: q.Seq}
		if q.Index != 0 && e.deps.FirstPacket != nil {
			// Without one the time is not known, which is all there is to say.
			s.FirstPacket, _ = e.deps.FirstPacket(ctx, q.Index, firstPacketWait)
		}
		if q.Lost != "" && e.deps.LinkDown != nil {
			if at, ok := e.deps.LinkDown(q.Lost, q.Since, q.Mark); ok {
				s.CarrierLost = at
			}
		}
		if s.FirstPacket.IsZero() && s.CarrierLost.IsZero() {
			continue
		}
		if !e.send(ctx, s) {
			return nil
		}
	}
}

// tune talks to the cards; a driver may take its time.
func (e *Engine) tune(ctx context.Context) error {
	for {
		var t core.TuneRequest
		select {
		case <-ctx.Done():
			return nil
		case t = <-e.tuneC:
		}
		s, err := e.deps.FastLinkDown(ctx, t.Name)
		if err != nil {
			s = err.Error()
		}
		if !e.send(ctx, core.Tuned{Index: t.Index, State: s}) {
			return nil
		}
	}
}
