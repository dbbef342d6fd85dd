package config

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bondd.internal/config/bonding"
)

// byValue compares addresses with ==.
var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("bondd.toml", []byte(text))
	if err != nil {
		t.Fatalf("Parse:\n%v\nof:\n%s", err, text)
	}
	return c
}

// options are what a bond of the mode has, with some of them changed. The
// kernel's defaults stand here as its source has them (bond_options.c), but for
// miimon and, where there is an active slave, primary_reselect.
func options(mode string, changes map[string]string) map[string]string {
	o := map[string]string{
		"mode": mode, "miimon": "100", "updelay": "0", "downdelay": "0", "peer_notif_delay": "0",
		"arp_ip_target": "", "ns_ip6_target": "", "arp_all_targets": "any",
		"primary_reselect": "always", "fail_over_mac": "none", "num_grat_arp": "1", "resend_igmp": "1",
		"xmit_hash_policy": "layer2", "all_slaves_active": "0", "lp_interval": "1", "min_links": "0", "ad_select": "stable",
	}
	switch mode {
	case "balance-rr", "active-backup", "balance-xor", "broadcast":
		maps.Copy(o, map[string]string{"arp_interval": "0", "arp_validate": "none", "arp_missed_max": "2"})
	case "802.3ad":
		maps.Copy(o, map[string]string{
			"lacp_active": "1", "lacp_rate": "slow", "ad_actor_sys_prio": "65535",
			"ad_actor_system": "00:00:00:00:00:00", "ad_user_port_key": "0", "coupled_control": "1",
		})
	case "balance-tlb", "balance-alb":
		o["tlb_dynamic_lb"] = "1"
	}
	switch mode {
	case "active-backup", "balance-tlb", "balance-alb":
		maps.Copy(o, map[string]string{"primary": "", "primary_reselect": "failure"})
	case "balance-rr":
		o["packets_per_slave"] = "1"
	}
	maps.Copy(o, changes)
	return o
}

func without(m map[string]string, keys ...string) map[string]string {
	for _, k := range keys {
		delete(m, k)
	}
	return m
}

// full says everything that a configuration can say, in a form that is not the
// canonical one.
const full = "\ufeff" + `# comment
hardware.policy = 'warn'
hardware."match" = "driver"
[http]
listen = "[2001:db8::202]:8080" # comment
web_config = "/perm/bondd/web.yml"

[[bond]]
name   = "bond0"
mode   = 1
slaves = [
	"eth0", # the better cable
	"mac:52-54-00-AB-CD-EF",
	"pci:03:00.0",
]
miimon = "0.05s"
updelay = "100ms"
downdelay = "1m"
primary = "pci:0000:03:00.0"
num_grat_arp = 0x10
peer_notif_delay = "250ms"
resend_igmp = 0
fail_over_mac = 2
all_slaves_active = "on"
xmit_hash_policy = 5
lp_interval = "1.5m"
ad_select = "0"
path_policy = "any"
mac    = "0200.5e10.0001"
mtu    = 9_000
addresses = ["192.168.1.202/24", "2001:db8::202/64", "192.168.1.203/24"]
broadcast = "192.168.1.255"
gateways = ["192.168.1.1", "fe80::1", "2001:db8::1"]
dns    = ["192.168.1.1", "2001:db8::53"]
[[bond.path]]
target = "192.168.1.1"
source = "192.168.1.250"
interval = "0.1s"
timeout = "20ms"
missed_max = 0xff
return_after = 1
[bond.damping]
half_life = "1m"
suppress = 4.5
[[bond.slave]]
name = "mac:525400abcdef"
prio = -2_147_483_648
[[bond.slave]]
name = "eth0"
prio = 2147483647
[[bond.path]]
target = "FE80::1"
[[bond.slave]]
name = "pci:03:00.0"
prio = 0
` + "\r\n" + `[[bond]]
name = "bond1"
mode = "0"
slaves = "auto"
dhcp4 = true
gateways = ["10.9.8.7"]
primary_reselect = "failure"

[[bond]]
name = "bond2"
mode = 4
slaves = ["eth4", "eth5"]
lacp_active = false
lacp_rate = "fast"
ad_actor_sys_prio = 1
ad_actor_system = "02-00-5E-10-00-02"
ad_user_port_key = 1_023
coupled_control = 0
min_links = 1
path = [{target = "192.168.2.1", interval = "200ms", source = "0.0.0.0"}]
damping = {}

[[bond]]
name = "bond3"
mode = 2
slaves = ["eth6", "eth7"]
arp_interval = "2s"
arp_ip_target = ["10.0.0.1", "10.0.0.2"]
ns_ip6_target = ["2001:DB8:0::1"]
arp_validate = 6
arp_all_targets = "all"
arp_missed_max = 255
`

