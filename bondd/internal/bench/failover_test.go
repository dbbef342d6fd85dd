package bench

import (
	"cmp"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"bondd.internal/image/guest"
	"bondd.internal/image/guest/netlab"
)

const (
	// interval is the time from one packet of the stream to the next.
	interval = 100 * time.Microsecond
	// period is the interval of the slowest monitor; the cables are pulled all
	// over it.
	period = 100 * time.Millisecond
	// shortRun is the number of failovers of each contender unless
	// BONDD_BENCH_N says otherwise.
	shortRun = 10
	// tolerated is how late the sender may be for a packet. Later, and what is
	// measured is not the contender.
	tolerated = time.Millisecond
)

// TestFailover pulls the cable of the card that carries the traffic, again and
// again, and compares how long nothing arrives at the peer. The durations that
// it holds to account are the guest's, which count instructions: the test says
// the same on a busy machine as on an idle one.
func TestFailover(t *testing.T) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("BONDD_BENCH_N"), strconv.Itoa(shortRun)))
	if err != nil || n < 1 {
		t.Fatalf("BONDD_BENCH_N is %q, want a number of failovers", os.Getenv("BONDD_BENCH_N"))
	}
	var report = report{Failovers: n, Interval: interval}
	for _, c := range contenders() {
		t.Run(c.name, func(t *testing.T) {
			report.Rows = append(report.Rows, newRow(c.name, measure(t, c, n)))
		})
	}
	if t.Failed() || len(report.Rows) < len(contenders()) {
		return // it broke, or -run asked for some contenders only
	}
	report.compare()
	write(t, "bench.md", []byte(report.Markdown()))
	data, err := json.MarshalIndent(report, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	write(t, "bench.json", append(data, '\n'))
	t.Logf("\n%s", report.Markdown())

	kernel, teamd, bondd := report.Rows[0], report.Rows[2], report.Rows[3]
	if bondd.Median > kernel.Median/40 {
		t.Errorf("bondd's median is %v, more than 1/40 of the kernel's %v", bondd.Median, kernel.Median)
	}
	if bondd.Median > teamd.Median {
		t.Errorf("bondd's median is %v, more than teamd's %v", bondd.Median, teamd.Median)
	}
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(guest.Output(), name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// measure has a contender make n failovers.
func measure(t *testing.T, c contender, n int) []failover {
	lan := netlab.NewLAN(t, 2)
	j := c.start(t, lan)
	lan.Host.Neighbour(j.device, netlab.PeerAddress.Addr(), lan.Peer.MAC("br0"))
	lan.Peer.Neighbour("br0", netlab.HostAddress.Addr(), lan.Host.MAC(j.device))

	// Each n-th of the period is hit once, in random order: the same for every
	// contender, the same at every run.
	random := rand.New(rand.NewPCG(1, uint64(n)))
	phases := random.Perm(n)
	var failovers []failover
	last := ""
	for len(failovers) < n {
		var active string
		netlab.Eventually(t, 10*time.Second, "healthy "+j.device, func() bool {
			var healthy bool
			active, healthy = j.view()
			return healthy
		})
		if active == last {
			t.Fatalf("failover %d: the traffic is back on %s", len(failovers), active)
		}
		pulled := lan.Cables[0]
		if pulled.NearName != active {
			pulled = lan.Cables[1]
		}
		last = active
		phase := (time.Duration(phases[len(failovers)])*period + time.Duration(random.Int64N(int64(period)))) / time.Duration(n)
		failovers = append(failovers, failOver(t, lan, j, pulled, phase))
		pulled.Plug()
		// Long enough for every monitor; asking in a loop would cost more.
		time.Sleep(5 * period / 2)
	}
	return failovers
}

// A failover is what was measured of one.
type failover struct {
	// Pulled is the card whose cable was pulled.
	Pulled string `json:"pulled"`
	// Gap is how long nothing arrived, without the one interval that passes
	// between two packets anyway.
	Gap time.Duration `json:"gap_ns"`
	// Parts are where Gap went; nil if the contender does not say.
	Parts *parts `json:"parts,omitempty"`
	// SenderLateness is the most that the sender was late for a packet.
	SenderLateness time.Duration `json:"sender_lateness_ns"`
}

// parts split a gap at two stamps of the contender's. Their sum is the gap.
type parts struct {
	// Told lasts until the contender was told: the pull itself, the kernel's
	// way from the lost carrier to its message, and that of the message to the
	// contender's thread.
	Told time.Duration `json:"told_ns"`
	// Switched lasts until the contender's write has returned.
	Switched time.Duration `json:"switched_ns"`
	// Arrived lasts until the first packet. Negative: it was there before the
	// write had returned.
	Arrived time.Duration `json:"arrived_ns"`
}

// failOver pulls a cable under a stream of packets to the peer. It does so when
// the contender's monitor is phase past the beginning of its interval.
func failOver(t *testing.T, lan *netlab.LAN, j joined, pulled *netlab.Cable, phase time.Duration) failover {
	var tookBefore time.Duration
	if j.switches != nil {
		_, tookBefore = j.switches()
	}
	// The stream starts well before; then nothing else has just happened.
	const lead = period / 2
	if j.rewind != nil {
		j.rewind()
	}
	at := time.Now().Add(period + phase)
	time.Sleep(time.Until(at.Add(-lead)))
	stream := netlab.StartStream(t, netlab.StreamConfig{
		From: lan.Host, To: lan.Peer,
		Dest:     netip.AddrPortFrom(netlab.PeerAddress.Addr(), 9000),
		Interval: interval,
	})
	if late := time.Since(at); late > 0 {
		t.Fatalf("the stream started %v after the cable was to be pulled", late)
	}
	time.Sleep(time.Until(at))
	pulled.Pull()
	time.Sleep(3 * period / 2)
	r := stream.Stop()
	if r.SenderLateness > tolerated {
		t.Fatalf("%s was pulled, and the sender was late by %v: the gap says nothing", pulled.NearName, r.SenderLateness)
	}
	if r.LostAtEnd > 0 || r.Lost == 0 || r.Duplicates > 0 || r.Reordered > 0 {
		t.Fatalf("%s was pulled: %v; want some lost, none at the end, and the rest in order", pulled.NearName, r)
	}

	f := failover{Pulled: pulled.NearName, Gap: r.LongestGap - interval, SenderLateness: r.SenderLateness}
	if j.switches != nil {
		last, took := j.switches()
		took -= tookBefore
		if last.Before(at) || took <= 0 {
			t.Fatalf("%s was pulled at %v: the contender's last switch was at %v and took %v; somebody else was first", pulled.NearName, at, last, took)
		}
		i := slices.IndexFunc(r.Arrivals, func(a netlab.Arrival) bool { return a.Seq == r.GapAfter })
		began, ended := r.Arrivals[i].At.Add(interval), r.Arrivals[i+1].At
		f.Parts = &parts{Told: last.Add(-took).Sub(began), Switched: took, Arrived: ended.Sub(last)}
	}
	return f
}
