package config

import (
	"slices"
	"testing"
)

// Every row of Table can be used: its default is a value that the file
// can say, its modes are modes, and it has what its kind needs.
func TestTable(t *testing.T) {
	mode, ok := LookupOption("mode")
	if !ok || Table[0].Name != "mode" {
		t.Fatal("Table does not begin with mode, on which the other rows depend")
	}
	seen := map[string]bool{}
	for i := range Table {
		o := &Table[i]
		t.Run(o.Name, func(t *testing.T) {
			if seen[o.Name] {
				t.Error("two rows")
			}
			seen[o.Name] = true
			if slices.Contains(notHere, o.Name) {
				t.Error("is in the table and is refused")
			}
			for _, m := range slices.Concat(o.Modes, o.Effective) {
				if _, err := mode.parse(&value{kind: kindString, text: m}); err != nil {
					t.Error(err)
				}
			}
			if o.MultipleOf != "" && !seen[o.MultipleOf] {
				t.Errorf("stands before %s, on which it depends", o.MultipleOf)
			}
			if o.Needs != "" {
				if needs, ok := LookupOption(o.Needs); !ok || needs.Kind != KindDuration {
					t.Errorf("needs %s, which is no duration", o.Needs)
				}
			}
			switch o.Kind {
			case KindEnum:
				for n, w := range o.Values {
					if w.Number != n {
						t.Errorf("%s is %d", w.Name, w.Number)
					}
				}
				if len(o.Values) < 2 {
					t.Error("no choice")
				}
			case KindInteger, KindDuration:
				if o.Min >= o.Max {
					t.Errorf("range %d to %d", o.Min, o.Max)
				}
				if o.Kind == KindDuration && o.Unit == 0 {
					t.Error("no unit")
				}
			case KindBool, KindSlave, KindMAC, KindIPv4s, KindIPv6s:
			default:
				t.Errorf("kind %d", o.Kind)
			}

			var w writer
			w.table("[[bond]]")
			if len(o.Modes) > 0 {
				w.text("mode", o.Modes[0])
			}
			w.option(o, o.Default)
			b := mustParse(t, w.String()).Bonds[0]
			if got, ok := b.Options[o.Name]; !ok || got != o.Default {
				t.Errorf("the default %q is read as %q", o.Default, got)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	names := append(bondKeys(), notHere...)
	for word, want := range map[string]string{
		"mimon":               "miimon",
		"Miimon":              "miimon",
		"adresses":            "addresses",
		"address":             "addresses",
		"primary-reselect":    "primary_reselect",
		"mdoe":                "mode",
		"dhpc4":               "dhcp4",
		"mt":                  "mtu",
		"ipaddr":              "",
		"x":                   "",
		"":                    "",
		"completelydifferent": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
}