func TestParseEverything(t *testing.T) {
	want := &Config{
		Hardware: Hardware{Policy: "warn", Match: "driver"},
		HTTP:     HTTP{Listen: "[2001:db8::202]:8080", WebConfig: "/perm/bondd/web.yml"},
		Bonds: []Bond{{
			Name:   "bond0",
			Slaves: []string{"eth0", "mac:52:54:00:ab:cd:ef", "pci:0000:03:00.0"},
			Options: options("active-backup", map[string]string{
				"miimon": "50", "updelay": "100", "downdelay": "60000",
				"primary": "pci:0000:03:00.0", "primary_reselect": "always", "num_grat_arp": "16",
				"peer_notif_delay": "250", "resend_igmp": "0", "fail_over_mac": "follow", "all_slaves_active": "1",
				"xmit_hash_policy": "vlan+srcmac", "lp_interval": "90", "ad_select": "stable",
			}),
			MAC:        "02:00:5e:10:00:01",
			MTU:        9000,
			Addresses:  []netip.Prefix{netip.MustParsePrefix("192.168.1.202/24"), netip.MustParsePrefix("2001:db8::202/64"), netip.MustParsePrefix("192.168.1.203/24")},
			Broadcast:  netip.MustParseAddr("192.168.1.255"),
			Gateways:   []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("2001:db8::1")},
			DNS:        []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("2001:db8::53")},
			Prio:       map[string]int{"mac:52:54:00:ab:cd:ef": -2147483648, "eth0": 2147483647},
			PathPolicy: "any",
			Paths: []Path{{
				Target: netip.MustParseAddr("192.168.1.1"), Source: netip.MustParseAddr("192.168.1.250"),
				Interval: 100 * time.Millisecond, Timeout: 20 * time.Millisecond, MissedMax: 255, ReturnAfter: 1,
			}, {
				Target:   netip.MustParseAddr("fe80::1"),
				Interval: 500 * time.Millisecond, Timeout: 200 * time.Millisecond, MissedMax: 3, ReturnAfter: 3,
			}},
			Damping: &Damping{HalfLife: time.Minute, Suppress: 4.5, Reuse: 1},
		}, {
			Name:       "bond1",
			Auto:       true,
			Options:    options("balance-rr", map[string]string{"primary_reselect": "failure"}),
			DHCP4:      true,
			Gateways:   []netip.Addr{netip.MustParseAddr("10.9.8.7")},
			PathPolicy: "all",
		}, {
			Name:   "bond2",
			Slaves: []string{"eth4", "eth5"},
			Options: options("802.3ad", map[string]string{
				"lacp_active": "0", "lacp_rate": "fast", "ad_actor_sys_prio": "1", "ad_actor_system": "02:00:5e:10:00:02",
				"ad_user_port_key": "1023", "coupled_control": "0", "min_links": "1",
			}),
			PathPolicy: "all",
			Paths: []Path{{
				Target:   netip.MustParseAddr("192.168.2.1"),
				Interval: 200 * time.Millisecond, Timeout: 100 * time.Millisecond, MissedMax: 3, ReturnAfter: 3,
			}},
			Damping: &Damping{HalfLife: 15 * time.Second, Suppress: 3, Reuse: 1},
		}, {
			Name:   "bond3",
			Slaves: []string{"eth6", "eth7"},
			Options: without(options("balance-xor", map[string]string{
				"miimon": "0", "arp_interval": "2000", "arp_ip_target": "10.0.0.1,10.0.0.2", "ns_ip6_target": "2001:db8::1",
				"arp_validate": "filter_backup", "arp_all_targets": "all", "arp_missed_max": "255",
			}), "updelay", "downdelay", "peer_notif_delay"),
			PathPolicy: "all",
		}},
	}
	got := mustParse(t, full)
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("Config (-want +got):\n%s", diff)
	}
	b := &got.Bonds[0]
	if b.Mode() != "active-backup" || b.Miimon() != 50*time.Millisecond || b.ArpInterval() != 0 || b.UpDelay() != 100*time.Millisecond || b.DownDelay() != time.Minute {
		t.Errorf("mode %s, miimon %v, arp_interval %v, updelay %v, downdelay %v", b.Mode(), b.Miimon(), b.ArpInterval(), b.UpDelay(), b.DownDelay())
	}
	b = &got.Bonds[3]
	if b.Mode() != "balance-xor" || b.Miimon() != 0 || b.ArpInterval() != 2*time.Second || b.UpDelay() != 0 || b.DownDelay() != 0 {
		t.Errorf("mode %s, miimon %v, arp_interval %v, updelay %v, downdelay %v", b.Mode(), b.Miimon(), b.ArpInterval(), b.UpDelay(), b.DownDelay())
	}
	checkRoundTrip(t, got)
}

