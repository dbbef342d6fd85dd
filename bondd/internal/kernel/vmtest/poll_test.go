package vmtest

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/mdlayher/ethtool"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/usbcard"
)

// poll polls links of the host, by name.
func (h *host) poll(p *kernel.Poller, names ...string) map[string]state.LinkState {
	h.t.Helper()
	n := h.network()
	links := make([]state.LinkState, len(names))
	for i, name := range names {
		if l := n.Link(name); l != nil {
			links[i].Index = l.Index
		} else {
			links[i].Index = 4711
		}
	}
	if err := h.lan.Host.Do(func() error { return p.Poll(context.Background(), links) }); err != nil {
		h.t.Fatal(err)
	}
	answers := make(map[string]state.LinkState)
	for i, name := range names {
		answers[name] = links[i]
	}
	return answers
}

// The poll says of every link what the ethtool library says of it, and tells
// apart what that does not.
func TestPoll(t *testing.T) {
	h := newHost(t, 3)
	h.lan.Host.IP("link add dum0 type dummy") // its driver has no get_link
	h.lan.Host.IP("link set dum0 up")
	for _, c := range h.lan.Cables[:2] {
		h.lan.Host.IP("link set " + c.NearName + " up")
	}
	h.lan.Cables[1].Pull()
	var p kernel.Poller
	defer p.Close()
	got := h.poll(&p, "eth0", "eth1", "gone", "eth2", "dum0", "lo")
	for name, want := range map[string]state.LinkReply{
		"eth0": state.SaysUp, "eth1": state.SaysDown, "eth2": state.SaysDown, // it is down
		"dum0": state.Unknown, "gone": state.NoDevice, "lo": state.SaysUp,
	} {
		if got[name].Reply != want {
			t.Errorf("%s: %+v, want %v", name, got[name], want)
		}
	}
	err := h.lan.Host.Do(func() error {
		client, err := ethtool.New()
		if err != nil {
			return err
		}
		defer client.Close()
		states, err := client.LinkStates()
		for _, s := range states {
			if mine, ok := got[s.Interface.Name]; ok && (mine.Reply == state.SaysUp) != s.Link {
				t.Errorf("%s: %+v, the library says %t", s.Interface.Name, mine, s.Link)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A card whose device is gone keeps its interface and its carrier, and costs no
// other card its answer. The dump of all links ends at it.
func TestPollDeadCard(t *testing.T) {
	h := newHost(t, 2)
	card := usbcard.Connect(t, h.lan.Host, "eth2", h.lan.Peer, "port2")
	for _, name := range []string{"eth0", "eth1", "eth2"} {
		h.lan.Host.IP("link set " + name + " up")
	}
	var p kernel.Poller
	defer p.Close()
	if got := h.poll(&p, "eth2", "eth0", "eth1"); got["eth2"].Reply != state.SaysUp {
		t.Errorf("before: %+v", got)
	}
	card.Die()
	if l := h.link("eth2"); !l.Up || !l.Carrier {
		t.Errorf("the dead card is %+v, want it up and with carrier", l)
	}
	got := h.poll(&p, "eth2", "eth0", "eth1")
	if got["eth2"].Reply != state.NoDevice || got["eth0"].Reply != state.SaysUp || got["eth1"].Reply != state.SaysUp {
		t.Errorf("with the card dead: %+v", got)
	}
	// By itself it is asked rarely: the others are asked as before.
	for range 20 {
		got = h.poll(&p, "eth2", "eth0", "eth1")
		if a := got["eth2"].Reply; a != state.NoDevice && a != state.NotAsked || got["eth0"].Reply != state.SaysUp {
			t.Errorf("later: %+v", got)
		}
		time.Sleep(100 * time.Millisecond)
	}
	card.Remove()
	card.Return()
	h.lan.Host.IP("link set eth2 up")
	if got := h.poll(&p, "eth2", "eth0", "eth1"); got["eth2"].Reply != state.SaysUp {
		t.Errorf("after its return: %+v", got)
	}
}

// A poll of a bond's slaves takes no longer than the library's dump of all links
// took. The machine's clock counts instructions. With 64 cards both take the
// same, give or take the twentieth by which the dump's own figure moves with the
// number of its garbage collections.
func TestPollCost(t *testing.T) {
	const rounds, tolerance = 1000, 1.05
	for _, cards := range []int{2, 16, 64} {
		t.Run(fmt.Sprint(cards), func(t *testing.T) {
			h := newHost(t, cards)
			for _, c := range h.lan.Cables {
				h.lan.Host.IP("link set " + c.NearName + " up")
			}
			links := make([]state.LinkState, cards)
			for i, c := range h.lan.Cables {
				links[i].Index = h.link(c.NearName).Index
			}
			err := h.lan.Host.Do(func() error {
				var p kernel.Poller
				defer p.Close()
				client, err := ethtool.New()
				if err != nil {
					return err
				}
				defer client.Close()
				poll := func() error { return p.Poll(context.Background(), links) }
				dump := func() error { _, err := client.LinkStates(); return err }
				mine, err := cost(rounds, poll)
				if err != nil {
					return err
				}
				theirs, err := cost(rounds, dump)
				if err != nil {
					return err
				}
				t.Logf("%d cards: a poll takes %v, a dump %v", cards, mine, theirs)
				if float64(mine) > tolerance*float64(theirs) {
					t.Errorf("a poll of %d cards takes %v, the dump of all links %v", cards, mine, theirs)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// cost is the processor time that a call takes on an average, with the garbage
// collection that it makes necessary.
func cost(rounds int, call func() error) (time.Duration, error) {
	if err := call(); err != nil {
		return 0, err
	}
	runtime.GC()
	began := cpu()
	for range rounds {
		if err := call(); err != nil {
			return 0, err
		}
	}
	runtime.GC()
	return (cpu() - began) / time.Duration(rounds), nil
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err) // the arguments are fixed
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
