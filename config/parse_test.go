package config

import (
	"net/netip"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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
mac    = "0200.5e10.0001"
mtu    = 9_000
addresses = ["192.168.1.202/24", "2001:db8::202/64", "192.168.1.203/24"]
broadcast = "192.168.1.255"
gateways = ["192.168.1.1", "fe80::1", "2001:db8::1"]
dns    = ["192.168.1.1", "2001:db8::53"]
` + "\r\n" + `[[bond]]
name = "bond1"
mode = "0"
slaves = "auto"
dhcp4 = true
gateways = ["10.9.8.7"]
primary_reselect = "failure"
`

func TestParseEverything(t *testing.T) {
	want := &Config{
		Hardware: Hardware{Policy: "warn", Match: "driver"},
		HTTP:     HTTP{Listen: "[2001:db8::202]:8080", WebConfig: "/perm/bondd/web.yml"},
		Bonds: []Bond{{
			Name:   "bond0",
			Slaves: []string{"eth0", "mac:52:54:00:ab:cd:ef", "pci:0000:03:00.0"},
			Options: map[string]string{
				"mode": "active-backup", "miimon": "50", "updelay": "100", "downdelay": "60000",
				"primary": "pci:0000:03:00.0", "primary_reselect": "always", "num_grat_arp": "16",
			},
			MAC:       "02:00:5e:10:00:01",
			MTU:       9000,
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.202/24"), netip.MustParsePrefix("2001:db8::202/64"), netip.MustParsePrefix("192.168.1.203/24")},
			Broadcast: netip.MustParseAddr("192.168.1.255"),
			Gateways:  []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("2001:db8::1")},
			DNS:       []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("2001:db8::53")},
		}, {
			Name: "bond1",
			Auto: true,
			Options: map[string]string{
				"mode": "balance-rr", "miimon": "100", "updelay": "0", "downdelay": "0",
				"primary_reselect": "failure", "num_grat_arp": "1",
			},
			DHCP4:    true,
			Gateways: []netip.Addr{netip.MustParseAddr("10.9.8.7")},
		}},
	}
	got := mustParse(t, full)
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("Config (-want +got):\n%s", diff)
	}
	b := &got.Bonds[0]
	if b.Mode() != "active-backup" || b.Miimon() != 50*time.Millisecond || b.UpDelay() != 100*time.Millisecond || b.DownDelay() != time.Minute {
		t.Errorf("mode %s, miimon %v, updelay %v, downdelay %v", b.Mode(), b.Miimon(), b.UpDelay(), b.DownDelay())
	}
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
		Bonds: []Bond{{Name: "bond0", Auto: true, DHCP4: true, Options: map[string]string{
			"mode": "active-backup", "miimon": "100", "updelay": "0", "downdelay": "0",
			"primary": "", "primary_reselect": "failure", "num_grat_arp": "1",
		}}},
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
		{"slaves only", `slaves = ["eth0", "eth1"]`, map[string]string{
			"mode": "active-backup", "miimon": "100", "updelay": "0", "downdelay": "0",
			"primary": "", "primary_reselect": "failure", "num_grat_arp": "1",
		}},
		{"no primary, said so", `primary = ""`, map[string]string{
			"mode": "active-backup", "miimon": "100", "updelay": "0", "downdelay": "0",
			"primary": "", "primary_reselect": "failure", "num_grat_arp": "1",
		}},
		{"a primary", `primary = "eth1"`, map[string]string{
			"mode": "active-backup", "miimon": "100", "updelay": "0", "downdelay": "0",
			"primary": "eth1", "primary_reselect": "always", "num_grat_arp": "1",
		}},
		{"a primary that is not returned to", "primary_reselect = 2\nprimary = \"eth1\"", map[string]string{
			"mode": "active-backup", "miimon": "100", "updelay": "0", "downdelay": "0",
			"primary": "eth1", "primary_reselect": "failure", "num_grat_arp": "1",
		}},
		{"a mode without active slave", `mode = "broadcast"`, map[string]string{
			"mode": "broadcast", "miimon": "100", "updelay": "0", "downdelay": "0",
			"primary_reselect": "always", "num_grat_arp": "1",
		}},
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
	} {
		for _, text := range texts {
			if got := mustParse(t, "[[bond]]\nmode = "+text).Bonds[0].Mode(); got != want {
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
		"same link-local network":    "slaves = [\"a\"]\naddresses = [\"fe80::5/64\"]\n[[bond]]\nname = \"bond1\"\naddresses = [\"fe80::6/64\"]",
	} {
		t.Run(name, func(t *testing.T) { mustParse(t, "[[bond]]\n"+text+"\n") })
	}
}

// The sample is good as it stands, and with every line in use that it leaves out.
func TestSample(t *testing.T) {
	data, err := os.ReadFile("bondd.toml")
	if err != nil {
		t.Fatal(err)
	}
	mustParse(t, string(data))

	used := regexp.MustCompile(`(?m)^#(\w+ = )`).ReplaceAllString(string(data), "$1")
	c := mustParse(t, used)
	if b := c.Bonds[0]; b.MAC == "" || b.MTU == 0 || b.Options["primary"] == "" || !b.Broadcast.IsValid() || c.HTTP.WebConfig == "" {
		t.Errorf("the sample with all lines lacks settings: %+v", c)
	}
	for _, keys := range [][]string{hardwareKeys, httpKeys, bondKeys()} {
		for _, key := range keys {
			if !regexp.MustCompile(`(?m)^` + key + ` = `).MatchString(used) {
				t.Errorf("the sample does not show %s", key)
			}
		}
	}
}
