package hwprobe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// manyLosses in one look, at a rate of oneLossPer or more, are a link that flaps.
	manyLosses = 10
	oneLossPer = time.Hour
)

// Observe looks at what changes while the machine runs: the links of the members, which are names of NICs, and the
// errors on the way to them. before is an earlier look at the same machine, or nil: with it, only what has come since
// then is counted.
func (m Machine) Observe(before *Machine, members []string) Report {
	j := judge{policy: Policy{Mode: Enforce, Match: MatchChipset}, findings: []Finding{}}
	var chosen []NIC
	for _, name := range members {
		if i := slices.IndexFunc(m.NICs, func(n NIC) bool { return n.Name == name }); i >= 0 {
			chosen = append(chosen, m.NICs[i])
		}
	}
	period := time.Duration(m.UptimeSeconds) * time.Second
	if before != nil {
		period -= time.Duration(before.UptimeSeconds) * time.Second
	}
	for _, n := range chosen {
		var old *NIC
		if before != nil {
			// A card that was taken out and put back counts from zero.
			same := func(o NIC) bool { return o.Name == n.Name && o.Address == n.Address }
			if i := slices.IndexFunc(before.NICs, same); i >= 0 {
				old = &before.NICs[i]
			}
		}
		if n.Detached {
			j.add(CheckDetached, SeverityWarn, []NIC{n}, "%s is detached: its device %s no longer answers", n.Name,
				strings.TrimSpace(n.Bus+" "+n.Address))
		}
		j.link(n)
		j.flaps(n, old, period)
	}
	j.speeds(chosen)
	j.pcieErrors(chosen, before)
	r := j.report(chosen)
	r.NICs = append(r.NICs, chosen...)
	return r
}

// link looks at one NIC's link.
func (j *judge) link(n NIC) {
	if n.LinkUp != nil && !*n.LinkUp {
		why := ""
		if n.NoLink != "" {
			why = ": " + n.NoLink
		}
		j.add(CheckLink, SeverityWarn, []NIC{n}, "%s has no link%s", n.Name, why)
		return
	}
	if n.Duplex == "half" {
		j.add(CheckDuplex, SeverityWarn, []NIC{n}, "the link of %s is half duplex", n.Name)
	}
	if n.Signal != nil && n.Signal.Max > 0 && n.Signal.Quality*2 < n.Signal.Max {
		f := j.add(CheckLink, SeverityWarn, []NIC{n}, "the signal on the cable of %s is weak: %d of %d",
			n.Name, n.Signal.Quality, n.Signal.Max)
		f.Means, f.Do = "the link may be lost", "try another cable"
	}
	if n.SpeedMbps == nil {
		return
	}
	both := 0 // the best speed that both ends offer
	for _, mbps := range modeSpeeds(n.Partner) {
		if slices.Contains(n.SupportedMbps, mbps) {
			both = mbps
		}
	}
	switch {
	case both > *n.SpeedMbps:
		j.add(CheckSpeed, SeverityWarn, []NIC{n}, "the link of %s runs at %d Mb/s, although both its ends offer %d Mb/s",
			n.Name, *n.SpeedMbps, both)
	case n.bestMbps() > *n.SpeedMbps:
		f := j.add(CheckSpeed, SeverityInfo, []NIC{n}, "the link of %s runs at %d Mb/s, and the card can do %d Mb/s",
			n.Name, *n.SpeedMbps, n.bestMbps())
		f.Means, f.Do = "the other end of the cable is slower than the card", "nothing, if the switch is meant to be so"
	}
}

// speeds compares the links with one another.
func (j *judge) speeds(chosen []NIC) {
	var up []NIC
	var parts []string
	for _, n := range chosen {
		if n.SpeedMbps != nil {
			up = append(up, n)
			parts = append(parts, fmt.Sprintf("%s %d %s", n.Name, *n.SpeedMbps, n.Duplex))
		}
	}
	if len(up) < 2 {
		return
	}
	if slices.ContainsFunc(up, func(n NIC) bool { return *n.SpeedMbps != *up[0].SpeedMbps || n.Duplex != up[0].Duplex }) {
		j.add(CheckSpeed, SeverityWarn, up, "the links are not alike: %s", strings.Join(parts, ", "))
		return
	}
	j.add(CheckSpeed, SeverityPass, up, "the links of %s run at %s", list(up),
		strings.TrimSpace(fmt.Sprintf("%d Mb/s %s", *up[0].SpeedMbps, up[0].Duplex)))
}

// flaps looks at how often a link was lost.
func (j *judge) flaps(n NIC, old *NIC, period time.Duration) {
	if n.LinkLosses == nil || period <= 0 {
		return
	}
	losses := *n.LinkLosses
	if old != nil && old.LinkLosses != nil {
		losses -= *old.LinkLosses
		if losses > 0 {
			j.add(CheckCarrierFlaps, SeverityWarn, []NIC{n},
				"%s has lost its link %s in the last %s", n.Name, times(losses), span(period))
		}
		return
	}
	if losses >= manyLosses && period/time.Duration(losses) <= oneLossPer {
		j.add(CheckCarrierFlaps, SeverityWarn, []NIC{n}, "%s has lost its link %s in the %s since the machine was started",
			n.Name, times(losses), span(period))
	}
}

// span is a duration in the unit that fits.
func span(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d >= 2*unit.length {
			return fmt.Sprintf("%d %s", d/unit.length, unit.name)
		}
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// pcieErrors looks at the errors of the cards and of the bridges on the way to them.
func (j *judge) pcieErrors(chosen []NIC, before *Machine) {
	counted := map[string]*AER{}
	if before != nil {
		for _, n := range before.NICs {
			counted[n.Address] = n.AER
			for _, b := range n.Path {
				counted[b.Address] = b.AER
			}
		}
	}
	seen := map[string]bool{}
	for _, n := range chosen {
		j.errors([]NIC{n}, n.Name, n.AER, counted[n.Address])
		for _, b := range n.Path {
			if seen[b.Address] {
				continue
			}
			seen[b.Address] = true
			behind := slices.DeleteFunc(slices.Clone(chosen), func(o NIC) bool {
				return !slices.ContainsFunc(o.Path, func(c Bridge) bool { return c.Address == b.Address })
			})
			j.errors(behind, fmt.Sprintf("the %s %s before %s", b.Role, b.Address, list(behind)), b.AER, counted[b.Address])
		}
	}
}

// errors judges the counters of one device. Corrected errors are only mentioned, unless more have come since an earlier
// look.
func (j *judge) errors(about []NIC, where string, now, old *AER) {
	if now == nil {
		return
	}
	corrected, uncorrected := now.Correctable, now.NonFatal+now.Fatal
	severity, since := SeverityInfo, "since the machine was started"
	if old != nil {
		corrected, uncorrected = corrected-old.Correctable, uncorrected-old.NonFatal-old.Fatal
		severity, since = SeverityWarn, "since the last look"
	}
	detail := ""
	if kinds := slices.Sorted(maps.Keys(now.Kinds)); len(kinds) > 0 {
		detail = " (" + strings.Join(kinds, ", ") + ")"
	}
	switch {
	case uncorrected > 0:
		j.add(CheckPCIeErrors, SeverityWarn, about, "%s has reported %d PCIe errors that could not be corrected %s%s",
			where, uncorrected, since, detail)
	case corrected > 0:
		j.add(CheckPCIeErrors, severity, about, "%s has reported %d corrected PCIe errors %s%s",
			where, corrected, since, detail)
	}
}
