package hwprobe

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTroublesAreWellFormed holds the table to its own rules.
func TestTroublesAreWellFormed(t *testing.T) {
	id := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+$`)
	chip := regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{4}$`)
	revision := regexp.MustCompile(`^[0-9a-f]{2}$`)
	conditions := []Condition{"", NeedsASPM, NeedsASPML1, NeedsEEE, NeedsSleep}
	var seen []string
	for _, row := range Troubles() {
		if !id.MatchString(row.ID) || slices.Contains(seen, row.ID) {
			t.Errorf("%q: not an id of its own", row.ID)
		}
		seen = append(seen, row.ID)
		for what, text := range map[string]string{"cards": row.Cards, "symptom": row.Symptom, "do": row.Do} {
			if text == "" || strings.HasSuffix(text, ".") || strings.TrimSpace(text) != text {
				t.Errorf("%s: %s is %q, want a sentence without its full stop", row.ID, what, text)
			}
		}
		if len(row.Chips) == 0 {
			t.Errorf("%s: no chips", row.ID)
		}
		for i, c := range row.Chips {
			if !chip.MatchString(c) || slices.Contains(row.Chips[:i], c) {
				t.Errorf("%s: chip %q", row.ID, c)
			}
		}
		for _, r := range row.Revisions {
			if !revision.MatchString(r) {
				t.Errorf("%s: revision %q", row.ID, r)
			}
		}
		if !slices.Contains(conditions, row.Needs) {
			t.Errorf("%s: condition %q", row.ID, row.Needs)
		}
		for _, version := range []string{row.Since, row.Mended} {
			if _, ok := parseVersion(version); version != "" && !ok {
				t.Errorf("%s: version %q", row.ID, version)
			}
		}
		if len(row.Sources) == 0 {
			t.Errorf("%s: no source", row.ID)
		}
		for _, source := range row.Sources {
			if u, err := url.Parse(source); err != nil || u.Scheme != "https" || u.Host == "" || len(u.Path) < 2 {
				t.Errorf("%s: source %q: %v", row.ID, source, err)
			}
		}
	}
}

