package engine

import "context"

// A tuned is a card and what it says to reporting a lost link at once.
type tuned struct {
	index int
	name  string
	state string
}

// tuneSlaves has every slave that was not asked yet report a lost link at once.
func (e *Engine) tuneSlaves(b *bond) {
	if e.deps.FastLinkDown == nil {
		return
	}
	for i := range b.slaves {
		l := e.net.Link(b.slaves[i].name)
		if l == nil || b.index == 0 || l.Master != b.index {
			continue
		}
		if _, asked := e.tunings[l.Index]; asked {
			continue
		}
		select {
		case e.tuneQ <- tuned{index: l.Index, name: l.Name}:
			e.tunings[l.Index] = ""
		default: // there are many: at the next read
		}
	}
}

// tune talks to the cards; a driver may take its time.
func (e *Engine) tune(ctx context.Context) error {
	for {
		var t tuned
		select {
		case <-ctx.Done():
			return nil
		case t = <-e.tuneQ:
		}
		var err error
		if t.state, err = e.deps.FastLinkDown(ctx, t.name); err != nil {
			t.state = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil
		case e.tunedC <- t:
		}
	}
}
