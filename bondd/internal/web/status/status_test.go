package status_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
	"bondd.internal/bondd/internal/web/status"
)

// These names are relied upon by scripts: they may be added to, not changed.
func TestNamesInJSON(t *testing.T) {
	var document map[string]any
	text, err := json.Marshal(status.From(fixture.Missing()))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{
		"version":                               "1.0.0",
		"uptime_seconds":                        274320.0,
		"hardware.verdict":                      "warn",
		"hardware.findings.0.check":             "missing",
		"hardware.findings.0.severity":          "warn",
		"hardware.nics.0.name":                  "eth0",
		"hardware.nics.0.driver":                "e1000",
		"hardware.nics.0.firmware":              "",
		"hardware.nics.0.pci_id":                "8086:100e",
		"hardware.nics.0.bus":                   "pci",
		"hardware.nics.0.permanent_mac":         "52:54:00:12:34:a0",
		"hardware.nics.0.option_rom":            true,
		"hardware.nics.0.supported_mbps.2":      1000.0,
		"bonds.0.name":                          "bond0",
		"bonds.0.mode":                          "active-backup",
		"bonds.0.up":                            true,
		"bonds.0.mac":                           "52:54:00:12:34:a0",
		"bonds.0.addresses.0":                   "192.168.1.202/24",
		"bonds.0.active_slave":                  "eth0",
		"bonds.0.degraded":                      true,
		"bonds.0.slaves.0.name":                 "eth0",
		"bonds.0.slaves.0.present":              true,
		"bonds.0.slaves.1.present":              false,
		"bonds.0.slaves.0.link_up":              true,
		"bonds.0.slaves.0.path_up":              nil,
		"bonds.0.slaves.0.state":                "active",
		"bonds.0.slaves.1.state":                "backup",
		"bonds.0.slaves.0.mii_status":           "up",
		"bonds.0.slaves.0.suppressed":           false,
		"bonds.0.slaves.0.speed_mbps":           1000.0,
		"bonds.0.slaves.1.speed_mbps":           nil,
		"bonds.0.slaves.0.duplex":               "full",
		"bonds.0.slaves.0.permanent_mac":        "52:54:00:12:34:a0",
		"bonds.0.slaves.0.link_failures":        1.0,
		"bonds.0.slaves.0.counters.rx_packets":  18446213.0,
		"bonds.0.slaves.0.counters.tx_carrier":  0.0,
		"bonds.0.slaves.0.counters.collisions":  0.0,
		"bonds.0.slaves.0.counters.rx_overruns": 0.0,
		"config.source":                         "/perm/bondd/bondd.toml",
		"config.confirm_until":                  nil,
		"config.drift":                          []any{},
	} {
		if got := at(t, document, path); !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
}

func at(t *testing.T, v any, path string) any {
	t.Helper()
	for _, key := range strings.Split(path, ".") {
		switch node := v.(type) {
		case map[string]any:
			next, ok := node[key]
			if !ok {
				t.Fatalf("%s: there is no %q", path, key)
			}
			v = next
		case []any:
			v = node[key[0]-'0']
		default:
			t.Fatalf("%s: %q is in no object and no list", path, key)
		}
	}
	return v
}

func TestListsAreNeverNull(t *testing.T) {
	text, err := json.Marshal(status.From(&state.Snapshot{Bonds: []state.Bond{{Slaves: []state.Slave{{}}}}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"findings", "nics", "bonds", "slaves", "addresses", "gateways", "drift", "events"} {
		if strings.Contains(string(text), `"`+list+`":null`) {
			t.Errorf("%s is null in %s", list, text)
		}
	}
}

func TestHeadline(t *testing.T) {
	want := map[string]string{
		"healthy":       "bond0 is healthy: traffic on eth0, eth1 ready",
		"degraded":      "bond0 is degraded: eth1 has no link",
		"down":          "bond0 is down: eth0 and eth1 have no link",
		"missing":       "bond0 is degraded: mac:52:54:00:12:34:a7 is missing: no card in this machine answers to it",
		"left-out":      "bond0 is degraded: eth1 is left out: its chipset is not eth0's",
		"broken-config": "bond0 is healthy: traffic on eth0, eth1 ready",
		"no-nic":        "No bond: there is no Ethernet card to bond",
		"starting":      "No bond yet: the configuration is not applied",
		"broadcast":     "bond0 is healthy: every frame leaves on eth0 and eth1",
		"round-robin":   "bond0 is healthy: traffic shared by eth0 and eth1",
		"single":        "bond0 is healthy: traffic on eth0",
		"many":          "bond0 is degraded: enp4s0f1 has no link, enp5s0f1 is left out, enp6s0f1 is missing, enp7s0f1 is held out",
		"several":       "bond2 is down: eth4 and eth5 have no link",
	}
	for _, shape := range fixture.Shapes() {
		if got := status.From(shape.Snapshot).Headline(); got != want[shape.Name] {
			t.Errorf("%s: %q, want %q", shape.Name, got, want[shape.Name])
		}
	}

	two := fixture.Several()
	two.Bonds = two.Bonds[:1]
	second := two.Bonds[0]
	second.Name = "bond1"
	two.Bonds = append(two.Bonds, second)
	if got, want := status.From(two).Headline(), "bond0 and bond1 are healthy"; got != want {
		t.Errorf("two healthy bonds: %q, want %q", got, want)
	}
}

func TestSlaveRoleAndWord(t *testing.T) {
	dead, alive := false, true
	good := status.Slave{Present: true, Enslaved: true, LinkUp: true, State: "backup", MIIStatus: "up"}
	for _, tt := range []struct {
		word   string
		role   status.Role
		change func(*status.Slave)
	}{
		{"ready", status.Backup, func(*status.Slave) {}},
		{"ready", status.Backup, func(s *status.Slave) { s.PathUp = &alive }},
		{"carries traffic", status.Active, func(s *status.Slave) { s.State = "active" }},
		{"coming back", status.Backup, func(s *status.Slave) { s.MIIStatus = "going back" }},
		{"no link", status.Out, func(s *status.Slave) { s.LinkUp, s.State = false, "active" }},
		{"path is dead", status.Out, func(s *status.Slave) { s.PathUp = &dead }},
		{"held out", status.Out, func(s *status.Slave) { s.Suppressed = true }},
		{"left out", status.Out, func(s *status.Slave) { s.Enslaved, s.LeftOut = false, "its chipset is another" }},
		{"not in the bond", status.Out, func(s *status.Slave) { s.Enslaved = false }},
		{"missing", status.Missing, func(s *status.Slave) { *s = status.Slave{State: "backup"} }},
	} {
		s := good
		tt.change(&s)
		if s.Word() != tt.word || s.Role() != tt.role {
			t.Errorf("%+v: %q and %q, want %q and %q", s, s.Word(), s.Role(), tt.word, tt.role)
		}
	}
}

func TestSettled(t *testing.T) {
	before := fixture.Healthy()
	traffic := fixture.Healthy()
	traffic.Time = traffic.Time.Add(time.Second)
	traffic.Bonds[0].Counters.RxPackets++
	traffic.Bonds[0].Slaves[0].Counters.RxPackets++
	if diff := cmp.Diff(settled(t, before), settled(t, traffic)); diff != "" {
		t.Errorf("traffic alone is a change:\n%s", diff)
	}
	if settled(t, before) == settled(t, fixture.Degraded()) {
		t.Error("a lost link is no change")
	}
	if st := status.From(before); st.Settled().Time.Equal(st.Time) || st.Bonds[0].Slaves[0].Counters.RxPackets == 0 {
		t.Error("Settled changed its receiver")
	}
}

func settled(t *testing.T, s *state.Snapshot) string {
	t.Helper()
	text, err := json.MarshalIndent(status.From(s).Settled(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFigures(t *testing.T) {
	for got, want := range map[string]string{
		status.Bytes(0):                      "0 B",
		status.Bytes(999):                    "999 B",
		status.Bytes(1000):                   "1.00 kB",
		status.Bytes(9994):                   "9.99 kB",
		status.Bytes(9996):                   "10.0 kB",
		status.Bytes(999_400):                "999 kB",
		status.Bytes(999_600):                "1.00 MB",
		status.Bytes(21_783_100_542):         "21.8 GB",
		status.Bytes(1<<64 - 1):              "18.4 EB",
		status.Megabits(10):                  "10 Mbit/s",
		status.Megabits(1000):                "1 Gbit/s",
		status.Megabits(2500):                "2.5 Gbit/s",
		status.Took(0.00085):                 "0.85 ms",
		status.Took(0.0632):                  "63.2 ms",
		status.Took(1.2):                     "1.20 s",
		status.Ago(-time.Hour):               "just now",
		status.Ago(59 * time.Second):         "59 s ago",
		status.Ago(119 * time.Second):        "1 min ago",
		status.Ago(47 * time.Hour):           "47 h ago",
		status.Ago(49 * time.Hour):           "2 days ago",
		status.List(nil):                     "",
		status.List([]string{"a"}):           "a",
		status.List([]string{"a", "b", "c"}): "a, b and c",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
