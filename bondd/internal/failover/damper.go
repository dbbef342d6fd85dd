package failover

import (
	"math"
	"time"
)

// A Damper holds a slave out that fails again and again. Every failure is a
// penalty of 1, which decays with a half-life; from Suppress on the slave is
// held out, until the penalty is down to Reuse. It follows route flap damping
// (RFC 2439), from which also comes the longest time: four half-lives.
//
// The zero Damper never holds out.
type Damper struct {
	HalfLife        time.Duration
	Suppress, Reuse float64

	penalty    float64 // at the time of at
	at         time.Time
	suppressed bool
}

// longest is how many half-lives a slave is held out at most.
const longest = 4

// Fail notes a failure.
func (d *Damper) Fail(now time.Time) {
	if d.HalfLife <= 0 {
		return
	}
	d.suppressed = d.Suppressed(now) // what is over is over
	ceiling := max(d.Suppress, d.Reuse*math.Exp2(longest))
	d.penalty, d.at = min(d.Penalty(now)+1, ceiling), now
	d.suppressed = d.suppressed || d.penalty >= d.Suppress
}

// Penalty is what is left of all failures.
func (d *Damper) Penalty(now time.Time) float64 {
	if d.penalty == 0 {
		return 0
	}
	age := max(now.Sub(d.at), 0) // a clock that was set back must not add to it
	return d.penalty * math.Exp2(-age.Seconds()/d.HalfLife.Seconds())
}

// Suppressed reports whether the slave is held out.
func (d *Damper) Suppressed(now time.Time) bool {
	return d.suppressed && now.Before(d.ReuseAt())
}

// ReuseAt is when a slave that is held out is let in again if it does not fail
// before; zero if it is not held out.
func (d *Damper) ReuseAt() time.Time {
	if !d.suppressed {
		return time.Time{}
	}
	lives := math.Log2(d.penalty / d.Reuse)
	return d.at.Add(time.Duration(lives * float64(d.HalfLife)))
}
