package bench

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/netlab"
)

// What all contenders are told: to ask every pathInterval whether the peer
// answers, and to give up after pathMissed missed answers. bondd is told, too,
// how long an answer may take.
const (
	pathInterval = 100 * time.Millisecond
	pathMissed   = 2
	pathTimeout  = 50 * time.Millisecond
)

// pathLimit is the most that bondd may take. The last part is for the clocks of
// the stream and of the test.
const pathLimit = pathInterval*pathMissed + pathTimeout + 5*time.Millisecond

// arpPing is teamd's watcher of paths with what it takes to have it see a dead
// one.
func arpPing(more map[string]any) map[string]any {
	w := map[string]any{
		"name": "arp_ping", "interval": pathInterval.Milliseconds(), "missed_max": pathMissed,
		"source_host": netlab.HostAddress.Addr().String(), "target_host": netlab.PeerAddress.Addr().String(),
	}
	for k, v := range more {
		w[k] = v
	}
	return w
}

// A pathContender is one way to see that a path is dead.
type pathContender struct {
	contender
	note string // what it needs
	long bool   // it is left out of short runs
}

func pathContenders() []pathContender {
	always := map[string]any{"send_always": true, "validate_active": true, "validate_inactive": true}
	return []pathContender{
		{contender: contender{name: "kernel, arp_interval", start: startBond(fmt.Sprintf("arp_interval %d arp_missed_max %d arp_ip_target %s arp_validate all", pathInterval.Milliseconds(), pathMissed, netlab.PeerAddress.Addr()))},
			note: "In place of miimon: the driver has one monitor or the other."},
		{contender: contender{name: "teamd, arp_ping", start: startTeamd(sameAll, arpPing(nil))}, long: true,
			note: "Asks by the active card only. The standby hears the questions of the active card come back from the switch and takes them for answers; when the path dies it hears nothing any more, is given up at the same moment, and has to be heard again before it is used."},
		{contender: contender{name: "teamd, arp_ping, send_always", start: startTeamd(sameAll, arpPing(always))}, long: true,
			note: "Asks by the standby, too, from the address that the team has: the switch sends what is for the host to the standby, where it is dropped."},
		{contender: contender{name: "teamd, arp_ping, send_always, only_active", start: startTeamd("only_active", arpPing(always))},
			note: "The standby has an address of its own (hwaddr_policy), by which it asks in the host's name. With a source_host of 0.0.0.0 it would not."},
		{contender: contender{name: "teamd, ethtool and arp_ping", start: startTeamd("only_active", ethtool, arpPing(always))}, long: true,
			note: "A card with two watchers is well if one of them finds it well (version 1.31): a dead path behind a link is not seen."},
		{contender: contender{name: bondd, start: startBondd(1, fmt.Sprintf("[[bond.path]]\ntarget = %q\ninterval = %q\ntimeout = %q\nmissed_max = %d\nreturn_after = 2\n",
			netlab.PeerAddress.Addr(), pathInterval, pathTimeout, pathMissed))},
			note: "Beside miimon. Asks by the standby, too, from an address of its own and in nobody's name."},
	}
}

// TestPath has the switch's port of the active card go silent, with its link up,
// and compares how long nothing arrives at the peer.
func TestPath(t *testing.T) {
	n := max(rounds(t)*2/5, 4)
	contenders := pathContenders()
	if n < 2*fullRun/5 {
		contenders = slices.DeleteFunc(contenders, func(c pathContender) bool { return c.long })
	}
	table := &pathTable{Interval: streamInterval}
	for _, c := range contenders {
		t.Run(c.name, func(t *testing.T) {
			row := measurePath(t, c, n)
			t.Logf("found %d of %d, median %v, max %v, lost of the others %d of %d", row.Found, row.N, row.Median, row.Max, row.InboundLost, row.Inbound)
			table.Rows = append(table.Rows, row)
		})
	}
	if t.Failed() || len(table.Rows) < len(contenders) {
		return
	}
	publish(t, func(r *report) { r.Paths = table })
	b := table.Rows[len(table.Rows)-1]
	if b.Found < b.N || b.Max > pathLimit {
		t.Errorf("bondd found %d of %d dead paths, the last after %v; want all within %v", b.Found, b.N, b.Max, pathLimit)
	}
	if b.InboundLost > 0 {
		t.Errorf("bondd's probes cost %d of %d packets to the host", b.InboundLost, b.Inbound)
	}
}

