package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"bondd.internal/config/bonding"
)

// MaxSize is the size in bytes that a configuration file may have.
const MaxSize = 1 << 20

// How much one file may hold: far more than a machine has NICs, and little
// enough that every pair can be compared.
const (
	maxBonds = 16
	maxItems = 256
)

// Parse reads a configuration from TOML. The name is what findings call the
// file. The error is Errors, every finding with its place; findings that follow
// from others are left out. A file that is no TOML has one finding only.
//
// A file without any bond has the bond of Default.
func Parse(name string, data []byte) (*Config, error) {
	c, _, err := Check(name, data)
	return c, err
}

// Check is Parse, and says besides what in a good file is hardly what was meant.
func Check(name string, data []byte) (*Config, Warnings, error) {
	if len(data) > MaxSize {
		return nil, nil, Errors{
			{name, 1, 1, fmt.Sprintf("the file is larger than the %d bytes that a configuration may have", MaxSize)},
		}
	}
	var found findings
	doc := readDocument(name, data, &found)
	if err := found.err(); err != nil {
		if why := encoding(data); why != "" {
			return nil, nil, Errors{{name, 1, 1, why}}
		}
		return nil, nil, doc.orForeign(err)
	}
	p := parser{findings: found, cfg: Default()}
	p.file(doc.root)
	p.check()
	if err := p.err(); err != nil {
		return nil, nil, doc.orForeign(err)
	}
	return p.cfg, p.warn(doc.root), nil
}

// A parser turns the tree of one file into a Config.
type parser struct {
	findings
	cfg      *Config
	bonds    []*bond // those of the file
	listenAt int     // offset of [http] listen
}

// A bond is a Bond on its way, with the places of what it was made from.
type bond struct {
	Bond
	places
	items   map[string][]int        // offset of each entry of a list
	targets map[string][]netip.Addr // options that are lists of addresses
	paths   []*path
	slaves  []*slave
}

// places has where the keys of one table are set, and which of them well.
type places struct {
	at     int             // of the table
	values map[string]int  // offset of the value of each key that was set
	broken map[string]bool // keys with a finding: what depends on them is not judged
}

// place is where a key is set, or else the table itself.
func (t *places) place(key string) int {
	if at, ok := t.values[key]; ok {
		return at
	}
	return t.at
}

// good reports whether every one of the keys was read without a finding.
func (t *places) good(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { return t.broken[k] })
}

// given reports whether the file sets the key.
func (t *places) given(key string) bool {
	_, ok := t.values[key]
	return ok
}

// A field is a key that a table knows and what reads its value.
type field struct {
	name string
	read func(*value)
}

// table reads a table key by key. The name is for messages, as it stands in
// the file; none is the file itself. What a key's value is, and whether it was
// good, is noted here and nowhere else.
func (p *parser) table(name string, v *value, fields []field, notHere []string) places {
	t := places{at: v.at, values: map[string]int{}, broken: map[string]bool{}}
	for _, m := range v.keys {
		if i := slices.IndexFunc(fields, func(f field) bool { return f.name == m.name }); i >= 0 {
			before := len(p.all)
			fields[i].read(m.value)
			t.values[m.name] = m.value.at
			t.broken[m.name] = len(p.all) > before
			continue
		}
		if slices.Contains(notHere, m.name) {
			p.add(m.at, "%s", errNotHere(m.name))
			continue
		}
		if len(p.all) > maxFindings {
			p.add(m.at, "unknown key") // it is only counted, and a guess costs time
			continue
		}
		p.add(m.at, "%s", unknown(name, v, m, fields, notHere))
	}
	return t
}

