package statustext_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/statustext"
	"bondd.internal/bondd/internal/web/fixture"
)

// What is too old is not called healthy, whatever it says.
func TestWriteWithoutEngine(t *testing.T) {
	s := fixture.Healthy()
	s.Published = fixture.Now
	for age, old := range map[time.Duration]bool{4 * time.Second: false, 12 * time.Second: true} {
		st := decoded(t, report.At(s, fixture.Now.Add(age)))
		var out bytes.Buffer
		if err := statustext.Write(&out, st); err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(out.String(), "\n")
		const banner = "\nWHAT FOLLOWS IS OLD: bondd's engine has published nothing for 12 s; " +
			"this is from 2026-03-14 15:09:26.\n"
		unknown := strings.Contains(first, "The state of bond0 is not known")
		if unknown != old || strings.Contains(out.String(), banner) != old {
			t.Errorf("%v old:\n%s", age, out.String())
		}
		want := 0
		if old {
			want = 1
		}
		if got := statustext.ExitCode(st); got != want {
			t.Errorf("%v old: exit code %d, want %d", age, got, want)
		}
	}
}
