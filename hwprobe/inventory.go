package hwprobe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"time"
)

// A Source is where the machine is read from. The zero value is the running machine.
type Source struct {
	// Sys is where sysfs is mounted; "/sys" if empty.
	Sys string
	// Files is the content of sysfs, instead of Sys. It must be able to read symbolic links (fs.ReadLinkFS).
	Files fs.FS
	// Kernel answers for rtnetlink and ethtool; the running kernel if nil.
	Kernel Kernel
	// ROM reads an option ROM, given the path of its file in sysfs. If nil, the ROMs are not read, only noticed. Inventory
	// asks for no ROM of an interface that is up.
	ROM func(ctx context.Context, path string) ([]byte, error)
}

// A Kernel answers for the machine and the network interfaces of this network namespace. Its methods return in bounded
// time, also if the context has no deadline.
type Kernel interface {
	// Host tells about the kernel itself.
	Host() Host
	// Links lists the interfaces as rtnetlink describes them.
	Links(ctx context.Context) ([]Link, error)
	// Ethtool asks one link's driver. It wakes a card that sleeps. With an error it returns what it has got until then.
	Ethtool(ctx context.Context, l Link) (Ethtool, error)
}

// Host is what the kernel says of itself.
type Host struct {
	// Release is the kernel's version, "6.12.117-bondd".
	Release string `json:"release,omitempty"`
	// UptimeSeconds is how long it has run, also asleep.
	UptimeSeconds int `json:"uptime_seconds,omitempty"`
}

// A Link is a network interface as rtnetlink describes it. Empty fields are unknown.
type Link struct {
	Index int    `json:"index"`
	Name  string `json:"name"`
	// AltNames are further names.
	AltNames []string `json:"alt_names,omitempty"`
	// Ethernet is true for hardware type ARPHRD_ETHER.
	Ethernet bool `json:"ethernet,omitempty"`
	// Up is the administrative state.
	Up bool `json:"up,omitempty"`
	// Kind is the rtnetlink kind of a virtual interface ("veth", "bond"); empty for hardware.
	Kind string `json:"kind,omitempty"`
	// Enslaved says that another interface is this one's master, which may have changed its Address.
	Enslaved bool `json:"enslaved,omitempty"`
	Address  MAC  `json:"address,omitempty"`
	// Permanent is the address from before any change; nil if the kernel does not tell.
	Permanent MAC `json:"permanent,omitempty"`
	// Carrier is nil while the interface is down.
	Carrier *bool `json:"carrier,omitempty"`
	// LinkLosses is how often the carrier was lost since the interface exists.
	LinkLosses *int `json:"link_losses,omitempty"`
	// ParentBus and Parent are the bus and the name of the device behind the interface.
	ParentBus string `json:"parent_bus,omitempty"`
	Parent    string `json:"parent,omitempty"`
}

// MAC is a hardware address that is text in JSON.
type MAC net.HardwareAddr

// String is the address as people write it.
func (m MAC) String() string { return net.HardwareAddr(m).String() }

// MarshalText encodes the address.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText decodes an address.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = nil
		return nil
	}
	a, err := net.ParseMAC(string(b))
	*m = MAC(a)
	return err
}

