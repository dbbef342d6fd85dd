package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Kind is the kind of value that a bonding option takes.
type Kind int

// The kinds of value.
const (
	KindEnum     Kind = iota + 1 // one of a few words; in Options: the kernel's word
	KindInteger                  // a number; in Options: decimal
	KindBool                     // yes or no; in Options: 1 or 0
	KindDuration                 // a duration; in Options: decimal, in the option's Unit
	KindSlave                    // a NIC; in Options: the reference as configured, or empty for none
	KindMAC                      // a MAC address; in Options: lower-case with colons, all zero for none
	KindIPv4s                    // IPv4 addresses; in Options: separated by commas, or empty for none
	KindIPv6s                    // IPv6 addresses; in Options: as KindIPv4s
)

// A Value is one word that an option of KindEnum takes.
type Value struct {
	Name   string // the kernel's name
	Number int    // the kernel's number, IFLA_BOND_* has it
}

// An Option is one row of Table: all that bondd knows about one option of the
// kernel's bonding driver (Linux 6.12, drivers/net/bonding/bond_options.c,
// bond_opts). The key in the file has the same name.
type Option struct {
	Name string
	Kind Kind

	Values   []Value       // KindEnum
	Min, Max int64         // KindInteger and KindDuration, the latter in Unit
	Unit     time.Duration // KindDuration: what one means to the kernel

	// Default is the value of a bond whose file does not set the option. Where
	// DefaultFor is set it decides instead, from what the file says of the bond
	// and from the defaults that stand earlier in Table.
	Default    string
	DefaultFor func(*Bond) string

	// Modes names the modes that have the option; empty: every mode. In others
	// the kernel refuses every value, the default among them (EACCES).
	Modes []string

	// Effective names the modes in which the option does anything, where the
	// kernel takes it in more of them and ignores it; empty: all of Modes.
	Effective []string

	// Needs names a duration; while that is zero, the kernel takes this option
	// and ignores it.
	Needs string

	// OnlyDown: the kernel takes it only while the bond is down (EBUSY else).
	// OnlyEmpty: the kernel takes it only while the bond has no slaves
	// (ENOTEMPTY else). Both also hold for writing the value that is there.
	OnlyDown, OnlyEmpty bool

	// MultipleOf names a duration of which the kernel makes this one a multiple
	// by rounding down. While that is zero, the kernel refuses this option,
	// zero too (EPERM), so that Options does not have it.
	MultipleOf string
}

// The modes that have some options to themselves.
var (
	modesActive = []string{"active-backup", "balance-tlb", "balance-alb"}             // one slave is the active one
	modesARP    = []string{"balance-rr", "active-backup", "balance-xor", "broadcast"} // bond_mode_uses_arp
	modesLACP   = []string{"802.3ad"}
)

// maxTargets is how many targets the kernel asks, of each family
// (BOND_MAX_ARP_TARGETS, BOND_MAX_NS_TARGETS).
const maxTargets = 16

// noMAC is the text form of no MAC address.
const noMAC = "00:00:00:00:00:00"

