package usbcard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mdlayher/ethtool"

	"bondd.internal/image/lab/netlab"
)

// waitLimit bounds what the guest's kernel may take for one step.
const waitLimit = 30 * time.Second

// The addresses of the card and of the machine's other end of its cable.
const (
	cardMAC = "02:00:00:00:03:00"
	portMAC = "02:00:00:00:03:01"
)

// Devices returns QEMU's arguments for the card and for what it is connected
// to, for guest.Config.
func Devices() []string {
	return []string{
		"-device", "qemu-xhci,id=usb",
		"-netdev", "hubport,id=usbcard.hub,hubid=30",
		"-device", "usb-net,bus=usb.0,netdev=usbcard.hub,mac=" + cardMAC,
		"-netdev", "hubport,id=usbport.hub,hubid=30",
		"-device", "virtio-net-pci,netdev=usbport.hub,romfile=,ioeventfd=off,mac=" + portMAC,
	}
}

// Programs returns the programs of the host that this package runs in the
// guest, for guest.Config.
func Programs() []string { return []string{"mkfs.ext4", "mount", "umount"} }

// A Card is the USB card of the machine, in a namespace, and its cable to
// another one. It cannot be pulled: its driver knows no carrier.
type Card struct {
	netlab.Cable

	t          testing.TB
	port       string     // the USB port that it is in, in sysfs
	controller string     // the PCI device that the port belongs to
	release    func()     // of the device's lock, once it is dead
	removed    chan error // what came of its removal
}

// Connect takes the card to one namespace and the other end of its cable to
// another, where it is up, until the end of the test.
func Connect(t testing.TB, near *netlab.Namespace, nearName string, far *netlab.Namespace, farName string) *Card {
	t.Helper()
	c := &Card{Cable: netlab.Cable{Near: near, Far: far, NearName: nearName, FarName: farName}, t: t}
	move(t, portMAC, far, farName)
	far.IP("link set " + farName + " up")
	c.connect()
	t.Cleanup(func() {
		if c.release != nil {
			c.Remove()
			c.plug()
		}
	})
	return c
}

// connect takes the card to its namespace.
func (c *Card) connect() {
	c.t.Helper()
	card := find(c.t, cardMAC)
	function, err := filepath.EvalSymlinks(filepath.Join("/sys/class/net", card, "device"))
	if err != nil {
		c.t.Fatal(err)
	}
	// The interface is there before the kernel is done with the device.
	netlab.Eventually(c.t, waitLimit, "port of the card", func() bool {
		c.port, err = filepath.EvalSymlinks(filepath.Join(filepath.Dir(function), "port"))
		return err == nil
	})
	// …/0000:00:03.0/usb1/1-0:1.0/usb1-port1
	c.controller = filepath.Base(filepath.Join(c.port, "../../.."))
	move(c.t, cardMAC, c.Near, c.NearName)
}

// Die has the card's device die. Its interface stays as it is, and ethtool
// answers for it that there is no such device.
func (c *Card) Die() {
	c.t.Helper()
	device := filepath.Join(c.port, "device")
	c.release = holdLock(
		c.t,
		fmt.Sprintf("/dev/bus/usb/%03d/%03d", c.number(device, "busnum"), c.number(device, "devnum")),
	)
	c.removed = make(chan error, 1)
	go func() { c.removed <- os.WriteFile(filepath.Join(c.port, "disable"), []byte("1"), 0) }()
	netlab.Eventually(c.t, waitLimit, "card whose device is gone", func() bool {
		c.poke() // the driver finds out when it asks for the next frame
		return errors.Is(c.ask(), unix.ENODEV)
	})
}

// Remove has the dead card's interface go as well.
func (c *Card) Remove() {
	c.t.Helper()
	if c.release == nil {
		c.t.Fatal("the card is not dead")
	}
	c.release()
	if err := <-c.removed; err != nil {
		c.t.Fatalf("remove the card: %v", err)
	}
	c.release = nil
}

// Return has a card that was removed come back, down as a new one.
func (c *Card) Return() {
	c.t.Helper()
	c.plug()
	c.connect()
}

// plug has the USB controller look for the card again, which QEMU never took
// out: its driver starts anew.
func (c *Card) plug() {
	c.t.Helper()
	for _, what := range []string{"unbind", "bind"} {
		if err := os.WriteFile("/sys/bus/pci/drivers/xhci_hcd/"+what, []byte(c.controller), 0); err != nil {
			c.t.Fatal(err)
		}
	}
	find(c.t, cardMAC)
}

// ask returns what ethtool says of the card's link, if it is an error.
func (c *Card) ask() error {
	return c.Near.Do(func() error {
		client, err := ethtool.New()
		if err != nil {
			return err
		}
		defer client.Close()
		_, err = client.LinkState(ethtool.Interface{Name: c.NearName})
		return err
	})
}

// poke sends the card a frame that is for nobody.
func (c *Card) poke() {
	c.t.Helper()
	err := c.Far.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		req, err := unix.NewIfreq(c.FarName)
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
			return err
		}
		const local, shortest = 0x88b5, 60 // IEEE's EtherType for experiments; a frame without its checksum
		frame := make([]byte, shortest)
		copy(frame, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 3, 1})
		binary.BigEndian.PutUint16(frame[12:], local)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: int(req.Uint32()), Halen: 6})
	})
	if err != nil {
		c.t.Fatalf("send from %s: %v", c.FarName, err)
	}
}

// number reads a number of a USB device.
func (c *Card) number(device, attribute string) (n int) {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(device, attribute))
	if err == nil {
		_, err = fmt.Sscan(string(b), &n)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// find waits for a link of the guest's first namespace by its MAC address.
func find(t testing.TB, mac string) string {
	t.Helper()
	name := ""
	netlab.Eventually(t, waitLimit, "link with the address "+mac, func() bool {
		addresses, _ := filepath.Glob("/sys/class/net/*/address")
		for _, file := range addresses {
			if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == mac {
				name = filepath.Base(filepath.Dir(file))
			}
		}
		return name != ""
	})
	return name
}

// move takes a link from the guest's first namespace to another until the end of
// the test, if it is still there then.
func move(t testing.TB, mac string, to *netlab.Namespace, name string) {
	t.Helper()
	program(t, "ip", "link", "set", find(t, mac), "down", "netns", to.Name, "name", name)
	t.Cleanup(func() {
		// A namespace that was deleted may live on, and its cards with it.
		err := to.Do(func() error {
			_, err := net.InterfaceByName(name)
			return err
		})
		if err == nil {
			to.IP("link set " + name + " down netns 1")
		}
	})
}