// unknown says what a key that no one knows may have been meant to be.
func unknown(table string, v *value, m member, fields []field, notHere []string) string {
	what := "unknown key "
	if m.value.kind == kindTable || m.value.origin == series {
		what = "unknown table "
	}
	for _, t := range []struct {
		name string
		keys []string
	}{
		{"[[bond]]", slices.Concat(bondKeys(), notHere)},
		{"[[bond.path]]", pathKeys},
		{"[[bond.slave]]", slaveKeys},
		{"[bond.damping]", dampingKeys},
		{"[http]", httpKeys},
		{"[hardware]", hardwareKeys},
	} {
		switch {
		case t.name == table || !slices.Contains(t.keys, m.name):
		case t.name == "[[bond]]" && headers[m.name] != "":
			return fmt.Sprintf("%s%s; it belongs in %s: write %s", what, quote(m.name), t.name, headers[m.name])
		case t.name == "[[bond]]" && strings.Contains(table, "bond."):
			return fmt.Sprintf("%s%s; it belongs in %s: write it above %s", what, quote(m.name), t.name, table)
		case t.name == "[[bond.path]]" || t.name == "[[bond.slave]]":
			return fmt.Sprintf("%s%s; it belongs in %s", what, quote(m.name), t.name)
		default:
			return fmt.Sprintf("%s%s; it belongs in %s: write it below that", what, quote(m.name), t.name)
		}
	}
	if table == "[[bond]]" && slices.Contains(netmaskKeys(), m.name) {
		return unknownNetmask(v, m.name)
	}
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	if near := meant(table, m.name, slices.Concat(names, notHere)); near != "" {
		if words, ok := flat(m.value); ok && m.value.kind != kindTable && slices.Contains(listKeys(), near) {
			if near == "addresses" {
				for i := range words {
					words[i] = withPrefix(v, words[i])
				}
			}
			return fmt.Sprintf("%s%s; did you mean %s = %s?", what, quote(m.name), near, listText(words))
		}
		if isTable := m.value.kind == kindTable || m.value.origin == series; isTable && table == "" {
			return fmt.Sprintf("%s%s; did you mean %s?", what, quote(m.name), cmp.Or(headers[near], "["+near+"]"))
		}
		return fmt.Sprintf("%s%s; did you mean %q?", what, quote(m.name), near)
	}
	return fmt.Sprintf("%s%s; %s", what, quote(m.name), unlike(table, m.name, names))
}

var (
	hardwareKeys = []string{"policy", "match"}
	httpKeys     = []string{"listen", "web_config"}
)

// bondKeys are the keys of a bond: the options of the driver, and the rest.
func bondKeys() []string {
	keys := []string{"name", "slaves", "mac", "mtu", "addresses", "broadcast", "dhcp4", "gateways", "dns"}
	for o := range settings() {
		keys = append(keys, o.Name)
	}
	return append(keys, "path_policy", "path", "slave", "damping")
}

func (p *parser) file(root *value) {
	p.table("", root, []field{
		{"hardware", p.hardware},
		{"http", p.http},
		{"bond", p.bondList},
	}, nil)
}

// isTable reports whether a value is one table, and notes if it is not.
func (p *parser) isTable(v *value, name string) bool {
	switch {
	case v.kind == kindTable:
		return true
	case v.origin == series:
		p.add(v.at, "there is only one %s: write [%s], not [[%s]]", name, name, name)
	default:
		p.add(
			v.at,
			"%s is a table, not %s: write [%s] in a line of its own and its keys below",
			name,
			v.kind.words(),
			name,
		)
	}
	return false
}

// word is a key whose value is one of a few words.
func (p *parser) word(key string, to *string, words ...string) field {
	return field{key, func(v *value) {
		if v.kind == kindString && slices.Contains(words, v.text) {
			*to = v.text
			return
		}
		if err := unknownValue(key, v, words); err != nil {
			p.judge(v, err)
			return
		}
		p.add(v.at, "%s can be %s, not %s", key, or(quoted(words)), v.words())
	}}
}

func (p *parser) hardware(v *value) {
	if !p.isTable(v, "hardware") {
		return
	}
	h := &p.cfg.Hardware
	p.table("[hardware]", v, []field{
		p.word("policy", &h.Policy, "enforce", "warn", "off"),
		p.word("match", &h.Match, "chipset", "driver"),
	}, nil)
}

func (p *parser) http(v *value) {
	if !p.isTable(v, "http") {
		return
	}
	p.table("[http]", v, []field{
		{"listen", func(v *value) {
			p.listenAt = v.at
			if v.kind == kindInteger {
				p.add(v.at, "listen is host and port in quotes, not a number: write %q for every address", ":"+v.text)
			} else if p.isText(v, "listen", ":80") {
				p.judge(v, checkListen(v.text))
				p.cfg.HTTP.Listen = v.text
			}
		}},
		{"web_config", func(v *value) {
			if !p.isText(v, "web_config", "/perm/bondd/web.yml") {
				return
			}
			if strings.ContainsRune(v.text, 0) {
				p.add(v.at, "web_config is the path of a file, and %s has a zero byte in it", quote(v.text))
			}
			p.cfg.HTTP.WebConfig = v.text
		}},
	}, nil)
}

