package simulator

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bondd.internal/bondd/internal/engine/core"
	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/config/bonding"
	"bondd.internal/hwprobe"
)

type probeSlave = core.ProbeSlave

// Setup says what a World begins with.
type Setup struct {
	Mode    bonding.Mode
	Slaves  int      // 2 or more cards: eth0, eth1, …
	Members []string // those of them that the configuration has, in its order; nil: all
	Primary string
	Path    bool // paths are checked
	Targets int  // to so many targets, 1 or 2; 0: 1
	Any     bool // path_policy
	Damping bool
	Prio    []int    // by slave; nil: none
	Speeds  []int    // of cards, in Mb/s, by slave; nil: not known
	Kinds   []string // of cards, by slave; nil: all are alike

	// As the kernel has them; empty: what suits the rest.
	Reselect, UpDelay, DownDelay, FailOverMAC string

	Faults  bool // events, reads and polls may be late, lost or doubled; writes may be refused
	Forward time.Duration
	Train   time.Duration
	Lag     time.Duration // from the loss of a cable, which ethtool tells at once, to that of the carrier
}

// A World is the core, a driver, cards, and the network behind them.
type World struct {
	cfg    *config.Config
	setup  Setup
	next   Setup // from the next restart of bondd on
	now    time.Time
	rng    *rand.Rand
	queue  schedule
	seq    int
	nics   []*nic
	driver driver

	addresses []state.Address
	silent    [2]bool // the targets that do not reply

	run       int // of bondd; counts up at every restart; 0: it does not run
	core      *core.Core
	memory    *core.Memory
	history   []*state.Failover
	readAt    time.Time
	readDue   time.Time // of the read that is scheduled
	prepared  *core.Prepared
	fastCount uint64
	missed    bool
	delivered time.Time // when the last event is, or was
	probes    []probeSlave
	polled    []core.PollLink
	report    map[int][]state.Path
	orderID   uint64
	answers   map[uint64]error
	inventory error // what the next inventories answer
	unread    error // what reads of the kernel answer
	refuse    int   // how many of the next writes the kernel refuses

	mutant Mutant

	Steps int
	trace *strings.Builder // nil: none
	shown string           // the world in the last line of it
	check checker
}

// epoch is when every World begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

var targets = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")}

// New returns a World whose bondd has not started yet.
func New(setup Setup, seed uint64) *World {
	w := &World{setup: setup, next: setup, now: epoch, rng: rand.New(rand.NewPCG(seed, 7)), cfg: configuration(setup),
		answers: make(map[uint64]error)}
	w.driver.changed = w.activeChanged
	for i := range setup.Slaves {
		w.nics = append(w.nics, &nic{index: i + 1, name: fmt.Sprintf("eth%d", i), present: true, cable: true, carrier: true,
			ipv6: true, up: true, delay: setup.Forward, training: setup.Train, mac: ownMAC(i + 1)})
		w.nics[i].lacp = "silent"
		if setup.Mode == bonding.LACP {
			w.nics[i].lacp = "agrees"
		}
		if setup.Speeds != nil {
			w.nics[i].speed = setup.Speeds[i]
		}
	}
	w.check.world = w
	w.start()
	return w
}

func configuration(s Setup) *config.Config {
	cfg := config.Default()
	if s.Kinds == nil {
		cfg.Hardware.Policy = "off"
	}
	b := &cfg.Bonds[0]
	b.Auto, b.Slaves, b.DHCP4 = false, s.members(), false
	b.Options["mode"] = s.Mode.String()
	b.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}
	for _, name := range []string{"primary", "primary_reselect"} {
		delete(b.Options, name)
	}
	if b.Mode().HasActiveSlave() {
		b.Options["primary_reselect"] = "failure"
		if slices.Contains(b.Slaves, s.Primary) {
			b.Options["primary"], b.Options["primary_reselect"] = s.Primary, "always"
		}
		if s.Prio != nil {
			b.Options["primary_reselect"] = "always"
		}
		if s.Reselect != "" {
			b.Options["primary_reselect"] = s.Reselect
		}
	}
	if s.FailOverMAC != "" && s.Mode == bonding.ActiveBackup {
		b.Options["fail_over_mac"] = s.FailOverMAC
	}
	if s.Prio != nil {
		b.Prio = make(map[string]int)
		for i, p := range s.Prio {
			b.Prio[fmt.Sprintf("eth%d", i)] = p
		}
	}
	if s.UpDelay != "" {
		b.Options["updelay"] = s.UpDelay
	}
	if s.DownDelay != "" {
		b.Options["downdelay"] = s.DownDelay
	}
	if s.Path {
		for _, target := range targets[:max(s.Targets, 1)] {
			b.Paths = append(b.Paths, config.Path{Target: target,
				Interval: 500 * time.Millisecond, Timeout: 200 * time.Millisecond,
				MissedMax: 3, ReturnAfter: 3})
		}
		if s.Any {
			b.PathPolicy = "any"
		}
	}
	if s.Damping {
		b.Damping = &config.Damping{HalfLife: 15 * time.Second, Suppress: 3, Reuse: 1}
	}
	return cfg
}

