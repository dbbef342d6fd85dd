package config

import (
	"errors"
	"fmt"
	"math"
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
	KindDuration                 // a duration; in Options: decimal, in the option's Unit
	KindSlave                    // a NIC; in Options: the reference as configured, or empty for none
)

// A Value is one word that an option of KindEnum takes.
type Value struct {
	Name   string // the kernel's name
	Number int    // the kernel's number, IFLA_BOND_* has it
	Later  bool   // the kernel has it, this version of bondd refuses it
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
	// DefaultFor is set it decides instead, from the bond's options that come
	// earlier in Table.
	Default    string
	DefaultFor func(earlier map[string]string) string

	// Modes names the modes that have the option; empty: every mode.
	Modes []string

	// OnlyDown: the kernel takes it only while the bond is down (EBUSY else).
	// OnlyEmpty: the kernel takes it only while the bond has no slaves
	// (ENOTEMPTY else). Both also hold for writing the value that is there.
	OnlyDown, OnlyEmpty bool

	// MultipleOf names a duration that must not be zero when this one is
	// written (EPERM else), and of which the kernel makes this one a multiple
	// by rounding down.
	MultipleOf string
}

// Table has one row for every bonding option of this version, in an order in
// which none depends on a later one. Parsing, defaults, checks and TOML go by
// it. It is never written to.
var Table = []Option{
	{
		Name: "mode",
		Kind: KindEnum,
		Values: []Value{
			{Name: "balance-rr", Number: 0},
			{Name: "active-backup", Number: 1},
			{Name: "balance-xor", Number: 2},
			{Name: "broadcast", Number: 3},
			{Name: "802.3ad", Number: 4, Later: true},
			{Name: "balance-tlb", Number: 5, Later: true},
			{Name: "balance-alb", Number: 6, Later: true},
		},
		// The kernel's default is balance-rr. It spreads the packets of one
		// connection over all slaves and wants a switch that is told of it;
		// active-backup works on any switch.
		Default:   "active-backup",
		OnlyDown:  true,
		OnlyEmpty: true,
	},
	{
		Name: "miimon",
		Kind: KindDuration,
		Max:  math.MaxInt32,
		Unit: time.Millisecond,
		// The kernel's default is 0, a bond that never fails over.
		Default: "100",
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
		Name:    "primary",
		Kind:    KindSlave,
		Default: "",
		Modes:   []string{"active-backup"},
	},
	{
		Name: "primary_reselect",
		Kind: KindEnum,
		Values: []Value{
			{Name: "always", Number: 0},
			{Name: "better", Number: 1},
			{Name: "failure", Number: 2},
		},
		Default:    "always",
		DefaultFor: defaultReselect,
	},
	{
		Name:    "num_grat_arp", // and, by another name, num_unsol_na: the kernel keeps one value for both
		Kind:    KindInteger,
		Max:     255,
		Default: "1",
	},
}

