package config

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
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
		c, err := Parse("f", data)
		if err == nil {
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
		lines := bytes.Count(data, []byte("\n")) + 1
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

// FuzzRoundTrip makes good configurations out of pieces, for a fuzzer that
// begins from bytes seldom arrives at one, and checks their way through TOML.
func FuzzRoundTrip(f *testing.F) {
	f.Add("eth0", "eth1", int64(100), int64(2), uint8(1), uint8(3), 1500, "/perm/\"web\\\u007f.yml")
	f.Add("mac:02:00:00:00:00:01", "pci:1:03:00.0", int64(1), int64(0), uint8(0), uint8(0), 68, "\u00e9\t")
	f.Fuzz(func(t *testing.T, first, second string, miimon, delay int64, mode, bits uint8, mtu int, web string) {
		var w writer
		w.table("[http]")
		w.text("web_config", web)
		w.table("[[bond]]")
		list(&w, "slaves", []string{first, second}, func(s string) string { return s })
		duration := Option{Kind: KindDuration, Unit: time.Millisecond}
		w.text("miimon", duration.format(strconv.FormatInt(miimon, 10)))
		w.text("updelay", duration.format(strconv.FormatInt(miimon*delay, 10)))
		w.text("mode", strconv.Itoa(int(mode)))
		if bits&1 != 0 {
			w.text("primary", second)
		}
		if bits&2 != 0 {
			w.WriteString("dhcp4 = true\nmtu = " + strconv.Itoa(mtu) + "\n")
		}
		c, err := Parse("f", w.Bytes())
		if err != nil {
			return // FuzzParse looks at these
		}
		if utf8.ValidString(web) && c.HTTP.WebConfig != web {
			t.Errorf("web_config %q, want %q", c.HTTP.WebConfig, web)
		}
		checkRoundTrip(t, c)
	})
}