const (
	// streamInterval is the time from one packet to the next where paths are
	// measured.
	streamInterval = time.Millisecond
	// silence is how long a port is silent: longer than anybody takes.
	silence = 1200 * time.Millisecond
)

// measurePath has a contender find n dead paths.
func measurePath(t *testing.T, c pathContender, n int) pathRow {
	lan := netlab.NewLAN(t, 2)
	j := c.start(t, lan)
	acquaint(lan, j.device)
	healthy(t, lan, j)
	time.Sleep(time.Second) // all have asked, and heard
	stream := func(from, to *netlab.Namespace, address netip.Prefix) *netlab.Stream {
		return netlab.StartStream(t, netlab.StreamConfig{From: from, To: to, Dest: netip.AddrPortFrom(address.Addr(), 9000), Interval: streamInterval})
	}

	in := stream(lan.Peer, lan.Host, netlab.HostAddress)
	time.Sleep(20 * pathInterval)
	r := in.Stop()
	row := pathRow{Name: c.name, Note: c.note, N: n, Inbound: r.Sent, InboundLost: r.Lost}

	random := rand.New(rand.NewPCG(1, uint64(n)))
	for range n {
		active := healthy(t, lan, j)
		time.Sleep(time.Duration(random.Int64N(int64(pathInterval))))
		out := stream(lan.Host, lan.Peer, netlab.PeerAddress)
		time.Sleep(pathInterval / 2)
		active.Silence(true)
		time.Sleep(silence)
		r := out.Stop()
		active.Silence(false)
		switch {
		case r.SenderLateness > tolerated:
			t.Fatalf("the sender was late by %v: the gap says nothing", r.SenderLateness)
		case r.Lost == 0:
			t.Fatalf("%s is silent, and nothing was lost", active.FarName)
		case r.LostAtEnd == 0:
			row.Gaps = append(row.Gaps, r.LongestGap-streamInterval)
		}
		time.Sleep(5 * pathInterval) // until a card counts as well again; asking costs more
	}
	if row.Found = len(row.Gaps); row.Found > 0 {
		row.Median, row.Max = quantile(row.Gaps, 50), slices.Max(row.Gaps)
	}
	return row
}

// A pathTable compares contenders that look at paths.
type pathTable struct {
	Interval time.Duration `json:"interval_ns"`
	Rows     []pathRow     `json:"contenders"`
}

// A pathRow is a contender's.
type pathRow struct {
	Name string `json:"name"`
	Note string `json:"note"`
	N    int    `json:"n"`
	// Found is how many dead paths the traffic left, Gaps how long that took
	// each.
	Found  int             `json:"found"`
	Median time.Duration   `json:"median_ns,omitempty"`
	Max    time.Duration   `json:"max_ns,omitempty"`
	Gaps   []time.Duration `json:"gaps_ns"`
	// Inbound is how many packets were sent to the host while all was well, and
	// InboundLost how many of them it did not get.
	Inbound     int `json:"inbound"`
	InboundLost int `json:"inbound_lost"`
}

// write writes the table.
func (p *pathTable) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n## A path dies, the link stays\n\n"+
		"The gap in a stream of one packet every %v when the switch's port of the active card passes nothing any more.\n"+
		"All ask every %v, and give up after %d missed answers; bondd waits %v for one, and has to find a dead path within\n"+
		"%d ms. To the right, what the probes cost while all is well: packets from the peer that the host did not get.\n\n"+
		"| contender | n | found | median | max | inbound packets lost |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
		p.Interval, pathInterval, pathMissed, pathTimeout, (pathInterval*pathMissed + pathTimeout).Milliseconds())
	for _, r := range p.Rows {
		median, most := "-", "-"
		if r.Found > 0 {
			median, most = ms(r.Median), ms(r.Max)
		}
		fmt.Fprintf(b, "| %s | %d | %d | %s | %s | %d of %d |\n", r.Name, r.N, r.Found, median, most, r.InboundLost, r.Inbound)
	}
	fmt.Fprintln(b)
	for _, r := range p.Rows {
		fmt.Fprintf(b, "* %s: %s\n", r.Name, r.Note)
	}
}
