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
	d.penalty, d.at = min(d.Penalty(now)+1, d.ceiling()), now
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

// A Penalty is the state of a Damper, to be kept over a restart.
type Penalty struct {
	Level      float64   `json:"level"` // at the time of At
	At         time.Time `json:"at"`
	Suppressed bool      `json:"suppressed"`
}

// Keep returns the state to keep; false if there is nothing of weight.
func (d *Damper) Keep(now time.Time) (Penalty, bool) {
	const weight = 0.05
	if d.Penalty(now) < weight && !d.Suppressed(now) {
		return Penalty{}, false
	}
	return Penalty{Level: d.penalty, At: d.at, Suppressed: d.suppressed}, true
}

// Restore takes over what Keep returned. A level above what Fail can reach, or
// one that is not a number, counts as the highest.
func (d *Damper) Restore(p Penalty) {
	if d.HalfLife <= 0 || p.At.IsZero() {
		return
	}
	highest := d.ceiling()
	if !(p.Level >= 0 && p.Level <= highest) {
		p.Level = highest
	}
	d.penalty, d.at, d.suppressed = p.Level, p.At, p.Suppressed
}

func (d *Damper) ceiling() float64 { return max(d.Suppress, d.Reuse*math.Exp2(longest)) }
