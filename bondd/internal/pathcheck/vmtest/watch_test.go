package vmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// A neighbour is what a switch or a host has just learned: by which port an
// Ethernet address is reached, or which Ethernet address an IP address has.
type neighbour struct {
	IP   netip.Addr // invalid in a switch's table
	MAC  string
	Port int // index of the interface
}

// A watcher is told of everything that a namespace's bridges and neighbour
// tables learn, so that no moment is missed.
type watcher struct {
	t  testing.TB
	fd int
}

func watch(t testing.TB, ns *netlab.Namespace) *watcher {
	t.Helper()
	w := &watcher{t: t}
	err := ns.Do(func() (err error) {
		w.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
			return err
		}
		return unix.Bind(w.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_NEIGH})
	})
	if err != nil {
		t.Fatalf("watch %s: %v", ns.Name, err)
	}
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

// learned returns what was learned since the last call.
func (w *watcher) learned() []neighbour {
	w.t.Helper()
	var list []neighbour
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(w.fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return list
		}
		if err != nil || n < unix.SizeofNlMsghdr+unix.SizeofNdMsg {
			w.t.Fatalf("read what was learned: %d bytes, %v", n, err)
		}
		if binary.NativeEndian.Uint16(buf[4:]) != unix.RTM_NEWNEIGH {
			continue
		}
		one, err := parseNeighbour(buf[unix.SizeofNlMsghdr:n])
		if err != nil {
			w.t.Fatalf("read what was learned: %v", err)
		}
		list = append(list, one)
	}
}

func parseNeighbour(b []byte) (neighbour, error) {
	one := neighbour{Port: int(int32(binary.NativeEndian.Uint32(b[4:])))}
	attributes, err := netlink.NewAttributeDecoder(b[unix.SizeofNdMsg:])
	if err != nil {
		return one, err
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.NDA_DST:
			one.IP, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.NDA_LLADDR:
			one.MAC = net.HardwareAddr(attributes.Bytes()).String()
		}
	}
	return one, attributes.Err()
}

// send sends a frame of no meaning by an interface, under a MAC.
func send(ns *netlab.Namespace, dev string, from net.HardwareAddr) error {
	index := linksOf(ns)[dev].Index
	return ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, from...)
		frame = append(frame, 0x88, 0xb5) // for experiments (IEEE 802)
		if err := unix.Sendto(fd, append(frame, make([]byte, 46)...), 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		return nil
	})
}
