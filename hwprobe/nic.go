package hwprobe

import (
	"cmp"
	"net"
	"strings"
)

// A NIC is one Ethernet interface and the hardware behind it. What could not be found out is empty or nil, never
// guessed; Unread says why.
type NIC struct {
	Name string `json:"name"`
	// AltNames are the other names of the interface.
	AltNames []string `json:"alt_names,omitempty"`
	// Driver is the kernel's name of the driver ("e1000"), or the kind of a virtual interface ("veth").
	Driver string `json:"driver"`
	// DriverVersion is what the driver reports; drivers that come with the kernel report the kernel's release.
	DriverVersion string `json:"driver_version,omitempty"`
	// Firmware is the version the driver reports; most simple cards report none.
	Firmware string `json:"firmware"`
	// PCIID is vendor:device in lower-case hex, "8086:100e"; empty where there is no PCI device.
	PCIID string `json:"pci_id"`
	// Subsystem is the PCI subsystem vendor:device, which tells boards with the same chip apart.
	Subsystem string `json:"subsystem,omitempty"`
	// SubsystemName is who made the board, from the PCI ID list.
	SubsystemName string `json:"subsystem_name,omitempty"`
	// Revision is the PCI revision in hex, "03".
	Revision string `json:"revision,omitempty"`
	// USBID is vendor:product of a USB card, "0bda:8153".
	USBID string `json:"usb_id,omitempty"`
	// Bus is what the card sits on: "pci" (also for virtio behind PCI), "usb", another bus of the kernel's, or
	// "virtual" where no device is behind the interface.
	Bus string `json:"bus"`
	// Address is the card's place on its bus, "0000:03:00.0" or "1-2".
	Address string `json:"address,omitempty"`
	// Path is the chain of PCI bridges from the root port to the card, or to the host controller of a USB card. It is
	// empty for a card that is part of the root complex.
	Path []Bridge `json:"path,omitempty"`
	// PCIe is the link to the card; nil for a card that is no PCI Express device.
	PCIe *PCIe `json:"pcie,omitempty"`
	// ASPM is the power management of that link; nil if the kernel does not tell.
	ASPM *ASPM `json:"aspm,omitempty"`
	// AER are the errors that the card has reported on its link since boot; nil if the kernel does not count them.
	AER *AER `json:"aer,omitempty"`
	// Slot is the number of the card's slot, Label the board's name for a card that is built in.
	Slot  string `json:"slot,omitempty"`
	Label string `json:"label,omitempty"`
	// IOMMUGroup is the group of devices that are not isolated from one another.
	IOMMUGroup string `json:"iommu_group,omitempty"`
	// VirtualFunction says that the card is a part of another one, lent to this machine.
	VirtualFunction bool `json:"virtual_function,omitempty"`
	// USB is the way to a USB card; nil for others.
	USB *USB `json:"usb,omitempty"`
	// Power is the state of runtime power management ("active", "suspended", "unsupported"); PowerControl is "auto" if
	// it may put the card to sleep.
	Power        string `json:"power,omitempty"`
	PowerControl string `json:"power_control,omitempty"`
	// Vendor and Model are names for people, from the PCI ID list or from the USB device itself.
	Vendor string `json:"vendor,omitempty"`
	Model  string `json:"model,omitempty"`
	// PermanentMAC is the address the card was made with; empty if the kernel does not tell it.
	PermanentMAC string `json:"permanent_mac"`
	// RandomMAC says that the driver has made the address up, because the card has none.
	RandomMAC bool `json:"random_mac,omitempty"`
	// OptionROM says whether the PCI device has an option ROM; nil where there is no PCI device to ask.
	OptionROM *bool `json:"option_rom"`
	// ROM is what is known of the option ROM.
	ROM *ROM `json:"rom,omitempty"`
	// SupportedMbps are the speeds the card can do, ascending, in megabits per second; empty if the driver tells none.
	SupportedMbps []int `json:"supported_mbps"`
	// Supported, Advertised and Partner are the link modes of the card, those of them that it offers, and those that the
	// other end of the cable offers, by the kernel's names ("1000baseT/Full").
	Supported  []string `json:"supported_modes,omitempty"`
	Advertised []string `json:"advertised_modes,omitempty"`
	Partner    []string `json:"partner_modes,omitempty"`
	// Autoneg says whether speed and duplex are negotiated.
	Autoneg *bool `json:"autoneg,omitempty"`
	// SpeedMbps is the present speed in megabits per second; nil without a link.
	SpeedMbps *int `json:"speed_mbps"`
	// Duplex is "full", "half" or empty if unknown.
	Duplex string `json:"duplex"`
	// LinkUp is the carrier; nil while the interface is down, because the kernel does not know it then.
	LinkUp *bool `json:"link_up"`
	// CarrierReported is false if the driver cannot tell whether there is a link: then LinkUp says nothing.
	CarrierReported *bool `json:"carrier_reported,omitempty"`
	// NoLink is why there is no link, in words ("no cable"); most drivers do not know.
	NoLink string `json:"no_link,omitempty"`
	// Signal is the quality of the signal on the cable; few cards measure it.
	Signal *Signal `json:"signal,omitempty"`
	// EEE is Energy-Efficient Ethernet; nil if the card does not have it.
	EEE *EEE `json:"eee,omitempty"`
	// WakeOn is what wakes the machine over this card ("magic").
	WakeOn []string `json:"wake_on,omitempty"`
	// RXQueues and TXQueues are the numbers of the card's queues.
	RXQueues int `json:"rx_queues,omitempty"`
	TXQueues int `json:"tx_queues,omitempty"`
	// LinkLosses is how often the link was lost since the interface exists; nil if the kernel does not tell.
	LinkLosses *int `json:"link_losses,omitempty"`
	// Detached says that the interface exists and its device no longer answers.
	Detached bool `json:"detached,omitempty"`
	// Unidentified says that the device behind the interface could not be looked at in time: its driver and its chipset
	// are not known, which is not to say that they are others than those of the next card.
	Unidentified bool `json:"unidentified,omitempty"`
	// Unread says what could not be read of this NIC, and why: one sentence each.
	Unread []string `json:"unread,omitempty"`
}

