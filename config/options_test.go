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
			if slices.Contains(later, o.Name) {
				t.Error("is in the table and is still to come")
			}
			for _, m := range o.Modes {
				if _, err := mode.parse(&value{kind: kindString, text: m}); err != nil {
					t.Error(err)
				}
			}
			if o.MultipleOf != "" && !seen[o.MultipleOf] {
				t.Errorf("stands before %s, on which it depends", o.MultipleOf)
			}
			switch o.Kind {
			case KindEnum:
				if len(o.Values) == 0 {
					t.Error("no values")
				}
			case KindInteger, KindDuration:
				if o.Min >= o.Max {
					t.Errorf("range %d to %d", o.Min, o.Max)
				}
				if o.Kind == KindDuration && o.Unit == 0 {
					t.Error("no unit")
				}
			case KindSlave:
			default:
				t.Errorf("kind %d", o.Kind)
			}
			v := &value{kind: kindString, text: o.format(o.Default)}
			if o.Kind == KindInteger {
				v.kind = kindInteger
			}
			if got, err := o.parse(v); err != nil || got != o.Default {
				t.Errorf("the default %q is read as %q, %v", v.text, got, err)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	names := append(bondKeys(), later...)
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
