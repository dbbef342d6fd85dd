package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A report is the table that `make bench` leaves.
type report struct {
	Failovers int           `json:"failovers"`
	Interval  time.Duration `json:"interval_ns"`
	Rows      []row         `json:"contenders"`
}

// A row is a contender's.
type row struct {
	Name   string        `json:"name"`
	Median time.Duration `json:"median_ns"`
	P90    time.Duration `json:"p90_ns"`
	Max    time.Duration `json:"max_ns"`
	// Ratio is the median as a multiple of the last contender's.
	Ratio float64 `json:"ratio"`
	// Parts are the medians of where the gaps went; nil if the contender does
	// not say.
	Parts     *parts     `json:"parts,omitempty"`
	Failovers []failover `json:"failovers"`
}

func newRow(name string, failovers []failover) row {
	each := func(part func(failover) time.Duration) []time.Duration {
		values := make([]time.Duration, len(failovers))
		for i, f := range failovers {
			values[i] = part(f)
		}
		return values
	}
	gaps := each(func(f failover) time.Duration { return f.Gap })
	r := row{Name: name, Median: quantile(gaps, 50), P90: quantile(gaps, 90), Max: slices.Max(gaps), Failovers: failovers}
	if failovers[0].Parts != nil {
		r.Parts = &parts{
			Told:     quantile(each(func(f failover) time.Duration { return f.Parts.Told }), 50),
			Switched: quantile(each(func(f failover) time.Duration { return f.Parts.Switched }), 50),
			Arrived:  quantile(each(func(f failover) time.Duration { return f.Parts.Arrived }), 50),
		}
	}
	return r
}

// quantile is the smallest value that at least percent of all values do not
// exceed.
func quantile(values []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*percent+99)/100-1]
}

// compare fills in the ratios.
func (r *report) compare() {
	last := r.Rows[len(r.Rows)-1].Median
	for i := range r.Rows {
		r.Rows[i].Ratio = float64(r.Rows[i].Median) / float64(last)
	}
}

// Markdown is the report as a page.
func (r *report) Markdown() string {
	var b strings.Builder
	last := r.Rows[len(r.Rows)-1]
	fmt.Fprintf(&b, "# What a failover costs\n\n"+
		"The gap in a stream of one packet every %v when the cable of the active card is pulled, %d times each.\n"+
		"Times are in milliseconds, on a clock that counts instructions.\n\n", r.Interval, r.Failovers)
	fmt.Fprintf(&b, "| contender | n | median | p90 | max | median, %s = 1 |\n| --- | ---: | ---: | ---: | ---: | ---: |\n", last.Name)
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %.1f |\n", row.Name, len(row.Failovers), ms(row.Median), ms(row.P90), ms(row.Max), row.Ratio)
	}
	for _, row := range r.Rows {
		if p := row.Parts; p != nil {
			fmt.Fprintf(&b, "\nWhere %s's time goes (medians):\n\n| from | to | |\n| --- | --- | ---: |\n"+
				"| the first packet is lost | the event is read | %s |\n"+
				"| the event is read | the write has returned | %s |\n"+
				"| the write has returned | the next packet arrives | %s |\n", row.Name, ms(p.Told), ms(p.Switched), ms(p.Arrived))
		}
	}
	return b.String()
}

// ms writes a duration in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()*1000) }

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		values  []time.Duration
		percent int
		want    time.Duration
	}{
		{[]time.Duration{7}, 50, 7},
		{[]time.Duration{3, 1, 2}, 50, 2},
		{[]time.Duration{4, 3, 2, 1}, 50, 2},
		{[]time.Duration{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 90, 9},
		{[]time.Duration{5, 4, 3, 2, 1}, 90, 5},
	} {
		if got := quantile(tt.values, tt.percent); got != tt.want {
			t.Errorf("quantile(%v, %d) is %d, want %d", tt.values, tt.percent, got, tt.want)
		}
	}
}
