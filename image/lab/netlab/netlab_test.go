package netlab_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/guest"
	"bondd.internal/image/lab/netlab"
)

func TestMain(m *testing.M) {
	guest.Main(m, guest.Config{Programs: netlab.Programs()})
}

// newBond makes a LAN with two cards in an active-backup bond that the kernel
// monitors every 100 ms, and waits until it carries traffic.
func newBond(t *testing.T) *netlab.LAN {
	t.Helper()
	lan := netlab.NewLAN(t, 2)
	lan.Host.IP("link add bond0 type bond mode active-backup miimon 100")
	for _, c := range lan.Cables {
		lan.Host.IP("link set " + c.NearName + " master bond0")
	}
	lan.Host.IP("addr add " + netlab.HostAddress.String() + " dev bond0")
	lan.Host.IP("link set bond0 up")
	lan.Host.Neighbour("bond0", netlab.PeerAddress.Addr(), lan.Peer.MAC("br0"))
	lan.Peer.Neighbour("br0", netlab.HostAddress.Addr(), lan.Host.MAC("bond0"))
	netlab.Eventually(t, 5*time.Second, "active slave eth0", func() bool { return activeSlave(lan) == "eth0" })
	return lan
}

func activeSlave(lan *netlab.LAN) string {
	var links []struct {
		LinkInfo struct {
			Data struct {
				ActiveSlave string `json:"active_slave"`
			} `json:"info_data"`
		} `json:"linkinfo"`
	}
	lan.Host.IPJSON(&links, "link show bond0")
	return links[0].LinkInfo.Data.ActiveSlave
}

// The kernel's own monitor moves the traffic within one miimon and what it
// takes to act, and the stream shows how long nothing arrived. The figures go
// to the host, which compares those of two runs.
func TestKernelFailover(t *testing.T) {
	lan := newBond(t)
	var gaps []time.Duration
	for i := range 3 {
		stream := netlab.StartStream(t, netlab.StreamConfig{
			From: lan.Host, To: lan.Peer, Dest: netip.AddrPortFrom(netlab.PeerAddress.Addr(), 9000),
		})
		// Not at the same point of the monitor's interval each time.
		time.Sleep(200*time.Millisecond + time.Duration(i)*37*time.Millisecond)
		pulled := lan.Cables[i%2]
		pulled.Pull()
		time.Sleep(300 * time.Millisecond)
		report := stream.Stop()
		t.Log(report)

		if got, want := activeSlave(lan), lan.Cables[(i+1)%2].NearName; got != want {
			t.Errorf("with %s pulled the active slave is %s, want %s", pulled.NearName, got, want)
		}
		if report.LongestGap > 120*time.Millisecond || report.LongestGap < time.Millisecond {
			t.Errorf("the longest gap is %v, want that of a monitor that looks every 100ms", report.LongestGap)
		}
		if missing := int(report.LongestGap/(100*time.Microsecond)) - 1; report.Lost < missing-5 || report.LostAtEnd != 0 {
			t.Errorf("%d packets lost, %d at the end, want about %d and none", report.Lost, report.LostAtEnd, missing)
		}
		// A lateness of this much is lost in a gap of tens of milliseconds.
		if report.SenderLateness > 500*time.Microsecond {
			t.Errorf("the sender was late by %v: the figures are its own", report.SenderLateness)
		}
		gaps = append(gaps, report.LongestGap)
		pulled.Plug()
		netlab.Eventually(t, 5*time.Second, "healthy bond", func() bool {
			return strings.Count(lan.Host.IP("-d link show"), "mii_status UP") == 2
		})
	}
	data, err := json.Marshal(gaps)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(guest.Output(), "failover.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A silent port takes the traffic and keeps the link.
func TestSilence(t *testing.T) {
	lan := newBond(t)
	dest := netip.AddrPortFrom(netlab.PeerAddress.Addr(), 9000)
	stream := netlab.StartStream(t, netlab.StreamConfig{From: lan.Host, To: lan.Peer, Dest: dest})
	time.Sleep(100 * time.Millisecond)
	lan.Cables[0].Silence(true)
	time.Sleep(300 * time.Millisecond)
	report := stream.Stop()
	if report.LostAtEnd < 2500 {
		t.Errorf("behind a silent port: %v; want all lost from there on", report)
	}
	if got := activeSlave(lan); got != "eth0" {
		t.Errorf("the active slave is %s: the card has seen the port go silent", got)
	}

	lan.Cables[0].Silence(false)
	stream = netlab.StartStream(t, netlab.StreamConfig{From: lan.Host, To: lan.Peer, Dest: dest})
	time.Sleep(100 * time.Millisecond)
	if report := stream.Stop(); report.Lost != 0 {
		t.Errorf("after the silence: %v; want nothing lost", report)
	}
}

// A stream in a healthy network loses nothing and has no gap.
func TestStream(t *testing.T) {
	lan := newBond(t)
	for _, tt := range []struct {
		name     string
		from, to *netlab.Namespace
		dest     netip.Addr
	}{
		{"from the bond", lan.Host, lan.Peer, netlab.PeerAddress.Addr()},
		{"to the bond", lan.Peer, lan.Host, netlab.HostAddress.Addr()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stream := netlab.StartStream(t, netlab.StreamConfig{From: tt.from, To: tt.to, Dest: netip.AddrPortFrom(tt.dest, 9000)})
			time.Sleep(200 * time.Millisecond)
			report := stream.Stop()
			t.Log(report)
			if report.Sent < 1990 || report.Lost+report.Duplicates+report.Reordered != 0 || report.LongestGap > 300*time.Microsecond {
				t.Errorf("got %v, want about 2000 packets, all there, in order, without a gap", report)
			}
		})
	}
}
