package report

import (
	"fmt"
	"strings"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// A Level says how much a condition needs a person's attention.
type Level string

// The levels.
const (
	Good    Level = "good"    // as it should be
	Notice  Level = "notice"  // not as it should be, but bondd or the driver will see to it
	Problem Level = "problem" // somebody has to look at it
)

// Severity is the level in the words of hwprobe's findings, which the page has
// marks for.
func (l Level) Severity() hwprobe.Severity {
	switch l {
	case Good:
		return hwprobe.SeverityPass
	case Notice:
		return hwprobe.SeverityWarn
	}
	return hwprobe.SeverityFail
}

// A condition is what is said of a slave in a state.Condition. Whether the slave is
// usable follows from the facts, see state.Condition.Usable.
type condition struct {
	word  string // two words or three, as a person would put it
	level Level
	// sentence has the slave's name in it and no full stop.
	sentence func(b *state.Bond, s *state.Slave) string
	// unfit says why a drill does not try the slave, as a clause about "it". Where it
	// is nil the sentence does, with "it" for the name.
	unfit func(s *state.Slave) string
}

// conditions has an entry for every state.Condition.
var conditions = map[state.Condition]condition{
	state.ConditionAbsent: {
		word: "missing", level: Problem, sentence: says("is missing"),
		unfit: because("it is missing: no card in this machine answers to that name"),
	},
	state.ConditionDetached: {
		word: "detached", level: Problem, sentence: says("is detached: its device " + detached),
	},
	state.ConditionLeftOut: {
		word: "left out", level: Problem, sentence: says("is left out"),
		unfit: func(s *state.Slave) string { return "it is left out because " + s.LeftOut },
	},
	state.ConditionParked: {
		word: "parked", level: Notice, sentence: parkedSentence,
	},
	state.ConditionNotEnslaved: {
		word: "not in the bond", level: Problem, sentence: says("is not in the bond"),
	},
	state.ConditionNoLink: {
		word: "no link", level: Problem, sentence: says("has no link"),
	},
	state.ConditionHeldDown: {
		word: "held out", level: Notice, sentence: says("flaps and is held out"),
		unfit: because("it is held out because it flaps"),
	},
	state.ConditionDeaf: {
		word: "receives nothing", level: Problem, sentence: deafSentence,
	},
	state.ConditionPathDead: {
		word: "path is dead", level: Problem, sentence: pathSentence,
		unfit: because("its path is dead"),
	},
	state.ConditionDriverDown: {
		word: "down in the driver", level: Problem, sentence: driverSentence,
		unfit: unusedByKernel,
	},
	state.ConditionHalfOpen: {
		word: "half-open", level: Problem, sentence: says("is half open: ", lacpProblem),
	},
	state.ConditionReturning: {
		word: "coming back", level: Notice, sentence: says("has a link again, and the bonding driver waits for updelay"),
		unfit: unusedByKernel,
	},
	state.ConditionActive: {
		word: "carries traffic", level: Good, sentence: says("carries traffic"),
	},
	state.ConditionNoPartner: {
		word: "no partner", level: Problem, sentence: says("has no LACP partner: ", lacpProblem),
	},
	state.ConditionStandby: {
		word: "ready", level: Notice,
		sentence: says("is in another LACP aggregator than the one in use: " +
			"it is connected to another switch, or configured otherwise there"),
	},
	state.ConditionJoining: {
		word: "joining", level: Notice, sentence: says("is joining the bond: both ends are about to agree by LACP"),
	},
	state.ConditionPathUnproven: {
		word: "path is unproven", level: Notice, sentence: says("has not shown yet that its path leads somewhere"),
	},
	state.ConditionBackup: {
		word: "ready", level: Good, sentence: says("stands ready"),
	},
}

// detached is what is said of a device that is gone beneath its interface.
const detached = "no longer replies, although its interface is there; " +
	"power cycle the machine, and replace the card if that does not help"

// Sentence says how a slave is, with its name and without a full stop.
func Sentence(b *state.Bond, s *state.Slave) string {
	c := b.Condition(s)
	if c.Usable() && len(b.Unreached(s)) > 0 {
		return pathSentence(b, s) // by another target it is well
	}
	return conditions[c].sentence(b, s)
}

// Unfit says why a drill does not try a slave: it is not usable, or the driver
// would refuse it. It is about "it", and empty if the slave is fit.
func Unfit(b *state.Bond, s *state.Slave) string {
	c := b.Condition(s)
	entry := conditions[c]
	switch {
	case c.Usable() && entry.unfit == nil:
		return ""
	case entry.unfit != nil:
		return entry.unfit(s)
	}
	it := *s
	it.Name = "it"
	return entry.sentence(b, &it)
}

// says returns a sentence: the slave's name, the words, and what is asked for.
func says(words string, ask ...func(*state.Bond, *state.Slave) string) func(*state.Bond, *state.Slave) string {
	return func(b *state.Bond, s *state.Slave) string {
		text := s.Name + " " + words
		for _, of := range ask {
			text += of(b, s)
		}
		return text
	}
}

func because(why string) func(*state.Slave) string {
	return func(*state.Slave) string { return why }
}

func unusedByKernel(s *state.Slave) string {
	return fmt.Sprintf("the kernel does not use it: to the kernel its link is %q", s.MIIStatus)
}

func deafSentence(_ *state.Bond, s *state.Slave) string {
	return strings.Join(s.Lacks, ", ") + ": it receives nothing"
}

func lacpProblem(b *state.Bond, s *state.Slave) string {
	_, fault := b.PortLACP(s)
	return faults[fault]
}

func parkedSentence(b *state.Bond, s *state.Slave) string {
	dead := len(b.Unreached(s)) > 0
	switch {
	case s.Suppressed:
		return s.Name + " flaps and is kept out of the bond"
	case s.Quiet && dead:
		return fmt.Sprintf("%s has no path to %s, which answers other slaves: it is kept out of the bond and down, "+
			"so that the switch sends nothing to it; its path is tried now and then", s.Name, unreached(b, s))
	case !s.LinkUp && !s.Quiet:
		return s.Name + " has no link"
	case dead:
		return pathSentence(b, s) + "; it is kept out of the bond until then"
	}
	return s.Name + " is kept out of the bond until it may be used again"
}

func pathSentence(b *state.Bond, s *state.Slave) string {
	if dead := unreached(b, s); dead != "" {
		return fmt.Sprintf("%s has a link, but no path to %s, which answers other slaves: "+
			"look at its cable, its switch port and the card itself", s.Name, dead)
	}
	return s.Name + " has a link, but its path is dead, as that of every other slave is"
}

// unreached lists the targets that a slave does not reach and another one does.
func unreached(b *state.Bond, s *state.Slave) string {
	var dead []string
	for _, t := range b.Unreached(s) {
		dead = append(dead, t.String())
	}
	return strings.Join(dead, " and ")
}

// driverSentence says why the driver keeps a slave with a link down, where that is
// known: by its ARP monitor, or because it could not share traffic out without the
// speed of the link (bond_needs_speed_duplex, drivers/net/bonding/bond_main.c).
func driverSentence(b *state.Bond, s *state.Slave) string {
	text := s.Name + " has a link, but the bonding driver keeps it down"
	if arp := b.Options["arp_interval"]; arp != "" && arp != "0" {
		return text + ": nothing answers its ARP monitor through it"
	}
	if b.Mode.NeedsSpeed() && s.SpeedMbps == nil {
		return text + ": the speed of the link is not known, and mode " + b.Mode.String() + " needs it"
	}
	return text
}
