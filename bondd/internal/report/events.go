package report

import (
	"fmt"
	"slices"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// Changes lists what is different between two snapshots in a way that a person
// would want to know. Failovers are not in it: they are noted where they are made,
// with their reason and time, see FailoverMessage.
func Changes(old, new *state.Snapshot) []state.Event {
	var evs []state.Event
	add := func(bond, slave, kind string, good bool, format string, args ...any) {
		evs = append(
			evs,
			state.Event{
				Time:    new.Time,
				Bond:    bond,
				Slave:   slave,
				Kind:    kind,
				Good:    good,
				Message: fmt.Sprintf(format, args...),
			},
		)
	}
	if !old.Config.Applied && new.Config.Applied {
		if new.Config.Error != "" {
			add("", "", "config", false, "%s", new.Config.Error)
		}
		add("", "", "config", true, "configuration applied: %s", new.Config.Source)
	}
	if old.Hardware.Verdict != new.Hardware.Verdict {
		why := ""
		for _, f := range new.Hardware.Findings {
			if string(f.Severity) == string(new.Hardware.Verdict) && f.Severity != hwprobe.SeverityPass ||
				f.Check == state.CheckInventory {
				why = ": " + f.Message
				break
			}
		}
		add(
			"",
			"",
			"hardware",
			new.Hardware.Verdict == hwprobe.VerdictPass,
			"hardware check: %s%s",
			new.Hardware.Verdict,
			why,
		)
	}
	for i := range new.Bonds {
		nb := &new.Bonds[i]
		ob := old.Bond(nb.Name)
		if ob == nil {
			continue
		}
		for j := range nb.Slaves {
			n := &nb.Slaves[j]
			k := slices.IndexFunc(ob.Slaves, func(s state.Slave) bool { return s.Name == n.Name })
			if k < 0 {
				continue
			}
			o := &ob.Slaves[k]
			for t := range min(len(n.Paths), len(o.Paths)) {
				was, is := o.Paths[t].State, n.Paths[t].State
				switch {
				case is == state.PathDown && was != is:
					add(nb.Name, n.Name, "path", false, "%s does not answer through %s", n.Paths[t].Target, n.Name)
				case is == state.PathUp && was == state.PathDown:
					add(nb.Name, n.Name, "path", true, "%s answers through %s again", n.Paths[t].Target, n.Name)
				}
			}
			switch {
			case !o.Detached && n.Detached:
				add(nb.Name, n.Name, "hardware", false, "%s", Sentence(nb, n))
			case o.Detached && !n.Detached && n.Present:
				add(nb.Name, n.Name, "hardware", true, "the device of %s replies again", n.Name)
			}
			switch {
			case !o.Suppressed && n.Suppressed:
				add(
					nb.Name,
					n.Name,
					"damping",
					false,
					"%s flaps and is held out for %s",
					n.Name,
					n.ReuseAt.Sub(new.Time).Round(time.Second),
				)
			case o.Suppressed && !n.Suppressed:
				add(nb.Name, n.Name, "damping", true, "%s may be used again", n.Name)
			}
			switch {
			case o.Present && !n.Present:
				add(nb.Name, n.Name, "hardware", false, "%s was removed", n.Name)
			case !o.Enslaved && n.Enslaved:
				add(nb.Name, n.Name, "link", true, "%s joined %s%s", n.Name, nb.Name, linkWords(n))
			case !o.Parked && n.Parked:
				// The recorder's entry says it.
			case o.Enslaved && !n.Enslaved:
				add(nb.Name, n.Name, "link", false, "%s left %s", n.Name, nb.Name)
			case n.LeftOut != "" && o.LeftOut != n.LeftOut:
				add(nb.Name, n.Name, "hardware", false, "%s", n.LeftOut)
			case o.LinkUp && !n.LinkUp:
				add(nb.Name, n.Name, "link", false, "%s lost its link", n.Name)
			case !o.LinkUp && n.LinkUp && n.Enslaved:
				add(nb.Name, n.Name, "link", true, "%s has link again", n.Name)
			}
		}
		if ob.LACP != nil && nb.LACP != nil && ob.LACP.PartnerMAC != nb.LACP.PartnerMAC {
			if nb.LACP.PartnerMAC.IsZero() {
				add(nb.Name, "", "lacp", false, "the LACP partner %s is gone", ob.LACP.PartnerMAC)
			} else {
				add(nb.Name, "", "lacp", true, "the LACP partner is %s", nb.LACP.PartnerMAC)
			}
		}
		switch wasUp, up := ob.Up(), nb.Up(); {
		case wasUp && !up:
			add(nb.Name, "", "bond", false, "%s carries no traffic: %s", nb.Name, BondProblem(new, nb))
		case !wasUp && up && nb.ActiveSlave != "":
			add(nb.Name, "", "bond", true, "%s carries traffic on %s", nb.Name, nb.ActiveSlave)
		case !wasUp && up:
			add(nb.Name, "", "bond", true, "%s carries traffic", nb.Name)
		}
		for _, a := range nb.Addresses {
			if !slices.Contains(ob.Addresses, a) {
				by := ""
				if slices.Contains(nb.Foreign.Addresses, a) {
					by = ", from another program"
				}
				add(nb.Name, "", "address", true, "%s has address %s%s", nb.Name, a, by)
			}
		}
		for _, a := range ob.Addresses {
			switch {
			case slices.Contains(nb.Addresses, a):
			case slices.Contains(ob.Foreign.Addresses, a):
				add(
					nb.Name,
					"",
					"address",
					true,
					"%s no longer has address %s, which was another program's",
					nb.Name,
					a,
				)
			default:
				add(nb.Name, "", "address", false, "%s lost address %s", nb.Name, a)
			}
		}
	}
	return evs
}

func linkWords(s *state.Slave) string {
	if s.LinkUp {
		return ""
	}
	return ", without link"
}

// FailoverMessage says what a failover did, which took so long.
func FailoverMessage(s *state.Failover, took time.Duration) string {
	ms := fmt.Sprintf("%.2f ms", float64(took.Microseconds())/1000)
	switch {
	case s.To == "" && s.Reason == state.ReasonKernel:
		return fmt.Sprintf("the kernel took %s out of the bond", s.From)
	case s.To == "" && s.Decided.IsZero() && s.Written.IsZero():
		return fmt.Sprintf("%s is kept out of the bond: %s", s.From, s.Cause)
	case s.To == "":
		return fmt.Sprintf("%s lost its link and is out of the bond after %s at most", s.From, ms)
	case s.Reason == state.ReasonPrimary:
		return fmt.Sprintf("traffic is back on the preferred %s", s.To)
	case s.Reason == state.ReasonKernel:
		return fmt.Sprintf("the kernel moved traffic from %s to %s", s.From, s.To)
	case s.Reason == state.ReasonAdmin:
		return fmt.Sprintf("traffic moved from %s to %s as asked, in %s", s.From, s.To, ms)
	}
	return fmt.Sprintf("traffic moved from %s to %s in %s: %s", s.From, s.To, ms, s.Cause) + found(s)
}

// found says how late a failure may have been noticed, which the time of the
// failover is not part of.
func found(s *state.Failover) string {
	if s.FoundWithin == 0 {
		return ""
	}
	by := "by probes"
	if s.FoundBy == state.WatchPoll {
		by = "by a poll"
	}
	return fmt.Sprintf(", found %s within %v", by, s.FoundWithin)
}

// A Cause says why traffic left a slave.
type Cause uint8

// The causes.
const (
	CauseOperator  Cause = iota // an operator asked for it
	CausePreferred              // a slave that is preferred to it is usable again
	CauseDriver                 // the bonding driver chose
	CausePath                   // its paths are dead
	CauseMAC                    // it does not keep the MAC that the bond relies on
	CauseDevice                 // its device is gone beneath its interface
	CauseFlaps                  // its link comes and goes
	CauseLink                   // its link is lost
)

// Text is the cause in a sentence, without a full stop.
func (c Cause) Text(slave string) string {
	switch c {
	case CauseOperator:
		return "requested by operator"
	case CausePreferred:
		return "a preferred slave is usable again"
	case CauseDriver:
		return "the bonding driver chose by itself"
	case CausePath:
		return "nothing answers through " + slave
	case CauseMAC:
		return slave + " does not keep the MAC that the bond relies on"
	case CauseDevice:
		return "the device of " + slave + " no longer replies"
	case CauseFlaps:
		return slave + " flaps"
	}
	return slave + " lost its link"
}
