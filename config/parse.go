package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
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
	if len(data) > MaxSize {
		return nil, Errors{{name, 1, 1, fmt.Sprintf("the file is larger than the %d bytes that a configuration may have", MaxSize)}}
	}
	var found findings
	doc := readDocument(name, data, &found)
	if err := found.err(); err != nil {
		return nil, err
	}
	p := parser{findings: found, cfg: Default()}
	p.file(doc.root)
	p.check()
	if err := p.err(); err != nil {
		return nil, err
	}
	return p.cfg, nil
}

// A parser turns the tree of one file into a Config.
type parser struct {
	findings
	cfg   *Config
	bonds []*bond // those of the file
}

// A bond is a Bond on its way, with the places of what it was made from.
type bond struct {
	Bond
	at     int             // of its table
	values map[string]int  // offset of the value of each key that was set
	broken map[string]bool // keys with a finding: what depends on them is not judged
	items  map[string][]int
}

// A field is a key that a table knows and what reads its value.
type field struct {
	name string
	read func(*value)
}

// table reads a table key by key. The name is for messages, as it stands in
// the file; none is the file itself.
func (p *parser) table(name string, v *value, fields []field, later []string) {
	for _, m := range v.keys {
		if i := slices.IndexFunc(fields, func(f field) bool { return f.name == m.name }); i >= 0 {
			fields[i].read(m.value)
			continue
		}
		if slices.Contains(later, m.name) {
			p.add(m.at, "%s", errNotHere(m.name))
			continue
		}
		if len(p.all) > maxFindings {
			p.add(m.at, "unknown key") // it is only counted, and a guess costs time
			continue
		}
		p.add(m.at, "%s", unknown(name, m, fields, later))
	}
}

// unknown says what a key that no one knows may have been meant to be.
func unknown(table string, m member, fields []field, later []string) string {
	what := "unknown key "
	if m.value.kind == kindTable || m.value.origin == series {
		what = "unknown table "
	}
	for _, t := range []struct {
		name string
		keys []string
	}{{"[[bond]]", slices.Concat(bondKeys(), later)}, {"[http]", httpKeys}, {"[hardware]", hardwareKeys}} {
		if t.name != table && slices.Contains(t.keys, m.name) {
			return fmt.Sprintf("%s%s; it belongs in %s", what, quote(m.name), t.name)
		}
	}
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	if near := nearest(m.name, slices.Concat(names, later)); near != "" {
		return fmt.Sprintf("%s%s; did you mean %q?", what, quote(m.name), near)
	}
	if table == "" {
		return fmt.Sprintf("%s%s; a configuration can have %s", what, quote(m.name), or(names))
	}
	return fmt.Sprintf("%s%s; %s can have %s", what, quote(m.name), table, or(names))
}

var (
	hardwareKeys = []string{"policy", "match"}
	httpKeys     = []string{"listen", "web_config"}
)

// bondKeys are the keys of a bond: the options of Table, and the rest.
func bondKeys() []string {
	keys := []string{"name", "slaves", "mac", "mtu", "addresses", "broadcast", "dhcp4", "gateways", "dns"}
	for i := range Table {
		keys = append(keys, Table[i].Name)
	}
	return keys
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
		p.add(v.at, "%s is a table, not %s: write [%s] in a line of its own and its keys below", name, v.kind.words(), name)
	}
	return false
}

func (p *parser) hardware(v *value) {
	if !p.isTable(v, "hardware") {
		return
	}
	word := func(key string, to *string, words ...string) field {
		return field{key, func(v *value) {
			if v.kind == kindString && slices.Contains(words, v.text) {
				*to = v.text
				return
			}
			p.add(v.at, "%s can be %s, not %s", key, or(quoted(words)), v.words())
		}}
	}
	h := &p.cfg.Hardware
	p.table("[hardware]", v, []field{
		word("policy", &h.Policy, "enforce", "warn", "off"),
		word("match", &h.Match, "chipset", "driver"),
	}, nil)
}

