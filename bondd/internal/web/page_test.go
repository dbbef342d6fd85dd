package web_test

import (
	"io/fs"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
)

// What a slow link and a small machine can bear.
const (
	maxPage   = 50_000 // bytes
	maxScript = 15_000
	maxAssets = 40_000
)

func parse(t *testing.T, page string) *html.Node {
	t.Helper()
	document, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// elements calls f for each element beneath n.
func elements(n *html.Node, f func(*html.Node)) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode {
			f(d)
		}
	}
}

func attribute(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// attributes returns the values of an attribute of all elements of that name.
func attributes(n *html.Node, element, name string) (values []string) {
	elements(n, func(e *html.Node) {
		if v, ok := attribute(e, name); ok && e.Data == element {
			values = append(values, v)
		}
	})
	return values
}

// byID returns the text of the element with that id, and whether there is one.
func byID(n *html.Node, id string) (content string, found bool) {
	elements(n, func(e *html.Node) {
		if v, _ := attribute(e, "id"); v == id {
			content, found = text(e), true
		}
	})
	return content, found
}

// text is what a person reads in n.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type != html.TextNode {
			continue
		}
		b.WriteString(d.Data)
		if d.NextSibling == nil || d.NextSibling.Data != "wbr" { // where a word may be broken it is still one
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// eachPage renders every shape.
func eachPage(t *testing.T, f func(t *testing.T, name, page string)) {
	for _, shape := range fixture.Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			_, server := start(t, shape.Snapshot)
			got := do(t, server, http.MethodGet, "/")
			if got.code != http.StatusOK {
				t.Fatalf("status %d: %s", got.code, got.body)
			}
			f(t, shape.Name, got.body)
		})
	}
}

// Browsers forgive what the author did not mean, each in its own way.
func TestHTMLIsWellFormed(t *testing.T) {
	void := []string{"meta", "link", "br", "input", "img", "hr", "wbr"}
	eachPage(t, func(t *testing.T, _, page string) {
		var open []string
		tokens := html.NewTokenizer(strings.NewReader(page))
		for {
			kind := tokens.Next()
			if kind == html.ErrorToken {
				break
			}
			token := tokens.Token()
			switch {
			case kind == html.StartTagToken && !slices.Contains(void, token.Data):
				open = append(open, token.Data)
			case kind == html.EndTagToken:
				if len(open) == 0 || open[len(open)-1] != token.Data {
					t.Fatalf("</%s> closes none of %v", token.Data, open)
				}
				open = open[:len(open)-1]
			}
		}
		if len(open) > 0 {
			t.Errorf("not closed: %v", open)
		}

		document := parse(t, page)
		ids := make(map[string]bool)
		elements(document, func(e *html.Node) {
			if id, ok := attribute(e, "id"); ok {
				if ids[id] {
					t.Errorf("id %q is there twice", id)
				}
				ids[id] = true
			}
			seen := make(map[string]bool)
			for _, a := range e.Attr {
				if seen[a.Key] {
					t.Errorf("<%s> has %s twice", e.Data, a.Key)
				}
				seen[a.Key] = true
			}
		})
		elements(document, func(e *html.Node) {
			if id, ok := attribute(e, "aria-labelledby"); ok && !ids[id] {
				t.Errorf("<%s> is labelled by %q, which is not there", e.Data, id)
			}
		})
	})
}

func TestPageNeedsNothingElse(t *testing.T) {
	eachPage(t, func(t *testing.T, _, page string) {
		if len(page) > maxPage {
			t.Errorf("the page has %d bytes, more than %d", len(page), maxPage)
		}
		elements(parse(t, page), func(e *html.Node) {
			_, external := attribute(e, "src")
			if e.Data == "style" || e.Data == "script" && !external {
				t.Errorf("<%s> inline: the content security policy blocks it", e.Data)
			}
			for _, a := range e.Attr {
				switch {
				case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
					t.Errorf("<%s %s>: the content security policy blocks it", e.Data, a.Key)
				case a.Key == "src" || a.Key == "href":
					if !strings.HasPrefix(a.Val, "/") || strings.HasPrefix(a.Val, "//") {
						t.Errorf("<%s %s=%q> leads elsewhere", e.Data, a.Key, a.Val)
					}
				}
			}
		})
	})
}

func TestAssets(t *testing.T) {
	total := 0
	assets := os.DirFS("assets")
	names, err := fs.Glob(assets, "*")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := regexp.MustCompile(`https?://[^\s"']+|@import|url\(`)
	for _, name := range names {
		content, err := fs.ReadFile(assets, name)
		if err != nil {
			t.Fatal(err)
		}
		total += len(content)
		if strings.HasSuffix(name, ".js") && len(content) > maxScript {
			t.Errorf("%s has %d bytes, more than %d", name, len(content), maxScript)
		}
		for _, found := range elsewhere.FindAllString(string(content), -1) {
			if found != "http://www.w3.org/2000/svg" { // a name, not an address
				t.Errorf("%s leads elsewhere: %s", name, found)
			}
		}
	}
	if total > maxAssets {
		t.Errorf("the assets have %d bytes, more than %d", total, maxAssets)
	}
}

