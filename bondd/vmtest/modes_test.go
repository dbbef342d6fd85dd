package vmtest

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"bondd.internal/image/lab/netlab"
)

// modeNames are the modes that need no partner and have no balancing of their
// own; allModes are all, in the order of their numbers.
var (
	modeNames = []string{"balance-rr", "active-backup", "balance-xor", "broadcast"}
	allModes  = append(slices.Clone(modeNames), "802.3ad", "balance-tlb", "balance-alb")
)

// modeLAN is a LAN of two cards, on a switch that does its part of the mode.
func modeLAN(t testing.TB, mode string) *netlab.LAN {
	lan := netlab.NewLAN(t, 2)
	if mode == "802.3ad" {
		partner(lan)
	}
	return lan
}

func TestCreate(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2, `miimon = "100ms"`, `num_grat_arp = 3`, `primary = "eth1"`, `mtu = 1400`))
	l := links(lan)
	bond := l["bond0"]
	if got := bond.LinkInfo.Data; got.Mode != "active-backup" || got.Miimon != 100 || got.NumPeerNotif != 3 || got.Primary != "eth1" || got.ActiveSlave != "eth1" {
		t.Errorf("bond0 has options %+v", got)
	}
	for _, name := range []string{"eth0", "eth1"} {
		if l[name].Master != "bond0" || l[name].Address != bond.Address || l[name].MTU != 1400 {
			t.Errorf("%s is %+v; want a slave of bond0 with its MAC %s and MTU 1400", name, l[name], bond.Address)
		}
	}
	s := d.status()
	if len(s.Bonds) != 1 || !s.Bonds[0].Up || s.Bonds[0].Degraded || s.Bonds[0].ActiveSlave != "eth1" {
		t.Errorf("status says %+v", s)
	}
}

// Every mode comes up as configured, carries traffic as it should, and keeps
// carrying it when a cable is pulled and when it is put back.
func TestModes(t *testing.T) {
	for mode, name := range allModes {
		t.Run(name, func(t *testing.T) {
			lan := modeLAN(t, name)
			d := start(t, lan, bondConfig(2, fmt.Sprintf("mode = %d", mode)))
			d.balanced(name)
			acquaint(lan)

			l := links(lan)
			if got := l["bond0"].LinkInfo.Data.Mode; got != name {
				t.Errorf("the kernel says mode %s, want %s", got, name)
			}
			if b := d.bond0(); b.Mode != name || !b.Up || b.Degraded || b.MAC != l["bond0"].Address {
				t.Errorf("status says %+v", b)
			}
			second := "02:00:00:00:00:00"
			if mode > 4 {
				second = "02:00:00:00:00:01" // the balancing modes have a MAC on each
			}
			if l["eth0"].Address != l["bond0"].Address || l["eth1"].Address != second || l["bond0"].Address != "02:00:00:00:00:00" {
				t.Errorf("MACs are %s %s %s; want that of the first slave on the bond and its own or the bond's on each", l["bond0"].Address, l["eth0"].Address, l["eth1"].Address)
			}
			share(t, lan, mode)

			for i, c := range lan.Cables {
				out := toPeer(t, lan, 500*time.Microsecond)
				time.Sleep(100 * time.Millisecond)
				c.Pull()
				time.Sleep(300 * time.Millisecond)
				if r := out.Stop(); r.LostAtEnd != 0 || r.LongestGap > 20*time.Millisecond {
					t.Errorf("with the cable of eth%d pulled: %v; want traffic within 20ms", i, r)
				}
				in := toHost(t, lan, time.Millisecond)
				time.Sleep(100 * time.Millisecond)
				if r := in.Stop(); r.Lost != 0 {
					t.Errorf("with the cable of eth%d pulled, to the host: %v", i, r)
				}
				d.eventually("degraded bond", func() bool {
					b := d.bond0()
					return b.Up && b.Degraded && !b.slave(fmt.Sprintf("eth%d", i)).LinkUp
				})

				out = toPeer(t, lan, 500*time.Microsecond)
				time.Sleep(50 * time.Millisecond)
				c.Plug()
				time.Sleep(300 * time.Millisecond)
				if r := out.Stop(); r.Lost != 0 {
					t.Errorf("with the cable of eth%d put back: %v; want nothing lost", i, r)
				}
				d.balanced(name)
			}
			if mode == 1 {
				return
			}
			// Both carry traffic again.
			share(t, lan, mode)
		})
	}
}

