package hwprobe

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tree is a sysfs made of files and symbolic links in a temporary folder.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) tree { return tree{t, t.TempDir()} }

func (s tree) dir(path string) string {
	s.t.Helper()
	dir := filepath.Join(s.root, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func (s tree) file(path, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir(filepath.Dir(path)), filepath.Base(path)), []byte(content+"\n"), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// link makes path a relative symbolic link to target, both relative to the root, as sysfs does.
func (s tree) link(path, target string) {
	s.t.Helper()
	s.dir(target)
	dir := s.dir(filepath.Dir(path))
	rel, err := filepath.Rel(dir, filepath.Join(s.root, target))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink(rel, filepath.Join(dir, filepath.Base(path))); err != nil {
		s.t.Fatal(err)
	}
}

// iface adds a network interface below the device, which is empty for a virtual one.
func (s tree) iface(name string, index int, device string) {
	dir := filepath.Join(device, "net", name)
	if device == "" {
		dir = filepath.Join("devices/virtual/net", name)
	} else {
		s.link(filepath.Join(dir, "device"), device)
		s.link(filepath.Join(dir, "subsystem"), "class/net")
	}
	s.file(filepath.Join(dir, "ifindex"), strconv.Itoa(index))
	s.file(filepath.Join(dir, "uevent"), "INTERFACE="+name+"\nIFINDEX="+strconv.Itoa(index))
	s.link(filepath.Join("class/net", name), dir)
}

// device adds a device on a bus, with its driver if it has one.
func (s tree) device(path, bus, driver string) {
	s.link(filepath.Join(path, "subsystem"), "bus/"+bus)
	if driver != "" {
		s.link(filepath.Join(path, "driver"), "bus/"+bus+"/drivers/"+driver)
	}
}

func (s tree) pci(path, driver, id string, rom bool) {
	s.device(path, "pci", driver)
	s.file(path+"/vendor", "0x"+id[:4])
	s.file(path+"/device", "0x"+id[5:])
	s.file(path+"/subsystem_vendor", "0x1AF4")
	s.file(path+"/subsystem_device", "0x1100")
	if rom {
		s.file(path+"/rom", "")
	}
}

// fakeKernel answers with fixed links.
type fakeKernel struct {
	links []Link
	err   error
	// ethtool answers for the drivers; without it they tell nothing.
	ethtool func(context.Context, Link) (Ethtool, error)
}

func (k fakeKernel) Host() Host { return Host{Release: "6.12.1", UptimeSeconds: 3600} }

func (k fakeKernel) Links(context.Context) ([]Link, error) { return k.links, k.err }

func (k fakeKernel) Ethtool(ctx context.Context, l Link) (Ethtool, error) {
	if k.ethtool == nil {
		return Ethtool{}, nil
	}
	return bounded(ctx, nicTimeout, func(ctx context.Context) (Ethtool, error) { return k.ethtool(ctx, l) })
}

func mac(last byte) MAC { return MAC{0x52, 0x54, 0, 0x12, 0x34, last} }

func ptr[T any](v T) *T { return &v }

func inventory(t *testing.T, s tree, links ...Link) []NIC {
	t.Helper()
	return inventoryOf(t, s, fakeKernel{links: links})
}

func inventoryOf(t *testing.T, s tree, k Kernel) []NIC {
	t.Helper()
	nics, err := Inventory(t.Context(), Source{Sys: s.root, Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	return nics
}

func TestInventoryOfHardware(t *testing.T) {
	s := newTree(t)
	s.pci("devices/pci0000:00/0000:00:03.0", "e1000", "8086:100e", true)
	s.iface("eth10", 2, "devices/pci0000:00/0000:00:03.0")
	// The virtio device has files vendor and device of its own, which are no PCI ids.
	s.pci("devices/pci0000:00/0000:00:04.0", "virtio-pci", "1af4:1041", false)
	s.device("devices/pci0000:00/0000:00:04.0/virtio2", "virtio", "virtio_net")
	s.file("devices/pci0000:00/0000:00:04.0/virtio2/vendor", "0x1af4")
	s.file("devices/pci0000:00/0000:00:04.0/virtio2/device", "0x0001")
	s.iface("eth2", 3, "devices/pci0000:00/0000:00:04.0/virtio2")
	// The USB card hangs on a host controller that is a PCI device, which is not the card.
	s.pci("devices/pci0000:00/0000:00:14.0", "xhci_hcd", "8086:a36d", true)
	usb := "devices/pci0000:00/0000:00:14.0/usb1/1-2"
	s.device(usb, "usb", "usb")
	s.file(usb+"/idVendor", "0bda")
	s.file(usb+"/idProduct", "8153")
	s.file(usb+"/manufacturer", "Realtek")
	s.file(usb+"/product", "USB 10/100/1000 LAN")
	s.device(usb+"/1-2:1.0", "usb", "r8152")
	s.iface("eth3", 4, usb+"/1-2:1.0")
	// Hyper-V: neither PCI nor USB.
	s.device("devices/LNXSYSTM:00/vmbus_1", "vmbus", "hv_netvsc")
	s.iface("eth4", 5, "devices/LNXSYSTM:00/vmbus_1")

	got := inventoryOf(t, s, fakeKernel{
		links: []Link{
			{Index: 2, Name: "eth10", Ethernet: true, Address: mac(9), Permanent: mac(1), Enslaved: true, Carrier: ptr(true)},
			{Index: 3, Name: "eth2", Ethernet: true, Address: mac(2), Carrier: ptr(false)},
			{Index: 4, Name: "eth3", Ethernet: true, Address: mac(9), Enslaved: true},
			{Index: 5, Name: "eth4", Ethernet: true, Address: mac(4)},
		},
		ethtool: func(_ context.Context, l Link) (Ethtool, error) {
			if l.Name != "eth10" {
				return Ethtool{}, nil
			}
			return Ethtool{
				Driver: "E1000!", Version: "6.12.1", Firmware: "1.2", SpeedMbps: 1000, Duplex: "full",
				Supported: []string{"10baseT/Half", "100baseT/Full", "1000baseT/Full", "Autoneg", "TP"},
			}, nil
		},
	})
	want := []NIC{
		{Name: "eth2", Driver: "virtio_net", PCIID: "1af4:1041", Subsystem: "1af4:1100", Bus: "pci", Address: "0000:00:04.0",
			Vendor: "Red Hat, Inc.", Model: "Virtio 1.0 network device", PermanentMAC: "52:54:00:12:34:02", OptionROM: ptr(false),
			SupportedMbps: []int{}, LinkUp: ptr(false)},
		{Name: "eth3", Driver: "r8152", USBID: "0bda:8153", Bus: "usb", Address: "1-2", Vendor: "Realtek", Model: "USB 10/100/1000 LAN",
			USB: &USB{Controller: "0000:00:14.0"}, SupportedMbps: []int{}},
		{Name: "eth4", Driver: "hv_netvsc", Bus: "vmbus", Address: "vmbus_1", PermanentMAC: "52:54:00:12:34:04", SupportedMbps: []int{}},
		{Name: "eth10", Driver: "e1000", Firmware: "1.2", PCIID: "8086:100e", Subsystem: "1af4:1100", Bus: "pci", Address: "0000:00:03.0",
			Vendor: "Intel Corporation", Model: "82540EM Gigabit Ethernet Controller", PermanentMAC: "52:54:00:12:34:01", OptionROM: ptr(true),
			ROM: &ROM{Bytes: 1}, DriverVersion: "6.12.1", SubsystemName: "QEMU Virtual Machine",
			Supported:     []string{"10baseT/Half", "100baseT/Full", "1000baseT/Full", "Autoneg", "TP"},
			SupportedMbps: []int{10, 100, 1000}, SpeedMbps: ptr(1000), Duplex: "full", LinkUp: ptr(true)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

func TestInventoryLeavesOutWhatIsNoEthernetCard(t *testing.T) {
	s := newTree(t)
	s.pci("devices/pci0000:00/0000:00:05.0", "iwlwifi", "8086:2723", false)
	s.iface("wlan0", 2, "devices/pci0000:00/0000:00:05.0")
	s.dir("class/net/wlan0/phy80211")
	s.pci("devices/pci0000:00/0000:00:06.0", "iosm", "8086:7560", false)
	s.iface("wwan0", 3, "devices/pci0000:00/0000:00:06.0")
	s.file("class/net/wwan0/uevent", "DEVTYPE=wwan\nINTERFACE=wwan0")
	s.iface("bond0", 4, "")
	s.iface("veth1", 5, "")

	got := inventory(t, s,
		Link{Index: 1, Name: "lo", Kind: ""},
		Link{Index: 2, Name: "wlan0", Ethernet: true},
		Link{Index: 3, Name: "wwan0", Ethernet: true},
		Link{Index: 4, Name: "bond0", Ethernet: true, Kind: "bond"},
		Link{Index: 6, Name: "bond0.20", Ethernet: true, Kind: "vlan"},
		Link{Index: 5, Name: "veth1", Ethernet: true, Kind: "veth", Address: mac(5)},
	)
	want := []NIC{{Name: "veth1", Driver: "veth", Bus: "virtual", PermanentMAC: "52:54:00:12:34:05", SupportedMbps: []int{}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

// TestInventoryBelievesNoForeignSysfs has a veth eth0 in a network namespace whose sysfs still shows the host's eth0.
func TestInventoryBelievesNoForeignSysfs(t *testing.T) {
	s := newTree(t)
	s.pci("devices/pci0000:00/0000:00:03.0", "e1000", "8086:100e", true)
	s.iface("eth0", 2, "devices/pci0000:00/0000:00:03.0")
	got := inventory(t, s, Link{Index: 7, Name: "eth0", Ethernet: true, Kind: "veth"})
	want := []NIC{{Name: "eth0", Driver: "veth", Bus: "virtual", SupportedMbps: []int{}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

// card adds a PCI card on a device of its own.
func (s tree) card(name string, index int) (device string, l Link) {
	device = "devices/pci0000:00/0000:00:0" + strconv.Itoa(index) + ".0"
	s.pci(device, "igc", "8086:125c", true)
	s.iface(name, index, device)
	return device, Link{Index: index, Name: name, Ethernet: true, Address: mac(byte(index))}
}

var gigabit = Ethtool{
	Driver: "igc", Firmware: "2017:888d", SpeedMbps: 1000, Duplex: "full",
	Supported: []string{"100baseT/Full", "1000baseT/Full"},
}

// TestInventoryOfADeadCard has three cards of which the middle one has fallen off its bus: it loses its own speeds, and
// the others keep theirs.
func TestInventoryOfADeadCard(t *testing.T) {
	s := newTree(t)
	_, l1 := s.card("eth1", 1)
	_, l2 := s.card("eth2", 2)
	_, l3 := s.card("eth3", 3)
	ethtool := func(_ context.Context, l Link) (Ethtool, error) {
		if l.Name == "eth2" {
			return Ethtool{}, ErrDetached
		}
		return gigabit, nil
	}
	nics := inventoryOf(t, s, fakeKernel{links: []Link{l1, l2, l3}, ethtool: ethtool})
	for _, n := range nics {
		speeds, unread := []int{100, 1000}, []string(nil)
		if n.Name == "eth2" {
			speeds, unread = []int{}, []string{"ethtool: the device no longer answers"}
		}
		if diff := cmp.Diff(speeds, n.SupportedMbps); diff != "" {
			t.Errorf("speeds of %s (-want +got):\n%s", n.Name, diff)
		}
		if diff := cmp.Diff(unread, n.Unread); diff != "" {
			t.Errorf("unread of %s (-want +got):\n%s", n.Name, diff)
		}
	}
	m := Machine{NICs: nics}
	got := sentences(m.Judge(Policy{}, nil))
	for _, want := range []string{
		"info unread: eth2 could not be read in full: ethtool: the device no longer answers",
		"warn detached: eth2 is detached: its device pci 0000:00:02.0 no longer answers",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("findings %q lack %q", got, want)
		}
	}
}

// TestInventoryOfAHangingDriver has one driver that never answers. The others are read, in bounded time.
func TestInventoryOfAHangingDriver(t *testing.T) {
	for _, test := range []struct {
		name   string
		hangs  func(string) bool
		unread map[string][]string
		limit  time.Duration
	}{
		{"one", func(name string) bool { return name == "eth2" },
			map[string][]string{"eth2": {"ethtool: timed out after 2s"}}, nicTimeout},
		{"all", func(string) bool { return true },
			map[string][]string{
				"eth1": {"ethtool: timed out after 2s"},
				"eth2": {"ethtool: timed out after 2s"},
				"eth3": {"ethtool: timed out: the drivers of all cards took longer than 5s"},
			}, passTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newTree(t)
			_, l1 := s.card("eth1", 1)
			_, l2 := s.card("eth2", 2)
			_, l3 := s.card("eth3", 3)
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ethtool := func(ctx context.Context, l Link) (Ethtool, error) {
					if test.hangs(l.Name) {
						<-ctx.Done()
						time.Sleep(time.Hour) // a system call heeds no context
					}
					return gigabit, nil
				}
				nics := inventoryOf(t, s, fakeKernel{links: []Link{l1, l2, l3}, ethtool: ethtool})
				if took := time.Since(start); took > test.limit {
					t.Errorf("inventory took %v, want at most %v", took, test.limit)
				}
				unread := map[string][]string{}
				for _, n := range nics {
					if n.Unread != nil {
						unread[n.Name] = n.Unread
					}
					if n.PCIID != "8086:125c" || (n.Unread == nil) != (len(n.SupportedMbps) == 2) {
						t.Errorf("read of %s: %+v", n.Name, n)
					}
				}
				if diff := cmp.Diff(test.unread, unread); diff != "" {
					t.Errorf("unread (-want +got):\n%s", diff)
				}
				time.Sleep(2 * time.Hour) // until the hanging calls have ended
			})
		})
	}
}

// A hangingFS is a sysfs that does not answer about one card.
type hangingFS struct {
	fs.ReadLinkFS
	card string
	endC chan struct{}
}

func (f hangingFS) hang(name string) {
	if strings.Contains(name, f.card) {
		<-f.endC
	}
}

func (f hangingFS) Open(name string) (fs.File, error) {
	f.hang(name)
	return f.ReadLinkFS.Open(name)
}

func (f hangingFS) ReadLink(name string) (string, error) {
	f.hang(name)
	return f.ReadLinkFS.ReadLink(name)
}

func (f hangingFS) Lstat(name string) (fs.FileInfo, error) {
	f.hang(name)
	return f.ReadLinkFS.Lstat(name)
}

// TestInventoryOfACardThatSysfsHangsAt: half of what a card is compared by is worse than nothing.
func TestInventoryOfACardThatSysfsHangsAt(t *testing.T) {
	s := newTree(t)
	_, l1 := s.card("eth1", 1)
	_, l2 := s.card("eth2", 2)
	synctest.Test(t, func(t *testing.T) {
		files := hangingFS{os.DirFS(s.root).(fs.ReadLinkFS), "eth2", make(chan struct{})}
		defer close(files.endC)
		ethtool := func(context.Context, Link) (Ethtool, error) { return Ethtool{Driver: "igc"}, nil }
		nics, err := Inventory(t.Context(), Source{Files: files, Kernel: fakeKernel{links: []Link{l1, l2}, ethtool: ethtool}})
		if err != nil {
			t.Fatal(err)
		}
		if n := nics[0]; n.Driver == "" || n.PCIID == "" || n.Unidentified || n.Unread != nil {
			t.Errorf("the card that can be read: %+v", n)
		}
		if n := nics[1]; n.Driver != "" || n.PCIID != "" || !n.Unidentified || n.Virtual() || len(n.Unread) != 1 {
			t.Errorf("the other one: %+v", n)
		}
	})
}

// TestInventoryWakesNoCard: asking a driver wakes its card, so a card that sleeps is not asked.
func TestInventoryWakesNoCard(t *testing.T) {
	s := newTree(t)
	for i, status := range []string{"active", "suspended", "suspending", "unsupported"} {
		device, _ := s.card("eth"+strconv.Itoa(i+1), i+1)
		s.file(device+"/power/runtime_status", status)
	}
	var links []Link
	for i := range 4 {
		links = append(links, Link{Index: i + 1, Name: "eth" + strconv.Itoa(i+1), Ethernet: true})
	}
	var asked []string
	nics := inventoryOf(t, s, fakeKernel{links: links, ethtool: func(_ context.Context, l Link) (Ethtool, error) {
		asked = append(asked, l.Name)
		return gigabit, nil
	}})
	if diff := cmp.Diff([]string{"eth1", "eth4"}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	want := []string{"ethtool: the card is asleep to save power, and is not woken"}
	if diff := cmp.Diff(want, nics[1].Unread); diff != "" {
		t.Errorf("unread of the sleeping card (-want +got):\n%s", diff)
	}
}

func TestInventoryEndsWithItsContext(t *testing.T) {
	s := newTree(t)
	_, l1 := s.card("eth1", 1)
	ctx, cancel := context.WithCancel(t.Context())
	k := fakeKernel{links: []Link{l1}, ethtool: func(ctx context.Context, _ Link) (Ethtool, error) {
		cancel()
		<-ctx.Done()
		return Ethtool{}, ctx.Err()
	}}
	if _, err := Inventory(ctx, Source{Sys: s.root, Kernel: k}); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
}

func TestInventoryReportsTheKernelsError(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Inventory(t.Context(), Source{Kernel: fakeKernel{err: broken}}); !errors.Is(err, broken) {
		t.Errorf("error = %v, want one that wraps %v", err, broken)
	}
}

// TestInventoryOfThisMachine asks the kernel the test runs on. What it has is not known; that it answers is.
func TestInventoryOfThisMachine(t *testing.T) {
	nics, err := Inventory(t.Context(), Source{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nics {
		if n.Name == "" || n.Driver == "" || n.Bus == "" {
			t.Errorf("incomplete: %+v", n)
		}
	}
	if err := Judge(nics, Policy{}, nil).WriteText(t.Output()); err != nil {
		t.Fatal(err)
	}
}

func TestInventoryOfThisMachineHeedsItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Inventory(ctx, Source{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
}

func TestCompareNames(t *testing.T) {
	ordered := []string{"", "bond0", "enp0s3", "enp0s3f1", "enp10s0", "eth", "eth0", "eth1", "eth01", "eth2", "eth10", "eth10a", "eth99999999999999999999", "ethernet"}
	for i, a := range ordered {
		for k, b := range ordered {
			want := 0
			switch {
			case i < k:
				want = -1
			case i > k:
				want = 1
			}
			if got := compareNames(a, b); got != want {
				t.Errorf("compareNames(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestPCINames(t *testing.T) {
	for _, test := range []struct{ id, vendor, model string }{
		{"8086:100e", "Intel Corporation", "82540EM Gigabit Ethernet Controller"},
		{"1022:2000", "Advanced Micro Devices, Inc. [AMD]", "79c970 [PCnet32 LANCE]"},
		{"10ec:8139", "Realtek Semiconductor Co., Ltd.", "RTL-8100/8101L/8139 PCI Fast Ethernet Adapter"},
		{"15ad:07b0", "VMware", "VMXNET3 Ethernet Controller"},
		{"8086:fffe", "Intel Corporation", ""},
		{"fffe:100e", "", ""},
		{"", "", ""},
	} {
		if vendor, model := pciNames(test.id); vendor != test.vendor || model != test.model {
			t.Errorf("pciNames(%q) = %q, %q, want %q, %q", test.id, vendor, model, test.vendor, test.model)
		}
	}
}