func TestPageSaysWhatIs(t *testing.T) {
	want := map[string][]string{
		"healthy":       {"eth0 carries traffic 1 Gbit/s, full duplex", "eth1 ready", "RX bytes 21.8 GB", "traffic moved from eth0 to eth1 in 1.21 ms: eth0 lost its link", "5 min ago", "Failovers 2 (1 link, 1 primary)", "took 1.21 ms", "option ROM", "up 3 days", "52:54:00:12:34:a1"},
		"degraded":      {"bond0 is degraded: eth1 has no link", "Traffic on eth0.", "eth1 no link"},
		"down":          {"bond0 is down: eth0 has no link, eth1 has no link", "bond0 carries no traffic: eth0 has no link, eth1 has no link"},
		"missing":       {"mac:52:54:00:12:34:a7 missing", "put the card in", "Hardware warn"},
		"left-out":      {"left out: its chipset 10ec:8139", "Hardware fail", "eth1 left out"},
		"broken-config": {"The configuration file has an error", `/perm/bondd/bondd.toml:5:10: miimon = 100 has no unit: write "100ms"`, "Running instead: built-in default", "bond0: miimon is 200, should be 100"},
		"no-nic":        {"No bond: there is no Ethernet card to bond", "Hardware fail"},
		"starting":      {"No bond yet: the configuration is not applied", "bondd is starting.", "Nothing yet.", "Not looked at yet.", "Applied", "not yet"},
		"broadcast":     {"every frame leaves on eth0 and eth1"},
		"round-robin":   {"traffic shared by eth0 and eth1"},
		"single": {"2001:db8:1234:5678:5054:ff:fe12:34a0/64", "No failover since bondd started.",
			`/perm/bondd/bondd.toml:3:11: warning: "eth0" is the only slave, so nothing takes over when it fails`},
		"many":    {"enp10s0f1 ready", "enp8s0f1 coming back", "enp7s0f1 held out", "16 older", "2001:db8:1234:5678::1 did not answer the last probe", "192.168.1.1 is not asked while there is no link", "All 1,000 failovers as JSON"},
		"several": {"3 bonds: bond0 healthy, bond1 degraded, bond2 down", "bond1 is degraded: eth3 has no link", "bond0 · 14 Mar, 15:06:26 UTC"},

		"detached": {
			"detached", "power cycle the machine",
		},
		"path-dead": {
			"look at its cable, its switch port and the card itself", "eth0 path is dead 1 Gbit/s", "eth0 fail: no answer from 192.168.1.1", "eth1 pass: 192.168.1.1 answers in 0.44 ms",
			"42 of 548,677 probes missed", "Has to answer 192.168.1.1", "Fast link down not offered not offered",
			"eth0 → eth1 path nothing answers through eth0", "just now · took 0.30 ms",
			"eth0 → eth1 link eth0 lost its link 14 Mar, 15:04:26 UTC · 5 min ago · took 1.21 ms Carrier lost 0 Event read +85 µs Decided +115 µs Written +1.29 ms Kernel agreed +1.98 ms First packet +3.08 ms",
			"eth0 active, path is dead path is dead", "eth0 active, no link no link",
		},
		"all-paths-dead": {"bond0 is down: 192.168.1.1 answers no slave", "no answer from fe80::5054:ff:fe12:1", "Has to answer 192.168.1.1 or fe80::5054:ff:fe12:1", "43 of 548,678 probes missed, 3 could not be sent"},
		"suppressed":     {"eth0 held out", "held out for another 29 s, because it failed too often", "Flap penalty 3.8 0.2", "Priority 10 -5", "Chosen by an operator eth1"},
		"parked":         {"eth1 parked", "parked: out of the bond until its path is back", "eth1 out path nothing answers through eth1", "eth1 carries traffic –"},
		"lacp":           {"LACP has agreed, aggregator 1", "LACP partner 00:1b:21:3c:9d:f8, key 1001", "Active aggregator 1, with 2 ports", "LACP, this end active, short timeout, aggregating, in sync, collecting, distributing", "Fast link down on not offered"},
		"half-open":      {"eth1 half-open", "half-open: the other end sends LACP, but does not hear this end's", "Active aggregator 1, with 1 port", "active, aggregating, expired"},
		"foreign": {"Addresses 192.168.1.202/24 192.168.1.250/32 foreign", "Gateway 192.168.1.1 192.168.1.9 foreign",
			"Foreign routes default via 192.168.1.9 metric 50 10.0.0.0/8 via 192.168.1.2 198.51.100.0/24"},
		"deaf": {"eth1 receives nothing", "eth1 has MAC 02:00:00:00:00:99, and bond0 relies on 52:54:00:12:34:a0", "the kernel differs",
			"set MAC of eth1 to 52:54:00:12:34:a0: the kernel took it and did not keep it"},
		"driver-down": {"eth1 down in the driver", "eth1 fail: eth1 has a link, but the bonding driver keeps it down: the speed of the link is not known, and mode balance-tlb needs it"},
		"unproven":    {"bond0 is healthy: traffic on eth0, eth1 ready", "eth1 path is unproven 1 Gbit/s", "eth1 has link again"},
		"no-partner":  {"eth0 carries traffic", "eth1 no partner", "no LACP comes from the other end: set up an LACP group for this port on the switch", "LACP partner none", "LACP, other end nothing nothing"},
	}
	eachPage(t, func(t *testing.T, name, page string) {
		content := text(parse(t, page))
		for _, w := range want[name] {
			if !strings.Contains(content, w) {
				t.Errorf("the page does not say %q:\n%s", w, content)
			}
		}
	})
}