// A Bridge is a PCI bridge on the way to a card.
type Bridge struct {
	Address string `json:"address"`
	PCIID   string `json:"pci_id,omitempty"`
	// Model is a name for people, from the PCI ID list.
	Model string `json:"model,omitempty"`
	Role  Role   `json:"role"`
	// PCIe is the link that the bridge has towards the root; of a root port, the link to the card.
	PCIe *PCIe `json:"pcie,omitempty"`
	AER  *AER  `json:"aer,omitempty"`
}

// Role is what a bridge is for.
type Role string

const (
	RootPort         Role = "root port"
	SwitchUpstream   Role = "switch upstream port"   // the end of a PCIe switch that points to the root
	SwitchDownstream Role = "switch downstream port" // one of its other ends
	PlainBridge      Role = "bridge"                 // PCIe to PCI, or PCI to PCI
)

// PCIe is a PCI Express link: as it is, and the most that this end of it can do.
type PCIe struct {
	GTps     float64 `json:"gt_per_s"` // gigatransfers per second and lane; 0 if unknown
	Width    int     `json:"width"`    // lanes; 0 if unknown
	MaxGTps  float64 `json:"max_gt_per_s"`
	MaxWidth int     `json:"max_width"`
}

// ASPM is the active state power management of a PCI Express link.
type ASPM struct {
	// Enabled and Supported are states out of "L0s", "L1", "L1.1" and "L1.2".
	Enabled   []string `json:"enabled"`
	Supported []string `json:"supported"`
}

// AER are the counters of Advanced Error Reporting.
type AER struct {
	Correctable int `json:"correctable"`
	NonFatal    int `json:"non_fatal"`
	Fatal       int `json:"fatal"`
	// Kinds are the counters that are not zero, by the kernel's names ("BadTLP").
	Kinds map[string]int `json:"kinds,omitempty"`
}

// ROM is a PCI option ROM.
type ROM struct {
	// Bytes is the size of the window through which the ROM is read.
	Bytes int `json:"bytes,omitempty"`
	// Images are the kinds of code in it: "bios", "efi", "open-firmware", "hp-pa-risc". It is empty if the content was
	// not read.
	Images []string `json:"images,omitempty"`
}

// USB is how a card hangs on the USB.
type USB struct {
	// Mbps is the speed of its bus: 12, 480, 5000, 10000.
	Mbps int `json:"mbps,omitempty"`
	// Hubs are the hubs on the way, from the root hub's side.
	Hubs []string `json:"hubs,omitempty"`
	// Controller is the PCI address of the host controller.
	Controller string `json:"controller,omitempty"`
}

// Signal is the signal quality index: 0 is the worst, Max the best.
type Signal struct {
	Quality int `json:"quality"`
	Max     int `json:"max"`
}

// EEE is Energy-Efficient Ethernet: whether the card would use it, and whether the link does.
type EEE struct {
	Enabled bool `json:"enabled"`
	Active  bool `json:"active"`
}

// Virtual says that no device is behind the interface. A virtual NIC is a slave only if it is named as one.
func (n NIC) Virtual() bool { return n.Bus == busVirtual && !n.Unidentified }

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
