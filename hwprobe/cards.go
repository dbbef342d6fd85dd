package hwprobe

import (
	"fmt"
	"slices"
	"strings"
)

// why says which group an automatic choice has taken where there was another one.
func (j *judge) why(nics, chosen []NIC) {
	if j.policy.Mode != Enforce || len(chosen) < 2 {
		return
	}
	choices := Choices(nics, j.policy.Match)
	best := choices[0]
	for _, other := range choices[1:] {
		if len(other.NICs) < 2 {
			continue
		}
		reason := "they come first"
		switch {
		case min(best.Independent, 2) > min(other.Independent, 2):
			reason = "they fail independently, and the others do not"
		case best.Mbps > other.Mbps && other.Mbps > 0:
			reason = fmt.Sprintf("they can do %d Mb/s, and the others %d Mb/s", best.Mbps, other.Mbps)
		}
		j.add(CheckGroup, SeverityInfo, chosen, "%s are chosen and not %s (%s): %s",
			list(chosen), join(other.NICs), other.Kind, reason)
	}
}

// bestMbps is the highest speed that a NIC can do; 0 if unknown.
func (n NIC) bestMbps() int {
	if len(n.SupportedMbps) == 0 {
		return 0
	}
	return slices.Max(n.SupportedMbps)
}

// revision compares what may differ between cards of one chipset.
func (j *judge) revision(chosen []NIC) {
	first := chosen[0]
	if alike, _ := split(chosen, first, MatchChipset); len(alike) < len(chosen) || first.chip() == "" {
		return
	}
	same := true
	for _, what := range []struct {
		name string
		of   func(NIC) string
	}{
		{"revision", func(n NIC) string { return n.Revision }},
		{"firmware", func(n NIC) string { return n.Firmware }},
	} {
		known := slices.DeleteFunc(slices.Clone(chosen), func(n NIC) bool { return what.of(n) == "" })
		var parts []string
		for _, n := range known {
			parts = append(parts, n.Name+" has "+what.of(n))
		}
		if len(known) > 1 && slices.ContainsFunc(known, func(n NIC) bool { return what.of(n) != what.of(known[0]) }) {
			j.prerequisite(CheckRevision, SeverityWarn, known,
				"the cards are not of one %s: %s", what.name, strings.Join(parts, ", "))
			same = false
		}
	}
	if same && first.Revision != "" {
		words := "revision " + first.Revision
		if first.Firmware != "" {
			words += " and firmware " + first.Firmware
		}
		j.add(CheckRevision, SeverityPass, chosen, "%s have the same %s", list(chosen), words)
	}
}

// permanentMAC looks for cards made with one address, which a switch cannot tell apart once they leave the bond, and
// for addresses that are none.
func (j *judge) permanentMAC(chosen []NIC) {
	good := true
	shared, known := duplicates(chosen, func(n NIC) string { return n.PermanentMAC })
	for _, twins := range shared {
		good = false
		j.prerequisite(CheckPermanentMAC, SeverityWarn, twins,
			"%s have the same permanent address %s: each card should have its own", list(twins), twins[0].PermanentMAC)
	}
	for _, n := range chosen {
		mac := n.PermanentMAC
		switch {
		case mac == "":
		case strings.Trim(mac, "0:") == "" || isGroup(mac):
			good = false
			j.prerequisite(CheckPermanentMAC, SeverityWarn, []NIC{n},
				"%s has the address %s, which no card may have", n.Name, mac)
		case n.RandomMAC:
			good = false
			j.prerequisite(CheckPermanentMAC, SeverityWarn, []NIC{n},
				"%s has no address of its own: the driver has made up %s, and makes up another at the next start", n.Name, mac)
		}
	}
	if good && known {
		j.add(CheckPermanentMAC, SeverityPass, chosen, "%s each have an address of their own", list(chosen))
	}
}

// isGroup says whether an address is one of a group of hosts.
func isGroup(mac string) bool {
	return len(mac) > 1 && strings.ContainsRune("13579bdf", rune(mac[1]))
}

// bestMode compares the best speeds.
func (j *judge) bestMode(chosen []NIC) {
	var parts []string
	for _, n := range chosen {
		if n.bestMbps() == 0 {
			return
		}
		parts = append(parts, fmt.Sprintf("%s %d", n.Name, n.bestMbps()))
	}
	if slices.ContainsFunc(chosen, func(n NIC) bool { return n.bestMbps() != chosen[0].bestMbps() }) {
		j.prerequisite(CheckBestMode, SeverityWarn, chosen,
			"the cards' best speeds differ: %s Mb/s", strings.Join(parts, ", "))
		return
	}
	j.add(CheckBestMode, SeverityPass, chosen, "%s can all do %d Mb/s", list(chosen), chosen[0].bestMbps())
}

// fixedMAC are the drivers that cannot change their card's address, because the network they are for does not allow it.
// ena: its net_device_ops have no ndo_set_mac_address (drivers/net/ethernet/amazon/ena/ena_netdev.c).
var fixedMAC = []string{"ena"}