// Table has one row for every bonding option of this version, in an order in
// which none depends on a later one. Parsing, defaults, checks and TOML go by
// it. Defaults are the kernel's where nothing else is said. It is never written
// to.
var Table = []Option{
	{
		Name: "mode",
		Kind: KindEnum,
		Values: []Value{
			{"balance-rr", 0},
			{"active-backup", 1},
			{"balance-xor", 2},
			{"broadcast", 3},
			{"802.3ad", 4},
			{"balance-tlb", 5},
			{"balance-alb", 6},
		},
		// The kernel's default is balance-rr. It spreads the packets of one
		// connection over all slaves and wants a switch that is told of it;
		// active-backup works on any switch.
		Default:   "active-backup",
		OnlyDown:  true,
		OnlyEmpty: true,
	},
	{
		Name:       "miimon",
		Kind:       KindDuration,
		Max:        math.MaxInt32,
		Unit:       time.Millisecond,
		Default:    "100",
		DefaultFor: defaultMiimon,
	},
	{
		Name:       "updelay",
		Kind:       KindDuration,
		Max:        math.MaxInt32,
		Unit:       time.Millisecond,
		Default:    "0",
		MultipleOf: "miimon",
	},
	{
		Name:       "downdelay",
		Kind:       KindDuration,
		Max:        math.MaxInt32,
		Unit:       time.Millisecond,
		Default:    "0",
		MultipleOf: "miimon",
	},
	{
		Name:       "peer_notif_delay",
		Kind:       KindDuration,
		Max:        300_000,
		Unit:       time.Millisecond,
		Default:    "0",
		MultipleOf: "miimon",
	},
	// The targets before the interval: the ARP monitor that has none to ask
	// takes every slave for down.
	{
		Name:    "arp_ip_target",
		Kind:    KindIPv4s,
		Default: "",
		Needs:   "arp_interval",
	},
	{
		Name:    "ns_ip6_target",
		Kind:    KindIPv6s,
		Default: "",
		Needs:   "arp_interval",
	},
	{
		Name:    "arp_interval",
		Kind:    KindDuration,
		Max:     math.MaxInt32,
		Unit:    time.Millisecond,
		Default: "0",
		Modes:   modesARP,
	},
	{
		Name: "arp_validate",
		Kind: KindEnum,
		Values: []Value{
			{"none", 0},
			{"active", 1},
			{"backup", 2},
			{"all", 3},
			{"filter", 4},
			{"filter_active", 5},
			{"filter_backup", 6},
		},
		Default: "none",
		Modes:   modesARP,
		Needs:   "arp_interval",
	},
	{
		Name:    "arp_all_targets",
		Kind:    KindEnum,
		Values:  []Value{{"any", 0}, {"all", 1}},
		Default: "any",
		Needs:   "arp_interval",
	},
	{
		Name:    "arp_missed_max",
		Kind:    KindInteger,
		Min:     1,
		Max:     255,
		Default: "2",
		Modes:   modesARP,
		Needs:   "arp_interval",
	},
	{
		Name:    "primary",
		Kind:    KindSlave,
		Default: "",
		Modes:   modesActive,
	},
	{
		Name:       "primary_reselect",
		Kind:       KindEnum,
		Values:     []Value{{"always", 0}, {"better", 1}, {"failure", 2}},
		Default:    "always",
		DefaultFor: defaultReselect,
	},
	{
		Name:      "fail_over_mac",
		Kind:      KindEnum,
		Values:    []Value{{"none", 0}, {"active", 1}, {"follow", 2}},
		Default:   "none",
		Effective: []string{"active-backup"},
		OnlyEmpty: true,
	},
	{
		Name:    "num_grat_arp", // and, by another name, num_unsol_na: the kernel keeps one value for both
		Kind:    KindInteger,
		Max:     255,
		Default: "1",
	},
	{
		Name:    "resend_igmp",
		Kind:    KindInteger,
		Max:     255,
		Default: "1",
	},
	{
		Name: "xmit_hash_policy",
		Kind: KindEnum,
		Values: []Value{
			{"layer2", 0},
			{"layer3+4", 1},
			{"layer2+3", 2},
			{"encap2+3", 3},
			{"encap3+4", 4},
			{"vlan+srcmac", 5},
		},
		Default: "layer2",
	},
	{
		Name:    "packets_per_slave",
		Kind:    KindInteger,
		Max:     math.MaxUint16,
		Default: "1",
		Modes:   []string{"balance-rr"},
	},
	{
		Name:    "all_slaves_active",
		Kind:    KindBool,
		Default: "0",
	},
	{
		Name:     "tlb_dynamic_lb",
		Kind:     KindBool,
		Default:  "1",
		Modes:    []string{"balance-tlb", "balance-alb"},
		OnlyDown: true,
	},
	{
		Name:    "lp_interval",
		Kind:    KindDuration,
		Min:     1,
		Max:     math.MaxInt32,
		Unit:    time.Second,
		Default: "1",
	},
	{
		Name:      "min_links",
		Kind:      KindInteger,
		Max:       math.MaxInt32,
		Default:   "0",
		Effective: modesLACP, // bond_set_carrier asks for it nowhere else
	},
	{
		Name:     "lacp_active",
		Kind:     KindBool,
		Default:  "1",
		Modes:    modesLACP,
		OnlyDown: true,
	},
	{
		Name:     "lacp_rate",
		Kind:     KindEnum,
		Values:   []Value{{"slow", 0}, {"fast", 1}},
		Default:  "slow",
		Modes:    modesLACP,
		OnlyDown: true,
	},
	{
		Name:      "ad_select",
		Kind:      KindEnum,
		Values:    []Value{{"stable", 0}, {"bandwidth", 1}, {"count", 2}},
		Default:   "stable",
		Effective: modesLACP,
		OnlyDown:  true,
	},
	{
		Name:    "ad_actor_sys_prio",
		Kind:    KindInteger,
		Min:     1,
		Max:     math.MaxUint16,
		Default: "65535",
		Modes:   modesLACP,
	},
	{
		Name:    "ad_actor_system",
		Kind:    KindMAC,
		Default: noMAC, // the bond's own
		Modes:   modesLACP,
	},
	{
		Name:     "ad_user_port_key",
		Kind:     KindInteger,
		Max:      1023, // the upper 10 of 16 bits; speed and duplex have the others
		Default:  "0",
		Modes:    modesLACP,
		OnlyDown: true,
	},
	{
		Name:     "coupled_control",
		Kind:     KindBool,
		Default:  "1",
		Modes:    modesLACP,
		OnlyDown: true,
	},
}

