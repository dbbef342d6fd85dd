package report_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
)

// These names are relied upon by scripts: they may be added to, not changed.
func TestNamesInJSON(t *testing.T) {
	checkNames(t, report.From(fixture.Missing()), map[string]any{
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
		"bonds.0.slaves.0.detached":             false,
		"bonds.0.slaves.0.path_up":              true,
		"bonds.0.slaves.1.path_up":              nil,
		"bonds.0.slaves.0.state":                "active",
		"bonds.0.slaves.0.condition":            "active",
		"bonds.0.slaves.0.word":                 "carries traffic",
		"bonds.0.slaves.0.level":                "good",
		"bonds.0.slaves.0.sentence":             "eth0 carries traffic",
		"bonds.0.slaves.0.usable":               true,
		"bonds.0.slaves.1.condition":            "absent",
		"bonds.0.slaves.1.usable":               false,
		"bonds.0.problem":                       "mac:52:54:00:12:34:a7 is missing",
		"bonds.0.slaves.1.state":                nil,
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
		"config.warnings":                       []any{},

		"bonds.0.path_policy":                       "all",
		"bonds.0.chosen":                            "",
		"bonds.0.lacp":                              nil,
		"bonds.0.slaves.0.prio":                     0.0,
		"bonds.0.slaves.0.parked":                   false,
		"bonds.0.slaves.0.penalty":                  0.0,
		"bonds.0.slaves.0.reuse_at":                 nil,
		"bonds.0.slaves.0.reuse_in_seconds":         nil,
		"bonds.0.slaves.0.fast_link_down":           "not offered",
		"bonds.0.slaves.0.lacp":                     nil,
		"bonds.0.slaves.0.paths.0.target":           "192.168.1.1",
		"bonds.0.slaves.0.paths.0.state":            "up",
		"bonds.0.slaves.0.paths.0.rtt_seconds":      0.000412,
		"bonds.0.slaves.0.paths.0.answered":         548635.0,
		"bonds.0.slaves.0.paths.0.missed":           2.0,
		"bonds.0.slaves.0.paths.0.failed":           0.0,
		"bonds.0.slaves.1.paths":                    []any{},
		"failovers.0.seq":                           18.0,
		"failovers.1.reason":                        "link",
		"failovers.1.seconds.event_read_to_written": 0.00121,
	})
	checkNames(t, report.From(fixture.Detached()), map[string]any{
		"bonds.0.slaves.0.detached":   true,
		"bonds.0.slaves.0.link_up":    false,
		"bonds.0.slaves.0.mii_status": "up",
	})
	checkNames(t, report.From(fixture.PathDead()), map[string]any{
		"bonds.0.slaves.0.path_up":       false,
		"bonds.0.slaves.0.link_up":       true,
		"bonds.0.slaves.0.paths.0.state": "down",
	})
	checkNames(t, report.From(fixture.Degraded()), map[string]any{
		"bonds.0.slaves.1.state":         "backup",
		"bonds.0.slaves.1.path_up":       nil,
		"bonds.0.slaves.1.paths.0.state": "unknown",
	})
	checkNames(t, report.From(fixture.Suppressed()), map[string]any{
		"bonds.0.chosen":                    "eth1",
		"bonds.0.slaves.0.suppressed":       true,
		"bonds.0.slaves.0.penalty":          3.75,
		"bonds.0.slaves.0.reuse_at":         "2026-03-14T15:09:54.6Z",
		"bonds.0.slaves.0.reuse_in_seconds": 28.6,
		"bonds.0.slaves.0.prio":             10.0,
	})
	checkNames(t, report.From(fixture.Parked()), map[string]any{
		"bonds.0.slaves.1.parked": true,
		"bonds.0.slaves.1.state":  nil,
	})
	checkNames(t, report.From(fixture.HalfOpen()), map[string]any{
		"bonds.0.lacp.aggregator":             1.0,
		"bonds.0.lacp.ports":                  1.0,
		"bonds.0.lacp.actor_key":              9.0,
		"bonds.0.lacp.partner_key":            1001.0,
		"bonds.0.lacp.partner_mac":            "00:1b:21:3c:9d:f8",
		"bonds.0.slaves.0.fast_link_down":     "on",
		"bonds.0.slaves.0.lacp.aggregator":    1.0,
		"bonds.0.slaves.0.lacp.state":         "agreed",
		"bonds.0.slaves.0.lacp.problem":       "",
		"bonds.0.slaves.0.lacp.actor":         []any{"activity", "timeout", "aggregation", "synchronization", "collecting", "distributing"},
		"bonds.0.slaves.0.lacp.actor_churn":   "none",
		"bonds.0.slaves.1.lacp.state":         "half-open",
		"bonds.0.slaves.1.lacp.problem":       "the other end sends LACP, but does not hear this end's",
		"bonds.0.slaves.1.lacp.partner":       []any{"activity", "aggregation", "expired"},
		"bonds.0.slaves.1.lacp.partner_churn": "churned",
	})
}

