package vmtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bondd.internal/bondd/internal/drill"
	"bondd.internal/bondd/internal/neighbour/neighbourtest"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/image/lab/guest"
	"bondd.internal/image/lab/netlab"
)

func TestMain(m *testing.M) { guest.Main(m, guest.Config{Programs: netlab.Programs()}) }

var (
	host6 = netip.MustParsePrefix("2001:db8::2/64")
	peer6 = netip.MustParsePrefix("2001:db8::1/64")
)

// A bond is bond0 of a LAN, with ip(8) in the engine's place.
type bond struct {
	t       testing.TB
	lan     *netlab.LAN
	gateway netip.Addr
	onto    func(slave string) // called after each switch; may be nil
}

// newBond makes an active-backup bond with this many cards, on eth0, and with
// options of ip(8).
func newBond(t testing.TB, cards int, options string) *bond {
	t.Helper()
	lan := netlab.NewLAN(t, cards)
	lan.Host.IP("link add bond0 type bond mode active-backup miimon 100 " + options)
	for _, c := range lan.Cables {
		lan.Host.IP("link set " + c.NearName + " master bond0")
	}
	lan.Host.IP("addr add " + netlab.HostAddress.String() + " dev bond0")
	lan.Host.IP("addr add " + host6.String() + " dev bond0")
	lan.Peer.IP("addr add " + peer6.String() + " dev br0")
	lan.Host.IP("link set bond0 up")
	b := &bond{t: t, lan: lan, gateway: netlab.PeerAddress.Addr()}
	netlab.Eventually(t, 5*time.Second, "bond with every link up", func() bool {
		return b.active() == "eth0" && strings.Count(lan.Host.IP("-d link show"), "mii_status UP") == cards
	})
	return b
}

// read reads the host's links, each with what a bond and what a slave has.
func (b *bond) read() (active string, slaves []state.Slave) {
	b.t.Helper()
	var links []struct {
		Name  string   `json:"ifname"`
		Flags []string `json:"flags"`
		Info  struct {
			Data struct {
				ActiveSlave string `json:"active_slave"`
			} `json:"info_data"`
			SlaveData struct {
				MII string `json:"mii_status"`
			} `json:"info_slave_data"`
			SlaveKind string `json:"info_slave_kind"`
		} `json:"linkinfo"`
	}
	b.lan.Host.IPJSON(&links, "link show")
	for _, l := range links {
		if l.Name == "bond0" {
			active = l.Info.Data.ActiveSlave
		}
		if l.Info.SlaveKind == "bond" {
			up := l.Info.SlaveData.MII == "UP"
			s := state.Slave{Name: l.Name, Present: true, Enslaved: true, LinkUp: up}
			if !up {
				s.MIIStatus = state.MIIDown
			}
			slaves = append(slaves, s)
		}
	}
	return active, slaves
}

func (b *bond) active() string {
	b.t.Helper()
	active, _ := b.read()
	return active
}

// Snapshot implements drill.Source.
func (b *bond) Snapshot() *state.Snapshot {
	active, slaves := b.read()
	return &state.Snapshot{Bonds: []state.Bond{{Name: "bond0", Mode: "active-backup", ActiveSlave: active, Slaves: slaves, Gateways: []netip.Addr{b.gateway}}}}
}

// Failover implements drill.Control.
func (b *bond) Failover(ctx context.Context, name, to string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.lan.Host.Command("ip", "link", "set", name, "type", "bond", "active_slave", to).Run(); err != nil {
		return &state.Refusal{Why: fmt.Sprintf("the kernel does not switch to %s: %v", to, err)}
	}
	if b.onto != nil {
		b.onto(to)
	}
	return nil
}

// drill runs a drill in the host, and checks that it ends on eth0.
func (b *bond) drill(ctx context.Context) (*drill.Report, error) {
	b.t.Helper()
	r := &drill.Runner{Source: b, Control: b, Log: slog.New(slog.NewTextHandler(b.t.Output(), nil))}
	var report *drill.Report
	err := b.lan.Host.Do(func() (err error) {
		report, err = r.Run(ctx, "bond0")
		return err
	})
	if report != nil {
		_ = report.Write(b.t.Output()) // of a test: it does not fail
	}
	if active := b.active(); active != "eth0" {
		b.t.Errorf("after the drill the active slave is %s", active)
	}
	return report, err
}

