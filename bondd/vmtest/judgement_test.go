package vmtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/netlab"
)

// The path of these tests is found to be dead within this time.
const pathLimit = 3*100*time.Millisecond + 50*time.Millisecond

// other is a second address of the peer.
const other = "192.0.2.9"

// path is a table of a path to this target.
func path(target string) string {
	return fmt.Sprintf("[[bond.path]]\ntarget = %q\ninterval = \"100ms\"\ntimeout = \"50ms\"\nmissed_max = 3\nreturn_after = 3\n", target)
}

// pathed starts bondd in a mode, with paths to the peer's first address and to
// its other one.
func pathed(t *testing.T, mode int, policy string, options ...string) (*netlab.LAN, *daemon) {
	t.Helper()
	lan := netlab.NewLAN(t, 2)
	if mode == lacp {
		silentPartner(lan)
	}
	lan.Peer.IP("addr add " + other + "/24 dev br0")
	options = append(append([]string{modeOptions(mode), fmt.Sprintf("path_policy = %q", policy)}, options...), path("192.0.2.1"), path(other))
	d := start(t, lan, bondConfig(2, options...))
	d.healthy()
	d.eventually("paths from both slaves", func() bool {
		b := d.bond0()
		return isTrue(b.slave("eth0").PathUp) && isTrue(b.slave("eth1").PathUp)
	})
	if mode == lacp {
		d.lacpStates("agreed", "agreed")
		time.Sleep(300 * time.Millisecond) // three answers since
	}
	acquaint(lan)
	return lan, d
}

// The modes in which one slave carries the traffic, and in which a partner does.
const (
	activeBackup = 1
	lacp         = 4
)

// modeOptions are the lines of a mode.
func modeOptions(mode int) string {
	if mode == lacp {
		return "mode = 4\nlacp_rate = \"fast\""
	}
	return fmt.Sprintf("mode = %d", mode)
}

// silence has a port pass nothing while its link is up, or ends that.
func silence(lan *netlab.LAN, mode, port int, on bool) {
	if mode == lacp && !on {
		join(lan, fmt.Sprintf("port%d", port), fmt.Sprintf("sw%d", port))
		return
	}
	lan.Cables[port].Silence(on)
}

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }

