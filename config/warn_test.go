package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// questionable has files that are good and hardly mean what they say, and what
// is said about them, each after the name of the file.
var questionable = []struct {
	text string
	want []string
}{
	// Nobody can reach the bond.
	{`[[bond]]
slaves = ["eth0", "eth1"]
`, []string{
		`1:3: warning: bond0 has no address and does not ask for one by DHCP, so nobody can reach it: write for example addresses = ["192.168.1.202/24"], or dhcp4 = true`,
	}},
	{`[[bond]]
`, []string{
		`1:3: warning: bond0 has no address and does not ask for one by DHCP, so nobody can reach it: write for example addresses = ["192.168.1.202/24"], or dhcp4 = true`,
	}},
	{`[[bond]]
slaves = ["eth0", "eth1"]
dhcp4 = true
[[bond]]
name = "bond1"
slaves = ["eth2", "eth3"]
addresses = []
`, []string{
		`7:13: warning: bond1 has no address and does not ask for one by DHCP, so nobody can reach it: write for example addresses = ["192.168.1.202/24"], or dhcp4 = true`,
	}},
	{`[[bond]]
slaves = ["eth0", "eth1"]
dhcp4 = false
[[bond.path]]
target = "192.168.1.1"
`, []string{ // the target follows from it
		`3:9: warning: bond0 has no address and does not ask for one by DHCP, so nobody can reach it: write for example addresses = ["192.168.1.202/24"], or dhcp4 = true`,
	}},
	{`[[bond]]
slaves = ["eth0", "eth1"]
mode = "802.3ad"
min_links = 3
dhcp4 = true
`, []string{
		`4:13: warning: min_links 3 is more than the 2 slaves, so bond0 never carries traffic: write at most 2`,
	}},

	// Nothing takes over.
	{`[[bond]]
slaves = ["eth0"]
dhcp4 = true
`, []string{
		`2:11: warning: "eth0" is the only slave, so nothing takes over when it fails: add another one, for example slaves = ["eth0", "eth1"]`,
	}},
	{`[[bond]]
slaves = ["eth1"]
mode = "802.3ad"
addresses = ["2001:db8::2/64"]
`, []string{
		`2:11: warning: "eth1" is the only slave, so nothing takes over when it fails: add another one, for example slaves = ["eth1", "eth0"]`,
	}},

	// A path target that no probe gets to.
	{`[[bond]]
slaves = ["eth0", "eth1"]
addresses = ["192.168.1.202/24", "10.0.0.2/8"]
[[bond.path]]
target = "192.168.2.1"
[[bond.path]]
target = "2001:db8::1"
[[bond.path]]
target = "10.255.255.255"
[[bond.path]]
target = "192.168.1.0"
`, []string{
		`5:10: warning: target "192.168.2.1" is not in a network of bond0, and there is no gateway to others: write a host in 192.168.1.0/24 or 10.0.0.0/8, or set gateways`,
		`7:10: warning: target "2001:db8::1" is not in a network of bond0, which has no IPv6 address: write for example addresses = ["2001:db8::202/64"]`,
		`9:10: warning: target "10.255.255.255" is the broadcast address of 10.0.0.0/8, so no host has it: write a host's`,
		`11:10: warning: target "192.168.1.0" is the address of the network 192.168.1.0/24 itself, so no host has it: write a host's`,
	}},
	{`[[bond]]
slaves = ["eth0", "eth1"]
dhcp4 = true
[[bond.path]]
target = "2001:db8::1"
[[bond.path]]
target = "10.0.0.1"
`, []string{
		`5:10: warning: target "2001:db8::1" is not in a network of bond0, which has no IPv6 address: write for example addresses = ["2001:db8::202/64"]`,
	}},
	{`[[bond]]
slaves = ["eth0", "eth1"]
addresses = ["192.168.1.202/24"]
[[bond.path]]
target = "192.168.1.1"
source = "10.0.0.250"
`, []string{
		`6:10: warning: source "10.0.0.250" is not in the network of the target, 192.168.1.0/24, so many hosts do not reply to it: write an address of that network that nobody has, or take the line out`,
	}},
	{`[[bond]]
slaves = ["eth0", "eth1"]
mode = "balance-rr"
addresses = ["192.168.1.202/24"]
arp_interval = "1s"
arp_ip_target = ["192.168.1.1", "10.0.0.1"]
ns_ip6_target = ["fe80::1", "2001:db8::1"]
`, []string{
		`6:33: warning: arp_ip_target "10.0.0.1" is not in a network of bond0, and there is no gateway to others: write a host in 192.168.1.0/24, or set gateways`,
		`7:29: warning: ns_ip6_target "2001:db8::1" is not in a network of bond0, which has no IPv6 address: write for example addresses = ["2001:db8::202/64"]`,
	}},

	// A name server that nothing leads to.
	{`[[bond]]
slaves = ["eth0", "eth1"]
addresses = ["192.168.1.202/24"]
dns = ["192.168.1.1", "1.1.1.1", "2001:db8::53"]
`, []string{
		`4:23: warning: dns server "1.1.1.1" is not in a network of a bond, and there is no gateway to others: write one in 192.168.1.0/24, or set gateways`,
		`4:34: warning: dns server "2001:db8::53" is not in a network of a bond, and there is no gateway to others: set gateways`,
	}},

	// A page that is nowhere.
	{`[http]
listen = "192.168.1.203:80"
[[bond]]
slaves = ["eth0", "eth1"]
addresses = ["192.168.1.202/24"]
`, []string{
		`2:10: warning: listen "192.168.1.203:80" is not an address of a bond, so the page may not be reachable: write ":80" for every address, or "192.168.1.202:80"`,
	}},

	// Files that say nothing.
	{"", []string{
		`1:1: warning: the file sets nothing, so the built-in default runs: bond0 of every Ethernet NIC of the first matching group, active-backup, miimon 100ms, DHCP`,
	}},
	{"# everything\n#[[bond]]\n", []string{
		`1:1: warning: the file sets nothing, so the built-in default runs: bond0 of every Ethernet NIC of the first matching group, active-backup, miimon 100ms, DHCP`,
	}},
	{"bond = []\n", []string{
		`1:8: warning: an empty list of bonds is not a machine without a bond: the built-in default runs, bond0 of every Ethernet NIC of the first matching group, active-backup, miimon 100ms, DHCP`,
	}},
	{"[http]\n[hardware]\n", []string{
		`1:1: warning: the file sets nothing, so the built-in default runs: bond0 of every Ethernet NIC of the first matching group, active-backup, miimon 100ms, DHCP`,
	}},
}

