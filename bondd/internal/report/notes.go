package report

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// A Note is a sentence about a slave, without a full stop, and how much it
// needs a person's attention.
type Note struct {
	Level  hwprobe.Severity
	Text   string
	Detail string // figures for the curious; may be empty
}

// parked is the beginning of what is said of a parked slave.
func parked(quiet bool) string {
	if quiet {
		return "parked and down, so that the switch sends nothing to it: out of the bond until "
	}
	return "parked: out of the bond until "
}

// Notes says what else there is to know of a slave than its word: what it gets
// answers from, for how long it is held out, how far it has agreed by LACP.
func (s Slave) Notes() []Note {
	var notes []Note
	if s.Detached {
		// What the kernel refuses of such a card follows from it.
		return []Note{{Level: hwprobe.SeverityFail, Text: "detached: the device " + detached}}
	}
	if s.LeftOut != "" {
		notes = append(notes, Note{Level: hwprobe.SeverityFail, Text: "left out: " + s.LeftOut})
	}
	if s.Parked {
		until := "it may be used again"
		if s.PathUp != nil && !*s.PathUp {
			until = "its path is back"
		}
		notes = append(notes, Note{Level: hwprobe.SeverityWarn, Text: parked(s.Quiet) + until})
	}
	if s.Suppressed {
		notes = append(notes, Note{Level: hwprobe.SeverityWarn, Text: s.heldOut()})
	}
	if s.Condition == state.ConditionDriverDown.String() {
		notes = append(notes, Note{Level: s.Level.Severity(), Text: s.Sentence})
	}
	for _, lack := range s.Lacks {
		notes = append(notes, Note{Level: hwprobe.SeverityFail, Text: lack})
	}
	if d := s.ForwardingDelaySeconds; d != nil && s.SlowPort && s.LinkUp {
		notes = append(
			notes,
			Note{Level: hwprobe.SeverityWarn, Text: fmt.Sprintf("its switch port forwarded %s after its link came: "+
				"it is not an edge port; make it one (portfast) if nothing but this machine is behind it", Took(*d))},
		)
	}
	if p := s.LACP; p != nil && s.LinkUp {
		notes = append(notes, p.note())
	}
	if s.Present && s.LeftOut == "" {
		for _, p := range s.Paths {
			notes = append(notes, p.note(s.LinkUp))
		}
	}
	return notes
}

func (s Slave) heldOut() string {
	const why = "because it failed too often"
	if s.ReuseInSeconds == nil || *s.ReuseInSeconds <= 0 {
		return "held out " + why
	}
	left := time.Duration(math.Ceil(*s.ReuseInSeconds)) * time.Second
	return fmt.Sprintf("held out for another %s, %s", Span(left), why)
}

func (p *LACPPort) note() Note {
	switch p.State {
	case state.LACPAgreed:
		return Note{Level: hwprobe.SeverityPass, Text: fmt.Sprintf("LACP has agreed, aggregator %d", p.Aggregator)}
	case state.LACPStandby:
		return Note{
			Level: hwprobe.SeverityWarn,
			Text:  fmt.Sprintf("LACP: in aggregator %d, which is not in use: it only stands by", p.Aggregator),
		}
	case state.LACPHalfOpen:
		return Note{Level: hwprobe.SeverityFail, Text: "half-open: " + p.Problem}
	case state.LACPNoPartner:
		return Note{Level: hwprobe.SeverityWarn, Text: p.Problem}
	}
	return Note{Level: hwprobe.SeverityInfo, Text: "LACP: both ends are about to agree"}
}

func (p Path) note(linkUp bool) Note {
	note := Note{Level: hwprobe.SeverityInfo, Text: fmt.Sprintf("waiting for an answer from %s", p.Target)}
	switch {
	case p.State == state.PathDown.String():
		note = Note{Level: hwprobe.SeverityFail, Text: fmt.Sprintf("no answer from %s", p.Target)}
	case p.State == state.PathMissing.String():
		note = Note{Level: hwprobe.SeverityWarn, Text: fmt.Sprintf("%s did not answer the last probe", p.Target)}
	case p.State == state.PathUp.String() && p.RTTSeconds != nil:
		note = Note{Level: hwprobe.SeverityPass, Text: fmt.Sprintf("%s answers in %s", p.Target, Took(*p.RTTSeconds))}
	case p.State == state.PathUp.String():
		note = Note{Level: hwprobe.SeverityPass, Text: fmt.Sprintf("%s answers", p.Target)}
	case !linkUp:
		return Note{Level: hwprobe.SeverityInfo, Text: fmt.Sprintf("%s is not asked while there is no link", p.Target)}
	}
	note.Detail = p.detail()
	return note
}

// detail counts what did not go well with the probes.
func (p Path) detail() string {
	var parts []string
	if p.Missed > 0 {
		parts = append(parts, fmt.Sprintf("%s of %s probes missed", Digits(p.Missed), Digits(p.Answered+p.Missed)))
	}
	if p.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%s could not be sent", Digits(p.Failed)))
	}
	return strings.Join(parts, ", ")
}

// PathText says who has to answer each slave's probes: "10.0.0.1 and 10.0.0.2",
// or "or" where one is enough. It is empty where no path is checked.
func (b Bond) PathText() string {
	var targets []string
	for i := range b.Slaves {
		if len(b.Slaves[i].Paths) > len(targets) {
			targets = nil
			for _, p := range b.Slaves[i].Paths {
				targets = append(targets, p.Target.String())
			}
		}
	}
	if b.PathPolicy == "any" {
		return join(targets, "or")
	}
	return List(targets)
}

// PartnerText names the partner by LACP: "00:1b:21:3c:9d:f8, key 1001". It is
// empty in other modes than 802.3ad.
func (b Bond) PartnerText() string {
	switch {
	case b.LACP == nil:
		return ""
	case b.LACP.PartnerMAC.IsZero():
		return "none"
	}
	return fmt.Sprintf("%s, key %d", b.LACP.PartnerMAC, b.LACP.PartnerKey)
}

// ActorText lists what this end says of the port over LACP, in the words of the
// command ip. It is empty for no port.
func (p *LACPPort) ActorText() string {
	if p == nil {
		return ""
	}
	return portText(p.Actor)
}

// PartnerText lists what the other end said of the port last, in the words of
// the command ip. It is empty for no port.
func (p *LACPPort) PartnerText() string {
	if p == nil {
		return ""
	}
	return portText(p.Partner)
}

// plainBits are the words of ip -details link for the standard's names, where
// they differ (iproute2, ip/iplink_bond_slave.c).
var plainBits = map[string]string{
	"activity":        "active",
	"timeout":         "short timeout",
	"aggregation":     "aggregating",
	"synchronization": "in sync",
}

func portText(bits []string) string {
	if len(bits) == 0 {
		return "nothing"
	}
	words := make([]string, len(bits))
	for i, bit := range bits {
		words[i] = cmp.Or(plainBits[bit], bit)
	}
	return strings.Join(words, ", ")
}

// AggregatorText describes the active aggregator: "1, with 2 ports". It is
// empty in other modes than 802.3ad.
func (b Bond) AggregatorText() string {
	switch {
	case b.LACP == nil:
		return ""
	case b.LACP.Ports == 1:
		return fmt.Sprintf("%d, with 1 port", b.LACP.Aggregator)
	}
	return fmt.Sprintf("%d, with %d ports", b.LACP.Aggregator, b.LACP.Ports)
}