// moved is how often traffic moved for a reason.
func (d *daemon) moved(reason string) int {
	d.t.Helper()
	n, err := strconv.Atoi(d.metric(fmt.Sprintf("bondd_failovers_total{bond=%q,reason=%q}", "bond0", reason)))
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// history is the flight recorder.
func (d *daemon) history() []entry {
	d.t.Helper()
	code, body := d.get("/api/v1/history")
	var h struct {
		Failovers []entry `json:"failovers"`
	}
	if err := json.Unmarshal([]byte(body), &h); code != http.StatusOK || err != nil {
		d.t.Fatalf("history: %d %v\n%s", code, err, body)
	}
	return h.Failovers
}

// An entry is what the tests read of the flight recorder.
type entry struct {
	Seq         uint64    `json:"seq"`
	From        string    `json:"from"`
	To          string    `json:"to"`
	Reason      string    `json:"reason"`
	Cause       string    `json:"cause"`
	CarrierLost time.Time `json:"carrier_lost"`
	EventRead   time.Time `json:"event_read"`
	Decided     time.Time `json:"decided"`
	Written     time.Time `json:"written"`
	Agreed      time.Time `json:"agreed"`
	FirstPacket time.Time `json:"first_packet"`
	Before      []view    `json:"before"`
	After       []view    `json:"after"`
}

type view struct {
	Name       string `json:"name"`
	Active     bool   `json:"active"`
	LinkUp     bool   `json:"link_up"`
	PathUp     *bool  `json:"path_up"`
	Suppressed bool   `json:"suppressed"`
	MIIStatus  string `json:"mii_status"`
}

// A port that passes nothing while its link is up: the traffic leaves it, in
// every mode, and the slave is used again once the port is well.
func TestDeadPort(t *testing.T) {
	for mode, name := range allModes {
		t.Run(name, func(t *testing.T) {
			lan, d := pathed(t, mode, "all")
			writes := d.writes()
			dead := 0
			stream := toPeer(t, lan, 500*time.Microsecond)
			time.Sleep(100 * time.Millisecond)
			silence(lan, mode, dead, true)
			time.Sleep(time.Second)
			r := stream.Stop()
			t.Log(r)
			// A card that leaves the bond takes a moment to be closed.
			if r.LostAtEnd != 0 || r.LongestGap > pathLimit+50*time.Millisecond {
				t.Errorf("%v; want traffic again within %v", r, pathLimit)
			}
			if after := settledStream(t, lan); after.Lost != 0 {
				t.Errorf("then %v; want nothing lost any more", after)
			}
			b := d.bond0()
			s := b.slave("eth0")
			// The switch sends to every port of a static group that has a link.
			quiet := staticGroup(mode)
			if !b.Up || !b.Degraded || s.LinkUp == quiet || !isFalse(s.PathUp) || s.State == "active" ||
				!strings.Contains(b.Problem, "no path to 192.0.2.1 and "+other) {
				t.Errorf("status says %+v", b)
			}
			// In active-backup it may stay, and LACP has to see it.
			if s.Parked == (mode == activeBackup || mode == lacp) {
				t.Errorf("eth0 is parked: %t", s.Parked)
			}
			if n := d.moved("path"); n != 1 {
				t.Errorf("%d failovers for the path, want 1", n)
			}
			if mode == activeBackup && d.writes() != writes+1 {
				t.Errorf("%d writes, want one", d.writes()-writes)
			}
			if h := d.history(); len(h) != 1 || h[0].From != "eth0" || h[0].Reason != "path" {
				t.Errorf("history is %+v", h)
			}

			stream = toPeer(t, lan, 500*time.Microsecond)
			silence(lan, mode, dead, false)
			d.healthy()
			r = stream.Stop()
			t.Log(r)
			// A card that comes back into the bond is opened; the switch's port
			// may forward a moment later than the card has its link.
			if r.Lost > 2 || mode == activeBackup && r.Lost > 0 {
				t.Errorf("when the port is well again: %v; want nothing lost", r)
			}
			if links(lan)["eth0"].Master != "bond0" {
				t.Error("eth0 is not back in the bond")
			}
		})
	}
}

// staticGroup reports whether the switch has to take the ports for one group.
func staticGroup(mode int) bool {
	switch allModes[mode] {
	case "balance-rr", "balance-xor", "broadcast":
		return true
	}
	return false
}

// settledStream is a stream over what is there now.
func settledStream(t *testing.T, lan *netlab.LAN) netlab.Report {
	stream := toPeer(t, lan, 500*time.Microsecond)
	time.Sleep(300 * time.Millisecond)
	return stream.Stop()
}

// A target that is dead from everywhere is no reason to move anything.
func TestDeadTargets(t *testing.T) {
	for mode, name := range allModes {
		t.Run(name, func(t *testing.T) {
			lan, d := pathed(t, mode, "any")
			writes, active := d.writes(), d.bond0().ActiveSlave
			nothing := func(when string) {
				t.Helper()
				time.Sleep(time.Second)
				b := d.bond0()
				if d.writes() != writes || b.ActiveSlave != active || len(d.history()) != 0 || b.slave("eth0").Parked || b.slave("eth1").Parked {
					t.Errorf("%s: %d writes, %+v, %+v", when, d.writes()-writes, b, d.history())
				}
				if r := settledStream(t, lan); r.Lost != 0 {
					t.Errorf("%s: %v", when, r)
				}
			}
			lan.Peer.IP("addr del " + other + "/24 dev br0")
			nothing("with one of two targets dead")
			if code, body := d.get("/healthz"); code != http.StatusOK {
				t.Errorf("with one of two targets dead and policy any: %d %s", code, body)
			}
			if b := d.bond0(); !b.Up || !strings.Contains(b.Problem, other+" answers no slave") {
				t.Errorf("with one of two targets dead: %+v", b)
			}
			// arp_ignore: the peer is there, and answers for nothing.
			lan.Peer.Sysctl("net/ipv4/conf/all/arp_ignore", "8")
			nothing("with all targets dead")
			if code, body := d.get("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "192.0.2.1 answers no slave") {
				t.Errorf("with all targets dead: %d %s", code, body)
			}
			lan.Peer.Sysctl("net/ipv4/conf/all/arp_ignore", "0")
			nothing("with one target back")
			d.eventually("health", func() bool { code, _ := d.get("/healthz"); return code == http.StatusOK })
		})
	}
}

// A dead standby is told of before it is needed, and not switched to while
// there is another one.
func TestDeadStandby(t *testing.T) {
	lan := netlab.NewLAN(t, 3)
	d := start(t, lan, bondConfig(3, path("192.0.2.1")))
	d.healthy()
	acquaint(lan)
	lan.Cables[1].Silence(true)
	d.eventually("degraded bond", func() bool {
		b := d.bond0()
		return b.Up && b.Degraded && strings.Contains(b.Problem, "eth1 has a link, but no path to 192.0.2.1")
	})
	if n := d.moved("path"); n != 0 || activeSlave(lan) != "eth0" {
		t.Errorf("%d failovers for the path, active slave %s", n, activeSlave(lan))
	}
	r := whilePulled(t, lan, lan.Cables[0])
	if r.LostAtEnd != 0 || r.LongestGap > 20*time.Millisecond {
		t.Errorf("with the active slave pulled: %v", r)
	}
	d.agree("eth2")
	// The last link that is left is used although nothing answers through it.
	lan.Cables[2].Pull()
	d.agree("eth1")
	lan.Cables[2].Plug()
	d.agree("eth2")
}

// A primary with a dead path does not draw the traffic back, whatever the
// driver would do, and has it again once the path is well.
func TestPrimaryWithoutPath(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2, `primary = "eth0"`, path("192.0.2.1")))
	d.healthy()
	acquaint(lan)
	lan.Cables[0].Silence(true)
	d.agree("eth1")
	d.eventually("a driver that is kept from choosing", func() bool { return links(lan)["bond0"].LinkInfo.Data.PrimaryReselect == "failure" })
	stream := toPeer(t, lan, 500*time.Microsecond)
	for range 3 { // the driver would return to it now
		lan.Cables[0].Pull()
		time.Sleep(300 * time.Millisecond)
		lan.Cables[0].Plug()
		time.Sleep(300 * time.Millisecond)
	}
	if r := stream.Stop(); r.Lost != 0 {
		t.Errorf("while the primary's cable is pulled and put back: %v; want nothing lost", r)
	}
	if d.moved("primary") != 0 || d.moved("kernel") != 0 {
		t.Errorf("history is %+v", d.history())
	}
	lan.Cables[0].Silence(false)
	d.agree("eth0")
	d.eventually("a driver that may choose again", func() bool { return links(lan)["bond0"].LinkInfo.Data.PrimaryReselect == "always" })
	if d.moved("primary") != 1 {
		t.Errorf("history is %+v", d.history())
	}
	if drift := d.status().Config.Drift; len(drift) != 0 {
		t.Errorf("drift is %q", drift)
	}
}

