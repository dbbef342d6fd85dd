package hwprobe

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// describe fills in what sysfs tells of the interface and of the device behind it, if there is one.
func (s sysfs) describe(l Link, n *NIC) {
	dir := s.netDir(l)
	if dir == "" {
		return
	}
	n.RandomMAC = s.attr(dir, "addr_assign_type") == "1" // NET_ADDR_RANDOM
	for _, q := range s.list(path.Join(dir, "queues")) {
		if strings.HasPrefix(q, "rx-") {
			n.RXQueues++
		} else if strings.HasPrefix(q, "tx-") {
			n.TXQueues++
		}
	}
	device := s.resolve(path.Join(dir, "device"))
	if device == "" {
		return
	}
	n.Driver = cmp.Or(s.base(device, "driver"), n.Driver)
	n.Bus = cmp.Or(s.base(device, "subsystem"), "unknown")
	n.Address = path.Base(device)
	n.Power, n.PowerControl = s.attr(device, "power/runtime_status"), s.attr(device, "power/control")
	if n.Bus == "virtio" {
		n.CarrierReported = s.virtioStatus(device)
	}

	// The interface may hang on a child of the card: virtio3 of a PCI device, 1-2:1.0 of a USB device. The first PCI
	// or USB device upwards is the card; above a USB device comes its host controller, which is not.
	for p := device; p != "."; p = path.Dir(p) {
		switch s.base(p, "subsystem") {
		case busPCI:
			s.pci(p, n)
			return
		case busUSB:
			if s.exists(p, "idVendor") { // else it is an interface of the device, not the device
				s.usb(p, n)
				return
			}
		}
	}
}

// asleep says whether the device is suspended. Its driver cannot be asked anything without waking it.
func (n NIC) asleep() bool { return n.Power == "suspended" || n.Power == "suspending" }

// virtioStatus says whether the host tells the link state of a virtio card, which is feature bit 16
// (VIRTIO_NET_F_STATUS). Without it, the driver reports a link for ever.
func (s sysfs) virtioStatus(device string) *bool {
	const bit = 16
	features := s.attr(device, "features")
	if len(features) <= bit {
		return nil
	}
	has := features[bit] == '1'
	return &has
}

// pciAddress matches the name of a PCI device's folder.
var pciAddress = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)

// pci reads the PCI device that is the card.
func (s sysfs) pci(dir string, n *NIC) {
	n.Bus, n.Address = busPCI, path.Base(dir)
	n.PCIID = s.id(dir, "vendor", "device")
	n.Subsystem = s.id(dir, "subsystem_vendor", "subsystem_device")
	n.Revision = strings.TrimPrefix(s.attr(dir, "revision"), "0x")
	n.Vendor, n.Model = pciNames(n.PCIID)
	n.SubsystemName = subsystemName(n.PCIID, n.Subsystem)
	// The attribute exists if and only if the device has a ROM. Its content is not read here: some cards hang on that.
	rom := s.exists(dir, "rom")
	n.OptionROM = &rom
	if rom {
		n.ROM = &ROM{Bytes: s.size(dir, "rom")}
	}
	n.Path = s.bridges(path.Dir(dir))
	n.PCIe = s.pcie(dir)
	n.ASPM = s.aspm(dir)
	n.AER = s.aer(dir)
	n.IOMMUGroup = s.base(dir, "iommu_group")
	n.VirtualFunction = s.exists(dir, "physfn")
	n.Label = s.attr(dir, "label")
	n.Slot = s.slot(n.Address)
	if n.Power == "" || n.Power == "unsupported" { // of a child of the card, which has none of its own
		n.Power, n.PowerControl = s.attr(dir, "power/runtime_status"), s.attr(dir, "power/control")
	}
}

// bridges lists the PCI devices among the folders of a path: the bridges on the way from the root.
func (s sysfs) bridges(dir string) []Bridge {
	var found []Bridge
	at := "."
	for element := range strings.SplitSeq(dir, "/") {
		at = path.Join(at, element)
		if !pciAddress.MatchString(element) {
			continue
		}
		b := Bridge{Address: element, PCIID: s.id(at, "vendor", "device"), Role: PlainBridge}
		_, b.Model = pciNames(b.PCIID)
		b.PCIe, b.AER = s.pcie(at), s.aer(at)
		found = append(found, b)
	}
	// The kernel does not say in sysfs which kind of port a bridge is, but their order does: below a root port, bridges
	// that follow one another are the two ends of a switch. A bridge that is no PCI Express device ends that.
	for i := range found {
		switch {
		case found[i].PCIe == nil:
		case i == 0:
			found[i].Role = RootPort
		case found[i-1].Role == SwitchUpstream:
			found[i].Role = SwitchDownstream
		case i+1 < len(found) && found[i+1].PCIe != nil && found[i-1].Role != PlainBridge:
			found[i].Role = SwitchUpstream
		}
	}
	return found
}

