package drill

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFigures(t *testing.T) {
	at := func(ms int) time.Time { return time.Time{}.Add(time.Hour + time.Duration(ms)*time.Millisecond) }
	// sent makes requests 10 ms apart from 0 on, answered after 1 ms where ok has a "+".
	sent := func(ok string) (all []request) {
		for i, c := range ok {
			r := request{sent: at(10 * i)}
			if c == '+' {
				r.answered = at(10*i + 1)
			}
			all = append(all, r)
		}
		return all
	}
	for _, tt := range []struct {
		name     string
		requests []request
		from, to int // ms
		want     string
	}{
		{"nothing sent", nil, 0, 100, "0 of 0 lost, gap 100.0 ms"},
		{"all answered", sent("++++++++++"), 0, 100, "0 of 10 lost, gap 10.0 ms, answer in 1.00 ms"},
		{"none answered", sent(".........."), 0, 100, "10 of 10 lost, gap 100.0 ms"},
		{"a gap in between", sent("++...+++++"), 0, 100, "3 of 10 lost, gap 40.0 ms, answer in 1.00 ms"},
		{"a gap at the start", sent("...+++++++"), 0, 100, "3 of 10 lost, gap 31.0 ms, answer in 1.00 ms"},
		{"a gap at the end", sent("+++++++..."), 0, 100, "3 of 10 lost, gap 39.0 ms, answer in 1.00 ms"},
		{"only what was sent in it", sent("..++++++.."), 20, 80, "0 of 6 lost, gap 10.0 ms, answer in 1.00 ms"},
		{"a gap over the start", sent("+..+++++++"), 5, 100, "2 of 9 lost, gap 30.0 ms, answer in 1.00 ms"},
		{"a gap that was there before", sent("......++++"), 50, 100, "1 of 5 lost, gap 11.0 ms, answer in 1.00 ms"},
		{"the edges", sent("++++"), 10, 30, "0 of 2 lost, gap 10.0 ms, answer in 1.00 ms"},
		{"answered after its end", []request{{at(0), at(1)}, {at(10), at(35)}}, 0, 20, "0 of 2 lost, gap 19.0 ms, answer in 25.0 ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := figures(tt.requests, at(tt.from), at(tt.to))
			if diff := cmp.Diff(tt.want, f.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestProblem(t *testing.T) {
	rtt := .001
	for _, tt := range []struct {
		before, after Figures
		want          string
	}{
		{Figures{Sent: 50}, Figures{Sent: 100}, ""},
		{Figures{Sent: 50}, Figures{Sent: 100, Lost: 10, LongestGap: .11, RTT: &rtt}, ""},
		{Figures{Sent: 50}, Figures{Sent: 100, Lost: 11, LongestGap: .02, RTT: &rtt}, "11 of 100 requests were lost"},
		{Figures{Sent: 50, Lost: 25}, Figures{Sent: 100, Lost: 55, LongestGap: .1, RTT: &rtt}, ""}, // a host that answers every other request
		{Figures{Sent: 50, Lost: 25}, Figures{Sent: 100, Lost: 65, LongestGap: .1, RTT: &rtt}, "65 of 100 requests were lost"},
		{Figures{Sent: 50}, Figures{Sent: 30, Lost: 30, LongestGap: .3}, "nothing was answered for 300.0 ms"},
		{Figures{Sent: 50}, Figures{Sent: 90, Lost: 30, LongestGap: .302, RTT: &rtt}, "nothing was answered for 302.0 ms"},
	} {
		if got := tt.after.problem(&tt.before); got != tt.want {
			t.Errorf("%v after %v: %q, want %q", &tt.after, &tt.before, got, tt.want)
		}
	}
}

// trials has every kind of trial.
func trials() *Report {
	rtt := 0.00012
	fine := &Figures{Sent: 100, LongestGap: .0101, RTT: &rtt}
	return &Report{
		Bond: "bond0", Slave: "eth0", Target: netip.MustParseAddr("192.0.2.1"),
		Before: Figures{Sent: 50, LongestGap: .01, RTT: &rtt},
		Slaves: []Trial{
			{Name: "eth1", Tried: true, To: fine, Back: fine},
			{Name: "enp4s0f1", Tried: true, Problem: "nothing was answered for 300.0 ms", To: &Figures{Sent: 30, Lost: 30, LongestGap: .3}, Back: fine},
			{Name: "eth3", Problem: "it has no link"},
		},
	}
}

func TestWrite(t *testing.T) {
	for _, tt := range []struct {
		change func(*Report)
		want   string
	}{
		{func(*Report) {}, `bond0 asked 192.0.2.1 every 10 ms, by eth0 at first: 0 of 50 lost, gap 10.0 ms, answer in 0.12 ms

standby              switch to it                                   switch back to eth0
eth1      passed     0 of 100 lost, gap 10.1 ms, answer in 0.12 ms  0 of 100 lost, gap 10.1 ms, answer in 0.12 ms
enp4s0f1  FAILED     30 of 30 lost, gap 300.0 ms                    0 of 100 lost, gap 10.1 ms, answer in 0.12 ms
eth3      not tried  -                                              -

enp4s0f1: nothing was answered for 300.0 ms
eth3: it has no link
1 of 3 standbys passed
`},
		{func(r *Report) {
			r.Slaves = r.Slaves[1:2]
			r.Slaves[0].Back = nil
			r.Problem = "the way back failed, traffic is on enp4s0f1 instead of eth0: eth0 has no link"
		}, `bond0 asked 192.0.2.1 every 10 ms, by eth0 at first: 0 of 50 lost, gap 10.0 ms, answer in 0.12 ms

standby           switch to it                 switch back to eth0
enp4s0f1  FAILED  30 of 30 lost, gap 300.0 ms  -

enp4s0f1: nothing was answered for 300.0 ms
bond0: the way back failed, traffic is on enp4s0f1 instead of eth0: eth0 has no link
0 of 1 standbys passed
`},
	} {
		r := trials()
		tt.change(r)
		var b strings.Builder
		if err := r.Write(&b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// Scripts rely on these names: they may be added to, not changed.
func TestNamesInJSON(t *testing.T) {
	r := trials()
	r.Slaves = r.Slaves[1:]
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"bond":"bond0","active_slave":"eth0","target":"192.0.2.1",` +
		`"before":{"sent":50,"lost":0,"longest_gap_seconds":0.01,"rtt_seconds":0.00012},"slaves":[` +
		`{"name":"enp4s0f1","tried":true,"problem":"nothing was answered for 300.0 ms","to":{"sent":30,"lost":30,"longest_gap_seconds":0.3,"rtt_seconds":null},"back":{"sent":100,"lost":0,"longest_gap_seconds":0.0101,"rtt_seconds":0.00012}},` +
		`{"name":"eth3","tried":false,"problem":"it has no link","to":null,"back":null}],` +
		`"problem":"","ok":false}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
