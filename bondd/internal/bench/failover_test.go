package bench

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"bondd.internal/image/lab/netlab"
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
	// tolerated is how late the packets before and after a gap may be: as much
	// as a gap can be told anyway. Later, and what is measured is not the contender.
	tolerated = interval
)

// rounds is how many failovers each contender has to make.
func rounds(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("BONDD_BENCH_N"), strconv.Itoa(shortRun)))
	if err != nil || n < 1 {
		t.Fatalf("BONDD_BENCH_N is %q, want a number of failovers", os.Getenv("BONDD_BENCH_N"))
	}
	return n
}

// TestFailover pulls the cable of the card that carries the traffic, again and
// again, and compares how long nothing arrives at the peer. The durations that
// it holds to account are the guest's, which count instructions: the test says
// the same on a busy machine as on an idle one.
func TestFailover(t *testing.T) {
	table := compare(t, contenders(), rounds(t), func(t *testing.T) (*netlab.LAN, wiring) { return netlab.NewLAN(t, 2), ports{} })
	if table == nil {
		return
	}
	publish(t, func(r *report) { r.Failover = table })
	for _, problem := range table.judge() {
		t.Error(problem)
	}
}

// compare has every contender make n failovers, each on a LAN of its own. It
// returns nil if that broke or if -run asked for some of them only.
func compare(t *testing.T, contenders []contender, n int, connect func(*testing.T) (*netlab.LAN, wiring)) *failoverTable {
	table := &failoverTable{Failovers: n, Interval: interval}
	for _, c := range contenders {
		t.Run(c.name, func(t *testing.T) {
			lan, w := connect(t)
			t.Cleanup(func() { // where it broke, a cable may be out
				for _, c := range lan.Cables {
					w.plug(c)
				}
			})
			row := newRow(c, newBench(t, c, lan, w).failOvers(n))
			t.Logf("median %v, p90 %v, max %v, own at most %v", row.Median, row.P90, row.Max, row.MaxOwn)
			table.Rows = append(table.Rows, row)
		})
	}
	if t.Failed() || len(table.Rows) < len(contenders) {
		return nil
	}
	table.compare()
	return table
}

// A wiring is the way in which the cables of a LAN are pulled and put back.
type wiring interface {
	// pull is the order to pull a cable.
	pull(c *netlab.Cable) order
	// pulled returns when the puller's order has had its effect.
	pulled(done pull) time.Time
	plug(c *netlab.Cable)
	// monitor is QEMU's, for the puller; nil if it needs none.
	monitor() *os.File
}

// ports is the wiring whose cables are pulled and plugged at the peer's port.
type ports struct{}

func (ports) pull(c *netlab.Cable) order { return order{Port: c.FarName} }
func (ports) pulled(done pull) time.Time { return done.Ended }
func (ports) plug(c *netlab.Cable)       { c.Plug() }
func (ports) monitor() *os.File          { return nil }

// A bench is a contender on a LAN, and all that it takes to measure it.
type bench struct {
	t         *testing.T
	contender contender
	lan       *netlab.LAN
	wiring    wiring
	joined    joined
	puller    *puller
	tracer    *tracer
	load      *load
}

// newBench has the contender join the cards of a LAN.
func newBench(t *testing.T, c contender, lan *netlab.LAN, w wiring) *bench {
	t.Helper()
	b := &bench{t: t, contender: c, lan: lan, wiring: w, joined: c.start(t, lan)}
	acquaint(lan, b.joined.device)
	b.puller, b.tracer, b.load = startPuller(t, lan, w.monitor()), newTracer(t), startLoad(t, c, lan)
	return b
}

// acquaint fixes the Ethernet addresses of host and peer for each other, so
// that no ARP is part of what is measured.
func acquaint(lan *netlab.LAN, device string) {
	lan.Host.Neighbour(device, netlab.PeerAddress.Addr(), lan.Peer.MAC("br0"))
	lan.Peer.Neighbour("br0", netlab.HostAddress.Addr(), lan.Host.MAC(device))
}

// healthy waits until the contender holds all links to be up, and returns the
// cable of the card that carries the traffic.
func healthy(t *testing.T, lan *netlab.LAN, j joined) *netlab.Cable {
	t.Helper()
	var active string
	netlab.Eventually(t, 10*time.Second, "healthy "+j.device, func() (ok bool) {
		active, ok = j.view()
		return ok && active != ""
	})
	i := slices.IndexFunc(lan.Cables, func(c *netlab.Cable) bool { return c.NearName == active })
	if i < 0 {
		t.Fatalf("the traffic is on %q, which is no card", active)
	}
	return lan.Cables[i]
}

