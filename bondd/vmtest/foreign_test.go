package vmtest

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/netlab"
)

// keep runs bondd with a folder for what has to outlive it, and returns how to
// run it again with another configuration.
func keep(t testing.TB, lan *netlab.LAN, toml string) (d *daemon, again func(toml string) *daemon) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "bondd.toml")
	again = func(toml string) *daemon {
		t.Helper()
		if err := os.WriteFile(file, []byte(toml), 0o644); err != nil {
			t.Fatal(err)
		}
		d := run(t, lan, file, lan.Host.Command("bondd", "run", "--config", file, "--state", filepath.Join(dir, "state")))
		d.ready()
		return d
	}
	return again(toml), again
}

// readdress replaces the host's address in a configuration.
func readdress(toml, address string) string {
	return strings.Replace(toml, fmt.Sprintf("%q", netlab.HostAddress), address, 1)
}

// addresses lists the addresses of an interface of the host but for link-local ones.
func addresses(lan *netlab.LAN, dev string) []string {
	var links []struct {
		Addresses []struct {
			Local  string `json:"local"`
			Length int    `json:"prefixlen"`
			Scope  string `json:"scope"`
		} `json:"addr_info"`
	}
	lan.Host.IPJSON(&links, "addr show dev "+dev)
	var list []string
	for _, l := range links {
		for _, a := range l.Addresses {
			if a.Scope != "link" {
				list = append(list, fmt.Sprintf("%s/%d", a.Local, a.Length))
			}
		}
	}
	slices.Sort(list)
	return list
}

// has checks the addresses of an interface of the host.
func has(t *testing.T, lan *netlab.LAN, dev string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := addresses(lan, dev); !slices.Equal(got, want) {
		t.Errorf("%s has %v, want %v", dev, got, want)
	}
}

// marked adds an address to bond0 as keepalived does, which marks its own.
func marked(t *testing.T, lan *netlab.LAN, prefix string) {
	t.Helper()
	client := new(kernel.Client)
	defer client.Close()
	add := state.AddAddress{Link: "bond0", Prefix: netip.MustParsePrefix(prefix), Protocol: unix.RTPROT_KEEPALIVED}
	if err := lan.Host.Do(func() error { return client.Do(t.Context(), add) }); err != nil {
		t.Fatal(err)
	}
}

