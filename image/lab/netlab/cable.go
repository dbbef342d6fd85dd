package netlab

import (
	"fmt"
	"net/netip"
	"testing"
)

// A Cable joins an interface of one namespace with an interface of another: a
// veth pair. The near end stands for a network card, the far end for the port
// of a switch.
type Cable struct {
	Near, Far         *Namespace
	NearName, FarName string
}

// Connect makes a cable. The far end is up, the near end is as new: down.
func Connect(near *Namespace, nearName string, far *Namespace, farName string) *Cable {
	near.t.Helper()
	near.IP(fmt.Sprintf("link add %s type veth peer name %s netns %s", nearName, farName, far.Name))
	far.IP("link set " + farName + " up")
	return &Cable{Near: near, Far: far, NearName: nearName, FarName: farName}
}

// Pull takes the cable out: the near end loses its carrier at once.
func (c *Cable) Pull() {
	c.Near.t.Helper()
	c.Far.SetLink(c.FarName, false)
}

// Plug puts the cable back.
func (c *Cable) Plug() {
	c.Near.t.Helper()
	c.Far.SetLink(c.FarName, true)
}

// Silence makes the far end, which must be a port of br0, drop all frames in
// both directions while the near end keeps its carrier, even if the near end is
// closed and opened meanwhile; or ends that.
func (c *Cable) Silence(on bool) {
	c.Near.t.Helper()
	if !on {
		c.Far.IP("link set " + c.FarName + " master br0")
		return
	}
	// Out of the bridge, the port would answer for every address of the peer.
	c.Far.Sysctl("net/ipv4/conf/"+c.FarName+"/arp_ignore", "8")
	c.Far.Sysctl("net/ipv6/conf/"+c.FarName+"/disable_ipv6", "1")
	c.Far.IP("link set " + c.FarName + " nomaster")
}

// A LAN is a host with several cards on a switch that also is its peer.
type LAN struct {
	// Host has the cards eth0, eth1, …, all down and without addresses, with
	// the MAC addresses 02:00:00:00:00:00, 02:00:00:00:00:01, ….
	Host *Namespace
	// Peer has the bridge br0 with PeerAddress and the ports port0, port1, ….
	Peer *Namespace
	// Cables are the cables from ethN to portN.
	Cables []*Cable
}

// Addresses in a LAN. HostAddress is for the test to set.
var (
	PeerAddress = netip.MustParsePrefix("192.0.2.1/24")
	HostAddress = netip.MustParsePrefix("192.0.2.2/24")
)

// NewLAN makes a LAN with the given number of cards. The switch learns, does
// not run a spanning tree, and forwards at once.
func NewLAN(t testing.TB, cards int) *LAN {
	t.Helper()
	lan := &LAN{Host: NewNamespace(t, "host"), Peer: NewNamespace(t, "peer")}
	lan.Peer.IP("link add br0 address 02:00:00:00:01:00 type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
	lan.Peer.IP("link set br0 up")
	lan.Peer.IP("addr add " + PeerAddress.String() + " dev br0")
	for i := range cards {
		c := Connect(lan.Host, fmt.Sprintf("eth%d", i), lan.Peer, fmt.Sprintf("port%d", i))
		lan.Host.IP(fmt.Sprintf("link set %s address 02:00:00:00:00:%02x", c.NearName, i))
		lan.Peer.IP("link set " + c.FarName + " master br0")
		lan.Cables = append(lan.Cables, c)
	}
	return lan
}
