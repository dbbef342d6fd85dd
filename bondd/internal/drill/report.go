package drill

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"bondd.internal/bondd/internal/report"
)

// A Report says what a drill found.
type Report struct {
	Bond   string     `json:"bond"`
	Slave  string     `json:"active_slave"` // that the drill began with and went back to
	Target netip.Addr `json:"target"`       // that was asked

	// Before is what came back by Slave before anything was switched.
	Before Figures `json:"before"`
	Slaves []Trial `json:"slaves"` // every other slave, in the configured order

	// Problem is why the drill ended early or elsewhere than it began, in a
	// sentence; empty if it did not.
	Problem string `json:"problem"`
	OK      bool   `json:"ok"` // every standby was tried and passed, and the drill ended where it began
}

// A Trial is what became of one standby.
type Trial struct {
	Name    string   `json:"name"`
	Tried   bool     `json:"tried"`
	Problem string   `json:"problem"` // why it was not tried or did not pass, in a sentence; empty if it passed
	To      *Figures `json:"to"`      // from the switch to it; null if it was not tried
	Back    *Figures `json:"back"`    // from the switch back; null if there was none
}

// Passed reports whether the standby would have carried the traffic.
func (t *Trial) Passed() bool { return t.Tried && t.Problem == "" }

// Figures are what came back in a stretch of time. Requests are some 10 ms
// apart, and so is what a gap can be told from.
type Figures struct {
	Sent       int      `json:"sent"` // requests
	Lost       int      `json:"lost"` // of them without an answer
	LongestGap float64  `json:"longest_gap_seconds"`
	RTT        *float64 `json:"rtt_seconds"` // the median; null if nothing was answered
}

// A request is one that was sent, and when its answer came.
type request struct {
	sent, answered time.Time // answered is zero if it was not
}

// figures counts the requests that were sent in [from, to). The longest gap is
// the longest time in it without an answer; one that begins it is counted from
// the last answer before, if that is not long ago: a longer silence was there
// already.
func figures(requests []request, from, to time.Time) Figures {
	var f Figures
	start := from
	answers := []time.Time{to}
	var rtts []time.Duration
	for _, r := range requests {
		switch {
		case r.answered.IsZero(), !r.answered.Before(to):
		case r.answered.Before(from):
			if from.Sub(r.answered) <= 2*interval {
				start = r.answered
			}
		default:
			answers = append(answers, r.answered)
		}
		if r.sent.Before(from) || !r.sent.Before(to) {
			continue
		}
		f.Sent++
		if r.answered.IsZero() {
			f.Lost++
		} else {
			rtts = append(rtts, r.answered.Sub(r.sent))
		}
	}
	answers = append(answers, start)
	slices.SortFunc(answers, time.Time.Compare)
	for i := range answers[1:] {
		f.LongestGap = max(f.LongestGap, answers[i+1].Sub(answers[i]).Seconds())
	}
	if len(rtts) > 0 {
		slices.Sort(rtts)
		median := rtts[len(rtts)/2].Seconds()
		f.RTT = &median
	}
	return f
}

// tolerance is which part of the requests may be lost beyond what is lost
// anyway: a switch that learns late costs less than this, a bad cable more.
const tolerance = 0.1

// loss is the part of the requests that was lost.
func (f *Figures) loss() float64 {
	if f.Sent == 0 {
		return 0
	}
	return float64(f.Lost) / float64(f.Sent)
}

// problem says what is wrong with a stretch of time, compared with the time
// before the first switch; empty: nothing.
func (f *Figures) problem(before *Figures) string {
	switch {
	case f.Lost == f.Sent, f.LongestGap >= giveUp.Seconds():
		return fmt.Sprintf("nothing was answered for %s", report.Took(f.LongestGap))
	case f.loss() > before.loss()+tolerance:
		return fmt.Sprintf("%d of %d requests were lost", f.Lost, f.Sent)
	}
	return ""
}

func (f *Figures) String() string {
	if f == nil {
		return "-"
	}
	s := fmt.Sprintf("%d of %d lost, gap %s", f.Lost, f.Sent, report.Took(f.LongestGap))
	if f.RTT != nil {
		s += ", answer in " + report.Took(*f.RTT)
	}
	return s
}

// Write writes the report as a person wants to read it. Its error is that of w.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"%s asked %s every %d ms, by %s at first: %s\n\n",
		r.Bond,
		r.Target,
		interval.Milliseconds(),
		r.Slave,
		&r.Before,
	)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "standby\t\tswitch to it\tswitch back to %s\n", r.Slave)
	passed := 0
	for i := range r.Slaves {
		s := &r.Slaves[i]
		word := "not tried"
		switch {
		case s.Passed():
			word = "passed"
			passed++
		case s.Tried:
			word = "FAILED"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.Name, word, s.To, s.Back)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	b.WriteByte('\n')
	for i := range r.Slaves {
		if s := &r.Slaves[i]; s.Problem != "" {
			fmt.Fprintf(&b, "%s: %s\n", s.Name, s.Problem)
		}
	}
	if r.Problem != "" {
		fmt.Fprintf(&b, "%s: %s\n", r.Bond, r.Problem)
	}
	fmt.Fprintf(&b, "%d of %d standbys passed\n", passed, len(r.Slaves))
	_, err := io.WriteString(w, b.String())
	return err
}
