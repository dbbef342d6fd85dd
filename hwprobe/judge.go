package hwprobe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mode says what becomes of a card that does not meet the prerequisite.
type Mode string

const (
	// Enforce leaves out the cards that do not match the first one.
	Enforce Mode = "enforce"
	// Warn bonds them all and says what does not match.
	Warn Mode = "warn"
	// Off bonds them all; what does not match is only mentioned.
	Off Mode = "off"
)

// Match says what two cards must have in common.
type Match string

const (
	// MatchChipset asks for the same driver and the same PCI vendor:device. Cards that have no such id (virtual ones)
	// are compared by driver only.
	MatchChipset Match = "chipset"
	// MatchDriver asks for the same driver.
	MatchDriver Match = "driver"
)

// A Policy is the [hardware] section of the configuration. The zero value is Enforce and MatchChipset.
type Policy struct {
	Mode  Mode
	Match Match
}

// Severity is the weight of one finding.
type Severity string

const (
	SeverityPass Severity = "pass"
	SeverityInfo Severity = "info" // worth knowing, nothing to do
	SeverityWarn Severity = "warn" // works, but not as safely as it should
	SeverityFail Severity = "fail" // the prerequisite is not met, and a card or the whole bond is missing for it
)

// Verdict is the worst of the findings, of which info counts as pass.
type Verdict string

const (
	VerdictPass Verdict = "pass"
	VerdictWarn Verdict = "warn"
	VerdictFail Verdict = "fail"
)

// A Finding is the outcome of one check, in a sentence that names the NIC, what is, and what should be.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	// Means is what it means for failover, and Do what to do about it; empty where all is well.
	Means string `json:"means,omitempty"`
	Do    string `json:"do,omitempty"`
	// NICs are the cards concerned.
	NICs []string `json:"nics,omitempty"`
	// Row is the ID of the known trouble, and Sources are its sources.
	Row     string   `json:"row,omitempty"`
	Sources []string `json:"sources,omitempty"`
}

// A Report is the inventory and the verdict on it.
type Report struct {
	Verdict  Verdict   `json:"verdict"`
	Findings []Finding `json:"findings"`
	// NICs are all hardware NICs and those virtual ones that are named as slaves.
	NICs []NIC `json:"nics"`
	// Members are the names of the NICs that may be bonded under the policy, in the order of preference.
	Members []string `json:"members"`
	// LeftOut says for each slave that is there and was left out why; under Enforce only.
	LeftOut map[string]string `json:"left_out,omitempty"`
	// Choices are the groups of hardware NICs that match each other, the best first.
	Choices []Choice `json:"choices,omitempty"`
	// Machine is what the maker says of the machine.
	Machine *Machine `json:"machine,omitempty"`
}

// A Choice is a group of NICs that could be bonded.
type Choice struct {
	NICs []string `json:"nics"`
	// Kind is driver and chipset.
	Kind string `json:"kind"`
	// Independent is how many of them can fail without the others: those that share a card, a PCIe switch, a root port or
	// a USB hub count as one.
	Independent int `json:"independent"`
	// Mbps is the best speed that all of them can do; 0 if unknown.
	Mbps int `json:"mbps,omitempty"`
}

// Group is the choice of slaves where none are named: the first of Choices, or the first hardware NIC alone if no two
// match. The order of nics is kept.
func Group(nics []NIC, match Match) []string {
	choices := Choices(nics, match)
	if len(choices) > 0 && len(choices[0].NICs) > 1 {
		return choices[0].NICs
	}
	hardware := slices.DeleteFunc(slices.Clone(nics), NIC.Virtual)
	return names(hardware[:min(1, len(hardware))])
}

// Choices divides the hardware NICs into groups that match each other, the best first: a group of two or more before a
// lone card, one with two cards that fail independently before one without, the faster before the slower if the speeds
// of both are known, and then the one whose first NIC comes first. It depends on nothing that changes while the machine
// runs, so that the same cards are chosen at every start.
func Choices(nics []NIC, match Match) []Choice {
	var choices []Choice
	rest := slices.DeleteFunc(slices.Clone(nics), NIC.Virtual)
	for len(rest) > 0 {
		var group []NIC
		first := rest[0]
		group, rest = split(rest, first, match)
		c := Choice{NICs: names(group), Kind: first.kind(" "), Independent: len(independent(group))}
		for i, n := range group {
			if best := n.bestMbps(); i == 0 || best < c.Mbps {
				c.Mbps = best
			}
		}
		choices = append(choices, c)
	}
	slices.SortStableFunc(choices, func(a, b Choice) int {
		speed := 0
		if a.Mbps > 0 && b.Mbps > 0 {
			speed = cmp.Compare(b.Mbps, a.Mbps)
		}
		return cmp.Or(cmp.Compare(min(len(b.NICs), 2), min(len(a.NICs), 2)),
			cmp.Compare(min(b.Independent, 2), min(a.Independent, 2)), speed)
	})
	return choices
}

