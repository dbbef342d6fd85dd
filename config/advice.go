package config

import (
	"fmt"
	"math/bits"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"bondd.internal/config/bonding"
)

// keyAliases are what other programs and people call the keys of a bond.
func keyAliases() map[string]string {
	aliases := map[string]string{}
	for key, names := range map[string]string{
		"addresses":        "address ip ips ipaddr ipaddress ip_address ip_addresses ipv4 ipv6 inet inet6",
		"gateways":         "gateway gw gateway4 gateway6 default_gateway router routers",
		"dns":              "nameserver nameservers dns_server dns_servers resolver resolvers dns1",
		"slaves":           "interfaces nic nics port ports member members devices card cards bond_slaves",
		"dhcp4":            "dhcp bootproto ipv4_method",
		"mac":              "hwaddr hwaddress mac_address macaddr macaddress macaddr ether",
		"name":             "ifname bond_name",
		"mode":             "bond_mode bonding_mode",
		"miimon":           "mii mii_monitor mii_monitor_interval link_monitor miimon_interval miimonsec",
		"xmit_hash_policy": "hash_policy transmit_hash_policy",
		"primary":          "primary_slave primary_interface active_slave",
		"num_grat_arp":     "gratuitous_arp gratuitious_arp",
		"lp_interval":      "learn_packet_interval",
		"primary_reselect": "primary_reselect_policy",
		"path":             "paths path_check_target",
	} {
		for _, name := range strings.Fields(names) {
			aliases[name] = key
		}
	}
	return aliases
}

// meant is the key of a table that a word most likely is for, empty if none is.
func meant(table, word string, keys []string) string {
	plain := strings.ReplaceAll(strings.ToLower(word), "-", "_")
	if table == "[[bond]]" {
		for _, w := range []string{plain, strings.TrimPrefix(plain, "bond_")} {
			if key, ok := keyAliases()[w]; ok && slices.Contains(keys, key) {
				return key
			}
			if slices.Contains(keys, w) {
				return w
			}
		}
	}
	return nearest(word, keys)
}

// unlike says what a table can have, for a key that is like none of its keys: all
// of them where they are few, else up to five that are a little like it.
func unlike(table, word string, keys []string) string {
	const few, most = 8, 5
	whose := table
	if table == "" {
		whose = "a configuration"
	}
	if len(keys) <= few {
		return fmt.Sprintf("%s can have %s", whose, or(keys))
	}
	word = strings.ToLower(word[:min(len(word), maxWord)])
	rank := func(key string) int {
		if len(word) > 2 && (strings.Contains(key, word) || strings.Contains(word, key)) {
			return 0
		}
		return distance(word, key)
	}
	near := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return rank(key) > len(word)/2 })
	slices.SortStableFunc(near, func(a, b string) int { return rank(a) - rank(b) })
	if len(near) == 0 {
		return fmt.Sprintf("bondd help config describes all keys of %s", whose)
	}
	return fmt.Sprintf("it is a little like %s; bondd help config describes all keys of %s",
		and(near[:min(len(near), most)]), whose)
}

// flat is the list of strings that a value of another shape was meant as. ok is
// false if that cannot be told.
func flat(v *value) (words []string, ok bool) {
	switch v.kind {
	case kindString:
		words = strings.FieldsFunc(v.text, func(r rune) bool { return unicode.IsSpace(r) || r == ',' || r == ';' })
	case kindInteger, kindFloat, kindOther:
		words = []string{v.text}
	case kindTable:
		for _, key := range []string{"name", "address", "target", "ip"} {
			if m := v.get(key); m != nil {
				return flat(m.value)
			}
		}
	case kindArray:
		for _, item := range v.items {
			more, ok := flat(item)
			if !ok {
				return nil, false
			}
			words = append(words, more...)
		}
	}
	return words, len(words) > 0
}