// A file that says nothing of bonds runs the bond of the built-in default.
func TestParseWithoutBond(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "bond = []\n", "[hardware]\n[http]\n"} {
		if diff := cmp.Diff(Default(), mustParse(t, text), byValue); diff != "" {
			t.Errorf("%q (-default +got):\n%s", text, diff)
		}
	}
	c := mustParse(t, "http.listen = \"127.0.0.1:8080\"\n")
	if c.HTTP.Listen != "127.0.0.1:8080" || len(c.Bonds) != 1 {
		t.Errorf("only [http]: %+v", c)
	}
}

func TestDefault(t *testing.T) {
	want := &Config{
		Hardware: Hardware{Policy: "enforce", Match: "chipset"},
		HTTP:     HTTP{Listen: ":80"},
		Bonds:    []Bond{{Name: "bond0", Auto: true, DHCP4: true, Options: options("active-backup", nil), PathPolicy: "all"}},
	}
	if diff := cmp.Diff(want, Default(), byValue); diff != "" {
		t.Errorf("Default (-want +got):\n%s", diff)
	}
}

// What a bond has that its file does not set.
func TestBondDefaults(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       map[string]string
	}{
		{"slaves only", `slaves = ["eth0", "eth1"]`, options("active-backup", nil)},
		{"no primary, said so", `primary = ""`, options("active-backup", nil)},
		{"a primary", `primary = "eth1"`, options("active-backup", map[string]string{"primary": "eth1", "primary_reselect": "always"})},
		{"a primary that is not returned to", "primary_reselect = 2\nprimary = \"eth1\"", options("active-backup", map[string]string{"primary": "eth1"})},
		{"balance-rr", `mode = 0`, options("balance-rr", nil)},
		{"balance-xor", `mode = 2`, options("balance-xor", nil)},
		{"broadcast", `mode = 3`, options("broadcast", nil)},
		{"802.3ad", `mode = 4`, options("802.3ad", nil)},
		{"balance-tlb", `mode = 5`, options("balance-tlb", nil)},
		{"balance-alb", `mode = 6`, options("balance-alb", nil)},
		{"a primary of balance-tlb", "mode = 5\nprimary = \"eth1\"", options("balance-tlb", map[string]string{"primary": "eth1", "primary_reselect": "always"})},
		{"the ARP monitor", "arp_interval = \"1s\"\narp_ip_target = [\"192.168.1.1\", \"192.168.1.2\"]", without(options("active-backup", map[string]string{
			"miimon": "0", "arp_interval": "1000", "arp_ip_target": "192.168.1.1,192.168.1.2",
		}), "updelay", "downdelay", "peer_notif_delay")},
		{"a slave that is preferred", "slaves = [\"eth0\", \"eth1\"]\n[[bond.slave]]\nname = \"eth1\"\nprio = 1", options("active-backup", map[string]string{"primary_reselect": "always"})},
		{"a slave that is not", "slaves = [\"eth0\", \"eth1\"]\n[[bond.slave]]\nname = \"eth1\"\nprio = 0", options("active-backup", nil)},
		{"no ARP monitor, said so", `arp_interval = "0s"`, options("active-backup", nil)},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := mustParse(t, "[[bond]]\n"+test.text).Bonds[0]
			if diff := cmp.Diff(test.want, b.Options); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			if b.Name != "bond0" {
				t.Errorf("name %q", b.Name)
			}
		})
	}
}