// Judge checks the prerequisites of bonding. members are the slaves in order of preference, in any form that Resolve
// takes; without members the choice is automatic: under Enforce what Group chooses, else every hardware NIC.
//
// Under Enforce the cards that do not match the first present member are left out. That is a failure, except in an
// automatic choice that found a pair: the other cards are then of no concern. Under Warn no mismatch weighs more than a
// warning, under Off none more than info. A missing or a lone slave is a warning under every policy, because the bond
// runs and is not safe; no slave at all is a failure. Nothing else keeps a NIC out of the bond: onboard cards have no
// ROM, and one card is better than none. No ROM on any card is info, since nothing but booting from the network needs
// one; a ROM on some cards only is a warning, since the cards are then not alike. A known trouble warns if what it
// needs is found, and is info if only the kind of card is known.
//
// Judge looks only at what does not change while the machine runs; Machine.Observe looks at the rest.
func Judge(nics []NIC, policy Policy, members []string) Report {
	j := judge{policy: policy, automatic: len(members) == 0, findings: []Finding{}}
	if policy.Mode == "" {
		j.policy.Mode = Enforce
	}
	if policy.Match == "" {
		j.policy.Match = MatchChipset
	}
	candidates := j.candidates(nics, members)
	switch {
	case len(candidates) > 0:
	case j.automatic:
		j.add(CheckNoNIC, SeverityFail, nil, "there is no Ethernet card in this machine, or no driver for it")
	default:
		j.add(CheckNoNIC, SeverityFail, nil, "none of the configured slaves is in this machine")
	}
	chosen := j.choose(nics, candidates)
	if j.automatic {
		j.why(nics, chosen)
	}
	if len(chosen) == 1 {
		j.add(CheckCount, SeverityWarn, chosen,
			"%s is the only slave: there is nothing to fail over to until a second card joins it", chosen[0].Name)
	}
	if len(chosen) > 1 {
		j.alike(chosen)
		j.revision(chosen)
		j.ownDevice(chosen)
		j.sharedFate(chosen)
		j.optionROM(chosen)
		j.permanentMAC(chosen)
		j.bestMode(chosen)
	}
	j.each(chosen)
	j.unread(chosen)

	r := j.report(chosen)
	r.Choices = Choices(nics, j.policy.Match)
	for _, n := range nics {
		if !n.Virtual() || slices.Contains(names(candidates), n.Name) {
			r.NICs = append(r.NICs, n)
		}
	}
	return r
}

// report sums the findings up.
func (j *judge) report(chosen []NIC) Report {
	r := Report{Verdict: VerdictPass, Findings: j.findings, NICs: []NIC{}, Members: names(chosen), LeftOut: j.leftOut}
	for _, f := range r.Findings {
		switch {
		case f.Severity == SeverityFail:
			r.Verdict = VerdictFail
		case f.Severity == SeverityWarn && r.Verdict == VerdictPass:
			r.Verdict = VerdictWarn
		}
	}
	return r
}

// Judge is the function Judge on the machine's NICs, together with what Observe finds.
func (m Machine) Judge(policy Policy, members []string) Report {
	r := Judge(m.NICs, policy, members)
	r = Merge(r, m.Observe(nil, r.Members))
	r.Choices = Choices(m.NICs, cmp.Or(policy.Match, MatchChipset))
	r.Machine = &m
	return r
}

