package report_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
)

// pair is a bond of two slaves whose second stands by and is fit for everything.
func pair() *state.Bond {
	up := func(active bool) state.Slave {
		speed := 1000
		return state.Slave{Present: true, Enslaved: true, LinkUp: true, Active: active, SpeedMbps: &speed}
	}
	b := &state.Bond{Name: "bond0", Mode: "active-backup", Made: true, AdminUp: true, Carrier: true, ActiveSlave: "eth0",
		Slaves: []state.Slave{up(true), up(false)}}
	b.Slaves[0].Name, b.Slaves[1].Name = "eth0", "eth1"
	return b
}

// paths gives both slaves of a pair the same targets, and eth1 these states of
// them; eth0 reaches all.
func paths(policy string, eth1 ...state.PathState) func(*state.Bond, *state.Slave) {
	return func(b *state.Bond, _ *state.Slave) {
		b.PathPolicy = policy
		for i := range b.Slaves {
			s := &b.Slaves[i]
			for t, is := range eth1 {
				if i == 0 {
					is = state.PathUp
				}
				s.Paths = append(s.Paths, state.Path{Target: netip.AddrFrom4([4]byte{192, 0, 2, byte(t + 1)}), State: is,
					Proven: is == state.PathUp || is == state.PathMissing})
			}
			s.PathUp = state.PathsUp(policy, s.Paths)
		}
	}
}

// lacp makes a pair a bond in mode 802.3ad whose ports have agreed, and eth1's
// say this.
func lacp(actor, partner state.PortState, more ...func(*state.Bond, *state.Slave)) func(*state.Bond, *state.Slave) {
	return func(b *state.Bond, eth1 *state.Slave) {
		b.Mode, b.ActiveSlave, b.LACP = "802.3ad", "", &state.LACP{Aggregator: 1, Ports: 2, PartnerMAC: state.MAC{2}}
		for i := range b.Slaves {
			b.Slaves[i].LACP = &state.LACPPort{Aggregator: 1, Actor: spoken | passes, Partner: spoken | passes}
		}
		eth1.LACP.Actor, eth1.LACP.Partner = actor, partner
		for _, change := range more {
			change(b, eth1)
		}
	}
}

const (
	spoken = state.PortActivity | state.PortAggregation
	passes = state.PortSynchronization | state.PortCollecting | state.PortDistributing
)

