package vmtest

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/netlab"
)

// leaseTime is long enough that it is taken as it is, and short enough to wait for.
const leaseTime = 40 * time.Second

// A dhcpServer serves one address in the peer of a LAN.
type dhcpServer struct {
	mu      sync.Mutex
	address net.IP
	granted int // acknowledged requests
	refused int
}

// serveDHCP starts a server on the switch.
func serveDHCP(t *testing.T, lan *netlab.LAN, address string) *dhcpServer {
	t.Helper()
	s := &dhcpServer{address: net.ParseIP(address).To4()}
	var conn *net.UDPConn
	err := lan.Peer.Do(func() (err error) {
		conn, err = server4.NewIPv4UDPConn("br0", &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort})
		return err
	})
	if err != nil {
		t.Fatalf("open the DHCP server's socket: %v", err)
	}
	server, err := server4.NewServer("br0", nil, s.answer, server4.WithConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve() // ends when it is closed
	}()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return s
}

// answer is the server's handler. A request for another address than the one it
// has to give is refused, as by a server that was given another network.
func (s *dhcpServer) answer(conn net.PacketConn, _ net.Addr, m *dhcpv4.DHCPv4) {
	s.mu.Lock()
	defer s.mu.Unlock()
	self := net.IP(netlab.PeerAddress.Addr().AsSlice())
	kind := dhcpv4.MessageTypeOffer
	if m.MessageType() == dhcpv4.MessageTypeRequest {
		asked := m.RequestedIPAddress()
		if asked == nil || asked.IsUnspecified() {
			asked = m.ClientIPAddr
		}
		if kind = dhcpv4.MessageTypeAck; !asked.Equal(s.address) {
			kind = dhcpv4.MessageTypeNak
		}
	}
	modifiers := []dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(self))}
	switch kind {
	case dhcpv4.MessageTypeNak:
		s.refused++
	default:
		if kind == dhcpv4.MessageTypeAck {
			s.granted++
		}
		modifiers = append(modifiers, dhcpv4.WithYourIP(s.address), dhcpv4.WithServerIP(self), dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
			dhcpv4.WithRouter(self), dhcpv4.WithLeaseTime(uint32(leaseTime/time.Second)))
	}
	reply, err := dhcpv4.NewReplyFromRequest(m, modifiers...)
	if err != nil {
		panic(err) // every option is this test's own
	}
	_, _ = conn.WriteTo(reply.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort})
}

func (s *dhcpServer) counts() (granted, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.granted, s.refused
}

// move makes the server give another address, and refuse the old one.
func (s *dhcpServer) move(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = net.ParseIP(address).To4()
}

// A lease is obtained, renewed, kept over a restart and a failover, and given
// up when the server withdraws it.
func TestDHCP(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, "[[bond]]\nname = \"bond0\"\nslaves = [\"eth0\", \"eth1\"]\ndhcp4 = true\n")
	d.eventually("word that there is no server", func() bool { return d.bond0().DHCP == "no DHCP server answers" })
	if b := d.bond0(); !b.Up || len(b.Addresses) != 0 {
		t.Errorf("without a server status says %+v", b)
	}

	server := serveDHCP(t, lan, "192.0.2.100")
	leased := func(address string) func() bool {
		return func() bool {
			b := d.bond0()
			return len(b.Addresses) == 1 && b.Addresses[0] == address+"/24" && strings.HasPrefix(b.DHCP, "lease of "+address) && len(b.Gateways) == 1
		}
	}
	d.eventually("lease", leased("192.0.2.100"))
	if got := lan.Host.IP("route show default"); !strings.HasPrefix(got, "default via 192.0.2.1 dev bond0 proto 177 metric 100") {
		t.Errorf("the default route is %q", got)
	}
	if got := lan.Host.IP("-o addr show dev bond0"); !strings.Contains(got, "192.0.2.100/24 brd 192.0.2.255 scope global dynamic bond0") {
		t.Errorf("bond0 has %s", got)
	}

	told := watch(t, lan.Host)
	time.Sleep(leaseTime/2 + 5*time.Second)
	if granted, _ := server.counts(); granted != 2 {
		t.Errorf("the lease was granted %d times, want 2: once, and renewed when half of its time was over", granted)
	}
	lan.Cables[0].Pull()
	d.agree("eth1")
	_ = d.stop(unix.SIGKILL)
	d = d.again()
	d.ready()
	d.eventually("the same lease again", leased("192.0.2.100"))
	time.Sleep(leaseTime + 5*time.Second) // what the first bondd wrote has ended
	if n := told.count(unix.RTM_DELADDR); n != 0 {
		t.Errorf("the address went %d times; want it to stay all the time", n)
	}
	if !leased("192.0.2.100")() {
		t.Errorf("status says %+v", d.bond0())
	}

	server.move("192.0.2.101")
	time.Sleep(leaseTime/2 + 5*time.Second)
	d.eventually("other lease", leased("192.0.2.101"))
	if _, refused := server.counts(); refused == 0 {
		t.Error("the server never refused")
	}
	if got := lan.Host.IP("-o -4 addr show dev bond0"); strings.Contains(got, "192.0.2.100/") || strings.Count(got, "\n") != 1 {
		t.Errorf("bond0 has %s", got)
	}
}

// An address that the configuration gives stays beside that of a lease.
func TestDHCPBesideStatic(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	serveDHCP(t, lan, "192.0.2.100")
	d := start(t, lan, bondConfig(2, "dhcp4 = true"))
	d.eventually("both addresses", func() bool { return len(d.bond0().Addresses) == 2 })
	reachable(t, lan)
	told := watch(t, lan.Host)
	if err := d.stop(unix.SIGTERM); err != nil {
		t.Errorf("bondd ends with %v", err)
	}
	d = d.again()
	d.ready()
	d.eventually("lease", func() bool { return strings.HasPrefix(d.bond0().DHCP, "lease of 192.0.2.100") })
	if n := told.count(unix.RTM_DELADDR); n != 0 {
		t.Errorf("%d addresses went during the restart", n)
	}
	if b := d.bond0(); len(b.Addresses) != 2 {
		t.Errorf("status says %+v", b)
	}
}
