package hwprobe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Source is where Inventory looks. The zero value is the running machine.
type Source struct {
	// Sys is where sysfs is mounted; "/sys" if empty.
	Sys string
	// Kernel answers for rtnetlink and ethtool; the running kernel if nil.
	Kernel Kernel
}

// A Kernel answers for the network interfaces of this network namespace. Both methods return in bounded time, also if
// the context has no deadline.
type Kernel interface {
	// Links lists them as rtnetlink describes them.
	Links(ctx context.Context) ([]Link, error)
	// Ethtool asks one link's driver. It wakes a card that sleeps. With an error it returns what it has got until then.
	Ethtool(ctx context.Context, l Link) (Ethtool, error)
}

// A Link is a network interface as rtnetlink describes it. Empty fields are unknown.
type Link struct {
	Index int
	Name  string
	// Ethernet is true for hardware type ARPHRD_ETHER.
	Ethernet bool
	// Kind is the rtnetlink kind of a virtual interface ("veth", "bond"); empty for hardware.
	Kind string
	// Enslaved says that another interface is this one's master, which may have changed its Address.
	Enslaved bool
	Address  net.HardwareAddr
	// Permanent is the address from before any change; nil if the kernel does not tell.
	Permanent net.HardwareAddr
	// Carrier is nil while the interface is down.
	Carrier *bool
}

// Ethtool is what a link's driver tells. Empty fields are unknown.
type Ethtool struct {
	// Driver and Firmware are the driver information.
	Driver, Firmware string
	// SpeedMbps is 0 if unknown; Duplex is "full", "half" or empty; SupportedMbps ascends.
	SpeedMbps     int
	Duplex        string
	SupportedMbps []int
}

// uppers are the kinds of virtual interface that stand on top of others. They are Ethernet to the kernel and no NIC to
// anyone: what is beneath them is what would have to be bonded.
var uppers = []string{"bond", "bridge", "hsr", "ipvlan", "ipvtap", "macsec", "macvlan", "macvtap", "openvswitch", "team", "vlan", "vrf", "vxlan"}

const (
	// nicTimeout bounds what one driver is asked: one that hangs must not hold up the others.
	nicTimeout = 2 * time.Second
	// driversTimeout bounds what all drivers together are asked. A driver that hangs with the kernel's lock in its
	// hands holds up the others after all.
	driversTimeout = 5 * time.Second
)

// Inventory lists every Ethernet NIC of the machine, in natural order of the names: all hardware (wireless cards are
// not Ethernet), and the virtual ends such as veth, which Judge heeds only if they are named. An error means that the
// list itself could not be read, or that ctx was cancelled; what could not be read of a NIC is left unknown and said in
// its Unread. A card that sleeps is left asleep.
func Inventory(ctx context.Context, src Source) ([]NIC, error) {
	kernel := src.Kernel
	if kernel == nil {
		kernel = netKernel{}
	}
	links, err := kernel.Links(ctx)
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	sys := sysfs(cmp.Or(src.Sys, "/sys"))
	drivers, cancel := context.WithTimeoutCause(ctx, driversTimeout,
		timeout(fmt.Sprintf("timed out: the drivers of all cards took longer than %v", driversTimeout)))
	defer cancel()
	nics := []NIC{}
	for _, l := range links {
		if !l.Ethernet || slices.Contains(uppers, l.Kind) || sys.wireless(l) {
			continue
		}
		n := newNIC(l, sys)
		if sys.asleep(l) {
			n.unread("ethtool: the card is asleep to save power, and is not woken")
		} else {
			e, err := kernel.Ethtool(drivers, l)
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, fmt.Errorf("ask the driver of %s: %w", l.Name, ctx.Err())
			}
			n.tell(e, err)
		}
		nics = append(nics, n)
	}
	slices.SortFunc(nics, func(a, b NIC) int { return compareNames(a.Name, b.Name) })
	return nics, nil
}

// newNIC joins what rtnetlink says of a link with what sysfs says of its device.
func newNIC(l Link, sys sysfs) NIC {
	n := NIC{
		Name:          l.Name,
		Driver:        l.Kind,
		Bus:           busVirtual,
		SupportedMbps: []int{},
		LinkUp:        l.Carrier,
	}
	switch {
	case len(l.Permanent) > 0:
		n.PermanentMAC = l.Permanent.String()
	case !l.Enslaved && len(l.Address) > 0: // a bond gives all its slaves one address: then it proves nothing
		n.PermanentMAC = l.Address.String()
	}
	sys.describe(l, &n)
	return n
}

