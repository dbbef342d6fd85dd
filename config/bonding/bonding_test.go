package bonding

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Every row can be used: it has what its kind needs, depends only on rows before
// it, and says how it travels.
func TestTable(t *testing.T) {
	if table[0].Name != "mode" {
		t.Fatal("the table does not begin with mode, on which the other rows depend")
	}
	seen := map[string]bool{}
	attributes := map[string]string{}
	for i := range table {
		o := &table[i]
		t.Run(o.Name, func(t *testing.T) {
			if seen[o.Name] {
				t.Error("two rows")
			}
			seen[o.Name] = true
			attribute := fmt.Sprintf("slave %t, %d", o.Scope == ScopeSlave, o.Attribute)
			if other := attributes[attribute]; o.Attribute == 0 || other != "" {
				t.Errorf("has attribute %d, and so has %q", o.Attribute, other)
			}
			attributes[attribute] = o.Name
			for _, m := range slices.Concat(o.Modes, o.Effective) {
				if !slices.Contains(Modes(), m) {
					t.Errorf("%q is not a mode", m)
				}
			}
			for _, m := range o.Effective {
				if !o.In(m) {
					t.Errorf("has an effect in mode %s, which does not have it", m)
				}
			}
			if o.MultipleOf != "" && !seen[o.MultipleOf] {
				t.Errorf("stands before %s, on which it depends", o.MultipleOf)
			}
			if o.Needs != "" {
				if needs, ok := Lookup(o.Needs); !ok || needs.Kind != KindDuration {
					t.Errorf("needs %s, which is no duration", o.Needs)
				}
			}
			checkKind(t, o)
		})
	}
}

// checkKind checks what a row has by its kind, and that its form has room for
// every value.
func checkKind(t *testing.T, o *Option) {
	most := map[Form]int64{FormU8: 1<<8 - 1, FormU16: 1<<16 - 1, FormU32: 1<<32 - 1, FormS32: 1<<31 - 1}[o.Form]
	switch o.Kind {
	case KindEnum:
		if len(o.Words) < 2 || int64(len(o.Words)-1) > most {
			t.Errorf("%d words in form %d", len(o.Words), o.Form)
		}
	case KindInteger, KindDuration:
		if o.Min >= o.Max || o.Max > most || o.Min < 0 && o.Form != FormS32 {
			t.Errorf("range %d to %d in form %d", o.Min, o.Max, o.Form)
		}
		if o.Kind == KindDuration && o.Unit == 0 {
			t.Error("no unit")
		}
	case KindBool:
		if o.Form != FormU8 {
			t.Errorf("form %d", o.Form)
		}
	case KindSlave:
		if o.Form != FormU32 {
			t.Errorf("form %d", o.Form)
		}
	case KindMAC:
		if o.Form != FormMAC {
			t.Errorf("form %d", o.Form)
		}
	case KindIPv4s, KindIPv6s:
		if o.Form != FormNested {
			t.Errorf("form %d", o.Form)
		}
	default:
		t.Errorf("kind %d", o.Kind)
	}
}

// A bond of any mode of which the file says nothing has a good value for every
// option that the mode has.
func TestDefaults(t *testing.T) {
	for _, m := range Modes() {
		for o := range Settings() {
			if o.In(m) && !valid(o, o.Default) {
				t.Errorf("in mode %s %s has the default %q", m, o.Name, o.Default)
			}
		}
	}
}

// valid reports whether a text is a value of the option.
func valid(o *Option, text string) bool {
	n, err := strconv.ParseInt(text, 10, 64)
	switch o.Kind {
	case KindEnum:
		return slices.Contains(o.Words, text)
	case KindInteger, KindDuration:
		return err == nil && n >= o.Min && n <= o.Max
	case KindBool:
		return text == "0" || text == "1"
	case KindMAC:
		return text == "00:00:00:00:00:00"
	}
	return text == ""
}