// Merge makes one report of those on several bonds of a machine: every finding once, every NIC once, and the worst
// verdict. Of no report it makes one that passes.
func Merge(reports ...Report) Report {
	m := Report{Verdict: VerdictPass, Findings: []Finding{}, NICs: []NIC{}, Members: []string{}}
	rank := []Verdict{VerdictPass, VerdictWarn, VerdictFail}
	for _, r := range reports {
		if slices.Index(rank, r.Verdict) > slices.Index(rank, m.Verdict) {
			m.Verdict = r.Verdict
		}
		for _, f := range r.Findings {
			same := func(g Finding) bool {
				return g.Check == f.Check && g.Severity == f.Severity && g.Message == f.Message
			}
			if !slices.ContainsFunc(m.Findings, same) {
				m.Findings = append(m.Findings, f)
			}
		}
		for _, n := range r.NICs {
			if !slices.Contains(names(m.NICs), n.Name) {
				m.NICs = append(m.NICs, n)
			}
		}
		for _, name := range r.Members {
			if !slices.Contains(m.Members, name) {
				m.Members = append(m.Members, name)
			}
		}
		if m.Choices == nil {
			m.Choices = r.Choices
		}
		for name, why := range r.LeftOut {
			if m.LeftOut == nil {
				m.LeftOut = make(map[string]string)
			}
			m.LeftOut[name] = why
		}
	}
	return m
}

// judge gathers the findings of one Judge call.
type judge struct {
	policy    Policy
	automatic bool
	findings  []Finding
	leftOut   map[string]string
}

// add adds a finding about some NICs. What it means and what to do is the check's own, if it is not all well.
func (j *judge) add(check string, severity Severity, about []NIC, format string, args ...any) *Finding {
	f := Finding{Check: check, Severity: severity, Message: fmt.Sprintf(format, args...)}
	if len(about) > 0 {
		f.NICs = names(about)
	}
	if severity != SeverityPass {
		all := Checks()
		c := all[slices.IndexFunc(all, func(c Check) bool { return c.ID == check })]
		f.Means, f.Do = c.Means, c.Do
	}
	j.findings = append(j.findings, f)
	return &j.findings[len(j.findings)-1]
}

// prerequisite adds a finding that the policy Off has no more than mentioned.
func (j *judge) prerequisite(check string, severity Severity, about []NIC, format string, args ...any) *Finding {
	if j.policy.Mode == Off && severity != SeverityPass {
		severity = SeverityInfo
	}
	return j.add(check, severity, about, format, args...)
}

// candidates are the NICs that would be bonded if nothing had to match.
func (j *judge) candidates(nics []NIC, members []string) []NIC {
	if j.automatic {
		return slices.DeleteFunc(slices.Clone(nics), NIC.Virtual)
	}
	var found []NIC
	for _, ref := range members {
		name, ok := Resolve(nics, ref)
		if !ok {
			j.add(CheckMissing, SeverityWarn, nil,
				"%s is configured as a slave, but there is no such Ethernet card in this machine%s", ref, present(nics))
			continue
		}
		if !slices.Contains(names(found), name) {
			found = append(found, nics[slices.IndexFunc(nics, func(n NIC) bool { return n.Name == name })])
		}
	}
	return found
}

// present lists the hardware for the person who looks for a missing slave.
func present(nics []NIC) string {
	hardware := slices.DeleteFunc(slices.Clone(nics), NIC.Virtual)
	if len(hardware) == 0 {
		return ""
	}
	return "; it has " + list(hardware)
}

// choose applies the policy: it returns those of the candidates that may be bonded, and says of the others why not.
func (j *judge) choose(nics, candidates []NIC) []NIC {
	if len(candidates) == 0 {
		return nil
	}
	first := candidates[0]
	if group := Group(nics, j.policy.Match); j.automatic && j.policy.Mode == Enforce {
		first = candidates[slices.IndexFunc(candidates, func(n NIC) bool { return n.Name == group[0] })]
	}
	matching, others := split(candidates, first, j.policy.Match)
	what := "the same chipset and driver"
	if j.policy.Match == MatchDriver {
		what = "the same driver"
	}
	role := "first slave"
	if j.automatic {
		role = "first card"
	}
	for _, n := range others {
		check := CheckChipset
		if n.Driver != first.Driver || n.Driver == "" {
			check = CheckDriver
		}
		switch {
		case j.policy.Mode != Enforce:
			j.prerequisite(check, SeverityWarn, []NIC{n},
				"%s differs from the %s, %s: the cards of a bond should have %s", n, role, first, what)
		case j.automatic && len(matching) > 1:
			j.add(check, SeverityInfo, []NIC{n},
				"%s is not part of the bond: it does not match %s, %s", n, list(matching), first.kind(" "))
		default:
			f := j.add(check, SeverityFail, []NIC{n}, "%s is left out: the %s %s is %s, and policy %q asks for %s",
				n, role, first.Name, first.kind(" "), j.policy.Mode, what)
			if j.leftOut == nil {
				j.leftOut = make(map[string]string)
			}
			j.leftOut[n.Name] = f.Message
		}
	}
	if j.policy.Mode == Enforce {
		return matching
	}
	return candidates
}