// listText writes a list as it stands in a file.
func listText(words []string) string {
	texts := make([]string, len(words))
	for i := range words {
		texts[i] = tomlString(words[i])
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// maskBits is the prefix length that a netmask stands for, as 255.255.255.0
// does for 24.
func maskBits(mask string) (n int, ok bool) {
	ip, err := netip.ParseAddr(mask)
	if err != nil || !ip.Is4() {
		return 0, false
	}
	b := ip.As4()
	m := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n = bits.LeadingZeros32(^m)
	return n, n > 0 && m<<n == 0
}

// netmaskKeys are how other programs call a netmask or prefix length.
func netmaskKeys() []string {
	return []string{"netmask", "mask", "prefix", "prefixlen", "prefix_length"}
}

// prefixLength is the one that the table of a bond has in a key of its own, as
// other programs have it; the usual one where it has none.
func prefixLength(table *value, ip netip.Addr) int {
	for _, key := range netmaskKeys() {
		m := table.get(key)
		if m == nil {
			continue
		}
		if n, ok := maskBits(m.value.text); ok && ip.Is4() {
			return n
		}
		if n, err := m.value.integer(); err == nil && n > 0 && n <= int64(ip.BitLen()) {
			return int(n)
		}
	}
	if ip.Is4() {
		return 24
	}
	return 64
}

// withPrefix is an address with the prefix length of its network, where a word
// has none or has it in the form of a netmask.
func withPrefix(table *value, word string) string {
	host, mask, ok := strings.Cut(word, "/")
	if !ok {
		if fields := strings.Fields(word); len(fields) > 1 {
			host, mask, ok = fields[0], fields[len(fields)-1], true
		}
	}
	ip, err := netip.ParseAddr(tidyIP(host))
	if err != nil {
		return word
	}
	if n, isMask := maskBits(mask); isMask && ip.Is4() {
		return netip.PrefixFrom(ip, n).String()
	}
	if ok {
		return word
	}
	return netip.PrefixFrom(ip, prefixLength(table, ip)).String()
}

var leadingZeros = regexp.MustCompile(`\b0+(\d)`)

// tidyIP is an address without what people and other programs write around and
// into it: spaces, leading zeros in IPv4.
func tidyIP(s string) string {
	s = strings.Trim(s, " \t,;")
	if strings.Contains(s, ":") {
		return s
	}
	return leadingZeros.ReplaceAllString(s, "$1")
}

// unknownNetmask is for a key that has the netmask of an address.
func unknownNetmask(table *value, key string) string {
	right := `addresses = ["192.168.1.202/24"]`
	for _, name := range []string{"addresses", "address", "ip", "ipaddr"} {
		if m := table.get(name); m != nil {
			if words, ok := flat(m.value); ok {
				for i := range words {
					words[i] = withPrefix(table, words[i])
				}
				right = "addresses = " + listText(words)
			}
		}
	}
	return fmt.Sprintf("unknown key %s; an address has its prefix length with it: take this line out, and write %s",
		quote(key), right)
}

// valueAliases are what other programs and people call the values of an option.
func valueAliases(option string) map[string]string {
	switch option {
	case "mode":
		aliases := map[string]string{}
		for mode, names := range map[bonding.Mode]string{
			bonding.LACP:         "lacp lacpactive ad ieee8023ad dynamic",
			bonding.ActiveBackup: "activepassive failover backup ab",
			bonding.BalanceRR:    "roundrobin rr",
			bonding.BalanceXOR:   "xor loadbalance",
			bonding.BalanceTLB:   "tlb",
			bonding.BalanceALB:   "alb",
		} {
			for _, name := range strings.Fields(names) {
				aliases[name] = mode.String()
			}
		}
		return aliases
	case "xmit_hash_policy":
		return map[string]string{
			"layer4": "layer3+4", "l4": "layer3+4", "l34": "layer3+4", "l3l4": "layer3+4",
			"l2": "layer2", "l23": "layer2+3", "l2l3": "layer2+3",
		}
	case "policy":
		return map[string]string{
			"strict": "enforce", "enforced": "enforce", "warning": "warn", "none": "off", "disabled": "off", "false": "off",
		}
	}
	return nil
}

// nearValue is the word that a value most likely is for, empty if none is.
func nearValue(option, text string, words []string) string {
	letters := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToLower(r)
			}
			return -1
		}, s)
	}
	if letters(text) == "" {
		return ""
	}
	for _, w := range words {
		if letters(w) == letters(text) {
			return w
		}
	}
	if w, ok := valueAliases(option)[letters(text)]; ok {
		return w
	}
	digits := func(s string) string { return strings.Map(onlyDigit, s) }
	if near := nearest(text, words); digits(near) == digits(text) { // another digit is another thing
		return near
	}
	return ""
}

