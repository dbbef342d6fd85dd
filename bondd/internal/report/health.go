package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bondd.internal/bondd/internal/state"
)

// maxAge is how old the last reading of the kernel may be for the snapshot to be
// believed: it is read every second, and each of its calls ends within a few.
const maxAge = 30 * time.Second

// FirstError says in one sentence what most needs a person's attention, or
// nothing if every bond carries traffic on a healthy slave.
func FirstError(s *state.Snapshot) string {
	if !s.Config.Applied && len(s.Bonds) == 0 {
		return "the configuration is not applied yet"
	}
	if len(s.Bonds) == 0 {
		return "there is no bond"
	}
	read := s.Sampled
	if read.IsZero() {
		read = s.Started // it never was
	}
	if age := s.Time.Sub(read); age > maxAge {
		return fmt.Sprintf("the kernel's network state could not be read for %v", age.Truncate(time.Second))
	}
	for i := range s.Bonds {
		if b := &s.Bonds[i]; !b.Up() {
			return b.Name + ": " + BondProblem(s, b)
		}
	}
	return ""
}

// FirstErrorAt is FirstError for a reader at the time now, who must not believe
// what is too old.
func FirstErrorAt(s *state.Snapshot, now time.Time) string {
	if stale := Stale(s, now); stale != "" {
		return stale
	}
	return FirstError(s)
}

// Stale says in one sentence that the snapshot is too old to be believed, or
// nothing.
func Stale(s *state.Snapshot, now time.Time) string {
	if !s.Stale(now) {
		return ""
	}
	return fmt.Sprintf("bondd's engine has published nothing for %v: it does not run, or waits for the kernel",
		s.Age(now).Truncate(time.Second))
}

// BondProblem says in one sentence why a bond is not up, or why it is degraded;
// it is empty if the bond is neither. s is the snapshot that the bond is of.
func BondProblem(s *state.Snapshot, b *state.Bond) string {
	read := s.Hardware.Verdict != "" && s.Hardware.Verdict != state.VerdictUnknown
	switch {
	case len(b.Slaves) == 0 && !read:
		return "the network cards are not known yet"
	case len(b.Slaves) == 0:
		return "there is no network card to bond"
	case !b.Made && s.Hardware.Verdict == state.VerdictUnknown:
		return "the bond is not made yet: the network cards could not be read"
	}
	var why []string
	if !b.Made {
		why = append(why, "the bond is not made yet")
	}
	alone := "" // said only where nothing else is
	for _, f := range b.Shortfalls() {
		if f.Lack == state.LackSecond {
			alone = shortfall(b, f)
		} else if text := shortfall(b, f); text != "" {
			why = append(why, text)
		}
	}
	up := b.Up()
	switch {
	case b.AdminUp && !b.Carrier && inUse(b):
		why = append(why, "the bonding driver keeps the bond's carrier off: fewer slaves are up than min_links asks for")
	case !up && len(why) == 0:
		why = append(why, "no slave carries traffic yet")
	case len(why) == 0 && alone != "":
		why = append(why, alone)
	}
	return strings.Join(why, ", ")
}

// inUse reports whether the driver has a slave that is up and in use.
func inUse(b *state.Bond) bool {
	return slices.ContainsFunc(b.Slaves, func(s state.Slave) bool {
		return s.Active && s.LinkUp && s.MIIStatus != state.MIIDown
	})
}

// shortfall says what keeps a bond from being all that it is configured to be. It
// is empty where another Shortfall of the bond says it already.
func shortfall(b *state.Bond, f state.Shortfall) string {
	switch f.Lack {
	case state.LackTarget:
		return fmt.Sprintf("%s answers no slave", f.Target)
	case state.LackPartner:
		return "no switch answers LACP: only one slave carries traffic"
	case state.LackSecond:
		return f.Slave.Name + " is the only card: there is nothing to fail over to"
	}
	switch c := b.Condition(f.Slave); {
	case c == state.ConditionPathDead && len(b.Unreached(f.Slave)) == 0:
		return "" // LackTarget says it
	case c == state.ConditionNoPartner && b.LACP != nil:
		return "" // LackPartner says it
	}
	return Sentence(b, f.Slave)
}
