package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// eventBuffer is the receive buffer of the event socket, in bytes: a burst of
// some thousand link messages.
const eventBuffer = 8 << 20

// nlaTypeMask takes the flags off an attribute's type (NLA_TYPE_MASK, include/uapi/linux/netlink.h).
const nlaTypeMask = 0x3fff

// A Listener receives link events (RTNLGRP_LINK) on a thread of its own.
type Listener struct {
	// Priority is what its thread runs with; nil: it is a thread like any other.
	Priority *Priority
	// OnPriority, if it is set, is called once by Run before the first event:
	// with nil if the thread goes before all others that have no real-time
	// priority, else with the reason why it has to wait its turn.
	OnPriority func(error)

	conn *netlink.Conn
	stop int // eventfd that ends Run
}

// Listen joins the link group. Changes from then on are not missed.
func Listen() (*Listener, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("dial rtnetlink for events: %w", err)
	}
	if err := conn.JoinGroup(unix.RTNLGRP_LINK); err != nil {
		conn.Close()
		return nil, fmt.Errorf("join the link group of rtnetlink: %w", err)
	}
	_ = conn.SetReadBuffer(eventBuffer) // a smaller buffer only means more re-reads
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	return &Listener{conn: conn, stop: stop}, nil
}

// Run calls handle for every event, in order, on one locked thread that blocks
// in the kernel, so that an event goes from the socket to handle without
// passing the scheduler. It allocates nothing per event. It ends with nil when
// ctx ends, after which the Listener is closed.
func (l *Listener) Run(ctx context.Context, handle func(*state.LinkEvent)) error {
	defer l.conn.Close()
	defer unix.Close(l.stop)
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("get event socket: %w", err)
	}
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		_, _ = unix.Write(l.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !cancel() {
			<-stopped // the eventfd may only be closed after the write
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if l.Priority != nil {
		err := l.Priority.take()
		if err == nil {
			defer l.Priority.give()
		}
		if l.OnPriority != nil {
			l.OnPriority(err)
		}
	}
	var loopErr error
	if err := raw.Control(func(fd uintptr) { loopErr = l.loop(ctx, int(fd), handle) }); err != nil {
		return fmt.Errorf("use event socket: %w", err)
	}
	return loopErr
}

func (l *Listener) loop(ctx context.Context, fd int, handle func(*state.LinkEvent)) error {
	buf := make([]byte, 64<<10)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(l.stop), Events: unix.POLLIN}}
	ev := new(state.LinkEvent)
	for ctx.Err() == nil {
		n, err := unix.Read(fd, buf)
		received := time.Now()
		switch {
		case err == nil:
			splitEvents(buf[:n], received, ev, handle)
		case errors.Is(err, unix.EAGAIN):
			if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("wait for link events: %w", err)
			}
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS):
			*ev = state.LinkEvent{Received: received, Lost: true}
			handle(ev)
		default:
			return fmt.Errorf("receive link events: %w", err)
		}
	}
	return nil
}

// splitEvents calls handle for each link message in one datagram. It reads the
// few bytes that matter in place; ev is reused.
func splitEvents(b []byte, received time.Time, ev *state.LinkEvent, handle func(*state.LinkEvent)) {
	for len(b) > 0 {
		*ev = state.LinkEvent{Received: received, Lost: true}
		if len(b) < unix.SizeofNlMsghdr {
			handle(ev)
			return
		}
		size := int(binary.NativeEndian.Uint32(b))
		kind := binary.NativeEndian.Uint16(b[4:])
		if size < unix.SizeofNlMsghdr || size > len(b) {
			handle(ev)
			return
		}
		body := b[unix.SizeofNlMsghdr:size]
		b = b[min((size+3)&^3, len(b)):]
		if kind != unix.RTM_NEWLINK && kind != unix.RTM_DELLINK {
			continue
		}
		if len(body) > 0 && body[0] != unix.AF_UNSPEC {
			continue // a bridge's report about its port, which has no carrier in it (br_fill_ifinfo)
		}
		if len(body) >= unix.SizeofIfInfomsg {
			ev.Index = int(int32(binary.NativeEndian.Uint32(body[4:])))
			ev.Gone = kind == unix.RTM_DELLINK
			up := binary.NativeEndian.Uint32(body[8:])&unix.IFF_UP != 0
			ev.Lost = !readEvent(ev, body[unix.SizeofIfInfomsg:])
			ev.LinkUp = ev.LinkUp && up && !ev.Gone
		}
		handle(ev)
	}
}

// readEvent takes what matters from a link's attributes, LinkUp being the
// carrier. It reports whether they could be walked to their end.
func readEvent(ev *state.LinkEvent, b []byte) bool {
	for len(b) > 0 {
		kind, value, rest := attribute(b)
		if rest == nil {
			return false
		}
		switch kind {
		case unix.IFLA_CARRIER:
			ev.LinkUp = len(value) > 0 && value[0] != 0
		case unix.IFLA_EVENT:
			ev.Failover = number(value) == unix.IFLA_EVENT_BONDING_FAILOVER
		case unix.IFLA_LINKINFO:
			ev.Active = number(inside(inside(value, unix.IFLA_INFO_DATA), unix.IFLA_BOND_ACTIVE_SLAVE))
		}
		b = rest
	}
	return true
}

// attribute splits the first attribute off. rest is nil if there is none whole.
func attribute(b []byte) (kind uint16, value, rest []byte) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil
	}
	size := int(binary.NativeEndian.Uint16(b))
	if size < unix.SizeofNlAttr || size > len(b) {
		return 0, nil, nil
	}
	return binary.NativeEndian.Uint16(b[2:]) & nlaTypeMask, b[unix.SizeofNlAttr:size], b[min((size+3)&^3, len(b)):]
}

// inside finds an attribute among those in b, or nothing.
func inside(b []byte, want uint16) []byte {
	for len(b) > 0 {
		kind, value, rest := attribute(b)
		if kind == want && rest != nil {
			return value
		}
		b = rest
	}
	return nil
}

// number reads a u32; 0 if it is none.
func number(b []byte) int {
	if len(b) != 4 {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(b)))
}