// run runs a drill that comes to its end.
func (b *bond) run() *drill.Report {
	b.t.Helper()
	report, err := b.drill(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return report
}

// fine checks figures of a time in which next to nothing may be lost: a request
// falls into the switch itself at most, and the start of ip(8) takes some
// milliseconds.
func fine(t testing.TB, what string, f *drill.Figures) {
	t.Helper()
	if f == nil || f.Sent < 95 || f.Sent > 110 || f.Lost > 1 || f.LongestGap > .035 || f.RTT == nil || *f.RTT > .005 {
		t.Errorf("%s: %v; want some 100 requests, and an answer to each", what, f)
	}
}

func TestHealthyStandbys(t *testing.T) {
	for _, tt := range []struct{ name, options string }{
		{"one MAC", ""},
		{"the MAC of the active slave", "fail_over_mac active"},
	} {
		for _, gateway := range []netip.Addr{netlab.PeerAddress.Addr(), peer6.Addr()} {
			t.Run(fmt.Sprintf("%s, %s", tt.name, gateway), func(t *testing.T) {
				b := newBond(t, 3, tt.options)
				b.gateway = gateway
				r := b.run()
				if !r.OK || r.Problem != "" || len(r.Slaves) != 2 || r.Target != gateway {
					t.Fatalf("the report is %+v; want two standbys that pass", r)
				}
				for _, s := range r.Slaves {
					if !s.Passed() {
						t.Errorf("%s: %s", s.Name, s.Problem)
					}
					fine(t, "to "+s.Name, s.To)
					fine(t, "back from "+s.Name, s.Back)
				}
			})
		}
	}
}

// The router's own link-local address is a gateway, too.
func TestLinkLocalGateway(t *testing.T) {
	b := newBond(t, 2, "")
	b.gateway = netip.MustParseAddr("fe80::1")
	b.lan.Peer.IP("addr add fe80::1/64 dev br0")
	if r := b.run(); !r.OK || r.Target != b.gateway {
		t.Errorf("the report is %+v", r)
	}
}

// A router that answers to everybody, with a tag of VLAN 0, or from a MAC of its
// own although its address is at that of a group (VRRP) and nothing else is taken
// there, is found and answers as any other.
func TestOddGateways(t *testing.T) {
	own, group := state.MAC{2, 4: 2, 5: 9}, state.MAC{0x00, 0x00, 0x5e, 0x00, 0x01, 0x07}
	for name, reply := range map[string]func([]byte) []byte{
		"answers to everybody":         func(b []byte) []byte { copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}); return b },
		"answers with a tag":           func(b []byte) []byte { return slices.Concat(b[:12], []byte{0x81, 0, 0xe0, 0}, b[12:]) },
		"answers from its own MAC":     func(b []byte) []byte { copy(b[6:], own[:]); return b },
		"answers from that of a group": nil,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBond(t, 2, "")
			r := &neighbourtest.Router{IP: netip.MustParseAddr("192.0.2.9"), MAC: group, Reply: reply}
			r.Start(t, b.lan.Peer, "br0")
			b.gateway = r.IP
			if report := b.run(); !report.OK || report.Problem != "" {
				t.Errorf("the report is %+v; want one standby that passes", report)
			}
		})
	}
}

