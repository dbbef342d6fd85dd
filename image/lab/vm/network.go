package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/containers/gvisor-tap-vsock/pkg/types"
	"github.com/containers/gvisor-tap-vsock/pkg/virtualnetwork"
	"github.com/sirupsen/logrus"

	"bondd.internal/image/lab/lan"
)

const (
	gatewayMAC = "52:54:00:b0:d0:ff"
	mtu        = 1500

	// dialLimit is how long a forwarded connection may wait for the guest.
	dialLimit = 30 * time.Second
)

// An uplink is the network behind the switch: gateway, DHCP, DNS, the way out
// and the way in.
type uplink struct {
	network Network
	stack   *virtualnetwork.VirtualNetwork
}

// newUplink makes the network. The library has no way to end its DHCP and DNS
// servers: they stay, idle, until the process ends.
func newUplink(n Network, firstMAC net.HardwareAddr) (*uplink, error) {
	// The library logs to logrus' one logger, and logs as errors what is a
	// matter of course here: that a machine was switched off, that a DHCP
	// client gives its address back.
	logrus.SetOutput(io.Discard)
	c := &types.Configuration{
		MTU:               mtu,
		Subnet:            n.Subnet.String(),
		GatewayIP:         n.Gateway.String(),
		GatewayMacAddress: gatewayMAC,
	}
	if firstMAC != nil {
		c.DHCPStaticLeases = map[string]string{n.Guest.String(): firstMAC.String()}
	}
	stack, err := virtualnetwork.New(c)
	if err != nil {
		return nil, fmt.Errorf("make the network %v: %w", n.Subnet, err)
	}
	return &uplink{network: n, stack: stack}, nil
}

// serve joins the network with a port of the switch until ctx ends.
func (u *uplink) serve(ctx context.Context, port *lan.Port) error {
	near, far := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// It ends when the pipe is closed, and always with that error.
		_ = u.stack.AcceptQemu(ctx, far)
	}()
	err := port.Serve(ctx, near)
	<-ended
	return err
}

// dial connects to an address of the network.
func (u *uplink) dial(ctx context.Context, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial %s in the machine's network: %w", address, err)
	}
	conn, err := u.stack.DialContextTCP(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("dial %s in the machine's network: %w", address, err)
	}
	return conn, nil
}

// listen opens the host's end of a forward.
func listen(f Forward) (net.Listener, error) {
	l, err := net.Listen("tcp", f.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: another program uses this address; stop it or choose another port", f.Listen)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", f.Listen, err)
	}
	return l, nil
}

// forward passes connections on to the guest until ctx ends. It waits for all
// of them to end.
func (u *uplink) forward(ctx context.Context, l net.Listener, port uint16) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("forward from %s: %w", l.Addr(), err)
		}
		connections.Go(func() { u.pass(ctx, conn, port) })
	}
}

// pass copies one connection, both ways. If the guest does not answer, the
// host's end is closed: to the client that is what an absent server is.
func (u *uplink) pass(ctx context.Context, host net.Conn, port uint16) {
	defer host.Close()
	dialCtx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	guest, err := u.dial(dialCtx, net.JoinHostPort(u.network.Guest.String(), strconv.Itoa(int(port))))
	if err != nil {
		return
	}
	defer guest.Close()
	stop := context.AfterFunc(ctx, func() {
		host.Close()
		guest.Close()
	})
	defer stop()

	var directions sync.WaitGroup
	for _, d := range []struct{ to, from net.Conn }{{guest, host}, {host, guest}} {
		directions.Go(func() {
			// An error ends the connection, as it would without a forward.
			_, _ = io.Copy(d.to, d.from)
			if half, ok := d.to.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
		})
	}
	directions.Wait()
}
