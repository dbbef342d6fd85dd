package state

import (
	"fmt"
	"time"
)

// MaxAge is how old a snapshot may be before nothing in it is known any more.
//
// The engine publishes every second, whether anything happened or not, and what
// it waits for in between is bounded: a read of the kernel times out after 3
// seconds, so that the next snapshot is there 4 seconds after the last one. Only
// one system call that cannot be ended takes longer: whoever holds the kernel's
// RTNL lock for more than 4 seconds delays the engine, and with it the age is
// reported. That is meant: without the lock neither bondd nor the bonding driver
// can move traffic to another slave.
const MaxAge = 5 * time.Second

// Age is how long ago the snapshot was published, for a reader whose clock, by
// time.Now, says now. The clock of the wall has no part in it: it may be set by
// years when the machine first hears of the time.
func (s *Snapshot) Age(now time.Time) time.Duration {
	published := s.Published
	if published.IsZero() {
		published = s.Time
	}
	return max(0, now.Sub(published))
}

// Stale says in one sentence that the snapshot is older than MaxAge, or nothing.
// An engine that does not run cannot say so itself: every reader has to ask.
func (s *Snapshot) Stale(now time.Time) string {
	age := s.Age(now)
	if age <= MaxAge {
		return ""
	}
	return fmt.Sprintf("bondd's engine has published nothing for %v: it does not run, or waits for the kernel",
		age.Truncate(time.Second))
}

// FirstErrorAt is FirstError for a reader at the time now, who must not believe
// what is too old.
func (s *Snapshot) FirstErrorAt(now time.Time) string {
	if stale := s.Stale(now); stale != "" {
		return stale
	}
	return s.FirstError()
}