// pcie reads the link of a PCI Express device; nil for others.
func (s sysfs) pcie(dir string) *PCIe {
	if !s.exists(dir, "current_link_speed") {
		return nil
	}
	var p PCIe
	p.GTps = gigatransfers(s.attr(dir, "current_link_speed"))
	p.MaxGTps = gigatransfers(s.attr(dir, "max_link_speed"))
	p.Width, _ = s.number(dir, "current_link_width")
	p.MaxWidth, _ = s.number(dir, "max_link_width")
	const unknownWidth = 255 // PCIE_LNK_WIDTH_UNKNOWN
	if p.MaxWidth == unknownWidth {
		p.MaxWidth = 0
	}
	return &p
}

// gigatransfers reads "5.0 GT/s PCIe"; 0 is "Unknown".
func gigatransfers(text string) float64 {
	number, _, _ := strings.Cut(text, " ")
	g, err := strconv.ParseFloat(number, 64)
	if err != nil || g < 0 || g > 1000 {
		return 0
	}
	return g
}

// mbps is what a link carries in megabits per second, after its line code; 0 if unknown.
func (p *PCIe) mbps() int {
	if p == nil {
		return 0
	}
	efficiency := 128.0 / 130
	switch {
	case p.GTps <= 5:
		efficiency = 8.0 / 10
	case p.GTps >= 64:
		efficiency = 242.0 / 256
	}
	return int(p.GTps * 1000 * efficiency * float64(p.Width))
}

// aspmStates are the files that say which power states of a link are on. A file exists if and only if both ends of the
// link can do the state.
var aspmStates = []struct{ file, state string }{
	{"l0s_aspm", "L0s"}, {"l1_aspm", "L1"}, {"l1_1_aspm", "L1.1"}, {"l1_2_aspm", "L1.2"},
}

// aspm reads the power management of a device's link. It is nil if the kernel cannot tell: without the driver for it,
// or where the firmware has not given it control.
func (s sysfs) aspm(dir string) *ASPM {
	a := ASPM{Enabled: []string{}, Supported: []string{}}
	for _, x := range aspmStates {
		on := s.attr(dir, "link/"+x.file)
		if on == "" {
			continue
		}
		a.Supported = append(a.Supported, x.state)
		if on == "1" {
			a.Enabled = append(a.Enabled, x.state)
		}
	}
	if len(a.Supported) == 0 && !s.exists("module/pcie_aspm/parameters", "policy") {
		return nil
	}
	return &a
}

// aer reads the error counters of a device; nil if the kernel does not count them.
func (s sysfs) aer(dir string) *AER {
	a := AER{}
	counted := false
	for _, x := range []struct {
		file, total string
		count       *int
	}{
		{"aer_dev_correctable", "TOTAL_ERR_COR", &a.Correctable},
		{"aer_dev_nonfatal", "TOTAL_ERR_NONFATAL", &a.NonFatal},
		{"aer_dev_fatal", "TOTAL_ERR_FATAL", &a.Fatal},
	} {
		text, err := s.read(dir, x.file)
		if err != nil {
			continue
		}
		counted = true
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) != 2 {
				continue
			}
			count, err := strconv.Atoi(fields[1])
			switch {
			case err != nil || count == 0 || fields[0] == "Undefined":
			case fields[0] == x.total:
				*x.count = count
			default:
				if a.Kinds == nil {
					a.Kinds = map[string]int{}
				}
				a.Kinds[fields[0]] += count
			}
		}
	}
	if !counted {
		return nil
	}
	return &a
}

// slot is the number of the slot that a device is in. The kernel names a slot's place without the function.
func (s sysfs) slot(address string) string {
	place, _, _ := strings.Cut(address, ".")
	for _, slot := range s.list("bus/pci/slots") {
		if s.attr("bus/pci/slots/"+slot, "address") == place {
			return slot
		}
	}
	return ""
}

// usb reads the USB device that is the card.
func (s sysfs) usb(dir string, n *NIC) {
	n.Bus, n.Address = busUSB, path.Base(dir)
	n.USBID = s.id(dir, "idVendor", "idProduct")
	n.Revision = s.attr(dir, "bcdDevice")
	n.Vendor, n.Model = s.attr(dir, "manufacturer"), s.attr(dir, "product")
	n.USB = &USB{}
	n.USB.Mbps, _ = s.number(dir, "speed")
	n.Power = cmp.Or(s.attr(dir, "power/runtime_status"), n.Power)
	n.PowerControl = cmp.Or(s.attr(dir, "power/control"), n.PowerControl)
	for p := path.Dir(dir); p != "."; p = path.Dir(p) {
		switch s.base(p, "subsystem") {
		case busUSB:
			if s.exists(p, "idVendor") && !strings.HasPrefix(path.Base(p), "usb") { // usb1 is the root hub
				n.USB.Hubs = append(n.USB.Hubs, path.Base(p))
			}
		case busPCI:
			n.USB.Controller = path.Base(p)
			n.Path = s.bridges(path.Dir(p))
			slices.Reverse(n.USB.Hubs)
			return
		}
	}
	slices.Reverse(n.USB.Hubs)
}
