package engine

import (
	"context"
	"time"

	"bondd.internal/bondd/internal/engine/core"
)

// pollFloor is the shortest interval between two polls, whatever miimon says: a
// poll takes the kernel's RTNL lock, for which every write has to wait.
const pollFloor = 10 * time.Millisecond

// poll asks ethtool for every link's state at the configured interval, and
// hands what it says to the loop. A failing poll is no failing link: it is
// logged when it begins and when it ends.
func (e *Engine) poll(ctx context.Context) error {
	every := e.deps.PollEvery
	for _, b := range e.cfg.Bonds {
		if m := b.Miimon(); m > 0 && (every == 0 || e.deps.PollEvery == 0 && m < every) {
			every = m
		}
	}
	tick := time.NewTicker(max(every, pollFloor))
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// The loop owns the map once it has it; it is as large as there are links.
		p := core.Poll{Began: time.Now(), Up: make(map[int]bool)}
		p.Err = e.deps.Poller.Poll(ctx, p.Up)
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
	}
}
