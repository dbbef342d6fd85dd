package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"bondd.internal/config/bonding"
)

// What the keys of the tables within a bond can be. A probe more often than
// every 10 ms is a load, not a check; one less often than hourly finds nothing.
const (
	minInterval, maxInterval = 10 * time.Millisecond, time.Hour
	minTimeout               = time.Millisecond
	minHalfLife, maxHalfLife = time.Second, time.Hour

	maxSuppress = 100
)

// What they are where the file says nothing.
const (
	defaultInterval    = 500 * time.Millisecond
	defaultTimeout     = 200 * time.Millisecond
	defaultMissedMax   = 3
	defaultReturnAfter = 3

	defaultHalfLife = 15 * time.Second
	defaultSuppress = 3
	defaultReuse    = 1
)

var (
	pathKeys    = []string{"target", "source", "interval", "timeout", "missed_max", "return_after"}
	slaveKeys   = []string{"name", "prio"}
	dampingKeys = []string{"half_life", "suppress", "reuse"}
)

// headers are how a bond and the tables within it begin.
var headers = map[string]string{
	"bond":    "[[bond]]",
	"path":    "[[bond.path]]",
	"slave":   "[[bond.slave]]",
	"vlan":    "[[bond.vlan]]",
	"damping": "[bond.damping]",
}

// A path is a Path on its way.
type path struct {
	Path
	places
}

// A slave is what a [[bond.slave]] says of one slave.
type slave struct {
	ref  string
	prio int
	places
}

// path reads one [[bond.path]].
func (p *parser) path(v *value) *path {
	t := &path{
		Path: Path{
			Interval:    defaultInterval,
			Timeout:     defaultTimeout,
			MissedMax:   defaultMissedMax,
			ReturnAfter: defaultReturnAfter,
		},
	}
	t.places = p.table("[[bond.path]]", v, []field{
		{"target", func(v *value) {
			if p.isText(v, "target", "192.168.1.1") {
				ip, err := parseHost("target", v.text)
				p.judge(v, err)
				t.Target = ip
			}
		}},
		{"source", func(v *value) {
			if p.isText(v, "source", "192.168.1.250") && v.text != "0.0.0.0" { // which is the default
				ip, err := parseHost("source", v.text)
				p.judge(v, err)
				t.Source = ip
			}
		}},
		p.duration("interval", &t.Interval, minInterval, maxInterval, time.Millisecond),
		p.duration("timeout", &t.Timeout, minTimeout, maxInterval, time.Millisecond),
		p.count("missed_max", &t.MissedMax, 1, math.MaxUint8),
		p.count("return_after", &t.ReturnAfter, 1, math.MaxUint8),
	}, nil)
	if !t.given("timeout") && t.Interval <= defaultTimeout { // who only asks more often need not say both
		t.Timeout = t.Interval / 2
	}
	return t
}

// slave reads one [[bond.slave]].
func (p *parser) slave(v *value) *slave {
	s := &slave{}
	prio, _ := bonding.LookupSlave("prio")
	s.places = p.table("[[bond.slave]]", v, []field{
		{"name", func(v *value) {
			if p.isText(v, "name", "eth0") {
				ref, err := parseReference(v.text)
				p.judge(v, err)
				s.ref = ref
			}
		}},
		p.count(prio.Name, &s.prio, prio.Min, prio.Max),
	}, nil)
	return s
}

// damping reads [bond.damping].
func (p *parser) damping(b *bond, v *value) {
	if !p.isTable(v, "bond.damping") {
		return
	}
	d := &Damping{HalfLife: defaultHalfLife, Suppress: defaultSuppress, Reuse: defaultReuse}
	b.Damping = d
	penalty := func(key string, to *float64) field {
		return field{key, func(v *value) {
			n, err := parsePenalty(key, v)
			p.judge(v, err)
			*to = n
		}}
	}
	t := p.table("[bond.damping]", v, []field{
		p.duration("half_life", &d.HalfLife, minHalfLife, maxHalfLife, time.Second),
		penalty("suppress", &d.Suppress),
		penalty("reuse", &d.Reuse),
	}, nil)
	if t.good("suppress", "reuse") && d.Reuse >= d.Suppress {
		key := "reuse"
		if !t.given(key) {
			key = "suppress"
		}
		p.add(
			t.place(key),
			"reuse %s has to be less than suppress %s: a slave is held out from suppress on, until its penalty "+
				"has decayed to reuse",
			penaltyText(d.Reuse),
			penaltyText(d.Suppress),
		)
	}
}

// duration is a key whose value is a duration; a number without a unit is
// answered as if it were meant in the given one.
func (p *parser) duration(key string, to *time.Duration, low, high, unit time.Duration) field {
	return field{key, func(v *value) {
		d, err := parseDuration(key, v, low, high, unit, *to)
		if err != nil {
			err = cmp.Or(checkDuration(key, v), err)
		}
		if p.judge(v, err) {
			*to = d
		}
	}}
}

// count is a key whose value is a whole number.
func (p *parser) count(key string, to *int, low, high int64) field {
	return field{key, func(v *value) {
		n, err := parseInteger(key, v, low, high)
		if p.judge(v, err) {
			*to = int(n)
		}
	}}
}