// From the facts of a slave to what is said of it, for every condition.
func TestConditions(t *testing.T) {
	const (
		look = ": look at its cable, its switch port and the card itself"
		good = report.Good
		note = report.Notice
		bad  = report.Problem
	)
	seen := make(map[state.Condition]bool)
	for name, tt := range map[string]struct {
		change   func(b *state.Bond, eth1 *state.Slave)
		want     state.Condition
		word     string
		level    report.Level
		usable   bool
		role     report.Role
		sentence string
		unfit    string // for a drill
	}{
		"it stands by": {func(*state.Bond, *state.Slave) {},
			state.ConditionBackup, "ready", good, true, report.Backup, "eth1 stands ready", ""},
		"it stands by, its path replies": {paths("all", state.PathUp),
			state.ConditionBackup, "ready", good, true, report.Backup, "eth1 stands ready", ""},
		"the last probe was missed": {paths("all", state.PathMissing),
			state.ConditionBackup, "ready", good, true, report.Backup, "eth1 stands ready", ""},
		"nothing heard yet": {paths("all", state.PathUnknown),
			state.ConditionPathUnproven, "path is unproven", note, true, report.Backup, "eth1 has not shown yet that its path leads somewhere", ""},
		"one of two is enough": {paths("any", state.PathUnknown, state.PathUp),
			state.ConditionBackup, "ready", good, true, report.Backup, "eth1 stands ready", ""},
		"a target that replies to no slave proves nothing": {func(b *state.Bond, s *state.Slave) {
			paths("all", state.PathUnknown)(b, s)
			b.Slaves[0].Paths[0] = s.Paths[0]
		}, state.ConditionBackup, "ready", good, true, report.Backup, "eth1 stands ready", ""},
		"it carries traffic": {func(_ *state.Bond, s *state.Slave) { s.Active = true },
			state.ConditionActive, "carries traffic", good, true, report.Active, "eth1 carries traffic", ""},
		"it carries traffic, and its path is not proven": {func(b *state.Bond, s *state.Slave) {
			paths("all", state.PathUnknown)(b, s)
			s.Active = true
		}, state.ConditionActive, "carries traffic", good, true, report.Active, "eth1 carries traffic", ""},
		"its NIC is not there": {func(_ *state.Bond, s *state.Slave) { *s = state.Slave{Name: "eth1", MIIStatus: state.MIIDown} },
			state.ConditionAbsent, "missing", bad, false, report.Missing, "eth1 is missing", "it is missing: no card in this machine answers to that name"},
		"its device is dead": {func(_ *state.Bond, s *state.Slave) { s.Detached, s.LinkUp = true, false },
			state.ConditionDetached, "detached", bad, false, report.Out,
			"eth1 is detached: its device no longer replies, although its interface is there; power cycle the machine, and replace the card if that does not help",
			"it is detached: its device no longer replies, although its interface is there; power cycle the machine, and replace the card if that does not help"},
		"it is left out": {func(_ *state.Bond, s *state.Slave) { s.Enslaved, s.LeftOut = false, "its chipset is another" },
			state.ConditionLeftOut, "left out", bad, false, report.Out, "eth1 is left out", "it is left out because its chipset is another"},
		"it is not in the bond": {func(_ *state.Bond, s *state.Slave) { s.Enslaved = false },
			state.ConditionNotEnslaved, "not in the bond", bad, false, report.Out, "eth1 is not in the bond", "it is not in the bond"},
		"it has no link": {func(_ *state.Bond, s *state.Slave) { s.LinkUp, s.MIIStatus = false, state.MIIDown },
			state.ConditionNoLink, "no link", bad, false, report.Out, "eth1 has no link", "it has no link"},
		"its link is lost, and the driver does not know yet": {func(_ *state.Bond, s *state.Slave) { s.LinkUp, s.Active = false, true },
			state.ConditionNoLink, "no link", bad, false, report.Out, "eth1 has no link", "it has no link"},
		"it flaps": {func(_ *state.Bond, s *state.Slave) { s.Suppressed = true },
			state.ConditionHeldDown, "held out", note, false, report.Out, "eth1 flaps and is held out", "it is held out because it flaps"},
		"it has another MAC": {func(_ *state.Bond, s *state.Slave) { s.Deaf, s.Lacks = true, []string{"eth1 has MAC 2"} },
			state.ConditionDeaf, "receives nothing", bad, false, report.Out, "eth1 has MAC 2: it receives nothing", "eth1 has MAC 2: it receives nothing"},
		"its path is dead": {paths("all", state.PathDown),
			state.ConditionPathDead, "path is dead", bad, false, report.Out,
			"eth1 has a link, but no path to 192.0.2.1, which answers other slaves" + look, "its path is dead"},
		"all paths are dead": {func(b *state.Bond, s *state.Slave) {
			paths("all", state.PathDown)(b, s)
			b.Slaves[0].Paths[0].State = state.PathDown
		}, state.ConditionPathDead, "path is dead", bad, false, report.Out,
			"eth1 has a link, but its path is dead, as that of every other slave is", "its path is dead"},
		"one of two paths is dead, which is enough": {paths("any", state.PathUp, state.PathDown),
			state.ConditionBackup, "ready", good, true, report.Backup,
			"eth1 has a link, but no path to 192.0.2.2, which answers other slaves" + look, ""},
		"it is parked for its path": {func(b *state.Bond, s *state.Slave) {
			paths("all", state.PathDown)(b, s)
			s.Enslaved, s.Parked = false, true
		}, state.ConditionParked, "parked", note, false, report.Out,
			"eth1 has a link, but no path to 192.0.2.1, which answers other slaves" + look + "; it is kept out of the bond until then",
			"it has a link, but no path to 192.0.2.1, which answers other slaves" + look + "; it is kept out of the bond until then"},
		"it is parked and down": {func(b *state.Bond, s *state.Slave) {
			paths("all", state.PathDown)(b, s)
			s.Enslaved, s.Parked, s.Quiet, s.LinkUp = false, true, true, false
		}, state.ConditionParked, "parked", note, false, report.Out,
			"eth1 has no path to 192.0.2.1, which answers other slaves: it is kept out of the bond and down, so that the switch sends nothing to it; its path is tried now and then",
			"it has no path to 192.0.2.1, which answers other slaves: it is kept out of the bond and down, so that the switch sends nothing to it; its path is tried now and then"},
		"it is parked for flaps": {func(_ *state.Bond, s *state.Slave) { s.Enslaved, s.Parked, s.Suppressed = false, true, true },
			state.ConditionParked, "parked", note, false, report.Out, "eth1 flaps and is kept out of the bond", "it flaps and is kept out of the bond"},
		"it is parked without a link": {func(_ *state.Bond, s *state.Slave) { s.Enslaved, s.Parked, s.LinkUp = false, true, false },
			state.ConditionParked, "parked", note, false, report.Out, "eth1 has no link", "it has no link"},
		"it is parked until its path is proven": {func(b *state.Bond, s *state.Slave) {
			paths("all", state.PathUnknown)(b, s)
			s.Enslaved, s.Parked = false, true
		}, state.ConditionParked, "parked", note, false, report.Out,
			"eth1 is kept out of the bond until it may be used again", "it is kept out of the bond until it may be used again"},
		"the driver keeps it down": {func(_ *state.Bond, s *state.Slave) { s.MIIStatus = state.MIIDown },
			state.ConditionDriverDown, "down in the driver", bad, false, report.Out,
			"eth1 has a link, but the bonding driver keeps it down", `the kernel does not use it: to the kernel its link is "down"`},
		"the driver keeps it down because its speed is unknown": {func(b *state.Bond, s *state.Slave) {
			b.Mode, s.Active, s.MIIStatus, s.SpeedMbps = "balance-tlb", true, state.MIIDown, nil
		}, state.ConditionDriverDown, "down in the driver", bad, false, report.Out,
			"eth1 has a link, but the bonding driver keeps it down: the speed of the link is not known, and mode balance-tlb needs it",
			`the kernel does not use it: to the kernel its link is "down"`},
		"the driver keeps it down by its ARP monitor": {func(b *state.Bond, s *state.Slave) {
			b.Options, s.MIIStatus = state.Options{"arp_interval": "100"}, state.MIIDown
		}, state.ConditionDriverDown, "down in the driver", bad, false, report.Out,
			"eth1 has a link, but the bonding driver keeps it down: nothing answers its ARP monitor through it",
			`the kernel does not use it: to the kernel its link is "down"`},
		"updelay runs": {func(_ *state.Bond, s *state.Slave) { s.MIIStatus = state.MIIBack },
			state.ConditionReturning, "coming back", note, true, report.Backup,
			"eth1 has a link again, and the bonding driver waits for updelay", `the kernel does not use it: to the kernel its link is "going back"`},
		"updelay runs where every slave is active": {func(b *state.Bond, s *state.Slave) {
			b.Mode, s.Active, s.MIIStatus = "balance-rr", true, state.MIIBack
		}, state.ConditionReturning, "coming back", note, true, report.Backup,
			"eth1 has a link again, and the bonding driver waits for updelay", `the kernel does not use it: to the kernel its link is "going back"`},
		"LACP is agreed, and the driver has not said so yet": {lacp(spoken|passes, spoken|passes),
			state.ConditionJoining, "joining", note, false, report.Out,
			"eth1 is joining the bond: both ends are about to agree by LACP", "it is joining the bond: both ends are about to agree by LACP"},
		"LACP is about to agree": {lacp(spoken, spoken|state.PortSynchronization),
			state.ConditionJoining, "joining", note, false, report.Out,
			"eth1 is joining the bond: both ends are about to agree by LACP", "it is joining the bond: both ends are about to agree by LACP"},
		"another aggregator": {lacp(spoken, spoken|state.PortSynchronization, func(_ *state.Bond, s *state.Slave) { s.LACP.Aggregator = 2 }),
			state.ConditionStandby, "ready", note, true, report.Backup,
			"eth1 is in another LACP aggregator than the one in use: it is connected to another switch, or configured otherwise there", ""},
		"LACP is agreed at one end": {lacp(spoken, spoken|state.PortExpired),
			state.ConditionHalfOpen, "half-open", bad, false, report.Out,
			"eth1 is half open: the other end sends LACP, but does not hear this end's", "it is half open: the other end sends LACP, but does not hear this end's"},
		"LACP is agreed at one end, and the driver sends": {lacp(spoken|state.PortExpired, spoken, func(_ *state.Bond, s *state.Slave) { s.Active = true }),
			state.ConditionHalfOpen, "half-open", bad, false, report.Out,
			"eth1 is half open: the link is up, but no LACP comes from the other end any more",
			"it is half open: the link is up, but no LACP comes from the other end any more"},
		"nobody speaks LACP": {lacp(spoken|state.PortDefaulted, 0, func(b *state.Bond, _ *state.Slave) { b.LACP.PartnerMAC = state.MAC{} }),
			state.ConditionNoPartner, "no partner", bad, false, report.Out,
			"eth1 has no LACP partner: no LACP comes from the other end: set up an LACP group for this port on the switch",
			"it has no LACP partner: no LACP comes from the other end: set up an LACP group for this port on the switch"},
		"nobody speaks LACP, and the driver uses it": {lacp(spoken|state.PortDefaulted, 0, func(b *state.Bond, s *state.Slave) {
			b.LACP.PartnerMAC, s.Active = state.MAC{}, true
		}), state.ConditionActive, "carries traffic", good, true, report.Active, "eth1 carries traffic", ""},
	} {
		b := pair()
		tt.change(b, &b.Slaves[1])
		s := report.From(&state.Snapshot{Bonds: []state.Bond{*b}}).Bonds[0].Slaves[1]
		seen[tt.want] = true
		if got := b.Condition(&b.Slaves[1]); got != tt.want || s.Condition != tt.want.String() {
			t.Errorf("%s: %s, and %q in the API; want %s", name, got, s.Condition, tt.want)
			continue
		}
		if s.Word != tt.word || s.Level != tt.level || s.Usable != tt.usable || s.Role() != tt.role {
			t.Errorf("%s: %q, %s, usable %t, %s; want %q, %s, %t, %s", name, s.Word, s.Level, s.Usable, s.Role(), tt.word, tt.level, tt.usable, tt.role)
		}
		if s.Sentence != tt.sentence {
			t.Errorf("%s:\n%q, want\n%q", name, s.Sentence, tt.sentence)
		}
		if got := report.Unfit(b, &b.Slaves[1]); got != tt.unfit {
			t.Errorf("%s: unfit for a drill:\n%q, want\n%q", name, got, tt.unfit)
		}
		if got := b.SlavesUp() == 2; got != tt.usable {
			t.Errorf("%s: %d slaves up, usable %t", name, b.SlavesUp(), tt.usable)
		}
	}
	for _, c := range state.Conditions() {
		if !seen[c] {
			t.Errorf("no case is in the condition %s", c)
		}
	}
}