func TestWarnings(t *testing.T) {
	const file = "/perm/bondd/bondd.toml"
	for _, test := range questionable {
		t.Run("", func(t *testing.T) {
			c, warnings, err := Check(file, []byte(test.text))
			if err != nil || c == nil {
				t.Fatalf("%v in:\n%s", err, test.text)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			want := strings.Split(file+":"+strings.Join(test.want, "\n"+file+":"), "\n")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s\nin:\n%s", diff, test.text)
			}
			if got, want := warnings.Errors().Error(), strings.ReplaceAll(strings.Join(want, "\n"), " warning:", ""); got != want {
				t.Errorf("as errors:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// Files that mean what they say have no warnings.
func TestNoWarnings(t *testing.T) {
	for _, text := range []string{
		`[[bond]]
slaves = ["eth0", "eth1"]
dhcp4 = true
`, `[[bond]]
dhcp4 = true
dns = ["1.1.1.1"]
[[bond.path]]
target = "10.0.0.1"
source = "10.0.0.250"
`, `[[bond]]
slaves = ["eth0", "eth1"]
addresses = ["192.168.1.202/24", "2001:db8::202/64"]
gateways = ["192.168.1.1", "fe80::1"]
dns = ["1.1.1.1", "2001:db8:1::53", "fe80::53"]
[[bond.path]]
target = "10.0.0.1"
[[bond.path]]
target = "192.168.1.1"
source = "192.168.1.250"
[[bond.path]]
target = "2001:db8:7::1"
[[bond.path]]
target = "fe80::1"
`, `[[bond]]
slaves = ["eth0", "eth1"]
addresses = ["2001:db8::202/64"]
[[bond.path]]
target = "fe80::1"
[[bond.path]]
target = "2001:db8::1"
`, `[http]
listen = "192.168.1.202:80"
[[bond]]
slaves = ["eth0", "eth1"]
addresses = ["192.168.1.202/24"]
[[bond]]
name = "bond1"
slaves = ["eth2", "eth3"]
addresses = ["10.0.0.2/31"]
gateways = ["10.0.0.3"]
dns = ["192.168.1.1"]
[[bond.path]]
target = "10.0.0.3"
`, `[http]
listen = "127.0.0.1:80"
`, `[http]
listen = "router.example:80"
[[bond]]
slaves = "auto"
addresses = ["192.168.1.202/24"]
min_links = 2
mode = "802.3ad"
`, `[http]
listen = "192.168.1.7:80"
[[bond]]
dhcp4 = true
`, `[hardware]
policy = "warn"
`,
	} {
		if _, warnings, err := Check("f", []byte(text)); err != nil || len(warnings) > 0 {
			t.Errorf("%v, %v in:\n%s", err, warnings, text)
		}
	}
}

// A file with errors has no warnings beside them.
func TestWarningsAfterErrors(t *testing.T) {
	c, warnings, err := Check("f", []byte("[[bond]]\nmtu = 1\n"))
	if c != nil || warnings != nil || err == nil {
		t.Errorf("Check: %v, %v, %v", c, warnings, err)
	}
}