// A standby whose switch port is dead behind its link is found, and traffic is
// off it before a second has passed.
func TestSilentStandby(t *testing.T) {
	for _, gateway := range []netip.Addr{netlab.PeerAddress.Addr(), peer6.Addr()} {
		t.Run(gateway.String(), func(t *testing.T) {
			b := newBond(t, 3, "")
			b.gateway = gateway
			b.lan.Cables[1].Silence(true)
			// Traffic of others, which is gone for that long.
			b.lan.Host.Neighbour("bond0", netlab.PeerAddress.Addr(), b.lan.Peer.MAC("br0"))
			stream := netlab.StartStream(t, netlab.StreamConfig{From: b.lan.Host, To: b.lan.Peer, Interval: 10 * time.Millisecond,
				Dest: netip.AddrPortFrom(netlab.PeerAddress.Addr(), 9000)})
			r := b.run()
			others := stream.Stop()
			if r.OK || r.Problem != "" || len(r.Slaves) != 2 {
				t.Fatalf("the report is %+v; want one standby that passes", r)
			}
			silent, healthy := r.Slaves[0], r.Slaves[1]
			if !silent.Tried || silent.Passed() || !strings.HasPrefix(silent.Problem, "nothing was answered for 3") {
				t.Errorf("the silent standby: %+v", silent)
			}
			if silent.To == nil || silent.To.Sent > 40 || silent.To.Sent-silent.To.Lost > 1 {
				t.Errorf("to the silent standby: %v; want it given up after 300 ms", silent.To)
			}
			fine(t, "back from the silent standby", silent.Back)
			if !healthy.Passed() {
				t.Errorf("the healthy standby: %s", healthy.Problem)
			}
			if others.LostAtEnd != 0 || others.LongestGap > 400*time.Millisecond {
				t.Errorf("other traffic: %v; want it back within 400 ms", others)
			}
		})
	}
}

// What is not fit is told of and not tried.
func TestStandbyWithoutLink(t *testing.T) {
	b := newBond(t, 3, "")
	b.lan.Cables[1].Pull()
	netlab.Eventually(t, 5*time.Second, "lost link", func() bool {
		_, slaves := b.read()
		return !slaves[1].LinkUp
	})
	r := b.run()
	if s := r.Slaves[0]; s.Tried || s.Problem != "it has no link" || s.To != nil || s.Back != nil {
		t.Errorf("the slave without link: %+v", s)
	}
	if s := r.Slaves[1]; !s.Passed() || r.OK {
		t.Errorf("the other: %+v, and ok=%t", s, r.OK)
	}
}

// A standby whose cable is pulled while it is tried: the kernel goes back by
// itself, and the drill says so.
func TestStandbyThatIsLost(t *testing.T) {
	b := newBond(t, 2, "")
	b.onto = func(slave string) {
		if slave == "eth1" {
			time.Sleep(200 * time.Millisecond)
			b.lan.Cables[1].Pull()
		}
	}
	r := b.run()
	if s := r.Slaves[0]; !s.Tried || s.Passed() || s.Problem != "the traffic was taken off it again; the history says why" {
		t.Errorf("the standby: %+v", s)
	}
}

// Whoever asked is gone while a silent standby is tried.
func TestWhoeverAskedIsGone(t *testing.T) {
	b := newBond(t, 2, "")
	b.lan.Cables[1].Silence(true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.onto = func(slave string) {
		if slave == "eth1" {
			cancel()
		}
	}
	began := time.Now()
	if r, err := b.drill(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v; want that it was cancelled", r, err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// Without an answer at first, nothing is switched.
func TestNobodyAnswers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		gateway string
		change  func(*bond)
		want    string
	}{
		{"a host that is not there", "192.0.2.99", func(*bond) {}, "192.0.2.99 does not answer"},
		{"an IPv6 host that is not there", "2001:db8::99", func(*bond) {}, "2001:db8::99 does not answer"},
		{"a silent active slave", "192.0.2.1", func(b *bond) { b.lan.Cables[0].Silence(true) }, "192.0.2.1 does not answer"},
		{"a host of another network", "198.51.100.1", func(*bond) {}, "bond0 has no address on the network of 198.51.100.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBond(t, 2, "")
			b.gateway = netip.MustParseAddr(tt.gateway)
			tt.change(b)
			b.onto = func(slave string) { t.Errorf("it was switched to %s", slave) }
			_, err := b.drill(t.Context())
			var refusal *state.Refusal
			if !errors.As(err, &refusal) || !strings.HasSuffix(refusal.Why, "so nothing was moved: "+tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// The drill leaves nothing open.
func TestNothingIsLeftOpen(t *testing.T) {
	b := newBond(t, 2, "")
	files := func() int {
		list, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	b.run()
	before := files()
	b.run()
	if after := files(); after != before {
		t.Errorf("%d open files, %d before", after, before)
	}
}
