package config

import (
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bondd.internal/config/bonding"
)

// An option is an option of the bonding driver as it stands in a file: how a
// value is read, written, and put right.
type option struct{ *bonding.Option }

// settings are the options that a bond can set, in the order of the table.
func settings() iter.Seq[option] {
	return func(yield func(option) bool) {
		for o := range bonding.Settings() {
			if !yield(option{o}) {
				return
			}
		}
	}
}

// defaultFor is the value of an option that the file does not set, from what
// the file says of the bond and from the defaults of the options before it.
func (o option) defaultFor(b *Bond) string {
	switch o.Name {
	case "miimon":
		return defaultMiimon(b, o.Default)
	case "primary_reselect":
		return defaultReselect(b, o.Default)
	}
	return o.Default
}

// defaultMiimon is the default of miimon: none where the bond has the other
// monitor, for the kernel runs one of the two.
func defaultMiimon(b *Bond, usual string) string {
	if units(b.Options["arp_interval"]) > 0 && b.Mode().UsesARPMonitor() {
		return "0"
	}
	return usual
}

// defaultReselect is the default of primary_reselect.
//
// With a primary, or with a slave that has a prio of its own, it is the
// kernel's default, always: to be returned to is what they are for. Without
// them it is failure where the mode has an active slave: the kernel takes the
// slave that was enslaved first for the primary and, with always, moves a
// healthy bond back to it whenever anything makes it select again, such as a
// slave that is enslaved (bond_choose_primary_or_current). Modes without an
// active slave have nothing to select, so the kernel's default stays.
func defaultReselect(b *Bond, usual string) string {
	if b.Mode().HasActiveSlave() && b.Options["primary"] == "" && len(b.Prio) == 0 {
		return "failure"
	}
	return usual
}

// fillDefaults gives a bond every option of its mode and monitor that it does
// not have yet.
func fillDefaults(b *Bond) {
	for o := range settings() {
		if _, ok := b.Options[o.Name]; ok || !o.In(b.Mode()) {
			continue
		}
		if o.MultipleOf != "" && b.duration(o.MultipleOf) == 0 {
			continue
		}
		b.Options[o.Name] = o.defaultFor(b)
	}
}

// parse turns a value of the file into the kernel's text form. Lists are not
// for it: parseTarget reads one entry of them.
func (o option) parse(v *value) (string, error) {
	switch o.Kind {
	case bonding.KindEnum:
		return o.parseEnum(v)
	case bonding.KindInteger:
		return o.parseInteger(v)
	case bonding.KindBool:
		return o.parseBool(v)
	case bonding.KindDuration:
		return o.parseDuration(v)
	case bonding.KindMAC:
		return o.parseMAC(v)
	default:
		return o.parseSlave(v)
	}
}

func (o option) parseEnum(v *value) (string, error) {
	if v.kind == kindString || v.kind == kindInteger {
		if word, ok := o.ParseWord(v.text); ok {
			return word, nil
		}
	}
	words := make([]string, len(o.Words))
	for n, word := range o.Words {
		words[n] = fmt.Sprintf("%q (%d)", word, n)
	}
	return "", fmt.Errorf("%s can be %s, not %s", o.Name, or(words), v.words())
}

func (o option) parseInteger(v *value) (string, error) {
	n, err := parseInteger(o.Name, v, o.Min, o.Max)
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(n, 10), nil
}

// parseInteger reads a number within a range.
func parseInteger(name string, v *value, low, high int64) (int64, error) {
	switch v.kind {
	case kindInteger:
		n, err := v.integer()
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("%s is a number from %d to %d, not %s", name, low, high, v.text)
		}
		return n, nil
	case kindString:
		if number.MatchString(v.text) {
			return 0, fmt.Errorf("%s is a number: write %s = %s, without quotes", name, name, v.text)
		}
	}
	return 0, fmt.Errorf("%s is a number from %d to %d, not %s", name, low, high, v.words())
}

// integer is the number that an integer of the file stands for.
func (v *value) integer() (int64, error) {
	return strconv.ParseInt(
		v.text,
		0,
		64,
	) // knows TOML's prefixes and underscores, and more that the TOML parser has refused
}

// parseBool reads true or false, and what the kernel takes for them: 1 or 0, on
// or off.
func (o option) parseBool(v *value) (string, error) {
	if v.kind == kindBool || v.kind == kindInteger || v.kind == kindString {
		switch {
		case v.kind == kindBool && v.text == "true", v.text == "1", v.text == "on":
			return "1", nil
		case v.kind == kindBool, v.text == "0", v.text == "off":
			return "0", nil
		}
	}
	return "", fmt.Errorf("%s is true or false without quotes, not %s", o.Name, v.words())
}

func (o option) parseDuration(v *value) (string, error) {
	d, err := parseDuration(o.Name, v, time.Duration(o.Min)*o.Unit, time.Duration(o.Max)*o.Unit, o.Unit, 100*o.Unit)
	if err != nil {
		return "", err
	}
	if d%o.Unit != 0 {
		below := d.Truncate(o.Unit)
		return "", fmt.Errorf(
			"%s cannot be %s, the kernel counts it in steps of %s: write %q or %q",
			o.Name,
			quote(v.text),
			o.Unit,
			below,
			below+o.Unit,
		)
	}
	return strconv.FormatInt(int64(d/o.Unit), 10), nil
}

