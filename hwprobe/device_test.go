package hwprobe

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bridge adds a PCI bridge below a folder and returns its folder. Without a speed it is no PCI Express device.
func (s tree) bridge(below, address, id, speed string, width int) string {
	dir := filepath.Join(below, address)
	s.device(dir, "pci", "pcieport")
	s.file(dir+"/vendor", "0x"+id[:4])
	s.file(dir+"/device", "0x"+id[5:])
	if speed != "" {
		s.pcie(dir, speed, width, speed, width)
	}
	return dir
}

func (s tree) pcie(dir, speed string, width int, maxSpeed string, maxWidth int) {
	s.file(dir+"/current_link_speed", speed)
	s.file(dir+"/current_link_width", strconv.Itoa(width))
	s.file(dir+"/max_link_speed", maxSpeed)
	s.file(dir+"/max_link_width", strconv.Itoa(maxWidth))
}

// describe reads one NIC.
func (s tree) describe(name string, index int) NIC {
	n := NIC{Bus: busVirtual}
	sysfs{os.DirFS(s.root)}.describe(Link{Name: name, Index: index}, &n)
	return n
}

func TestDescribePCIe(t *testing.T) {
	s := newTree(t)
	root := s.bridge("devices/pci0000:00", "0000:00:1c.0", "8086:54b0", "8.0 GT/s PCIe", 1)
	up := s.bridge(root, "0000:01:00.0", "1b21:1182", "5.0 GT/s PCIe", 1)
	down := s.bridge(up, "0000:02:03.0", "1b21:1182", "5.0 GT/s PCIe", 1)
	card := filepath.Join(down, "0000:03:00.0")
	s.pci(card, "igc", "8086:125c", true)
	s.pcie(card, "2.5 GT/s PCIe", 1, "5.0 GT/s PCIe", 4)
	s.file(card+"/revision", "0x04")
	s.file(card+"/label", "Embedded NIC 1")
	s.file(card+"/link/l1_aspm", "1")
	s.file(card+"/link/l1_2_aspm", "0")
	s.file(card+"/link/clkpm", "1") // no power state of the link
	s.file(card+"/aer_dev_correctable", "RxErr 0\nBadTLP 2\nBadDLLP 1\nTOTAL_ERR_COR 3")
	s.file(card+"/aer_dev_nonfatal", "Undefined 7\nCmpltTO 1\nTOTAL_ERR_NONFATAL 1")
	s.file(card+"/aer_dev_fatal", "Undefined 0\nTOTAL_ERR_FATAL 0")
	s.file(card+"/power/runtime_status", "active")
	s.file(card+"/power/control", "auto")
	s.link(card+"/iommu_group", "kernel/iommu_groups/16")
	s.link(card+"/physfn", root)
	s.file("bus/pci/slots/2/address", "0000:09:00")
	s.file("bus/pci/slots/12/address", "0000:03:00")
	s.iface("eth0", 7, card)
	s.dir(card + "/net/eth0/queues/rx-0")
	s.dir(card + "/net/eth0/queues/tx-0")
	s.dir(card + "/net/eth0/queues/tx-1")
	s.file(card+"/net/eth0/addr_assign_type", "1")

	got := s.describe("eth0", 7)
	want := NIC{
		Driver: "igc", Bus: "pci", Address: "0000:03:00.0", PCIID: "8086:125c", Subsystem: "1af4:1100", Revision: "04",
		Vendor: "Intel Corporation", Model: "Ethernet Controller I226-V",
		Path: []Bridge{
			{Address: "0000:00:1c.0", PCIID: "8086:54b0", Role: RootPort, PCIe: &PCIe{8, 1, 8, 1}},
			{Address: "0000:01:00.0", PCIID: "1b21:1182", Role: SwitchUpstream, PCIe: &PCIe{5, 1, 5, 1},
				Model: "ASM1182e 2-Port PCIe x1 Gen2 Packet Switch"},
			{Address: "0000:02:03.0", PCIID: "1b21:1182", Role: SwitchDownstream, PCIe: &PCIe{5, 1, 5, 1},
				Model: "ASM1182e 2-Port PCIe x1 Gen2 Packet Switch"},
		},
		PCIe: &PCIe{GTps: 2.5, Width: 1, MaxGTps: 5, MaxWidth: 4},
		ASPM: &ASPM{Enabled: []string{"L1"}, Supported: []string{"L1", "L1.2"}},
		AER:  &AER{Correctable: 3, NonFatal: 1, Kinds: map[string]int{"BadTLP": 2, "BadDLLP": 1, "CmpltTO": 1}},
		Slot: "12", Label: "Embedded NIC 1", IOMMUGroup: "16", VirtualFunction: true,
		Power: "active", PowerControl: "auto", RandomMAC: true, OptionROM: ptr(true), ROM: &ROM{Bytes: 1}, RXQueues: 1, TXQueues: 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("described (-want +got):\n%s", diff)
	}
}

