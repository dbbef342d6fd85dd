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
	paths := w.cfg.Bonds[0].Paths
	if len(paths) == 0 {
		return
	}
	w.at(paths[0].Interval, w.probeRound)
	// What the round has found is known once the last reply could have come.
	replies := make([][2]bool, len(w.probes))
	for i := range w.probes {
		n := w.byIndex(w.probes[i].Index)
		for t := range paths {
			replies[i][t] = n != nil && w.replies(n, t) && w.chance(100-n.lost, 100)
		}
	}
	probes := w.probes
	w.at(paths[0].Timeout, func() {
		for i := range probes {
			n := w.byIndex(probes[i].Index)
			for t := range paths {
				if n != nil && n.paths[t].linked {
					n.paths[t].round(&paths[t], replies[i][t])
				}
			}
		}
		w.reportPaths()
	})
}

// replies reports whether a target gets what a card asks it, and the card the reply.
func (w *World) replies(n *nic, target int) bool {
	return n.good(w.now) && !n.deadTo[target] && !w.silent[target]
}

// passes reports whether traffic gets through by a card, by the bond's policy on
// the targets that any card reaches for sure.
func (w *World) passes(n *nic) bool {
	if !n.good(w.now) {
		return false
	}
	reached, of := 0, 0
	for t := range w.cfg.Bonds[0].Paths {
		for i := range w.probes {
			other := w.byIndex(w.probes[i].Index)
			if other != nil && (other == n || other.lost == 0) && w.replies(other, t) {
				of++
				if w.replies(n, t) {
					reached++
				}
				break
			}
		}
	}
	return reached == of || reached > 0 && w.cfg.Bonds[0].PathPolicy == "any"
}

// setProbes takes who has to probe from now on.
func (w *World) setProbes(p []probeSlave) {
	w.probes = p
	for _, n := range w.nics {
		linked := false
		for i := range p {
			linked = linked || p[i].Index == n.index && p[i].LinkUp
		}
		for t := range n.paths {
			if linked != n.paths[t].linked {
				n.paths[t].link(linked)
			}
		}
	}
}

func (w *World) reportPaths() {
	report := make(map[int][]state.Path, len(w.probes))
	for i := range w.probes {
		n := w.byIndex(w.probes[i].Index)
		if n == nil {
			continue
		}
		for t, p := range w.cfg.Bonds[0].Paths {
			path := state.Path{Target: p.Target, State: n.paths[t].state, Proven: n.paths[t].proven}
			report[n.index] = append(report[n.index], path)
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
