package vmtest

import (
	"context"
	"testing"
	"time"

	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/guest"
	"bondd.internal/image/lab/netlab"
	"bondd.internal/image/lab/usbcard"
)

func TestMain(m *testing.M) {
	usbcard.Main()
	guest.Main(m, guest.Config{Programs: append(netlab.Programs(), usbcard.Programs()...), Devices: usbcard.Devices()})
}

// A host is the host of a LAN with a client of the kernel's in it.
type host struct {
	t      testing.TB
	lan    *netlab.LAN
	client kernel.Client
}

func newHost(t testing.TB, cards int) *host {
	h := &host{t: t, lan: netlab.NewLAN(t, cards)}
	t.Cleanup(h.client.Close)
	return h
}

// do carries ops out, each of which has to succeed.
func (h *host) do(ops ...state.Op) {
	h.t.Helper()
	for _, op := range ops {
		if err := h.try(op); err != nil {
			h.t.Fatal(err)
		}
	}
}

// try carries one op out.
func (h *host) try(op state.Op) error {
	return h.lan.Host.Do(func() error { return h.client.Do(context.Background(), op) })
}

// link reads one link.
func (h *host) link(name string) *state.Link {
	h.t.Helper()
	n := h.network()
	l := n.Link(name)
	if l == nil {
		h.t.Fatalf("there is no %s", name)
	}
	return l
}

func (h *host) network() (n *state.Network) {
	h.t.Helper()
	err := h.lan.Host.Do(func() (err error) {
		n, err = h.client.Network(context.Background())
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// bond makes bond0 with these options over every card, and takes it up.
func (h *host) bond(options state.Options) {
	h.t.Helper()
	h.do(state.CreateBond{Name: "bond0", MAC: state.MAC{2, 0, 0x5e, 0x10, 0, 1}, Options: options})
	for _, c := range h.lan.Cables {
		h.do(state.Enslave{Slave: c.NearName, Bond: "bond0"})
	}
	h.do(state.SetUp{Link: "bond0", Up: true})
}

// eventually waits for something that LACP may take its time for. It does not
// look often: reading costs the guest's one processor more than waiting.
func (h *host) eventually(what string, ok func() bool) {
	h.t.Helper()
	const limit = 150 * time.Second
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("no %s within %v", what, limit)
		}
	}
}
