package vmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// acquaint fixes the Ethernet addresses of host and peer for each other, so
// that no ARP is part of what is measured.
func acquaint(lan *netlab.LAN) {
	lan.Host.Neighbour("bond0", netlab.PeerAddress.Addr(), lan.Peer.MAC("br0"))
	lan.Peer.Neighbour("br0", netlab.HostAddress.Addr(), lan.Host.MAC("bond0"))
}

// toPeer starts a stream of a packet every interval from the host to the peer.
func toPeer(t testing.TB, lan *netlab.LAN, interval time.Duration) *netlab.Stream {
	return netlab.StartStream(t, netlab.StreamConfig{From: lan.Host, To: lan.Peer, Interval: interval,
		Dest: netip.AddrPortFrom(netlab.PeerAddress.Addr(), 9000)})
}

// toHost starts a stream of a packet every interval from the peer to the host.
func toHost(t testing.TB, lan *netlab.LAN, interval time.Duration) *netlab.Stream {
	return netlab.StartStream(t, netlab.StreamConfig{From: lan.Peer, To: lan.Host, Interval: interval,
		Dest: netip.AddrPortFrom(netlab.HostAddress.Addr(), 9001)})
}

// reachable checks that packets pass between host and peer, both ways, with ARP.
func reachable(t testing.TB, lan *netlab.LAN) {
	t.Helper()
	out, in := toPeer(t, lan, time.Millisecond), toHost(t, lan, time.Millisecond)
	time.Sleep(100 * time.Millisecond)
	for _, r := range []netlab.Report{out.Stop(), in.Stop()} {
		if r.Lost != 0 {
			t.Errorf("host and peer do not reach each other: %v", r)
		}
	}
}

// A monitor receives what the kernel tells of changes to links, addresses and routes.
type monitor struct {
	t  testing.TB
	fd int
}

// watch starts a monitor in a namespace.
func watch(t testing.TB, ns *netlab.Namespace) *monitor {
	t.Helper()
	m := &monitor{t: t}
	err := ns.Do(func() (err error) {
		m.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		return unix.Bind(m.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK,
			Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_IFADDR})
	})
	if err != nil {
		t.Fatalf("watch %s: %v", ns.Name, err)
	}
	t.Cleanup(func() { unix.Close(m.fd) })
	return m
}

// messages returns the types of the messages that were told since the last call.
func (m *monitor) messages() []uint16 {
	m.t.Helper()
	var types []uint16
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(m.fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return types
		}
		if err != nil || n < unix.SizeofNlMsghdr {
			m.t.Fatalf("read the kernel's notifications: %d bytes, %v", n, err)
		}
		types = append(types, binary.NativeEndian.Uint16(buf[4:]))
	}
}

// count is how many messages of a type were told since the last call.
func (m *monitor) count(kind uint16) int {
	m.t.Helper()
	n := 0
	for _, k := range m.messages() {
		if k == kind {
			n++
		}
	}
	return n
}

// A sniffer receives every frame that passes an interface.
type sniffer struct {
	t  testing.TB
	fd int
}

// sniff starts a sniffer.
func sniff(t testing.TB, ns *netlab.Namespace, dev string) *sniffer {
	t.Helper()
	s := &sniffer{t: t}
	index := linksOf(ns)[dev].Index
	err := ns.Do(func() (err error) {
		// ETH_P_ALL: a bridge takes everything else away before a socket sees it.
		proto := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(proto))
		if err != nil {
			return err
		}
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: index})
	})
	if err != nil {
		t.Fatalf("sniff %s in %s: %v", dev, ns.Name, err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

// gratuitousARPs counts the announcements of an IPv4 address that came in since
// the last call.
func (s *sniffer) gratuitousARPs(a netip.Addr) int {
	s.t.Helper()
	buf := make([]byte, 2048)
	count := 0
	for {
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return count
		}
		if err != nil {
			s.t.Fatalf("sniff: %v", err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		const header, sender, target = 14, 14 + 14, 14 + 24
		if n < header+28 || binary.BigEndian.Uint16(buf[12:]) != unix.ETH_P_ARP {
			continue
		}
		if ip := a.As4(); [4]byte(buf[sender:]) == ip && [4]byte(buf[target:]) == ip {
			count++
		}
	}
}

// openFiles counts a process's open files.
func openFiles(t testing.TB, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// writesIn are the lines of a log that tell of writes to the kernel.
func writesIn(log *lockedBuffer) []string {
	var lines []string
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `msg="kernel: `) {
			lines = append(lines, line)
		}
	}
	return lines
}

// send sends UDP packets to an address, for a namespace's Do.
func send(to netip.Addr, packets int) error {
	conn, err := net.Dial("udp", netip.AddrPortFrom(to, 9002).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	for range packets {
		if _, err := conn.Write([]byte("x")); err != nil {
			return err
		}
	}
	return nil
}
