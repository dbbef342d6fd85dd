package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bondd.internal/config/bonding"
)

// Summary says what the configuration means, in four lines for each bond.
func (c *Config) Summary() string {
	var w strings.Builder
	for i := range c.Bonds {
		if i > 0 {
			w.WriteByte('\n')
		}
		b := &c.Bonds[i]
		fmt.Fprintf(&w, "bond:      %s\nslaves:    %s\nmode:      %s\naddresses: %s\n",
			b.bondWords(), b.slaveWords(), b.modeWords(), b.addressWords())
	}
	return w.String()
}

func (b *Bond) bondWords() string {
	words := []string{b.Name}
	if b.builtin() {
		words = append(words, "the built-in default")
	}
	if b.MAC != "" {
		words = append(words, "MAC "+b.MAC)
	}
	if b.MTU != 0 {
		words = append(words, fmt.Sprintf("MTU %d", b.MTU))
	}
	return strings.Join(words, ", ")
}

// builtin reports whether the bond is that of a machine without a configuration.
func (b *Bond) builtin() bool {
	var mine, builtin writer
	mine.bond(b)
	builtin.bond(&Default().Bonds[0])
	return mine.String() == builtin.String()
}

func (b *Bond) slaveWords() string {
	if b.Auto {
		text := "every Ethernet NIC of the first matching group"
		if primary := b.Options["primary"]; primary != "" {
			text += fmt.Sprintf(", %s before all others", primary)
		}
		return text
	}
	text := strings.Join(b.Slaves, ", ")
	if !b.Mode().HasActiveSlave() || len(b.Slaves) == 1 {
		return text
	}
	rank := slices.Clone(b.Slaves)
	slices.SortStableFunc(rank, func(x, y string) int { return cmp.Compare(b.Prio[y], b.Prio[x]) })
	if i := slices.Index(rank, b.Options["primary"]); i > 0 {
		rank = slices.Insert(slices.Delete(rank, i, i+1), 0, b.Options["primary"])
	}
	if slices.Equal(rank, b.Slaves) {
		return text + ", in this order of preference"
	}
	return text + ", in the order of preference " + strings.Join(rank, ", ")
}

// modeWords has the mode, how slaves are checked, and the options that the file
// sets to something else than what they would be without it.
func (b *Bond) modeWords() string {
	words := []string{b.Mode().String()}
	usual := *b
	usual.Options = map[string]string{}
	for _, name := range []string{"mode", "miimon", "arp_interval", "primary"} {
		usual.Options[name] = b.Options[name]
	}
	fillDefaults(&usual)
	for o := range settings() {
		text, ok := b.Options[o.Name]
		switch {
		case o.Name == "mode", o.Name == "primary", o.Addresses():
		case o.Name == "miimon" && b.Miimon() > 0:
			words = append(words, "miimon "+b.Miimon().String())
		case o.Name == "arp_interval" && b.ArpInterval() > 0:
			targets := strings.Join([]string{b.Options["arp_ip_target"], b.Options["ns_ip6_target"]}, ",")
			words = append(words, fmt.Sprintf("arp_interval %s to %s", b.ArpInterval(),
				and(strings.Split(strings.Trim(targets, ","), ","))))
		case ok && o.Name != "miimon" && o.Name != "arp_interval" && text != usual.Options[o.Name]:
			words = append(words, o.Name+" "+o.words(text))
		}
	}
	var targets []string
	for i := range b.Paths {
		targets = append(targets, b.Paths[i].Target.String())
	}
	switch {
	case len(targets) == 1:
		words = append(words, "path to "+targets[0])
	case b.PathPolicy == "any" && len(targets) > 1:
		words = append(words, "path to any of "+and(targets))
	case len(targets) > 1:
		words = append(words, "paths to "+and(targets))
	}
	return strings.Join(words, ", ")
}

// words is a value of Options as a person writes it.
func (o option) words(text string) string {
	switch o.Kind {
	case bonding.KindBool:
		return fmt.Sprint(text == "1")
	case bonding.KindDuration:
		return (time.Duration(units(text)) * o.Unit).String()
	}
	return text
}

func (b *Bond) addressWords() string {
	var words []string
	for _, a := range b.Addresses {
		words = append(words, a.String())
	}
	if b.DHCP4 {
		words = append(words, "DHCP")
	}
	if len(words) == 0 {
		words = append(words, "none")
	}
	words = append(words, named("gateway", "gateways", b.Gateways)...)
	words = append(words, named("DNS", "DNS", b.DNS)...)
	return strings.Join(words, ", ")
}

// named is one word or none: addresses with what they are before them.
func named(one, many string, ips []netip.Addr) []string {
	words := make([]string, len(ips))
	for i := range ips {
		words[i] = ips[i].String()
	}
	switch len(words) {
	case 0:
		return nil
	case 1:
		return []string{one + " " + words[0]}
	}
	return []string{many + " " + and(words)}
}

// and joins what belongs together: a, b and c.
func and(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
