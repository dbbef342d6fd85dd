package engine

import (
	"context"
	"time"

	"bondd.internal/bondd/internal/engine/core"
	"bondd.internal/bondd/internal/state"
)

// pollFloor is the shortest interval between two polls, whatever miimon says: a
// poll takes the kernel's RTNL lock, for which every write has to wait.
const pollFloor = 10 * time.Millisecond

// pollTick is how often it is time for a poll of some bond.
func (e *Engine) pollTick() time.Duration {
	tick := e.deps.PollEvery
	for i := range e.cfg.Bonds {
		if every := core.PollEvery(&e.cfg.Bonds[i]); e.deps.PollEvery == 0 && (tick == 0 || every < tick) {
			tick = every
		}
	}
	return max(tick, pollFloor)
}

// poll asks ethtool for the link state of the slaves, of each bond's at its
// interval, and hands what it says to the loop. A failing poll is no failing
// link: it is logged when it begins and when it ends.
func (e *Engine) poll(ctx context.Context) error {
	every := e.pollTick()
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing := false
	// Two lists in turns: once the loop takes one, it is done with the one before.
	var links, other []state.LinkState
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		links = e.due(links[:0], n, every)
		if len(links) == 0 {
			continue
		}
		p := core.Poll{Began: time.Now(), Links: links}
		p.Err = e.deps.Poller.Poll(ctx, p.Links)
		p.Took = time.Since(p.Began)
		switch {
		case ctx.Err() != nil:
			return nil
		case p.Err != nil && !failing:
			e.log.Error("poll: ethtool does not answer", "err", p.Err)
		case p.Err == nil && failing:
			e.log.Info("poll: ethtool answers again")
		}
		failing = p.Err != nil
		if !e.send(ctx, p) {
			return nil
		}
		links, other = other, links
	}
}

// due appends the links that are to be polled at the tick of that number.
func (e *Engine) due(links []state.LinkState, n int, tick time.Duration) []state.LinkState {
	polled := e.polled.Load()
	if polled == nil {
		return links
	}
	for _, l := range polled.Links {
		if e.deps.PollEvery != 0 || n%int(max(1, l.Every/tick)) == 0 {
			links = append(links, state.LinkState{Index: l.Index})
		}
	}
	return links
}
