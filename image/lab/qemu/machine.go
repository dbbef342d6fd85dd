package qemu

import (
	"slices"
	"strconv"
	"strings"
)

// A Machine is QEMU's command line. Devices get their addresses in the order in
// which they are added.
type Machine struct{ args []string }

// NewMachine returns a PC without any device that is not added, and without a
// window. The memory is in QEMU's notation.
func NewMachine(accel Accel, cpus int, memory string) *Machine {
	m := new(Machine)
	m.Add("-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "pc,usb=off", "-smp", strconv.Itoa(cpus), "-m", memory)
	m.Add(accel.args()...)
	return m
}

// Add appends arguments.
func (m *Machine) Add(args ...string) { m.args = append(m.args, args...) }

// Args returns the arguments.
func (m *Machine) Args() []string { return slices.Clone(m.args) }

// Boot has the machine boot a kernel directly. There may be no initrd.
func (m *Machine) Boot(kernel, initrd, arguments string) {
	m.Add("-kernel", kernel)
	if initrd != "" {
		m.Add("-initrd", initrd)
	}
	m.Add("-append", arguments)
}

// Console joins a channel with the first serial port.
func (m *Machine) Console(c Channel) {
	m.Add("-chardev", c.device("console"), "-serial", "chardev:console")
}

// Monitor joins a channel with QEMU's monitor, see OpenMonitor.
func (m *Machine) Monitor(c Channel) {
	m.Add("-chardev", c.device("qmp"), "-mon", "chardev=qmp,mode=control")
}

// SerialPorts adds the controller for the ports of SerialPort. They are served by
// the processor's own thread (ioeventfd=off), so that no interrupt depends on the
// host's scheduler.
func (m *Machine) SerialPorts() { m.Add("-device", "virtio-serial-pci,ioeventfd=off") }

// SerialPort joins a channel with a virtio serial port, which the guest finds by
// its name. The id is unique in the machine.
func (m *Machine) SerialPort(id, name string, c Channel) {
	m.Add("-chardev", c.device(id), "-device", "virtserialport,chardev="+id+",name="+name)
}

// A Channel is the host's end of a serial port or of the monitor.
type Channel struct{ kind, path, options string }

// File is a file that takes all that QEMU sends, and so never makes it wait.
func File(path string) Channel { return Channel{"file", path, ""} }

// Dial is a Unix socket that somebody listens on.
func Dial(path string) Channel { return Channel{"socket", path, ",server=off"} }

// Listen is a Unix socket that QEMU listens on.
func Listen(path string) Channel { return Channel{"socket", path, ",server=on,wait=off"} }

func (c Channel) device(id string) string {
	return c.kind + ",id=" + id + ",path=" + Quote(c.path) + c.options
}

// Quote doubles the commas in a value, as QEMU wants it.
func Quote(value string) string { return strings.ReplaceAll(value, ",", ",,") }