// foreign is what /api/v1/status says of what other programs have put on bond0.
func (d *daemon) foreign() (addresses, routes []string) {
	d.t.Helper()
	_, body := d.get("/api/v1/status")
	var s struct {
		Bonds []struct {
			Addresses []string `json:"foreign_addresses"`
			Routes    []struct {
				To       string  `json:"to"`
				Via      *string `json:"via"`
				Protocol int     `json:"protocol"`
			} `json:"foreign_routes"`
		} `json:"bonds"`
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil || len(s.Bonds) != 1 {
		d.t.Fatalf("status: %v\n%s", err, body)
	}
	for _, r := range s.Bonds[0].Routes {
		via := "nothing"
		if r.Via != nil {
			via = *r.Via
		}
		routes = append(routes, fmt.Sprintf("%s via %s proto %d", r.To, via, r.Protocol))
	}
	slices.Sort(s.Bonds[0].Addresses)
	slices.Sort(routes)
	return s.Bonds[0].Addresses, routes
}

// Addresses and routes that another program puts on the bond stay, are shown as
// such and are no drift; a restart changes nothing of that. An address that the
// configuration no longer has goes, and takes none of the others with it.
func TestForeignStays(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	lan.Host.Sysctl("net/ipv4/conf/default/promote_secondaries", "0")
	lan.Host.Sysctl("net/ipv4/conf/all/promote_secondaries", "0")
	gateways := `gateways = ["192.0.2.1"]`
	d, again := keep(t, lan, bondConfig(2, gateways))
	d.healthy()
	for _, a := range []string{"192.0.2.250/24", "192.0.2.251/32", "198.51.100.7/24", "2001:db8::99/64 nodad"} {
		lan.Host.IP("addr add " + a + " dev bond0")
	}
	marked(t, lan, "192.0.2.252/24")
	lan.Host.IP("route add default via 192.0.2.9 dev bond0 metric 50")
	lan.Host.IP("route add 203.0.113.0/24 via 192.0.2.9 dev bond0 proto static")
	lan.Host.IP("route add 203.0.113.128/25 dev bond0 proto dhcp")
	lan.Host.IP("route append default via 192.0.2.9 dev bond0") // of the metric of bondd's own
	others := []string{"192.0.2.250/24", "192.0.2.251/32", "192.0.2.252/24", "198.51.100.7/24", "2001:db8::99/64"}
	routes := func() string { return lan.Host.IP("route show") }
	before := routes()

	check := func(when string, own ...string) {
		t.Helper()
		time.Sleep(2500 * time.Millisecond) // two more full reads
		has(t, lan, "bond0", append(slices.Clone(others), own...)...)
		s := d.status()
		if len(s.Config.Drift) != 0 || !s.OK {
			t.Errorf("%s: drift is %v, first error %q", when, s.Config.Drift, s.FirstError)
		}
		gotAddresses, gotRoutes := d.foreign()
		wantRoutes := []string{"0.0.0.0/0 via 192.0.2.9 proto 3", "0.0.0.0/0 via 192.0.2.9 proto 3", "203.0.113.0/24 via 192.0.2.9 proto 4", "203.0.113.128/25 via nothing proto 16"}
		if !slices.Equal(gotAddresses, others) || !slices.Equal(gotRoutes, wantRoutes) {
			t.Errorf("%s: foreign are %v and %v, want %v and %v", when, gotAddresses, gotRoutes, others, wantRoutes)
		}
	}
	writes := d.writes()
	check("beside bondd", netlab.HostAddress.String())
	if n := d.writes(); n != writes || routes() != before {
		t.Errorf("%d writes; routes before\n%safter\n%s", n-writes, before, routes())
	}
	for _, a := range network(t, lan).Addresses {
		if own := a.Prefix == netlab.HostAddress; own != (a.Protocol == state.ProtocolStatic) {
			t.Errorf("address %s is marked %d", a.Prefix, a.Protocol)
		}
	}

	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		_ = d.stop(sig)
		d = again(bondConfig(2, gateways))
		check("after a restart", netlab.HostAddress.String())
		if n := d.writes(); n != 0 {
			t.Errorf("%d writes after a restart:\n%s", n, strings.Join(writesIn(d.log), ""))
		}
	}

	// Another address and no gateway: what was bondd's goes, and nothing else.
	told := watch(t, lan.Host)
	_ = d.stop(unix.SIGTERM)
	d = again(readdress(bondConfig(2), `"192.0.2.3/24"`))
	check("with another address", "192.0.2.3/24")
	if n := told.count(unix.RTM_DELADDR); n != 1 {
		t.Errorf("%d addresses went, want one", n)
	}
	if got, want := routes(), strings.Replace(before, "default via 192.0.2.1 dev bond0 proto 176 \n", "", 1); strings.Contains(got, "192.0.2.1 ") || strings.Count(got, "default") != strings.Count(want, "default") {
		t.Errorf("routes are\n%swant\n%s", got, want)
	}
	lan.Host.IP("addr del 192.0.2.250/24 dev bond0")
	others = slices.DeleteFunc(others, func(a string) bool { return a == "192.0.2.250/24" })
	check("after another program took its address away", "192.0.2.3/24")
}

// Addresses that carry no mark, as those of a version before it, are bondd's as
// long as the configuration names them, and are known as such when it no longer
// does; one that comes in their place is not.
func TestUnmarkedAddress(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	foreign(lan, matching)
	lan.Host.IP("addr add 192.0.2.250/24 dev bond0")
	d, again := keep(t, lan, bondConfig(2))
	d.healthy()
	if n := d.writes(); n != 0 {
		t.Errorf("%d writes to a bond that is as configured:\n%s", n, strings.Join(writesIn(d.log), ""))
	}
	if got, _ := d.foreign(); !slices.Equal(got, []string{"192.0.2.250/24"}) {
		t.Errorf("foreign are %v", got)
	}
	_ = d.stop(unix.SIGTERM)
	d = again(readdress(bondConfig(2), `"192.0.2.3/24"`))
	has(t, lan, "bond0", "192.0.2.3/24", "192.0.2.250/24")

	// While bondd is away somebody puts the old address in the place of the one
	// that it remembers.
	_ = d.stop(unix.SIGTERM)
	lan.Host.IP("addr del 192.0.2.3/24 dev bond0")
	lan.Host.IP("addr add 192.0.2.2/24 brd + dev bond0")
	d = again(bondConfig(2))
	d.healthy()
	_ = d.stop(unix.SIGTERM)
	lan.Host.IP("addr del 192.0.2.2/24 dev bond0")
	lan.Host.IP("addr add 192.0.2.2/24 brd + dev bond0")
	again(readdress(bondConfig(2), `"192.0.2.4/24"`))
	time.Sleep(1500 * time.Millisecond)
	has(t, lan, "bond0", "192.0.2.2/24", "192.0.2.4/24", "192.0.2.250/24")
}

