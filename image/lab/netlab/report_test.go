package netlab_test

import (
	"testing"
	"time"

	"bondd.internal/image/lab/netlab"
)

func TestAnalyze(t *testing.T) {
	// at returns a packet that arrived so many milliseconds after the start.
	at := func(seq uint64, ms int) netlab.Arrival {
		return netlab.Arrival{Seq: seq, At: time.UnixMilli(int64(ms))}
	}
	const ms = time.Millisecond
	tests := []struct {
		name     string
		sent     int
		arrivals []netlab.Arrival
		want     netlab.Report
	}{
		{"nothing sent", 0, nil, netlab.Report{}},
		{"nothing arrived", 3, nil, netlab.Report{Sent: 3, Lost: 3, LostAtEnd: 3}},
		{"all arrived", 3, []netlab.Arrival{at(0, 0), at(1, 1), at(2, 2)},
			netlab.Report{Sent: 3, LongestGap: ms, GapAfter: 0}},
		{"two lost in between", 5, []netlab.Arrival{at(0, 0), at(1, 1), at(4, 4)},
			netlab.Report{Sent: 5, Lost: 2, LongestGap: 3 * ms, GapAfter: 1}},
		{"never came back", 5, []netlab.Arrival{at(0, 0), at(2, 2)},
			netlab.Report{Sent: 5, Lost: 3, LostAtEnd: 2, LongestGap: 2 * ms, GapAfter: 0}},
		{"a duplicate does not shorten a gap", 3, []netlab.Arrival{at(0, 0), at(0, 4), at(1, 5), at(2, 6)},
			netlab.Report{Sent: 3, Duplicates: 1, LongestGap: 5 * ms, GapAfter: 0}},
		{"out of order", 3, []netlab.Arrival{at(1, 1), at(0, 2), at(2, 3)},
			netlab.Report{Sent: 3, Reordered: 1, LongestGap: ms, GapAfter: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := netlab.Analyze(tt.sent, tt.arrivals)
			got.Arrivals = nil
			if got.String() != tt.want.String() {
				t.Errorf("Analyze:\n got %v\nwant %v", got, tt.want)
			}
		})
	}
}
