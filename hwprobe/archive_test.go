package hwprobe

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRecordAndReplay records a machine that has a bit of everything, unreadable files among it, and gets the same
// machine from the archive, also after it went through a file and lost its identities.
func TestRecordAndReplay(t *testing.T) {
	s := newTree(t)
	root := s.bridge("devices/pci0000:00", "0000:00:1c.0", "8086:54b0", "8.0 GT/s PCIe", 1)
	card := root + "/0000:03:00.0"
	s.pci(card, "igc", "8086:125c", true)
	s.pcie(card, "5.0 GT/s PCIe", 1, "5.0 GT/s PCIe", 1)
	s.file(card+"/link/l1_aspm", "1")
	s.file(card+"/aer_dev_correctable", "BadTLP 2\nTOTAL_ERR_COR 2")
	s.file(card+"/power/runtime_status", "active")
	s.link(card+"/iommu_group", "kernel/iommu_groups/16")
	s.link(card+"/physfn", root)
	s.iface("eth0", 2, card)
	s.dir(card + "/net/eth0/queues/rx-0")
	s.dir(card + "/net/eth0/queues/tx-0")
	s.file("bus/pci/slots/12/address", "0000:03:00")
	s.file("class/dmi/id/sys_vendor", "Acme")
	s.file("module/pcie_aspm/parameters/policy", "[default]")
	usb := "devices/pci0000:00/0000:00:14.0/usb1/1-2"
	s.pci("devices/pci0000:00/0000:00:14.0", "xhci_hcd", "8086:a36d", false)
	s.device("devices/pci0000:00/0000:00:14.0/usb1", "usb", "usb")
	s.file("devices/pci0000:00/0000:00:14.0/usb1/idVendor", "1d6b")
	s.device(usb, "usb", "usb")
	s.file(usb+"/idVendor", "0bda")
	s.file(usb+"/idProduct", "8153")
	s.device(usb+"/1-2:1.0", "usb", "r8152")
	s.iface("enx00e04c680001", 3, usb+"/1-2:1.0")
	s.iface("wlan0", 4, root)
	s.dir("class/net/wlan0/phy80211")
	broken := errors.New("broken")
	kernel := fakeKernel{
		links: []Link{
			{Index: 1, Name: "lo", Up: true, Address: MAC{0, 0, 0, 0, 0, 0}},
			{Index: 2, Name: "eth0", Ethernet: true, Up: true, Address: MAC{0, 0xe0, 0x4c, 0x68, 0, 2}, Permanent: MAC{0, 0xe0, 0x4c, 0x68, 0, 2},
				Carrier: ptr(true), LinkLosses: ptr(1), AltNames: []string{"enx00e04c680002"}},
			{Index: 3, Name: "enx00e04c680001", Ethernet: true, Address: MAC{0, 0xe0, 0x4c, 0x68, 0, 1}},
			{Index: 4, Name: "wlan0", Ethernet: true},
			{Index: 5, Name: "veth0", Ethernet: true, Kind: "veth", Address: MAC{0x8a, 0x11, 0x22, 0x33, 0x44, 0x55}},
			{Index: 6, Name: "veth1", Ethernet: true, Kind: "veth", Address: MAC{0x8a, 0x11, 0x22, 0x33, 0x44, 0x55}},
		},
		ethtool: func(_ context.Context, l Link) (Ethtool, error) {
			switch l.Name {
			case "veth0":
				return Ethtool{}, ErrDetached
			case "veth1":
				return Ethtool{Driver: "veth"}, broken
			}
			return Ethtool{Driver: "igc", Supported: []string{"1000baseT/Full"}, EEE: &EEE{Enabled: true}, Unread: []string{"x"}}, nil
		},
	}
	want, a, err := Record(t.Context(), Source{Sys: s.root, Kernel: kernel})
	if err != nil {
		t.Fatal(err)
	}
	if len(want.NICs) != 4 {
		t.Fatalf("%d NICs, want 4", len(want.NICs))
	}
	got, err := Probe(t.Context(), a.Source())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("from the recording (-want +got):\n%s", diff)
	}

	file := filepath.Join(t.TempDir(), "machine.json")
	if err := a.Save(file, false); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, identity := range []string{"68:00:0", "680001", "680002", "11:22:33", "112233"} {
		if strings.Contains(strings.ToLower(string(text)), identity) {
			t.Errorf("the archive still contains %s", identity)
		}
	}
	anonymous, err := ReadArchive(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if anonymous.Identities {
		t.Error("the archive says that it has the machine's identities")
	}
	got, err = Probe(t.Context(), anonymous.Source())
	if err != nil {
		t.Fatal(err)
	}
	// The addresses are replaced: the makers' stay as far as the maker's half, equal ones stay equal.
	want.NICs[0].Name = "enx00e04c000002" // of the USB card
	want.NICs[0].PermanentMAC = "00:e0:4c:00:00:02"
	want.NICs[1].PermanentMAC = "00:e0:4c:00:00:01" // of eth0
	want.NICs[1].AltNames = []string{"enx00e04c000001"}
	want.NICs[2].PermanentMAC, want.NICs[3].PermanentMAC = "02:00:00:00:00:01", "02:00:00:00:00:01"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("from the file (-want +got):\n%s", diff)
	}

	if err := a.Save(file, true); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); !strings.Contains(string(text), "00:e0:4c:68:00:02") {
		t.Error("the archive with identities has not got them")
	}
}

// TestArchiveTellsWhatCouldNotBeRead: a file that is there and cannot be read is not one that is not there.
func TestArchiveTellsWhatCouldNotBeRead(t *testing.T) {
	a := &Archive{Format: archiveFormat, Missing: map[string]string{"a/b": "permission denied"}, Files: map[string]string{"a/c": "1"}}
	sys := sysfs{newReplay(a)}
	if _, err := sys.read("a", "b"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("error %v, want permission denied", err)
	}
	if !sys.exists("a", "b") || !sys.exists("a", "c") || sys.exists("a", "d") {
		t.Error("what exists is not what was recorded")
	}
}

func TestReadArchiveRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "decode archive: ",
		"[]":                        "decode archive: ",
		`{"format": 2}`:             "decode archive: it has format 2, expected 1",
		`{"links":[{"address":1}]}`: "decode archive: ",
	} {
		if _, err := ReadArchive(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

// FuzzArchive probes and judges what people might send.
func FuzzArchive(f *testing.F) {
	for _, name := range []string{"openwrt-mt7622-rtl8125", "raspberry-pi-4-rtl8153"} {
		b, err := os.ReadFile("testdata/machines/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ReadArchive(strings.NewReader(string(b)))
		if err != nil {
			return
		}
		m, err := Probe(t.Context(), a.Source())
		if err != nil {
			return
		}
		if err := m.Judge(Policy{}, nil).WriteText(&strings.Builder{}); err != nil {
			t.Fatal(err)
		}
		_, _ = a.Anonymous()
	})
}
