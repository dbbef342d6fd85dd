package report_test

import (
	"testing"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
)

// notes are a slave's notes as one text, each with its level.
func notes(s report.Slave) string {
	text := ""
	for _, n := range s.Notes() {
		text += string(n.Level) + ": " + n.Text
		if n.Detail != "" {
			text += " (" + n.Detail + ")"
		}
		text += "\n"
	}
	return text
}

func TestNotes(t *testing.T) {
	for name, tt := range map[string]struct {
		snapshot *state.Snapshot
		slave    int
		want     string
	}{
		"all is well":       {fixture.Healthy(), 0, "pass: 192.168.1.1 answers in 0.41 ms (2 of 548,637 probes missed)\n"},
		"no link":           {fixture.Degraded(), 1, "info: 192.168.1.1 is not asked while there is no link\n"},
		"left out":          {fixture.LeftOut(), 1, "fail: left out: its chipset 10ec:8139 (driver 8139too) is not eth0's 8086:100e (driver e1000)\n"},
		"missing":           {fixture.Missing(), 1, ""},
		"path dead":         {fixture.PathDead(), 0, "fail: no answer from 192.168.1.1 (42 of 548,677 probes missed)\n"},
		"held out":          {fixture.Suppressed(), 0, "warn: held out for another 29 s, because it failed too often\npass: 192.168.1.1 answers in 0.41 ms (2 of 548,637 probes missed)\n"},
		"detached":          {fixture.Detached(), 0, "fail: detached: the device no longer replies, although its interface is there; power cycle the machine, and replace the card if that does not help\n"},
		"parked":            {fixture.Parked(), 1, "warn: parked: out of the bond until its path is back\nfail: no answer from 192.168.1.1 (43 of 548,678 probes missed)\n"},
		"LACP agreed":       {fixture.LACP(), 0, "pass: LACP has agreed, aggregator 1\n"},
		"half-open":         {fixture.HalfOpen(), 1, "fail: half-open: the other end sends LACP, but does not hear this end's\n"},
		"no partner":        {fixture.NoPartner(), 0, "warn: no LACP comes from the other end: set up an LACP group for this port on the switch\n"},
		"two targets":       {fixture.Many(), 1, "pass: 192.168.1.1 answers in 0.44 ms (3 of 548,638 probes missed)\nwarn: 2001:db8:1234:5678::1 did not answer the last probe (3 of 548,638 probes missed)\n"},
		"probes not sent":   {fixture.AllPathsDead(), 1, "fail: no answer from 192.168.1.1 (43 of 548,678 probes missed)\nfail: no answer from fe80::5054:ff:fe12:1 (43 of 548,678 probes missed, 3 could not be sent)\n"},
		"nothing known yet": {unheard(), 0, "info: waiting for an answer from 192.168.1.1\n"},
		"parked for flaps":  {parkedForFlaps(), 1, "warn: parked: out of the bond until it may be used again\nwarn: held out for another 1 min, because it failed too often\npass: 192.168.1.1 answers in 0.44 ms (3 of 548,638 probes missed)\n"},
		"other aggregator":  {otherAggregator(), 1, "warn: LACP: in aggregator 2, which is not in use: it only stands by\n"},
	} {
		if got := notes(report.From(tt.snapshot).Bonds[0].Slaves[tt.slave]); got != tt.want {
			t.Errorf("%s:\n%swant\n%s", name, got, tt.want)
		}
	}
}

func unheard() *state.Snapshot {
	s := fixture.Healthy()
	path := &s.Bonds[0].Slaves[0].Paths[0]
	*path = state.Path{Target: path.Target}
	return s
}

func parkedForFlaps() *state.Snapshot {
	s := fixture.RoundRobin()
	eth1 := &s.Bonds[0].Slaves[1]
	eth1.Enslaved, eth1.Parked, eth1.Suppressed, eth1.ReuseAt = false, true, true, s.Time.Add(time.Minute)
	return s
}

func otherAggregator() *state.Snapshot {
	s := fixture.LACP()
	eth1 := &s.Bonds[0].Slaves[1]
	eth1.LACP.Aggregator, eth1.Active = 2, false
	return s
}

func TestBondTexts(t *testing.T) {
	all := fixture.AllPathsDead()
	all.Bonds[0].PathPolicy = "all"
	for _, tt := range []struct{ got, want string }{
		{report.From(fixture.Healthy()).Bonds[0].PathText(), "192.168.1.1"},
		{report.From(fixture.AllPathsDead()).Bonds[0].PathText(), "192.168.1.1 or fe80::5054:ff:fe12:1"},
		{report.From(all).Bonds[0].PathText(), "192.168.1.1 and fe80::5054:ff:fe12:1"},
		{report.From(fixture.LACP()).Bonds[0].PathText(), ""},
		{report.From(fixture.LACP()).Bonds[0].PartnerText(), "00:1b:21:3c:9d:f8, key 1001"},
		{report.From(fixture.NoPartner()).Bonds[0].PartnerText(), "none"},
		{report.From(fixture.Healthy()).Bonds[0].PartnerText(), ""},
		{report.From(fixture.LACP()).Bonds[0].AggregatorText(), "1, with 2 ports"},
		{report.From(fixture.HalfOpen()).Bonds[0].AggregatorText(), "1, with 1 port"},
		{report.From(fixture.Healthy()).Bonds[0].AggregatorText(), ""},
		{report.Offset(0), "0"},
		{report.Offset(9400 * time.Nanosecond), "+9.4 µs"},
		{report.Offset(85 * time.Microsecond), "+85 µs"},
		{report.Offset(999_600 * time.Nanosecond), "+1.00 ms"},
		{report.Offset(2400 * time.Millisecond), "+2.40 s"},
		{report.Digits(999), "999"},
		{report.Digits(1_234_567), "1,234,567"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func TestFailoverTitle(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"eth0", "eth1", "eth0 → eth1"},
		{"", "eth1", "→ eth1"},
		{"eth0", "", "eth0 out"},
	} {
		s := fixture.Healthy()
		s.History = []*state.Failover{{From: tt.from, To: tt.to}}
		if got := report.From(s).Failovers[0].Title(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestViewWord(t *testing.T) {
	dead, alive := false, true
	for _, tt := range []struct {
		view state.SlaveView
		want string
	}{
		{state.SlaveView{LinkUp: true}, "ready"},
		{state.SlaveView{LinkUp: true, PathUp: &alive}, "ready"},
		{state.SlaveView{LinkUp: true, Active: true}, "carries traffic"},
		{state.SlaveView{Active: true}, "active, no link"},
		{state.SlaveView{}, "no link"},
		{state.SlaveView{LinkUp: true, Active: true, PathUp: &dead}, "active, path is dead"},
		{state.SlaveView{LinkUp: true, PathUp: &dead}, "path is dead"},
		{state.SlaveView{LinkUp: true, Suppressed: true, PathUp: &dead}, "held out"},
		{state.SlaveView{LinkUp: true, MIIStatus: state.MIIBack}, "coming back"},
	} {
		if got := report.ViewWord(tt.view); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.view, got, tt.want)
		}
	}
}