// members are the cards that the configuration has.
func (s *Setup) members() []string {
	if s.Members != nil {
		return s.Members
	}
	var names []string
	for i := range s.Slaves {
		names = append(names, fmt.Sprintf("eth%d", i))
	}
	return names
}

// member reports whether the configuration has a card.
func (w *World) member(n *nic) bool { return slices.Contains(w.cfg.Bonds[0].Slaves, n.name) }

// A schedule is what will happen, in order.
type schedule []event

type event struct {
	at  time.Time
	seq int
	do  func()
}

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	if !s[i].at.Equal(s[j].at) {
		return s[i].at.Before(s[j].at)
	}
	return s[i].seq < s[j].seq
}
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)   { *s = append(*s, x.(event)) }
func (s *schedule) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

// at has something happen after that time.
func (w *World) at(after time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now.Add(after), w.seq, do})
}

// Run lets that much time pass. It returns the first broken invariant.
func (w *World) Run(d time.Duration) error {
	until := w.now.Add(d)
	for len(w.queue) > 0 && !w.queue[0].at.After(until) && w.check.err == nil {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
		w.check.after()
	}
	w.now = until
	return w.check.err
}

func (w *World) chance(n, of int) bool { return n >= of || n > 0 && w.rng.IntN(of) < n }

// late is by how much a message is late, at most that much: now and then, in a World with faults.
func (w *World) late(most time.Duration) time.Duration {
	if !w.setup.Faults || !w.chance(1, 60) {
		return 0
	}
	w.check.disturbedFor(2 * time.Second)
	return w.jitter(most)
}

func (w *World) jitter(most time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(most)))
}

func (w *World) byName(name string) *nic {
	for _, n := range w.nics {
		if n.name == name && n.present {
			return n
		}
	}
	return nil
}

func (w *World) byIndex(index int) *nic {
	for _, n := range w.nics {
		if n.index == index && n.present {
			return n
		}
	}
	return nil
}

// start starts bondd, and the clocks of the world the first time.
func (w *World) start() {
	if w.run == 0 {
		w.at(w.jitter(100*time.Millisecond), w.inspection)
		w.at(w.jitter(500*time.Millisecond), w.probeRound)
		if w.setup.Mode == bonding.LACP {
			w.at(w.jitter(lacpStep), w.lacp)
		}
	}
	w.run++
	w.setup, w.cfg = w.next, configuration(w.next)
	w.core = core.New(w.cfg, core.Options{Memory: w.memory, History: w.history}, w.now)
	w.fastCount, w.prepared, w.missed, w.readAt, w.readDue = 0, nil, false, time.Time{}, time.Time{}
	w.polled = nil
	w.setProbes(nil)
	for _, n := range w.nics {
		n.paths = [2]pathModel{}
	}
	w.check.restarted()
	run := w.run
	alive := func(do func()) func() {
		return func() {
			if w.run == run {
				do()
			}
		}
	}
	var tick, poll func()
	tick = func() {
		w.step(core.Tick{})
		w.at(core.TickEvery, alive(tick))
	}
	poll = func() {
		began := w.now
		links := w.linkStates()
		took := 300*time.Microsecond + w.late(300*time.Millisecond)
		if len(links) > 0 {
			w.at(took, alive(func() { w.step(core.Poll{Began: began, Took: w.now.Sub(began), Links: links}) }))
		}
		w.at(max(100*time.Millisecond, took), alive(poll))
	}
	w.at(core.TickEvery, alive(tick))
	w.at(w.jitter(100*time.Millisecond), alive(poll))
	w.step(core.Start{})
}