// checkListen checks host:port, where the host may be left out.
func checkListen(s string) error {
	if number.MatchString(s) && !strings.Contains(s, ".") {
		return fmt.Errorf("listen %s lacks the colon before the port: write %q", quote(s), ":"+s)
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		return fmt.Errorf("listen %s lacks the port: write %q", quote(s), net.JoinHostPort(ip.String(), "80"))
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf(
			"listen %s is not host and port: write for example %q, %q or %q",
			quote(s),
			":80",
			"192.168.1.202:80",
			"[2001:db8::202]:80",
		)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("listen %s: the port is a number from 1 to 65535, for example %q", quote(s), ":80")
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.ContainsFunc(host, notInHost) {
		return fmt.Errorf(
			"listen %s: %s is not an address: write for example %q, %q or %q",
			quote(s),
			quote(host),
			":80",
			"192.168.1.202:80",
			"[2001:db8::202]:80",
		)
	}
	return nil
}

// notInHost reports whether a letter cannot be in the name of a host.
func notInHost(r rune) bool {
	return r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// isText reports whether a value is text, and notes if it is not.
func (p *parser) isText(v *value, key, example string) bool {
	switch {
	case v.kind == kindString:
		return true
	case v.kind == kindOther && v.text != "": // a MAC address can look like a time
		p.add(v.at, "%s is a string, and strings must be quoted: write %s = %q", key, key, v.text)
	default:
		p.add(v.at, "%s is a string in quotes, not %s: write for example %q", key, v.words(), example)
	}
	return false
}

// judge notes an error as a finding about a value, and reports whether it is good.
func (p *parser) judge(v *value, err error) bool {
	if err != nil {
		p.add(v.at, "%s", err)
	}
	return err == nil
}

// series reads the tables of [[header]], of which there can be some. What names
// one of them in messages.
func (p *parser) series(v *value, what, header string, most int, read func(*value)) {
	switch {
	case v.kind == kindTable && v.origin == implied:
		p.add(v.at, "write [[%s]] first: the tables of a %s stand below it", header, what)
		return
	case v.kind != kindArray:
		p.add(v.at, "there can be more than one %s: write [[%s]] with two brackets, not [%s]", what, header, header)
		return
	case len(v.items) > most:
		p.add(v.items[most].at, "there are %d %ss, and bondd keeps at most %d", len(v.items), what, most)
		return
	}
	for _, item := range v.items {
		if item.kind != kindTable {
			p.add(
				item.at,
				"a %s is a table, not %s: write [[%s]] in a line of its own and its keys below",
				what,
				item.kind.words(),
				header,
			)
			continue
		}
		read(item)
	}
}

func (p *parser) bondList(v *value) {
	p.series(v, "bond", "bond", maxBonds, func(v *value) { p.bonds = append(p.bonds, p.bond(v)) })
	if len(p.bonds) > 0 { // else it is the default bond
		p.cfg.Bonds = nil
	}
	for _, b := range p.bonds {
		p.cfg.Bonds = append(p.cfg.Bonds, b.Bond)
	}
}

// bond reads one bond. Every key has its say before any check across keys.
func (p *parser) bond(v *value) *bond {
	b := &bond{Bond: newBond(), items: map[string][]int{}, targets: map[string][]netip.Addr{}}
	fields := []field{
		{"name", func(v *value) {
			if p.isText(v, "name", defaultName) && p.judge(v, checkName(v.text)) {
				b.Name = v.text
			}
		}},
		{"slaves", func(v *value) { p.slaves(b, v) }},
		{"mac", func(v *value) {
			if p.isText(v, "mac", "02:00:5e:10:00:01") {
				mac, err := parseMAC(v.text)
				p.judge(v, err)
				b.MAC = mac
			}
		}},
		{"mtu", func(v *value) {
			const least, most = 68, 65535 // ETH_MIN_MTU, ETH_MAX_MTU
			n, err := v.integer()
			switch {
			case v.kind == kindString && err == nil && n >= least && n <= most:
				p.add(v.at, "mtu is a number: write mtu = %d, without quotes", n)
				return
			case v.kind != kindInteger || err != nil || n < least || n > most:
				p.add(
					v.at,
					"mtu is a number from %d to %d without quotes, for example 1500, not %s",
					least,
					most,
					v.words(),
				)
				return
			}
			b.MTU = int(n)
		}},
		{"addresses", func(v *value) {
			p.list(b, "addresses", v, "192.168.1.202/24", func(s string) error {
				prefix, err := parseAddress(s, v)
				b.Addresses = append(b.Addresses, prefix)
				return err
			})
		}},
		{"broadcast", func(v *value) {
			if p.isText(v, "broadcast", "192.168.1.255") {
				ip, err := parseIP("broadcast", v.text)
				p.judge(v, err)
				b.Broadcast = ip
			}
		}},
		{"dhcp4", func(v *value) {
			if v.kind != kindBool {
				right := ""
				if word, ok := boolFor(v); ok {
					right = ": write dhcp4 = " + word
				}
				p.add(v.at, "dhcp4 is true or false without quotes, not %s%s", v.words(), right)
				return
			}
			b.DHCP4 = v.text == "true"
		}},
		{"gateways", func(v *value) {
			p.list(b, "gateways", v, "192.168.1.1", func(s string) error {
				ip, err := parseHost("gateway", s)
				b.Gateways = append(b.Gateways, ip)
				return err
			})
		}},
		{"dns", func(v *value) {
			p.list(b, "dns", v, "192.168.1.1", func(s string) error {
				ip, err := parseHost("dns server", s)
				b.DNS = append(b.DNS, ip)
				return err
			})
		}},
	}
	fields = append(fields,
		p.word("path_policy", &b.PathPolicy, "all", "any"),
		field{"path", func(v *value) {
			p.series(v, "path", "bond.path", bonding.MaxTargets, func(v *value) {
				t := p.path(v)
				b.paths, b.Paths = append(b.paths, t), append(b.Paths, t.Path)
			})
		}},
		field{"slave", func(v *value) {
			if words, ok := flat(v); ok && v.origin != series && v.kind != kindTable {
				p.add(v.at, "slave is a table that says more of one of the slaves: to name them, write slaves = %s",
					listText(words))
				return
			}
			p.series(v, "slave", "bond.slave", maxItems, func(v *value) { b.slaves = append(b.slaves, p.slave(v)) })
		}},
		field{"damping", func(v *value) { p.damping(b, v) }},
	)
	for o := range settings() {
		fields = append(fields, field{o.Name, func(v *value) { p.option(b, o, v) }})
	}
	b.places = p.table("[[bond]]", v, fields, notHere)
	for _, s := range b.slaves {
		if s.prio != 0 {
			if b.Prio == nil {
				b.Prio = map[string]int{}
			}
			b.Prio[s.ref] = s.prio
		}
	}
	fillDefaults(&b.Bond)
	return b
}

// option reads a bonding option into Options.
func (p *parser) option(b *bond, o option, v *value) {
	if !o.Addresses() {
		text, err := o.parse(v)
		if err != nil {
			err = cmp.Or(o.advise(v), err)
		}
		if p.judge(v, err) {
			b.Options[o.Name] = text
		}
		return
	}
	var texts []string
	p.list(b, o.Name, v, o.example(), func(s string) error {
		ip, err := o.parseTarget(s)
		b.targets[o.Name] = append(b.targets[o.Name], ip)
		texts = append(texts, ip.String())
		return err
	})
	if n := len(v.items); n > bonding.MaxTargets && n <= maxItems {
		p.add(
			v.items[bonding.MaxTargets].at,
			"%s has %d entries, and the kernel takes at most %d",
			o.Name,
			n,
			bonding.MaxTargets,
		)
	}
	b.Options[o.Name] = strings.Join(texts, ",")
}

// list reads a list of texts, and notes the place of each. What take refuses
// is a finding.
func (p *parser) list(b *bond, key string, v *value, example string, take func(string) error) {
	if v.kind != kindArray {
		p.add(v.at, "%s", wrongShape(key, v, example))
		return
	}
	if len(v.items) > maxItems {
		p.add(v.at, "%s has %d entries, and bondd takes at most %d", key, len(v.items), maxItems)
		return
	}
	told := false // one wrong shape has the whole list put right
	for _, item := range v.items {
		if item.kind != kindString {
			if !told {
				p.add(item.at, "%s", wrongShape(key, v, example))
			}
			told = true
			continue
		}
		if several(key, item.text) {
			words, _ := flat(v)
			p.add(item.at, "%s has more than one entry: write %s = %s", quote(item.text), key, listText(words))
			continue
		}
		p.judge(item, take(item.text))
		b.items[key] = append(b.items[key], item.at)
	}
}

// slaves reads slaves: a list of references, or "auto".
func (p *parser) slaves(b *bond, v *value) {
	if v.kind == kindString && v.text == "auto" {
		return
	}
	b.Auto = false
	if v.kind == kindArray && len(v.items) == 0 {
		p.add(
			v.at,
			"a bond without slaves carries nothing: name them, as in slaves = [\"eth0\", \"eth1\"], or write slaves = \"auto\"",
		)
		return
	}
	p.list(b, "slaves", v, "eth0", func(s string) error {
		if s == "auto" {
			return fmt.Errorf("auto stands for all slaves, not for one in a list: write slaves = \"auto\"")
		}
		ref, err := parseReference(s)
		b.Slaves = append(b.Slaves, ref)
		return err
	})
}

// parseIP reads an address without zone, in the form of its own family.
func parseIP(what, s string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.Contains(s, "/"):
		host, _, _ := strings.Cut(s, "/")
		if ip, err := netip.ParseAddr(tidyIP(host)); err == nil {
			return ip, fmt.Errorf("%s %s is one address: write it without the prefix length, %q", what, quote(s), ip)
		}
		return ip, fmt.Errorf("%s %s is one address: write it without the prefix length", what, quote(s))
	case err != nil:
		if tidy, err := netip.ParseAddr(tidyIP(s)); err == nil {
			return ip, fmt.Errorf("%s %s is not in the form of an IP address: write %q", what, quote(s), tidy)
		}
		return ip, fmt.Errorf("%s %s is not an IP address: write one such as %q", what, quote(s), "192.168.1.1")
	case ip.Zone() != "":
		return ip, fmt.Errorf("%s %s: the bond is the interface, write %q", what, quote(s), ip.WithZone(""))
	case ip.Is4In6():
		return ip, fmt.Errorf("%s %s is an IPv4 address in the form of IPv6: write %q", what, quote(s), ip.Unmap())
	}
	return ip, nil
}

// parseHost reads the address of one other host.
func parseHost(what, s string) (netip.Addr, error) {
	ip, err := parseIP(what, s)
	if err == nil {
		err = checkHost(what, s, ip)
	}
	return ip, err
}

// checkHost checks that an address is one that a host on a network can have.
func checkHost(what, s string, ip netip.Addr) error {
	switch {
	case ip.IsUnspecified():
		return fmt.Errorf("%s %s stands for no address at all: write a host's", what, quote(s))
	case ip.Is4() && ip.As4()[0] == 0: // RFC 1122, section 3.2.1.3; the kernel refuses it as a target
		return fmt.Errorf("%s %s is in 0.0.0.0/8, which stands for no host: write a host's", what, quote(s))
	case ip.IsMulticast():
		return fmt.Errorf("%s %s is a multicast address, no host can have it: write a host's", what, quote(s))
	case ip.IsLoopback():
		return fmt.Errorf(
			"%s %s is a loopback address, it never leaves this machine: write one of the network",
			what,
			quote(s),
		)
	case ip == limitedBroadcast:
		return fmt.Errorf("%s %s is the broadcast address of every network: write a host's", what, quote(s))
	}
	return nil
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// parseAddress reads the host's own address with its prefix length. The table of
// the bond is for what an address lacks.
func parseAddress(s string, table *value) (netip.Prefix, error) {
	host, bits, ok := strings.Cut(s, "/")
	if right := withPrefix(table, s); right != s && (ok || len(strings.Fields(s)) > 1) {
		return netip.Prefix{}, fmt.Errorf("address %s has the netmask in place of the prefix length: write %q",
			quote(s), right)
	}
	ip, err := parseIP("address", host)
	if err != nil {
		return netip.Prefix{}, err
	}
	if !ok {
		return netip.Prefix{}, fmt.Errorf("address %s lacks the prefix length of its network: write for example %q",
			quote(s), withPrefix(table, s))
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil || prefix.Bits() == 0 {
		return netip.Prefix{}, fmt.Errorf(
			"address %s: the prefix length goes from 1 to %d, not %s",
			quote(s),
			ip.BitLen(),
			quote(bits),
		)
	}
	if err := checkHost("address", s, ip); err != nil {
		return netip.Prefix{}, err
	}
	switch {
	case prefix.Bits() >= ip.BitLen()-1: // a link of two (RFC 3021, RFC 6164) or a single host: every address is a host's
	case ip == prefix.Masked().Addr():
		return netip.Prefix{}, fmt.Errorf(
			"address %s is that of the network itself: write a host's, for example %q",
			quote(s),
			netip.PrefixFrom(ip.Next(), prefix.Bits()),
		)
	case ip.Is4() && ip == broadcastOf(prefix):
		return netip.Prefix{}, fmt.Errorf(
			"address %s is the broadcast address of its network: write a host's, for example %q",
			quote(s),
			netip.PrefixFrom(ip.Prev(), prefix.Bits()),
		)
	}
	return prefix, nil
}

// broadcastOf is the last address of an IPv4 network, its usual broadcast address.
func broadcastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}
