package report

import (
	"fmt"
	"strings"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// A Health is a bond's state in one word.
type Health string

// The states of a bond, from best to worst.
const (
	Healthy  Health = "healthy"
	Degraded Health = "degraded" // it carries traffic, but not every slave could
	Down     Health = "down"     // it carries none
	Unknown  Health = "unknown"  // of all bonds together: what is known of them is too old
)

// Stale reports whether the engine has published nothing for so long that
// nothing in the status is known any more.
func (st *Status) Stale() bool { return st.SnapshotAgeSeconds > state.MaxAge.Seconds() }

// Age writes how long ago the engine published the status: "12 s".
func (st *Status) Age() string {
	return Span(time.Duration(st.SnapshotAgeSeconds * float64(time.Second)))
}

// Health is the state of the worst bond; without a bond it is Down. Of a status
// that is Stale it is Unknown.
func (st *Status) Health() Health {
	if st.Stale() {
		return Unknown
	}
	worst := Healthy
	if len(st.Bonds) == 0 {
		worst = Down
	}
	for i := range st.Bonds {
		switch st.Bonds[i].Health() {
		case Down:
			worst = Down
		case Degraded:
			if worst == Healthy {
				worst = Degraded
			}
		}
	}
	return worst
}

// Headline is the one sentence that answers "is it healthy?", without a full stop.
func (st *Status) Headline() string {
	if st.Stale() {
		of := "the bonds"
		if len(st.Bonds) == 1 {
			of = st.Bonds[0].Name
		}
		return "The state of " + of + " is not known: bondd's engine does not run, or waits for the kernel"
	}
	switch len(st.Bonds) {
	case 0:
		return st.whyNoBond()
	case 1:
		return st.Bonds[0].Sentence()
	}
	var names, ailing []string
	for i := range st.Bonds {
		b := &st.Bonds[i]
		names = append(names, b.Name)
		if b.Health() == st.Health() && b.Health() != Healthy {
			ailing = append(ailing, b.Sentence())
		}
	}
	if len(ailing) == 0 {
		return List(names) + " are healthy"
	}
	return strings.Join(ailing, "; ")
}

func (st *Status) whyNoBond() string {
	for _, f := range st.Hardware.Findings {
		if f.Severity == hwprobe.SeverityFail {
			return "No bond: " + f.Message
		}
	}
	if !st.Config.Applied {
		return "No bond yet: the configuration is not applied"
	}
	return "There is no bond"
}

// Health is the bond's state in one word.
func (b Bond) Health() Health {
	switch {
	case !b.Up:
		return Down
	case b.Degraded:
		return Degraded
	}
	return Healthy
}

// Sentence says how the bond is and, if it is well, where its traffic goes.
func (b Bond) Sentence() string {
	if h := b.Health(); h != Healthy {
		if b.Problem == "" {
			return fmt.Sprintf("%s is %s", b.Name, h)
		}
		return fmt.Sprintf("%s is %s: %s", b.Name, h, strings.TrimSuffix(b.Problem, "."))
	}
	return fmt.Sprintf("%s is healthy: %s", b.Name, b.Traffic())
}

// Traffic says which slaves carry the traffic and which stand by.
func (b Bond) Traffic() string {
	var active, ready []string
	for i := range b.Slaves {
		switch s := &b.Slaves[i]; s.Role() {
		case Active:
			active = append(active, s.Name)
		case Backup:
			ready = append(ready, s.Name)
		}
	}
	text := "no traffic"
	switch {
	case len(active) == 1:
		text = "traffic on " + active[0]
	case len(active) > 1 && b.Mode == "broadcast":
		text = "every frame leaves on " + List(active)
	case len(active) > 1:
		text = "traffic shared by " + List(active)
	}
	if len(ready) > 0 {
		text += ", " + List(ready) + " ready"
	}
	return text
}

// FailoverText counts the switches since bondd's start, for each reason that
// there was: "3 (2 link, 1 primary)".
func (b Bond) FailoverText() string {
	var total uint64
	var parts []string
	for _, reason := range state.Reasons {
		if n := b.Failovers[reason]; n > 0 {
			total += n
			parts = append(parts, fmt.Sprintf("%d %s", n, reason))
		}
	}
	if total == 0 {
		return "none"
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, ", "))
}

