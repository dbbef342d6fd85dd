package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// Limits of one request. A write may have to open a NIC, which takes seconds on
// some; a read only waits for whoever holds the kernel's RTNL lock.
const (
	readTimeout  = 3 * time.Second
	restTimeout  = 15 * time.Second // for what follows the first part of a reply
	writeTimeout = 15 * time.Second
)

// errInterrupted: the kernel's state changed while it was being dumped.
var errInterrupted = errors.New("the dump was interrupted by a change")

// A Client reads and writes the kernel's network state over one rtnetlink
// socket. It is safe for concurrent use; requests go one after the other.
type Client struct {
	mu     sync.Mutex
	conn   *netlink.Conn // nil: to be dialled
	writes atomic.Uint64
}

// Writes is the number of write requests sent so far, refused ones included.
func (c *Client) Writes() uint64 { return c.writes.Load() }

// Close ends the socket.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

// drop closes the socket; the next request dials a new one. A socket on which a
// request timed out still has the reply under way and cannot be used again.
func (c *Client) drop() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// execute sends one request and returns the replies.
func (c *Client) execute(ctx context.Context, m netlink.Message, timeout time.Duration) ([]netlink.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.conn == nil {
		conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Strict: true})
		if err != nil {
			return nil, fmt.Errorf("dial rtnetlink: %w", err)
		}
		c.conn = conn
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	replies, err := exchange(ctx, conn, m, timeout)
	ended := !stop()

	var errno syscall.Errno
	switch {
	case err == nil:
		for _, r := range replies {
			if r.Header.Flags&netlink.DumpInterrupted != 0 {
				err = errInterrupted
			}
		}
	case !errors.As(err, &errno) || errno == unix.ENOBUFS:
		c.drop() // anything but the kernel's own answer leaves the socket in doubt
	}
	if ended {
		c.drop()
	}
	return replies, err
}

// exchange sends one request and receives the replies. The time limit is for the
// kernel to reply, which it does before the request is sent where nobody holds the
// RTNL lock. The time in which this process waits for a processor does not count:
// on a busy machine a reply that is there would be taken for one that is missing.
func exchange(
	ctx context.Context,
	conn *netlink.Conn,
	m netlink.Message,
	timeout time.Duration,
) ([]netlink.Message, error) {
	request, err := conn.Send(m)
	if err != nil {
		return nil, err
	}
	if err := awaitReply(conn, timeout); err != nil {
		return nil, err
	}
	// What follows the first part of a dump is made while it is received.
	if err := conn.SetReadDeadline(time.Now().Add(restTimeout)); err != nil {
		return nil, fmt.Errorf("set deadline of rtnetlink socket: %w", err)
	}
	if ctx.Err() != nil { // whose deadline this may have replaced
		return nil, ctx.Err()
	}
	replies, err := conn.Receive()
	if err != nil {
		return nil, err
	}
	if err := netlink.Validate(request, replies); err != nil {
		return nil, err
	}
	return replies, nil
}

// awaitReply waits until there is something to receive.
func awaitReply(conn *netlink.Conn, timeout time.Duration) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("get rtnetlink socket: %w", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return fmt.Errorf("set deadline of rtnetlink socket: %w", err)
	}
	readable := false
	look := func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		readable = n > 0 && err == nil
		return readable
	}
	err = raw.Read(look)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// The runtime does not look once the time is up.
		if again := raw.Control(func(fd uintptr) { look(fd) }); again == nil && readable {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("wait %v for the kernel's reply: %w", timeout, err)
	}
	return nil
}

// dump sends a dump request until one was not interrupted by a change, thrice at most.
func (c *Client) dump(ctx context.Context, kind netlink.HeaderType, fixed int) ([]netlink.Message, error) {
	m := netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, fixed),
	}
	for try := 1; ; try++ {
		replies, err := c.execute(ctx, m, readTimeout)
		if !errors.Is(err, errInterrupted) || try == 3 {
			return replies, err
		}
	}
}