func (p *parser) http(v *value) {
	if !p.isTable(v, "http") {
		return
	}
	p.table("[http]", v, []field{
		{"listen", func(v *value) {
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
		return fmt.Errorf("listen %s is not host and port: write for example %q, %q or %q", quote(s), ":80", "192.168.1.202:80", "[2001:db8::202]:80")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("listen %s: the port is a number from 1 to 65535, for example %q", quote(s), ":80")
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.ContainsFunc(host, notInHost) {
		return fmt.Errorf("listen %s: %s is no address: write for example %q, %q or %q", quote(s), quote(host), ":80", "192.168.1.202:80", "[2001:db8::202]:80")
	}
	return nil
}

// notInHost reports whether a letter cannot be in the name of a host.
func notInHost(r rune) bool {
	return r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// isText reports whether a value is text, and notes if it is not.
func (p *parser) isText(v *value, key, example string) bool {
	if v.kind != kindString {
		p.add(v.at, "%s is text in quotes, not %s: write for example %q", key, v.words(), example)
	}
	return v.kind == kindString
}

// judge notes an error as a finding about a value, and reports whether it is good.
func (p *parser) judge(v *value, err error) bool {
	if err != nil {
		p.add(v.at, "%s", err)
	}
	return err == nil
}

func (p *parser) bondList(v *value) {
	if v.kind != kindArray {
		p.add(v.at, "there can be more than one bond: write [[bond]] with two brackets, not [bond]")
		return
	}
	if len(v.items) == 0 {
		return // the default bond
	}
	if len(v.items) > maxBonds {
		p.add(v.items[maxBonds].at, "there are %d bonds, and bondd keeps at most %d", len(v.items), maxBonds)
		return
	}
	for _, item := range v.items {
		if item.kind != kindTable {
			p.add(item.at, "a bond is a table, not %s: write [[bond]] in a line of its own and its keys below", item.kind.words())
			continue
		}
		p.bonds = append(p.bonds, p.bond(item))
	}
	p.cfg.Bonds = nil
	for _, b := range p.bonds {
		p.cfg.Bonds = append(p.cfg.Bonds, b.Bond)
	}
}

// bond reads one bond. Every key has its say before any check across keys.
func (p *parser) bond(v *value) *bond {
	b := &bond{
		Bond:   Bond{Name: defaultName, Auto: true, Options: map[string]string{}},
		at:     v.at,
		values: map[string]int{},
		broken: map[string]bool{},
		items:  map[string][]int{},
	}
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
			if v.kind != kindInteger || err != nil || n < least || n > most {
				p.add(v.at, "mtu is a number from %d to %d without quotes, for example 1500, not %s", least, most, v.words())
				return
			}
			b.MTU = int(n)
		}},
		{"addresses", func(v *value) {
			p.list(b, "addresses", v, "192.168.1.202/24", func(s string) error {
				prefix, err := parseAddress(s)
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
				p.add(v.at, "dhcp4 is true or false without quotes, not %s", v.words())
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
	for i := range Table {
		o := &Table[i]
		fields = append(fields, field{o.Name, func(v *value) {
			text, err := o.parse(v)
			if p.judge(v, err) {
				b.Options[o.Name] = text
			}
		}})
	}
	// What a key's value is, and whether it was good, is noted in one place.
	for i := range fields {
		name, read := fields[i].name, fields[i].read
		fields[i].read = func(v *value) {
			before := len(p.all)
			read(v)
			b.values[name] = v.at
			b.broken[name] = len(p.all) > before
		}
	}
	p.table("[[bond]]", v, fields, later)
	fillDefaults(b.Options)
	return b
}

// list reads a list of texts, and notes the place of each. What take refuses
// is a finding.
func (p *parser) list(b *bond, key string, v *value, example string, take func(string) error) {
	if v.kind != kindArray {
		p.add(v.at, "%s is a list, not %s: write %s = [%q]", key, v.words(), key, exampleFor(v, example))
		return
	}
	if len(v.items) > maxItems {
		p.add(v.at, "%s has %d entries, and bondd takes at most %d", key, len(v.items), maxItems)
		return
	}
	for _, item := range v.items {
		if item.kind != kindString {
			p.add(item.at, "%s is a list of texts in quotes, such as %q, and this is %s", key, example, item.words())
			continue
		}
		p.judge(item, take(item.text))
		b.items[key] = append(b.items[key], item.at)
	}
}

// exampleFor is what the user wrote, where a pair of brackets was all that it lacked.
func exampleFor(v *value, example string) string {
	if v.kind == kindString && v.text != "" {
		return v.text
	}
	return example
}

// slaves reads slaves: a list of references, or "auto".
func (p *parser) slaves(b *bond, v *value) {
	if v.kind == kindString && v.text == "auto" {
		return
	}
	b.Auto = false
	if v.kind == kindArray && len(v.items) == 0 {
		p.add(v.at, "a bond without slaves carries nothing: name them, as in slaves = [\"eth0\", \"eth1\"], or write slaves = \"auto\"")
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
		return ip, fmt.Errorf("%s %s is one address: write it without the prefix length", what, quote(s))
	case err != nil:
		return ip, fmt.Errorf("%s %s is no IP address: write one such as %q", what, quote(s), "192.168.1.1")
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
	case ip.IsMulticast():
		return fmt.Errorf("%s %s is a multicast address, no host can have it: write a host's", what, quote(s))
	case ip.IsLoopback():
		return fmt.Errorf("%s %s is a loopback address, it never leaves this machine: write one of the network", what, quote(s))
	case ip == limitedBroadcast:
		return fmt.Errorf("%s %s is the broadcast address of every network: write a host's", what, quote(s))
	}
	return nil
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// parseAddress reads the host's own address with its prefix length.
func parseAddress(s string) (netip.Prefix, error) {
	host, bits, ok := strings.Cut(s, "/")
	ip, err := parseIP("address", host)
	if err != nil {
		return netip.Prefix{}, err
	}
	if !ok {
		usual := map[bool]string{true: "24", false: "64"}[ip.Is4()]
		return netip.Prefix{}, fmt.Errorf("address %s lacks the prefix length of its network: write for example %q", quote(s), host+"/"+usual)
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil || prefix.Bits() == 0 {
		return netip.Prefix{}, fmt.Errorf("address %s: the prefix length goes from 1 to %d, not %s", quote(s), ip.BitLen(), quote(bits))
	}
	if err := checkHost("address", s, ip); err != nil {
		return netip.Prefix{}, err
	}
	switch {
	case prefix.Bits() >= ip.BitLen()-1: // a link of two (RFC 3021, RFC 6164) or a single host: every address is a host's
	case ip == prefix.Masked().Addr():
		return netip.Prefix{}, fmt.Errorf("address %s is that of the network itself: write a host's, for example %q", quote(s), netip.PrefixFrom(ip.Next(), prefix.Bits()))
	case ip.Is4() && ip == broadcastOf(prefix):
		return netip.Prefix{}, fmt.Errorf("address %s is the broadcast address of its network: write a host's, for example %q", quote(s), netip.PrefixFrom(ip.Prev(), prefix.Bits()))
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
