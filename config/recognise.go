package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// encoding says what is wrong with the bytes of a file that is not UTF-8 text,
// and what would be right; empty if it may be text.
func encoding(data []byte) string {
	const unicode = `save it as UTF-8, which some editors offer beside "Unicode"`
	for _, e := range []struct{ mark, name string }{
		{"\xff\xfe\x00\x00", "UTF-32"}, {"\x00\x00\xfe\xff", "UTF-32"}, {"\xff\xfe", "UTF-16"}, {"\xfe\xff", "UTF-16"},
	} {
		if bytes.HasPrefix(data, []byte(e.mark)) {
			return fmt.Sprintf("the file is in %s, not UTF-8: %s", e.name, unicode)
		}
	}
	if zeros := bytes.Count(data, []byte{0}); zeros > 0 {
		if 2*zeros == len(data) || 2*zeros+1 == len(data) { // plain letters, without a mark
			return "the file is in UTF-16, not UTF-8: " + unicode
		}
		return "the file is not text, it has zero bytes: write a text file"
	}
	if cr := bytes.IndexByte(data, '\r'); cr >= 0 && !bytes.Contains(data, []byte("\n")) &&
		len(bytes.TrimRight(data, "\r")) > cr {
		return "the lines of the file end with CR alone: save it with LF or CRLF at the end of each line"
	}
	return ""
}

// A dialect is a form in which another program is told of a bond.
type dialect struct {
	name string
	is   func(lines []string) bool // those that say something, without spaces around them
}

var (
	ifcfgLine = regexp.MustCompile(`^(export\s+)?[A-Z][A-Z0-9_]*=`)
	ifcfgKey  = regexp.MustCompile(
		`^(DEVICE|TYPE|BONDING_\w+|ONBOOT|BOOTPROTO|MASTER|SLAVE|IPADDR\d*|HWADDR|TEAM_CONFIG)=`,
	)
	netplanLine   = regexp.MustCompile(`^(ethernets|bonds|version|renderer|vlans|bridges):`)
	ifaceLine     = regexp.MustCompile(`^iface\s+\S+\s+(inet6?|can|ipx)\s`)
	networkdTable = regexp.MustCompile(`^\[(NetDev|Bond|Match|Network|Link|Address|Route|DHCPv4|VLAN)\]$`)
	keyfileTable  = regexp.MustCompile(`^\[(connection|bond|bond-port|ethernet|802-3-ethernet|ipv4|ipv6|proxy|vlan)\]$`)
	modprobeLine  = regexp.MustCompile(`^(options\s+(bonding|bond\d+)\b|alias\s+bond\d+\s+bonding\b|install\s+bond)`)
	commandLine   = regexp.MustCompile(`^(\S*/)?(ifenslave|ip\s+link|ifconfig|modprobe\s+bonding)\s`)
)

// anyLine reports whether one of the lines has a form.
func anyLine(form *regexp.Regexp) func([]string) bool {
	return func(lines []string) bool {
		for _, l := range lines {
			if form.MatchString(l) {
				return true
			}
		}
		return false
	}
}

// dialects are the forms of other programs that describe a bond.
func dialects() []dialect {
	return []dialect{
		{"an ifcfg file", func(lines []string) bool {
			for _, l := range lines {
				if !ifcfgLine.MatchString(l) {
					return false
				}
			}
			return anyLine(ifcfgKey)(lines)
		}},
		{"a netplan file", func(lines []string) bool {
			return lines[0] == "network:" && anyLine(netplanLine)(lines)
		}},
		{"a file of Debian's /etc/network/interfaces", anyLine(ifaceLine)},
		{"a file of systemd-networkd", func(lines []string) bool {
			return networkdTable.MatchString(lines[0])
		}},
		{"a keyfile of NetworkManager", func(lines []string) bool {
			return anyLine(keyfileTable)(lines) && anyLine(regexp.MustCompile(`^\[connection\]$`))(lines)
		}},
		{"a modprobe configuration", anyLine(modprobeLine)},
		{"a configuration of teamd", func(lines []string) bool {
			return strings.HasPrefix(lines[0], "{") && anyLine(regexp.MustCompile(`"runner"\s*:`))(lines)
		}},
		{"a shell script", func(lines []string) bool {
			return anyLine(commandLine)(lines)
		}},
	}
}

// orForeign returns the errors of a file, or only that it is the file of another
// program, if it is one.
func (d *document) orForeign(errs error) error {
	at, message := recognise(d.data)
	if message == "" {
		return errs
	}
	line, col := d.position(at)
	return Errors{{d.name, line, col, message}}
}

// recognise says what a file is that is not a configuration of bondd, and where
// that shows; empty if it may be meant as one.
func recognise(data []byte) (at int, message string) {
	const most = 200 // lines that are looked at
	var lines []string
	first, offset := 0, 0
	for line := range bytes.Lines(data) {
		text := string(bytes.TrimSpace(line))
		if text != "" && text[0] != '#' && text[0] != ';' && utf8.ValidString(text) {
			if len(lines) == 0 {
				first = offset
			}
			if lines = append(lines, text); len(lines) == most {
				break
			}
		}
		offset += len(line)
	}
	if len(lines) == 0 {
		return 0, ""
	}
	for _, d := range dialects() {
		if d.is(lines) {
			return first, "this is " + d.name + ", not a configuration of bondd: bondd help config shows how one is written"
		}
	}
	switch {
	case strings.HasPrefix(lines[0], "{"):
		return first, "this is JSON, not TOML: bondd help config shows how a configuration is written"
	case strings.HasPrefix(lines[0], "<"):
		return first, "this is XML or HTML, not TOML: bondd help config shows how a configuration is written"
	case lines[0] == "---" || yamlTable.MatchString(lines[0]) && len(lines) > 1:
		return first, "this is YAML, not TOML: bondd help config shows how a configuration is written"
	}
	return 0, ""
}

var yamlTable = regexp.MustCompile(`^[\w-]+:$`)
