package vmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// actives returns the active slaves, by index, that the kernel told of since
// the last call, in order; 0 is none. Only its own word for a failover counts
// (IFLA_EVENT_BONDING_FAILOVER).
func (m *monitor) actives() []int {
	m.t.Helper()
	var list []int
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(m.fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return list
		}
		if err != nil || n < unix.SizeofNlMsghdr+unix.SizeofIfInfomsg {
			m.t.Fatalf("read the kernel's notifications: %d bytes, %v", n, err)
		}
		if binary.NativeEndian.Uint16(buf[4:]) != unix.RTM_NEWLINK {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(buf[unix.SizeofNlMsghdr+unix.SizeofIfInfomsg : n])
		if err != nil {
			m.t.Fatal(err)
		}
		event, active := uint32(0), 0
		for ad.Next() {
			switch ad.Type() {
			case unix.IFLA_EVENT:
				event = ad.Uint32()
			case unix.IFLA_LINKINFO:
				ad.Nested(func(ad *netlink.AttributeDecoder) error {
					for ad.Next() {
						if ad.Type() == unix.IFLA_INFO_DATA {
							ad.Nested(func(ad *netlink.AttributeDecoder) error {
								for ad.Next() {
									if ad.Type() == unix.IFLA_BOND_ACTIVE_SLAVE {
										active = int(ad.Uint32())
									}
								}
								return nil
							})
						}
					}
					return nil
				})
			}
		}
		if event == unix.IFLA_EVENT_BONDING_FAILOVER {
			list = append(list, active)
		}
	}
}

// Ten thousand random cable events: whenever it is quiet for a moment the
// traffic flows if a cable is in, and in the end the flight recorder tells the
// story that the kernel tells.
func TestStory(t *testing.T) {
	const (
		cards  = 4
		events = 10_000
		chunk  = 250
	)
	lan := netlab.NewLAN(t, cards)
	d := start(t, lan, bondConfig(cards))
	d.healthy()
	acquaint(lan)
	told := watch(t, lan.Host)
	if err := unix.SetsockoptInt(told.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
		t.Fatal(err)
	}
	names := map[int]string{}
	for name, l := range links(lan) {
		names[l.Index] = name
	}
	r := rand.New(rand.NewPCG(10, 4))
	in := []bool{true, true, true, true}
	story := []string{"eth0"} // active slaves, by the kernel
	for done := 0; done < events; {
		for range chunk {
			i := r.IntN(cards)
			if in[i] = !in[i]; in[i] {
				lan.Cables[i].Plug()
			} else {
				lan.Cables[i].Pull()
			}
			done++
			switch r.IntN(3) { // at once, a little later, or after the driver has looked
			case 1:
				time.Sleep(time.Duration(r.IntN(5000)) * time.Microsecond)
			case 2:
				time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond)
			}
		}
		time.Sleep(300 * time.Millisecond)
		for _, index := range told.actives() {
			if name := names[index]; index != 0 && name != story[len(story)-1] {
				story = append(story, name)
			}
		}
		b := d.bond0()
		active := activeSlave(lan)
		i := slices.Index([]string{"eth0", "eth1", "eth2", "eth3"}, active)
		switch {
		case !slices.Contains(in, true):
			if b.Up {
				t.Errorf("after %d events no cable is in and bondd says %+v", done, b)
			}
		case i < 0 || !in[i] || b.ActiveSlave != active || !b.Up:
			t.Fatalf("after %d events with cables in: %v, the kernel has %q active, and bondd says %+v", done, in, active, b)
		default:
			if q := settledStream(t, lan); q.Lost != 0 {
				t.Errorf("after %d events: %v; want nothing lost", done, q)
			}
		}
	}
	for i, c := range lan.Cables {
		if !in[i] {
			c.Plug()
		}
	}
	d.healthy()
	for _, index := range told.actives() {
		if name := names[index]; index != 0 && name != story[len(story)-1] {
			story = append(story, name)
		}
	}

	total := 0
	for _, reason := range []string{"link", "kernel", "primary", "admin", "path"} {
		total += d.moved(reason)
	}
	t.Logf("%d failovers by the kernel's story, %d counted: %d link, %d kernel", len(story)-1, total, d.moved("link"), d.moved("kernel"))
	if total != len(story)-1 {
		t.Errorf("%d failovers are counted, and the kernel told of %d", total, len(story)-1)
	}
	h := d.history()
	if len(h) != min(total, 1000) || h[0].Seq != uint64(total) {
		t.Fatalf("the flight recorder has %d entries, the newest of number %d; want those of %d failovers", len(h), h[0].Seq, total)
	}
	slices.Reverse(h)
	for i, e := range h {
		want := story[len(story)-1-len(h)+i:]
		if e.From != want[0] || e.To != want[1] {
			t.Fatalf("entry %d goes from %s to %s; the kernel went from %s to %s", e.Seq, e.From, e.To, want[0], want[1])
		}
		if e.Reason == "link" && (e.EventRead.IsZero() || e.Written.Before(e.EventRead)) {
			t.Errorf("entry %d has the time line %+v", e.Seq, e)
		}
	}
	for i := range cards {
		name := fmt.Sprintf("eth%d", i)
		if got, want := d.metric(fmt.Sprintf(`bondd_slave_link_failures_total{bond="bond0",slave=%q}`, name)), strconv.Itoa(links(lan)[name].LinkInfo.SlaveData.LinkFailures); got != want {
			t.Errorf("%s has %s link failures by bondd, %s by the kernel", name, got, want)
		}
	}
	if d.metric("bondd_netlink_resyncs_total") != "0" {
		t.Errorf("%s full reads because events were lost", d.metric("bondd_netlink_resyncs_total"))
	}
}
