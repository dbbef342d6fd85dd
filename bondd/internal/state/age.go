package state

import "time"

// MaxAge is how old a snapshot may be before nothing in it is known any more.
//
// The engine publishes every second, whether anything happened or not, and a read
// of the kernel that times out does so after 3 seconds: the next snapshot is there
// 4 seconds after the last one. What takes longer is a system call that waits for
// the kernel's RTNL lock, which cannot be ended. A driver or a program may hold the
// lock for 4 seconds without effect on bondd's health; longer than that counts as
// an error on purpose, for without the lock neither bondd nor the bonding driver
// can move traffic to another slave.
const MaxAge = 5 * time.Second

// Age is how long ago the snapshot was published, for a reader at the time now, as
// time.Now gives it. The monotonic clock counts: the wall clock may be set by years
// when the machine first gets the time over the network.
func (s *Snapshot) Age(now time.Time) time.Duration {
	published := s.Published
	if published.IsZero() {
		published = s.Time
	}
	return max(0, now.Sub(published))
}

// Stale reports whether the snapshot is older than MaxAge. An engine that does
// not run cannot say so itself: every reader has to ask.
func (s *Snapshot) Stale(now time.Time) bool { return s.Age(now) > MaxAge }
