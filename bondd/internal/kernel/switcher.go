package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// A Request is one or more writes, encoded beforehand, that the kernel takes in
// one system call: a process that dies cannot leave half of them undone.
type Request struct {
	packet []byte
	count  int // messages, each of which is acknowledged
}

// SetActiveSlave makes the request that moves a bond's traffic to a slave.
func SetActiveSlave(bond, slave int) Request {
	return request(bond, state.Options{"active_slave": strconv.Itoa(slave)})
}

// InspectNow makes the request that has the bonding driver look at every slave
// at once: miimon 0, then miimon as it was. Writing the same value alone would
// change nothing, since the timer already runs (bond_option_miimon_set,
// drivers/net/bonding/bond_options.c). It uses up one tick of updelay and
// downdelay, so it is not for bonds that have them.
func InspectNow(bond int, miimon time.Duration) Request {
	return request(bond, state.Options{"miimon": "0"},
		state.Options{"miimon": strconv.FormatInt(miimon.Milliseconds(), 10)})
}

// request encodes one message for each set of options. Options that name a
// slave have its index for a name here.
func request(bond int, sets ...state.Options) Request {
	r := Request{count: len(sets)}
	for i, set := range sets {
		m, err := linkMessage(bond, 0, 0, 0, func(ae *netlink.AttributeEncoder) error {
			return bondOptions(ae, set, strconv.Atoi)
		})
		if err != nil {
			panic(fmt.Sprintf("kernel: request of fixed form: %v", err)) // a programmer's error
		}
		var h [unix.SizeofNlMsghdr]byte
		binary.NativeEndian.PutUint32(h[0:], uint32(len(h)+len(m.Data)))
		binary.NativeEndian.PutUint16(h[4:], uint16(m.Header.Type))
		binary.NativeEndian.PutUint16(h[6:], uint16(m.Header.Flags))
		binary.NativeEndian.PutUint32(h[8:], uint32(i+1))
		r.packet = append(append(r.packet, h[:]...), m.Data...)
	}
	return r
}

// A Switcher sends Requests on a socket of its own, without allocating. It is
// for one goroutine at a time.
type Switcher struct {
	conn   *netlink.Conn
	fd     int // of conn, which keeps it open
	reply  []byte
	writes atomic.Uint64
}

// NewSwitcher opens the socket.
func NewSwitcher() (*Switcher, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("dial rtnetlink for switching: %w", err)
	}
	s := &Switcher{conn: conn, reply: make([]byte, 8<<10)}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { s.fd = int(fd) })
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("get switching socket: %w", err)
	}
	return s, nil
}

// Close ends the socket.
func (s *Switcher) Close() { s.conn.Close() }

// Writes is the number of requests sent so far.
func (s *Switcher) Writes() uint64 { return s.writes.Load() }

// ackTimeout bounds the wait for an answer that rtnetlink gives before the send
// returns; it only runs out if an answer was lost.
const ackTimeout = 100 // milliseconds

// Do sends the request. When it returns, the kernel has carried it out or
// refused it; the error is the first refusal, a syscall.Errno.
func (s *Switcher) Do(r *Request) error {
	s.writes.Add(1)
	if _, err := unix.Write(s.fd, r.packet); err != nil {
		return err
	}
	var refused error
	for acks := 0; acks < r.count; {
		n, err := unix.Read(s.fd, s.reply)
		if errors.Is(err, unix.EAGAIN) {
			fds := [1]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(fds[:], ackTimeout); n == 0 && err == nil {
				return unix.ETIMEDOUT
			}
			continue
		}
		if err != nil {
			return err
		}
		if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(s.reply[4:]) != unix.NLMSG_ERROR {
			continue
		}
		acks++
		errno := -int32(binary.NativeEndian.Uint32(s.reply[unix.SizeofNlMsghdr:]))
		if errno != 0 && refused == nil {
			refused = unix.Errno(errno)
		}
	}
	return refused
}