func onlyDigit(r rune) rune {
	if unicode.IsDigit(r) {
		return r
	}
	return -1
}

// unknownValue is the error of a word that an option does not have, if there is
// one that it is most likely for.
func unknownValue(option string, v *value, words []string) error {
	if v.kind != kindString || slices.Contains(words, v.text) || number.MatchString(v.text) {
		return nil
	}
	if near := nearValue(option, v.text, words); near != "" {
		return fmt.Errorf("unknown %s %s; did you mean %q?", option, quote(v.text), near)
	}
	return nil
}

var durationForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([a-zµ]+)\.?$`)

// looseDuration reads a duration as people write it: with a space, with the word
// of its unit.
func looseDuration(text string) (time.Duration, bool) {
	m := durationForm.FindStringSubmatch(strings.ToLower(strings.TrimSpace(text)))
	if m == nil {
		return 0, false
	}
	unit := ""
	for short, names := range map[string]string{
		"ms": "ms msec msecs milli millis millisecond milliseconds",
		"s":  "s sec secs second seconds",
		"m":  "m min mins minute minutes",
		"h":  "h hr hrs hour hours",
		"us": "us usec usecs microsecond microseconds",
	} {
		if slices.Contains(strings.Fields(names), m[2]) {
			unit = short
		}
	}
	d, err := time.ParseDuration(m[1] + unit)
	return d, err == nil && unit != ""
}

// checkDuration is the error of a duration that is readable and not in the form
// of Go.
func checkDuration(key string, v *value) error {
	if v.kind != kindString {
		return nil
	}
	if _, err := time.ParseDuration(v.text); err == nil {
		return nil
	}
	if d, ok := looseDuration(v.text); ok {
		return fmt.Errorf("%s is a duration, not %s: write %q", key, quote(v.text), d)
	}
	return nil
}

// boolFor is what a value that is not a boolean was meant as.
func boolFor(v *value) (word string, ok bool) {
	switch strings.ToLower(v.text) {
	case "true", "yes", "on", "1", "enable", "enabled", "dhcp", "auto":
		return "true", v.kind == kindString || v.kind == kindInteger
	case "false", "no", "off", "0", "disable", "disabled", "none", "static", "manual":
		return "false", v.kind == kindString || v.kind == kindInteger
	}
	return "", false
}

// wrongShape says how a list stands in a file, with what the user wrote in it
// where that can be told.
func wrongShape(key string, v *value, example string) string {
	const most = 16 // that fit into a message
	words, ok := flat(v)
	if !ok || len(words) > most || v.kind == kindInteger || v.kind == kindFloat { // what is one number of them
		words = []string{example}
	}
	what := v.words()
	if v.kind == kindArray {
		i := slices.IndexFunc(v.items, func(item *value) bool { return item.kind != kindString })
		what = fmt.Sprintf("a list with %s in it", v.items[i].words())
	}
	return fmt.Sprintf("%s is a list of strings, not %s: write %s = %s", key, what, key, listText(words))
}

// advise is the error of a value that an option does not take, where it can be
// told what was meant, else nil.
func (o option) advise(v *value) error {
	switch o.Kind {
	case bonding.KindEnum:
		return unknownValue(o.Name, v, o.Words)
	case bonding.KindDuration:
		return checkDuration(o.Name, v)
	case bonding.KindBool:
		if word, ok := boolFor(v); ok {
			return fmt.Errorf("%s is true or false without quotes, not %s: write %s = %s",
				o.Name, v.words(), o.Name, word)
		}
	case bonding.KindMAC:
		if v.kind == kindOther {
			return fmt.Errorf("%s is a MAC address, and strings must be quoted: write %s = %q", o.Name, o.Name, v.text)
		}
	}
	return nil
}

// several reports whether a string of a list has more than one entry in it.
func several(key, text string) bool {
	words := strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r == ',' || r == ';' })
	if len(words) < 2 {
		return false
	}
	_, isMask := maskBits(words[len(words)-1])
	return key != "addresses" || !isMask
}
