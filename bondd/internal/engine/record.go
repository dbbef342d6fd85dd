package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bondd.internal/bondd/internal/state"
)

// record adds a switch to the flight recorder. What is found out about it later
// is added by amend.
func (e *Engine) record(b *bond, s state.Switch) {
	s.Bond = b.cfg.Name
	if len(e.history) > 0 {
		s.Seq = e.history[0].Seq
	}
	s.Seq++
	e.history = append([]*state.Switch{&s}, e.history[:min(len(e.history), state.MaxHistory-1)]...)
	b.open = s.Seq
	if s.To == "" && s.Reason != state.ReasonLink {
		return
	}
	q := stampRequest{seq: s.Seq, since: s.EventRead.Add(-carrierLostBefore), mark: fmt.Sprintf("%s: %s -> %s (%s)", s.Bond, s.From, s.To, s.Reason)}
	if l := e.net.Link(s.To); l != nil {
		q.index = l.Index
	}
	if s.Reason == state.ReasonLink || s.Reason == state.ReasonKernel {
		q.lost = s.From
		// What was logged before the link had returned is an earlier loss.
		if l := e.net.Link(s.From); l != nil && e.links[l.Index] != nil && e.links[l.Index].returned.After(q.since) {
			q.since = e.links[l.Index].returned
		}
	}
	select { // the newest one counts
	case <-e.stampQ:
	default:
	}
	select {
	case e.stampQ <- q:
	default:
	}
}

// amend replaces an entry of the flight recorder by one that knows more.
func (e *Engine) amend(seq uint64, how func(*state.Switch)) {
	i := slices.IndexFunc(e.history, func(s *state.Switch) bool { return s.Seq == seq })
	if i < 0 {
		return
	}
	s := *e.history[i]
	how(&s)
	e.history = slices.Clone(e.history)
	e.history[i] = &s
}

// agree completes the newest entry of a bond once the kernel has the same view.
func (e *Engine) agree(b *bond, now time.Time) {
	if b.open == 0 {
		return
	}
	for i := range b.slaves {
		l := e.net.Link(b.slaves[i].name)
		if l == nil || l.Master != b.index || l.Slave == nil {
			continue
		}
		if !e.links[l.Index].linkUp() && l.Slave.MIIStatus == state.MIIUp {
			return
		}
	}
	e.amend(b.open, func(s *state.Switch) { s.Agreed, s.After = now, e.views(b) })
	b.open = 0
}

// views are the slaves of a bond as the flight recorder keeps them.
func (e *Engine) views(b *bond) []state.SlaveView {
	views := make([]state.SlaveView, 0, len(b.slaves))
	for i := range b.slaves {
		s := e.slaveState(b, &b.slaves[i])
		views = append(views, viewOf(&s))
	}
	return views
}

// viewsBefore are the slaves of a bond as they were last published: before the
// event at hand.
func (e *Engine) viewsBefore(b *bond) []state.SlaveView {
	published := e.snapshot.Load().Bond(b.cfg.Name)
	if published == nil {
		return nil
	}
	views := make([]state.SlaveView, 0, len(published.Slaves))
	for i := range published.Slaves {
		views = append(views, viewOf(&published.Slaves[i]))
	}
	return views
}

func viewOf(s *state.Slave) state.SlaveView {
	return state.SlaveView{Name: s.Name, Active: s.Active, LinkUp: s.LinkUp, PathUp: s.PathUp, Suppressed: s.Suppressed, MIIStatus: s.MIIStatus}
}

// A stampRequest asks for what only the kernel knows of a switch.
type stampRequest struct {
	seq   uint64
	index int       // of the new slave; 0: none
	lost  string    // name of the slave that lost its link; empty: none did
	since time.Time // what was logged earlier is of another loss
	mark  string
}

// A stamped is the answer; what is not known is zero.
type stamped struct {
	seq         uint64
	firstPacket time.Time
	carrierLost time.Time
}

const (
	// firstPacketWait is how long a new slave is watched for its first packet.
	firstPacketWait = time.Second
	// carrierLostBefore is how long before bondd read of it a driver may have
	// told of a lost link.
	carrierLostBefore = 5 * time.Second
)

// stamps collects the kernel's stamps of switches, one after the other.
func (e *Engine) stamps(ctx context.Context) error {
	for {
		var q stampRequest
		select {
		case <-ctx.Done():
			return nil
		case q = <-e.stampQ:
		}
		s := stamped{seq: q.seq}
		if q.index != 0 && e.deps.FirstPacket != nil {
			// Without one the time is not known, which is all there is to say.
			s.firstPacket, _ = e.deps.FirstPacket(ctx, q.index, firstPacketWait)
		}
		if q.lost != "" && e.deps.LinkDown != nil {
			if at, ok := e.deps.LinkDown(q.lost, q.since, q.mark); ok {
				s.carrierLost = at
			}
		}
		if s.firstPacket.IsZero() && s.carrierLost.IsZero() {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case e.stampC <- s:
		}
	}
}

// onStamps takes the kernel's stamps of a switch.
func (e *Engine) onStamps(s *stamped) {
	e.amend(s.seq, func(entry *state.Switch) {
		entry.FirstPacket = s.firstPacket
		if !s.carrierLost.After(entry.EventRead) { // a later one is of another loss
			entry.CarrierLost = s.carrierLost
		}
	})
	e.publish(time.Now())
}
