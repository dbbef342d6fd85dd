package statustext

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// The exit codes of a status.
const (
	exitHealthy  = 0
	exitDown     = 1
	exitDegraded = 3
)

// ExitCode is what a command that showed this status exits with: 0 if every
// bond is healthy, 3 if one is degraded, 1 if one is down, if there is none, or if
// the engine has published nothing for too long.
func ExitCode(st *report.Status) int {
	switch st.Health() {
	case report.Healthy:
		return exitHealthy
	case report.Degraded:
		return exitDegraded
	}
	return exitDown
}

// shownEvents is how many of the latest events are written.
const shownEvents = 8

// Write writes the status, at most 100 columns wide unless a name or a message
// is longer. Its error is that of w.
func Write(w io.Writer, st *report.Status) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", st.Headline())
	if st.Stale() {
		fmt.Fprintf(&b, "\nWHAT FOLLOWS IS OLD: bondd's engine has published nothing for %s; this is from %s.\n",
			st.Age(), clock(st.Time))
	}
	if st.Config.Error != "" {
		fmt.Fprintf(
			&b,
			"\nTHE CONFIGURATION FILE HAS AN ERROR: %s\nRunning instead: %s\n",
			st.Config.Error,
			st.Config.Source,
		)
	}
	for i := range st.Bonds {
		writeBond(&b, st, &st.Bonds[i])
	}
	writeHardware(&b, st)
	writeConfig(&b, st)
	writeFailovers(&b, st)
	writeEvents(&b, st)
	fmt.Fprintf(&b, "\nbondd %s, up %s\n", st.Version, report.Span(time.Duration(st.UptimeSeconds)*time.Second))
	_, err := w.Write(b.Bytes())
	return err
}

func writeBond(b *bytes.Buffer, st *report.Status, bond *report.Bond) {
	fmt.Fprintf(
		b,
		"\n%s: %s, %s, mtu %d, ether %s\n",
		bond.Name,
		bond.Health(),
		bond.Mode,
		bond.MTU,
		cmp.Or(bond.MAC.String(), "none"),
	)
	for _, a := range bond.Addresses {
		family := "inet"
		if a.Addr().Is6() {
			family = "inet6"
		}
		fmt.Fprintf(b, "    %s %s%s\n", family, a, foreign(bond.IsForeign(a)))
	}
	for _, g := range bond.Gateways {
		fmt.Fprintf(b, "    gateway %s%s\n", g, foreign(bond.IsForeignGateway(g)))
	}
	for _, r := range bond.ForeignRoutes {
		fmt.Fprintf(b, "    route %s%s\n", r.Text(), foreign(true))
	}
	if bond.DHCP != "" {
		fmt.Fprintf(b, "    DHCP %s\n", bond.DHCP)
	}
	if miimon := bond.Options["miimon"]; miimon != "" {
		fmt.Fprintf(
			b,
			"    link monitor every %s ms, up delay %s ms, down delay %s ms\n",
			miimon,
			cmp.Or(bond.Options["updelay"], "0"),
			cmp.Or(bond.Options["downdelay"], "0"),
		)
	}
	if targets := bond.PathText(); targets != "" {
		fmt.Fprintf(b, "    has to answer every slave: %s\n", targets)
	}
	if bond.LACP != nil {
		fmt.Fprintf(b, "    LACP partner %s, active aggregator %s\n", bond.PartnerText(), bond.AggregatorText())
	}
	if bond.ActiveSlave != "" {
		fmt.Fprintf(b, "    currently active slave %s\n", bond.ActiveSlave)
	}
	if bond.Chosen != "" {
		fmt.Fprintf(b, "    chosen by an operator: %s\n", bond.Chosen)
	}
	fmt.Fprintf(b, "    failovers %s", bond.FailoverText())
	if bond.LastFailover != nil {
		fmt.Fprintf(b, ", last %s (%s)", clock(*bond.LastFailover), report.Ago(st.Time.Sub(*bond.LastFailover)))
	}
	if bond.LastFailoverSeconds != nil {
		fmt.Fprintf(b, ", took %s", report.Took(*bond.LastFailoverSeconds))
	}
	b.WriteByte('\n')
	writeCounters(b, "    ", &bond.Counters)
	for i := range bond.Slaves {
		writeSlave(b, &bond.Slaves[i])
	}
}

// foreign marks what another program has put on a bond.
func foreign(is bool) string {
	if is {
		return ", foreign"
	}
	return ""
}