// linkStates is what ethtool says of the links that are to be polled.
func (w *World) linkStates() []state.LinkState {
	var links []state.LinkState
	for _, l := range w.polled {
		s := state.LinkState{Index: l.Index, Asked: w.now, Reply: state.SaysDown}
		switch n := w.byIndex(l.Index); {
		case n == nil || n.crashed:
			s.Reply, s.Err = state.NoDevice, errNoDevice
		case n.up && n.carrier && n.cable:
			s.Reply = state.SaysUp
		}
		links = append(links, s)
	}
	return links
}

var errNoDevice = errors.New("no such device")

// inspection is the driver's monitor.
func (w *World) inspection() {
	every := w.driver.number("miimon")
	if every == 0 {
		every = 100
	}
	w.at(time.Duration(every)*time.Millisecond, w.inspection)
	w.driver.inspect()
}

// step has the core take an input, and carries out what it puts out.
func (w *World) step(in core.Input) {
	for next := []core.Input{in}; len(next) > 0 && w.check.err == nil; next = next[1:] {
		w.check.learned(next[0])
		out := w.core.Step(next[0], w.now)
		w.Steps++
		if w.mutant.Output != nil {
			w.mutant.Output(w, next[0], out)
		}
		w.traceStep(next[0], out)
		for _, r := range out.Requests {
			next = append(next, w.request(r))
		}
		if out.Prepared != nil {
			p := *out.Prepared
			w.prepared = &p
		}
		for _, p := range out.Probes {
			w.setProbes(append([]probeSlave(nil), p.Slaves...))
		}
		for _, a := range out.Answers {
			w.answers[a.ID] = a.Err
		}
		if out.Remember {
			w.memory = w.core.Memory()
		}
		if out.Polled != nil {
			w.polled = out.Polled.Links
		}
		if out.Inventory {
			w.inventorySoon()
		}
		w.readAt = out.ReadAt
		for _, p := range out.Plans {
			failures := reconcile.Execute(context.Background(), p.Bond, p.Ops, p.Before, w.write)
			w.check.executed(&p)
			next = append(next, core.PlanDone{Bond: p.Bond, Ops: len(p.Ops), Failures: failures})
		}
		w.scheduleRead()
	}
}

// snapshot is what bondd publishes.
func (w *World) snapshot() *state.Snapshot {
	s, _ := w.core.Snapshot(w.now)
	if w.mutant.Snapshot != nil {
		w.mutant.Snapshot(s)
	}
	return s
}

func (w *World) request(r core.Request) core.Input {
	done := core.Acted{Request: r, Issued: w.now, Done: w.now}
	done.Err = w.carryOut(&r)
	return done
}

// carryOut has the driver take a request.
func (w *World) carryOut(r *core.Request) error {
	w.check.requested(r)
	if r.Bond != bondIndex || !w.driver.exists {
		return errRefused
	}
	if w.refuses() {
		return errRefused
	}
	if r.To == 0 {
		w.driver.inspect()
		return nil
	}
	w.check.reason = r.Reason()
	if w.check.reason == "" {
		w.check.reason = state.ReasonLink // the fast path's only one
	}
	defer func() { w.check.reason = "" }()
	return w.driver.setActive(w.byIndex(r.To))
}

var errFault = errors.New("refused by the test")

func (w *World) write(_ context.Context, op state.Op) error {
	if w.refuses() {
		return errFault
	}
	w.check.wrote(op)
	return w.do(op)
}

// refuses reports whether the kernel refuses the write at hand.
func (w *World) refuses() bool {
	if w.refuse == 0 {
		return false
	}
	w.refuse--
	w.check.disturbedFor(40 * time.Second) // until it is tried again
	return true
}

// inventorySoon answers a request for an inventory.
func (w *World) inventorySoon() {
	run, began := w.run, w.now
	w.at(50*time.Millisecond+w.jitter(50*time.Millisecond), func() {
		if w.run != run {
			return
		}
		in := core.Inventory{Began: began, Err: w.inventory}
		if in.Err == nil {
			for _, n := range w.nics {
				if n.present {
					nic := hwprobe.NIC{Name: n.name, Driver: "veth", Bus: "virtual", PermanentMAC: ownMAC(n.index).String()}
					if n.speed > 0 && n.carrier {
						nic.SpeedMbps, nic.Duplex = &n.speed, "full"
					}
					if w.setup.Kinds != nil {
						nic.Driver = w.setup.Kinds[n.index-1]
					}
					in.NICs = append(in.NICs, nic)
				}
			}
		}
		w.step(in)
	})
}

