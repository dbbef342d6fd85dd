package main

import (
	"bytes"
	"context"
	"flag"
	"strings"
	"testing"
)

// Bare bondd is the daemon only where gokrazy's init started it: anywhere else
// it would take the machine's own network cards.
func TestBareBondd(t *testing.T) {
	const daemon = "the daemon runs"
	for name, tt := range map[string]struct {
		origin origin
		args   string
		code   int
		out    string // what the daemon or the help says
		errors string
	}{
		"first start":                    {origin{parent: 1, gokrazy: true, firstStart: true}, "", 0, daemon, ""},
		"restart":                        {origin{parent: 1, gokrazy: true}, "", 0, daemon, ""},
		"first start by another program": {origin{parent: 77, firstStart: true}, "", 0, daemon, ""},
		"restart with flags":             {origin{parent: 1, gokrazy: true}, "--config /perm/x.toml", 0, daemon + " --config /perm/x.toml", ""},
		"a shell":                        {origin{parent: 77}, "", 2, "", "usage: bondd COMMAND"},
		"a shell on gokrazy":             {origin{parent: 77, gokrazy: true}, "", 2, "", "usage: bondd COMMAND"},
		"another init":                   {origin{parent: 1}, "", 2, "", "usage: bondd COMMAND"},
		"a shell, with flags":            {origin{parent: 77}, "--config x.toml", 2, "", "bondd: missing command before --config; the daemon is bondd run\n"},
		"run from a shell":               {origin{parent: 77}, "run", 0, daemon, ""},
		"run with flags":                 {origin{parent: 77}, "run --config x.toml", 0, daemon + " --config x.toml", ""},
		"run on gokrazy":                 {origin{parent: 1, gokrazy: true}, "run", 0, daemon, ""},
		"help on gokrazy":                {origin{parent: 1, gokrazy: true}, "--help", 0, "usage: bondd COMMAND", ""},
		"version on gokrazy":             {origin{parent: 1, gokrazy: true}, "--version", 0, "bondd ", ""},
		"another command on gokrazy":     {origin{parent: 1, gokrazy: true}, "version", 0, "bondd ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			p := newProgram(stdio{in: strings.NewReader(""), out: &out, err: &errs}, tt.origin)
			for i := range p.commands {
				if c := &p.commands[i]; c.name == "run" {
					c.run = func(_ context.Context, std stdio, _ *flag.FlagSet, args []string) int {
						std.out.Write([]byte(strings.Join(append([]string{daemon}, args...), " ")))
						return exitOK
					}
				}
			}
			if code := p.dispatch(t.Context(), strings.Fields(tt.args)); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, s := range []struct{ name, got, want string }{{"output", out.String(), tt.out}, {"errors", errs.String(), tt.errors}} {
				if s.want == "" && s.got != "" || !strings.HasPrefix(s.got, s.want) && !strings.Contains(s.got, "\n"+s.want) {
					t.Errorf("%s are %q, want %q", s.name, s.got, s.want)
				}
			}
		})
	}
}

// The facts of this very process: a test is not started by gokrazy's init.
func TestOrigin(t *testing.T) {
	t.Setenv(firstStartVariable, "")
	if o := thisProcess(); o.parent <= 1 || o.byGokrazy() {
		t.Errorf("this process is %+v", o)
	}
	t.Setenv(firstStartVariable, "1")
	if !thisProcess().byGokrazy() {
		t.Errorf("with %s set, gokrazy did not start this", firstStartVariable)
	}
}