// TestBridgeRoles gives bridges their roles by their order alone.
func TestBridgeRoles(t *testing.T) {
	const gen2 = "5.0 GT/s PCIe"
	for _, test := range []struct {
		name   string
		speeds []string // of the bridges, from the root; empty for one that is no PCI Express device
		want   []Role
	}{
		{"on the root bus", nil, nil},
		{"in a slot", []string{gen2}, []Role{RootPort}},
		{"behind a PCIe-to-PCI bridge", []string{gen2, gen2}, []Role{RootPort, PlainBridge}},
		{"behind a switch", []string{gen2, gen2, gen2}, []Role{RootPort, SwitchUpstream, SwitchDownstream}},
		{"behind a bridge behind a switch", []string{gen2, gen2, gen2, gen2},
			[]Role{RootPort, SwitchUpstream, SwitchDownstream, PlainBridge}},
		{"behind two switches", []string{gen2, gen2, gen2, gen2, gen2},
			[]Role{RootPort, SwitchUpstream, SwitchDownstream, SwitchUpstream, SwitchDownstream}},
		{"behind old PCI bridges", []string{"", ""}, []Role{PlainBridge, PlainBridge}},
	} {
		s := newTree(t)
		dir := "devices/pci0000:00"
		for i, speed := range test.speeds {
			dir = s.bridge(dir, "0000:0"+strconv.Itoa(i)+":00.0", "8086:0001", speed, 1)
		}
		s.pci(dir+"/0000:0f:00.0", "igc", "8086:125c", false)
		s.iface("eth0", 2, dir+"/0000:0f:00.0")
		var got []Role
		for _, b := range s.describe("eth0", 2).Path {
			got = append(got, b.Role)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestDescribeUSB(t *testing.T) {
	s := newTree(t)
	controller := "devices/pci0000:00/0000:00:14.0"
	s.pci(controller, "xhci_hcd", "8086:a36d", false)
	for _, hub := range []string{"usb2", "usb2/2-1", "usb2/2-1/2-1.4"} {
		s.device(filepath.Join(controller, hub), "usb", "hub")
		s.file(filepath.Join(controller, hub, "idVendor"), "05e3")
	}
	card := controller + "/usb2/2-1/2-1.4/2-1.4.2"
	s.device(card, "usb", "usb")
	s.file(card+"/idVendor", "0bda")
	s.file(card+"/idProduct", "8153")
	s.file(card+"/bcdDevice", "3100")
	s.file(card+"/speed", "5000")
	s.file(card+"/power/control", "auto")
	s.file(card+"/power/runtime_status", "suspended")
	s.device(card+"/2-1.4.2:1.0", "usb", "r8152")
	s.iface("eth0", 2, card+"/2-1.4.2:1.0")
	got := s.describe("eth0", 2)
	want := NIC{
		Driver: "r8152", Bus: "usb", Address: "2-1.4.2", USBID: "0bda:8153", Revision: "3100", Power: "suspended", PowerControl: "auto",
		USB: &USB{Mbps: 5000, Hubs: []string{"2-1", "2-1.4"}, Controller: "0000:00:14.0"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("described (-want +got):\n%s", diff)
	}
}

// TestASPMUnknown tells a link without power states from a kernel that does not tell.
func TestASPMUnknown(t *testing.T) {
	s := newTree(t)
	s.card("eth1", 1)
	if got := s.describe("eth1", 1).ASPM; got != nil {
		t.Errorf("ASPM = %+v of a kernel without it, want unknown", got)
	}
	s.file("module/pcie_aspm/parameters/policy", "[default] performance")
	if got := s.describe("eth1", 1).ASPM; got == nil || len(got.Supported) > 0 {
		t.Errorf("ASPM = %+v of a link without it, want none", got)
	}
}

func TestVirtioTellsItsLinkOrNot(t *testing.T) {
	for _, test := range []struct {
		features string
		want     *bool
	}{
		{"", nil},
		{"0000000000000000", nil},
		{"1111111111111111" + "1" + "000", ptr(true)},
		{"1111111111111111" + "0" + "111", ptr(false)},
	} {
		s := newTree(t)
		s.pci("devices/pci0000:00/0000:00:04.0", "virtio-pci", "1af4:1041", false)
		dir := "devices/pci0000:00/0000:00:04.0/virtio0"
		s.device(dir, "virtio", "virtio_net")
		s.file(dir+"/features", test.features)
		s.iface("eth0", 2, dir)
		if diff := cmp.Diff(test.want, s.describe("eth0", 2).CarrierReported); diff != "" {
			t.Errorf("features %q (-want +got):\n%s", test.features, diff)
		}
	}
}

func TestResolve404AndLoops(t *testing.T) {
	s := newTree(t)
	s.link("a/b", "c/d")
	s.file("c/d/e", "x")
	if err := os.Symlink("loop", filepath.Join(s.root, "loop")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(s.root, "out")); err != nil {
		t.Fatal(err)
	}
	sys := sysfs{os.DirFS(s.root)}
	for name, want := range map[string]string{
		"a/b": "c/d", "a/b/e": "c/d/e", "a/b/../d/e": "", "a/x": "", "loop": "", "out/passwd": "", ".": ".", "c": "c",
	} {
		if got := sys.resolve(name); got != want {
			t.Errorf("resolve(%q) = %q, want %q", name, got, want)
		}
	}
}

// TestInventoryInAContainer has a sysfs that shows nothing of the interface; the kernel's sockets still know its device.
func TestInventoryInAContainer(t *testing.T) {
	got := inventory(t, newTree(t),
		Link{Index: 2, Name: "eth0", Ethernet: true, ParentBus: "pci", Parent: "0000:03:00.0", Address: mac(1)})
	want := []NIC{{
		Name: "eth0", Bus: "pci", Address: "0000:03:00.0", PermanentMAC: "52:54:00:12:34:01", SupportedMbps: []int{},
		Unread: []string{"sysfs: it does not show this interface, whose device is pci 0000:03:00.0"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

func TestPCIELinkSpeeds(t *testing.T) {
	for _, test := range []struct {
		link PCIe
		want int
		text string
	}{
		{PCIe{}, 0, "an unknown link"},
		{PCIe{2.5, 1, 2.5, 1}, 2000, "2.5 GT/s x1"},
		{PCIe{5, 1, 8, 4}, 4000, "5 GT/s x1 of 8 GT/s x4"},
		{PCIe{8, 4, 8, 4}, 31507, "8 GT/s x4"},
		{PCIe{16, 16, 32, 16}, 252061, "16 GT/s x16 of 32 GT/s x16"},
	} {
		if got := test.link.mbps(); got != test.want {
			t.Errorf("%+v carries %d Mb/s, want %d", test.link, got, test.want)
		}
		if got := test.link.String(); got != test.text {
			t.Errorf("%+v is written %q, want %q", test.link, got, test.text)
		}
	}
	var none *PCIe
	if none.mbps() != 0 {
		t.Error("no link carries something")
	}
}
