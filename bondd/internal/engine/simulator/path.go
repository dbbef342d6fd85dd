package simulator

import (
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
)

// A pathModel is what the path checks of bondd find out about the way from one
// card to the target, as package pathcheck does.
type pathModel struct {
	state           state.PathState
	dead            bool
	replies, misses int // in a row
	linked          bool
	proven          bool
}

// round is one probe and its reply, or none.
func (p *pathModel) round(cfg *config.Path, reply bool) {
	if reply {
		p.misses = 0
		p.replies++
		if !p.dead || p.replies >= cfg.ReturnAfter {
			p.dead, p.state = false, state.PathUp
		}
		p.proven = p.proven || p.replies >= cfg.ReturnAfter
		return
	}
	p.replies = 0
	p.misses++
	switch {
	case p.misses >= cfg.MissedMax || p.dead:
		p.dead, p.proven, p.state = true, false, state.PathDown
	default:
		p.state = state.PathMissing
	}
}

// link is a change of the card's link.
func (p *pathModel) link(up bool) {
	p.linked, p.replies, p.misses = up, 0, 0
	p.state, p.proven = state.PathUnknown, false
	if up && p.dead {
		p.state = state.PathDown
	}
}

// probeRound sends a probe from every card that bondd probes from.
func (w *World) probeRound() {
	if len(w.cfg.Bonds[0].Paths) == 0 {
		return
	}
	cfg := &w.cfg.Bonds[0].Paths[0]
	w.at(cfg.Interval, w.probeRound)
	// What the round has found is known once the last reply could have come.
	replies := make([]bool, len(w.probes))
	for i := range w.probes {
		n := w.byIndex(w.probes[i].Index)
		replies[i] = n != nil && n.good(w.now) && !w.targetDead && w.chance(100-n.lost, 100)
	}
	probes := w.probes
	w.at(cfg.Timeout, func() {
		for i := range probes {
			if n := w.byIndex(probes[i].Index); n != nil && n.path.linked {
				n.path.round(cfg, replies[i])
			}
		}
		w.reportPaths()
	})
}

// setProbes takes who has to probe from now on.
func (w *World) setProbes(p []probeSlave) {
	w.probes = p
	for _, n := range w.nics {
		linked := false
		for i := range p {
			linked = linked || p[i].Index == n.index && p[i].LinkUp
		}
		if linked != n.path.linked {
			n.path.link(linked)
		}
	}
}

func (w *World) reportPaths() {
	report := make(map[int][]state.Path, len(w.probes))
	for i := range w.probes {
		if n := w.byIndex(w.probes[i].Index); n != nil {
			report[n.index] = []state.Path{{Target: w.cfg.Bonds[0].Paths[0].Target, State: n.path.state, Proven: n.path.proven}}
		}
	}
	run := w.run
	w.at(w.jitter(time.Millisecond), func() {
		if w.run == run {
			w.report = report
			w.step(pathReport(report))
		}
	})
}
