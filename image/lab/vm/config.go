package vm

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"bondd.internal/image/lab/qemu"
)

// Config describes a machine.
type Config struct {
	// Image is a raw disk image to boot from. What the machine writes goes to
	// a temporary file and is gone when the machine is closed, unless
	// Persistent is set.
	Image      string
	Persistent bool

	// Kernel, Initrd and Append boot a kernel directly; Image is then optional.
	Kernel, Initrd, Append string

	// Firmware and Bus default to BIOS and Virtio; for an empty Accel, see
	// qemu.QEMU.Choose.
	Firmware Firmware
	Bus      Bus
	Accel    qemu.Accel

	// Memory is in QEMU's notation, "1G" if empty. CPUs is 2 under KVM and 1
	// under emulation if zero.
	Memory string
	CPUs   int

	// NoRandom leaves the machine without a hardware source of random numbers:
	// no virtio-rng device, and a processor without RDRAND and RDSEED, which
	// under emulation is the one that QEMU has by default.
	NoRandom bool

	// NICs are the network cards, in the order of their PCI addresses.
	NICs []NIC

	// ChannelGroup makes the cards' ports one static channel group of the
	// switch, as balance-rr, balance-xor and broadcast need it. Without it the
	// switch sees one address on several ports.
	ChannelGroup bool

	// Network is the network behind the switch; see Network for its defaults.
	Network Network
}

// A NIC is a network card.
type NIC struct {
	// Model is QEMU's name for it: pcnet, e1000, rtl8139, virtio-net-pci,
	// vmxnet3, …. On e1000e and i82557b a pulled cable goes unnoticed by the
	// guest's driver.
	Model string
	// ID names the card for the methods of VM; "ethN" if empty, N being its
	// place in the list.
	ID string
	// MAC is its permanent address; 52:54:00:b0:d0:00 and following if nil.
	MAC net.HardwareAddr
	// NoROM leaves the card's option ROM out.
	NoROM bool
}

// Network is the IPv4 network that the switch belongs to. Its zero value is
// 192.168.1.0/24 with the gateway 192.168.1.1.
type Network struct {
	// Subnet is the network, Gateway the address in it of gateway, DHCP and
	// DNS server; the first host if unset.
	Subnet  netip.Prefix
	Gateway netip.Addr
	// Guest is the machine's address: where forwards lead, and what DHCP gives
	// to the first card's MAC, which is also the MAC of a bond that starts with
	// it. Host 202 of the subnet if unset.
	Guest netip.Addr
	// Forwards lead from addresses of this host to TCP ports of the guest.
	Forwards []Forward
}

// A Forward leads TCP connections from the host to the guest.
type Forward struct {
	Listen string // on the host, for example "127.0.0.1:8080"
	Port   uint16 // of the guest
}

// Firmware is what boots the machine.
type Firmware string

// The firmwares.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Bus is how the disk is attached.
type Bus string

// The buses.
const (
	Virtio Bus = "virtio"
	SATA   Bus = "sata"
	NVMe   Bus = "nvme"
	USB    Bus = "usb"
)