// What each mode is, as bonding.rst and the driver's source have it.
func TestModes(t *testing.T) {
	type is struct{ active, shares, group, arp, speed, swaps bool }
	want := []struct {
		mode Mode
		is   is
	}{
		{"balance-rr", is{shares: true, group: true, arp: true}},
		{"active-backup", is{active: true, arp: true}},
		{"balance-xor", is{shares: true, group: true, arp: true}},
		{"broadcast", is{shares: true, group: true, arp: true}},
		{"802.3ad", is{shares: true, speed: true}},
		{"balance-tlb", is{active: true, shares: true, speed: true, swaps: true}},
		{"balance-alb", is{active: true, shares: true, speed: true, swaps: true}},
	}
	if len(want) != len(Modes()) {
		t.Fatalf("%d modes are tested, there are %d", len(want), len(Modes()))
	}
	for n, w := range want {
		for _, text := range []string{string(w.mode), strconv.Itoa(n)} {
			if m, err := ParseMode(text); err != nil || m != w.mode {
				t.Errorf("%q is mode %q, %v; want %q", text, m, err, w.mode)
			}
		}
		m := w.mode
		got := is{m.HasActiveSlave(), m.SharesTraffic(), m.StaticGroup(), m.UsesARPMonitor(), m.NeedsSpeed(), m.SwapsMACs()}
		if got != w.is {
			t.Errorf("%s: got %+v, want %+v", m, got, w.is)
		}
	}
	for _, text := range []string{"", "7", "-1", "01", "Active-Backup", "active-backup "} {
		if m, err := ParseMode(text); err == nil {
			t.Errorf("%q is mode %s", text, m)
		}
	}
}

// A name is looked up among what can have it.
func TestLookup(t *testing.T) {
	for name, want := range map[string]struct{ bond, slave, setting bool }{
		"miimon": {bond: true, setting: true}, "active_slave": {bond: true}, "prio": {slave: true}, "use_carrier": {}, "": {},
	} {
		_, bond := Lookup(name)
		_, slave := LookupSlave(name)
		setting := slices.ContainsFunc(slices.Collect(Settings()), func(o *Option) bool { return o.Name == name })
		if bond != want.bond || slave != want.slave || setting != want.setting {
			t.Errorf("%q is of a bond %t, of a slave %t, set %t; want %+v", name, bond, slave, setting, want)
		}
	}
}

func TestWords(t *testing.T) {
	o, _ := Lookup("xmit_hash_policy")
	for n, word := range o.Words {
		got, ok := o.Word(uint32(n))
		number, known := o.Number(word)
		if got != word || !ok || number != uint32(n) || !known {
			t.Errorf("%d is %q, %t; %q is %d, %t", n, got, ok, word, number, known)
		}
	}
	if word, ok := o.Word(uint32(len(o.Words))); ok {
		t.Errorf("%d is %q", len(o.Words), word)
	}
	if n, ok := o.Number("layer5"); ok {
		t.Errorf("layer5 is %d", n)
	}
	if word, ok := o.ParseWord("1"); word != "layer3+4" || !ok {
		t.Errorf("1 is %q, %t", word, ok)
	}
}

// An option can be had by a mode and do nothing in it.
func TestEffectiveIn(t *testing.T) {
	for _, tt := range []struct {
		option        string
		mode          Mode
		in, effective bool
	}{
		{"miimon", BalanceRR, true, true},
		{"min_links", LACP, true, true},
		{"min_links", ActiveBackup, true, false},
		{"fail_over_mac", ActiveBackup, true, true},
		{"fail_over_mac", BalanceALB, true, false},
		{"lacp_rate", LACP, true, true},
		{"lacp_rate", ActiveBackup, false, false},
	} {
		o, _ := Lookup(tt.option)
		if in, effective := o.In(tt.mode), o.EffectiveIn(tt.mode); in != tt.in || effective != tt.effective {
			t.Errorf("%s in %s: had %t, effective %t", tt.option, tt.mode, in, effective)
		}
	}
}

// Every duration is in milliseconds but the one that the driver counts in seconds.
func TestUnits(t *testing.T) {
	for o := range Settings() {
		want := time.Millisecond
		if o.Name == "lp_interval" {
			want = time.Second
		}
		if o.Kind == KindDuration && o.Unit != want {
			t.Errorf("%s counts in %s", o.Name, o.Unit)
		}
	}
}