// Ethtool is what a link's driver tells. Empty fields are unknown.
type Ethtool struct {
	// Driver, Version and Firmware are the driver information.
	Driver   string `json:"driver,omitempty"`
	Version  string `json:"version,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	// SpeedMbps is 0 if unknown; Duplex is "full", "half" or empty.
	SpeedMbps int    `json:"speed_mbps,omitempty"`
	Duplex    string `json:"duplex,omitempty"`
	Autoneg   *bool  `json:"autoneg,omitempty"`
	// Supported, Advertised and Partner are link modes by the kernel's names.
	Supported  []string `json:"supported,omitempty"`
	Advertised []string `json:"advertised,omitempty"`
	Partner    []string `json:"partner,omitempty"`
	// CarrierReported is false if the driver has no answer to whether there is a link.
	CarrierReported *bool `json:"carrier_reported,omitempty"`
	// NoLink is the reason why there is no link, in words.
	NoLink string  `json:"no_link,omitempty"`
	Signal *Signal `json:"signal,omitempty"`
	EEE    *EEE    `json:"eee,omitempty"`
	// WakeOn is what wakes the machine.
	WakeOn []string `json:"wake_on,omitempty"`
	// Unread says which questions had no answer, and why.
	Unread []string `json:"unread,omitempty"`
}

// ErrDetached is what Kernel.Ethtool returns for a link whose device no longer answers.
var ErrDetached = errors.New("the device no longer answers")

// A Machine is what was read of a machine at one time.
type Machine struct {
	Host
	// Vendor, Product, Board and Firmware are what the maker says; empty if unknown.
	Vendor   string `json:"vendor,omitempty"`
	Product  string `json:"product,omitempty"`
	Board    string `json:"board,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	NICs     []NIC  `json:"-"`
}

// uppers are the kinds of virtual interface that stand on top of others. They are Ethernet to the kernel and no NIC to
// anyone: what is beneath them is what would have to be bonded.
var uppers = []string{
	"bond", "bridge", "hsr", "ipvlan", "ipvtap", "macsec", "macvlan", "macvtap", "openvswitch", "team", "vlan", "vrf",
	"vxlan",
}

const (
	// nicTimeout bounds what one driver is asked: one that hangs must not hold up the others.
	nicTimeout = 2 * time.Second
	// passTimeout bounds what all of them together are asked. A driver that hangs while it holds the kernel's lock holds
	// up the others after all.
	passTimeout = 5 * time.Second
)

// Inventory is the NICs of Probe.
func Inventory(ctx context.Context, src Source) ([]NIC, error) {
	m, err := Probe(ctx, src)
	return m.NICs, err
}

// Probe reads the machine and every Ethernet NIC of it, in natural order of the names: all hardware (wireless cards are
// not Ethernet), and the virtual ends such as veth, which Judge heeds only if they are named. An error means that the
// list itself could not be read, or that ctx was cancelled; what could not be read of a NIC is left unknown and said in
// its Unread. A card that sleeps is left asleep.
func Probe(ctx context.Context, src Source) (Machine, error) {
	p := src.prober()
	links, err := p.kernel.Links(ctx)
	if err != nil {
		return Machine{}, fmt.Errorf("list network interfaces: %w", err)
	}
	m := Machine{Host: p.kernel.Host(), NICs: []NIC{}}
	m.describe(p.sys)
	// Two passes, each with a limit of its own: what hangs in one driver costs no card what sysfs says of it.
	links = slices.DeleteFunc(links, func(l Link) bool {
		return !l.Ethernet || slices.Contains(uppers, l.Kind)
	})
	devices, cancel := context.WithTimeoutCause(ctx, passTimeout,
		timeout(fmt.Sprintf("timed out: the devices of all cards took longer than %v", passTimeout)))
	defer cancel()
	links = slices.DeleteFunc(links, func(l Link) bool {
		n, wireless := p.device(devices, l)
		if !wireless {
			m.NICs = append(m.NICs, n)
		}
		return wireless
	})
	drivers, cancel := context.WithTimeoutCause(ctx, passTimeout,
		timeout(fmt.Sprintf("timed out: the drivers of all cards took longer than %v", passTimeout)))
	defer cancel()
	for i, l := range links {
		p.driver(drivers, l, &m.NICs[i])
		if errors.Is(ctx.Err(), context.Canceled) {
			return Machine{}, fmt.Errorf("ask the driver of %s: %w", l.Name, ctx.Err())
		}
	}
	slices.SortFunc(m.NICs, func(a, b NIC) int { return compareNames(a.Name, b.Name) })
	return m, nil
}

// prober is a Source with its zero values filled in.
type prober struct {
	kernel Kernel
	sys    sysfs
	rom    func(context.Context, string) ([]byte, error)
}

func (src Source) prober() prober {
	p := prober{kernel: src.Kernel, sys: sysfs{src.Files}, rom: src.ROM}
	if p.kernel == nil {
		p.kernel = netKernel{}
	}
	if p.sys.fsys == nil {
		p.sys.fsys = os.DirFS(cmp.Or(src.Sys, "/sys"))
	}
	return p
}

