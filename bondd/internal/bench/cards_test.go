package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/guest"
	"bondd.internal/image/lab/netlab"
)

// TestCards compares failovers of a card of the machine, whose cable is taken
// out by its own maker: QEMU. Nobody holds a lock of the kernel's for that, as
// nobody does where a real cable is pulled.
func TestCards(t *testing.T) {
	q := openMonitor(t)
	table := compare(t, []contender{
		{name: kernel100, start: kernelMonitor(100)},
		{name: teamd, program: "teamd", start: startTeamd(sameAll, ethtool)},
		{name: bondd, program: "bondd", start: startBondd(1, "")},
	}, max(rounds(t)*2/5, 4), func(t *testing.T) (*netlab.LAN, wiring) { return newCards(t), q })
	if table == nil {
		return
	}
	publish(t, func(r *report) { r.Cards = table })
	for _, problem := range table.missed(2, targets{bondd, 0.8, teamd}, targets{bondd, 1. / 10, kernel100}) {
		t.Error(problem)
	}
}

// The machine's cards: two for the host, and two that are the ports of the
// peer, at these places of the PCI bus.
const (
	cards        = 2
	cardSlot     = 0x10
	portSlot     = 0x18
	cardName     = "card%d" // for QEMU
	portName     = "port%d"
	transmitTime = 10 * time.Microsecond
)

// cardDevices are QEMU's arguments for the cards. What a card sends goes out
// by a timer of the machine's own clock: else it would be the host's scheduler
// that is measured.
func cardDevices() []string {
	var args []string
	add := func(hub int, name string, slot, mac int) {
		args = append(args,
			"-netdev", fmt.Sprintf("hubport,id=%s.hub,hubid=%d", name, hub),
			"-device", fmt.Sprintf("virtio-net-pci,id=%s,netdev=%[1]s.hub,addr=%#x,mac=02:00:00:00:02:%02x,romfile=,ioeventfd=off,tx=timer,x-txtimer=%d", name, slot, mac, transmitTime))
	}
	for i := range cards {
		add(i, fmt.Sprintf(cardName, i), cardSlot+i, cardSlot+i)
		add(i, fmt.Sprintf(portName, i), portSlot+i, portSlot+i)
	}
	return args
}

// newCards makes a LAN of the machine's cards.
func newCards(t *testing.T) *netlab.LAN {
	t.Helper()
	lan := &netlab.LAN{Host: netlab.NewNamespace(t, "host"), Peer: netlab.NewNamespace(t, "peer")}
	lan.Peer.IP("link add br0 address 02:00:00:00:01:00 type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
	lan.Peer.IP("link set br0 up")
	lan.Peer.IP("addr add " + netlab.PeerAddress.String() + " dev br0")
	for i := range cards {
		c := &netlab.Cable{Near: lan.Host, Far: lan.Peer, NearName: fmt.Sprintf("eth%d", i), FarName: fmt.Sprintf("port%d", i)}
		move(t, cardSlot+i, c.Near, c.NearName)
		move(t, portSlot+i, c.Far, c.FarName)
		lan.Peer.IP("link set " + c.FarName + " master br0 up")
		lan.Cables = append(lan.Cables, c)
	}
	// The kernel may look at the state of a new port a second late, and until
	// then the port passes nothing (linkwatch_schedule_work, net/core/link_watch.c).
	netlab.Eventually(t, 10*time.Second, "a switch whose ports forward", func() bool {
		return strings.Count(lan.Peer.Bridge("link show"), " state forwarding ") == cards
	})
	return lan
}

// move takes the card at a place of the PCI bus into a namespace until the end
// of the test.
func move(t *testing.T, slot int, to *netlab.Namespace, name string) {
	t.Helper()
	found, _ := filepath.Glob(fmt.Sprintf("/sys/bus/pci/devices/0000:00:%02x.0/virtio*/net/*", slot))
	if len(found) != 1 {
		t.Fatalf("the cards in slot %#x are %v, want one", slot, found)
	}
	ip(t, "link", "set", filepath.Base(found[0]), "netns", to.Name, "name", name)
	// A namespace that was deleted may live on, and its cards in it: one of the
	// threads that were there may be the first of this process, which cannot end.
	t.Cleanup(func() { to.IP("link set " + name + " netns 1") })
}

// A monitor is QEMU's, which is told to take out cables.
type monitor struct {
	t    *testing.T
	file *os.File
	in   *json.Decoder
	sent int
}

// openMonitor opens QEMU's monitor until the end of the test.
func openMonitor(t *testing.T) *monitor {
	t.Helper()
	f, err := guest.OpenMonitor()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	m := &monitor{t: t, file: f, in: json.NewDecoder(f)}
	m.do("qmp_capabilities", nil)
	return m
}

// command returns a command that is to be written.
func (m *monitor) command(name string, arguments map[string]any) []byte {
	m.t.Helper()
	m.sent++
	c := map[string]any{"execute": name, "id": m.sent}
	if arguments != nil {
		c["arguments"] = arguments
	}
	data, err := json.Marshal(c)
	if err != nil {
		m.t.Fatal(err)
	}
	return append(data, '\n')
}

// answered waits until the command that was made last is carried out.
func (m *monitor) answered() {
	m.t.Helper()
	for {
		var message struct {
			ID    int `json:"id"`
			Error struct {
				Class       string `json:"class"`
				Description string `json:"desc"`
			} `json:"error"`
		}
		if err := m.in.Decode(&message); err != nil {
			m.t.Fatalf("read what QEMU says: %v", err)
		}
		if message.ID != m.sent {
			continue // its greeting, or an event
		}
		if message.Error.Class != "" {
			m.t.Fatalf("QEMU says %s: %s", message.Error.Class, message.Error.Description)
		}
		return
	}
}

// do has a command carried out.
func (m *monitor) do(name string, arguments map[string]any) {
	m.t.Helper()
	if _, err := m.file.Write(m.command(name, arguments)); err != nil {
		m.t.Fatalf("tell QEMU to %s: %v", name, err)
	}
	m.answered()
}

// setLink is the arguments of the command that takes the cable of a card out or
// puts it back.
func setLink(c *netlab.Cable, up bool) map[string]any {
	var i int
	fmt.Sscanf(c.NearName, "eth%d", &i)
	return map[string]any{"name": fmt.Sprintf(cardName, i), "up": up}
}

// The monitor is the wiring of the cards.

func (m *monitor) pull(c *netlab.Cable) order {
	return order{Command: m.command("set_link", setLink(c, false))}
}

func (m *monitor) pulled(pull) time.Time {
	m.answered()
	return time.Now()
}

func (m *monitor) plug(c *netlab.Cable) { m.do("set_link", setLink(c, true)) }
func (m *monitor) monitor() *os.File    { return m.file }