// idPattern is what QEMU takes as the id of a device.
var idPattern = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.-]*$`)

// complete returns the configuration with its defaults filled in, or an error
// that says which field is wrong.
func (c Config) complete() (Config, error) {
	if c.Image == "" && c.Kernel == "" {
		return c, errors.New("neither a disk image nor a kernel to boot")
	}
	if c.Firmware == "" {
		c.Firmware = BIOS
	}
	if c.Firmware != BIOS && c.Firmware != UEFI {
		return c, fmt.Errorf("firmware %q is none of bios, uefi", c.Firmware)
	}
	if c.Bus == "" {
		c.Bus = Virtio
	}
	if c.Memory == "" {
		c.Memory = "1G"
	}

	nics := make([]NIC, len(c.NICs))
	seen := make(map[string]bool)
	for i, n := range c.NICs {
		if n.ID == "" {
			n.ID = "eth" + strconv.Itoa(i)
		}
		if n.MAC == nil {
			n.MAC = net.HardwareAddr{0x52, 0x54, 0x00, 0xb0, 0xd0, byte(i)}
		}
		switch {
		case !idPattern.MatchString(n.ID):
			return c, fmt.Errorf("card %d: %q is not a name for a card", i, n.ID)
		case seen[n.ID]:
			return c, fmt.Errorf("card %d: the name %q is taken by another card", i, n.ID)
		case !idPattern.MatchString(n.Model):
			return c, fmt.Errorf("card %s: %q is not a model of a card", n.ID, n.Model)
		case len(n.MAC) != 6:
			return c, fmt.Errorf("card %s: %v is no Ethernet address", n.ID, n.MAC)
		case i > maxNICs-1:
			return c, fmt.Errorf("%d cards, at most %d fit", len(c.NICs), maxNICs)
		}
		seen[n.ID] = true
		nics[i] = n
	}
	c.NICs = nics

	var err error
	c.Network, err = c.Network.complete()
	return c, err
}

func (n Network) complete() (Network, error) {
	if !n.Subnet.IsValid() {
		n.Subnet = netip.MustParsePrefix("192.168.1.0/24")
	}
	n.Subnet = n.Subnet.Masked()
	if !n.Subnet.Addr().Is4() || n.Subnet.Bits() > 24 {
		return n, fmt.Errorf("subnet %v is no IPv4 network of at least 256 addresses", n.Subnet)
	}
	host := func(last byte) netip.Addr {
		a := n.Subnet.Addr().As4()
		a[3] = last
		return netip.AddrFrom4(a)
	}
	if !n.Gateway.IsValid() {
		n.Gateway = host(1)
	}
	if !n.Guest.IsValid() {
		n.Guest = host(202)
	}
	for _, a := range []netip.Addr{n.Gateway, n.Guest} {
		if !n.Subnet.Contains(a) {
			return n, fmt.Errorf("address %v is not in the subnet %v", a, n.Subnet)
		}
	}
	return n, nil
}

// firstSlot is the PCI slot of the first card. The slots are fixed, so that a
// card that returns has the address that it had.
const (
	firstSlot = 0x10
	maxNICs   = 0x1f - firstSlot + 1
)

// The files of the UEFI firmware, as Debian's package ovmf has them.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// machine returns QEMU's command line for a completed configuration. Sockets and
// private files are in dir.
func (c Config) machine(accel qemu.Accel, dir string) (*qemu.Machine, error) {
	cpus := c.CPUs
	if cpus == 0 {
		cpus = accel.CPUs()
	}
	m := qemu.NewMachine(accel, cpus, c.Memory)
	m.Add("-vga", "std")
	if !c.NoRandom {
		m.Add("-device", "virtio-rng-pci", "-cpu", accel.BestCPU())
	} else if accel == qemu.AccelKVM {
		m.Add("-cpu", "host,-rdrand,-rdseed")
	}
	m.Monitor(qemu.Dial(filepath.Join(dir, "qmp")))
	m.Console(qemu.Dial(filepath.Join(dir, "console")))

	if c.Firmware == UEFI {
		vars := filepath.Join(dir, "vars.fd")
		data, err := os.ReadFile(ovmfVars)
		if err != nil {
			return nil, fmt.Errorf("find the UEFI firmware: %w; `make deps` installs it", err)
		}
		if err := os.WriteFile(vars, data, 0o600); err != nil {
			return nil, err
		}
		m.Add(
			"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+ovmfCode,
			"-drive", "if=pflash,format=raw,unit=1,file="+qemu.Quote(vars))
	}
	if c.Kernel != "" {
		m.Boot(c.Kernel, c.Initrd, c.Append)
	}
	if c.Image != "" {
		disk, err := c.Bus.args()
		if err != nil {
			return nil, err
		}
		snapshot := "on"
		if c.Persistent {
			snapshot = "off"
		}
		m.Add("-drive", "if=none,id=disk,format=raw,snapshot="+snapshot+",file="+qemu.Quote(c.Image))
		m.Add(disk...)
	}
	for i, n := range c.NICs {
		socket := qemu.Quote(filepath.Join(dir, netdev(n.ID)))
		m.Add("-netdev", "stream,id="+netdev(n.ID)+",server=off,addr.type=unix,addr.path="+socket,
			"-device", n.device(i))
	}
	return m, nil
}

// netdev returns the id of the host's end of a card.
func netdev(id string) string { return "net-" + id }

// properties returns what QEMU must know of the card in place i of the list,
// for its command line and for device_add.
func (n NIC) properties(i int) map[string]string {
	p := map[string]string{
		"driver": n.Model,
		"id":     n.ID,
		"netdev": netdev(n.ID),
		"mac":    n.MAC.String(),
		"addr":   fmt.Sprintf("0x%x", firstSlot+i),
	}
	if n.NoROM {
		p["romfile"] = ""
	}
	return p
}

func (n NIC) device(i int) string {
	p := n.properties(i)
	arg := p["driver"]
	for _, key := range []string{"id", "netdev", "mac", "addr", "romfile"} {
		if value, ok := p[key]; ok {
			arg += "," + key + "=" + qemu.Quote(value)
		}
	}
	return arg
}

// args returns the arguments that attach the drive "disk". It is the first,
// and the only, device to boot from: no time is lost on network boot.
func (b Bus) args() ([]string, error) {
	const boot = ",drive=disk,bootindex=0"
	switch b {
	case Virtio:
		return []string{"-device", "virtio-blk-pci" + boot}, nil
	case SATA:
		return []string{"-device", "ich9-ahci,id=ahci", "-device", "ide-hd,bus=ahci.0" + boot}, nil
	case NVMe:
		return []string{"-device", "nvme,serial=bondd" + boot}, nil
	case USB:
		return []string{"-device", "qemu-xhci,id=xhci", "-device", "usb-storage,bus=xhci.0" + boot}, nil
	}
	return nil, fmt.Errorf("disk bus %q is none of virtio, sata, nvme, usb", b)
}