// Times are to scale, but for a first packet that is long in coming.
func TestTimeLine(t *testing.T) {
	bars := func(change func(*state.Failover)) string {
		s := fixture.Healthy()
		at := fixture.Now
		sw := &state.Failover{
			Seq: 1, Bond: "bond0", From: "eth0", To: "eth1", Reason: state.ReasonLink,
			CarrierLost: at, EventRead: at.Add(100), Decided: at.Add(200), Written: at.Add(800), Agreed: at.Add(900), FirstPacket: at.Add(1000),
		}
		change(sw)
		s.History = []*state.Failover{sw}
		_, server := start(t, s)
		var found []string
		elements(parse(t, do(t, server, http.MethodGet, "/").body), func(e *html.Node) {
			if x, ok := attribute(e, "x"); ok && e.Parent.Parent.Data == "td" {
				width, _ := attribute(e, "width")
				class, _ := attribute(e, "class")
				found = append(found, strings.TrimSpace(x+"+"+width+" "+class))
			}
		})
		return strings.Join(found, ", ")
	}
	for name, tt := range map[string]struct {
		want   string
		change func(*state.Failover)
	}{
		"whole":               {"0.0%+0.7%, 0.0%+10.0%, 10.0%+10.0%, 20.0%+60.0%, 80.0%+10.0%, 80.0%+19.3%", func(*state.Failover) {}},
		"no carrier lost":     {"0.0%+0.7%, 0.0%+11.1%, 11.1%+66.7%, 77.8%+11.1%, 77.8%+21.5%", func(s *state.Failover) { s.CarrierLost = time.Time{} }},
		"late first packet":   {"0.0%+0.7%, 0.0%+8.3%, 8.3%+8.3%, 16.7%+50.0%, 66.7%+8.3%, 66.7%+32.6% beyond", func(s *state.Failover) { s.FirstPacket = s.Written.Add(time.Minute) }},
		"packet before words": {"0.0%+0.7%, 0.0%+11.1%, 11.1%+11.1%, 22.2%+66.7%, 88.9%+10.4%, 88.9%+5.6%", func(s *state.Failover) { s.FirstPacket = s.Written.Add(50) }},
		"the kernel's own": {"0.0%+0.7%", func(s *state.Failover) {
			*s = state.Failover{Seq: 1, Bond: "bond0", From: "eth0", To: "eth1", Agreed: s.Agreed}
		}},
		"nothing":          {"", func(s *state.Failover) { *s = state.Failover{Seq: 1, Bond: "bond0"} }},
		"a clock set back": {"99.3%+0.7%, 0.0%+0.7%, 0.0%+0.7%, 0.0%+0.7%, 0.0%+0.7%, 0.0%+0.7%", func(s *state.Failover) { s.CarrierLost = s.EventRead.Add(time.Second) }},
	} {
		if got := bars(tt.change); got != tt.want {
			t.Errorf("%s: bars\n%s, want\n%s", name, got, tt.want)
		}
	}
}