// failOvers has the contender make n failovers. Each n-th of the period is hit
// once, in random order: the same for every contender, the same at every run.
func (b *bench) failOvers(n int) []failover {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	phases := random.Perm(n)
	var failovers []failover
	var last *netlab.Cable
	repeats := 0
	for len(failovers) < n {
		active := healthy(b.t, b.lan, b.joined)
		if active == last {
			b.t.Fatalf("failover %d: the traffic is back on %s", len(failovers), active.NearName)
		}
		last = active
		phase := (time.Duration(phases[len(failovers)])*period + time.Duration(random.Int64N(int64(period)))) / time.Duration(n)
		f := b.failOver(active, phase)
		b.wiring.plug(active)
		// Long enough for every monitor; asking in a loop would cost more.
		time.Sleep(5 * period / 2)
		switch {
		case f.Lateness <= tolerated:
			failovers = append(failovers, f)
		case repeats == n/5:
			b.t.Fatalf("%s was pulled, and the packets before and after the gap were late by %v, after %d such failovers before: the gaps say nothing", f.Pulled, f.Lateness, repeats)
		default:
			repeats++
			b.t.Logf("%s was pulled, and the packets before and after the gap were late by %v: once more", f.Pulled, f.Lateness)
		}
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
	// Parts are where the time went; nil where the kernel itself switches, and
	// where the loss was found before the kernel told it.
	Parts *parts `json:"parts,omitempty"`
	// Lateness is the most that the packets before and after the gap were late.
	Lateness time.Duration `json:"lateness_ns"`
	// Starved is how long the test, a program without real-time priority, had to
	// wait for the processor when all was over.
	Starved time.Duration `json:"starved_ns"`
	// Scrapes is how often bondd's metrics were read meanwhile.
	Scrapes int `json:"scrapes,omitempty"`
}

// failOver pulls a cable under a stream of packets to the peer. It does so when
// the contender's monitor is phase past the beginning of its interval.
func (b *bench) failOver(pulled *netlab.Cable, phase time.Duration) failover {
	t := b.t
	// The stream starts well before; then nothing else has just happened.
	const lead = period / 2
	if b.joined.rewind != nil {
		b.joined.rewind()
	}
	order := b.wiring.pull(pulled)
	order.At = time.Now().Add(period + phase)
	b.puller.order(order)
	time.Sleep(time.Until(order.At.Add(-lead)))
	stream := netlab.StartStream(t, netlab.StreamConfig{
		From: b.lan.Host, To: b.lan.Peer,
		Dest:     netip.AddrPortFrom(netlab.PeerAddress.Addr(), 9000),
		Interval: interval,
	})
	b.tracer.start()
	scrapes := b.load.scrapes()
	b.load.on()
	if late := time.Since(order.At); late > 0 {
		t.Fatalf("the stream started %v after the cable was to be pulled", late)
	}
	done := b.puller.wait()
	end := b.wiring.pulled(done).Add(3 * period / 2)
	time.Sleep(time.Until(end))
	starved := time.Since(end)
	b.load.off()
	scrapes = b.load.scrapes() - scrapes
	r := stream.Stop()
	passages := b.tracer.stop()
	if r.LostAtEnd > 0 || r.Lost == 0 || r.Duplicates > 0 || r.Reordered > 0 {
		t.Fatalf("%s was pulled: %v; want some lost, none at the end, and the rest in order", pulled.NearName, r)
	}

	before, after := around(r)
	f := failover{Pulled: pulled.NearName, Gap: r.LongestGap - interval, Lateness: lateness(r.Arrivals, before, after), Starved: starved, Scrapes: scrapes}
	if b.contender.program != "" {
		var err error
		f.Parts, err = split(passages, b.contender.program, done, before.At.Add(interval), after.At)
		if err != nil {
			t.Fatalf("%s was pulled at %v: %v; the trace has %v", pulled.NearName, done.Began, err, passages)
		}
	}
	return f
}

// around returns the last arrival before the longest gap and the first after it.
func around(r netlab.Report) (before, after netlab.Arrival) {
	i := slices.IndexFunc(r.Arrivals, func(a netlab.Arrival) bool { return a.Seq == r.GapAfter })
	return r.Arrivals[i], r.Arrivals[i+1]
}

// lateness returns the most that one of the packets was late, compared with
// that of all arrivals that was earliest by the stream's schedule. How late the
// sender was at another time does not matter: under load the kernel gives those
// without real-time priority a share now and then, beyond everybody's priority.
func lateness(arrivals []netlab.Arrival, packets ...netlab.Arrival) time.Duration {
	began := func(a netlab.Arrival) time.Time { return a.At.Add(-time.Duration(a.Seq) * interval) }
	earliest := began(slices.MinFunc(arrivals, func(a, b netlab.Arrival) int { return began(a).Compare(began(b)) }))
	var most time.Duration
	for _, p := range packets {
		most = max(most, began(p).Sub(earliest))
	}
	return most
}
