package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bondd.internal/config/bonding"
)

// bad has what people write by mistake, and what they are told: every finding,
// word for word and with its place, each after the name of the file.
var bad = []struct {
	text string
	want []string
}{
	{`[[bond]]
miimon = 100ms
`, []string{
		`2:10: strings must be quoted: write miimon = "100ms"`,
	}},
	{`[[bond]]
mode = active-backup # one works
`, []string{
		`2:8: strings must be quoted: write mode = "active-backup"`,
	}},
	{`[[bond]]
dhcp4 = yes
`, []string{
		`2:9: yes is not a value: write dhcp4 = true`,
	}},
	{`[[bond]]
dhcp4 = False
`, []string{
		`2:9: False is not a value: write dhcp4 = false`,
	}},
	{`[[bond]]
name = "bond0
mode = 1
`, []string{
		`2:14: the closing quote is missing: write name = "bond0"`,
	}},
	{`[[bond]]
name = "bond0`, []string{
		`2:14: the closing quote is missing: write name = "bond0"`,
	}},
	{`[[bond]]
slaves = [eth0, eth1]
`, []string{
		`2:11: strings must be quoted: write slaves = ["eth0", "eth1"]`,
	}},
	{`[[bond]]
slaves = ["eth0"
mode = 1
`, []string{
		`2:17: the list has no ] at its end: write slaves = ["eth0"]`,
	}},
	{`[[bond]]
slaves = ["eth0",`, []string{
		`2:17: the list has no ] at its end: write slaves = ["eth0"]`,
	}},
	{`[[bond
`, []string{
		`1:7: the brackets of a table are not complete: write [[bond]]`,
	}},
	{`options bond0 miimon=100
`, []string{
		`1:1: this is a modprobe configuration, not a configuration of bondd: bondd help config shows how one is written`,
	}},
	{`mtu = 007
`, []string{
		`1:7: a number does not begin with 0: write mtu = 7`,
	}},
	{`[[bond]]
name = "\q"
`, []string{
		`2:8: \ begins an escape in a string in double quotes: write name = '\q'`,
	}},
	{`# Grüße
[[bond]]
"äö" = "ü" x
`, []string{
		`3:12: expected newline but got U+0078 'x'`,
	}},
	{"a\rb = 1\n", []string{
		`1:2: expected '=' after key; a line is key = value, or [table]`,
	}},
	{"\x00", []string{
		`1:1: the file is not text, it has zero bytes: write a text file`,
	}},
	{`[http]
listen = ":80"
listen = ":81"
[hardware]
[http]
web_config = ""
`, []string{
		`3:1: "listen" is set twice: it is already in line 2; keep one of the two`,
		`5:2: "http" is set twice: it is already in line 1; keep one of the two`,
	}},
	{`[[bond]]
name = "a"
[[bond]]
name = "b"
name = "c"
`, []string{
		`5:1: "name" is set twice: it is already in line 4; keep one of the two`,
	}},
	{`http.listen = ":80"
[http]
`, []string{
		`2:2: "http" is set twice: it is already in line 1; keep one of the two`,
	}},
	{`http = {listen = ":80"}
http.web_config = ""
`, []string{
		`2:1: "http" is set twice: it is already in line 1; keep one of the two`,
	}},
	{`bond = []
[[bond]]
`, []string{
		`2:3: "bond" is set twice: it is already in line 1; keep one of the two`,
	}},
	{`[[bond]]
mimon = "100ms"
slave = ["eth0"]
primary-reselect = "always"
`, []string{
		`2:1: unknown key "mimon"; did you mean "miimon"?`,
		`3:9: slave is a table that says more of one of the slaves: to name them, write slaves = ["eth0"]`,
		`4:1: unknown key "primary-reselect"; did you mean "primary_reselect"?`,
	}},
	{`[bonds]
name = "bond0"
[htpp]
[ethernet]
`, []string{
		`1:2: unknown table "bonds"; did you mean [[bond]]?`,
		`3:2: unknown table "htpp"; did you mean [http]?`,
		`4:2: unknown table "ethernet"; a configuration can have hardware, http or bond`,
	}},
	{`[bond]
name = "bond0"
`, []string{
		`1:2: there can be more than one bond: write [[bond]] with two brackets, not [bond]`,
	}},
	{`[[http]]
listen = ":80"
`, []string{
		`1:3: there is only one http: write [http], not [[http]]`,
	}},
	{`http = ":80"
hardware = 1
bond = "bond0"
`, []string{
		`1:8: http is a table, not a string: write [http] in a line of its own and its keys below`,
		`2:12: hardware is a table, not a number: write [hardware] in a line of its own and its keys below`,
		`3:8: there can be more than one bond: write [[bond]] with two brackets, not [bond]`,
	}},
	{`bond = ["bond0"]
`, []string{
		`1:9: a bond is a table, not a string: write [[bond]] in a line of its own and its keys below`,
	}},
	{`miimon = "100ms"
listen = ":80"
policy = "warn"
`, []string{
		`1:1: unknown key "miimon"; it belongs in [[bond]]: write it below that`,
		`2:1: unknown key "listen"; it belongs in [http]: write it below that`,
		`3:1: unknown key "policy"; it belongs in [hardware]: write it below that`,
	}},
	{`[http]
port = 80
[hardware]
check = true
[[bond]]
colour = "red"
`, []string{
		`2:1: unknown key "port"; [http] can have listen or web_config`,
		`4:1: unknown key "check"; [hardware] can have policy or match`,
		`6:1: unknown key "colour"; bondd help config describes all keys of [[bond]]`,
	}},
	{`[[bond]]
slaac = true
[[bond.vlan]]
id = 20
`, []string{
		`2:1: this version of bondd does not have "slaac" yet: take the line out`,
		`3:8: this version of bondd does not have "vlan" yet: take the line out`,
	}},
	{`[[bond]]
num_unsol_na = 1
`, []string{
		`2:1: num_unsol_na is another name of num_grat_arp, the kernel keeps one value for both: write num_grat_arp`,
	}},
	{`[[bond]]
"a\nb" = 1
`, []string{
		`2:1: unknown key "a\nb"; bondd help config describes all keys of [[bond]]`,
	}},
	{`[hardware]
policy = "enforced"
match = 3
`, []string{
		`2:10: unknown policy "enforced"; did you mean "enforce"?`,
		`3:9: match can be "chipset" or "driver", not 3`,
	}},
	{`[http]
listen = 80
web_config = false
`, []string{
		`2:10: listen is host and port in quotes, not a number: write ":80" for every address`,
		`3:14: web_config is a string in quotes, not false: write for example "/perm/bondd/web.yml"`,
	}},
	{`[http]
listen = "80"
`, []string{
		`2:10: listen "80" lacks the colon before the port: write ":80"`,
	}},
	{`[http]
listen = "192.168.1.202"
`, []string{
		`2:10: listen "192.168.1.202" lacks the port: write "192.168.1.202:80"`,
	}},
	{`[http]
listen = "::1"
`, []string{
		`2:10: listen "::1" lacks the port: write "[::1]:80"`,
	}},
	{`[http]
listen = "http://bond/"
`, []string{
		`2:10: listen "http://bond/": the port is a number from 1 to 65535, for example ":80"`,
	}},
	{`[http]
listen = ":0"
`, []string{
		`2:10: listen ":0": the port is a number from 1 to 65535, for example ":80"`,
	}},
	{`[http]
listen = "[::1]:http"
`, []string{
		`2:10: listen "[::1]:http": the port is a number from 1 to 65535, for example ":80"`,
	}},
	{`[http]
listen = "a b:80"
`, []string{
		`2:10: listen "a b:80": "a b" is not an address: write for example ":80", "192.168.1.202:80" or "[2001:db8::202]:80"`,
	}},
	{`[http]
listen = ""
`, []string{
		`2:10: listen "" is not host and port: write for example ":80", "192.168.1.202:80" or "[2001:db8::202]:80"`,
	}},
	{`[http]
web_config = "a\u0000"
`, []string{
		`2:14: web_config is the path of a file, and "a\x00" has a zero byte in it`,
	}},
	{`[[bond]]
mode = 7
`, []string{
		`2:8: mode can be "balance-rr" (0), "active-backup" (1), "balance-xor" (2), "broadcast" (3), "802.3ad" (4), "balance-tlb" (5) or "balance-alb" (6), not 7`,
	}},
	{`[[bond]]
mode = "activebackup"
`, []string{
		`2:8: unknown mode "activebackup"; did you mean "active-backup"?`,
	}},
	{`[[bond]]
mode = true
`, []string{
		`2:8: mode can be "balance-rr" (0), "active-backup" (1), "balance-xor" (2), "broadcast" (3), "802.3ad" (4), "balance-tlb" (5) or "balance-alb" (6), not true`,
	}},
	{`[[bond]]
miimon = 100
updelay = "200"
downdelay = 0.2
`, []string{
		`2:10: miimon is a duration and needs a unit: write "100ms"`,
		`3:11: updelay is a duration and needs a unit: write "200ms"`,
		`4:13: downdelay is a duration, not 0.2: write it in quotes with a unit, for example "100ms"`,
	}},
	{`[[bond]]
miimon = "0"
`, []string{
		`2:10: miimon is a duration and needs a unit: write "0s"`,
	}},
	{`[[bond]]
miimon = "fast"
updelay = "-1s"
downdelay = "597h"
`, []string{
		`2:10: miimon is a duration, not "fast": write a number with a unit, for example "100ms"`,
		`3:11: updelay goes from "0s" to "596h31m23.647s", not "-1s"`,
		`4:13: downdelay goes from "0s" to "596h31m23.647s", not "597h"`,
	}},
	{`[[bond]]
miimon = "1.5ms"
updelay = "100us"
`, []string{
		`2:10: miimon cannot be "1.5ms", the kernel counts it in steps of 1ms: write "1ms" or "2ms"`,
		`3:11: updelay cannot be "100us", the kernel counts it in steps of 1ms: write "0s" or "1ms"`,
	}},
	{`[[bond]]
miimon = ["100ms"]
`, []string{
		`2:10: miimon is a duration, not a list: write it in quotes with a unit, for example "100ms"`,
	}},
	{`[[bond]]
miimon = "0s"
`, []string{
		`2:10: a bond without a link monitor never fails over: set miimon, for example "100ms"`,
	}},
	{`[[bond]]
miimon = "0s"
updelay = "100ms"
downdelay = "0s"
`, []string{
		`2:10: a bond without a link monitor never fails over: set miimon, for example "100ms"`,
		`3:11: updelay needs miimon, which is "0s": it counts the looks at the link, and there are none`,
		`4:13: downdelay needs miimon, which is "0s": it counts the looks at the link, and there are none`,
	}},
	{`[[bond]]
updelay = "150ms"
downdelay = "50ms"
`, []string{
		`2:11: updelay "150ms" is not a multiple of miimon "100ms", the kernel would make it "100ms": write "100ms" or "200ms"`,
		`3:13: downdelay "50ms" is not a multiple of miimon "100ms", the kernel would make it "0s": write "100ms"`,
	}},
	{`[[bond]]
miimon = "7ms"
peer_notif_delay = "300s"
updelay = "2147483647ms"
[[bond]]
name = "bond1"
slaves = ["eth1"]
miimon = "1h"
peer_notif_delay = "10s"
`, []string{
		`3:20: peer_notif_delay "5m0s" is not a multiple of miimon "7ms", the kernel would make it "4m59.999s": write "4m59.999s"`,
		`4:11: updelay "596h31m23.647s" is not a multiple of miimon "7ms", the kernel would make it "596h31m23.646s": write "596h31m23.646s"`,
		`9:20: peer_notif_delay "10s" is not a multiple of miimon "1h0m0s", the kernel would make it "0s": write "0s"`,
	}},
	{`[[bond]]
peer_notif_delay = "301s"
lp_interval = 5
[[bond]]
name = "bond1"
slaves = ["eth1"]
lp_interval = "0s"
[[bond]]
name = "bond2"
slaves = ["eth2"]
lp_interval = "1500ms"
[[bond]]
name = "bond3"
slaves = ["eth3"]
lp_interval = 0
`, []string{
		`2:20: peer_notif_delay goes from "0s" to "5m0s", not "301s"`,
		`3:15: lp_interval is a duration and needs a unit: write "5s"`,
		`7:15: lp_interval goes from "1s" to "596523h14m7s", not "0s"`,
		`11:15: lp_interval cannot be "1500ms", the kernel counts it in steps of 1s: write "1s" or "2s"`,
		`15:15: lp_interval is a duration and needs a unit: write "1m40s"`,
	}},
	{`[[bond]]
miimon = "100ms"
arp_interval = "1s"
arp_ip_target = ["192.168.1.1"]
`, []string{
		`3:16: arp_interval cannot go with miimon, which is "100ms": the kernel has one monitor at a time; take one of the two out`,
	}},
	{`[[bond]]
arp_interval = "1s"
updelay = "0s"
downdelay = "1s"
peer_notif_delay = "1s"
`, []string{
		`2:16: arp_interval has nobody to ask: write who, for example arp_ip_target = ["192.168.1.1"]`,
		`3:11: updelay needs miimon, and the bond has arp_interval in its place: take the line out`,
		`4:13: downdelay needs miimon, and the bond has arp_interval in its place: take the line out`,
		`5:20: peer_notif_delay needs miimon, and the bond has arp_interval in its place: take the line out`,
	}},
	{`[[bond]]
miimon = "0s"
arp_interval = "0s"
peer_notif_delay = "0s"
`, []string{
		`2:10: a bond without a link monitor never fails over: set miimon, for example "100ms"`,
		`4:20: peer_notif_delay needs miimon, which is "0s": it counts the looks at the link, and there are none`,
	}},
	{`[[bond]]
mode = "802.3ad"
miimon = "0s"
[[bond]]
name = "bond1"
slaves = ["eth1"]
mode = "balance-tlb"
arp_interval = "1s"
arp_ip_target = ["192.168.1.1"]
[[bond]]
name = "bond2"
slaves = ["eth2"]
mode = "balance-alb"
arp_interval = "0s"
arp_ip_target = ["192.168.1.1"]
[[bond]]
name = "bond3"
slaves = ["eth3"]
mode = 4
arp_ip_target = ["192.168.1.1"]
arp_validate = "all"
arp_missed_max = 2
`, []string{
		`3:10: a bond without a link monitor never fails over: set miimon, for example "100ms"`,
		`8:16: mode balance-tlb has no arp_interval, only balance-rr, active-backup, balance-xor or broadcast has: take the line out, or change the mode`,
		`14:16: mode balance-alb has no arp_interval, only balance-rr, active-backup, balance-xor or broadcast has: take the line out, or change the mode`,
		`20:17: arp_ip_target does nothing without arp_interval, which mode 802.3ad does not have: take the line out, or change the mode`,
		`21:16: mode 802.3ad has no arp_validate, only balance-rr, active-backup, balance-xor or broadcast has: take the line out, or change the mode`,
		`22:18: mode 802.3ad has no arp_missed_max, only balance-rr, active-backup, balance-xor or broadcast has: take the line out, or change the mode`,
	}},
	{`[[bond]]
arp_validate = "all"
arp_ip_target = ["192.168.1.1"]
ns_ip6_target = ["2001:db8::1"]
arp_all_targets = "all"
arp_missed_max = 3
`, []string{
		`2:16: arp_validate does nothing without arp_interval: set that too, in the place of miimon, or take the line out`,
		`3:17: arp_ip_target does nothing without arp_interval: set that too, in the place of miimon, or take the line out`,
		`4:17: ns_ip6_target does nothing without arp_interval: set that too, in the place of miimon, or take the line out`,
		`5:19: arp_all_targets does nothing without arp_interval: set that too, in the place of miimon, or take the line out`,
		`6:18: arp_missed_max does nothing without arp_interval: set that too, in the place of miimon, or take the line out`,
	}},
	{`[[bond]]
addresses = ["192.168.1.202/24", "2001:db8::202/64"]
arp_interval = "1s"
arp_ip_target = ["192.168.1.1", "192.168.1.202", "192.168.1.1"]
ns_ip6_target = ["2001:db8::202", "2001:db8::1", "2001:db8:0::1"]
`, []string{
		`4:33: arp_ip_target "192.168.1.202" is the bond's own address: write another host's`,
		`4:50: arp_ip_target "192.168.1.1" is in the list twice`,
		`5:18: ns_ip6_target "2001:db8::202" is the bond's own address: write another host's`,
		`5:50: ns_ip6_target "2001:db8::1" is in the list twice`,
	}},
	{`[[bond]]
arp_interval = "1s"
arp_ip_target = ["2001:db8::1", "router", "0.0.0.0", "0.1.2.3", "224.0.0.1", "127.0.0.1", "255.255.255.255", "10.0.0.1/24", 7]
ns_ip6_target = ["192.168.1.1", "router", "::", "ff02::1", "::1", "fe80::1%eth0", "::ffff:1.2.3.4", "2001:db8::1/64"]
`, []string{
		`3:18: arp_ip_target "2001:db8::1" is an IPv6 address, and ARP is for IPv4: write it in ns_ip6_target`,
		`3:33: arp_ip_target "router" is not an IP address: write one such as "192.168.1.1"`,
		`3:43: arp_ip_target "0.0.0.0" stands for no address at all: write a host's`,
		`3:54: arp_ip_target "0.1.2.3" is in 0.0.0.0/8, which stands for no host: write a host's`,
		`3:65: arp_ip_target "224.0.0.1" is a multicast address, no host can have it: write a host's`,
		`3:78: arp_ip_target "127.0.0.1" is a loopback address, it never leaves this machine: write one of the network`,
		`3:91: arp_ip_target "255.255.255.255" is the broadcast address of every network: write a host's`,
		`3:110: arp_ip_target "10.0.0.1/24" is one address: write it without the prefix length, "10.0.0.1"`,
		`3:125: arp_ip_target is a list of strings, not a list with 7 in it: write arp_ip_target = ["2001:db8::1", "router", "0.0.0.0", "0.1.2.3", "224.0.0.1", "127.0.0.1", "255.255.255.255", "10.0.0.1/24", "7"]`,
		`4:18: ns_ip6_target "192.168.1.1" is an IPv4 address, and neighbour solicitation is for IPv6: write it in arp_ip_target`,
		`4:33: ns_ip6_target "router" is no IPv6 address: write one such as "2001:db8::1"`,
		`4:43: ns_ip6_target "::" stands for no address at all: write a host's`,
		`4:49: ns_ip6_target "ff02::1" is a multicast address, no host can have it: write a host's`,
		`4:60: ns_ip6_target "::1" is a loopback address, it never leaves this machine: write one of the network`,
		`4:67: ns_ip6_target "fe80::1%eth0": the bond is the interface, write "fe80::1"`,
		`4:83: ns_ip6_target "::ffff:1.2.3.4" is an IPv4 address in the form of IPv6: write "1.2.3.4"`,
		`4:101: ns_ip6_target "2001:db8::1/64" is one address: write it without the prefix length, "2001:db8::1"`,
	}},
	{`[[bond]]
arp_interval = "1s"
arp_ip_target = "192.168.1.1"
ns_ip6_target = true
`, []string{
		`3:17: arp_ip_target is a list of strings, not "192.168.1.1": write arp_ip_target = ["192.168.1.1"]`,
		`4:17: ns_ip6_target is a list of strings, not true: write ns_ip6_target = ["2001:db8::1"]`,
	}},
	{`[[bond]]
arp_interval = "1s"
arp_ip_target = [` + targets(bonding.MaxTargets) + `
  "10.0.1.1", "10.0.1.2"]
`, []string{
		`4:3: arp_ip_target has 18 entries, and the kernel takes at most 16`,
	}},
	{`[[bond]]
arp_interval = "1s"
ns_ip6_target = [` + strings.ReplaceAll(targets(bonding.MaxTargets), "10.0.0.", "2001:db8::") + `
  "fe80::1"]
`, []string{
		`4:3: ns_ip6_target has 17 entries, and the kernel takes at most 16`,
	}},
	{`[[bond]]
mac = "02:00:5e:10:00:01"
fail_over_mac = "active"
`, []string{
		`2:7: mac cannot be kept with fail_over_mac "active", which gives the bond the address of its active slave: take one of the two out`,
	}},
	{`[[bond]]
mode = "balance-rr"
fail_over_mac = "follow"
min_links = 1
ad_select = "count"
[[bond]]
name = "bond1"
slaves = ["eth1"]
mac = "02:00:5e:10:00:01"
mode = "802.3ad"
fail_over_mac = 1
`, []string{
		`3:17: fail_over_mac does nothing in mode balance-rr, the kernel heeds it in active-backup only: take the line out, or change the mode`,
		`4:13: min_links does nothing in mode balance-rr, the kernel heeds it in 802.3ad only: take the line out, or change the mode`,
		`5:13: ad_select does nothing in mode balance-rr, the kernel heeds it in 802.3ad only: take the line out, or change the mode`,
		`11:17: fail_over_mac does nothing in mode 802.3ad, the kernel heeds it in active-backup only: take the line out, or change the mode`,
	}},
	{`[[bond]]
mode = "active-backup"
lacp_active = true
lacp_rate = "slow"
ad_actor_sys_prio = 65535
ad_actor_system = "00:00:00:00:00:00"
ad_user_port_key = 0
coupled_control = true
packets_per_slave = 1
tlb_dynamic_lb = true
`, []string{
		`3:15: mode active-backup has no lacp_active, only 802.3ad has: take the line out, or change the mode`,
		`4:13: mode active-backup has no lacp_rate, only 802.3ad has: take the line out, or change the mode`,
		`5:21: mode active-backup has no ad_actor_sys_prio, only 802.3ad has: take the line out, or change the mode`,
		`6:19: mode active-backup has no ad_actor_system, only 802.3ad has: take the line out, or change the mode`,
		`7:20: mode active-backup has no ad_user_port_key, only 802.3ad has: take the line out, or change the mode`,
		`8:19: mode active-backup has no coupled_control, only 802.3ad has: take the line out, or change the mode`,
		`9:21: mode active-backup has no packets_per_slave, only balance-rr has: take the line out, or change the mode`,
		`10:18: mode active-backup has no tlb_dynamic_lb, only balance-tlb or balance-alb has: take the line out, or change the mode`,
	}},
	{`[[bond]]
mode = 4
lacp_active = "yes"
coupled_control = 2
all_slaves_active = "true"
tlb_dynamic_lb = 1.0
lacp_rate = "quick"
ad_select = 3
ad_actor_sys_prio = 0
ad_user_port_key = 1024
min_links = -1
xmit_hash_policy = "layer4"
resend_igmp = 256
`, []string{
		`3:15: lacp_active is true or false without quotes, not "yes": write lacp_active = true`,
		`4:19: coupled_control is true or false without quotes, not 2`,
		`5:21: all_slaves_active is true or false without quotes, not "true": write all_slaves_active = true`,
		`6:18: tlb_dynamic_lb is true or false without quotes, not 1.0`,
		`7:13: lacp_rate can be "slow" (0) or "fast" (1), not "quick"`,
		`8:13: ad_select can be "stable" (0), "bandwidth" (1) or "count" (2), not 3`,
		`9:21: ad_actor_sys_prio is a number from 1 to 65535, not 0`,
		`10:20: ad_user_port_key is a number from 0 to 1023, not 1024`,
		`11:13: min_links is a number from 0 to 2147483647, not -1`,
		`12:20: unknown xmit_hash_policy "layer4"; did you mean "layer3+4"?`,
		`13:15: resend_igmp is a number from 0 to 255, not 256`,
	}},
	{`[[bond]]
lacp_rate = fast
lacp_active = on
`, []string{
		`2:13: strings must be quoted: write lacp_rate = "fast"`,
	}},
	{`[[bond]]
lacp_active = on
`, []string{
		`2:15: on is not a value: write lacp_active = true`,
	}},
	{`[[bond]]
mode = 0
packets_per_slave = 65536
arp_missed_max = 0
arp_validate = 7
arp_all_targets = "some"
fail_over_mac = true
arp_interval = 1000
`, []string{
		`3:21: packets_per_slave is a number from 0 to 65535, not 65536`,
		`4:18: arp_missed_max is a number from 1 to 255, not 0`,
		`5:16: arp_validate can be "none" (0), "active" (1), "backup" (2), "all" (3), "filter" (4), "filter_active" (5) or "filter_backup" (6), not 7`,
		`6:19: arp_all_targets can be "any" (0) or "all" (1), not "some"`,
		`7:17: fail_over_mac can be "none" (0), "active" (1) or "follow" (2), not true`,
		`8:16: arp_interval is a duration and needs a unit: write "1s"`,
	}},
	{`[[bond]]
mode = 4
ad_actor_system = "01:80:c2:00:00:02"
[[bond]]
name = "bond1"
slaves = ["eth1"]
mode = 4
ad_actor_system = "switch"
[[bond]]
name = "bond2"
slaves = ["eth2"]
mode = 4
ad_actor_system = 0
`, []string{
		`3:19: ad_actor_system "01:80:c2:00:00:02" is a multicast address, and it has to be that of one system: its first byte has to be even, as in "02:00:5e:10:00:01"`,
		`8:19: ad_actor_system is a MAC address, not "switch": write six bytes, for example "02:00:5e:10:00:01"`,
		`13:19: ad_actor_system is a MAC address in quotes, not 0: write for example "02:00:5e:10:00:01"`,
	}},
	{`[[bond]]
path_policy = "any"
`, []string{
		`2:15: path_policy says how many of the paths have to be up, and there are none: add one with [[bond.path]], or take the line out`,
	}},
	{`[[bond]]
path_policy = "most"
[[bond.path]]
target = "192.168.1.1"
`, []string{
		`2:15: path_policy can be "all" or "any", not "most"`,
	}},
	{`[[bond]]
addresses = ["192.168.1.202/24", "2001:db8::202/64"]
gateways = ["192.168.1.1"]
[[bond.path]]
[[bond.path]]
target = "192.168.1.202"
[[bond.path]]
target = "2001:db8::202"
[[bond.path]]
target = "192.168.1.2"
[[bond.path]]
target = "192.168.1.2"
[[bond.path]]
target = "router"
[[bond.path]]
target = 5
[[bond.path]]
target = "ff02::1"
[[bond.path]]
target = "fe80::1%bond0"
[[bond.path]]
target = "192.168.1.1/24"
`, []string{
		`4:8: this path has no target: write the address of a host that has to be reached, for example target = "192.168.1.1"`,
		`6:10: target "192.168.1.202" is the bond's own address: write another host's`,
		`8:10: target "2001:db8::202" is the bond's own address: write another host's`,
		`12:10: target "192.168.1.2" is that of a path already, in line 10: one path is enough for it`,
		`14:10: target "router" is not an IP address: write one such as "192.168.1.1"`,
		`16:10: target is a string in quotes, not 5: write for example "192.168.1.1"`,
		`18:10: target "ff02::1" is a multicast address, no host can have it: write a host's`,
		`20:10: target "fe80::1%bond0": the bond is the interface, write "fe80::1"`,
		`22:10: target "192.168.1.1/24" is one address: write it without the prefix length, "192.168.1.1"`,
	}},
	{`[[bond]]
addresses = ["192.168.1.202/24"]
gateways = ["192.168.1.1"]
[[bond.path]]
target = "192.168.1.2"
source = "192.168.1.202"
[[bond.path]]
target = "192.168.1.3"
source = "192.168.1.3"
[[bond.path]]
target = "192.168.1.4"
source = "192.168.1.2"
[[bond.path]]
target = "192.168.1.5"
source = "192.168.1.1"
[[bond.path]]
target = "192.168.1.6"
source = "2001:db8::1"
[[bond.path]]
target = "2001:db8::2"
source = "192.168.1.250"
[[bond.path]]
target = "192.168.1.7"
source = false
[[bond.path]]
target = "192.168.1.8"
source = "224.0.0.1"
`, []string{
		`6:10: source "192.168.1.202" is the bond's own address: the probe of a standby would draw the bond's traffic to the standby; write an address of the network that nobody has, or take the line out`,
		`9:10: source "192.168.1.3" is the target of a path: its traffic would be drawn to this machine; write an address of the network that nobody has`,
		`12:10: source "192.168.1.2" is the target of a path: its traffic would be drawn to this machine; write an address of the network that nobody has`,
		`15:10: source "192.168.1.1" is a gateway: its traffic would be drawn to this machine; write an address of the network that nobody has`,
		`18:10: source "2001:db8::1" is an IPv6 address, and source is the sender of ARP requests, which are for IPv4: take the line out, or write an IPv4 address`,
		`21:10: source "192.168.1.250" is the sender of ARP requests, and target "2001:db8::2" is asked by neighbour solicitation: take the line out`,
		`24:10: source is a string in quotes, not false: write for example "192.168.1.250"`,
		`27:10: source "224.0.0.1" is a multicast address, no host can have it: write a host's`,
	}},
	{`[[bond]]
[[bond.path]]
target = "192.168.1.1"
interval = "500ms"
timeout = "500ms"
[[bond.path]]
target = "192.168.1.2"
timeout = "1s"
[[bond.path]]
target = "192.168.1.3"
interval = "9ms"
timeout = "0s"
missed_max = 0
return_after = 256
[[bond.path]]
target = "192.168.1.4"
interval = 500
timeout = "200"
missed_max = "3"
return_after = true
[[bond.path]]
target = "192.168.1.5"
interval = "61m"
timeout = 0.2
missed_max = 2.5
return_after = -1
`, []string{
		`5:11: timeout "500ms" has to be shorter than interval "500ms": an answer has to be there before the next probe goes out`,
		`8:11: timeout "1s" has to be shorter than interval "500ms": an answer has to be there before the next probe goes out`,
		`11:12: interval goes from "10ms" to "1h0m0s", not "9ms"`,
		`12:11: timeout goes from "1ms" to "1h0m0s", not "0s"`,
		`13:14: missed_max is a number from 1 to 255, not 0`,
		`14:16: return_after is a number from 1 to 255, not 256`,
		`17:12: interval is a duration and needs a unit: write "500ms"`,
		`18:11: timeout is a duration and needs a unit: write "200ms"`,
		`19:14: missed_max is a number: write missed_max = 3, without quotes`,
		`20:16: return_after is a number from 1 to 255, not true`,
		`23:12: interval goes from "10ms" to "1h0m0s", not "61m"`,
		`24:11: timeout is a duration, not 0.2: write it in quotes with a unit, for example "200ms"`,
		`25:14: missed_max is a number from 1 to 255, not 2.5`,
		`26:16: return_after is a number from 1 to 255, not -1`,
	}},
	{`[[bond]]
` + paths(bonding.MaxTargets) + `[[bond.path]]
target = "10.0.1.1"
`, []string{
		`34:8: there are 17 paths, and bondd keeps at most 16`,
	}},
	{`[[bond]]
[bond.path]
target = "192.168.1.1"
[bond.slave]
name = "eth0"
[[bond.damping]]
reuse = 1
`, []string{
		`2:7: there can be more than one path: write [[bond.path]] with two brackets, not [bond.path]`,
		`4:7: there can be more than one slave: write [[bond.slave]] with two brackets, not [bond.slave]`,
		`6:8: there is only one bond.damping: write [bond.damping], not [[bond.damping]]`,
	}},
	{`[[bond]]
path = "192.168.1.1"
slave = "eth0"
damping = true
`, []string{
		`2:8: there can be more than one path: write [[bond.path]] with two brackets, not [bond.path]`,
		`3:9: slave is a table that says more of one of the slaves: to name them, write slaves = ["eth0"]`,
		`4:11: bond.damping is a table, not true or false: write [bond.damping] in a line of its own and its keys below`,
	}},
	{`[[bond]]
path = ["192.168.1.1"]
`, []string{
		`2:9: a path is a table, not a string: write [[bond.path]] in a line of its own and its keys below`,
	}},
	{`[[bond.path]]
target = "192.168.1.1"
`, []string{
		`1:3: write [[bond]] first: the tables of a bond stand below it`,
	}},
	{`[damping]
suppress = 3
[[path]]
target = "192.168.1.1"
[[bond]]
target = "192.168.1.1"
prio = 1
half_life = "15s"
interval = "1s"
[[bond.path]]
target = "192.168.1.1"
retries = 3
intervall = "1s"
suppress = 3
prio = 3
miimon = "100ms"
addresses = ["192.168.1.202/24"]
[[bond.path.more]]
[[bond.slave]]
name = "eth0"
prio = 1
priority = 1
queue_id = 0
[bond.damping]
halflife = "15s"
return_after = 1
listen = ":80"
`, []string{
		`1:2: unknown table "damping"; it belongs in [[bond]]: write [bond.damping]`,
		`3:3: unknown table "path"; it belongs in [[bond]]: write [[bond.path]]`,
		`6:1: unknown key "target"; it belongs in [[bond.path]]`,
		`7:1: unknown key "prio"; it belongs in [[bond.slave]]`,
		`8:1: unknown key "half_life"; it belongs in [bond.damping]: write it below that`,
		`9:1: unknown key "interval"; it belongs in [[bond.path]]`,
		`12:1: unknown key "retries"; [[bond.path]] can have target, source, interval, timeout, missed_max or return_after`,
		`13:1: unknown key "intervall"; did you mean "interval"?`,
		`14:1: unknown key "suppress"; it belongs in [bond.damping]: write it below that`,
		`15:1: unknown key "prio"; it belongs in [[bond.slave]]`,
		`16:1: unknown key "miimon"; it belongs in [[bond]]: write it above [[bond.path]]`,
		`17:1: unknown key "addresses"; it belongs in [[bond]]: write it above [[bond.path]]`,
		`18:13: unknown table "more"; [[bond.path]] can have target, source, interval, timeout, missed_max or return_after`,
		`20:8: slaves = "auto" takes the cards that it finds, in its own order: name the slaves of this bond to say more of one`,
		`22:1: unknown key "priority"; [[bond.slave]] can have name or prio`,
		`23:1: unknown key "queue_id"; [[bond.slave]] can have name or prio`,
		`25:1: unknown key "halflife"; did you mean "half_life"?`,
		`26:1: unknown key "return_after"; it belongs in [[bond.path]]`,
		`27:1: unknown key "listen"; it belongs in [http]: write it below that`,
	}},
	{`[[bond]]
[bond.damping]
half_life = 15
suppress = "3"
reuse = 0
[[bond]]
name = "bond1"
slaves = ["eth1"]
[bond.damping]
half_life = "999ms"
suppress = 100.5
reuse = "often"
[[bond]]
name = "bond2"
slaves = ["eth2"]
[bond.damping]
half_life = "1h1ms"
suppress = nan
reuse = -0.0
[[bond]]
name = "bond3"
slaves = ["eth3"]
[bond.damping]
half_life = 0
suppress = inf
reuse = true
[[bond]]
name = "bond4"
slaves = ["eth4"]
[bond.damping]
suppress = 2
reuse = 2.0
[[bond]]
name = "bond5"
slaves = ["eth5"]
[bond.damping]
suppress = 0.5
`, []string{
		`3:13: half_life is a duration and needs a unit: write "15s"`,
		`4:12: suppress is a number: write suppress = 3, without quotes`,
		`5:9: reuse is a number above 0 and up to 100, such as 2 or 1.5, not 0`,
		`10:13: half_life goes from "1s" to "1h0m0s", not "999ms"`,
		`11:12: suppress is a number above 0 and up to 100, such as 2 or 1.5, not 100.5`,
		`12:9: reuse is a number above 0 and up to 100, such as 2 or 1.5, not "often"`,
		`17:13: half_life goes from "1s" to "1h0m0s", not "1h1ms"`,
		`18:12: suppress is a number above 0 and up to 100, such as 2 or 1.5, not nan`,
		`19:9: reuse is a number above 0 and up to 100, such as 2 or 1.5, not -0.0`,
		`24:13: half_life is a duration and needs a unit: write "15s"`,
		`25:12: suppress is a number above 0 and up to 100, such as 2 or 1.5, not inf`,
		`26:9: reuse is a number above 0 and up to 100, such as 2 or 1.5, not true`,
		`32:9: reuse 2 has to be less than suppress 2: a slave is held out from suppress on, until its penalty has decayed to reuse`,
		`37:12: reuse 1 has to be less than suppress 0.5: a slave is held out from suppress on, until its penalty has decayed to reuse`,
	}},
	{`[[bond]]
slaves = ["eth0", "mac:52:54:00:00:00:01"]
[[bond.slave]]
name = "eth1"
prio = 1
[[bond.slave]]
name = "52:54:00:00:00:01"
prio = 1
[[bond.slave]]
name = "eth0"
prio = 2147483648
[[bond.slave]]
name = "eth0"
prio = "1"
[[bond.slave]]
prio = 1
[[bond.slave]]
name = "mac:52-54-00-00-00-01"
[[bond.slave]]
name = 0
prio = -2147483649
`, []string{
		`4:8: "eth1" is not one of the slaves: write one of them as it is there, "eth0" or "mac:52:54:00:00:00:01"`,
		`7:8: "52:54:00:00:00:01" is a MAC address, not a name: write "mac:52:54:00:00:00:01"`,
		`11:8: prio is a number from -2147483648 to 2147483647, not 2147483648`,
		`13:8: there is a [[bond.slave]] for "eth0" already, in line 10: put the two together`,
		`14:8: prio is a number: write prio = 1, without quotes`,
		`15:8: this slave has no name: write one of the slaves as it is there, for example name = "eth0"`,
		`17:8: this slave has no prio, and there is nothing else to say of it: write for example prio = 10`,
		`20:8: name is a string in quotes, not 0: write for example "eth0"`,
		`21:8: prio is a number from -2147483648 to 2147483647, not -2147483649`,
	}},
	{`[[bond]]
mode = "802.3ad"
slaves = ["eth0", "eth1"]
[[bond.slave]]
name = "eth0"
prio = 1
`, []string{
		`6:8: mode 802.3ad has no prio, only active-backup, balance-tlb or balance-alb has: take the slave out, or change the mode`,
	}},
	{`[[bond]]
mode = "no mode"
primary = "eth0"
lacp_rate = "fast"
fail_over_mac = "active"
miimon = "0s"
[[bond.slave]]
name = "eth0"
prio = 1
`, []string{
		`2:8: mode can be "balance-rr" (0), "active-backup" (1), "balance-xor" (2), "broadcast" (3), "802.3ad" (4), "balance-tlb" (5) or "balance-alb" (6), not "no mode"`,
		`8:8: slaves = "auto" takes the cards that it finds, in its own order: name the slaves of this bond to say more of one`,
	}},
	{`[[bond]]
use_carrier = 1
`, []string{
		`2:1: use_carrier is not an option here: bondd and the bonding driver go by the carrier that the card's driver keeps, as with use_carrier 1, the kernel's default; take the line out`,
	}},
	{`[[bond]]
num_grat_arp = 256
`, []string{
		`2:16: num_grat_arp is a number from 0 to 255, not 256`,
	}},
	{`[[bond]]
num_grat_arp = -1
`, []string{
		`2:16: num_grat_arp is a number from 0 to 255, not -1`,
	}},
	{`[[bond]]
num_grat_arp = "3"
`, []string{
		`2:16: num_grat_arp is a number: write num_grat_arp = 3, without quotes`,
	}},
	{`[[bond]]
num_grat_arp = "often"
`, []string{
		`2:16: num_grat_arp is a number from 0 to 255, not "often"`,
	}},
	{`[[bond]]
num_grat_arp = 9999999999999999999999
`, []string{
		`2:16: num_grat_arp is a number from 0 to 255, not 9999999999999999999999`,
	}},
	{`[[bond]]
primary_reselect = "never"
`, []string{
		`2:20: primary_reselect can be "always" (0), "better" (1) or "failure" (2), not "never"`,
	}},
	{`[[bond]]
slaves = ["eth0", "eth1"]
primary = "eth2"
`, []string{
		`3:11: primary "eth2" is not one of the slaves: write one of them as it is there, "eth0" or "eth1"`,
	}},
	{`[[bond]]
primary = 0
`, []string{
		`2:11: primary is one slave, not 0: write it as in slaves, for example "eth0"`,
	}},
	{`[[bond]]
primary = "pci:3"
`, []string{
		`2:11: primary: "pci:3": "3" is not a PCI address: write domain, bus, device and function, for example "0000:03:00.0"`,
	}},
	{`[[bond]]
mode = "balance-rr"
primary = "eth0"
`, []string{
		`3:11: mode balance-rr has no primary, only active-backup, balance-tlb or balance-alb has: take the line out, or change the mode`,
	}},
	{`[[bond]]
slaves = ["eth0"]
name = "lo"
[[bond]]
slaves = ["eth1"]
name = "a b"
[[bond]]
slaves = ["eth2"]
name = "abcdefghijklmnop"
[[bond]]
slaves = ["eth3"]
name = ""
[[bond]]
slaves = ["eth4"]
name = "all"
[[bond]]
slaves = ["eth5"]
name = "bond%d"
[[bond]]
slaves = ["eth6"]
name = 0
[[bond]]
slaves = ["eth7"]
name = ".."
`, []string{
		`3:8: "lo" is the loopback interface: name an Ethernet NIC, for example "eth0"`,
		`6:8: "a b" is not an interface name: ' ' cannot be in one`,
		`9:8: "abcdefghijklmnop" is too long for an interface name: 16 bytes, and the kernel takes 15`,
		`12:8: an interface name is not empty: write one, for example "eth0"`,
		`15:8: "all" is not free as an interface name, the kernel uses it itself: choose another`,
		`18:8: "bond%d" is not an interface name: '%' cannot be in one`,
		`21:8: name is a string in quotes, not 0: write for example "bond0"`,
		`24:8: ".." is not free as an interface name, the kernel uses it itself: choose another`,
	}},
	{`[[bond]]
slaves = [
  "a/b",
  "lo",
  "mac:1",
  "mac:01:00:5e:00:00:01",
  "pci:3:0",
  "52:54:00:12:34:56",
  "03:00.0",
  "auto",
  "",
  7,
  ["eth0"],
]
`, []string{
		`3:3: "a/b" is not an interface name: '/' cannot be in one`,
		`4:3: "lo" is the loopback interface: name an Ethernet NIC, for example "eth0"`,
		`5:3: "mac:1": "1" is not a MAC address: write six bytes, for example "02:00:5e:10:00:01"`,
		`6:3: "mac:01:00:5e:00:00:01": "01:00:5e:00:00:01" is a multicast address, no NIC can have it: its first byte has to be even, as in "02:00:5e:10:00:01"`,
		`7:3: "pci:3:0": "3:0" is not a PCI address: write domain, bus, device and function, for example "0000:03:00.0"`,
		`8:3: "52:54:00:12:34:56" is a MAC address, not a name: write "mac:52:54:00:12:34:56"`,
		`9:3: "03:00.0" is a PCI address, not a name: write "pci:0000:03:00.0"`,
		`10:3: auto stands for all slaves, not for one in a list: write slaves = "auto"`,
		`11:3: an interface name is not empty: write one, for example "eth0"`,
		`12:3: slaves is a list of strings, not a list with 7 in it: write slaves = ["eth0"]`,
	}},
	{`[[bond]]
slaves = []
`, []string{
		`2:10: a bond without slaves carries nothing: name them, as in slaves = ["eth0", "eth1"], or write slaves = "auto"`,
	}},
	{`[[bond]]
slaves = "eth0"
`, []string{
		`2:10: slaves is a list of strings, not "eth0": write slaves = ["eth0"]`,
	}},
	{`[[bond]]
slaves = 2
`, []string{
		`2:10: slaves is a list of strings, not 2: write slaves = ["eth0"]`,
	}},
	{`[[bond]]
slaves = ["eth0", "eth1", "eth0"]
`, []string{
		`2:27: "eth0" is in the list twice: a NIC is a slave once`,
	}},
	{`[[bond]]
slaves = ["mac:52:54:00:AB:00:01", "mac:52-54-00-ab-00-01"]
`, []string{
		`2:36: "mac:52:54:00:ab:00:01" is in the list twice: a NIC is a slave once`,
	}},
	{`[[bond]]
name = "bond0"
slaves = ["bond0", "bond1"]
[[bond]]
name = "bond1"
slaves = ["eth0"]
`, []string{
		`3:11: "bond0" cannot be its own slave: name Ethernet NICs`,
		`3:20: "bond1" is a bond itself, and a bond cannot be a slave of another: name Ethernet NICs`,
	}},
	{`[[bond]]
slaves = ["eth0", "eth1"]
[[bond]]
name = "bond1"
slaves = ["eth2", "eth1"]
`, []string{
		`5:19: "eth1" is a slave of "bond0" already, in line 2: a NIC belongs to one bond`,
	}},
	{`[[bond]]
slaves = "auto"
[[bond]]
name = "bond1"
`, []string{
		`3:3: only one bond can have slaves = "auto", and that of line 1 has it: name the slaves of this one`,
	}},
	{`[[bond]]
slaves = ["eth0"]
[[bond]]
slaves = ["eth1"]
[[bond]]
name = "bond0"
slaves = ["eth2"]
`, []string{
		`3:3: this bond needs a name: without one it is "bond0", and so is the bond in line 1`,
		`6:8: there is a bond "bond0" in line 1 already: give each bond its own name`,
	}},
	{`[[bond]]
mac = "01:00:5e:10:00:01"
`, []string{
		`2:7: "01:00:5e:10:00:01" is a multicast address, no NIC can have it: its first byte has to be even, as in "02:00:5e:10:00:01"`,
	}},
	{`[[bond]]
mac = "00:00:00:00:00:00"
`, []string{
		`2:7: "00:00:00:00:00:00" is not the address of a NIC, all of it is zero: write one such as "02:00:5e:10:00:01"`,
	}},
	{`[[bond]]
mac = "02:00:5e:10:00"
`, []string{
		`2:7: "02:00:5e:10:00" is not a MAC address: write six bytes, for example "02:00:5e:10:00:01"`,
	}},
	{`[[bond]]
mac = 2
`, []string{
		`2:7: mac is a string in quotes, not 2: write for example "02:00:5e:10:00:01"`,
	}},
	{`[[bond]]
mtu = 67
`, []string{
		`2:7: mtu is a number from 68 to 65535 without quotes, for example 1500, not 67`,
	}},
	{`[[bond]]
mtu = 65536
`, []string{
		`2:7: mtu is a number from 68 to 65535 without quotes, for example 1500, not 65536`,
	}},
	{`[[bond]]
mtu = "1500"
`, []string{
		`2:7: mtu is a number: write mtu = 1500, without quotes`,
	}},
	{`[[bond]]
mtu = 1279
addresses = ["2001:db8::202/64"]
`, []string{
		`2:7: mtu 1279 is too small for IPv6, which bond0 has: write at least 1280`,
	}},
	{`[[bond]]
dhcp4 = "yes"
`, []string{
		`2:9: dhcp4 is true or false without quotes, not "yes": write dhcp4 = true`,
	}},
	{`[[bond]]
dhcp4 = 1
`, []string{
		`2:9: dhcp4 is true or false without quotes, not 1: write dhcp4 = true`,
	}},
	{`[[bond]]
addresses = "192.168.1.202/24"
`, []string{
		`2:13: addresses is a list of strings, not "192.168.1.202/24": write addresses = ["192.168.1.202/24"]`,
	}},
	{`[[bond]]
addresses = [
  "192.168.1.202",
  "2001:db8::202",
  "192.168.1.0/24",
  "192.168.1.255/24",
  "2001:db8::/64",
  "224.0.0.1/24",
  "0.0.0.0/24",
  "127.0.0.1/8",
  "255.255.255.255/32",
  "1.2.3.4/0",
  "1.2.3.4/33",
  "1.2.3.4/255.255.255.0",
  "fe80::1%eth0/64",
  "::ffff:1.2.3.4/120",
  "192.168.1/24",
  5,
]
`, []string{
		`3:3: address "192.168.1.202" lacks the prefix length of its network: write for example "192.168.1.202/24"`,
		`4:3: address "2001:db8::202" lacks the prefix length of its network: write for example "2001:db8::202/64"`,
		`5:3: address "192.168.1.0/24" is that of the network itself: write a host's, for example "192.168.1.1/24"`,
		`6:3: address "192.168.1.255/24" is the broadcast address of its network: write a host's, for example "192.168.1.254/24"`,
		`7:3: address "2001:db8::/64" is that of the network itself: write a host's, for example "2001:db8::1/64"`,
		`8:3: address "224.0.0.1/24" is a multicast address, no host can have it: write a host's`,
		`9:3: address "0.0.0.0/24" stands for no address at all: write a host's`,
		`10:3: address "127.0.0.1/8" is a loopback address, it never leaves this machine: write one of the network`,
		`11:3: address "255.255.255.255/32" is the broadcast address of every network: write a host's`,
		`12:3: address "1.2.3.4/0": the prefix length goes from 1 to 32, not "0"`,
		`13:3: address "1.2.3.4/33": the prefix length goes from 1 to 32, not "33"`,
		`14:3: address "1.2.3.4/255.255.255.0" has the netmask in place of the prefix length: write "1.2.3.4/24"`,
		`15:3: address "fe80::1%eth0": the bond is the interface, write "fe80::1"`,
		`16:3: address "::ffff:1.2.3.4" is an IPv4 address in the form of IPv6: write "1.2.3.4"`,
		`17:3: address "192.168.1" is not an IP address: write one such as "192.168.1.1"`,
		`18:3: addresses is a list of strings, not a list with 5 in it: write addresses = ["192.168.1.202", "2001:db8::202", "192.168.1.0/24", "192.168.1.255/24", "2001:db8::/64", "224.0.0.1/24", "0.0.0.0/24", "127.0.0.1/8", "255.255.255.255/32", "1.2.3.4/0", "1.2.3.4/33", "1.2.3.4/255.255.255.0", "fe80::1%eth0/64", "::ffff:1.2.3.4/120", "192.168.1/24", "5"]`,
	}},
	{`[[bond]]
addresses = ["10.0.0.1/24", "10.0.0.1/16"]
`, []string{
		`2:29: address "10.0.0.1" is in the list twice`,
	}},
	{`[[bond]]
slaves = ["eth0"]
addresses = ["192.168.1.202/24"]
[[bond]]
name = "bond1"
slaves = ["eth1"]
addresses = [
  "192.168.1.203/24",
  "192.168.1.202/32",
  "192.0.0.1/8",
]
`, []string{
		`8:3: address "192.168.1.203/24" overlaps "192.168.1.202/24" of "bond0" in line 3: give "bond1" a network of its own`,
		`9:3: address "192.168.1.202" is on "bond0" already, in line 3: an address belongs to one bond`,
		`10:3: address "192.0.0.1/8" overlaps "192.168.1.202/24" of "bond0" in line 3: give "bond1" a network of its own`,
	}},
	{`[[bond]]
addresses = ["192.168.1.202/24"]
broadcast = "192.168.2.255"
`, []string{
		`3:13: broadcast "192.168.2.255" is not one of 192.168.1.0/24: the usual one is "192.168.1.255"`,
	}},
	{`[[bond]]
addresses = ["192.168.1.202/24"]
broadcast = "ff02::1"
`, []string{
		`3:13: broadcast "ff02::1" is an IPv6 address, and only IPv4 has broadcast: take the line out`,
	}},
	{`[[bond]]
broadcast = "192.168.1.255"
dhcp4 = true
`, []string{
		`2:13: broadcast "192.168.1.255" has no IPv4 address to go with: set addresses, or take the line out`,
	}},
	{`[[bond]]
addresses = ["192.168.1.202/31"]
broadcast = "192.168.1.203"
`, []string{
		`3:13: broadcast "192.168.1.203": 192.168.1.202/31 has no broadcast address, it is too small for one (RFC 3021): take the line out`,
	}},
	{`[[bond]]
broadcast = 5
`, []string{
		`2:13: broadcast is a string in quotes, not 5: write for example "192.168.1.255"`,
	}},
	{`[[bond]]
broadcast = "192.168.1.255/24"
`, []string{
		`2:13: broadcast "192.168.1.255/24" is one address: write it without the prefix length, "192.168.1.255"`,
	}},
	{`[[bond]]
addresses = ["192.168.1.202/24", "10.0.0.1/8"]
gateways = ["192.168.2.1", "2001:db8::1", "192.168.1.202", "192.168.1.1", "192.168.1.1"]
`, []string{
		`3:13: gateway "192.168.2.1" cannot be reached, it is not in a network of bond0: write one in 192.168.1.0/24 or 10.0.0.0/8`,
		`3:28: gateway "2001:db8::1" cannot be reached, bond0 has no IPv6 address: set addresses, for example ["2001:db8::202/64"]`,
		`3:43: gateway "192.168.1.202" is the bond's own address: write the router's`,
		`3:75: gateway "192.168.1.1" is in the list twice`,
	}},
	{`[[bond]]
addresses = ["192.168.1.202/24", "10.0.0.2/31"]
gateways = ["192.168.1.255", "192.168.1.0", "10.0.0.3"]
`, []string{
		`3:13: gateway "192.168.1.255" is the broadcast address of 192.168.1.0/24: write the router's address`,
		`3:30: gateway "192.168.1.0" is the address of the network 192.168.1.0/24 itself: write the router's address`,
	}},
	{`[[bond]]
gateways = ["192.168.1.1"]
`, []string{
		`2:13: gateway "192.168.1.1" cannot be reached, bond0 has no IPv4 address: set addresses, for example ["192.168.1.202/24"], or dhcp4 = true`,
	}},
	{`[[bond]]
dhcp4 = true
gateways = ["2001:db8::1"]
`, []string{
		`3:13: gateway "2001:db8::1" cannot be reached, bond0 has no IPv6 address: set addresses, for example ["2001:db8::202/64"]`,
	}},
	{`[[bond]]
gateways = ["0.0.0.0", "ff02::2", "::1", "router", "fe80::1%bond0", "255.255.255.255"]
`, []string{
		`2:13: gateway "0.0.0.0" stands for no address at all: write a host's`,
		`2:24: gateway "ff02::2" is a multicast address, no host can have it: write a host's`,
		`2:35: gateway "::1" is a loopback address, it never leaves this machine: write one of the network`,
		`2:42: gateway "router" is not an IP address: write one such as "192.168.1.1"`,
		`2:52: gateway "fe80::1%bond0": the bond is the interface, write "fe80::1"`,
		`2:69: gateway "255.255.255.255" is the broadcast address of every network: write a host's`,
	}},
	{`[[bond]]
dns = ["1.1.1.1", "dns.example", "0.0.0.0"]
`, []string{
		`2:19: dns server "dns.example" is not an IP address: write one such as "192.168.1.1"`,
		`2:34: dns server "0.0.0.0" stands for no address at all: write a host's`,
	}},
	{`[[bond]]
dns = ["1.1.1.1", "1.1.1.1"]
`, []string{
		`2:19: dns server "1.1.1.1" is in the list twice`,
	}},
	{`[[bond]]
mode = 9
miimon = 100
updelay = "150ms"
slaves = ["eth0", ""]
primary = "eth2"
addresses = ["10.0.0.1"]
gateways = ["10.0.0.2"]
broadcast = "10.0.0.255"
`, []string{
		`2:8: mode can be "balance-rr" (0), "active-backup" (1), "balance-xor" (2), "broadcast" (3), "802.3ad" (4), "balance-tlb" (5) or "balance-alb" (6), not 9`,
		`3:10: miimon is a duration and needs a unit: write "100ms"`,
		`5:19: an interface name is not empty: write one, for example "eth0"`,
		`7:14: address "10.0.0.1" lacks the prefix length of its network: write for example "10.0.0.1/24"`,
	}},
}

