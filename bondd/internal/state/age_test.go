package state

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		healthy := func() *Snapshot {
			now := time.Now()
			return &Snapshot{Started: now, Time: now, Sampled: now, Published: now,
				Config: ConfigStatus{Applied: true}, Bonds: []Bond{{Name: "bond0", Up: true}}}
		}
		s := healthy()
		for range 2 {
			if got := s.FirstErrorAt(time.Now()); got != "" {
				t.Errorf("%v old: %q", s.Age(time.Now()), got)
			}
			time.Sleep(MaxAge)
		}
		time.Sleep(2 * time.Second)
		if got := s.FirstErrorAt(time.Now()); !strings.Contains(got, "published nothing for 12s") {
			t.Errorf("12 seconds old: %q", got)
		}
		// What was wrong before may no longer be so.
		s.Bonds[0].Up, s.Bonds[0].Problem = false, "eth0 has no link"
		if got := s.FirstErrorAt(time.Now()); !strings.Contains(got, "published nothing") {
			t.Errorf("12 seconds old, and down: %q", got)
		}

		s = healthy()
		s.Bonds[0].Up, s.Bonds[0].Problem = false, "eth0 has no link"
		if got := s.FirstErrorAt(time.Now()); got != "bond0: eth0 has no link" {
			t.Errorf("down: %q", got)
		}
		// A reader that was held up between its clock and the snapshot.
		if got := s.Age(time.Now().Add(-time.Second)); got != 0 {
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
