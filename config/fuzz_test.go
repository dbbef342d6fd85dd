package config

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"bondd.internal/config/bonding"
)

// seed gives a fuzz test every text of the other tests.
func seed(f *testing.F) {
	sample, err := os.ReadFile("bondd.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte(full))
	f.Add(Default().TOML())
	for _, test := range bad {
		f.Add([]byte(test.text))
	}
	for _, test := range followed {
		f.Add([]byte(brokenBond(test.text)))
	}
	for _, test := range questionable {
		f.Add([]byte(test.text))
	}
}

// checkRoundTrip checks that a Config survives the way through TOML, and that
// TOML is canonical.
func checkRoundTrip(t *testing.T, c *Config) {
	t.Helper()
	text := c.TOML()
	again, err := Parse("again", text)
	if err != nil {
		t.Fatalf("the TOML of a good Config is bad: %v\n%s", err, text)
	}
	if diff := cmp.Diff(c, again, byValue); diff != "" {
		t.Errorf("read back (-first +again):\n%s\n%s", diff, text)
	}
	if second := again.TOML(); !bytes.Equal(text, second) {
		t.Errorf("not canonical (-first +again):\n%s", cmp.Diff(string(text), string(second)))
	}
}

// FuzzParse feeds Parse anything. It never panics; its findings lie in the file
// and are one line each; and what it takes for TOML, another decoder does too.
func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, warnings, err := Check("f", data)
		lines := bytes.Count(data, []byte("\n")) + 1
		for _, w := range warnings {
			if w.Line < 1 || w.Line > lines || w.Col < 1 || w.Message == "" || strings.ContainsAny(w.Message, "\n\r\x00") {
				t.Errorf("warning %+v in a file of %d lines", w, lines)
			}
		}
		if err == nil {
			if summary := c.Summary(); strings.Count(summary, "\n") != 5*len(c.Bonds)-1 {
				t.Errorf("the summary of %d bonds is:\n%s", len(c.Bonds), summary)
			}
			if err := toml.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &map[string]any{}); err != nil {
				t.Errorf("taken, and it is no TOML: %v", err)
			}
			checkRoundTrip(t, c)
			return
		}
		var errs Errors
		if c != nil || !errors.As(err, &errs) || len(errs) == 0 {
			t.Fatalf("Parse = %v, %#v", c, err)
		}
		for i, e := range errs {
			if e.Line < 1 || e.Line > lines || e.Col < 1 || e.Message == "" || strings.ContainsAny(e.Message, "\n\r\x00") {
				t.Errorf("finding %+v in a file of %d lines", e, lines)
			}
			if i > 0 && (e.Line < errs[i-1].Line || e.Line == errs[i-1].Line && e.Col < errs[i-1].Col) {
				t.Errorf("finding %v after %v", e, errs[i-1])
			}
		}
	})
}

// FuzzDocument holds the tree against another decoder: what that takes, the
// tree takes too, whatever the keys mean.
func FuzzDocument(f *testing.F) {
	seed(f)
	for text := range structures {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var found findings
		readDocument("f", data, &found)
		if err := found.err(); err != nil && toml.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &map[string]any{}) == nil {
			t.Errorf("refused, and it is TOML: %v", err)
		}
	})
}

// A piece is what a configuration of FuzzRoundTrip is made of. What is in it
// may be anything.
type piece struct {
	first, second, web string // references, path of a file
	mode               uint8
	rows               uint64 // which options are set, by their places
	choice             int64  // what they are set to
	miimon, delay      int64  // ms, and how many of these
	bits               uint8  // what else is said
	mtu                int
	prio               int64
	interval, timeout  int64 // ns
	suppress, reuse    float64
}