func TestNamesInHistory(t *testing.T) {
	checkNames(t, report.HistoryFrom(fixture.PathDead(), "", state.MaxHistory), map[string]any{
		"failovers.0.seq":                                  19.0,
		"failovers.0.bond":                                 "bond0",
		"failovers.0.from":                                 "eth0",
		"failovers.0.to":                                   "eth1",
		"failovers.0.reason":                               "path",
		"failovers.0.cause":                                "nothing answers through eth0",
		"failovers.0.time":                                 "2026-03-14T15:09:25.9983Z",
		"failovers.0.before.0.active":                      true,
		"failovers.0.before.0.path_up":                     false,
		"failovers.0.after.1.active":                       true,
		"failovers.0.seconds.carrier_lost_to_event_read":   nil, // there was a carrier all the time
		"failovers.0.seconds.written_to_agreed":            nil,
		"failovers.0.seconds.event_read_to_decided":        0.000014,
		"failovers.2.carrier_lost":                         "2026-03-14T15:04:25.998705Z",
		"failovers.2.event_read":                           "2026-03-14T15:04:25.99879Z",
		"failovers.2.first_packet":                         "2026-03-14T15:04:26.00179Z",
		"failovers.2.seconds.carrier_lost_to_event_read":   0.000085,
		"failovers.2.seconds.event_read_to_decided":        0.00003,
		"failovers.2.seconds.decided_to_written":           0.00118,
		"failovers.2.seconds.event_read_to_written":        0.00121,
		"failovers.2.seconds.written_to_agreed":            0.00069,
		"failovers.2.seconds.written_to_first_packet":      0.00179,
		"failovers.2.seconds.carrier_lost_to_written":      0.001295,
		"failovers.2.seconds.carrier_lost_to_first_packet": 0.003085,
	})
}

// A clock that was set back between two moments says nothing about what lies
// between them.
func TestSpanOfAClockThatWasSetBack(t *testing.T) {
	s := fixture.Healthy()
	sw := *s.History[1]
	sw.FirstPacket = sw.CarrierLost.Add(-time.Hour)
	s.History = []*state.Failover{&sw}
	got := report.HistoryFrom(s, "", 1).Failovers[0].Seconds
	if got.CarrierLostToFirstPacket != nil || got.WrittenToFirstPacket != nil || got.EventReadToWritten == nil {
		t.Errorf("spans %+v", got)
	}
}