// defaultMiimon is the default of miimon. The kernel's is 0, a bond that never
// fails over; so it is here only where the bond has the other monitor, for the
// kernel runs one of the two.
func defaultMiimon(b *Bond) string {
	if units(b.Options["arp_interval"]) > 0 && slices.Contains(modesARP, b.Mode()) {
		return "0"
	}
	return "100"
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
func defaultReselect(b *Bond) string {
	if b.HasActiveSlave() && b.Options["primary"] == "" && len(b.Prio) == 0 {
		return "failure"
	}
	return "always"
}

// LookupOption returns the row of Table with that name.
func LookupOption(name string) (*Option, bool) {
	for i := range Table {
		if Table[i].Name == name {
			return &Table[i], true
		}
	}
	return nil, false
}

// In reports whether a mode has the option.
func (o *Option) In(mode string) bool {
	return len(o.Modes) == 0 || slices.Contains(o.Modes, mode)
}

// fillDefaults gives a bond every option of its mode and monitor that it does
// not have yet.
func fillDefaults(b *Bond) {
	for i := range Table {
		o := &Table[i]
		if _, ok := b.Options[o.Name]; ok || !o.In(b.Mode()) {
			continue
		}
		if o.MultipleOf != "" && b.duration(o.MultipleOf) == 0 {
			continue
		}
		b.Options[o.Name] = o.Default
		if o.DefaultFor != nil {
			b.Options[o.Name] = o.DefaultFor(b)
		}
	}
}

// list reports whether the option takes a list of addresses.
func (o *Option) list() bool { return o.Kind == KindIPv4s || o.Kind == KindIPv6s }

// parse turns a value of the file into the kernel's text form. Lists are not
// for it: parseTarget reads one entry of them.
func (o *Option) parse(v *value) (string, error) {
	switch o.Kind {
	case KindEnum:
		return o.parseEnum(v)
	case KindInteger:
		return o.parseInteger(v)
	case KindBool:
		return o.parseBool(v)
	case KindDuration:
		return o.parseDuration(v)
	case KindMAC:
		return o.parseMAC(v)
	default:
		return o.parseSlave(v)
	}
}

func (o *Option) parseEnum(v *value) (string, error) {
	if v.kind == kindString || v.kind == kindInteger {
		for _, w := range o.Values {
			if v.text == w.Name || v.text == strconv.Itoa(w.Number) {
				return w.Name, nil
			}
		}
	}
	words := make([]string, len(o.Values))
	for i, w := range o.Values {
		words[i] = fmt.Sprintf("%q (%d)", w.Name, w.Number)
	}
	return "", fmt.Errorf("%s can be %s, not %s", o.Name, or(words), v.words())
}

func (o *Option) parseInteger(v *value) (string, error) {
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
	return strconv.ParseInt(v.text, 0, 64) // knows TOML's prefixes and underscores, and more that the TOML parser has refused
}

// parseBool reads true or false, and what the kernel takes for them: 1 or 0, on
// or off.
func (o *Option) parseBool(v *value) (string, error) {
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

func (o *Option) parseDuration(v *value) (string, error) {
	d, err := parseDuration(o.Name, v, time.Duration(o.Min)*o.Unit, time.Duration(o.Max)*o.Unit, o.Unit, 100*o.Unit)
	if err != nil {
		return "", err
	}
	if d%o.Unit != 0 {
		below := d.Truncate(o.Unit)
		return "", fmt.Errorf("%s cannot be %s, the kernel counts it in steps of %s: write %q or %q", o.Name, quote(v.text), o.Unit, below, below+o.Unit)
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
		return 0, fmt.Errorf("%s is a duration, not %s: write it in quotes with a unit, for example %q", name, v.words(), example)
	}
	d, err := time.ParseDuration(v.text)
	if err != nil {
		return 0, fmt.Errorf("%s is a duration, not %s: write a number with a unit, for example %q", name, quote(v.text), example)
	}
	if d < low || d > high {
		return 0, fmt.Errorf("%s goes from %q to %q, not %s", name, low, high, quote(v.text))
	}
	return d, nil
}

// parseMAC reads the address of a system, or of none.
func (o *Option) parseMAC(v *value) (string, error) {
	const example = "02:00:5e:10:00:01"
	if v.kind != kindString {
		return "", fmt.Errorf("%s is a MAC address in quotes, not %s: write for example %q", o.Name, v.words(), example)
	}
	hw, err := net.ParseMAC(v.text)
	switch {
	case err != nil || len(hw) != 6:
		return "", fmt.Errorf("%s is a MAC address, not %s: write six bytes, for example %q", o.Name, quote(v.text), example)
	case hw[0]&1 != 0:
		return "", fmt.Errorf("%s %s is a multicast address, and it has to be that of one system: its first byte has to be even, as in %q", o.Name, quote(v.text), example)
	}
	return hw.String(), nil
}

// parseTarget reads one entry of a list of addresses.
func (o *Option) parseTarget(s string) (netip.Addr, error) {
	if _, err := netip.ParseAddr(s); err != nil && o.Kind == KindIPv6s && !strings.Contains(s, "/") {
		return netip.Addr{}, fmt.Errorf("%s %s is no IPv6 address: write one such as %q", o.Name, quote(s), o.example())
	}
	ip, err := parseHost(o.Name, s)
	switch {
	case err != nil:
		return ip, err
	case o.Kind == KindIPv4s && ip.Is6():
		return ip, fmt.Errorf("%s %s is an IPv6 address, and ARP is for IPv4: write it in ns_ip6_target", o.Name, quote(s))
	case o.Kind == KindIPv6s && ip.Is4():
		return ip, fmt.Errorf("%s %s is an IPv4 address, and neighbour solicitation is for IPv6: write it in arp_ip_target", o.Name, quote(s))
	}
	return ip, nil
}

// example is an entry of a list of addresses.
func (o *Option) example() string {
	if o.Kind == KindIPv6s {
		return "2001:db8::1"
	}
	return "192.168.1.1"
}

func (o *Option) parseSlave(v *value) (string, error) {
	if v.kind != kindString {
		return "", fmt.Errorf("%s is one slave, not %s: write it as in slaves, for example %q", o.Name, v.words(), "eth0")
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

// duration is the value of an option of KindDuration; 0 where the bond has none.
func (b *Bond) duration(name string) time.Duration {
	o, ok := LookupOption(name)
	if !ok || o.Kind != KindDuration {
		panic("config: " + name + " is no duration")
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
		return errors.New("num_unsol_na is another name of num_grat_arp, the kernel keeps one value for both: write num_grat_arp")
	case "use_carrier":
		return errors.New("use_carrier is no choice: bondd and the bonding driver go by the carrier that the card's driver keeps, as with use_carrier 1, the kernel's default; take the line out")
	}
	return fmt.Errorf("this version of bondd does not have %q yet: take the line out", name)
}

// notHere are the keys and tables of a bond that are known and cannot be set:
// some are to come, some are not offered.
var notHere = []string{"slaac", "vlan", "use_carrier", "num_unsol_na"}