// Modes go by the kernel's names and numbers, with and without quotes.
func TestModes(t *testing.T) {
	for want, texts := range map[string][]string{
		"balance-rr":    {`"balance-rr"`, `0`, `"0"`},
		"active-backup": {`"active-backup"`, `1`, `"1"`},
		"balance-xor":   {`"balance-xor"`, `2`, `"2"`},
		"broadcast":     {`"broadcast"`, `3`, `"3"`},
		"802.3ad":       {`"802.3ad"`, `4`, `"4"`},
		"balance-tlb":   {`"balance-tlb"`, `5`, `"5"`},
		"balance-alb":   {`"balance-alb"`, `6`, `"6"`},
	} {
		for _, text := range texts {
			if got := mustParse(t, "[[bond]]\nmode = "+text).Bonds[0].Mode(); got.String() != want {
				t.Errorf("mode = %s is %q, want %q", text, got, want)
			}
		}
	}
}

// Settings that look odd and are good.
func TestAccepted(t *testing.T) {
	for name, text := range map[string]string{
		"one slave":                  `slaves = ["eth0"]`,
		"a link of two":              `addresses = ["10.0.0.0/31", "2001:db8::/127"]`,
		"a single host":              `addresses = ["10.0.0.5/32", "2001:db8::1/128"]`,
		"two addresses of a network": `addresses = ["10.0.0.5/24", "10.0.0.6/24"]`,
		"DHCP beside an address":     "addresses = [\"10.0.0.5/24\"]\ndhcp4 = true\ngateways = [\"192.168.7.1\"]",
		"gateway by link-local":      `gateways = ["fe80::1"]`,
		"broadcast of all networks":  "addresses = [\"10.0.0.5/24\"]\nbroadcast = \"255.255.255.255\"",
		"smallest mtu":               "addresses = [\"10.0.0.5/24\"]\nmtu = 68",
		"smallest mtu of IPv6":       "addresses = [\"2001:db8::5/64\"]\nmtu = 1280",
		"longest name":               `name = "abcdefghijklmno"`,
		"a dot in a name":            `slaves = ["eth0.20"]`,
		"longest interval":           `miimon = "2147483647ms"`,
		"primary of auto":            `primary = "mac:52:54:00:00:00:01"`,
		"num_grat_arp in any mode":   "mode = 3\nnum_grat_arp = 255",
		"what the kernel may ignore": "mode = 1\nxmit_hash_policy = \"layer3+4\"\nlp_interval = \"1s\"\nresend_igmp = 3",
		"ignored, and the default":   "mode = 0\nfail_over_mac = \"none\"\nmin_links = 0\narp_validate = \"none\"\narp_missed_max = 2\narp_ip_target = []\nad_select = \"stable\"",
		"delays that fit":            "miimon = \"30ms\"\nupdelay = \"90ms\"\ndowndelay = \"0s\"\npeer_notif_delay = \"300s\"",
		"only IPv6 asked":            "mode = 0\narp_interval = \"1s\"\nns_ip6_target = [\"fe80::1\"]",
		"miimon off, ARP on":         "miimon = \"0s\"\narp_interval = \"1s\"\narp_ip_target = [\"10.0.0.1\"]",
		"miimon on, ARP off":         "miimon = \"100ms\"\narp_interval = \"0s\"",
		"as many targets as fit":     "arp_interval = \"1s\"\narp_ip_target = [" + targets(bonding.MaxTargets) + "]",
		"a path beside ARP":          "arp_interval = \"1s\"\narp_ip_target = [\"10.0.0.1\"]\n[[bond.path]]\ntarget = \"10.0.0.1\"",
		"as many paths as fit":       paths(bonding.MaxTargets),
		"a MAC that stays":           "mac = \"02:00:5e:10:00:01\"\nfail_over_mac = \"follow\"",
		"a MAC and no other say":     "mac = \"02:00:5e:10:00:01\"\nfail_over_mac = \"none\"",
		"widest path":                "[[bond.path]]\ntarget = \"fe80::1\"\ninterval = \"1h\"\ntimeout = \"59m\"\nmissed_max = 255\nreturn_after = 255",
		"narrowest path":             "[[bond.path]]\ntarget = \"fe80::1\"\ninterval = \"10ms\"\ntimeout = \"1ms\"\nmissed_max = 1\nreturn_after = 1",
		"a path of any bond":         "dhcp4 = true\npath_policy = \"any\"\n[[bond.path]]\ntarget = \"10.0.0.1\"\nsource = \"10.0.0.2\"",
		"widest damping":             "[bond.damping]\nhalf_life = \"1h\"\nsuppress = 100\nreuse = 99.9",
		"narrowest damping":          "[bond.damping]\nhalf_life = \"1s\"\nsuppress = 1e-3\nreuse = 1e-9",
		"no paths":                   "path = []\nslave = []",
		"the same target twice":      "slaves = [\"a\"]\n[[bond.path]]\ntarget = \"10.0.0.1\"\n[[bond]]\nname = \"bond1\"\n[[bond.path]]\ntarget = \"10.0.0.1\"",
		"same link-local network":    "slaves = [\"a\"]\naddresses = [\"fe80::5/64\"]\n[[bond]]\nname = \"bond1\"\naddresses = [\"fe80::6/64\"]",
	} {
		t.Run(name, func(t *testing.T) { checkRoundTrip(t, mustParse(t, "[[bond]]\n"+text+"\n")) })
	}
}

