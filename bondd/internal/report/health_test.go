package report_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
)

func TestFirstErrorAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := func(s *state.Snapshot) *state.Snapshot {
			now := time.Now()
			s.Started, s.Time, s.Sampled, s.Published = now, now, now, now
			return s
		}
		s := of(fixture.Healthy())
		for range 2 {
			if got := report.FirstErrorAt(s, time.Now()); got != "" {
				t.Errorf("%v old: %q", s.Age(time.Now()), got)
			}
			time.Sleep(state.MaxAge)
		}
		time.Sleep(2 * time.Second)
		if got := report.FirstErrorAt(s, time.Now()); !strings.Contains(got, "published nothing for 12s") {
			t.Errorf("12 seconds old: %q", got)
		}
		// What was wrong before may no longer be so.
		s.Bonds = fixture.Down().Bonds
		if got := report.FirstErrorAt(s, time.Now()); !strings.Contains(got, "published nothing") {
			t.Errorf("12 seconds old, and down: %q", got)
		}
		s = of(fixture.Down())
		if got := report.FirstErrorAt(s, time.Now()); got != "bond0: eth0 has no link, eth1 has no link" {
			t.Errorf("down: %q", got)
		}
	})
}