// device reads what sysfs says of a link and of the device behind it, which may wait for the device. A wireless card is
// not read any further.
func (p prober) device(ctx context.Context, l Link) (n NIC, wireless bool) {
	n, err := bounded(ctx, nicTimeout, func(context.Context) (NIC, error) {
		n := newNIC(l)
		if p.sys.wireless(l) {
			return n, errWireless
		}
		p.sys.describe(l, &n)
		return n, nil
	})
	if errors.Is(err, errWireless) {
		return n, true
	}
	if err != nil {
		n = newNIC(l)
		n.Unidentified = l.Kind == "" // what has a kind needs no device to be known by
		n.unread("sysfs: " + err.Error())
	}
	if n.Bus == busVirtual && l.Parent != "" {
		n.Bus, n.Address = l.ParentBus, l.Parent
		n.unread("sysfs: it does not show this interface, whose device is " + l.ParentBus + " " + l.Parent)
	}
	return n, false
}

var errWireless = errors.New("the card is wireless")

// driver asks a link's driver, unless the card sleeps.
func (p prober) driver(ctx context.Context, l Link, n *NIC) {
	if n.asleep() {
		n.unread("ethtool: the card is asleep to save power, and is not woken")
		return
	}
	n.tell(p.kernel.Ethtool(ctx, l))
	if p.rom != nil && n.ROM != nil {
		p.readROM(ctx, l, n)
	}
}

// newNIC is what rtnetlink says of a link.
func newNIC(l Link) NIC {
	n := NIC{
		Name:          l.Name,
		AltNames:      l.AltNames,
		Driver:        l.Kind,
		Bus:           busVirtual,
		SupportedMbps: []int{},
		LinkUp:        l.Carrier,
		LinkLosses:    l.LinkLosses,
	}
	switch {
	case len(l.Permanent) > 0:
		n.PermanentMAC = l.Permanent.String()
	case !l.Enslaved && len(l.Address) > 0: // a bond gives all its slaves one address: then it proves nothing
		n.PermanentMAC = l.Address.String()
	}
	return n
}

// tell adds what the driver says, and what it does not.
func (n *NIC) tell(e Ethtool, err error) {
	// The name sysfs gives is the one by which the driver is bound; ethtool's is what the driver likes to be called.
	// Of a card that is not identified the driver's name alone would be half of what it is compared by.
	if !n.Unidentified && (n.Driver == "" || n.Bus == busVirtual) {
		n.Driver = cmp.Or(e.Driver, n.Driver)
	}
	n.DriverVersion, n.Firmware = e.Version, e.Firmware
	n.Duplex, n.Autoneg = e.Duplex, e.Autoneg
	if e.SpeedMbps > 0 {
		n.SpeedMbps = &e.SpeedMbps
	}
	n.Supported, n.Advertised, n.Partner = e.Supported, e.Advertised, e.Partner
	n.SupportedMbps = append(n.SupportedMbps, modeSpeeds(e.Supported)...)
	if n.CarrierReported == nil {
		n.CarrierReported = e.CarrierReported
	}
	n.NoLink, n.Signal, n.EEE, n.WakeOn = e.NoLink, e.Signal, e.EEE, e.WakeOn
	n.Detached = errors.Is(err, ErrDetached)
	for _, what := range e.Unread {
		n.unread("ethtool: " + what)
	}
	if err != nil {
		n.unread("ethtool: " + err.Error())
	}
}

// unread notes that something could not be read.
func (n *NIC) unread(what string) { n.Unread = append(n.Unread, what) }

// describe fills in what the machine's firmware says of it.
func (m *Machine) describe(sys sysfs) {
	const dir = "class/dmi/id"
	m.Vendor, m.Product = sys.attr(dir, "sys_vendor"), sys.attr(dir, "product_name")
	m.Board, m.Firmware = sys.attr(dir, "board_name"), sys.attr(dir, "bios_version")
}
