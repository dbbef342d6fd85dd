package config

import (
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

// ordinary is what broken files are made of, beside what is broken.
const ordinary = `slaves = ["eth0", "eth1"]
dhcp4 = true
`

// followed has broken files, what is said of each, and what a person does who
// follows it: in the place of old they write new, which is in the finding. The
// file is good then.
var followed = []struct {
	text     string // of a [[bond]], unless it has one
	want     string // the finding, after the name of the file
	old, new string
}{
	// Quotes.
	{"mode = active-backup\n", `2:8: strings must be quoted: write mode = "active-backup"`, `mode = active-backup`, `mode = "active-backup"`},
	{"miimon = 100ms\n", `2:10: strings must be quoted: write miimon = "100ms"`, `miimon = 100ms`, `miimon = "100ms"`},
	{"miimon = 100 ms\n", `2:10: strings must be quoted: write miimon = "100ms"`, `miimon = 100 ms`, `miimon = "100ms"`},
	{"mac = 02:00:5e:10:00:01\n", `2:7: strings must be quoted: write mac = "02:00:5e:10:00:01"`, `mac = 02:00:5e:10:00:01`, `mac = "02:00:5e:10:00:01"`},
	{"mac = 22:10:00:12:34:56\n", `2:7: mac is a string, and strings must be quoted: write mac = "22:10:00:12:34:56"`, `mac = 22:10:00:12:34:56`, `mac = "22:10:00:12:34:56"`},
	{"name = “bond0”\n", `2:8: “ is a curly quote, and TOML has straight ones: write name = "bond0"`, `name = “bond0”`, `name = "bond0"`},
	{"name = \"bond0”\n", `2:14: ” is a curly quote, and TOML has straight ones: write name = "bond0"`, `name = "bond0”`, `name = "bond0"`},
	{"name = ‘bond0’\n", `2:8: ‘ is a curly quote, and TOML has straight ones: write name = 'bond0'`, `name = ‘bond0’`, `name = 'bond0'`},
	{"dns = [“1.1.1.1”, “8.8.8.8”]\n", `2:8: “ is a curly quote, and TOML has straight ones: write dns = ["1.1.1.1", "8.8.8.8"]`, `dns = [“1.1.1.1”, “8.8.8.8”]`, `dns = ["1.1.1.1", "8.8.8.8"]`},
	{"name = `bond0`\n", "2:8: ` is not a quote in TOML: write name = \"bond0\"", "name = `bond0`", `name = "bond0"`},
	{"name = „bond0“\n", `2:8: „ is a curly quote, and TOML has straight ones: write name = "bond0"`, `name = „bond0“`, `name = "bond0"`},
	{"name = \"bond0\nmtu = 1500\n", `2:14: the closing quote is missing: write name = "bond0"`, "name = \"bond0\n", "name = \"bond0\"\n"},
	{"name = bond0\"\n", `2:8: the opening quote is missing: write name = "bond0"`, `name = bond0"`, `name = "bond0"`},
	{"name = \"bond0'\n", `2:14: the closing quote is missing: write name = "bond0"`, `name = "bond0'`, `name = "bond0"`},
	{"[http]\nweb_config = \"/perm\\web.yml\"\n", `2:14: \ begins an escape in a string in double quotes: write web_config = '/perm\web.yml'`, `web_config = "/perm\web.yml"`, `web_config = '/perm\web.yml'`},

	// Spaces, commas, brackets, comments, equals signs.
	{"name\u00a0= \"bond0\"\n", `2:5: there is a character that looks like a space and is not one (U+00A0): write name = "bond0"`, "name\u00a0= \"bond0\"", `name = "bond0"`},
	{"name = \"bond0\",\n", `2:15: a line does not end with ',': write name = "bond0"`, `name = "bond0",`, `name = "bond0"`},
	{"name = \"bond0\";\n", `2:15: a line does not end with ';': write name = "bond0"`, `name = "bond0";`, `name = "bond0"`},
	{"name: bond0\n", `2:5: a key is set with =, not with a colon: write name = "bond0"`, `name: bond0`, `name = "bond0"`},
	{"name == \"bond0\"\n", `2:7: a key is set with =, not with ==: write name = "bond0"`, `name == "bond0"`, `name = "bond0"`},
	{"name := \"bond0\"\n", `2:6: a key is set with =, not with :=: write name = "bond0"`, `name := "bond0"`, `name = "bond0"`},
	{"name \"bond0\"\n", `2:6: there is no = between name and its value: write name = "bond0"`, `name "bond0"`, `name = "bond0"`},
	{"name =\n", `2:7: name has no value: write one behind the =, or take the line out`, "name =\n", ""},
	{"; the first bond\n", `2:1: a comment begins with #: write # the first bond`, `; the first bond`, `# the first bond`},
	{"mtu = 1500 // bytes\n", `2:12: a comment begins with #: write mtu = 1500 # bytes`, `mtu = 1500 // bytes`, `mtu = 1500 # bytes`},
	{"mtu = 1,500\n", `2:8: a number has no commas: write mtu = 1500`, `mtu = 1,500`, `mtu = 1500`},
	{"mtu = 01500\n", `2:7: a number does not begin with 0: write mtu = 1500`, `mtu = 01500`, `mtu = 1500`},
	{"name = \"bond0\" mtu = 1500\n", `2:15: each key stands in a line of its own: write mtu = 1500 in the next line`, ` mtu = 1500`, "\nmtu = 1500"},
	{"[[bond]] name = \"bond0\"\n", `1:9: [[bond]] stands in a line of its own: write what follows it in the next line`, "[[bond]] name", "[[bond]]\nname"},
	{"[[bond]\n", `1:8: the brackets of a table are not complete: write [[bond]]`, "[[bond]\n", "[[bond]]\n"},
	{"[bond]]\n", `1:2: the brackets of a table are not complete: write [[bond]]`, "[bond]]\n", "[[bond]]\n"},
	{"[bond]\n", `1:2: there can be more than one bond: write [[bond]] with two brackets, not [bond]`, "[bond]\n", "[[bond]]\n"},
	{"[[http]]\n", `1:3: there is only one http: write [http], not [[http]]`, "[[http]]\n", "[http]\n"},
	{"[[bond]]\nslaves = [\"eth0\", \"eth1\"\ndhcp4 = true\n", `2:25: the list has no ] at its end: write slaves = ["eth0", "eth1"]`, `slaves = ["eth0", "eth1"`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = [\"eth0\", \"eth1]\n", `2:24: the closing quote is missing: write slaves = ["eth0", "eth1"]`, `slaves = ["eth0", "eth1]`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = [\"eth0\" \"eth1\"]\n", `2:17: there is no comma between two entries: write slaves = ["eth0", "eth1"]`, `slaves = ["eth0" "eth1"]`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = [\"eth0\",, \"eth1\"]\n", `2:18: there is a comma too many: write slaves = ["eth0", "eth1"]`, `slaves = ["eth0",, "eth1"]`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = [eth0, eth1]\n", `2:11: strings must be quoted: write slaves = ["eth0", "eth1"]`, `slaves = [eth0, eth1]`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = [\"eth0\", eth1]\n", `2:19: strings must be quoted: write slaves = ["eth0", "eth1"]`, `slaves = ["eth0", eth1]`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = (\"eth0\", \"eth1\")\n", `2:10: a list stands in [ and ]: write slaves = ["eth0", "eth1"]`, `slaves = ("eth0", "eth1")`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = eth0 eth1\n", `2:10: strings must be quoted: write slaves = ["eth0", "eth1"]`, `slaves = eth0 eth1`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = \"eth0\", \"eth1\"\n", `2:10: a list stands in [ and ]: write slaves = ["eth0", "eth1"]`, `slaves = "eth0", "eth1"`, `slaves = ["eth0", "eth1"]`},

	// Lists of another shape.
	{"[[bond]]\nslaves = \"eth0\"\n", `2:10: slaves is a list of strings, not "eth0": write slaves = ["eth0"]`, `slaves = "eth0"`, `slaves = ["eth0"]`},
	{"[[bond]]\nslaves = \"eth0, eth1\"\n", `2:10: slaves is a list of strings, not "eth0, eth1": write slaves = ["eth0", "eth1"]`, `slaves = "eth0, eth1"`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = [\"eth0 eth1\"]\n", `2:11: "eth0 eth1" has more than one entry: write slaves = ["eth0", "eth1"]`, `slaves = ["eth0 eth1"]`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = [[\"eth0\", \"eth1\"]]\n", `2:10: slaves is a list of strings, not a list with a list in it: write slaves = ["eth0", "eth1"]`, `slaves = [["eth0", "eth1"]]`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslave = [\"eth0\", \"eth1\"]\n", `2:9: slave is a table that says more of one of the slaves: to name them, write slaves = ["eth0", "eth1"]`, `slave = ["eth0", "eth1"]`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslave = \"eth0 eth1\"\n", `2:9: slave is a table that says more of one of the slaves: to name them, write slaves = ["eth0", "eth1"]`, `slave = "eth0 eth1"`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nslaves = [\"auto\"]\n", `2:11: auto stands for all slaves, not for one in a list: write slaves = "auto"`, `slaves = ["auto"]`, `slaves = "auto"`},
	{"[[bond]]\nslaves = [{name = \"eth0\"}, {name = \"eth1\"}]\n", `2:11: slaves is a list of strings, not a list with a table in it: write slaves = ["eth0", "eth1"]`, `slaves = [{name = "eth0"}, {name = "eth1"}]`, `slaves = ["eth0", "eth1"]`},
	{"dns = \"1.1.1.1, 8.8.8.8\"\n", `2:7: dns is a list of strings, not "1.1.1.1, 8.8.8.8": write dns = ["1.1.1.1", "8.8.8.8"]`, `dns = "1.1.1.1, 8.8.8.8"`, `dns = ["1.1.1.1", "8.8.8.8"]`},
	{"gateways = 192.168.1.1\n", `2:12: strings must be quoted: write gateways = ["192.168.1.1"]`, `gateways = 192.168.1.1`, `gateways = ["192.168.1.1"]`},
	{"addresses = 192.168.1.2/24\n", `2:13: strings must be quoted: write addresses = ["192.168.1.2/24"]`, `addresses = 192.168.1.2/24`, `addresses = ["192.168.1.2/24"]`},

	// Names.
	{"mimon = \"100ms\"\n", `2:1: unknown key "mimon"; did you mean "miimon"?`, `mimon`, `miimon`},
	{"MIIMON = \"100ms\"\n", `2:1: unknown key "MIIMON"; did you mean "miimon"?`, `MIIMON`, `miimon`},
	{"primary-reselect = \"always\"\n", `2:1: unknown key "primary-reselect"; did you mean "primary_reselect"?`, `primary-reselect`, `primary_reselect`},
	{"bond-mode = \"802.3ad\"\n", `2:1: unknown key "bond-mode"; did you mean "mode"?`, `bond-mode`, `mode`},
	{"bond_miimon = \"100ms\"\n", `2:1: unknown key "bond_miimon"; did you mean "miimon"?`, `bond_miimon`, `miimon`},
	{"up_delay = \"200ms\"\n", `2:1: unknown key "up_delay"; did you mean "updelay"?`, `up_delay`, `updelay`},
	{"transmit-hash-policy = \"layer3+4\"\nmode = \"802.3ad\"\n", `2:1: unknown key "transmit-hash-policy"; did you mean "xmit_hash_policy"?`, `transmit-hash-policy`, `xmit_hash_policy`},
	{"hwaddr = \"02:00:5e:10:00:01\"\n", `2:1: unknown key "hwaddr"; did you mean "mac"?`, `hwaddr`, `mac`},
	{"[[bond]]\ninterfaces = [\"eth0\", \"eth1\"]\n", `2:1: unknown key "interfaces"; did you mean slaves = ["eth0", "eth1"]?`, `interfaces = ["eth0", "eth1"]`, `slaves = ["eth0", "eth1"]`},
	{"[[bond]]\nmembers = \"eth0 eth1\"\n", `2:1: unknown key "members"; did you mean slaves = ["eth0", "eth1"]?`, `members = "eth0 eth1"`, `slaves = ["eth0", "eth1"]`},
	{"gateway = \"192.168.1.1\"\n", `2:1: unknown key "gateway"; did you mean gateways = ["192.168.1.1"]?`, `gateway = "192.168.1.1"`, `gateways = ["192.168.1.1"]`},
	{"nameservers = [\"1.1.1.1\"]\n", `2:1: unknown key "nameservers"; did you mean dns = ["1.1.1.1"]?`, `nameservers = ["1.1.1.1"]`, `dns = ["1.1.1.1"]`},
	{"address = \"192.168.1.2/24\"\n", `2:1: unknown key "address"; did you mean addresses = ["192.168.1.2/24"]?`, `address = "192.168.1.2/24"`, `addresses = ["192.168.1.2/24"]`},
	{"ipaddr = \"192.168.1.2\"\n", `2:1: unknown key "ipaddr"; did you mean addresses = ["192.168.1.2/24"]?`, `ipaddr = "192.168.1.2"`, `addresses = ["192.168.1.2/24"]`},
	{"[[bond]]\ndhcp = true\n", `2:1: unknown key "dhcp"; did you mean "dhcp4"?`, `dhcp`, `dhcp4`},
	{"[bonds]\n", `1:2: unknown table "bonds"; did you mean [[bond]]?`, "[bonds]", "[[bond]]"},
	{"miimon = \"100ms\"\n[[bond]]\n" + ordinary, `1:1: unknown key "miimon"; it belongs in [[bond]]: write it below that`, "miimon = \"100ms\"\n[[bond]]\n", "[[bond]]\nmiimon = \"100ms\"\n"},
	{"[[path]]\ntarget = \"192.168.1.1\"\n", `1:3: unknown table "path"; it belongs in [[bond]]: write [[bond.path]]`, "[[path]]", "[[bond]]\n[[bond.path]]"},
	{"[[bond.path]]\ntarget = \"192.168.1.1\"\n[[bond]]\n" + ordinary, `3:3: [[bond]] stands above its tables: move those in line 1 and below it to below this line`, "[[bond.path]]\ntarget = \"192.168.1.1\"\n[[bond]]\n" + ordinary, "[[bond]]\n" + ordinary + "[[bond.path]]\ntarget = \"192.168.1.1\"\n"},
	{"name = \"a\"\nname = \"b\"\n", `3:1: "name" is set twice: it is already in line 2; keep one of the two`, "name = \"a\"\n", ""},

	// Values.
	{"mode = \"active_backup\"\n", `2:8: unknown mode "active_backup"; did you mean "active-backup"?`, `active_backup`, `active-backup`},
	{"mode = \"Active-Backup\"\n", `2:8: unknown mode "Active-Backup"; did you mean "active-backup"?`, `Active-Backup`, `active-backup`},
	{"mode = \"lacp\"\n", `2:8: unknown mode "lacp"; did you mean "802.3ad"?`, `lacp`, `802.3ad`},
	{"mode = \"8023ad\"\n", `2:8: unknown mode "8023ad"; did you mean "802.3ad"?`, `8023ad`, `802.3ad`},
	{"mode = \"round-robin\"\n", `2:8: unknown mode "round-robin"; did you mean "balance-rr"?`, `round-robin`, `balance-rr`},
	{"mode = \"active–backup\"\n", `2:8: unknown mode "active–backup"; did you mean "active-backup"?`, `active–backup`, `active-backup`},
	{"mode = \"802.3ad\"\nlacp_rate = \"Fast\"\n", `3:13: unknown lacp_rate "Fast"; did you mean "fast"?`, `Fast`, `fast`},
	{"mode = \"802.3ad\"\nxmit_hash_policy = \"layer34\"\n", `3:20: unknown xmit_hash_policy "layer34"; did you mean "layer3+4"?`, `layer34`, `layer3+4`},
	{"[hardware]\npolicy = \"Warn\"\n", `2:10: unknown policy "Warn"; did you mean "warn"?`, `Warn`, `warn`},
	{"[hardware]\npolicy = \"disabled\"\n", `2:10: unknown policy "disabled"; did you mean "off"?`, `disabled`, `off`},
	{"miimon = 100\n", `2:10: miimon is a duration and needs a unit: write "100ms"`, `100`, `"100ms"`},
	{"miimon = \"100\"\n", `2:10: miimon is a duration and needs a unit: write "100ms"`, `"100"`, `"100ms"`},
	{"miimon = \"100 ms\"\n", `2:10: miimon is a duration, not "100 ms": write "100ms"`, `"100 ms"`, `"100ms"`},
	{"miimon = \"0.1 sec\"\n", `2:10: miimon is a duration, not "0.1 sec": write "100ms"`, `"0.1 sec"`, `"100ms"`},
	{"miimon = \"100MS\"\n", `2:10: miimon is a duration, not "100MS": write "100ms"`, `"100MS"`, `"100ms"`},
	{"updelay = \"150ms\"\n", `2:11: updelay "150ms" is not a multiple of miimon "100ms", the kernel would make it "100ms": write "100ms" or "200ms"`, `"150ms"`, `"200ms"`},
	{ordinary + "[[bond.path]]\ntarget = \"192.168.1.1\"\ninterval = \"2 seconds\"\n", `6:12: interval is a duration, not "2 seconds": write "2s"`, `"2 seconds"`, `"2s"`},
	{"[[bond]]\ndhcp4 = yes\n", `2:9: yes is not a value: write dhcp4 = true`, `dhcp4 = yes`, `dhcp4 = true`},
	{"[[bond]]\ndhcp4 = \"true\"\n", `2:9: dhcp4 is true or false without quotes, not "true": write dhcp4 = true`, `dhcp4 = "true"`, `dhcp4 = true`},
	{"[[bond]]\ndhcp4 = True\n", `2:9: True is not a value: write dhcp4 = true`, `dhcp4 = True`, `dhcp4 = true`},
	{"mtu = \"1500\"\n", `2:7: mtu is a number: write mtu = 1500, without quotes`, `mtu = "1500"`, `mtu = 1500`},
	{"all_slaves_active = \"no\"\n", `2:21: all_slaves_active is true or false without quotes, not "no": write all_slaves_active = false`, `all_slaves_active = "no"`, `all_slaves_active = false`},
	{"num_grat_arp = \"3\"\n", `2:16: num_grat_arp is a number: write num_grat_arp = 3, without quotes`, `num_grat_arp = "3"`, `num_grat_arp = 3`},
	{"primary = \"eth2\"\n", `2:11: primary "eth2" is not one of the slaves: write one of them as it is there, "eth0" or "eth1"`, `"eth2"`, `"eth1"`},
	{"[http]\nlisten = 80\n", `2:10: listen is host and port in quotes, not a number: write ":80" for every address`, `80`, `":80"`},
	{"[http]\nlisten = \"80\"\n", `2:10: listen "80" lacks the colon before the port: write ":80"`, `"80"`, `":80"`},

	// Addresses.
	{"addresses = [\"192.168.1.2\"]\n", `2:14: address "192.168.1.2" lacks the prefix length of its network: write for example "192.168.1.2/24"`, `"192.168.1.2"`, `"192.168.1.2/24"`},
	{"addresses = [\"192.168.1.2/255.255.255.0\"]\n", `2:14: address "192.168.1.2/255.255.255.0" has the netmask in place of the prefix length: write "192.168.1.2/24"`, `"192.168.1.2/255.255.255.0"`, `"192.168.1.2/24"`},
	{"addresses = [\"10.1.2.3 255.255.240.0\"]\n", `2:14: address "10.1.2.3 255.255.240.0" has the netmask in place of the prefix length: write "10.1.2.3/20"`, `"10.1.2.3 255.255.240.0"`, `"10.1.2.3/20"`},
	{"addresses = [\"10.1.2.3 netmask 255.0.0.0\"]\n", `2:14: address "10.1.2.3 netmask 255.0.0.0" has the netmask in place of the prefix length: write "10.1.2.3/8"`, `"10.1.2.3 netmask 255.0.0.0"`, `"10.1.2.3/8"`},
	{"addresses = [\"192.168.1.0/24\"]\n", `2:14: address "192.168.1.0/24" is that of the network itself: write a host's, for example "192.168.1.1/24"`, `"192.168.1.0/24"`, `"192.168.1.1/24"`},
	{"netmask = \"255.255.0.0\"\naddresses = [\"10.1.2.3/16\"]\n", `2:1: unknown key "netmask"; an address has its prefix length with it: take this line out, and write addresses = ["10.1.2.3/16"]`, "netmask = \"255.255.0.0\"\naddresses = [\"10.1.2.3/16\"]", `addresses = ["10.1.2.3/16"]`},
	{"gateways = [\"192.168.1.1/24\"]\n", `2:13: gateway "192.168.1.1/24" is one address: write it without the prefix length, "192.168.1.1"`, `"192.168.1.1/24"`, `"192.168.1.1"`},
	{"gateways = [\"192.168.001.001\"]\n", `2:13: gateway "192.168.001.001" is not in the form of an IP address: write "192.168.1.1"`, `"192.168.001.001"`, `"192.168.1.1"`},
	{"dns = [\" 1.1.1.1\"]\n", `2:8: dns server " 1.1.1.1" is not in the form of an IP address: write "1.1.1.1"`, `" 1.1.1.1"`, `"1.1.1.1"`},
	{"gateways = [\"fe80::1%bond0\"]\n", `2:13: gateway "fe80::1%bond0": the bond is the interface, write "fe80::1"`, `"fe80::1%bond0"`, `"fe80::1"`},
	{"[[bond]]\nslaves = [\"52:54:00:12:34:56\"]\n", `2:11: "52:54:00:12:34:56" is a MAC address, not a name: write "mac:52:54:00:12:34:56"`, `"52:54:00:12:34:56"`, `"mac:52:54:00:12:34:56"`},
	{"[[bond]]\nslaves = [\"MAC:52:54:00:12:34:56\"]\n", `2:11: "MAC:52:54:00:12:34:56" begins with capitals: write "mac:52:54:00:12:34:56"`, `"MAC:52:54:00:12:34:56"`, `"mac:52:54:00:12:34:56"`},
	{"[[bond]]\nslaves = [\"03:00.0\"]\n", `2:11: "03:00.0" is a PCI address, not a name: write "pci:0000:03:00.0"`, `"03:00.0"`, `"pci:0000:03:00.0"`},
}

// brokenBond is a whole file with what a row of followed has.
func brokenBond(text string) string {
	if strings.Contains(text, "[") && (strings.HasPrefix(text, "[") || strings.Contains(text, "\n[[bond]]")) {
		return text
	}
	if strings.Contains(text, ordinary) || strings.Contains(text, "[bond") {
		return "[[bond]]\n" + text
	}
	return "[[bond]]\n" + text + ordinary
}

// What a finding says to write makes the file good.
func TestAdviceApplied(t *testing.T) {
	const least = 80
	if len(followed) < least {
		t.Errorf("there are %d broken files, want %d", len(followed), least)
	}
	for _, tt := range followed {
		t.Run("", func(t *testing.T) {
			text := brokenBond(tt.text)
			_, err := Parse("f", []byte(text))
			if err == nil {
				t.Fatalf("taken for good:\n%s", text)
			}
			if diff := cmp.Diff("f:"+tt.want, err.Error()); diff != "" {
				t.Errorf("finding (-want +got):\n%s\nin:\n%s", diff, text)
			}
			for _, word := range strings.Split(strings.TrimSpace(tt.new), "\n") {
				if !strings.Contains(tt.want, word) && strings.Count(text, word) == 0 {
					t.Errorf("%q is not what is said: %s", word, tt.want)
				}
			}
			if !strings.Contains(text, tt.old) {
				t.Fatalf("%q is not in:\n%s", tt.old, text)
			}
			right := strings.Replace(text, tt.old, tt.new, 1)
			if _, err := Parse("f", []byte(right)); err != nil {
				t.Errorf("after %q: %v in:\n%s", tt.want, err, right)
			}
		})
	}
}

// Files that are not in UTF-8 are named as what they are, and good in UTF-8.
func TestEncodings(t *testing.T) {
	good := "# Grüße\n[[bond]]\n" + ordinary
	utf16With := func(mark bool, big bool) string {
		var b strings.Builder
		units := utf16.Encode([]rune(good))
		if mark {
			units = append([]uint16{0xfeff}, units...)
		}
		for _, u := range units {
			if big {
				b.WriteByte(byte(u >> 8))
				b.WriteByte(byte(u))
			} else {
				b.WriteByte(byte(u))
				b.WriteByte(byte(u >> 8))
			}
		}
		return b.String()
	}
	const unicode = `not UTF-8: save it as UTF-8, which some editors offer beside "Unicode"`
	for name, tt := range map[string]struct{ text, want string }{
		"UTF-8":                                {good, ""},
		"UTF-8 with a mark":                    {"\ufeff" + good, ""},
		"UTF-16, little":                       {utf16With(true, false), "f:1:1: the file is in UTF-16, " + unicode},
		"UTF-16, big":                          {utf16With(true, true), "f:1:1: the file is in UTF-16, " + unicode},
		"UTF-16 without a mark":                {utf16With(false, false), "f:1:1: the file is in UTF-16, " + unicode},
		"UTF-16 without a mark, big":           {utf16With(false, true), "f:1:1: the file is in UTF-16, " + unicode},
		"UTF-32":                               {"\xff\xfe\x00\x00[\x00\x00\x00", "f:1:1: the file is in UTF-32, " + unicode},
		"Latin-1":                              {"[[bond]]\n# Gr\xfc\xdfe\n" + ordinary, "f:2:5: invalid UTF-8 character in comment; save the file as UTF-8"},
		"not text":                             {"\x7fELF\x02\x01\x01\x00\x00\x01", "f:1:1: the file is not text, it has zero bytes: write a text file"},
		"lines of an old Mac":                  {strings.ReplaceAll(good, "\n", "\r"), "f:1:1: the lines of the file end with CR alone: save it with LF or CRLF at the end of each line"},
		"lines of Windows":                     {strings.ReplaceAll(good, "\n", "\r\n"), ""},
		"lines of Windows, with what is wrong": {"[[bond]]\r\nname: bond0\r\n", `f:2:5: a key is set with =, not with a colon: write name = "bond0"`},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if _, err := Parse("f", []byte(tt.text)); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("finding %q, want %q", got, tt.want)
			}
		})
	}
}

// The files of other programs are named, with the command that imports them.
func TestForeignFiles(t *testing.T) {
	imports := func(what string) string {
		return "this is " + what + ", not a configuration of bondd: bondd help config shows how one is written"
	}
	other := func(what string) string {
		return "this is " + what + ", not TOML: bondd help config shows how a configuration is written"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"ifcfg": {`# Bonding
DEVICE=bond0
BONDING_OPTS="mode=1 miimon=100"
ONBOOT=yes
IPADDR=192.168.1.202
NETMASK=255.255.255.0
`, "2:1: " + imports("an ifcfg file")},
		"ifcfg, all of it quoted": {"DEVICE=\"bond0\"\nTYPE=\"Bond\"\nONBOOT=\"yes\"\n", "1:1: " + imports("an ifcfg file")},
		"ifcfg of a slave":        {"DEVICE=eth0\nMASTER=bond0\nSLAVE=yes\n", "1:1: " + imports("an ifcfg file")},
		"netplan": {`network:
  version: 2
  bonds:
    bond0:
      interfaces: [eth0, eth1]
`, "1:1: " + imports("a netplan file")},
		"interfaces": {`# The loopback network interface
auto lo
iface lo inet loopback

auto bond0
iface bond0 inet static
    address 192.168.1.202
    bond-slaves eth0 eth1
`, "2:1: " + imports("a file of Debian's /etc/network/interfaces")},
		"networkd, the bond":      {"[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\nMode=active-backup\n", "1:1: " + imports("a file of systemd-networkd")},
		"networkd, its network":   {"[Match]\nName=eth0\n[Network]\nBond=bond0\n[Address]\n[Address]\n", "1:1: " + imports("a file of systemd-networkd")},
		"a keyfile":               {"[connection]\nid=bond0\ntype=bond\n\n[bond]\nmode=active-backup\nmiimon=100\n", "1:1: " + imports("a keyfile of NetworkManager")},
		"modprobe.conf":           {"alias bond0 bonding\noptions bond0 miimon=100 mode=1\n", "1:1: " + imports("a modprobe configuration")},
		"rc.local":                {"#!/bin/sh\ntouch /var/lock/subsys/local\nifenslave bond0 eth0 eth1\n", "2:1: " + imports("a shell script")},
		"teamd":                   {"{\n  \"device\": \"team0\",\n  \"runner\": {\"name\": \"activebackup\"}\n}\n", "1:1: " + imports("a configuration of teamd")},
		"JSON":                    {"{\"bond\": [{\"name\": \"bond0\"}]}\n", "1:1: " + other("JSON")},
		"XML":                     {"<bond name=\"bond0\"/>\n", "1:1: " + other("XML or HTML")},
		"YAML":                    {"bond:\n  - name: bond0\n", "1:1: " + other("YAML")},
		"a bond in small letters": {"[bond]\nname = bond0\n", `2:8: strings must be quoted: write name = "bond0"`},
		"a bond in capitals":      {"[[bond]]\nMODE = \"802.3ad\"\n", `2:1: unknown key "MODE"; did you mean "mode"?`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("/etc/x", []byte(tt.text))
			if err == nil {
				t.Fatalf("taken for good:\n%s", tt.text)
			}
			if diff := cmp.Diff("/etc/x:"+tt.want, err.Error()); diff != "" {
				t.Errorf("finding (-want +got):\n%s", diff)
			}
		})
	}
}

// A key that is like none lists a few at most, and where all are described.
func TestUnknownKeys(t *testing.T) {
	for key, want := range map[string]string{
		"colour":                 "bondd help config describes all keys of [[bond]]",
		"delay":                  "it is a little like updelay, downdelay and peer_notif_delay; bondd help config describes all keys of [[bond]]",
		"interval":               "it belongs in [[bond.path]]",
		strings.Repeat("x", 100): "bondd help config describes all keys of [[bond]]",
	} {
		_, err := Parse("f", []byte("[[bond]]\n"+key+" = 1\n"+ordinary))
		if err == nil || !strings.HasSuffix(err.Error(), "; "+want) {
			t.Errorf("%s: %v\nwant: %s", key, err, want)
		}
	}
}
