package config

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a good file means, in four lines for each bond.
func TestSummary(t *testing.T) {
	sample, err := os.ReadFile("bondd.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ text, want string }{
		{"", `bond:      bond0, the built-in default
slaves:    every Ethernet NIC of the first matching group
mode:      active-backup, miimon 100ms
addresses: DHCP
`},
		{string(sample), `bond:      bond0
slaves:    eth0, eth1, in this order of preference
mode:      active-backup, miimon 100ms
addresses: 192.168.1.202/24, 2001:db8::202/64, gateway 192.168.1.1, DNS 192.168.1.1
`},
		{`[[bond]]
mac = "02:00:5E:10:00:01"
mtu = 9000
dhcp4 = true
addresses = ["192.168.1.202/24"]
primary = "eth0"
mode = 5
[[bond.path]]
target = "192.168.1.1"
[[bond.path]]
target = "192.168.1.2"
[[bond]]
name = "bond1"
slaves = ["mac:02:00:5E:10:00:02", "pci:03:00.0"]
mode = "balance-xor"
arp_interval = "1s"
arp_ip_target = ["10.0.0.1", "10.0.0.2"]
[[bond]]
name = "bond2"
mode = "802.3ad"
slaves = ["eth6"]
updelay = "200ms"
addresses = ["10.0.2.2/24"]
gateways = ["10.0.2.1", "10.0.2.3"]
[[bond.path]]
target = "10.0.2.1"
[bond.damping]
`, `bond:      bond0, MAC 02:00:5e:10:00:01, MTU 9000
slaves:    every Ethernet NIC of the first matching group, eth0 before all others
mode:      balance-tlb, miimon 100ms, paths to 192.168.1.1 and 192.168.1.2
addresses: 192.168.1.202/24, DHCP

bond:      bond1
slaves:    mac:02:00:5e:10:00:02, pci:0000:03:00.0
mode:      balance-xor, arp_interval 1s to 10.0.0.1 and 10.0.0.2
addresses: none

bond:      bond2
slaves:    eth6
mode:      802.3ad, miimon 100ms, updelay 200ms, path to 10.0.2.1
addresses: 10.0.2.2/24, gateways 10.0.2.1 and 10.0.2.3
`},
		{`[[bond]]
slaves = ["eth0", "eth1", "eth2"]
primary = "eth1"
[[bond.slave]]
name = "eth2"
prio = 10
`, `bond:      bond0
slaves:    eth0, eth1, eth2, in the order of preference eth1, eth2, eth0
mode:      active-backup, miimon 100ms
addresses: none
`},
	} {
		if diff := cmp.Diff(tt.want, mustParse(t, tt.text).Summary()); diff != "" {
			t.Errorf("summary (-want +got):\n%s\nof:\n%s", diff, tt.text)
		}
	}
}