// scheduleRead has the kernel read when the core asks for it.
func (w *World) scheduleRead() {
	if w.readAt.IsZero() || !w.readDue.IsZero() && !w.readDue.After(w.readAt) {
		return
	}
	due, run := w.readAt, w.run
	if due.Before(w.now) {
		due = w.now
	}
	w.readDue = due
	w.at(due.Sub(w.now), func() {
		if w.run != run || w.readDue != due {
			return
		}
		began := w.now
		network, err := w.network(), w.unread
		w.at(time.Millisecond+w.late(500*time.Millisecond), func() {
			if w.run != run {
				return
			}
			w.readDue = time.Time{}
			if err != nil {
				network = nil
			}
			w.step(core.NetworkRead{Began: began, Network: network, Err: err})
		})
	})
}

// setUp takes a card up or down.
func (w *World) setUp(n *nic, up bool) {
	if n.up == up {
		return
	}
	n.up = up
	if up {
		w.retrain(n)
	} else {
		w.setCarrier(n, false)
	}
}

// retrain is what a card goes through after it was taken up.
func (w *World) retrain(n *nic) {
	if n.training == 0 {
		w.setCarrier(n, n.cable)
		w.event(n)
		return
	}
	w.setCarrier(n, false)
	w.at(n.training, func() {
		if n.up && n.cable {
			w.setCarrier(n, true)
		}
	})
}

// setCarrier changes a card's carrier and reports it.
func (w *World) setCarrier(n *nic, up bool) {
	if n.carrier == up {
		return
	}
	n.carrier, n.turned = up, w.now
	n.changes++
	if up {
		n.forwards = w.now.Add(n.delay)
	}
	w.check.linkChanged(n)
	w.event(n)
}

// event reports a link to the thread of the fast path.
func (w *World) event(n *nic) {
	w.deliver(func() state.LinkEvent {
		return state.LinkEvent{Index: n.index, LinkUp: n.present && n.up && n.carrier, Gone: !n.present}
	})
}

// activeChanged is NETDEV_BONDING_FAILOVER.
func (w *World) activeChanged(from, to *nic) {
	w.check.moved(from, to)
	active := 0
	if to != nil {
		active = to.index
	}
	up := w.driver.carrier()
	w.deliver(func() state.LinkEvent {
		return state.LinkEvent{Index: bondIndex, LinkUp: up, Failover: true, Active: active}
	})
	w.check.reported(w.delivered)
}

// deliver passes an event on after a moment. What it says is as of now.
func (w *World) deliver(what func() state.LinkEvent) {
	ev := what()
	times := 1
	if w.setup.Faults {
		switch w.rng.IntN(40) {
		case 0:
			times = 0
			w.missed = true
			w.check.disturbed()
		case 1:
			times = 2
		}
	}
	run := w.run
	due := w.now.Add(w.jitter(200*time.Microsecond) + w.late(300*time.Millisecond))
	if due.Before(w.delivered) { // a socket keeps the order
		due = w.delivered
	}
	w.delivered = due
	for range times {
		w.at(due.Sub(w.now), func() {
			if w.run != run {
				return
			}
			w.fastPath(ev)
		})
	}
}

// fastPath is engine.fastPath.
func (w *World) fastPath(ev state.LinkEvent) {
	ev.Received = w.now
	in := core.LinkEvent{LinkEvent: ev, Missed: w.missed}
	w.missed = false
	if p := w.prepared; !ev.LinkUp && p != nil && p.Consumed == w.fastCount {
		for _, r := range p.Reactions {
			if r.Slave == ev.Index {
				in.Reaction = core.Acted{Request: r.Request, Issued: w.now, Done: w.now}
				w.check.lost = w.byIndex(ev.Index)
				in.Reaction.Err = w.carryOut(&r.Request)
				w.check.lost = nil
				break
			}
		}
	}
	w.fastCount++
	in.Count = w.fastCount
	run := w.run
	w.at(50*time.Microsecond, func() {
		if w.run == run {
			w.step(in)
		}
	})
}

func pathReport(paths map[int][]state.Path) core.Input {
	given := make(map[int][]state.Path, len(paths))
	for i, p := range paths {
		given[i] = append([]state.Path(nil), p...)
	}
	return core.PathReport{Bond: "bond0", Paths: given}
}