// virtualCards are the drivers of cards that a hypervisor imitates.
var virtualCards = []string{"ena", "gve", "hv_netvsc", "virtio_net", "vmxnet3", "xen-netfront"}

// each looks at every NIC by itself.
func (j *judge) each(chosen []NIC) {
	var imitated, silent []NIC
	for _, n := range chosen {
		j.pcieLink(n)
		switch {
		case slices.Contains(fixedMAC, n.Driver):
			j.add(CheckMACChange, SeverityWarn, []NIC{n},
				"the driver %s of %s cannot change the card's address", n.Driver, n.Name)
		case n.VirtualFunction:
			j.add(CheckMACChange, SeverityInfo, []NIC{n},
				"%s is a virtual function: its host may forbid it to change its address", n.Name)
		}
		switch {
		case n.CarrierReported != nil && !*n.CarrierReported:
			silent = append(silent, n)
		case slices.Contains(virtualCards, n.Driver):
			imitated = append(imitated, n)
		}
	}
	if len(silent) > 0 {
		j.add(CheckCarrierReport, SeverityWarn, silent,
			"the driver of %s does not tell whether there is a link", list(silent))
	}
	if len(imitated) > 0 {
		f := j.add(CheckCarrierReport, SeverityInfo, imitated,
			"%s %s made by a hypervisor: the link they show is not that of a cable", list(imitated), areCards(len(imitated)))
		f.Means = "a cable pulled out of the host is not noticed by the link state"
	}
	for _, t := range Troubles() {
		by := map[certainty][]NIC{}
		for _, n := range chosen {
			by[t.of(n)] = append(by[t.of(n)], n)
		}
		for _, sure := range []certainty{certainly, unread, maybe} {
			j.trouble(by[sure], t, sure)
		}
	}
}

func areCards(n int) string {
	if n == 1 {
		return "is a card"
	}
	return "are cards"
}

// trouble adds what is known of a kind of card. What only may be, or could not be read, is mentioned.
func (j *judge) trouble(cards []NIC, t Trouble, sure certainty) {
	if len(cards) == 0 {
		return
	}
	severity, how := SeverityInfo, ""
	switch sure {
	case unread:
		how = ", if " + string(t.Needs) + " is on, which could not be read"
		if t.Needs == "" {
			how = ", if it is of the kind concerned, which could not be read"
		}
	case certainly:
		severity = SeverityWarn
		if t.Needs != "" {
			how = ", as " + string(t.Needs) + " is on"
		}
	}
	are := "are"
	if len(cards) == 1 {
		are = "is"
	}
	f := j.add(CheckKnownTrouble, severity, cards,
		"%s (%s) %s known for trouble%s: %s [%s]", list(cards), t.Cards, are, how, t.Symptom, t.ID)
	f.Do, f.Row, f.Sources = t.Do, t.ID, t.Sources
}

// pcieLink compares what a card can send over its cable with what its PCI Express link and those above it carry.
func (j *judge) pcieLink(n NIC) {
	if n.PCIe == nil {
		return
	}
	narrowest, where := n.PCIe.mbps(), "its PCIe link"
	for _, b := range n.Path {
		if m := b.PCIe.mbps(); m > 0 && (narrowest == 0 || m < narrowest) && b.Role != RootPort {
			narrowest, where = m, fmt.Sprintf("the PCIe link of the %s %s", b.Role, b.Address)
		}
	}
	best := n.bestMbps()
	switch {
	case narrowest == 0:
	case narrowest < best:
		j.add(CheckPCIeLink, SeverityWarn, []NIC{n}, "%s can do %d Mb/s, but %s carries %d Mb/s (%s)",
			n.Name, best, where, narrowest, n.PCIe)
	case n.trainedLow():
		j.add(CheckPCIeLink, SeverityInfo, []NIC{n}, "%s runs on %s, and both ends of its link could do more", n.Name, n.PCIe)
	}
}

// trainedLow says whether the link has fewer lanes or a lower speed than both its ends can do.
func (n NIC) trainedLow() bool {
	if len(n.Path) == 0 {
		return false
	}
	up := n.Path[len(n.Path)-1].PCIe
	if up == nil || n.PCIe.GTps == 0 || n.PCIe.Width == 0 {
		return false
	}
	return n.PCIe.Width < min(n.PCIe.MaxWidth, up.MaxWidth) || n.PCIe.GTps < min(n.PCIe.MaxGTps, up.MaxGTps)
}

// String is the link as people write it: "5 GT/s x1 of 8 GT/s x4".
func (p *PCIe) String() string {
	if p.GTps == 0 || p.Width == 0 {
		return "an unknown link"
	}
	s := fmt.Sprintf("%v GT/s x%d", p.GTps, p.Width)
	if p.GTps < p.MaxGTps || p.Width < p.MaxWidth {
		s += fmt.Sprintf(" of %v GT/s x%d", p.MaxGTps, p.MaxWidth)
	}
	return s
}

