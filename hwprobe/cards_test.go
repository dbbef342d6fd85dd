package hwprobe

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// on puts a card behind bridges, whose addresses tell their kind: r a root port, u and d the ends of a switch, b a bridge.
func on(n NIC, bridges ...string) NIC {
	n.Path = nil
	for _, b := range bridges {
		role := map[byte]Role{'r': RootPort, 'u': SwitchUpstream, 'd': SwitchDownstream, 'b': PlainBridge}[b[0]]
		n.Path = append(n.Path, Bridge{Address: b, Role: role, PCIe: &PCIe{8, 4, 8, 4}})
	}
	return n
}

func usb(n NIC, controller string, hubs ...string) NIC {
	n.Bus, n.USB, n.PCIID, n.USBID, n.OptionROM = "usb", &USB{Controller: controller, Hubs: hubs}, "", "0bda:8153", nil
	return n
}

func TestSharedFate(t *testing.T) {
	e2 := card("eth2", "e1000", "8086:100e", "0000:05:00.0")
	group := func(n NIC, group string) NIC { n.IOMMUGroup = group; return n }
	for _, test := range []struct {
		name        string
		nics        []NIC
		want        []string
		independent int
	}{
		{"on the root bus", []NIC{e0, e1}, []string{"pass eth0 and eth1 share no PCIe switch, root port or USB hub"}, 2},
		{"two root ports", []NIC{on(e0, "r0"), on(e1, "r1")},
			[]string{"pass eth0 and eth1 share no PCIe switch, root port or USB hub"}, 2},
		{"one switch", []NIC{on(e0, "r0", "u0", "d0"), on(e1, "r0", "u0", "d1")},
			[]string{"warn eth0 and eth1 are behind one PCIe switch (u0)"}, 1},
		{"one bridge in one slot", []NIC{on(e0, "r0", "b0"), on(e1, "r0", "b0")},
			[]string{"warn eth0 and eth1 are behind one PCI bridge (b0)"}, 1},
		{"one root port", []NIC{on(e0, "r0"), on(e1, "r0")}, []string{"warn eth0 and eth1 are behind one root port (r0)"}, 1},
		{"two ports of one card in a slot: that is said already", []NIC{on(e0, "r0"), on(e1b, "r0")}, nil, 1},
		{"two on a switch, one beside it", []NIC{on(e0, "r0", "u0", "d0"), on(e1, "r0", "u0", "d1"), on(e2, "r1")},
			[]string{"warn eth0 and eth1 are behind one PCIe switch (u0)"}, 2},
		{"two on a switch behind a switch", []NIC{
			on(e0, "r0", "u0", "d0", "u1", "d2"), on(e1, "r0", "u0", "d0", "u1", "d3"), on(e2, "r0", "u0", "d1"),
		}, []string{
			"warn eth0, eth1 and eth2 are behind one PCIe switch (u0)", "warn eth0 and eth1 are behind one PCIe switch (u1)",
		}, 1},
		{"one USB hub", []NIC{usb(e0, "0000:00:14.0", "1-2"), usb(e1, "0000:00:14.0", "1-2")},
			[]string{"warn eth0 and eth1 hang on one USB hub (1-2)"}, 1},
		{"two USB hubs", []NIC{usb(e0, "0000:00:14.0", "1-2"), usb(e1, "0000:00:14.0", "1-3")},
			[]string{"info eth0 and eth1 hang on one USB host controller (0000:00:14.0)"}, 2},
		{"two hubs on one hub", []NIC{usb(e0, "0000:00:14.0", "1-2", "1-2.1"), usb(e1, "0000:00:14.0", "1-2", "1-2.2")},
			[]string{"warn eth0 and eth1 hang on one USB hub (1-2)"}, 1},
		{"two USB host controllers", []NIC{usb(e0, "0000:00:14.0"), usb(e1, "0000:00:1a.0")},
			[]string{"pass eth0 and eth1 share no PCIe switch, root port or USB hub"}, 2},
		{"a USB controller behind the same switch as a card", []NIC{
			on(e0, "r0", "u0", "d0"), on(usb(e1, "0000:07:00.0"), "r0", "u0", "d1"),
		}, []string{"warn eth0 and eth1 are behind one PCIe switch (u0)"}, 1},
		{"one IOMMU group", []NIC{group(on(e0, "r0"), "7"), group(on(e1, "r1"), "7")},
			[]string{"info eth0 and eth1 are in one IOMMU group (7)"}, 2},
		{"one IOMMU group behind one switch: that is said already", []NIC{
			group(on(e0, "r0", "u0", "d0"), "7"), group(on(e1, "r0", "u0", "d1"), "7"),
		}, []string{"warn eth0 and eth1 are behind one PCIe switch (u0)"}, 1},
		{"virtual", []NIC{v0, v1}, nil, 2},
	} {
		j := judge{}
		j.sharedFate(test.nics)
		var got []string
		for _, f := range j.findings {
			got = append(got, string(f.Severity)+" "+f.Message)
			if f.Severity != SeverityPass && (f.Means == "" || f.Do == "" || len(f.NICs) < 2) {
				t.Errorf("%s: incomplete finding %+v", test.name, f)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if n := len(independent(test.nics)); n != test.independent {
			t.Errorf("%s: %d independent, want %d", test.name, n, test.independent)
		}
	}
}

func TestCheckCards(t *testing.T) {
	speeds := func(mbps ...int) func(*NIC) { return func(n *NIC) { n.SupportedMbps = mbps } }
	link := func(gt float64, width int, maxGT float64, maxWidth int) func(*NIC) {
		return func(n *NIC) { n.PCIe = &PCIe{gt, width, maxGT, maxWidth} }
	}
	both := func(a, b NIC) []NIC { return []NIC{a, b} }
	for _, test := range []struct {
		name string
		nics []NIC
		want string
	}{
		{"equal revision and firmware", both(edit(e0, func(n *NIC) { n.Revision, n.Firmware = "03", "1.2" }),
			edit(e1, func(n *NIC) { n.Revision, n.Firmware = "03", "1.2" })),
			"pass revision: eth0 and eth1 have the same revision 03 and firmware 1.2"},
		{"two revisions", both(edit(e0, func(n *NIC) { n.Revision = "01" }), edit(e1, func(n *NIC) { n.Revision = "03" })),
			"warn revision: the cards are not of one revision: eth0 has 01, eth1 has 03"},
		{"two firmwares", both(edit(e0, func(n *NIC) { n.Firmware = "1.2" }), edit(e1, func(n *NIC) { n.Firmware = "1.3" })),
			"warn revision: the cards are not of one firmware: eth0 has 1.2, eth1 has 1.3"},
		{"two best modes", both(edit(e0, speeds(10, 1000)), edit(e1, speeds(1000, 2500))),
			"warn best-mode: the cards' best speeds differ: eth0 1000, eth1 2500 Mb/s"},
		{"one best mode", both(edit(e0, speeds(10, 1000)), edit(e1, speeds(100, 1000))),
			"pass best-mode: eth0 and eth1 can all do 1000 Mb/s"},
		{"no address", both(e0, edit(e1, func(n *NIC) { n.PermanentMAC = "00:00:00:00:00:00" })),
			"warn permanent-mac: eth1 has the address 00:00:00:00:00:00, which no card may have"},
		{"a group's address", both(e0, edit(e1, func(n *NIC) { n.PermanentMAC = "01:00:5e:00:00:01" })),
			"warn permanent-mac: eth1 has the address 01:00:5e:00:00:01, which no card may have"},
		{"a made-up address", both(e0, edit(e1, func(n *NIC) { n.RandomMAC, n.PermanentMAC = true, "d2:11:22:33:44:55" })),
			"warn permanent-mac: eth1 has no address of its own: the driver has made up d2:11:22:33:44:55, and makes up another at the next start"},
		{"a link too narrow for the card", both(edit(edit(e0, speeds(10000)), link(5, 1, 8, 4)), e1),
			"warn pcie-link: eth0 can do 10000 Mb/s, but its PCIe link carries 4000 Mb/s (5 GT/s x1 of 8 GT/s x4)"},
		{"a switch too narrow for the card", both(edit(edit(edit(e0, speeds(10000)), link(8, 4, 8, 4)), func(n *NIC) {
			n.Path = []Bridge{{Address: "r0", Role: RootPort, PCIe: &PCIe{8, 16, 8, 16}}, {Address: "u0", Role: SwitchUpstream, PCIe: &PCIe{5, 1, 5, 1}},
				{Address: "d0", Role: SwitchDownstream, PCIe: &PCIe{8, 4, 8, 4}}}
		}), e1), "warn pcie-link: eth0 can do 10000 Mb/s, but the PCIe link of the switch upstream port u0 carries 4000 Mb/s (8 GT/s x4)"},
		{"a card that is badly seated", both(edit(edit(on(e0, "r0"), speeds(1000)), link(2.5, 1, 2.5, 4)), e1),
			"info pcie-link: eth0 runs on 2.5 GT/s x1 of 2.5 GT/s x4, and both ends of its link could do more"},
		{"Amazon's card", both(edit(e0, func(n *NIC) { n.Driver = "ena" }), edit(e1, func(n *NIC) { n.Driver = "ena" })),
			"warn mac-change: the driver ena of eth0 cannot change the card's address"},
		{"a virtual function", both(edit(e0, func(n *NIC) { n.VirtualFunction = true }), e1),
			"info mac-change: eth0 is a virtual function: its host may forbid it to change its address"},
		{"a driver without carrier", both(e0, edit(e1, func(n *NIC) { n.CarrierReported = ptr(false) })),
			"warn carrier-report: the driver of eth1 does not tell whether there is a link"},
		{"a hypervisor's cards", both(edit(e0, func(n *NIC) { n.Driver = "virtio_net" }), edit(e1, func(n *NIC) { n.Driver = "virtio_net" })),
			"info carrier-report: eth0 and eth1 are cards made by a hypervisor: the link they show is not that of a cable"},
		{"what could not be read of two cards", both(edit(e0, func(n *NIC) { n.Unread = []string{"x: y"} }), edit(e1, func(n *NIC) { n.Unread = []string{"x: y"} })),
			"info unread: eth0 and eth1 could not be read in full: x: y"},
	} {
		got := sentences(Judge(test.nics, Policy{}, nil))
		if !slices.Contains(got, test.want) {
			t.Errorf("%s: findings lack %q:\n%s", test.name, test.want, strings.Join(got, "\n"))
		}
	}
}

// TestPCIeLinkThatSuffices finds nothing: a slow link that carries what the card can do, and one that could not be read.
func TestPCIeLinkThatSuffices(t *testing.T) {
	for _, link := range []*PCIe{nil, {}, {2.5, 1, 2.5, 1}, {2.5, 1, 8, 16}} {
		n := edit(e0, func(n *NIC) { n.PCIe, n.SupportedMbps = link, []int{1000} })
		n = on(n, "r0")
		n.Path[0].PCIe = &PCIe{2.5, 1, 2.5, 1} // the slot can do no more
		for _, f := range Judge([]NIC{n, e1}, Policy{}, nil).Findings {
			if f.Check == CheckPCIeLink {
				t.Errorf("link %+v: %s", link, f.Message)
			}
		}
	}
}

func TestChoices(t *testing.T) {
	fast := func(n NIC, mbps int) NIC { n.SupportedMbps = []int{mbps}; return n }
	for _, test := range []struct {
		name string
		nics []NIC
		want []string
		why  string
	}{
		{"the first of two pairs", []NIC{e0, e1, r1x("eth2", "06"), r1x("eth3", "07")}, []string{"eth0", "eth1"}, "they come first"},
		{"the pair that fails independently", []NIC{e0, e1b, r1x("eth2", "06"), r1x("eth3", "07")}, []string{"eth2", "eth3"},
			"they fail independently, and the others do not"},
		{"the faster pair", []NIC{fast(e0, 1000), fast(e1, 1000), fast(r1x("eth2", "06"), 2500), fast(r1x("eth3", "07"), 2500)},
			[]string{"eth2", "eth3"}, "they can do 2500 Mb/s, and the others 1000 Mb/s"},
		{"the first where a speed is unknown", []NIC{e0, e1, fast(r1x("eth2", "06"), 2500), fast(r1x("eth3", "07"), 2500)},
			[]string{"eth0", "eth1"}, "they come first"},
		{"an independent slow pair before a fast one on one card", []NIC{fast(e0, 10000), fast(e1b, 10000), fast(r1x("eth2", "06"), 100),
			fast(r1x("eth3", "07"), 100)}, []string{"eth2", "eth3"}, "they fail independently, and the others do not"},
	} {
		r := Judge(test.nics, Policy{}, nil)
		if diff := cmp.Diff(test.want, r.Members); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if len(r.Choices) != 2 || !slices.Equal(r.Choices[0].NICs, test.want) {
			t.Errorf("%s: choices %+v, want %v first", test.name, r.Choices, test.want)
		}
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool {
			return f.Check == CheckGroup && f.Severity == SeverityInfo && strings.HasSuffix(f.Message, test.why)
		}) {
			t.Errorf("%s: no finding says %q: %q", test.name, test.why, sentences(r))
		}
	}
}

// r1x is a card of Realtek's.
func r1x(name, bus string) NIC { return card(name, "8139too", "10ec:8139", "0000:"+bus+":00.0") }

// TestEveryFindingIsComplete: what is not well says what it means and what to do, and every check is in the list.
func TestEveryFindingIsComplete(t *testing.T) {
	for _, c := range Checks() {
		if c.Asks == "" || c.Means == "" || c.Do == "" {
			t.Errorf("check %s is incomplete", c.ID)
		}
	}
	var ids []string
	for _, c := range Checks() {
		if slices.Contains(ids, c.ID) {
			t.Errorf("check %s is listed twice", c.ID)
		}
		ids = append(ids, c.ID)
	}
}