// Tests of the whole appliance find what they look for by these.
func TestPageMarks(t *testing.T) {
	slaves := map[string]map[string]string{
		"healthy":     {"eth0": "active", "eth1": "backup"},
		"degraded":    {"eth0": "active", "eth1": "down"},
		"down":        {"eth0": "down", "eth1": "down"},
		"missing":     {"eth0": "active", "mac:52:54:00:12:34:a7": "missing"},
		"left-out":    {"eth0": "active", "eth1": "down"},
		"round-robin": {"eth0": "active", "eth1": "active"},
		"detached":    {"eth0": "down", "eth1": "active"},
		"path-dead":   {"eth0": "down", "eth1": "active"},
		"suppressed":  {"eth0": "down", "eth1": "active"},
		"parked":      {"eth0": "active", "eth1": "down"},
		"lacp":        {"eth0": "active", "eth1": "active"},
		"half-open":   {"eth0": "active", "eth1": "down"},
		"no-partner":  {"eth0": "active", "eth1": "down"},
		"deaf":        {"eth0": "active", "eth1": "down"},
		"driver-down": {"eth0": "active", "eth1": "down"},
		"unproven":    {"eth0": "active", "eth1": "backup"},
	}
	health := map[string]string{
		"degraded": "degraded", "missing": "degraded", "left-out": "degraded", "many": "degraded",
		"detached": "degraded", "path-dead": "degraded", "suppressed": "degraded", "parked": "degraded", "half-open": "degraded", "no-partner": "degraded", "deaf": "degraded",
		"single": "degraded", "driver-down": "degraded",
		"down": "down", "several": "down", "no-nic": "down", "starting": "down", "all-paths-dead": "down",
	}
	eachPage(t, func(t *testing.T, name, page string) {
		document := parse(t, page)
		if headline, ok := byID(document, "headline"); !ok || headline == "" {
			t.Error("there is no headline")
		}
		wantHealth := "healthy"
		if h, ok := health[name]; ok {
			wantHealth = h
		}
		if got := attributes(document, "html", "data-health"); !slices.Equal(got, []string{wantHealth}) {
			t.Errorf("health %v, want %s", got, wantHealth)
		}
		if icon := attributes(document, "link", "href")[0]; !strings.HasPrefix(icon, "/assets/"+wantHealth+".svg") {
			t.Errorf("icon %s of a %s bond", icon, wantHealth)
		}
		got := make(map[string]string)
		elements(document, func(e *html.Node) {
			slave, ok := attribute(e, "data-slave")
			if !ok {
				return
			}
			got[slave], _ = attribute(e, "data-state")
			_, link := attribute(e, "data-link")
			without := func(why string) bool { return strings.Contains(text(e), why) }
			if link == (without("no link") || without("missing") || without("detached")) {
				t.Errorf("%s has a link: %t, and the page says %q", slave, link, text(e))
			}
		})
		for slave, state := range slaves[name] {
			if got[slave] != state {
				t.Errorf("%s is %q, want %q", slave, got[slave], state)
			}
		}
		if _, ok := byID(document, "config-error"); ok != (name == "broken-config") {
			t.Errorf("configuration error shown: %t", ok)
		}
	})
}

func TestPageEscapes(t *testing.T) {
	s := fixture.Degraded()
	const attack = `<script>alert(1)</script>"'`
	s.Bonds[0].Slaves[1].Name, s.Events[0].Message, s.Config.TOML, s.Config.Error = attack, attack, attack, attack
	_, server := start(t, s)
	if got := attributes(parse(t, do(t, server, http.MethodGet, "/").body), "script", "src"); len(got) != 1 {
		t.Errorf("%d scripts, want the page's own", len(got))
	}
	if page := do(t, server, http.MethodGet, "/").body; strings.Contains(page, "<script>") {
		t.Error("a name became a script")
	}
}

// Colours are legible in the light and in the dark: WCAG 2.1 level AA asks for 4.5 to 1.
func TestContrast(t *testing.T) {
	css, err := os.ReadFile("assets/bondd.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("there are no colours for the dark")
	}
	dark, _, _ = strings.Cut(dark, "[data-health")
	colours := palette(light)
	check := func(scheme string) {
		for _, pair := range []string{
			"text page", "text card", "muted page", "muted card", "link page", "link card",
			"good card", "warn card", "bad card", "bad page", "warn page",
			"good good-tint", "warn warn-tint", "bad bad-tint",
			"text good-tint", "text warn-tint", "text bad-tint", "muted good-tint", "muted warn-tint", "muted bad-tint",
		} {
			front, back, _ := strings.Cut(pair, " ")
			if got := contrast(t, colours[front], colours[back]); got < 4.5 {
				t.Errorf("%s: %s on %s has a contrast of %.2f", scheme, front, back, got)
			}
		}
	}
	check("light")
	for name, colour := range palette(dark) {
		colours[name] = colour
	}
	check("dark")
}

func palette(css string) map[string]string {
	colours := make(map[string]string)
	for _, m := range regexp.MustCompile(`--([\w-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
		colours[m[1]] = m[2]
	}
	return colours
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// luminance is the relative luminance of WCAG 2.1.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	rgb, err := strconv.ParseUint(colour, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	linear := func(shift int) float64 {
		c := float64(rgb>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(16) + 0.7152*linear(8) + 0.0722*linear(0)
}