// checkNames compares values in a document's JSON with what is wanted there.
func checkNames(t *testing.T, v any, want map[string]any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for path, want := range want {
		if got := at(t, document, path); !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
}

// What a client decodes is what the server has.
func TestDecodesAsItEncodes(t *testing.T) {
	for _, shape := range fixture.Shapes() {
		want := report.From(shape.Snapshot)
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := new(report.Status)
		if err := json.Unmarshal(text, got); err != nil {
			t.Fatalf("%s: %v", shape.Name, err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s (-server +client):\n%s", shape.Name, diff)
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
	text, err := json.Marshal(report.From(&state.Snapshot{Bonds: []state.Bond{{Slaves: []state.Slave{{}}, Failovers: map[state.Reason]uint64{}}}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"findings", "nics", "bonds", "slaves", "addresses", "gateways", "drift", "warnings", "events", "paths", "failovers"} {
		if strings.Contains(string(text), `"`+list+`":null`) {
			t.Errorf("%s is null in %s", list, text)
		}
	}
}

func TestHeadline(t *testing.T) {
	want := map[string]string{
		"healthy":       "bond0 is healthy: traffic on eth0, eth1 ready",
		"degraded":      "bond0 is degraded: eth1 has no link",
		"down":          "bond0 is down: eth0 has no link, eth1 has no link",
		"missing":       "bond0 is degraded: mac:52:54:00:12:34:a7 is missing",
		"left-out":      "bond0 is degraded: eth1 is left out",
		"broken-config": "bond0 is healthy: traffic on eth0, eth1 ready",
		"no-nic":        "No bond: there is no Ethernet card to bond",
		"starting":      "No bond yet: the configuration is not applied",
		"broadcast":     "bond0 is healthy: every frame leaves on eth0 and eth1",
		"round-robin":   "bond0 is healthy: traffic shared by eth0 and eth1",
		"single":        "bond0 is degraded: eth0 is the only card: there is nothing to fail over to",
		"many":          "bond0 is degraded: enp3s0f1 has a link, but no path to 2001:db8:1234:5678::1, which answers other slaves: look at its cable, its switch port and the card itself, enp4s0f1 has no link, enp5s0f1 is left out, enp6s0f1 is missing, enp7s0f1 flaps and is held out",
		"several":       "bond2 is down: eth4 has no link, eth5 has no link",

		"detached":       "bond0 is degraded: eth0 is detached: its device no longer replies, although its interface is there; power cycle the machine, and replace the card if that does not help",
		"path-dead":      "bond0 is degraded: eth0 has a link, but no path to 192.168.1.1, which answers other slaves: look at its cable, its switch port and the card itself",
		"all-paths-dead": "bond0 is down: 192.168.1.1 answers no slave, fe80::5054:ff:fe12:1 answers no slave",
		"suppressed":     "bond0 is degraded: eth0 flaps and is held out",
		"parked":         "bond0 is degraded: eth1 has a link, but no path to 192.168.1.1, which answers other slaves: look at its cable, its switch port and the card itself; it is kept out of the bond until then",
		"lacp":           "bond0 is healthy: traffic shared by eth0 and eth1",
		"half-open":      "bond0 is degraded: eth1 is half open: the other end sends LACP, but does not hear this end's",
		"foreign":        "bond0 is healthy: traffic on eth0, eth1 ready",
		"deaf":           "bond0 is degraded: eth1 has MAC 02:00:00:00:00:99, and bond0 relies on 52:54:00:12:34:a0: it receives nothing",
		"driver-down":    "bond0 is degraded: eth1 has a link, but the bonding driver keeps it down: the speed of the link is not known, and mode balance-tlb needs it",
		"unproven":       "bond0 is healthy: traffic on eth0, eth1 ready",
		"no-partner":     "bond0 is degraded: no switch answers LACP: only one slave carries traffic",
	}
	for _, shape := range fixture.Shapes() {
		if got := report.From(shape.Snapshot).Headline(); got != want[shape.Name] {
			t.Errorf("%s: %q, want %q", shape.Name, got, want[shape.Name])
		}
	}

	two := fixture.Several()
	two.Bonds = two.Bonds[:1]
	second := two.Bonds[0]
	second.Name = "bond1"
	two.Bonds = append(two.Bonds, second)
	if got, want := report.From(two).Headline(), "bond0 and bond1 are healthy"; got != want {
		t.Errorf("two healthy bonds: %q, want %q", got, want)
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

	held := fixture.Suppressed()
	probes := fixture.Suppressed()
	probes.Time = probes.Time.Add(time.Second)
	eth0 := &probes.Bonds[0].Slaves[0]
	eth0.Penalty *= 0.9
	eth0.ReuseAt = eth0.ReuseAt.Add(3) // computed anew from the penalty, with its rounding
	for i := range probes.Bonds[0].Slaves {
		path := &probes.Bonds[0].Slaves[i].Paths[0]
		path.RTT *= 2
		path.Answered++
		path.Missed++
		path.Failed++
	}
	if diff := cmp.Diff(settled(t, held), settled(t, probes)); diff != "" {
		t.Errorf("probes and a penalty that decays are a change:\n%s", diff)
	}
	for name, other := range map[string]*state.Snapshot{"a dead path": fixture.PathDead(), "a slave that is held out": held, "a parked slave": fixture.Parked()} {
		if settled(t, before) == settled(t, other) {
			t.Errorf("%s is no change", name)
		}
	}
	if settled(t, fixture.LACP()) == settled(t, fixture.HalfOpen()) {
		t.Error("a half-open port is no change")
	}
	first := fixture.Healthy()
	first.History = first.History[1:]
	if settled(t, before) == settled(t, first) {
		t.Error("a switch is no change")
	}
	if settled(t, before) == settled(t, fixture.Degraded()) {
		t.Error("a lost link is no change")
	}
	if st := report.From(held); st.Settled() == nil || st.Bonds[0].Slaves[0].ReuseAt == nil || st.Bonds[0].Slaves[0].Paths[0].Answered == 0 {
		t.Error("Settled changed its receiver's slaves")
	}
	if st := report.From(before); st.Settled().Time.Equal(st.Time) || st.Bonds[0].Slaves[0].Counters.RxPackets == 0 {
		t.Error("Settled changed its receiver")
	}
}

func settled(t *testing.T, s *state.Snapshot) string {
	t.Helper()
	text, err := json.MarshalIndent(report.From(s).Settled(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFigures(t *testing.T) {
	for got, want := range map[string]string{
		report.Bytes(0):                      "0 B",
		report.Bytes(999):                    "999 B",
		report.Bytes(1000):                   "1.00 kB",
		report.Bytes(9994):                   "9.99 kB",
		report.Bytes(9996):                   "10.0 kB",
		report.Bytes(999_400):                "999 kB",
		report.Bytes(999_600):                "1.00 MB",
		report.Bytes(21_783_100_542):         "21.8 GB",
		report.Bytes(1<<64 - 1):              "18.4 EB",
		report.Megabits(10):                  "10 Mbit/s",
		report.Megabits(1000):                "1 Gbit/s",
		report.Megabits(2500):                "2.5 Gbit/s",
		report.Took(0.00085):                 "0.85 ms",
		report.Took(0.0632):                  "63.2 ms",
		report.Took(1.2):                     "1.20 s",
		report.Ago(-time.Hour):               "just now",
		report.Ago(59 * time.Second):         "59 s ago",
		report.Ago(119 * time.Second):        "1 min ago",
		report.Ago(47 * time.Hour):           "47 h ago",
		report.Ago(49 * time.Hour):           "2 days ago",
		report.List(nil):                     "",
		report.List([]string{"a"}):           "a",
		report.List([]string{"a", "b", "c"}): "a, b and c",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