// A card that flaps five times a second is held out, in every mode, until it
// has been quiet for long enough.
func TestFlapping(t *testing.T) {
	for mode, name := range allModes {
		t.Run(name, func(t *testing.T) {
			lan := modeLAN(t, name)
			options := []string{modeOptions(mode)}
			if mode == activeBackup {
				options = append(options, `primary = "eth0"`)
			}
			d := start(t, lan, bondConfig(2, append(options, "[bond.damping]\nhalf_life = \"2s\"\nsuppress = 3\nreuse = 1")...))
			d.healthy()
			acquaint(lan)
			flap := func(times int) {
				for range times {
					lan.Cables[0].Pull()
					time.Sleep(100 * time.Millisecond)
					lan.Cables[0].Plug()
					time.Sleep(100 * time.Millisecond)
				}
			}
			flap(5)
			d.eventually("eth0 held out", func() bool {
				b := d.bond0()
				s := b.slave("eth0")
				state := "backup"
				if s.Parked {
					state = "" // it is not in the bond
				}
				return b.Up && s.Suppressed && s.State == state && strings.Contains(b.Problem, "eth0 flaps")
			})
			stream := toPeer(t, lan, 500*time.Microsecond)
			flap(10)
			if r := stream.Stop(); r.Lost != 0 {
				t.Errorf("while it flaps on: %v; want nothing lost", r)
			}
			b := d.bond0()
			left := b.slave("eth0").ReuseIn
			least := 2.0
			if staticGroup(mode) {
				least = 0.5 // it is down meanwhile, and its flaps are not seen
			}
			if left == nil || *left < least || *left > 8 {
				t.Fatalf("time left: %v seconds", left)
			}
			time.Sleep(time.Duration(*left * float64(time.Second)))
			d.healthy() // by and by
			if mode == activeBackup {
				d.agree("eth0")
			}
			if b := d.bond0(); b.slave("eth0").Suppressed {
				t.Error("eth0 is still held out")
			}
		})
	}
}