// targets lists n addresses.
func targets(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "\"10.0.0.%d\",", i+1)
	}
	return s.String()
}

// paths has n paths.
func paths(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "[[bond.path]]\ntarget = \"10.0.0.%d\"\n", i+1)
	}
	return s.String()
}

// What is yes or no goes by TOML's words and the kernel's.
func TestBools(t *testing.T) {
	for want, texts := range map[string][]string{
		"1": {`true`, `1`, `"1"`, `"on"`},
		"0": {`false`, `0`, `"0"`, `"off"`},
	} {
		for _, text := range texts {
			if got := mustParse(t, "[[bond]]\nmode = 5\ntlb_dynamic_lb = "+text).Bonds[0].Options["tlb_dynamic_lb"]; got != want {
				t.Errorf("tlb_dynamic_lb = %s is %q, want %q", text, got, want)
			}
		}
	}
}

// One slave is the active one in the modes that can have a primary.
func TestHasActiveSlave(t *testing.T) {
	for n, want := range []bool{false, true, false, false, false, true, true} {
		b := mustParse(t, fmt.Sprintf("[[bond]]\nmode = %d", n)).Bonds[0]
		if _, primary := b.Options["primary"]; b.Mode().HasActiveSlave() != want || primary != want {
			t.Errorf("mode %d: HasActiveSlave %t, a primary %t, want %t", n, b.Mode().HasActiveSlave(), primary, want)
		}
	}
}

// The sample is good as it stands, and with every line in use that it leaves out.
func TestSample(t *testing.T) {
	data, err := os.ReadFile("bondd.toml")
	if err != nil {
		t.Fatal(err)
	}
	mustParse(t, string(data))

	used := regexp.MustCompile(`(?m)^#(\w+ = |\[)`).ReplaceAllString(string(data), "$1")
	c := mustParse(t, used)
	if b := c.Bonds[0]; b.MAC == "" || b.MTU == 0 || b.Options["primary"] == "" || !b.Broadcast.IsValid() || len(b.Paths) != 1 || b.Damping == nil || b.Prio["eth0"] == 0 || len(c.Bonds) != 4 || c.HTTP.WebConfig == "" {
		t.Errorf("the sample with all lines lacks settings: %+v", c)
	}
	for _, key := range slices.Concat(hardwareKeys, httpKeys, bondKeys(), pathKeys, slaveKeys, dampingKeys) {
		shown := key + " = "
		if headers[key] != "" {
			shown = headers[key] + "\n"
		}
		if !strings.Contains(used, "\n"+shown) {
			t.Errorf("the sample does not show %s", key)
		}
	}
}
