package kernel

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A reply that is there is received, however late this process gets to it: the
// limit is for the kernel alone.
func TestReplyIsThere(t *testing.T) {
	c := new(Client)
	defer c.Close()
	for _, tt := range []struct {
		name  string
		kind  netlink.HeaderType
		fixed int
	}{{"links", unix.RTM_GETLINK, unix.SizeofIfInfomsg}, {"addresses", unix.RTM_GETADDR, unix.SizeofIfAddrmsg}} {
		m := netlink.Message{Header: netlink.Header{Type: tt.kind, Flags: netlink.Request | netlink.Dump}, Data: make([]byte, tt.fixed)}
		replies, err := c.execute(t.Context(), m, time.Nanosecond)
		if err != nil || len(replies) == 0 {
			t.Errorf("%s: %d replies, %v", tt.name, len(replies), err)
		}
	}
	nothing := netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request}, Data: ifinfo(1<<30, 0)}
	if _, err := c.execute(t.Context(), nothing, time.Nanosecond); !errors.Is(err, unix.ENODEV) {
		t.Errorf("a link that does not exist: %v, want ENODEV", err)
	}
}

// A request ends with its context, and the client goes on.
func TestRequestEndsWithItsContext(t *testing.T) {
	c := new(Client)
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Links(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	// A request that gets no reply: only errors are acknowledged without a flag.
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	silent := netlink.Message{Header: netlink.Header{Type: unix.NLMSG_NOOP, Flags: netlink.Request}, Data: make([]byte, 4)}
	if _, err := c.execute(ctx, silent, time.Minute); err == nil {
		t.Error("a request without a reply is answered")
	}
	if _, err := c.execute(t.Context(), silent, time.Millisecond); err == nil {
		t.Error("a request without a reply is answered")
	}
	if links, err := c.Links(t.Context()); err != nil || len(links) == 0 {
		t.Errorf("after that: %d links, %v", len(links), err)
	}
}
