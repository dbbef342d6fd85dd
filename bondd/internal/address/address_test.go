package address

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"bondd.internal/bondd/internal/reconcile"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func ack(t testing.TB, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeAck)}, modifiers...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParse(t *testing.T) {
	ip := func(s string) net.IP { return net.ParseIP(s).To4() }
	addr := netip.MustParseAddr
	at := dhcpv4.WithYourIP(ip("192.0.2.100"))
	net24 := dhcpv4.WithNetmask(net.CIDRMask(24, 32))
	t1 := func(d time.Duration) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.Option{Code: dhcpv4.OptionRenewTimeValue, Value: dhcpv4.Duration(d)})
	}
	for _, tt := range []struct {
		name string
		ack  *dhcpv4.DHCPv4
		want reconcile.Lease
		t1   time.Duration
	}{
		{"everything", ack(t, at, net24, dhcpv4.WithRouter(ip("192.0.2.1")), dhcpv4.WithDNS(ip("192.0.2.53"), ip("198.51.100.53")),
			dhcpv4.WithLeaseTime(600), dhcpv4.WithOption(dhcpv4.OptBroadcastAddress(ip("192.0.2.127"))), t1(100*time.Second)),
			reconcile.Lease{Prefix: netip.MustParsePrefix("192.0.2.100/24"), Broadcast: addr("192.0.2.127"), Gateways: []netip.Addr{addr("192.0.2.1")},
				DNS: []netip.Addr{addr("192.0.2.53"), addr("198.51.100.53")}, Expires: now.Add(600 * time.Second)}, 100 * time.Second},
		{"an address alone is a host's, for an hour", ack(t, at),
			reconcile.Lease{Prefix: netip.MustParsePrefix("192.0.2.100/32"), Expires: now.Add(time.Hour)}, 30 * time.Minute},
		{"a very short lease is made longer", ack(t, at, net24, dhcpv4.WithLeaseTime(1)),
			reconcile.Lease{Prefix: netip.MustParsePrefix("192.0.2.100/24"), Expires: now.Add(30 * time.Second)}, 15 * time.Second},
		{"a renewal after the end is none", ack(t, at, net24, dhcpv4.WithLeaseTime(600), t1(time.Hour)),
			reconcile.Lease{Prefix: netip.MustParsePrefix("192.0.2.100/24"), Expires: now.Add(600 * time.Second)}, 300 * time.Second},
		{"the first router that can be reached", ack(t, at, net24, dhcpv4.WithLeaseTime(600), dhcpv4.WithRouter(ip("203.0.113.1"), ip("192.0.2.1"), ip("192.0.2.2"))),
			reconcile.Lease{Prefix: netip.MustParsePrefix("192.0.2.100/24"), Gateways: []netip.Addr{addr("192.0.2.1")}, Expires: now.Add(600 * time.Second)}, 300 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, t1, err := parse(tt.ack, now)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, tt.want) || t1 != tt.t1 {
				t.Errorf("got  %+v, %v\nwant %+v, %v", *got, t1, tt.want, tt.t1)
			}
		})
	}
	for name, m := range map[string]*dhcpv4.DHCPv4{
		"no address":          ack(t),
		"a multicast address": ack(t, dhcpv4.WithYourIP(ip("224.0.0.1"))),
		"loopback":            ack(t, dhcpv4.WithYourIP(ip("127.0.0.1"))),
		"a mask with a hole":  ack(t, at, dhcpv4.WithNetmask(net.IPMask{255, 0, 255, 0})),
		"an empty mask":       ack(t, at, dhcpv4.WithNetmask(net.IPMask{0, 0, 0, 0})),
	} {
		if l, _, err := parse(m, now); err == nil || !strings.HasPrefix(err.Error(), "read DHCP lease: ") {
			t.Errorf("%s: lease %+v, error %v", name, l, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ack(f, dhcpv4.WithYourIP(net.IP{192, 0, 2, 100}), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(net.IP{192, 0, 2, 1})).ToBytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := dhcpv4.FromBytes(data)
		if err != nil {
			return
		}
		l, t1, err := parse(m, now)
		if err != nil {
			return
		}
		if !l.Prefix.IsValid() || !l.Expires.After(now) || t1 <= 0 || now.Add(t1).After(l.Expires) || len(l.Gateways) > 1 {
			t.Errorf("lease %+v, renewed after %v", l, t1)
		}
	})
}

func TestWriteResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	servers := []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}
	const want = "# written by bondd\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"
	if err := WriteResolvConf(path, servers); err != nil {
		t.Fatal(err)
	}
	first, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want || first.Mode().Perm() != 0o644 {
		t.Errorf("the file is %q, %v, mode %v", got, err, first.Mode())
	}
	if err := WriteResolvConf(path, servers); err != nil {
		t.Fatal(err)
	}
	if again, err := os.Stat(path); err != nil || !os.SameFile(first, again) {
		t.Errorf("the same servers were written again: %v", err)
	}
	if err := WriteResolvConf(path, servers[:1]); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "# written by bondd\nnameserver 192.0.2.53\n" {
		t.Errorf("after a change the file is %q", got)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("files were left behind: %v", entries)
	}
	if err := WriteResolvConf(filepath.Join(t.TempDir(), "none", "resolv.conf"), servers); err == nil || !strings.HasPrefix(err.Error(), "write ") {
		t.Errorf("into no folder: %v", err)
	}
}