// What is remembered of another start of the machine is nobody's: an address of
// the same prefix may be another program's now.
func TestOwnedOfAnotherBoot(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	foreign(lan, matching)
	d, again := keep(t, lan, bondConfig(2))
	d.healthy()
	_ = d.stop(unix.SIGTERM)
	file := filepath.Join(filepath.Dir(d.file), "state", "memory.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	boot := strings.TrimSpace(string(id))
	if !strings.Contains(string(text), boot) || !strings.Contains(string(text), netlab.HostAddress.String()) {
		t.Fatalf("what is remembered is\n%s", text)
	}
	changed := strings.ReplaceAll(string(text), boot, "00000000-0000-0000-0000-000000000000")
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	again(readdress(bondConfig(2), `"192.0.2.3/24"`))
	time.Sleep(1500 * time.Millisecond)
	has(t, lan, "bond0", "192.0.2.2/24", "192.0.2.3/24")
}

// The configured address in the hands of another program stays as it is while it
// is there; when it goes, bondd adds its own.
func TestForeignHasTheAddress(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	foreign(lan, matching)
	lan.Host.IP("addr del " + netlab.HostAddress.String() + " dev bond0")
	marked(t, lan, netlab.HostAddress.String()) // without a broadcast address
	d, again := keep(t, lan, bondConfig(2))
	d.healthy()
	if n := d.writes(); n != 0 {
		t.Errorf("%d writes:\n%s", n, strings.Join(writesIn(d.log), ""))
	}
	lan.Host.IP("addr del " + netlab.HostAddress.String() + " dev bond0")
	d.eventually("the address again", func() bool { return slices.Contains(addresses(lan, "bond0"), netlab.HostAddress.String()) })
	if got, _ := d.foreign(); len(got) != 0 {
		t.Errorf("foreign are %v", got)
	}
	_ = d.stop(unix.SIGTERM)
	again(readdress(bondConfig(2), `"192.0.2.3/24"`))
	has(t, lan, "bond0", "192.0.2.3/24")
}

// vlans puts VLANs above bond0 as another program does, with addresses and
// routes on each, and addresses and routes on the bond.
func vlans(lan *netlab.LAN) {
	for _, c := range []string{
		"link add link bond0 name bond0.20 type vlan id 20", "link set bond0.20 up",
		"link add link bond0.20 name inner type vlan id 30", "link set inner up",
		"link add link bond0 name bond0.40 type vlan id 40",
		"addr add 10.20.0.2/24 dev bond0.20", "addr add 2001:db8:20::2/64 dev bond0.20 nodad",
		"addr add 2001:db8:30::2/64 dev inner nodad",
		"addr add 2001:db8::98/64 dev bond0 nodad", "addr add 192.0.2.250/24 label bond0:vip dev bond0", "addr add fe80::99/64 dev bond0 nodad",
		"route add 10.21.0.0/16 via 10.20.0.1 src 10.20.0.2 mtu 1400", "route add 10.22.0.0/16 dev bond0.20 metric 7",
		"-6 route add 2001:db8:31::/48 via 2001:db8:30::1",
		"route add 198.51.100.0/24 via 192.0.2.9 src 192.0.2.250", "route add default via 192.0.2.9 table 100",
		"route add 203.0.113.0/24 nexthop via 192.0.2.9 nexthop via 192.0.2.8", "route add 198.18.0.1/32 via 10.9.9.9 dev bond0 onlink",
		"-6 route add 2001:db8:99::/48 via 2001:db8::9 metric 12", "-6 route add default via 2001:db8::9 table 100",
	} {
		lan.Host.IP(c)
	}
}

// everything is all addresses and routes of the host that neither bondd nor the
// kernel made, and which VLANs are up.
func everything(t *testing.T, lan *netlab.LAN) string {
	t.Helper()
	var lines []string
	n := network(t, lan)
	for _, a := range n.Addresses {
		if a.Protocol == 0 || a.Protocol == unix.RTPROT_KEEPALIVED {
			lines = append(lines, fmt.Sprintf("%s on %s, marked %d", a.Prefix, n.LinkByIndex(a.Index).Name, a.Protocol))
		}
	}
	if strings.Contains(lan.Host.IP("addr show dev bond0"), "scope global secondary bond0:vip") {
		lines = append(lines, "there is the label bond0:vip")
	}
	for _, c := range []string{"-4 route show table all", "-6 route show table all"} {
		for line := range strings.Lines(lan.Host.IP(c)) {
			line = strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(line, "linkdown", ""), "\\", ""))
			if line != "" && !strings.Contains(line, "proto 176") && !strings.Contains(line, "proto kernel") && !strings.Contains(line, "proto ra") {
				lines = append(lines, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	for name, l := range links(lan) {
		if l.LinkInfo.Kind == "vlan" {
			lines = append(lines, fmt.Sprintf("%s is up: %t", name, slices.Contains(l.Flags, "UP")))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// Whatever takes the bond down, what other programs have put on it and on the
// VLANs above it is there again afterwards.
func TestForeignOverConversion(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d, again := keep(t, lan, bondConfig(2, `gateways = ["192.0.2.1"]`))
	d.healthy()
	vlans(lan)
	marked(t, lan, "2001:db8::99/64")
	want := everything(t, lan)
	t.Logf("there is:\n%s", want)
	for _, mode := range []string{"802.3ad", "balance-alb", "active-backup"} {
		_ = d.stop(unix.SIGTERM)
		d = again(bondConfig(2, `gateways = ["192.0.2.1"]`, fmt.Sprintf("mode = %q", mode)))
		d.eventually("conversion to "+mode, func() bool { return links(lan)["bond0"].LinkInfo.Data.Mode == mode })
		time.Sleep(1500 * time.Millisecond)
		if got := everything(t, lan); got != want {
			t.Errorf("after the conversion to %s there is\n%swant\n%s", mode, got, want)
		}
		if drift := d.status().Config.Drift; len(drift) != 0 {
			t.Errorf("in %s: drift is %v", mode, drift)
		}
	}
	// Somebody else takes it down, and bondd up again.
	lan.Host.IP("link set bond0 down")
	d.eventually("the bond up again", func() bool { return slices.Contains(links(lan)["bond0"].Flags, "UP") })
	time.Sleep(1500 * time.Millisecond)
	if got := everything(t, lan); got != want {
		t.Errorf("after somebody took the bond down there is\n%swant\n%s", got, want)
	}
}

// A bond that another program removes comes back with what others had put on it.
func TestForeignOverRemoval(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d, _ := keep(t, lan, bondConfig(2, `gateways = ["192.0.2.1"]`))
	d.healthy()
	lan.Host.IP("addr add 192.0.2.250/24 dev bond0")
	marked(t, lan, "2001:db8::99/64")
	lan.Host.IP("route add 198.51.100.0/24 via 192.0.2.9 src 192.0.2.250")
	lan.Host.IP("route add default via 192.0.2.9 table 100 dev bond0")
	time.Sleep(1500 * time.Millisecond) // it has been seen
	want := everything(t, lan)
	lan.Host.IP("link del bond0")
	d.eventually("the bond again", func() bool { return links(lan)["bond0"].Name != "" && slices.Contains(links(lan)["bond0"].Flags, "UP") })
	d.healthy()
	time.Sleep(1500 * time.Millisecond)
	if got := everything(t, lan); got != want {
		t.Errorf("there is\n%swant\n%s", got, want)
	}
	has(t, lan, "bond0", netlab.HostAddress.String(), "192.0.2.250/24", "2001:db8::99/64")
}

// An IPv6 default route of another program keeps to itself: bondd's is not
// merged with it, and is the one that is used.
func TestForeignDefaultRouteIPv6(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	toml := readdress(bondConfig(2, `gateways = ["2001:db8::1"]`), fmt.Sprintf(`"%s", "2001:db8::2/64"`, netlab.HostAddress))
	d, again := keep(t, lan, toml)
	d.healthy()
	lan.Host.IP("-6 route append default via 2001:db8::9 dev bond0 metric 1024")
	used := func() bool {
		got := lan.Host.IP("-6 route get 2001:db8:ffff::1")
		return strings.Contains(got, "via 2001:db8::1 ")
	}
	time.Sleep(2500 * time.Millisecond)
	if got := lan.Host.IP("-6 route show default"); !used() || strings.Contains(got, "nexthop") || !strings.Contains(got, "default via 2001:db8::9 dev bond0") {
		t.Errorf("the default routes are\n%s", got)
	}
	if drift := d.status().Config.Drift; len(drift) != 0 {
		t.Errorf("drift is %v", drift)
	}
	_ = d.stop(unix.SIGTERM)
	again(readdress(bondConfig(2), fmt.Sprintf(`"%s", "2001:db8::2/64"`, netlab.HostAddress)))
	time.Sleep(1500 * time.Millisecond)
	if got := lan.Host.IP("-6 route show default"); !strings.HasPrefix(got, "default via 2001:db8::9 dev bond0") || strings.Count(got, "\n") != 1 {
		t.Errorf("the default routes are\n%s", got)
	}
}

// A lease is bondd's, also over a restart; the address of another program is not
// asked for from the DHCP server.
func TestDHCPBesideForeign(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	server := serveDHCP(t, lan, "192.0.2.100")
	dhcp := "[[bond]]\nname = \"bond0\"\nslaves = [\"eth0\", \"eth1\"]\ndhcp4 = true\n"
	d, again := keep(t, lan, dhcp)
	leased := func(address string) func() bool {
		return func() bool { return slices.Contains(addresses(lan, "bond0"), address) }
	}
	d.eventually("lease", leased("192.0.2.100/24"))
	lan.Host.IP("addr add 192.0.2.250/24 dev bond0")
	lan.Host.IP("addr add 198.51.100.9/24 dev bond0 valid_lft 3600 preferred_lft 3600")
	_ = d.stop(unix.SIGTERM)
	granted, _ := server.counts()
	d = again(dhcp)
	d.eventually("the lease again", func() bool { g, _ := server.counts(); return g > granted })
	time.Sleep(1500 * time.Millisecond)
	has(t, lan, "bond0", "192.0.2.100/24", "192.0.2.250/24", "198.51.100.9/24")
	if got, _ := d.foreign(); !slices.Equal(got, []string{"192.0.2.250/24", "198.51.100.9/24"}) {
		t.Errorf("foreign are %v", got)
	}
	if _, refused := server.counts(); refused != 0 {
		t.Errorf("the server refused %d requests: for an address that is another program's", refused)
	}
	_ = d.stop(unix.SIGTERM)
	again(bondConfig(2)) // without DHCP
	time.Sleep(1500 * time.Millisecond)
	has(t, lan, "bond0", netlab.HostAddress.String(), "192.0.2.250/24", "198.51.100.9/24")
	if got := lan.Host.IP("route show default"); got != "" {
		t.Errorf("the default route of the lease is still there: %s", got)
	}
}

// A foreign neighbour on the same switch reaches a foreign address throughout.
func TestForeignAddressCarries(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	lan.Host.Sysctl("net/ipv4/conf/default/promote_secondaries", "0")
	d, again := keep(t, lan, bondConfig(2))
	d.healthy()
	vip := netip.MustParseAddr("192.0.2.250")
	lan.Host.IP("addr add 192.0.2.250/24 dev bond0")
	acquaint(lan)
	lan.Peer.Neighbour("br0", vip, lan.Host.MAC("bond0"))
	in := netlab.StartStream(t, netlab.StreamConfig{From: lan.Peer, To: lan.Host, Interval: time.Millisecond, Dest: netip.AddrPortFrom(vip, 9001)})
	time.Sleep(200 * time.Millisecond)
	_ = d.stop(unix.SIGTERM)
	again(readdress(bondConfig(2), `"192.0.2.3/24"`))
	time.Sleep(1500 * time.Millisecond)
	if r := in.Stop(); r.Lost != 0 {
		t.Errorf("to the foreign address, while bondd's own of its network changed: %v; want nothing lost", r)
	}
}
