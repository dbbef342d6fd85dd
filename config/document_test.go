package config

import (
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// structures has the ways in which TOML lets tables be put together, and those
// in which it does not (toml.io/en/v1.0.0, "Table", "Array of Tables").
var structures = map[string]bool{
	"[a]\n[a.b]\n":                       true,
	"[a.b]\n[a]\n":                       true,
	"[a.b]\n[a]\nc = 1\n[a.d]\n":         true,
	"[a.b.c]\n[a.b]\nx = 1\n":            true,
	"a.b = 1\na.c = 2\n":                 true,
	"[a]\nb.c = 1\n[a.b.d]\n":            true,
	"[a]\nb.c = 1\n[a.d]\nb.c = 1\n":     true,
	"[[a]]\n[[a]]\n":                     true,
	"[[a]]\n[a.b]\n[[a]]\n[a.b]\n":       true,
	"[[a]]\n[[a.b]]\n[[a.b]]\n[a.b.c]\n": true,
	"a = {b.c = 1, b.d = 2}\n":           true,
	"a = [{b = 1}, {b = 2}]\n":           true,
	"\"a b\".c = 1\n'a b'.d = 2\n":       true,
	"[a]\n[a]\n":                         false,
	"[a.b]\n[a]\n[a]\n":                  false,
	"a = 1\na = 2\n":                     false,
	"a = 1\n\"a\" = 2\n":                 false,
	"a = 1\n[a]\n":                       false,
	"a = 1\n[a.b]\n":                     false,
	"a = 1\n[[a]]\n":                     false,
	"a = 1\na.b = 2\n":                   false,
	"a.b = 1\n[a]\n":                     false,
	"[a]\nb.c = 1\n[a.b]\n":              false,
	"[a.b]\n[a]\nb.c = 1\n":              false,
	"[a]\n[[a]]\n":                       false,
	"[[a]]\n[a]\n":                       false,
	"a = []\n[[a]]\n":                    false,
	"a = [{}]\n[a.b]\n":                  false,
	"a = {}\n[a.b]\n":                    false,
	"a = {}\na.b = 1\n":                  false,
	"a = {b = 1, b = 2}\n":               false,
	"a = {b = 1, b.c = 2}\n":             false,
	"[[a.b]]\n[a]\n[a.b]\n":              false,
}

func TestStructures(t *testing.T) {
	for text, good := range structures {
		var found findings
		readDocument("f", []byte(text), &found)
		if err := found.err(); (err == nil) != good {
			t.Errorf("%q: %v, want good: %t", text, err, good)
		}
		if err := toml.Unmarshal([]byte(text), &map[string]any{}); (err == nil) != good {
			t.Errorf("%q: another decoder says %v, want good: %t", text, err, good)
		}
	}
}
