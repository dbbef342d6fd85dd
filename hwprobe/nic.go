package hwprobe

import (
	"cmp"
	"net"
	"strings"
)

// A NIC is one Ethernet interface and the hardware behind it. What could not be found out is empty or nil, never
// guessed.
type NIC struct {
	Name string `json:"name"`
	// Driver is the kernel's name of the driver ("e1000"), or the kind of a virtual interface ("veth").
	Driver string `json:"driver"`
	// Firmware is the version the driver reports; most simple cards report none.
	Firmware string `json:"firmware"`
	// PCIID is vendor:device in lower-case hex, "8086:100e"; empty where there is no PCI device.
	PCIID string `json:"pci_id"`
	// Subsystem is the PCI subsystem vendor:device, which tells boards with the same chip apart.
	Subsystem string `json:"subsystem,omitempty"`
	// USBID is vendor:product of a USB card, "0bda:8153".
	USBID string `json:"usb_id,omitempty"`
	// Bus is what the card sits on: "pci" (also for virtio behind PCI), "usb", another bus of the kernel's, or
	// "virtual" where no device is behind the interface.
	Bus string `json:"bus"`
	// Address is the card's place on its bus, "0000:03:00.0" or "1-2".
	Address string `json:"address,omitempty"`
	// Vendor and Model are names for people, from the PCI ID list or from the USB device itself.
	Vendor string `json:"vendor,omitempty"`
	Model  string `json:"model,omitempty"`
	// PermanentMAC is the address the card was made with; empty if the kernel does not tell it.
	PermanentMAC string `json:"permanent_mac"`
	// OptionROM says whether the PCI device has an option ROM; nil where there is no PCI device to ask.
	OptionROM *bool `json:"option_rom"`
	// SupportedMbps are the speeds the card can do, ascending, in megabits per second; empty if the driver tells none.
	SupportedMbps []int `json:"supported_mbps"`
	// SpeedMbps is the present speed in megabits per second; nil without a link.
	SpeedMbps *int `json:"speed_mbps"`
	// Duplex is "full", "half" or empty if unknown.
	Duplex string `json:"duplex"`
	// LinkUp is the carrier; nil while the interface is down, because the kernel does not know it then.
	LinkUp *bool `json:"link_up"`
	// Unread says what could not be read of this NIC, and why: one sentence each.
	Unread []string `json:"unread,omitempty"`
}

// Virtual says that no device is behind the interface. A virtual NIC is a slave only if it is named as one.
func (n NIC) Virtual() bool { return n.Bus == busVirtual }

const (
	busPCI     = "pci"
	busUSB     = "usb"
	busVirtual = "virtual"
)

// chip is the identity of the chipset, empty for cards without one.
func (n NIC) chip() string { return cmp.Or(n.PCIID, n.USBID) }

// card is what fails as a whole: for PCI the device without its function, because the functions of one device are the
// ports of one card. It is empty for interfaces without an address.
func (n NIC) card() string {
	if n.Address == "" {
		return ""
	}
	address := n.Address
	if n.Bus == busPCI {
		address, _, _ = strings.Cut(address, ".")
	}
	return n.Bus + " " + address
}

// kind names driver and chipset as one thing to compare by eye: "e1000 8086:100e".
func (n NIC) kind(separator string) string {
	driver := cmp.Or(n.Driver, "unknown driver")
	if chip := n.chip(); chip != "" {
		return driver + separator + chip
	}
	return driver
}

// String is the NIC as findings name it: "eth1 (8139too, 10ec:8139)".
func (n NIC) String() string { return n.Name + " (" + n.kind(", ") + ")" }

// Resolve finds the NIC that a slave reference of the configuration means. The reference is an interface name,
// "mac:" and a permanent address, or "pci:" and an address such as 0000:03:00.0, whose domain may be left out if it is
// 0000. Where several NICs fit (two ports behind one PCI function), the first one counts. ok is false if none fits.
func Resolve(nics []NIC, ref string) (name string, ok bool) {
	fits := func(n NIC) bool { return n.Name == ref }
	if text, found := strings.CutPrefix(ref, "mac:"); found {
		mac, err := net.ParseMAC(text)
		fits = func(n NIC) bool { return err == nil && n.PermanentMAC == mac.String() }
	} else if address, found := strings.CutPrefix(ref, "pci:"); found {
		if strings.Count(address, ":") == 1 {
			address = "0000:" + address
		}
		fits = func(n NIC) bool { return n.Bus == busPCI && strings.EqualFold(n.Address, address) }
	}
	for _, n := range nics {
		if fits(n) {
			return n.Name, true
		}
	}
	return "", false
}

// compareNames orders interface names as people count: eth2 before eth10.
func compareNames(a, b string) int {
	for a != "" && b != "" {
		da, db := leadingDigits(a), leadingDigits(b)
		if da == "" || db == "" {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		na, nb := strings.TrimLeft(da, "0"), strings.TrimLeft(db, "0")
		if c := cmp.Or(cmp.Compare(len(na), len(nb)), cmp.Compare(na, nb), cmp.Compare(len(da), len(db))); c != 0 {
			return c
		}
		a, b = a[len(da):], b[len(db):]
	}
	return cmp.Compare(len(a), len(b))
}

func leadingDigits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}
