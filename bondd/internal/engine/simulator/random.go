package simulator

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"bondd.internal/config/bonding"
)

// Random is a script of that many actions, by a seed. At its end everything comes
// to rest, and the ledger has to be right.
func Random(seed uint64, actions int) *Script {
	r := rand.New(rand.NewPCG(seed, 11))
	return randomIn(randomSetup(r), r, actions)
}

// randomIn is a random script for that World.
func randomIn(setup Setup, r *rand.Rand, actions int) *Script {
	s := &Script{Setup: setup}
	card := func() string { return fmt.Sprintf("eth%d", r.IntN(s.Setup.Slaves)) }
	add := func(format string, args ...any) { s.Actions = append(s.Actions, Action(fmt.Sprintf(format, args...))) }
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	one := func() string { // of two targets
		if s.Setup.Targets == 2 && s.Setup.Mode != bonding.LACP {
			return pick("", " 1", " 2")
		}
		return ""
	}
	add("wait 5s")
	for len(s.Actions) < actions {
		switch n := r.IntN(100); {
		case n < 30:
			add("cable %s %s", card(), pick("out", "in"))
		case n < 40 && s.Setup.Path:
			add("path %s %s%s", card(), pick("dead", "alive"), one())
		case n < 43 && s.Setup.Path:
			add("target %s%s", pick("dead", "alive"), one())
		case n < 44 && s.Setup.Path:
			add("oneway %s %s", card(), pick("in", "out", "none", "none"))
		case n < 45 && s.Setup.Path:
			add("loss %s %s", card(), pick("0", "0", "20", "60"))
		case n < 48:
			add("card %s %s", card(), pick("gone", "back"))
		case n < 51:
			add("device %s %s", card(), pick("dead", "alive", "alive"))
		case n < 57 && s.Setup.Mode == bonding.LACP:
			add("lacp %s %s", card(), pick("agrees", "agrees", "silent", "other"))
		case n < 54:
			add("failover %s", card())
		case n < 57:
			add("kernel active %s", card())
		case n < 62:
			add("restart")
		case n < 63:
			for _, a := range randomConfig(r, &s.Setup) {
				add("%s", a)
			}
			add("restart")
		case n < 66 && s.Setup.Faults:
			add("inventory %s", pick("fails", "works"))
		case n < 69 && s.Setup.Faults:
			add("reads %s", pick("fail", "work"))
		case n < 71 && s.Setup.Faults:
			add("refuse %d", 1+r.IntN(3))
		default:
			add("wait %s", randomWait(r))
		}
	}
	s.Actions = append(s.Actions, "reads work", "inventory works", "refuse 0", "wait 150s", "expect ledger")
	return s
}

func randomWait(r *rand.Rand) time.Duration {
	longest := []time.Duration{2 * time.Millisecond, 150 * time.Millisecond,
		2 * time.Second, 10 * time.Second, 60 * time.Second}
	return time.Duration(r.Int64N(int64(longest[r.IntN(len(longest))]))).Round(100*time.Microsecond) + 100*time.Microsecond
}

var modes = []bonding.Mode{bonding.ActiveBackup, bonding.ActiveBackup, bonding.ActiveBackup,
	bonding.BalanceRR, bonding.BalanceXOR,
	bonding.Broadcast, bonding.BalanceTLB, bonding.BalanceALB, bonding.LACP}

var reselects = []string{"always", "better", "failure"}

// randomConfig is another configuration for a bond, as actions.
func randomConfig(r *rand.Rand, s *Setup) []string {
	members := (&Setup{Slaves: s.Slaves}).members()
	r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	members = members[:1+r.IntN(len(members))]
	primary := "none"
	if r.IntN(2) == 0 {
		primary = members[r.IntN(len(members))]
	}
	actions := []string{"config members " + strings.Join(members, " "), "config primary " + primary}
	if r.IntN(2) == 0 {
		actions = append(actions, "config reselect "+reselects[r.IntN(len(reselects))])
	}
	// Between LACP and another mode the switch would have to change as well.
	if r.IntN(3) == 0 && s.Mode != bonding.LACP {
		actions = append(actions, "config mode "+modes[r.IntN(len(modes)-1)].String())
	}
	return actions
}

func randomSetup(r *rand.Rand) Setup {
	s := Setup{Mode: modes[r.IntN(len(modes))], Slaves: 2 + r.IntN(2)}
	if r.IntN(2) == 0 {
		s.Primary = fmt.Sprintf("eth%d", r.IntN(s.Slaves))
	}
	if r.IntN(6) == 0 {
		for range s.Slaves {
			s.Prio = append(s.Prio, 10*r.IntN(3))
		}
	}
	if r.IntN(3) == 0 {
		s.Reselect = reselects[r.IntN(len(reselects))]
	}
	if s.Reselect == "better" {
		for range s.Slaves {
			s.Speeds = append(s.Speeds, []int{100, 1000}[r.IntN(2)])
		}
	}
	if r.IntN(6) == 0 {
		s.UpDelay = []string{"200", "1000", "5000"}[r.IntN(3)]
	}
	if r.IntN(6) == 0 {
		s.DownDelay = []string{"200", "1000"}[r.IntN(2)]
	}
	if s.Mode == bonding.ActiveBackup && r.IntN(6) == 0 {
		s.FailOverMAC = []string{"active", "follow"}[r.IntN(2)]
	}
	if r.IntN(8) == 0 {
		for range s.Slaves {
			s.Kinds = append(s.Kinds, []string{"igb", "e1000e"}[r.IntN(2)])
		}
	}
	if s.Path = r.IntN(3) > 0; s.Path && r.IntN(4) == 0 {
		s.Targets, s.Any = 2, r.IntN(2) == 0
	}
	s.Damping = r.IntN(3) == 0
	s.Faults = r.IntN(3) == 0
	if r.IntN(3) == 0 {
		s.Forward = time.Duration(1+r.IntN(30)) * time.Second
	}
	if s.Mode == bonding.LACP {
		s.Forward = 0 // where LACP is agreed, the whole group forwards
	}
	if r.IntN(3) == 0 {
		s.Train = time.Duration(r.IntN(3000)) * time.Millisecond
	}
	if r.IntN(4) == 0 {
		s.Lag = time.Duration(r.IntN(2000)) * time.Millisecond
	}
	return s
}