// alike says what the chosen cards have in common, as far as choose has not already said that they do not.
func (j *judge) alike(chosen []NIC) {
	first := chosen[0]
	if matching, _ := split(chosen, first, MatchDriver); len(matching) < len(chosen) {
		return
	}
	j.add(CheckDriver, SeverityPass, chosen, "%s have the same driver, %s", list(chosen), first.Driver)
	if j.policy.Match == MatchDriver {
		return
	}
	if matching, _ := split(chosen, first, MatchChipset); len(matching) < len(chosen) {
		return
	}
	switch {
	case first.chip() == "":
		j.add(CheckChipset, SeverityInfo, chosen, "%s have no chipset to compare, only their driver", list(chosen))
	case first.Model != "":
		j.add(CheckChipset, SeverityPass, chosen,
			"%s have the same chipset, %s (%s)", list(chosen), first.chip(), first.Model)
	default:
		j.add(CheckChipset, SeverityPass, chosen, "%s have the same chipset, %s", list(chosen), first.chip())
	}
}

// ownDevice looks for ports that fail together.
func (j *judge) ownDevice(chosen []NIC) {
	shared, located := duplicates(chosen, NIC.card)
	for _, ports := range shared {
		j.prerequisite(CheckOwnDevice, SeverityWarn, ports,
			"%s are ports of one card (%s): if the card fails, all of them fail; use cards of their own",
			list(ports), ports[0].card())
	}
	switch {
	case !located:
		j.add(CheckOwnDevice, SeverityInfo, chosen,
			"%s are not all hardware: whether they fail together is not known", list(chosen))
	case len(shared) == 0:
		j.add(CheckOwnDevice, SeverityPass, chosen, "%s are separate devices", list(chosen))
	}
}

// optionROM compares the cards that can have a ROM: a card without a PCI device cannot.
func (j *judge) optionROM(chosen []NIC) {
	var with, without []NIC
	for _, n := range chosen {
		switch {
		case n.OptionROM == nil:
		case *n.OptionROM:
			with = append(with, n)
		default:
			without = append(without, n)
		}
	}
	switch {
	case len(with) > 0 && len(without) > 0:
		j.prerequisite(CheckOptionROM, SeverityWarn, without,
			"no option ROM on %s, but one on %s: each card should have its own", list(without), list(with))
	case len(with) > 0:
		j.add(CheckOptionROM, SeverityPass, with, "%s each have an option ROM of their own", list(with))
	case len(without) > 0:
		j.add(CheckOptionROM, SeverityInfo, without,
			"no option ROM on %s: they cannot boot from the network; bonding does not need it", list(without))
	}
}

// duplicates groups the NICs that share a non-empty key, in order. complete is false if a NIC has no key.
func duplicates(nics []NIC, key func(NIC) string) (shared [][]NIC, complete bool) {
	byKey := map[string][]NIC{}
	for _, n := range nics {
		byKey[key(n)] = append(byKey[key(n)], n)
	}
	for _, n := range nics {
		if group := byKey[key(n)]; key(n) != "" && len(group) > 1 && group[0].Name == n.Name {
			shared = append(shared, group)
		}
	}
	return shared, len(byKey[""]) == 0
}

// split divides the NICs into those that match the first, which counts itself, and the others. An unknown driver
// matches nothing.
func split(nics []NIC, first NIC, match Match) (matching, others []NIC) {
	for _, n := range nics {
		same := n.Driver != "" && n.Driver == first.Driver && (match == MatchDriver || n.chip() == first.chip())
		if same || n.Name == first.Name {
			matching = append(matching, n)
		} else {
			others = append(others, n)
		}
	}
	return matching, others
}

func names(nics []NIC) []string {
	s := make([]string, len(nics))
	for i, n := range nics {
		s[i] = n.Name
	}
	return s
}

// list names the NICs in a sentence: "eth0, eth1 and eth2".
func list(nics []NIC) string { return join(names(nics)) }

// join lists names in a sentence.
func join(s []string) string {
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + " and " + s[len(s)-1]
}