func TestFindings(t *testing.T) {
	for _, test := range bad {
		t.Run("", func(t *testing.T) {
			_, err := Parse("/perm/bondd/bondd.toml", []byte(test.text))
			if err == nil {
				t.Fatalf("taken for good:\n%s", test.text)
			}
			want := "/perm/bondd/bondd.toml:" + strings.Join(test.want, "\n/perm/bondd/bondd.toml:")
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Errorf("findings (-want +got):\n%s\nin:\n%s", diff, test.text)
			}
		})
	}
}

// Every finding can be had as a value.
func TestFindingsAsValues(t *testing.T) {
	_, err := Parse("f", []byte("[[bond]]\nmtu = 1\nmode = 9\n"))
	var one *Error
	if !errors.As(err, &one) || one.File != "f" || one.Line != 2 || one.Col != 7 {
		t.Errorf("errors.As found %+v in %v", one, err)
	}
	var all Errors
	if !errors.As(err, &all) || len(all) != 2 {
		t.Errorf("errors.As found %v", all)
	}
}

// How much a file may hold is bounded, and so is what is said about it.
func TestLimits(t *testing.T) {
	var bonds, keys strings.Builder
	for i := range maxBonds + 1 {
		fmt.Fprintf(&bonds, "[[bond]]\nname = \"bond%d\"\nslaves = [\"eth%d\"]\n", i, i)
	}
	for i := range 150 {
		fmt.Fprintf(&keys, "key%d = 1\n", i)
	}
	for name, test := range map[string]struct{ text, want string }{
		"bonds":    {bonds.String(), "f:49:3: there are 17 bonds, and bondd keeps at most 16"},
		"slaves":   {"[[bond]]\nslaves = [" + strings.Repeat(`"eth0",`, maxItems+1) + "]\n", "f:2:10: slaves has 257 entries, and bondd takes at most 256"},
		"findings": {keys.String(), "f:101:1: from here on there are 50 more findings: put these right first"},
		"a word":   {strings.Repeat("k", 100) + " = 1\n", `f:1:1: unknown key "` + strings.Repeat("k", 60) + `"…; a configuration can have hardware, http or bond`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(test.text))
			if err == nil {
				t.Fatal("taken for good")
			}
			lines := strings.Split(err.Error(), "\n")
			if got := lines[len(lines)-1]; got != test.want {
				t.Errorf("last line:\n%s\nwant:\n%s", got, test.want)
			}
			if len(lines) > 101 {
				t.Errorf("%d lines", len(lines))
			}
		})
	}
}