// Links reads every link.
func (c *Client) Links(ctx context.Context) ([]state.Link, error) {
	replies, err := c.dump(ctx, unix.RTM_GETLINK, unix.SizeofIfInfomsg)
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	links := make([]state.Link, 0, len(replies))
	for _, r := range replies {
		l, err := decodeLink(r.Data)
		if err != nil {
			return nil, err
		}
		links = append(links, l)
	}
	nameSlaves(links)
	return links, nil
}

// Network reads every link, address and route of the main table, and the routes
// of other tables that bondd may have to put back.
func (c *Client) Network(ctx context.Context) (*state.Network, error) {
	links, err := c.Links(ctx)
	if err != nil {
		return nil, err
	}
	n := &state.Network{Links: links}
	kept := restorable(links)
	replies, err := c.dump(ctx, unix.RTM_GETADDR, unix.SizeofIfAddrmsg)
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	for _, r := range replies {
		if otherFamily(r.Data) {
			continue
		}
		a, err := decodeAddress(r.Data)
		if err != nil {
			return nil, err
		}
		if kept[a.Index] {
			a.Message = string(r.Data)
		}
		n.Addresses = append(n.Addresses, a)
	}
	if replies, err = c.dump(ctx, unix.RTM_GETROUTE, unix.SizeofRtMsg); err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	for _, r := range replies {
		if otherFamily(r.Data) {
			continue
		}
		if err := addRoute(n, r.Data, kept); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// otherFamily reports whether an address or a route is not one of IPv4 or IPv6: a
// dump of all families has those of MPLS, MCTP, multicast routing and others, whose
// addresses have another form. The family is the first byte of both headers.
func otherFamily(data []byte) bool {
	return len(data) > 0 && data[0] != unix.AF_INET && data[0] != unix.AF_INET6
}

// index finds a link's interface index by its name.
func (c *Client) index(ctx context.Context, name string) (int, error) {
	m, err := message(
		unix.RTM_GETLINK,
		0,
		make([]byte, unix.SizeofIfInfomsg),
		func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_IFNAME, name)
			return nil
		},
	)
	if err != nil {
		return 0, err
	}
	m.Header.Flags &^= netlink.Acknowledge // the reply itself is the answer
	replies, err := c.execute(ctx, m, readTimeout)
	if err != nil {
		return 0, fmt.Errorf("find link %s: %w", name, err)
	}
	if len(replies) != 1 || len(replies[0].Data) < unix.SizeofIfInfomsg {
		return 0, fmt.Errorf("find link %s: the kernel gave %d answers", name, len(replies))
	}
	return int(int32(binary.NativeEndian.Uint32(replies[0].Data[4:]))), nil
}

// Do carries out one op and returns when the kernel has done or refused it.
func (c *Client) Do(ctx context.Context, op state.Op) error {
	if open, ok := op.(state.OpenBond); ok {
		return c.open(ctx, open.Bond)
	}
	m, err := encode(op, func(name string) (int, error) { return c.index(ctx, name) })
	// IPv6 is off before a parked NIC is up, and on when it no longer is.
	if park, ok := op.(state.Park); ok && err == nil {
		err = switchIPv6(park.Link, false)
	}
	if err == nil {
		c.writes.Add(1)
		_, err = c.execute(ctx, m, writeTimeout)
	}
	if _, ok := op.(state.RestoreRoute); ok && errors.Is(err, unix.EEXIST) {
		err = nil // somebody else was first
	}
	if unpark, ok := op.(state.Unpark); ok && err == nil {
		err = switchIPv6(unpark.Link, true)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// switchIPv6 switches IPv6 on or off on a link, which the kernel offers only as
// a file. A link or a kernel that has no IPv6 needs no switching.
func switchIPv6(link string, on bool) error {
	disable := "1"
	if on {
		disable = "0"
	}
	f, err := os.OpenFile("/proc/sys/net/ipv6/conf/"+link+"/disable_ipv6", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(disable)
	return err
}
