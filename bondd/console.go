package main

import (
	"io"

	"golang.org/x/sys/unix"
)

// A console repeats what is written to it on the machine's screen and serial
// port: with no card to reach the page by, they are where a person looks. What
// a device does not take at once is dropped; the daemon never waits for one.
type console struct {
	io.Writer
	devices []int // file descriptors, open for as long as the process runs
}

// withConsole returns w with the consoles beside it that this machine has.
func withConsole(w io.Writer) io.Writer {
	c := &console{Writer: w}
	// The first screen, and whatever the kernel's last console= names.
	for _, device := range []string{"/dev/tty1", "/dev/console"} {
		if fd, err := unix.Open(device, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err == nil {
			c.devices = append(c.devices, fd)
		}
	}
	return c
}

func (c *console) Write(p []byte) (int, error) {
	for _, fd := range c.devices {
		_, _ = unix.Write(fd, p)
	}
	return c.Writer.Write(p)
}