// share checks, with 1,000 packets and more, how a healthy bond shares them out.
func share(t *testing.T, lan *netlab.LAN, mode int) {
	t.Helper()
	count := func() [2]int {
		l := linksOf(lan.Host)
		return [2]int{l["eth0"].Stats.TX.Packets, l["eth1"].Stats.TX.Packets}
	}
	arrived := func() [2]int {
		l := linksOf(lan.Peer)
		return [2]int{l["port0"].Stats.RX.Packets, l["port1"].Stats.RX.Packets}
	}
	// The kernel sends a packet of its own now and then (multicast listener
	// reports): both ends have to be read with none between.
	look := func() (sent, got [2]int) {
		for sent = count(); ; {
			got = arrived()
			again := count()
			if again == sent {
				return sent, got
			}
			sent = again
		}
	}
	before, arrivedBefore := look()
	stream := toPeer(t, lan, 100*time.Microsecond)
	time.Sleep(120 * time.Millisecond)
	r := stream.Stop()
	after, arrivedAfter := look()
	tx := [2]int{after[0] - before[0], after[1] - before[1]}
	rx := [2]int{arrivedAfter[0] - arrivedBefore[0], arrivedAfter[1] - arrivedBefore[1]}
	if r.Sent < 1000 || r.Lost != 0 {
		t.Errorf("%v; want 1,000 packets and none lost", r)
	}
	if rx != tx {
		t.Errorf("the slaves sent %v packets, the switch got %v", tx, rx)
	}
	if mode != 3 && r.Duplicates != 0 {
		t.Errorf("%d packets arrived twice", r.Duplicates)
	}
	switch mode {
	case 0:
		if d := tx[0] - tx[1]; d < -1 || d > 1 || tx[0]+tx[1] < r.Sent {
			t.Errorf("the slaves sent %v packets of %d; want equal shares", tx, r.Sent)
		}
	case 1:
		if tx[1] != 0 || tx[0] < r.Sent {
			t.Errorf("the slaves sent %v packets of %d; want all by eth0, none by the standby", tx, r.Sent)
		}
	case 2, 4, 5, 6:
		// One pair of Ethernet addresses goes one way; another may go another.
		used := 0
		if tx[1] > tx[0] {
			used = 1
		}
		if tx[used] < r.Sent || tx[1-used] > r.Sent/100 {
			t.Errorf("the slaves sent %v packets of %d; want one pair of addresses to keep to one slave", tx, r.Sent)
		}
		if got := otherMAC(t, lan); mode < 5 && got != 1-used {
			t.Errorf("a neighbour whose MAC differs in the last bit is reached by eth%d too", got)
		}
	case 3:
		if tx[0] < r.Sent || tx[1] < r.Sent || r.Duplicates != r.Sent {
			t.Errorf("the slaves sent %v packets, %v; want every packet by both", tx, r)
		}
	}
}

// otherMAC sends to a neighbour with another Ethernet address and returns the
// number of the slave that was used.
func otherMAC(t *testing.T, lan *netlab.LAN) int {
	t.Helper()
	other := netip.MustParseAddr("192.0.2.9")
	lan.Host.IP("neigh replace " + other.String() + " lladdr 02:00:00:00:01:01 nud permanent dev bond0")
	before := links(lan)
	if err := lan.Host.Do(func() error { return send(other, 100) }); err != nil {
		t.Fatal(err)
	}
	after := links(lan)
	for i := range 2 {
		name := "eth" + strconv.Itoa(i)
		if after[name].Stats.TX.Packets-before[name].Stats.TX.Packets >= 100 {
			return i
		}
	}
	return -1
}
