package pathcheck

import (
	"time"

	"bondd.internal/bondd/internal/state"
)

// A path is what is known of the way from one slave to one target. Its methods
// are what may become of a probe, and of the slave's link; each takes the path
// from one state to the next and nothing else.
type path struct {
	state.Path

	// dead says that it was found dead and has not returned yet. It outlives
	// the link: a path does not become good because a cable was pulled and put
	// back.
	dead bool

	answers, misses, failures int // in a row
}

// answered: the probe was answered in time.
func (p *path) answered(t *Target, rtt time.Duration) {
	p.Answered++
	p.RTT = rtt
	p.misses, p.failures = 0, 0
	p.answers++
	if !p.dead || p.answers >= t.ReturnAfter {
		p.dead = false
		p.State = state.PathUp
	}
	if p.answers >= t.ReturnAfter {
		p.Proven = true
	}
}

// missed: the probe was sent and not answered in time.
func (p *path) missed(t *Target) {
	p.Missed++
	p.failures = 0
	p.miss(t)
}

// failed: the probe could not be sent. That says nothing of the path, a slave
// may just be changing hands. But with the MissedMax-th in a row it begins to
// weigh as a miss: a card that has a link and takes no frame is of no use. Such
// a path is down after 2 × MissedMax - 1 rounds. The probe is counted as failed
// alone.
func (p *path) failed(t *Target) {
	p.Failed++
	p.failures++
	if p.failures >= t.MissedMax {
		p.miss(t)
	}
}

func (p *path) miss(t *Target) {
	p.answers = 0
	p.misses++
	if p.misses >= t.MissedMax {
		p.dead, p.Proven = true, false
	}
	if p.dead {
		p.State = state.PathDown
	} else {
		p.State = state.PathMissing
	}
}

// link: the slave's link was lost, or is there again.
func (p *path) link(up bool) {
	p.answers, p.misses, p.failures = 0, 0, 0
	p.Proven = false
	if up && p.dead {
		p.State = state.PathDown
	} else {
		p.State = state.PathUnknown
	}
}