// What a bond is, and whether anything is said of it, go together.
func TestDegraded(t *testing.T) {
	quiet := func(*state.Bond, *state.Slave) {}
	for name, tt := range map[string]struct {
		change  func(b *state.Bond, eth1 *state.Slave)
		health  report.Health
		problem string
	}{
		"whole":              {quiet, report.Healthy, ""},
		"unproven":           {paths("all", state.PathUnknown), report.Healthy, ""},
		"updelay runs":       {func(_ *state.Bond, s *state.Slave) { s.MIIStatus = state.MIIBack }, report.Healthy, ""},
		"down in the driver": {func(_ *state.Bond, s *state.Slave) { s.MIIStatus = state.MIIDown }, report.Degraded, "eth1 has a link, but the bonding driver keeps it down"},
		"joining":            {lacp(spoken, spoken|state.PortSynchronization), report.Degraded, "eth1 is joining the bond: both ends are about to agree by LACP"},
		"parked until its path is proven": {func(b *state.Bond, s *state.Slave) {
			paths("all", state.PathUnknown)(b, s)
			s.Enslaved, s.Parked = false, true
		}, report.Degraded, "eth1 is kept out of the bond until it may be used again"},
		"the only slave": {func(b *state.Bond, _ *state.Slave) { b.Slaves = b.Slaves[:1] }, report.Degraded,
			"eth0 is the only card: there is nothing to fail over to"},
		"one of two targets replies to nobody": {func(b *state.Bond, s *state.Slave) {
			paths("any", state.PathUp, state.PathDown)(b, s)
			b.Slaves[0].Paths[1].State = state.PathDown
		}, report.Degraded, "192.0.2.2 answers no slave"},
		"no partner": {lacp(spoken|state.PortDefaulted, 0, func(b *state.Bond, _ *state.Slave) { b.LACP.PartnerMAC = state.MAC{} }),
			report.Degraded, "no switch answers LACP: only one slave carries traffic"},
		"two at once": {func(b *state.Bond, s *state.Slave) {
			paths("all", state.PathDown)(b, s)
			b.Slaves = append(b.Slaves, state.Slave{Name: "eth2", MIIStatus: state.MIIDown})
		}, report.Degraded, "eth1 has a link, but no path to 192.0.2.1, which answers other slaves: look at its cable, its switch port and the card itself, eth2 is missing"},
		"no carrier because too few slaves are up": {func(b *state.Bond, s *state.Slave) {
			b.Carrier, s.LinkUp, s.MIIStatus = false, false, state.MIIDown
		}, report.Down, "eth1 has no link, the bonding driver keeps the bond's carrier off: fewer slaves are up than min_links asks for"},
		"both are down in the driver": {func(b *state.Bond, s *state.Slave) {
			b.Carrier, s.MIIStatus, b.Slaves[0].MIIStatus = false, state.MIIDown, state.MIIDown
		}, report.Down, "eth0 has a link, but the bonding driver keeps it down, eth1 has a link, but the bonding driver keeps it down"},
		"no slave is active": {func(b *state.Bond, _ *state.Slave) { b.Slaves[0].Active = false }, report.Down, "no slave carries traffic yet"},
		"set down":           {func(b *state.Bond, _ *state.Slave) { b.AdminUp = false }, report.Down, "no slave carries traffic yet"},
		"not made": {func(b *state.Bond, s *state.Slave) {
			b.Made, b.AdminUp, b.Carrier = false, false, false
			b.Slaves[0].Enslaved, s.Enslaved = false, false
		}, report.Down, "the bond is not made yet, eth0 is not in the bond, eth1 is not in the bond"},
		"no NIC": {func(b *state.Bond, _ *state.Slave) { b.Slaves = nil }, report.Down, "there is no network card to bond"},
	} {
		b := pair()
		tt.change(b, &b.Slaves[1])
		s := &state.Snapshot{Bonds: []state.Bond{*b}}
		s.Hardware.Verdict = "pass"
		got := report.From(s).Bonds[0]
		if got.Health() != tt.health || got.Problem != tt.problem {
			t.Errorf("%s: %s, %q;\nwant %s, %q", name, got.Health(), got.Problem, tt.health, tt.problem)
		}
	}
	for _, shape := range fixture.Shapes() {
		for _, b := range report.From(shape.Snapshot).Bonds {
			if (b.Problem == "") != (b.Health() == report.Healthy) {
				t.Errorf("%s: %s is %s, and its problem is %q", shape.Name, b.Name, b.Health(), b.Problem)
			}
		}
	}
}

