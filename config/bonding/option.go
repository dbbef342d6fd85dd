package bonding

import (
	"iter"
	"slices"
	"strconv"
	"time"
)

// MaxTargets is how many targets a bond can have: of each family for the
// driver's ARP monitor (BOND_MAX_ARP_TARGETS in include/net/bonding.h and
// BOND_MAX_NS_TARGETS), and as many paths for bondd's own probes.
const MaxTargets = 16

// A Kind is the kind of value that an option takes. In state.Options and in
// config.Bond.Options a value is text.
type Kind int

// The kinds of value.
const (
	KindEnum     Kind = iota + 1 // one of Words; as text: that word
	KindInteger                  // a number; as text: decimal
	KindBool                     // yes or no; as text: 1 or 0
	KindDuration                 // a duration; as text: decimal, in Unit
	KindSlave                    // a NIC; as text: its name, in a configuration the reference to it; or empty for none
	KindMAC                      // a MAC address; as text: lower-case with colons, all zero for none
	KindIPv4s                    // IPv4 addresses; as text: separated by commas, or empty for none
	KindIPv6s                    // IPv6 addresses; as text: as KindIPv4s
)

// A Form is the form of a value in a netlink attribute (bond_policy and
// bond_fill_info, drivers/net/bonding/bond_netlink.c). Numbers are in the
// machine's byte order.
type Form int

// The forms of a value.
const (
	FormU8     Form = iota + 1
	FormU16         // of two bytes
	FormU32         // of four bytes; of a KindSlave: its interface index, 0 for none
	FormS32         // of four bytes, signed
	FormMAC         // six bytes
	FormNested      // one attribute for each address, in the order of the driver's slots
)

// A Scope is what an option belongs to.
type Scope int

// The scopes.
const (
	ScopeSetting Scope = iota // the bond; a configuration sets it
	ScopeState                // the bond; the driver changes it, and bondd writes it to fail over
	ScopeSlave                // each slave; its attribute is in IFLA_INFO_SLAVE_DATA
)

// An Option is one row of the table: all that bondd knows about one option of
// the driver (drivers/net/bonding/bond_options.c, bond_opts). The key in the
// file has the same name.
type Option struct {
	Name  string
	Scope Scope
	Kind  Kind

	Words    []string      // KindEnum: the kernel's word for each of its numbers, from 0
	Min, Max int64         // KindInteger and KindDuration, the latter in Unit
	Unit     time.Duration // KindDuration: what one means to the kernel

	// Default is the value of a bond whose file does not set the option. It is
	// the kernel's where the row says nothing else. Package config has another
	// one for miimon and primary_reselect where the rest of the bond asks for it.
	Default string

	// Modes are the modes that have the option; empty: every mode. In others the
	// kernel refuses every value, the default among them (EACCES).
	Modes []Mode

	// Effective are the modes in which the option does anything, where the
	// kernel takes it in more of them and ignores it; empty: all of Modes.
	Effective []Mode

	// Needs names a duration; while that is zero, the kernel takes this option
	// and ignores it.
	Needs string

	// OnlyDown: the kernel takes it only while the bond is down (EBUSY else).
	// OnlyEmpty: the kernel takes it only while the bond has no slaves
	// (ENOTEMPTY else). Both also hold for writing the value that is there.
	OnlyDown, OnlyEmpty bool

	// MultipleOf names a duration of which the kernel makes this one a multiple
	// by rounding down. While that is zero, the kernel refuses this option,
	// zero too (EPERM), so that config.Bond.Options does not have it.
	MultipleOf string

	// Attribute is the number of IFLA_BOND_*, or of IFLA_BOND_SLAVE_* for an
	// option of a slave (include/uapi/linux/if_link.h).
	Attribute uint16
	Form      Form
}

// Settings are the options of a bond that a configuration sets, in an order in
// which none depends on a later one: mode is the first. Rows are never written
// to.
func Settings() iter.Seq[*Option] {
	return rows(func(s Scope) bool { return s == ScopeSetting })
}

// BondOptions are all options of a bond, in the order of Settings.
func BondOptions() iter.Seq[*Option] {
	return rows(func(s Scope) bool { return s != ScopeSlave })
}

// SlaveOptions are the options of a slave.
func SlaveOptions() iter.Seq[*Option] {
	return rows(func(s Scope) bool { return s == ScopeSlave })
}

func rows(in func(Scope) bool) iter.Seq[*Option] {
	return func(yield func(*Option) bool) {
		for i := range table {
			if o := &table[i]; in(o.Scope) && !yield(o) {
				return
			}
		}
	}
}

// Lookup returns the option of a bond that has this name.
func Lookup(name string) (*Option, bool) { return find(BondOptions(), name) }

// LookupSlave returns the option of a slave that has this name.
func LookupSlave(name string) (*Option, bool) { return find(SlaveOptions(), name) }

func find(options iter.Seq[*Option], name string) (*Option, bool) {
	for o := range options {
		if o.Name == name {
			return o, true
		}
	}
	return nil, false
}

// In reports whether a mode has the option.
func (o *Option) In(m Mode) bool { return len(o.Modes) == 0 || slices.Contains(o.Modes, m) }

// EffectiveIn reports whether the option does anything in a mode.
func (o *Option) EffectiveIn(m Mode) bool {
	return o.In(m) && (len(o.Effective) == 0 || slices.Contains(o.Effective, m))
}

// Optional reports whether the kernel leaves the attribute out for none.
func (o *Option) Optional() bool {
	return o.Kind == KindSlave || o.Addresses()
}

// Addresses reports whether the option takes a list of IP addresses.
func (o *Option) Addresses() bool { return o.Kind == KindIPv4s || o.Kind == KindIPv6s }

// Word is the kernel's word for a number of a KindEnum; ok is false for one that
// only a newer kernel has.
func (o *Option) Word(n uint32) (word string, ok bool) {
	if n >= uint32(len(o.Words)) {
		return "", false
	}
	return o.Words[n], true
}

// Number is the kernel's number for a word of a KindEnum.
func (o *Option) Number(word string) (n uint32, ok bool) {
	i := slices.Index(o.Words, word)
	return uint32(max(i, 0)), i >= 0
}

// ParseWord reads a value of a KindEnum as the file may have it: the kernel's
// word, or its number in decimal.
func (o *Option) ParseWord(text string) (word string, ok bool) {
	for n, w := range o.Words {
		if text == w || text == strconv.Itoa(n) {
			return w, true
		}
	}
	return "", false
}