// parseDuration reads a duration within a range. A number without a unit is
// answered as if it were meant in the given one.
func parseDuration(name string, v *value, low, high, unit, example time.Duration) (time.Duration, error) {
	switch {
	case v.kind == kindInteger || v.kind == kindString && number.MatchString(v.text):
		if n, err := v.integer(); err == nil && n >= int64((low+unit-1)/unit) && n <= int64(high/unit) {
			example = time.Duration(n) * unit
		}
		return 0, fmt.Errorf("%s is a duration and needs a unit: write %q", name, example)
	case v.kind != kindString:
		return 0, fmt.Errorf(
			"%s is a duration, not %s: write it in quotes with a unit, for example %q",
			name,
			v.words(),
			example,
		)
	}
	d, err := time.ParseDuration(v.text)
	if err != nil {
		return 0, fmt.Errorf(
			"%s is a duration, not %s: write a number with a unit, for example %q",
			name,
			quote(v.text),
			example,
		)
	}
	if d < low || d > high {
		return 0, fmt.Errorf("%s goes from %q to %q, not %s", name, low, high, quote(v.text))
	}
	return d, nil
}

// parseMAC reads the address of a system, or of none.
func (o option) parseMAC(v *value) (string, error) {
	const example = "02:00:5e:10:00:01"
	if v.kind != kindString {
		return "", fmt.Errorf("%s is a MAC address in quotes, not %s: write for example %q", o.Name, v.words(), example)
	}
	hw, err := net.ParseMAC(v.text)
	switch {
	case err != nil || len(hw) != 6:
		return "", fmt.Errorf(
			"%s is a MAC address, not %s: write six bytes, for example %q",
			o.Name,
			quote(v.text),
			example,
		)
	case hw[0]&1 != 0:
		return "", fmt.Errorf(
			"%s %s is a multicast address, and it has to be that of one system: its first byte has to be even, as in %q",
			o.Name,
			quote(v.text),
			example,
		)
	}
	return hw.String(), nil
}

// parseTarget reads one entry of a list of addresses.
func (o option) parseTarget(s string) (netip.Addr, error) {
	if _, err := netip.ParseAddr(s); err != nil && o.Kind == bonding.KindIPv6s && !strings.Contains(s, "/") {
		return netip.Addr{}, fmt.Errorf("%s %s is no IPv6 address: write one such as %q", o.Name, quote(s), o.example())
	}
	ip, err := parseHost(o.Name, s)
	switch {
	case err != nil:
		return ip, err
	case o.Kind == bonding.KindIPv4s && ip.Is6():
		return ip, fmt.Errorf(
			"%s %s is an IPv6 address, and ARP is for IPv4: write it in ns_ip6_target",
			o.Name,
			quote(s),
		)
	case o.Kind == bonding.KindIPv6s && ip.Is4():
		return ip, fmt.Errorf(
			"%s %s is an IPv4 address, and neighbour solicitation is for IPv6: write it in arp_ip_target",
			o.Name,
			quote(s),
		)
	}
	return ip, nil
}

// example is an entry of a list of addresses.
func (o option) example() string {
	if o.Kind == bonding.KindIPv6s {
		return "2001:db8::1"
	}
	return "192.168.1.1"
}

func (o option) parseSlave(v *value) (string, error) {
	if v.kind != kindString {
		return "", fmt.Errorf(
			"%s is one slave, not %s: write it as in slaves, for example %q",
			o.Name,
			v.words(),
			"eth0",
		)
	}
	if v.text == "" {
		return "", nil
	}
	ref, err := parseReference(v.text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", o.Name, err)
	}
	return ref, nil
}

// units is the number in a duration of Options, 0 for none.
func units(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// duration is the value of an option of bonding.KindDuration; 0 where the bond has none.
func (b *Bond) duration(name string) time.Duration {
	o, ok := bonding.Lookup(name)
	if !ok || o.Kind != bonding.KindDuration {
		panic("config: " + name + " is not a duration")
	}
	return time.Duration(units(b.Options[name])) * o.Unit
}

func quoted(words []string) []string {
	q := make([]string, len(words))
	for i := range words {
		q[i] = quote(words[i])
	}
	return q
}

// errNotHere is what a key gets that is known and cannot be set.
func errNotHere(name string) error {
	switch name {
	case "num_unsol_na":
		return errors.New(
			"num_unsol_na is another name of num_grat_arp, the kernel keeps one value for both: write num_grat_arp",
		)
	case "use_carrier":
		return errors.New(
			"use_carrier is not an option here: bondd and the bonding driver go by the carrier that the card's " +
				"driver keeps, as with use_carrier 1, the kernel's default; take the line out",
		)
	}
	return fmt.Errorf("this version of bondd does not have %q yet: take the line out", name)
}

// notHere are the keys and tables of a bond that are known and cannot be set:
// some are to come, some are not offered.
var notHere = []string{"slaac", "vlan", "use_carrier", "num_unsol_na"}