// parsePenalty reads a number of failures, of which there can be parts.
func parsePenalty(key string, v *value) (float64, error) {
	switch v.kind {
	case kindInteger:
		if n, err := v.integer(); err == nil && n > 0 && n <= maxSuppress {
			return float64(n), nil
		}
	case kindFloat:
		n, err := strconv.ParseFloat(strings.ReplaceAll(v.text, "_", ""), 64)
		if err == nil && n > 0 && n <= maxSuppress { // not of inf and nan
			return n, nil
		}
	case kindString:
		if number.MatchString(v.text) {
			return 0, fmt.Errorf("%s is a number: write %s = %s, without quotes", key, key, v.text)
		}
	}
	return 0, fmt.Errorf("%s is a number above 0 and up to %d, such as 2 or 1.5, not %s", key, maxSuppress, v.words())
}

// penaltyText writes a penalty as TOML does.
func penaltyText(n float64) string { return strconv.FormatFloat(n, 'g', -1, 64) }

// checkPaths checks the paths of a bond against each other and against it.
func (p *parser) checkPaths(b *bond) {
	if b.given("path_policy") && b.good("path") && len(b.paths) == 0 {
		p.add(
			b.place("path_policy"),
			"path_policy says how many of the paths have to be up, and there are none: add one with "+
				"[[bond.path]], or take the line out",
		)
	}
	for i, t := range b.paths {
		p.checkTarget(b, t, b.paths[:i])
		p.checkSource(b, t)
		if t.good("interval", "timeout") && t.Timeout >= t.Interval {
			p.add(
				t.place("timeout"),
				"timeout %q has to be shorter than interval %q: an answer has to be there before the next probe goes out",
				t.Timeout,
				t.Interval,
			)
		}
	}
}

func (p *parser) checkTarget(b *bond, t *path, before []*path) {
	at := t.place("target")
	same := slices.IndexFunc(before, func(o *path) bool { return o.good("target") && o.Target == t.Target })
	switch {
	case !t.good("target"):
	case !t.given("target"):
		p.add(
			at,
			"this path has no target: write the address of a host that has to be reached, for example target = %q",
			"192.168.1.1",
		)
	case same >= 0:
		p.add(
			at,
			"target %s is that of a path already, in line %d: one path is enough for it",
			quote(t.Target.String()),
			p.doc.line(before[same].place("target")),
		)
	case b.good("addresses") && b.has(t.Target):
		p.add(at, "target %s is the bond's own address: write another host's", quote(t.Target.String()))
	}
}

// checkSource sees to it that the sender's address of the ARP requests is
// nobody's: whoever hears one learns that the address is at the card that asks.
func (p *parser) checkSource(b *bond, t *path) {
	if !t.Source.IsValid() || !t.good("source") {
		return
	}
	at, ip := t.place("source"), quote(t.Source.String())
	switch {
	case t.Source.Is6():
		p.add(
			at,
			"source %s is an IPv6 address, and source is the sender of ARP requests, which are for IPv4: take "+
				"the line out, or write an IPv4 address",
			ip,
		)
	case t.given("target") && t.good("target") && t.Target.Is6():
		p.add(
			at,
			"source %s is the sender of ARP requests, and target %s is asked by neighbour solicitation: take the line out",
			ip,
			quote(t.Target.String()),
		)
	case b.good("addresses") && b.has(t.Source):
		p.add(
			at,
			"source %s is the bond's own address: the probe of a standby would draw the bond's traffic to the "+
				"standby; write an address of the network that nobody has, or take the line out",
			ip,
		)
	case slices.ContainsFunc(b.paths, func(o *path) bool { return o.good("target") && o.Target == t.Source }):
		p.add(
			at,
			"source %s is the target of a path: its traffic would be drawn to this machine; write an address of "+
				"the network that nobody has",
			ip,
		)
	case b.good("gateways") && slices.Contains(b.Gateways, t.Source):
		p.add(
			at,
			"source %s is a gateway: its traffic would be drawn to this machine; write an address of the network "+
				"that nobody has",
			ip,
		)
	}
}

// checkPrios checks what [[bond.slave]] says of the slaves, and keeps it.
func (p *parser) checkPrios(b *bond) {
	prio, _ := bonding.LookupSlave("prio")
	for i, s := range b.slaves {
		at := s.place("name")
		same := slices.IndexFunc(b.slaves[:i], func(o *slave) bool { return o.good("name") && o.ref == s.ref })
		switch {
		case !s.good("name"):
		case !s.given("name"):
			p.add(at, "this slave has no name: write one of the slaves as it is there, for example name = %q", "eth0")
		case !b.good("slaves"):
		case b.Auto:
			p.add(
				at,
				"slaves = \"auto\" takes the cards that it finds, in its own order: name the slaves of this bond to "+
					"say more of one",
			)
		case !slices.Contains(b.Slaves, s.ref):
			p.add(
				at,
				"%s is not one of the slaves: write one of them as it is there, %s",
				quote(s.ref),
				or(quoted(b.Slaves)),
			)
		case same >= 0:
			p.add(
				at,
				"there is a [[bond.slave]] for %s already, in line %d: put the two together",
				quote(s.ref),
				p.doc.line(b.slaves[same].place("name")),
			)
		}
		switch {
		case !s.good("prio"):
		case !s.given("prio"):
			p.add(s.at, "this slave has no prio, and there is nothing else to say of it: write for example prio = 10")
		case b.good("mode") && !prio.In(b.Mode()):
			p.add(
				s.place("prio"),
				"mode %s has no prio, only %s has: take the slave out, or change the mode",
				b.Mode(),
				or(bonding.Names(prio.Modes)),
			)
		}
	}
}
