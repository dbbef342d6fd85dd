package hwprobe

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// card is a PCI card on a device of its own, with an option ROM and an address of its own.
func card(name, driver, id, address string) NIC {
	return NIC{Name: name, Driver: driver, PCIID: id, Bus: "pci", Address: address, OptionROM: ptr(true), PermanentMAC: "52:54:00:00:00:" + address[5:7]}
}

func edit(n NIC, change func(*NIC)) NIC {
	change(&n)
	return n
}

var (
	e0    = card("eth0", "e1000", "8086:100e", "0000:03:00.0")
	e1    = card("eth1", "e1000", "8086:100e", "0000:04:00.0")
	e1b   = edit(card("eth1", "e1000", "8086:100e", "0000:03:00.1"), func(n *NIC) { n.PermanentMAC = "52:54:00:00:00:99" })
	e1new = card("eth1", "e1000", "8086:1004", "0000:04:00.0")
	r1    = card("eth1", "8139too", "10ec:8139", "0000:05:00.0")
	r2    = card("eth2", "8139too", "10ec:8139", "0000:06:00.0")
	v0    = NIC{Name: "veth0", Driver: "veth", Bus: "virtual", PermanentMAC: "02:00:00:00:00:01"}
	v1    = NIC{Name: "veth1", Driver: "veth", Bus: "virtual", PermanentMAC: "02:00:00:00:00:02"}
	noROM = func(n *NIC) { n.OptionROM = ptr(false) }
)