func TestTroubleOf(t *testing.T) {
	i225 := NIC{Driver: "igc", PCIID: "8086:15f3", Revision: "03", DriverVersion: "6.12.5-bondd"}
	row := Trouble{Driver: "igc", Chips: []string{"8086:15f3"}}
	for _, test := range []struct {
		name   string
		change func(*Trouble, *NIC)
		want   certainty
	}{
		{"the kind of card", func(*Trouble, *NIC) {}, maybe},
		{"another chip", func(_ *Trouble, n *NIC) { n.PCIID = "8086:125c" }, no},
		{"another driver", func(_ *Trouble, n *NIC) { n.Driver = "vfio-pci" }, no},
		{"a USB card", func(r *Trouble, n *NIC) { *r, *n = Trouble{Chips: []string{"0bda:8153"}}, NIC{USBID: "0bda:8153"} }, maybe},
		{"the revision", func(r *Trouble, _ *NIC) { r.Revisions = []string{"01", "03"} }, certainly},
		{"another revision", func(r *Trouble, _ *NIC) { r.Revisions = []string{"01"} }, no},
		{"an unknown revision", func(r *Trouble, n *NIC) { r.Revisions, n.Revision = []string{"01"}, "" }, unread},
		{"ASPM on", func(r *Trouble, n *NIC) { r.Needs, n.ASPM = NeedsASPM, &ASPM{Enabled: []string{"L1"}} }, certainly},
		{"ASPM off", func(r *Trouble, n *NIC) { r.Needs, n.ASPM = NeedsASPM, &ASPM{} }, no},
		{"ASPM unknown", func(r *Trouble, _ *NIC) { r.Needs = NeedsASPM }, unread},
		{"L1.2 on", func(r *Trouble, n *NIC) { r.Needs, n.ASPM = NeedsASPML1, &ASPM{Enabled: []string{"L1", "L1.2"}} }, certainly},
		{"only L1 on", func(r *Trouble, n *NIC) { r.Needs, n.ASPM = NeedsASPML1, &ASPM{Enabled: []string{"L1"}} }, no},
		{"EEE on", func(r *Trouble, n *NIC) { r.Needs, n.EEE = NeedsEEE, &EEE{Enabled: true} }, certainly},
		{"EEE off", func(r *Trouble, n *NIC) { r.Needs, n.EEE = NeedsEEE, &EEE{} }, no},
		{"may sleep", func(r *Trouble, n *NIC) { r.Needs, n.PowerControl = NeedsSleep, "auto" }, certainly},
		{"may not sleep", func(r *Trouble, n *NIC) { r.Needs, n.PowerControl = NeedsSleep, "on" }, no},
		{"the revision, but EEE is off", func(r *Trouble, n *NIC) {
			r.Revisions, r.Needs, n.EEE = []string{"03"}, NeedsEEE, &EEE{}
		}, no},
		{"a kernel before", func(r *Trouble, _ *NIC) { r.Since = "6.12.6" }, no},
		{"the first kernel", func(r *Trouble, _ *NIC) { r.Since = "6.12.5" }, maybe},
		{"a mended kernel", func(r *Trouble, _ *NIC) { r.Mended = "6.12.5" }, no},
		{"the last kernel", func(r *Trouble, _ *NIC) { r.Since, r.Mended = "5.1", "6.13" }, maybe},
		{"an unknown kernel", func(r *Trouble, n *NIC) { r.Since, n.DriverVersion = "5.1", "" }, unread},
		{"a driver with a version of its own", func(r *Trouble, n *NIC) { r.Since, n.DriverVersion = "5.1", "v1" }, unread},
	} {
		r, n := row, i225
		test.change(&r, &n)
		if got := r.of(n); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// TestTroubleNeverKeepsACardOut has two cards with every trouble of their kind, under the strictest policy.
func TestTroubleNeverKeepsACardOut(t *testing.T) {
	for _, row := range Troubles() {
		n := NIC{
			Name: "eth0", Driver: row.Driver, Bus: "pci", Address: "0000:03:00.0", PCIID: row.Chips[0], PermanentMAC: "00:00:5e:00:53:01",
			ASPM: &ASPM{Enabled: []string{"L1", "L1.2"}}, EEE: &EEE{Enabled: true}, PowerControl: "auto", DriverVersion: "99.0",
		}
		if len(row.Revisions) > 0 {
			n.Revision = row.Revisions[0]
		}
		if n.Driver == "" {
			n.Driver = "r8125"
		}
		m := n
		m.Name, m.Address, m.PermanentMAC = "eth1", "0000:04:00.0", "00:00:5e:00:53:02"
		r := Judge([]NIC{n, m}, Policy{}, nil)
		if len(r.Members) != 2 || r.Verdict == VerdictFail {
			t.Errorf("%s: verdict %s, members %v, want both", row.ID, r.Verdict, r.Members)
		}
		i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Row == row.ID })
		if i < 0 {
			t.Errorf("%s is not found: %v", row.ID, r.Findings)
			continue
		}
		f := r.Findings[i]
		want := SeverityInfo
		if row.Needs != "" || len(row.Revisions) > 0 {
			want = SeverityWarn
		}
		if f.Severity != want || f.Check != CheckKnownTrouble || f.Do != row.Do || len(f.Sources) == 0 || len(f.NICs) != 2 {
			t.Errorf("%s: finding %+v", row.ID, f)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for _, test := range []struct {
		release string
		want    []int
		ok      bool
	}{
		{"6.12.117-bondd", []int{6, 12, 117}, true},
		{"6.13.0-0.rc3.20241218gitaef25be35d23.31.fc42.x86_64", []int{6, 13, 0}, true},
		{"5.10", []int{5, 10}, true},
		{"6.1-rc2", []int{6, 1}, true},
		{"6", []int{6}, false},
		{"", nil, false},
		{"v1.12.13", nil, false},
	} {
		got, ok := parseVersion(test.release)
		if !slices.Equal(got, test.want) || ok != test.ok {
			t.Errorf("parseVersion(%q) = %v, %t, want %v, %t", test.release, got, ok, test.want, test.ok)
		}
	}
}
