package vmtest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/config/bonding"
	"bondd.internal/image/lab/netlab"
)

// A modeCase is a bond with every option that its mode has at another value
// than the default.
type modeCase struct {
	name  string
	lines []string
	want  map[string]any // of ip -details -json link show, info_data
}

// everyMode takes the same of each mode.
var everyMode = modeCase{"", []string{`miimon = "50ms"`, `updelay = "100ms"`, `downdelay = "150ms"`, `peer_notif_delay = "200ms"`, `num_grat_arp = 7`, `resend_igmp = 5`,
	`all_slaves_active = true`, `lp_interval = "9s"`, `primary_reselect = "better"`, `xmit_hash_policy = "layer3+4"`},
	map[string]any{"miimon": 50., "updelay": 100., "downdelay": 150., "peer_notify_delay": 200., "num_peer_notif": 7., "resend_igmp": 5., "all_slaves_active": 1.,
		"lp_interval": 9., "primary_reselect": "better", "xmit_hash_policy": "layer3+4"}}

const prioLines = `
[[bond.slave]]
name = "eth0"
prio = 3
[[bond.slave]]
name = "eth1"
prio = -2`

var modeCases = []modeCase{
	{"balance-rr", []string{`packets_per_slave = 4`}, map[string]any{"packets_per_slave": 4.}},
	{"active-backup", []string{`primary = "eth1"`, `fail_over_mac = "follow"`, prioLines}, map[string]any{"primary": "eth1", "fail_over_mac": "follow"}},
	{"balance-xor", nil, nil},
	{"broadcast", nil, nil},
	{"802.3ad", []string{`lacp_active = false`, `lacp_rate = "fast"`, `ad_select = "count"`, `ad_actor_sys_prio = 1000`, `ad_actor_system = "02:00:5e:10:00:77"`,
		`ad_user_port_key = 7`, `coupled_control = false`, `min_links = 1`},
		map[string]any{"ad_lacp_active": "off", "ad_lacp_rate": "fast", "ad_select": "count", "ad_actor_sys_prio": 1000., "ad_actor_system": "02:00:5e:10:00:77",
			"ad_user_port_key": 7., "min_links": 1.}},
	{"balance-tlb", []string{`primary = "eth1"`, `tlb_dynamic_lb = false`, prioLines}, map[string]any{"primary": "eth1", "tlb_dynamic_lb": 0.}},
	{"balance-alb", []string{`primary = "eth1"`, `tlb_dynamic_lb = false`, prioLines}, map[string]any{"primary": "eth1", "tlb_dynamic_lb": 0.}},
}

// Every option of every mode reaches the kernel, where somebody else reads it
// back, and a restart writes none of it.
func TestModeOptions(t *testing.T) {
	for _, c := range modeCases {
		t.Run(c.name, func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			lines := append(append([]string{fmt.Sprintf("mode = %q", c.name)}, everyMode.lines...), c.lines...)
			d := start(t, lan, bondConfig(2, lines...))
			d.settle()
			data := infoData(lan, "bond0")
			for _, want := range []map[string]any{{"mode": c.name}, everyMode.want, c.want} {
				for name, value := range want {
					if !reflect.DeepEqual(data[name], value) {
						t.Errorf("%s is %v, want %v", name, data[name], value)
					}
				}
			}
			if c.want["primary"] != nil {
				n := network(t, lan)
				if a, b := n.Link("eth0").Slave.Prio, n.Link("eth1").Slave.Prio; a != 3 || b != -2 {
					t.Errorf("the slaves have prio %d and %d, want 3 and -2", a, b)
				}
			}
			asConfigured(t, lan, d)

			told := watch(t, lan.Host)
			if err := d.stop(unix.SIGTERM); err != nil {
				t.Errorf("bondd ends with %v", err)
			}
			d = d.again()
			d.ready()
			time.Sleep(1500 * time.Millisecond) // one more full read
			if n := d.writes(); n != 0 {
				t.Errorf("bondd sent %d writes although nothing differed:\n%s", n, strings.Join(writesIn(d.log), ""))
			}
			if m := told.messages(); len(m) != 0 {
				t.Errorf("the kernel told of %d changes during the restart: %v", len(m), m)
			}
		})
	}
}

// The ARP monitor in the place of the link monitor, and back.
func TestModeARPMonitor(t *testing.T) {
	for _, mode := range []string{"balance-rr", "active-backup", "balance-xor", "broadcast"} {
		t.Run(mode, func(t *testing.T) {
			lan := netlab.NewLAN(t, 2)
			link := bondConfig(2, fmt.Sprintf("mode = %q", mode))
			arp := bondConfig(2, fmt.Sprintf("mode = %q", mode), `arp_interval = "200ms"`, `arp_ip_target = ["192.0.2.1", "192.0.2.7"]`,
				`ns_ip6_target = ["2001:db8::1"]`, `arp_validate = "all"`, `arp_all_targets = "any"`, `arp_missed_max = 4`)
			d := start(t, lan, link)
			d.settle()
			for _, toml := range []string{arp, link, arp} {
				_ = d.stop(unix.SIGTERM)
				d = start(t, lan, toml)
				d.settle()
				want := map[string]any{"miimon": 100., "arp_interval": 0.}
				if toml == arp {
					want = map[string]any{"miimon": 0., "arp_interval": 200., "arp_missed_max": 4., "arp_validate": "all", "arp_all_targets": "any",
						"arp_ip_target": []any{"192.0.2.1", "192.0.2.7"}, "ns_ip6_target": []any{"2001:db8::1"}}
				}
				data := infoData(lan, "bond0")
				for name, value := range want {
					if !reflect.DeepEqual(data[name], value) {
						t.Errorf("%s is %v, want %v", name, data[name], value)
					}
				}
				asConfigured(t, lan, d)
				reachable(t, lan)
			}
		})
	}
}

// settle waits until everything is as configured, in the eyes of bondd.
func (d *daemon) settle() {
	d.t.Helper()
	d.eventually("no drift", func() bool { return len(d.status().Config.Drift) == 0 })
	time.Sleep(1500 * time.Millisecond) // one more full read
}

// asConfigured checks every option that the running configuration has, also
// those that ip(8) does not know.
func asConfigured(t *testing.T, lan *netlab.LAN, d *daemon) {
	t.Helper()
	c, err := config.Load(d.file)
	if err != nil {
		t.Fatal(err)
	}
	n := network(t, lan)
	for _, b := range c.Bonds {
		have := n.Link(b.Name).Bond.Options
		for name, want := range b.Options {
			if row, _ := bonding.Lookup(name); !row.EffectiveIn(b.Mode()) {
				continue
			}
			if have[name] != want {
				t.Errorf("%s of %s is %q in the kernel, %q in the configuration", name, b.Name, have[name], want)
			}
		}
	}
}

// network reads the host's network as bondd does.
func network(t *testing.T, lan *netlab.LAN) (n *state.Network) {
	t.Helper()
	client := new(kernel.Client)
	defer client.Close()
	err := lan.Host.Do(func() (err error) {
		n, err = client.Network(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// infoData is what ip(8) reads of a link's kind.
func infoData(lan *netlab.LAN, name string) map[string]any {
	var list []struct {
		LinkInfo struct {
			Data map[string]any `json:"info_data"`
		} `json:"linkinfo"`
	}
	lan.Host.IPJSON(&list, "link show "+name)
	return list[0].LinkInfo.Data
}