func TestJudge(t *testing.T) {
	alike := []string{
		"pass driver: eth0 and eth1 have the same driver, e1000",
		"pass chipset: eth0 and eth1 have the same chipset, 8086:100e",
	}
	own := "pass own-device: eth0 and eth1 are separate devices"
	fate := "pass shared-fate: eth0 and eth1 share no PCIe switch, root port or USB hub"
	rom := "pass option-rom: eth0 and eth1 each have an option ROM of their own"
	macs := "pass permanent-mac: eth0 and eth1 each have an address of their own"
	for _, test := range []struct {
		name     string
		nics     []NIC
		policy   Policy
		members  []string
		verdict  Verdict
		findings []string
		fit      []string
	}{
		{
			name: "a pair, chosen by itself", nics: []NIC{e0, e1},
			verdict: VerdictPass, fit: []string{"eth0", "eth1"},
			findings: append(alike[:2:2], own, fate, rom, macs),
		},
		{
			name: "a pair, named in another order and twice", nics: []NIC{e0, e1}, members: []string{"eth1", "pci:03:00.0", "eth1"},
			verdict: VerdictPass, fit: []string{"eth1", "eth0"},
			findings: []string{
				"pass driver: eth1 and eth0 have the same driver, e1000",
				"pass chipset: eth1 and eth0 have the same chipset, 8086:100e",
				"pass own-device: eth1 and eth0 are separate devices",
				"pass shared-fate: eth1 and eth0 share no PCIe switch, root port or USB hub",
				"pass option-rom: eth1 and eth0 each have an option ROM of their own",
				"pass permanent-mac: eth1 and eth0 each have an address of their own",
			},
		},
		{
			name: "two models, named, enforce", nics: []NIC{e0, r1}, members: []string{"eth0", "eth1"},
			verdict: VerdictFail, fit: []string{"eth0"},
			findings: []string{
				`fail driver: eth1 (8139too, 10ec:8139) is left out: the first slave eth0 is e1000 8086:100e, and policy "enforce" asks for the same chipset and driver`,
				"warn count: eth0 is the only slave: there is nothing to fail over to until a second card joins it",
			},
		},
		{
			name: "two models, chosen by itself", nics: []NIC{e0, r1},
			verdict: VerdictFail, fit: []string{"eth0"},
			findings: []string{
				`fail driver: eth1 (8139too, 10ec:8139) is left out: the first card eth0 is e1000 8086:100e, and policy "enforce" asks for the same chipset and driver`,
				"warn count: eth0 is the only slave: there is nothing to fail over to until a second card joins it",
			},
		},
		{
			name: "two models, warn", nics: []NIC{e0, r1}, policy: Policy{Mode: Warn}, members: []string{"eth0", "eth1"},
			verdict: VerdictWarn, fit: []string{"eth0", "eth1"},
			findings: []string{
				"warn driver: eth1 (8139too, 10ec:8139) differs from the first slave, eth0 (e1000, 8086:100e): the cards of a bond should have the same chipset and driver",
				own, fate, rom, macs,
			},
		},
		{
			name: "two models, off", nics: []NIC{e0, r1}, policy: Policy{Mode: Off},
			verdict: VerdictPass, fit: []string{"eth0", "eth1"},
			findings: []string{
				"info driver: eth1 (8139too, 10ec:8139) differs from the first card, eth0 (e1000, 8086:100e): the cards of a bond should have the same chipset and driver",
				own, fate, rom, macs,
			},
		},
		{
			name: "one driver, two chips, match chipset", nics: []NIC{e0, e1new}, members: []string{"eth0", "eth1"},
			verdict: VerdictFail, fit: []string{"eth0"},
			findings: []string{
				`fail chipset: eth1 (e1000, 8086:1004) is left out: the first slave eth0 is e1000 8086:100e, and policy "enforce" asks for the same chipset and driver`,
				"warn count: eth0 is the only slave: there is nothing to fail over to until a second card joins it",
			},
		},
		{
			name: "one driver, two chips, warn", nics: []NIC{e0, e1new}, policy: Policy{Mode: Warn}, members: []string{"eth0", "eth1"},
			verdict: VerdictWarn, fit: []string{"eth0", "eth1"},
			findings: []string{
				"warn chipset: eth1 (e1000, 8086:1004) differs from the first slave, eth0 (e1000, 8086:100e): the cards of a bond should have the same chipset and driver",
				alike[0], own, fate, rom, macs,
			},
		},
		{
			name: "one driver, two chips, match driver", nics: []NIC{e0, e1new}, policy: Policy{Match: MatchDriver}, members: []string{"eth0", "eth1"},
			verdict: VerdictPass, fit: []string{"eth0", "eth1"},
			findings: []string{alike[0], own, fate, rom, macs},
		},
		{
			name: "the pair is found behind another card, whose kind is of no concern", nics: []NIC{e0, r1, r2},
			verdict: VerdictPass, fit: []string{"eth1", "eth2"},
			findings: []string{
				"info driver: eth0 (e1000, 8086:100e) is not part of the bond: it does not match eth1 and eth2, 8139too 10ec:8139",
				"pass driver: eth1 and eth2 have the same driver, 8139too",
				"pass chipset: eth1 and eth2 have the same chipset, 10ec:8139",
				"pass own-device: eth1 and eth2 are separate devices",
				"pass shared-fate: eth1 and eth2 share no PCIe switch, root port or USB hub",
				"pass option-rom: eth1 and eth2 each have an option ROM of their own",
				"pass permanent-mac: eth1 and eth2 each have an address of their own",
			},
		},
		{
			name: "two ports of one card", nics: []NIC{e0, e1b},
			verdict: VerdictWarn, fit: []string{"eth0", "eth1"},
			findings: append(alike[:2:2],
				"warn own-device: eth0 and eth1 are ports of one card (pci 0000:03:00): if the card fails, all of them fail; use cards of their own", rom, macs),
		},
		{
			name: "a ROM on one of two", nics: []NIC{e0, edit(e1, noROM)},
			verdict: VerdictWarn, fit: []string{"eth0", "eth1"},
			findings: append(alike[:2:2], own, fate,
				"warn option-rom: no option ROM on eth1, but one on eth0: each card should have its own", macs),
		},
		{
			name: "a ROM on one of two, off", nics: []NIC{e0, edit(e1, noROM)}, policy: Policy{Mode: Off},
			verdict: VerdictPass, fit: []string{"eth0", "eth1"},
			findings: append(alike[:2:2], own, fate,
				"info option-rom: no option ROM on eth1, but one on eth0: each card should have its own", macs),
		},
		{
			name: "no ROM at all", nics: []NIC{edit(e0, noROM), edit(e1, noROM)},
			verdict: VerdictPass, fit: []string{"eth0", "eth1"},
			findings: append(alike[:2:2], own, fate,
				"info option-rom: no option ROM on eth0 and eth1: they cannot boot from the network; bonding does not need it", macs),
		},
		{
			name: "one permanent address twice", nics: []NIC{e0, edit(e1, func(n *NIC) { n.PermanentMAC = e0.PermanentMAC })},
			verdict: VerdictWarn, fit: []string{"eth0", "eth1"},
			findings: append(alike[:2:2], own, fate, rom,
				"warn permanent-mac: eth0 and eth1 have the same permanent address 52:54:00:00:00:03: each card should have its own"),
		},
		{
			name: "a slave is missing", nics: []NIC{e0, e1}, members: []string{"eth7", "eth0", "eth1"},
			verdict: VerdictWarn, fit: []string{"eth0", "eth1"},
			findings: append([]string{"warn missing: eth7 is configured as a slave, but there is no such Ethernet card in this machine; it has eth0 and eth1"},
				append(alike[:2:2], own, fate, rom, macs)...),
		},
		{
			name: "every slave is missing", nics: []NIC{e0}, members: []string{"mac:02:00:00:00:00:0f"}, policy: Policy{Mode: Off},
			verdict: VerdictFail, fit: []string{},
			findings: []string{
				"warn missing: mac:02:00:00:00:00:0f is configured as a slave, but there is no such Ethernet card in this machine; it has eth0",
				"fail no-nic: none of the configured slaves is in this machine",
			},
		},
		{
			name: "no card", verdict: VerdictFail, fit: []string{},
			findings: []string{"fail no-nic: there is no Ethernet card in this machine, or no driver for it"},
		},
		{
			name: "one card", nics: []NIC{e0},
			verdict: VerdictWarn, fit: []string{"eth0"},
			findings: []string{"warn count: eth0 is the only slave: there is nothing to fail over to until a second card joins it"},
		},
		{
			name: "virtual NICs are judged by driver, if named", nics: []NIC{e0, v0, v1}, members: []string{"veth0", "veth1"},
			verdict: VerdictPass, fit: []string{"veth0", "veth1"},
			findings: []string{
				"pass driver: veth0 and veth1 have the same driver, veth",
				"info chipset: veth0 and veth1 have no chipset to compare, only their driver",
				"info own-device: veth0 and veth1 are not all hardware: whether they fail together is not known",
				"pass permanent-mac: veth0 and veth1 each have an address of their own",
			},
		},
		{
			name: "virtual NICs are never chosen", nics: []NIC{v0, v1},
			verdict: VerdictFail, fit: []string{},
			findings: []string{"fail no-nic: there is no Ethernet card in this machine, or no driver for it"},
		},
		{
			name: "unknown drivers match nothing", members: []string{"eth0", "eth1"},
			nics:    []NIC{edit(e0, func(n *NIC) { n.Driver = "" }), edit(e1, func(n *NIC) { n.Driver = "" })},
			verdict: VerdictFail, fit: []string{"eth0"},
			findings: []string{
				`fail driver: eth1 (unknown driver, 8086:100e) is left out: the first slave eth0 is unknown driver 8086:100e, and policy "enforce" asks for the same chipset and driver`,
				"warn count: eth0 is the only slave: there is nothing to fail over to until a second card joins it",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := Judge(test.nics, test.policy, test.members)
			if diff := cmp.Diff(test.findings, sentences(r)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if r.Verdict != test.verdict {
				t.Errorf("verdict = %s, want %s", r.Verdict, test.verdict)
			}
			if diff := cmp.Diff(test.fit, r.Members); diff != "" {
				t.Errorf("members (-want +got):\n%s", diff)
			}
		})
	}
}

// sentences are the findings as text.
func sentences(r Report) []string {
	got := []string{}
	for _, f := range r.Findings {
		got = append(got, string(f.Severity)+" "+f.Check+": "+f.Message)
	}
	return got
}

func TestReportListsHardwareAndNamedVirtualNICs(t *testing.T) {
	r := Judge([]NIC{e0, v0, v1}, Policy{}, []string{"veth1"})
	if diff := cmp.Diff([]string{"eth0", "veth1"}, names(r.NICs)); diff != "" {
		t.Errorf("NICs (-want +got):\n%s", diff)
	}
}

func TestGroup(t *testing.T) {
	for _, test := range []struct {
		name  string
		nics  []NIC
		match Match
		want  []string
	}{
		{"none", nil, MatchChipset, []string{}},
		{"only virtual", []NIC{v0, v1}, MatchChipset, []string{}},
		{"one", []NIC{e0}, MatchChipset, []string{"eth0"}},
		{"no two alike", []NIC{e0, r1}, MatchChipset, []string{"eth0"}},
		{"second group", []NIC{e0, r1, r2}, MatchChipset, []string{"eth1", "eth2"}},
		{"same driver only, by chipset", []NIC{e0, e1new}, MatchChipset, []string{"eth0"}},
		{"same driver only, by driver", []NIC{e0, e1new}, MatchDriver, []string{"eth0", "eth1"}},
	} {
		if diff := cmp.Diff(test.want, Group(test.nics, test.match)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestResolve(t *testing.T) {
	unknown := NIC{Name: "eth5", Bus: "pci", Address: "0000:07:00.0"}
	nics := []NIC{e0, e1, unknown, {Name: "eth6", Bus: "usb", Address: "0000:08:00.0"}}
	for _, test := range []struct{ ref, want string }{
		{"eth1", "eth1"},
		{"eth9", ""},
		{"mac:52:54:00:00:00:04", "eth1"},
		{"mac:52-54-00-00-00-03", "eth0"},
		{"mac:", ""},
		{"mac:nonsense", ""},
		{"pci:0000:04:00.0", "eth1"},
		{"pci:04:00.0", "eth1"},
		{"pci:0001:04:00.0", ""},
		{"pci:07:00.0", "eth5"},
		{"pci:08:00.0", ""},
		{"pci:", ""},
		{"", ""},
	} {
		name, ok := Resolve(nics, test.ref)
		if name != test.want || ok != (test.want != "") {
			t.Errorf("Resolve(%q) = %q, %t, want %q", test.ref, name, ok, test.want)
		}
	}
}

// TestReportJSON holds the field names that the API promises.
func TestReportJSON(t *testing.T) {
	nic := edit(e0, func(n *NIC) {
		n.Firmware, n.SupportedMbps, n.SpeedMbps, n.Duplex, n.LinkUp = "1.2", []int{10, 100}, ptr(100), "full", ptr(true)
	})
	bare := NIC{Name: "eth1", Driver: "e1000", Bus: "virtual", SupportedMbps: []int{}}
	got, err := json.MarshalIndent(Report{
		Verdict:  VerdictWarn,
		Findings: []Finding{{Check: CheckCount, Severity: SeverityWarn, Message: "alone"}},
		NICs:     []NIC{nic, bare},
		Members:  []string{"eth0"},
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "verdict": "warn",
 "findings": [
  {
   "check": "count",
   "severity": "warn",
   "message": "alone"
  }
 ],
 "nics": [
  {
   "name": "eth0",
   "driver": "e1000",
   "firmware": "1.2",
   "pci_id": "8086:100e",
   "bus": "pci",
   "address": "0000:03:00.0",
   "permanent_mac": "52:54:00:00:00:03",
   "option_rom": true,
   "supported_mbps": [
    10,
    100
   ],
   "speed_mbps": 100,
   "duplex": "full",
   "link_up": true
  },
  {
   "name": "eth1",
   "driver": "e1000",
   "firmware": "",
   "pci_id": "",
   "bus": "virtual",
   "permanent_mac": "",
   "option_rom": null,
   "supported_mbps": [],
   "speed_mbps": null,
   "duplex": "",
   "link_up": null
  }
 ],
 "members": [
  "eth0"
 ]
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestReportJSONHasNoNullLists(t *testing.T) {
	got, err := json.Marshal(Judge(nil, Policy{}, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{`"findings":[`, `"nics":[]`, `"members":[]`} {
		if !strings.Contains(string(got), list) {
			t.Errorf("%s lacks %s", got, list)
		}
	}
}

func TestWriteText(t *testing.T) {
	up := edit(e0, func(n *NIC) {
		n.LinkUp, n.SpeedMbps, n.Duplex, n.SupportedMbps = ptr(true), ptr(1000), "full", []int{10, 100, 1000}
		n.Vendor, n.Model = "Intel Corporation", "82540EM Gigabit Ethernet Controller"
	})
	down := edit(r1, func(n *NIC) { n.LinkUp, n.PermanentMAC, n.OptionROM = ptr(false), "", ptr(false) })
	var b strings.Builder
	if err := Judge([]NIC{up, down}, Policy{}, []string{"eth0", "eth1"}).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `verdict: fail; may be bonded: eth0

FAIL  driver: eth1 (8139too, 10ec:8139) is left out: the first slave eth0 is e1000 8086:100e, and
      policy "enforce" asks for the same chipset and driver
      means: cards of different drivers differ in what they offload, in how soon they see a link,
             and in their faults
      do:    use cards of one model

WARN  count: eth0 is the only slave: there is nothing to fail over to until a second card joins it
      means: one fault in the card, the cable or the switch's port takes the machine off the network
      do:    add a second card

NIC   DRIVER   FIRMWARE  BUS  ADDRESS       ID         REV  PERMANENT MAC      ROM  LINK       CAN DO (Mb/s)  MODEL
eth0  e1000    -         pci  0000:03:00.0  8086:100e  -    52:54:00:00:00:03  yes  1000 full  10/100/1000    Intel Corporation 82540EM Gigabit Ethernet Controller
eth1  8139too  -         pci  0000:05:00.0  10ec:8139  -    -                  no   no link    -              -
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestWriteTextWithoutNICs(t *testing.T) {
	var b strings.Builder
	if err := Judge(nil, Policy{}, nil).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `verdict: fail; may be bonded: none

FAIL  no-nic: there is no Ethernet card in this machine, or no driver for it
      means: the machine cannot be reached
      do:    put a card in, or use a kernel with the driver for it
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestMerge(t *testing.T) {
	bond0 := Judge([]NIC{e0, r1, v0}, Policy{}, []string{"eth0", "eth1"})
	bond1 := Judge([]NIC{e0, r1, v0}, Policy{Mode: Warn}, []string{"veth0"})
	got := Merge(bond1, bond0, bond0)
	if got.Verdict != VerdictFail {
		t.Errorf("verdict = %s, want the worst, fail", got.Verdict)
	}
	if want := len(bond0.Findings) + len(bond1.Findings); len(got.Findings) != want {
		t.Errorf("%d findings, want %d, each once: %v", len(got.Findings), want, got.Findings)
	}
	if diff := cmp.Diff([]string{"eth0", "eth1", "veth0"}, names(got.NICs)); diff != "" {
		t.Errorf("NICs (-want +got):\n%s", diff)
	}
	want := map[string]string{"eth1": `eth1 (8139too, 10ec:8139) is left out: the first slave eth0 is e1000 8086:100e, and policy "enforce" asks for the same chipset and driver`}
	if diff := cmp.Diff(want, got.LeftOut); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if got := Merge(); got.Verdict != VerdictPass || got.Findings == nil || got.NICs == nil {
		t.Errorf("merge of nothing = %+v, want an empty report that passes", got)
	}
}