// unread says what could not be read, once for all cards that it concerns.
func (j *judge) unread(chosen []NIC) {
	var order []string
	by := map[string][]NIC{}
	for _, n := range chosen {
		for _, what := range n.Unread {
			if by[what] == nil {
				order = append(order, what)
			}
			by[what] = append(by[what], n)
		}
	}
	for _, what := range order {
		j.add(CheckUnread, SeverityInfo, by[what], "%s could not be read in full: %s", list(by[what]), what)
	}
}

// A commonPart is something that several NICs depend on.
type commonPart struct {
	what     string
	nics     []NIC
	severity Severity
}

// parts are what a NIC depends on, from the root to the card, as keys that are equal for NICs that share the part.
func (n NIC) parts() []string {
	var keys []string
	for _, b := range n.Path {
		keys = append(keys, "bridge "+b.Address)
	}
	if n.USB != nil {
		if n.USB.Controller != "" {
			keys = append(keys, "controller "+n.USB.Controller)
		}
		for _, hub := range n.USB.Hubs {
			keys = append(keys, "hub "+hub)
		}
	}
	if n.card() != "" {
		keys = append(keys, "card "+n.card())
	}
	return keys
}

// common lists the parts that several NICs depend on. Of a chain of parts that the same NICs share, only the last
// counts.
func common(nics []NIC) []commonPart {
	var order []string
	by := map[string][]NIC{}
	for _, n := range nics {
		for _, key := range n.parts() {
			if by[key] == nil {
				order = append(order, key)
			}
			by[key] = append(by[key], n)
		}
	}
	var found []commonPart
	for _, key := range order {
		group := by[key]
		if len(group) < 2 {
			continue
		}
		part := commonPart{what: key, nics: group, severity: SeverityWarn}
		if strings.HasPrefix(key, "controller ") {
			part.severity = SeverityInfo // it is in the chipset, as everything else is
		}
		if last := len(found) - 1; last >= 0 && slices.Equal(names(found[last].nics), names(group)) {
			found[last] = part
		} else {
			found = append(found, part)
		}
	}
	return found
}

// independent divides NICs into sets that share nothing that fails with all of them.
func independent(nics []NIC) [][]NIC {
	var sets [][]NIC
	for _, n := range nics {
		joined := []NIC{n}
		sets = slices.DeleteFunc(sets, func(set []NIC) bool {
			shares := slices.ContainsFunc(set, func(m NIC) bool {
				return slices.ContainsFunc(common([]NIC{m, n}), func(p commonPart) bool { return p.severity == SeverityWarn })
			})
			if shares {
				joined = append(joined, set...)
			}
			return shares
		})
		sets = append(sets, joined)
	}
	return sets
}

// sharedFate looks for what the cards have in common above the cards themselves.
func (j *judge) sharedFate(chosen []NIC) {
	shared := false
	for _, part := range common(chosen) {
		kind, address, _ := strings.Cut(part.what, " ")
		switch kind {
		case "card": // said already
			shared = true
		case "controller":
			j.prerequisite(CheckSharedFate, part.severity, part.nics,
				"%s hang on one USB host controller (%s)", list(part.nics), address)
			shared = true
		case "hub":
			j.prerequisite(CheckSharedFate, part.severity, part.nics, "%s hang on one USB hub (%s)", list(part.nics), address)
			shared = true
		case "bridge":
			i := slices.IndexFunc(part.nics[0].Path, func(b Bridge) bool { return b.Address == address })
			bridge := part.nics[0].Path[i]
			what := map[Role]string{
				RootPort:         "root port",
				SwitchUpstream:   "PCIe switch",
				SwitchDownstream: "port of a PCIe switch",
				PlainBridge:      "PCI bridge",
			}[bridge.Role]
			j.prerequisite(CheckSharedFate, part.severity, part.nics, "%s are behind one %s (%s)",
				list(part.nics), what, strings.TrimSpace(address+" "+bridge.Model))
			shared = true
		}
	}
	groups, _ := duplicates(chosen, func(n NIC) string { return n.IOMMUGroup })
	for _, group := range groups {
		if len(independent(group)) == 1 {
			continue // said already
		}
		f := j.prerequisite(CheckSharedFate, SeverityInfo, group,
			"%s are in one IOMMU group (%s)", list(group), group[0].IOMMUGroup)
		f.Means = "they are not isolated from one another: one that writes astray can disturb the other"
		f.Do = "nothing, unless one of them is to be lent to a virtual machine"
		shared = true
	}
	located := !slices.ContainsFunc(chosen, func(n NIC) bool { return n.card() == "" })
	if !shared && located {
		j.add(CheckSharedFate, SeverityPass, chosen, "%s share no PCIe switch, root port or USB hub", list(chosen))
	}
}
