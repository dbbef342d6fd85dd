package vmtest

import (
	"context"
	"net"
	"net/netip"
	"time"

	"bondd.internal/image/lab/netlab"
)

var netlabHost = netlab.HostAddress

// transmitted is how many packets a link has sent.
func transmitted(h *host, name string) uint64 { return h.link(name).Counters.TxPackets }

// ping sends packets to an address for two seconds, which has the kernel ask for it by ARP.
func ping(ctx context.Context, to netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "udp", netip.AddrPortFrom(to, 9).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	for ctx.Err() == nil {
		_, _ = conn.Write([]byte("x"))
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}