// tell adds what the driver says, and what it does not.
func (n *NIC) tell(e Ethtool, err error) {
	// The name sysfs gives is the one by which the driver is bound; ethtool's is what the driver likes to be called.
	if n.Driver == "" || n.Bus == busVirtual {
		n.Driver = cmp.Or(e.Driver, n.Driver)
	}
	n.Firmware, n.Duplex = e.Firmware, e.Duplex
	n.SupportedMbps = append(n.SupportedMbps, e.SupportedMbps...)
	if e.SpeedMbps > 0 {
		n.SpeedMbps = &e.SpeedMbps
	}
	if err != nil {
		n.unread("ethtool: " + err.Error())
	}
}

// unread notes that something could not be read.
func (n *NIC) unread(what string) { n.Unread = append(n.Unread, what) }

// sysfs is the path of a mounted sysfs.
type sysfs string

// netDir is the folder of an interface, empty if sysfs shows another network namespace than the one the link is in: a
// veth of ours must not borrow the hardware of a namesake.
func (s sysfs) netDir(l Link) string {
	dir := filepath.Join(string(s), "class", "net", l.Name)
	if readAttr(dir, "ifindex") != strconv.Itoa(l.Index) {
		return ""
	}
	return dir
}

// wireless says whether the link is a radio: Wi-Fi or a mobile modem that poses as Ethernet.
func (s sysfs) wireless(l Link) bool {
	dir := s.netDir(l)
	if dir == "" {
		return false
	}
	return exists(filepath.Join(dir, "phy80211")) || slices.Contains(strings.Fields(readAttr(dir, "uevent")), "DEVTYPE=wwan")
}

// asleep says whether the device behind the link is suspended. Its driver cannot be asked anything without waking it.
func (s sysfs) asleep(l Link) bool {
	dir := s.netDir(l)
	if dir == "" {
		return false
	}
	status := readAttr(dir, "device/power/runtime_status")
	return status == "suspended" || status == "suspending"
}

// describe fills in what the device behind the link tells, if there is one.
func (s sysfs) describe(l Link, n *NIC) {
	dir := s.netDir(l)
	if dir == "" {
		return
	}
	device, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
	if err != nil {
		return
	}
	n.Driver = cmp.Or(linkBase(device, "driver"), n.Driver)
	n.Bus = cmp.Or(linkBase(device, "subsystem"), "unknown")
	n.Address = filepath.Base(device)

	// The interface may hang on a child of the card: virtio3 of a PCI device, 1-2:1.0 of a USB device. The first PCI
	// or USB device upwards is the card; above a USB device comes its host controller, which is not.
	for p := device; p != filepath.Dir(p); p = filepath.Dir(p) {
		switch linkBase(p, "subsystem") {
		case busPCI:
			n.Bus, n.Address = busPCI, filepath.Base(p)
			n.PCIID = readID(p, "vendor", "device")
			n.Subsystem = readID(p, "subsystem_vendor", "subsystem_device")
			n.Vendor, n.Model = pciNames(n.PCIID)
			// The attribute exists if and only if the device has a ROM. Its content is never read: some cards hang on that.
			rom := exists(filepath.Join(p, "rom"))
			n.OptionROM = &rom
			return
		case busUSB:
			if !exists(filepath.Join(p, "idVendor")) {
				continue // an interface of the device, not the device
			}
			n.Bus, n.Address = busUSB, filepath.Base(p)
			n.USBID = readID(p, "idVendor", "idProduct")
			n.Vendor, n.Model = readAttr(p, "manufacturer"), readAttr(p, "product")
			return
		}
	}
}

// readID joins two hexadecimal attributes to "8086:100e"; it is empty if either is missing.
func readID(dir, vendor, device string) string {
	v, d := readAttr(dir, vendor), readAttr(dir, device)
	if v == "" || d == "" {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(v, "0x") + ":" + strings.TrimPrefix(d, "0x"))
}

// readAttr is the trimmed content of a sysfs attribute, empty if it cannot be read: devices come and go, and an
// unreadable attribute is an unknown one.
func readAttr(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// linkBase is the last element of what a symbolic link points to, empty if there is no such link.
func linkBase(dir, name string) string {
	target, err := os.Readlink(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
