package report

import (
	"fmt"
	"strings"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
	"bondd.internal/hwprobe"
)

// A Health is a bond's state in one word.
type Health string

// The states of a bond, from best to worst.
const (
	Healthy  Health = "healthy"
	Degraded Health = "degraded" // it carries traffic, and something is missing, see state.Bond.Degraded
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
	case len(active) > 1 && b.Mode == bonding.Broadcast:
		text = "every frame leaves on " + List(active)
	case len(active) > 1:
		text = "traffic shared by " + List(active)
	}
	if len(ready) > 0 {
		text += ", " + List(ready) + " ready"
	}
	return text
}

// FailoverText counts the failovers since bondd's start, for each reason that
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
	switch {
	case total == 0:
		return "none"
	case len(parts) == 1:
		_, reason, _ := strings.Cut(parts[0], " ")
		return fmt.Sprintf("%d (%s)", total, reason)
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, ", "))
}

// A Role is what a slave does for its bond now: less than its condition says, and
// enough for the drawing of a bond.
type Role string

// The roles of a slave.
const (
	Active  Role = "active"  // it carries the traffic, or a share of it
	Backup  Role = "backup"  // it stands ready
	Out     Role = "down"    // its NIC is there and cannot carry traffic
	Missing Role = "missing" // its NIC is not there
)

// Role is what the slave does for its bond now.
func (s Slave) Role() Role {
	switch {
	case !s.Present:
		return Missing
	case !s.Usable:
		return Out
	case s.Condition == state.ConditionActive.String():
		return Active
	}
	return Backup
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
