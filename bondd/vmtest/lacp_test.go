package vmtest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/netlab"
)

const partnerMAC = "02:00:00:00:02:00"

// partner makes the peer's ports a bond in mode 802.3ad, which is in its bridge.
func partner(lan *netlab.LAN) {
	for _, c := range lan.Cables {
		lan.Peer.IP("link set " + c.FarName + " nomaster")
		lan.Peer.IP("link set " + c.FarName + " down")
	}
	aggregate(lan, "port")
}

// silentPartner is a partner with a switch of its own behind each cable, so that
// a port can fall silent while both ends keep their link.
func silentPartner(lan *netlab.LAN) {
	peer := lan.Peer
	for i, c := range lan.Cables {
		sw, far := fmt.Sprintf("sw%d", i), fmt.Sprintf("far%d", i)
		peer.IP("link add " + sw + " type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
		peer.IP("link set " + sw + " up")
		peer.IP(fmt.Sprintf("link add lag%d type veth peer name %s", i, far))
		for _, dev := range []string{c.FarName, far} {
			join(lan, dev, sw)
			peer.IP("link set " + dev + " up")
		}
	}
	aggregate(lan, "lag")
}

// join makes an interface of the peer a port of one of these switches.
func join(lan *netlab.LAN, dev, sw string) {
	const lacp = 1 << 2 // 01:80:c2:00:00:02, which a bridge keeps to itself otherwise
	lan.Peer.IP("link set " + dev + " master " + sw)
	lan.Peer.IP(fmt.Sprintf("link set %s type bridge_slave group_fwd_mask %d", dev, lacp))
}

// aggregate makes interfaces of the peer, numbered like the cables, a bond.
func aggregate(lan *netlab.LAN, dev string) {
	lan.Peer.IP("link add aggregate address " + partnerMAC + " type bond mode 802.3ad miimon 100 lacp_rate fast")
	for i := range lan.Cables {
		lan.Peer.IP(fmt.Sprintf("link set %s%d master aggregate", dev, i))
	}
	lan.Peer.IP("link set aggregate master br0")
	lan.Peer.IP("link set aggregate up")
}

// lacpStatus is what the status says of LACP.
type lacpStatus struct {
	Bonds []struct {
		LACP struct {
			Aggregator int    `json:"aggregator"`
			Ports      int    `json:"ports"`
			PartnerKey int    `json:"partner_key"`
			PartnerMAC string `json:"partner_mac"`
		} `json:"lacp"`
		Slaves []struct {
			LinkUp bool `json:"link_up"`
			LACP   struct {
				Aggregator   int      `json:"aggregator"`
				State        string   `json:"state"`
				Problem      string   `json:"problem"`
				Actor        []string `json:"actor"`
				Partner      []string `json:"partner"`
				ActorChurn   string   `json:"actor_churn"`
				PartnerChurn string   `json:"partner_churn"`
			} `json:"lacp"`
		} `json:"slaves"`
	} `json:"bonds"`
}

func (d *daemon) lacp() (s lacpStatus) {
	d.t.Helper()
	_, body := d.get("/api/v1/status")
	if err := json.Unmarshal([]byte(body), &s); err != nil || len(s.Bonds) != 1 || len(s.Bonds[0].Slaves) != 2 {
		d.t.Fatalf("status: %v\n%s", err, body)
	}
	return s
}

// lacpStates waits until the slaves are in these states of LACP.
func (d *daemon) lacpStates(want ...string) {
	d.t.Helper()
	d.eventually("slaves that are "+strings.Join(want, " and "), func() bool {
		time.Sleep(50 * time.Millisecond) // LACP takes its time, and asking costs
		s := d.lacp().Bonds[0].Slaves
		return s[0].LACP.State == want[0] && s[1].LACP.State == want[1]
	})
}

// What bondd and its partner agree on is shown, and what they no longer agree on.
func TestLACP(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	silentPartner(lan)
	d := start(t, lan, bondConfig(2, `mode = "802.3ad"`, `lacp_rate = "fast"`))
	d.lacpStates("agreed", "agreed")
	d.healthy()
	acquaint(lan)
	b := d.lacp().Bonds[0]
	if b.LACP.PartnerMAC != partnerMAC || b.LACP.Ports != 2 || b.LACP.PartnerKey == 0 {
		t.Errorf("the bond has agreed on %+v, want two ports with %s", b.LACP, partnerMAC)
	}
	info, _ := infoData(lan, "bond0")["ad_info"].(map[string]any)
	if info["partner_mac"] != partnerMAC || info["aggregator"] != float64(b.LACP.Aggregator) || info["num_ports"] != 2. || infoData(lan, "bond0")["ad_lacp_rate"] != "fast" {
		t.Errorf("the kernel says %v; bondd says %+v", info, b.LACP)
	}
	all := []string{"activity", "timeout", "aggregation", "synchronization", "collecting", "distributing"}
	for i, s := range b.Slaves {
		if s.LACP.Aggregator != b.LACP.Aggregator || !reflect.DeepEqual(s.LACP.Actor, all) || !reflect.DeepEqual(s.LACP.Partner, all) {
			t.Errorf("eth%d is %+v", i, s.LACP)
		}
	}
	key := fmt.Sprintf(`bondd_lacp_partner_info{actor_key="15",aggregator="%d",bond="bond0",partner_key="%d",partner_mac=%q}`, b.LACP.Aggregator, b.LACP.PartnerKey, partnerMAC)
	if got := d.metric(key); got != "1" {
		t.Errorf("%s is %s", key, got)
	}
	reachable(t, lan)

	// One port falls silent; its link stays up. The driver notices after three
	// seconds, and sends by the other.
	lan.Peer.IP("link set port0 nomaster")
	silent := time.Now()
	d.lacpStates("half-open", "agreed")
	if took := time.Since(silent); took > 5*time.Second {
		t.Errorf("with lacp_rate fast the loss took %v, want three seconds", took)
	}
	if s := d.lacp().Bonds[0].Slaves[0]; !s.LinkUp || s.LACP.Problem == "" {
		t.Errorf("eth0 is %+v", s)
	}
	d.eventually("a bond that is up and degraded", func() bool {
		b := d.bond0()
		return b.Up && b.Degraded && strings.Contains(b.Problem, "eth0")
	})
	time.Sleep(3 * time.Second) // the partner notices too
	reachable(t, lan)
	before := d.writes()
	time.Sleep(2 * time.Second)
	if n := d.writes() - before; n != 0 {
		t.Errorf("bondd goes on writing: %d requests in two seconds:\n%s", n, strings.Join(writesIn(d.log), ""))
	}

	join(lan, "port0", "sw0")
	d.lacpStates("agreed", "agreed")
	d.healthy()
	reachable(t, lan)
}

// A switch that does not speak LACP is told of, and is used by one port.
func TestLACPNoPartner(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2, `mode = "802.3ad"`, `lacp_rate = "fast"`))
	d.lacpStates("no-partner", "no-partner")
	if b := d.lacp().Bonds[0]; b.LACP.PartnerMAC != "" && b.LACP.PartnerMAC != "00:00:00:00:00:00" || !strings.Contains(b.Slaves[0].LACP.Problem, "switch") {
		t.Errorf("status says %+v", b)
	}
	reachable(t, lan)
}

// A partner that speaks only when it is spoken to is enough.
func TestLACPPassive(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	partner(lan)
	lan.Peer.IP("link set aggregate down")
	lan.Peer.IP("link set aggregate type bond lacp_active off")
	lan.Peer.IP("link set aggregate up")
	d := start(t, lan, bondConfig(2, `mode = "802.3ad"`, `lacp_rate = "fast"`))
	d.lacpStates("agreed", "agreed")
	reachable(t, lan)
}