// compose writes a configuration: a good one, if the pieces fit together.
func (c *piece) compose() []byte {
	var w writer
	w.table("[http]")
	w.text("web_config", c.web)
	w.table("[[bond]]")
	list(&w, "slaves", []string{c.first, c.second}, func(s string) string { return s })
	mode := bonding.Modes()[int(c.mode)%len(bonding.Modes())]
	w.text("mode", mode.String())
	arp := c.rows&1 != 0 // the place of mode
	if !arp {
		w.text("miimon", (time.Duration(c.miimon) * time.Millisecond).String())
	}
	for i, o := range slices.Collect(settings()) {
		set := c.rows&(1<<i) != 0 && o.EffectiveIn(mode)
		if !set || o.Name == "mode" || o.Name == "miimon" || arp && o.MultipleOf != "" || !arp && (o.Name == "arp_interval" || o.Needs != "") {
			continue
		}
		choice := c.choice>>(i%8+1) ^ c.choice
		within := func(low, high int64) int64 { return low + int64(uint64(choice)%uint64(high-low+1)) }
		switch o.Kind {
		case bonding.KindEnum:
			w.text(o.Name, o.Words[within(0, int64(len(o.Words))-1)])
		case bonding.KindInteger:
			w.option(o, strconv.FormatInt(within(o.Min, o.Max), 10))
		case bonding.KindBool:
			w.option(o, strconv.FormatInt(within(0, 1), 10))
		case bonding.KindDuration:
			n := within(o.Min, o.Max)
			if o.MultipleOf != "" {
				n = c.miimon * c.delay
			}
			w.option(o, strconv.FormatInt(n, 10))
		case bonding.KindSlave:
			w.text(o.Name, c.second)
		case bonding.KindMAC:
			w.text(o.Name, fmt.Sprintf("02:00:00:00:00:%02x", within(0, 255)))
		case bonding.KindIPv4s:
			w.option(o, fmt.Sprintf("10.0.0.%d,10.0.1.%d", within(1, 254), within(1, 254)))
		case bonding.KindIPv6s:
			w.option(o, fmt.Sprintf("2001:db8::%x,fe80::%x", within(1, 254), within(1, 254)))
		}
	}
	if c.bits&1 != 0 {
		w.WriteString("dhcp4 = true\nmtu = " + strconv.Itoa(c.mtu) + "\n")
	}
	if c.bits&2 != 0 {
		w.text("path_policy", "any")
	}
	if c.bits&4 != 0 {
		w.table("[[bond.path]]")
		w.text("target", "fe80::1")
		w.text("interval", time.Duration(c.interval).String())
	}
	if c.bits&8 != 0 {
		w.table("[[bond.path]]")
		w.text("target", "10.0.0.1")
		w.text("source", "10.0.0.2")
		w.text("interval", time.Duration(c.interval).String())
		w.text("timeout", time.Duration(c.timeout).String())
	}
	if c.bits&16 != 0 && mode.HasActiveSlave() {
		w.table("[[bond.slave]]")
		w.text("name", c.first)
		fmt.Fprintf(&w, "prio = %d\n", c.prio)
	}
	if c.bits&32 != 0 {
		w.table("[bond.damping]")
		fmt.Fprintf(&w, "suppress = %s\nreuse = %s\n", penaltyText(c.suppress), penaltyText(c.reuse))
	}
	return w.Bytes()
}

// FuzzRoundTrip makes good configurations out of pieces, for a fuzzer that
// begins from bytes seldom arrives at one, and checks their way through TOML.
func FuzzRoundTrip(f *testing.F) {
	f.Add("eth0", "eth1", "/perm/\"web\\\u007f.yml", uint8(1), uint64(0xfffffffe), int64(3), int64(100), int64(2), uint8(0x3d), 1500, int64(-5), int64(5e8), int64(2e8), 3.0, 0.5)
	f.Add("mac:02:00:00:00:00:01", "pci:1:03:00.0", "\u00e9\t", uint8(0), uint64(0xffffffff), int64(1), int64(1), int64(0), uint8(0), 68, int64(0), int64(0), int64(0), 1e-9, 1e-10)
	f.Add("eth0", "eth1", "", uint8(4), uint64(0xfffffffe), int64(-1), int64(10), int64(3), uint8(0x2f), 9000, int64(0), int64(12345678), int64(1234567), 100.0, 99.875)
	f.Fuzz(func(t *testing.T, first, second, web string, mode uint8, rows uint64, choice, miimon, delay int64, bits uint8, mtu int, prio, interval, timeout int64, suppress, reuse float64) {
		piece := piece{first, second, web, mode, rows, choice, miimon, delay, bits, mtu, prio, interval, timeout, suppress, reuse}
		c, err := Parse("f", piece.compose())
		if err != nil {
			return // FuzzParse looks at these
		}
		if utf8.ValidString(web) && c.HTTP.WebConfig != web {
			t.Errorf("web_config %q, want %q", c.HTTP.WebConfig, web)
		}
		checkRoundTrip(t, c)
	})
}

// Configurations of every mode, made of random pieces that fit, are good and
// survive the way through TOML; and every option is among them with a value
// that is not its default.
func TestRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	changed := map[string]bool{}
	for i := range 2000 {
		piece := piece{
			first: "eth0", second: "eth1", mode: uint8(i), rows: random.Uint64(), choice: random.Int64(),
			miimon: 1 + random.Int64N(300), delay: random.Int64N(1000),
			bits: uint8(random.Uint32()) | 4, mtu: 1280 + random.IntN(9000), prio: random.Int64N(1<<32) - 1<<31,
			interval: 10e6 + random.Int64N(3600e9-10e6), timeout: 1e6 + random.Int64N(9e6), // ns, 10 ms and more, less than 10 ms
			suppress: 0.001 + 99*random.Float64(),
		}
		piece.reuse = piece.suppress * random.Float64()
		if piece.rows&1 != 0 {
			piece.rows |= 0xff // the ARP monitor with its interval and targets
			if piece.mode %= 7; piece.mode > 3 {
				piece.rows &^= 1
			}
		}
		c := mustParse(t, string(piece.compose()))
		checkRoundTrip(t, c)
		for name, text := range c.Bonds[0].Options {
			if o, _ := bonding.Lookup(name); text != o.Default {
				changed[name] = true
			}
		}
	}
	for o := range settings() {
		if !changed[o.Name] {
			t.Errorf("%s was never anything but its default", o.Name)
		}
	}
}
