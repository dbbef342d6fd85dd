package config

import (
	"slices"
	"testing"

	"bondd.internal/config/bonding"
)

// The default of every option is a value that the file can say, in every mode
// that has the option.
func TestDefaults(t *testing.T) {
	for o := range settings() {
		if slices.Contains(notHere, o.Name) {
			t.Errorf("%s can be set and is refused", o.Name)
		}
		for _, mode := range bonding.Modes() {
			if !o.In(mode) {
				continue
			}
			t.Run(o.Name+"/"+mode.String(), func(t *testing.T) {
				var w writer
				w.table("[[bond]]")
				want := o.Default
				if o.Name == "mode" {
					want = mode.String()
				} else {
					w.text("mode", mode.String())
				}
				w.option(o, want)
				b := mustParse(t, w.String()).Bonds[0]
				if got, ok := b.Options[o.Name]; !ok || got != want {
					t.Errorf("the default %q is read as %q", want, got)
				}
			})
		}
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