// A Role is what a slave does for its bond now.
type Role string

// The roles of a slave.
const (
	Active  Role = "active"  // it carries the traffic, or a share of it
	Backup  Role = "backup"  // it stands ready
	Out     Role = "down"    // its NIC is there and cannot carry traffic
	Missing Role = "missing" // its NIC is not there
)

// Role is what the slave does for its bond now. A slave without a link is Out
// even while the kernel still counts it as active, and so is a half-open one,
// whose traffic gets lost. Without any LACP partner the driver uses one slave
// alone, which carries traffic all the same.
func (s Slave) Role() Role {
	switch {
	case !s.Present:
		return Missing
	case !s.Enslaved, !s.LinkUp, s.Suppressed, s.Deaf, s.PathUp != nil && !*s.PathUp, s.LACP != nil && s.LACP.State == state.LACPHalfOpen:
		return Out
	case s.State == "active":
		return Active
	case s.LACP != nil && s.LACP.State != state.LACPStandby:
		return Out
	}
	return Backup
}

// Word is the slave's role as a person would put it, in two words or three.
func (s Slave) Word() string {
	switch {
	case !s.Present:
		return "missing"
	case s.Detached:
		return "detached"
	case s.Parked:
		return "parked"
	case s.LeftOut != "":
		return "left out"
	case !s.Enslaved:
		return "not in the bond"
	case !s.LinkUp:
		return "no link"
	case s.Suppressed:
		return "held out"
	case s.Deaf:
		return "receives nothing"
	case s.PathUp != nil && !*s.PathUp:
		return "path is dead"
	case s.LACP != nil && s.LACP.State == state.LACPHalfOpen:
		return "half-open"
	case s.State == "active":
		return "carries traffic"
	case s.LACP != nil && s.LACP.State == state.LACPNoPartner:
		return "no partner"
	case s.LACP != nil && s.LACP.State != state.LACPStandby:
		return "joining"
	case s.MIIStatus == "going back":
		return "coming back"
	}
	return "ready"
}

// Speed is the link's speed and duplex: "1 Gbit/s, full duplex". It is empty if
// neither is known.
func (s Slave) Speed() string {
	var parts []string
	if s.SpeedMbps != nil {
		parts = append(parts, Megabits(*s.SpeedMbps))
	}
	if s.Duplex != "" {
		parts = append(parts, s.Duplex+" duplex")
	}
	return strings.Join(parts, ", ")
}

// Megabits writes a speed in megabits per second: "100 Mbit/s", "2.5 Gbit/s".
func Megabits(n int) string {
	if n < 1000 {
		return fmt.Sprintf("%d Mbit/s", n)
	}
	return fmt.Sprintf("%g Gbit/s", float64(n)/1000)
}

// Bytes writes a size with a decimal unit and three digits, as ifconfig's
// parentheses do: "0 B", "999 B", "1.50 kB", "12.3 GB".
func Bytes(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1000, 0
	for v >= 999.5 && unit < len("kMGTPE")-1 {
		v /= 1000
		unit++
	}
	digits := 0
	switch {
	case v < 9.995:
		digits = 2
	case v < 99.95:
		digits = 1
	}
	return fmt.Sprintf("%.*f %cB", digits, v, "kMGTPE"[unit])
}

// Ago writes how long ago something was, in the one unit that matters: "just
// now", "12 s ago", "3 min ago", "5 h ago", "2 days ago".
func Ago(d time.Duration) string {
	if d < time.Second {
		return "just now"
	}
	return Span(d) + " ago"
}

// Span writes a length of time in the one unit that matters: "12 s", "3 min",
// "5 h", "2 days".
func Span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

// Took writes how long a failover took: "0.85 ms", "63.2 ms", "1.20 s".
func Took(seconds float64) string {
	switch ms := seconds * 1000; {
	case ms < 9.995:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 999.5:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.2f s", seconds)
}

// List joins names as a sentence does: "eth0, eth1 and eth2".
func List(names []string) string { return join(names, "and") }

func join(names []string, word string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " " + word + " " + names[last]
}