func writeSlave(b *bytes.Buffer, s *report.Slave) {
	mark := " "
	if s.Role() == report.Active {
		mark = "*"
	}
	fmt.Fprintf(b, "\n  %s %s: %s", mark, s.Name, s.Word)
	if speed := s.Speed(); speed != "" {
		fmt.Fprintf(b, ", %s", speed)
	}
	b.WriteByte('\n')
	for _, n := range s.Notes() {
		mark := " "
		if n.Level == hwprobe.SeverityWarn || n.Level == hwprobe.SeverityFail {
			mark = "!"
		}
		fmt.Fprintf(b, "      %s %s", mark, n.Text)
		if n.Detail != "" {
			fmt.Fprintf(b, " (%s)", n.Detail)
		}
		b.WriteByte('\n')
	}
	if !s.Present {
		return
	}
	fmt.Fprintf(
		b,
		"        driver %s, permanent ether %s\n",
		cmp.Or(s.Driver, "unknown"),
		cmp.Or(s.PermanentMAC.String(), "unknown"),
	)
	if s.Enslaved {
		fmt.Fprintf(b, "        MII status %s, link failures %d", s.MIIStatus, s.LinkFailures)
		if s.FastLinkDown != "" {
			fmt.Fprintf(b, ", fast link down %s", s.FastLinkDown)
		}
		if s.Prio != 0 {
			fmt.Fprintf(b, ", priority %d", s.Prio)
		}
		b.WriteByte('\n')
	}
	if s.LACP != nil {
		fmt.Fprintf(b, "        LACP, this end: %s\n", s.LACP.ActorText())
		fmt.Fprintf(b, "        LACP, other end: %s\n", s.LACP.PartnerText())
	}
	writeCounters(b, "        ", &s.Counters)
}

// writeCounters has the words and the order of ifconfig.
func writeCounters(b *bytes.Buffer, indent string, c *state.Counters) {
	fmt.Fprintf(b, "%sRX packets %d  bytes %d (%s)\n", indent, c.RxPackets, c.RxBytes, report.Bytes(c.RxBytes))
	fmt.Fprintf(
		b,
		"%sRX errors %d  dropped %d  overruns %d  frame %d\n",
		indent,
		c.RxErrors,
		c.RxDropped,
		c.RxOverruns,
		c.RxFrame,
	)
	fmt.Fprintf(b, "%sTX packets %d  bytes %d (%s)\n", indent, c.TxPackets, c.TxBytes, report.Bytes(c.TxBytes))
	fmt.Fprintf(
		b,
		"%sTX errors %d  dropped %d  overruns %d  carrier %d  collisions %d\n",
		indent,
		c.TxErrors,
		c.TxDropped,
		c.TxOverruns,
		c.TxCarrier,
		c.Collisions,
	)
}

func writeHardware(b *bytes.Buffer, st *report.Status) {
	fmt.Fprintf(b, "\nhardware: %s\n", cmp.Or(string(st.Hardware.Verdict), "not looked at yet"))
	for _, f := range st.Hardware.Findings {
		if f.Severity != hwprobe.SeverityPass {
			fmt.Fprintf(b, "    %s: %s\n", f.Severity, f.Message)
		}
	}
}

func writeConfig(b *bytes.Buffer, st *report.Status) {
	applied := "applied"
	if !st.Config.Applied {
		applied = "not applied yet"
	}
	fmt.Fprintf(b, "configuration: %s, %s\n", st.Config.Source, applied)
	if st.Config.ConfirmUntil != nil {
		fmt.Fprintf(b, "    on trial until %s\n", clock(*st.Config.ConfirmUntil))
	}
	for _, w := range st.Config.Warnings {
		fmt.Fprintf(b, "    %s\n", w)
	}
	for _, d := range st.Config.Drift {
		fmt.Fprintf(b, "    the kernel differs: %s\n", d)
	}
}

func writeEvents(b *bytes.Buffer, st *report.Status) {
	if len(st.Events) == 0 {
		return
	}
	b.WriteString("\nwhat happened, newest first\n")
	for _, e := range st.Events[:min(shownEvents, len(st.Events))] {
		mark := " "
		if !e.Good {
			mark = "!"
		}
		fmt.Fprintf(b, "  %s %s  %-11s  %s\n", mark, clock(e.Time), report.Ago(st.Time.Sub(e.Time)), e.Message)
	}
}

// writeFailovers is what the flight recorder has last.
func writeFailovers(b *bytes.Buffer, st *report.Status) {
	if len(st.Failovers) == 0 {
		return
	}
	b.WriteString("\nlatest failovers, newest first\n")
	for _, s := range st.Failovers {
		bond := ""
		if len(st.Bonds) > 1 {
			bond = s.Bond + ": "
		}
		fmt.Fprintf(
			b,
			"    %s  %-11s  %s%s (%s): %s",
			clock(s.When),
			report.Ago(st.Time.Sub(s.When)),
			bond,
			s.Title(),
			s.Reason,
			s.Cause,
		)
		if took := s.Seconds.EventReadToWritten; took != nil {
			fmt.Fprintf(b, ", took %s", report.Took(*took))
		}
		b.WriteByte('\n')
	}
}

func clock(t time.Time) string { return t.Local().Format(time.DateTime) }