// What is not known of the cards is not taken for their absence.
func TestProblemWithoutCards(t *testing.T) {
	b := state.Bond{Name: "bond0"}
	s := &state.Snapshot{Bonds: []state.Bond{b}}
	if got := report.BondProblem(s, &b); got != "the network cards are not known yet" {
		t.Errorf("before the first inventory: %q", got)
	}
	b.Slaves = []state.Slave{{Name: "eth0"}}
	s.Hardware.Verdict = state.VerdictUnknown
	if got := report.BondProblem(s, &b); got != "the bond is not made yet: the network cards could not be read" {
		t.Errorf("after one that failed: %q", got)
	}
}

// A slave that is left alone and one that changes are told apart in the events.
func TestChanges(t *testing.T) {
	messages := func(old, new *state.Snapshot) []string {
		var all []string
		for _, e := range report.Changes(old, new) {
			all = append(all, e.Kind+": "+e.Message)
		}
		return all
	}
	left := fixture.Healthy()
	left.Bonds[0].Slaves[1].Enslaved = false
	held := fixture.Suppressed()
	held.Bonds[0].Slaves[0].ReuseAt = held.Time.Add(29 * time.Second)
	for name, tt := range map[string]struct {
		old, new *state.Snapshot
		want     []string
	}{
		"nothing":        {fixture.Healthy(), fixture.Healthy(), nil},
		"a cable is out": {fixture.Healthy(), fixture.Degraded(), []string{"link: eth1 lost its link"}},
		"a cable is in":  {fixture.Degraded(), fixture.Healthy(), []string{"link: eth1 has link again"}},
		"no cable is in": {fixture.Degraded(), fixture.Down(), []string{"link: eth0 lost its link",
			"bond: bond0 carries no traffic: eth0 has no link, eth1 has no link"}},
		"both cables are in": {fixture.Down(), fixture.Healthy(), []string{"link: eth0 has link again", "link: eth1 has link again",
			"bond: bond0 carries traffic on eth0"}},
		"a device dies": {fixture.Healthy(), fixture.Detached(), []string{
			"hardware: eth0 is detached: its device no longer replies, although its interface is there; power cycle the machine, and replace the card if that does not help",
			"link: eth0 lost its link"}},
		"it flaps":         {fixture.Healthy(), held, []string{"damping: eth0 flaps and is held out for 29s"}},
		"it flaps no more": {held, fixture.Healthy(), []string{"damping: eth0 may be used again"}},
		"it leaves":        {fixture.Healthy(), left, []string{"link: eth1 left bond0"}},
		"it joins":         {left, fixture.Healthy(), []string{"link: eth1 joined bond0"}},
		"a path dies":      {fixture.Healthy(), fixture.PathDead(), []string{"path: 192.168.1.1 does not answer through eth0"}},
	} {
		if got := messages(tt.old, tt.new); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n%q, want\n%q", name, got, tt.want)
		}
	}
}