// defaultReselect is the default of primary_reselect.
//
// With a primary it is the kernel's default, always: to be returned to is what
// a primary is for. In active-backup without one it is failure: the kernel
// takes the slave that was enslaved first for the primary and, with always,
// moves a healthy bond back to it whenever anything makes it select again, such
// as a slave that is enslaved (bond_choose_primary_or_current). Modes without
// an active slave have nothing to select, so the kernel's default stays.
func defaultReselect(earlier map[string]string) string {
	if earlier["mode"] == "active-backup" && earlier["primary"] == "" {
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

// fillDefaults gives a bond every option of its mode that it does not have yet.
func fillDefaults(options map[string]string) {
	for i := range Table {
		o := &Table[i]
		if _, ok := options[o.Name]; ok || !o.In(options["mode"]) {
			continue
		}
		options[o.Name] = o.Default
		if o.DefaultFor != nil {
			options[o.Name] = o.DefaultFor(options)
		}
	}
}

// parse turns a value of the file into the kernel's text form.
func (o *Option) parse(v *value) (string, error) {
	switch o.Kind {
	case KindEnum:
		return o.parseEnum(v)
	case KindInteger:
		return o.parseInteger(v)
	case KindDuration:
		return o.parseDuration(v)
	default:
		return o.parseSlave(v)
	}
}

func (o *Option) parseEnum(v *value) (string, error) {
	if v.kind != kindString && v.kind != kindInteger {
		return "", fmt.Errorf("%s can be %s, not %s", o.Name, o.words(), v.words())
	}
	for _, w := range o.Values {
		if v.text != w.Name && v.text != strconv.Itoa(w.Number) {
			continue
		}
		if w.Later {
			return "", fmt.Errorf("this version of bondd does not have %s %q (%d) yet; it has %s", o.Name, w.Name, w.Number, o.words())
		}
		return w.Name, nil
	}
	return "", fmt.Errorf("%s can be %s, not %s", o.Name, o.words(), v.words())
}

// words lists what an option of KindEnum takes.
func (o *Option) words() string {
	var words []string
	for _, w := range o.Values {
		if !w.Later {
			words = append(words, fmt.Sprintf("%q (%d)", w.Name, w.Number))
		}
	}
	return or(words)
}

func (o *Option) parseInteger(v *value) (string, error) {
	switch v.kind {
	case kindInteger:
		n, err := v.integer()
		if err != nil || n < o.Min || n > o.Max {
			return "", fmt.Errorf("%s is a number from %d to %d, not %s", o.Name, o.Min, o.Max, v.text)
		}
		return strconv.FormatInt(n, 10), nil
	case kindString:
		if number.MatchString(v.text) {
			return "", fmt.Errorf("%s is a number: write %s = %s, without quotes", o.Name, o.Name, v.text)
		}
	}
	return "", fmt.Errorf("%s is a number from %d to %d, not %s", o.Name, o.Min, o.Max, v.words())
}

// integer is the number that an integer of the file stands for.
func (v *value) integer() (int64, error) {
	return strconv.ParseInt(v.text, 0, 64) // knows TOML's prefixes and underscores, and more that the TOML parser has refused
}

func (o *Option) parseDuration(v *value) (string, error) {
	example := o.format("100")
	switch {
	case v.kind == kindInteger || v.kind == kindString && number.MatchString(v.text):
		if n, err := v.integer(); err == nil && n >= o.Min && n <= o.Max {
			example = o.format(strconv.FormatInt(n, 10))
		}
		return "", fmt.Errorf("%s is a duration and needs a unit: write %q", o.Name, example)
	case v.kind != kindString:
		return "", fmt.Errorf("%s is a duration, not %s: write it in quotes with a unit, for example %q", o.Name, v.words(), example)
	}
	d, err := time.ParseDuration(v.text)
	if err != nil {
		return "", fmt.Errorf("%s is a duration, not %s: write a number with a unit, for example %q", o.Name, quote(v.text), example)
	}
	lowest, highest := time.Duration(o.Min)*o.Unit, time.Duration(o.Max)*o.Unit
	if d < lowest || d > highest {
		return "", fmt.Errorf("%s goes from %q to %q, not %s", o.Name, lowest, highest, quote(v.text))
	}
	if d%o.Unit != 0 {
		below := d.Truncate(o.Unit)
		return "", fmt.Errorf("%s cannot be %s, the kernel counts it in steps of %s: write %q or %q", o.Name, quote(v.text), o.Unit, below, below+o.Unit)
	}
	return strconv.FormatInt(int64(d/o.Unit), 10), nil
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

// format is the value in the file's form, without quotes.
func (o *Option) format(text string) string {
	if o.Kind != KindDuration {
		return text
	}
	return (time.Duration(units(text)) * o.Unit).String()
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

// errNotHere is what a key gets that the contract has and this version has not.
func errNotHere(name string) error {
	if name == "num_unsol_na" {
		return errors.New("num_unsol_na is another name of num_grat_arp, the kernel keeps one value for both: write num_grat_arp")
	}
	return fmt.Errorf("this version of bondd does not have %q yet: take the line out", name)
}

// later are the keys and tables of a bond that are to come.
var later = strings.Fields(`
	peer_notif_delay fail_over_mac xmit_hash_policy lacp_rate lacp_active ad_select
	ad_actor_sys_prio ad_actor_system ad_user_port_key coupled_control min_links
	all_slaves_active resend_igmp packets_per_slave lp_interval tlb_dynamic_lb
	arp_interval arp_ip_target arp_validate arp_all_targets arp_missed_max ns_ip6_target
	use_carrier num_unsol_na slaac path_policy path vlan damping`)