// A link that returned is watched for updelay, but not if it is the last.
func TestUpdelay(t *testing.T) {
	for _, updelay := range []time.Duration{0, 200 * time.Millisecond, time.Second, 10 * time.Second} {
		for mode, name := range allModes {
			if updelay > 2*time.Second && mode > activeBackup {
				continue // the driver makes no difference among the others
			}
			t.Run(fmt.Sprintf("%s/%v", name, updelay), func(t *testing.T) {
				lan := modeLAN(t, name)
				d := start(t, lan, bondConfig(2, modeOptions(mode), fmt.Sprintf("updelay = %q", updelay)))
				d.healthy()
				acquaint(lan)
				lan.Cables[0].Pull()
				d.eventually("the loss in the driver's eyes", func() bool { return links(lan)["eth0"].LinkInfo.SlaveData.MIIStatus == "DOWN" })
				lan.Cables[0].Plug()
				// While LACP settles no slave is usable, without which the driver
				// ignores updelay (bond_miimon_inspect).
				if updelay >= time.Second && mode != lacp {
					time.Sleep(updelay / 2)
					if mii := links(lan)["eth0"].LinkInfo.SlaveData.MIIStatus; mii != "GOING_BACK" {
						t.Errorf("after half of updelay the driver says %s", mii)
					}
				}
				stream := toPeer(t, lan, 500*time.Microsecond)
				time.Sleep(50 * time.Millisecond)
				limit := 30 * time.Millisecond
				if mode == lacp {
					limit = 5 * time.Second // the partner has to agree first
				}
				lan.Cables[1].Pull()
				time.Sleep(limit + 270*time.Millisecond)
				r := stream.Stop()
				t.Log(r)
				if r.LostAtEnd != 0 || r.LongestGap > limit {
					t.Errorf("with the other cable pulled: %v; want traffic within %v", r, limit)
				}
				lan.Cables[1].Plug()
				before := time.Now()
				time.Sleep(updelay - min(updelay, 300*time.Millisecond))
				d.healthy()
				if took := time.Since(before); mode != lacp && took < updelay-200*time.Millisecond || took > updelay+time.Second+limit {
					t.Errorf("the other one is used again after %v, want about %v", took, updelay)
				}
			})
		}
	}
}

// A link that is lost is given up only after downdelay.
func TestDowndelay(t *testing.T) {
	for mode, name := range allModes {
		t.Run(name, func(t *testing.T) {
			lan := modeLAN(t, name)
			d := start(t, lan, bondConfig(2, modeOptions(mode), `downdelay = "500ms"`, path("192.0.2.1")))
			d.healthy()
			acquaint(lan)
			lan.Cables[0].Pull() // shorter than downdelay
			time.Sleep(250 * time.Millisecond)
			lan.Cables[0].Plug()
			time.Sleep(time.Second)
			if h := d.history(); len(h) != 0 {
				t.Errorf("for a loss that was shorter than downdelay: %+v", h)
			}
			d.healthy()
			lan.Cables[0].Pull()
			time.Sleep(400 * time.Millisecond)
			if h := d.history(); len(h) != 0 {
				t.Errorf("before downdelay is over: %+v", h)
			}
			time.Sleep(400 * time.Millisecond)
			if r := settledStream(t, lan); r.Lost != 0 {
				t.Errorf("after downdelay: %v; want nothing lost", r)
			}
			if h := d.history(); len(h) != 1 || h[0].From != "eth0" {
				t.Errorf("after downdelay: %+v", h)
			}
		})
	}
}
