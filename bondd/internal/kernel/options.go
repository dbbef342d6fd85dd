package kernel

import (
	"fmt"
	"strconv"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// An option is how one bonding option travels: its attribute inside
// IFLA_INFO_DATA and the form of its value (bond_policy,
// drivers/net/bonding/bond_netlink.c).
type option struct {
	name  string
	attr  uint16
	form  form
	words []string // of an enum: the word of each value (bond_options.c)
}

type form uint8

const (
	formU8 form = iota
	formU32
	formEnum  // u8, told by a word
	formSlave // u32, an interface index, told by the slave's name
)

// options has every option that bondd reads and writes, in the order in which
// bond_changelink applies them, so that a message with several is applied as
// this table reads.
var options = []option{
	{"mode", unix.IFLA_BOND_MODE, formEnum, []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}},
	{"active_slave", unix.IFLA_BOND_ACTIVE_SLAVE, formSlave, nil},
	{"miimon", unix.IFLA_BOND_MIIMON, formU32, nil},
	{"updelay", unix.IFLA_BOND_UPDELAY, formU32, nil},
	{"downdelay", unix.IFLA_BOND_DOWNDELAY, formU32, nil},
	{"primary", unix.IFLA_BOND_PRIMARY, formSlave, nil},
	{"primary_reselect", unix.IFLA_BOND_PRIMARY_RESELECT, formEnum, []string{"always", "better", "failure"}},
	{"num_grat_arp", unix.IFLA_BOND_NUM_PEER_NOTIF, formU8, nil},
}

func optionByName(name string) (*option, error) {
	for i := range options {
		if options[i].name == name {
			return &options[i], nil
		}
	}
	return nil, fmt.Errorf("bonding option %q is not known", name)
}

// encode appends the option with this value. index finds a slave's interface index.
func (o *option) encode(ae *netlink.AttributeEncoder, value string, index func(name string) (int, error)) error {
	switch o.form {
	case formEnum:
		for i, word := range o.words {
			if word == value {
				ae.Uint8(o.attr, uint8(i))
				return nil
			}
		}
		return fmt.Errorf("bonding option %s has no value %q", o.name, value)
	case formSlave:
		i := 0 // the kernel's "none"
		if value != "" {
			var err error
			if i, err = index(value); err != nil {
				return fmt.Errorf("bonding option %s: %w", o.name, err)
			}
		}
		ae.Uint32(o.attr, uint32(i))
		return nil
	}
	bits := 32
	if o.form == formU8 {
		bits = 8
	}
	n, err := strconv.ParseUint(value, 10, bits)
	if err != nil {
		return fmt.Errorf("bonding option %s has no value %q: %w", o.name, value, err)
	}
	if o.form == formU8 {
		ae.Uint8(o.attr, uint8(n))
	} else {
		ae.Uint32(o.attr, uint32(n))
	}
	return nil
}

// decodeBond reads IFLA_INFO_DATA of a bond. Options that name a slave are left
// as the decimal index; nameSlaves turns them into names once all links are known.
func decodeBond(ad *netlink.AttributeDecoder) *state.BondLink {
	b := &state.BondLink{Options: make(state.Options, len(options))}
	for i := range options {
		if options[i].form == formSlave {
			b.Options[options[i].name] = "" // the kernel leaves the attribute out for "none"
		}
	}
	for ad.Next() {
		for i := range options {
			o := &options[i]
			if o.attr != ad.Type() {
				continue
			}
			switch o.form {
			case formEnum:
				if n := int(ad.Uint8()); n < len(o.words) {
					b.Options[o.name] = o.words[n]
				} else {
					b.Options[o.name] = strconv.Itoa(n) // a newer kernel's value: shown as it is
				}
			case formU8:
				b.Options[o.name] = strconv.Itoa(int(ad.Uint8()))
			default:
				b.Options[o.name] = strconv.FormatUint(uint64(ad.Uint32()), 10)
			}
			if o.attr == unix.IFLA_BOND_ACTIVE_SLAVE {
				b.ActiveSlave, _ = strconv.Atoi(b.Options[o.name])
			}
		}
	}
	return b
}

// nameSlaves replaces the indexes in options that name a slave by names.
func nameSlaves(links []state.Link) {
	names := make(map[string]string, len(links))
	for i := range links {
		names[strconv.Itoa(links[i].Index)] = links[i].Name
	}
	for i := range links {
		b := links[i].Bond
		if b == nil {
			continue
		}
		for j := range options {
			if o := &options[j]; o.form == formSlave && b.Options[o.name] != "" {
				b.Options[o.name] = names[b.Options[o.name]]
			}
		}
	}
}
