package state

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		s := &Snapshot{Started: now, Time: now, Sampled: now, Published: now}
		for range 2 {
			if s.Stale(time.Now()) {
				t.Errorf("%v old: stale", s.Age(time.Now()))
			}
			time.Sleep(MaxAge)
		}
		if !s.Stale(time.Now()) {
			t.Errorf("%v old: not stale", s.Age(time.Now()))
		}
		// A reader that was held up between its clock and the snapshot.
		if got := s.Age(now.Add(-time.Second)); got != 0 {
			t.Errorf("age of a snapshot from the future: %v", got)
		}
		// Without its own moment, the snapshot is as old as what it says.
		s.Published = time.Time{}
		s.Time = time.Now().Add(-7 * time.Second)
		if got := s.Age(time.Now()); got != 7*time.Second {
			t.Errorf("age of a snapshot that does not say when it was published: %v", got)
		}
	})
}
