package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"bondd.internal/bondd/internal/address"
	"bondd.internal/bondd/internal/engine/core"
	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/config/bonding"
	"bondd.internal/hwprobe"
)

// Kernel reads and writes the kernel's network state; kernel.Client is one.
type Kernel interface {
	Network(ctx context.Context) (*state.Network, error)
	Do(ctx context.Context, op state.Op) error
}

// A Switcher carries out requests that were encoded beforehand; kernel.Switcher is one.
type Switcher interface {
	Do(r *kernel.Request) error
}

// A Poller fills in what the drivers of these links say of their state;
// kernel.Poller is one.
type Poller interface {
	Poll(ctx context.Context, links []state.LinkState) error
}

// A Listener delivers link events; kernel.Listener is one.
type Listener interface {
	Run(ctx context.Context, handle func(*state.LinkEvent)) error
}

// A PathChecker probes targets from every slave; pathcheck.Checker is one.
type PathChecker interface {
	SetSlaves(bond pathcheck.Bond, slaves []pathcheck.Slave)
	Run(ctx context.Context) error
}

// Deps are what the engine works with.
type Deps struct {
	Kernel    Kernel
	Reflex    Switcher // for the thread that receives events
	Switcher  Switcher // for the engine itself
	Listen    func() (Listener, error)
	Poller    Poller
	PollEvery time.Duration // 0: as core.PollEvery says
	Paths     func(pathcheck.Config) (PathChecker, error)
	Inventory func(context.Context) ([]hwprobe.NIC, error)
	Writes    func() uint64 // write requests sent by all of the above; may be nil

	// FirstPacket waits for the first frame that a link receives and returns the
	// kernel's stamp of it; kernel.FirstPacket. May be nil.
	FirstPacket func(ctx context.Context, index int, limit time.Duration) (time.Time, error)
	// LinkDown looks the kernel's log up for the moment at which a card's driver
	// logged its lost link, and leaves the mark there; kernel.Log is one. May be nil.
	LinkDown func(name string, since time.Time, mark string) (time.Time, bool)
	// FastLinkDown has a card report a lost link at once where its PHY can;
	// kernel.FastLinkDown. May be nil.
	FastLinkDown func(ctx context.Context, name string) (string, error)

	// Random waits until the kernel gives random numbers; see address.DHCP4. May
	// be nil.
	Random func(context.Context) error

	History    []*state.Failover        // of earlier runs, newest first
	Memory     *core.Memory             // of an earlier run; nil: none
	Remember   func(*core.Memory) error // keeps it for the next run; may be nil
	Boot       string                   // tells one start of the machine from another; empty: not known
	Hostname   string                   // sent to DHCP servers; may be empty
	ResolvConf string                   // file that gets the DNS servers; empty: none is written

	Version string
	Log     *slog.Logger
}

// Source says where the running configuration comes from.
type Source = core.Source

// An Engine is the shell around the core: it turns sockets and timers into
// inputs, and carries outputs out.
type Engine struct {
	deps Deps
	cfg  *config.Config
	log  *slog.Logger

	inputC chan core.Input // everything but link events, which come from the fast path
	orderC chan order
	wakeC  chan struct{} // asks for a read; without waiting
	fast   fastPath
	polled atomic.Pointer[core.Polled] // by the goroutine of poll
	paths  map[string]PathChecker      // by bond

	// Requests for the goroutines that talk to the hardware.
	inventoryC chan struct{}
	stampC     chan core.StampRequest
	tuneC      chan core.TuneRequest
	memoryC    chan *core.Memory

	// What follows belongs to the goroutine of loop.
	core    *core.Core
	orders  map[uint64]chan<- error
	orderID uint64
	readAt  time.Time

	snapshot atomic.Pointer[state.Snapshot]
	subs     subscribers
}

// New returns an engine for this configuration. It does nothing until Run.
func New(cfg *config.Config, source Source, deps Deps) *Engine {
	e := &Engine{
		deps: deps, cfg: cfg, log: deps.Log,
		inputC:     make(chan core.Input),
		orderC:     make(chan order),
		wakeC:      make(chan struct{}, 1),
		fast:       fastPath{switcher: deps.Reflex, seenC: make(chan seen, 4096)},
		paths:      make(map[string]PathChecker),
		inventoryC: make(chan struct{}, 1),
		stampC:     make(chan core.StampRequest, 1),
		tuneC:      make(chan core.TuneRequest, 64),
		memoryC:    make(chan *core.Memory, 1),
		orders:     make(map[uint64]chan<- error),
		core: core.New(cfg, core.Options{Version: deps.Version, Source: source, History: deps.History,
			Memory: deps.Memory, Boot: deps.Boot, Tune: deps.FastLinkDown != nil}, time.Now()),
	}
	for i := range cfg.Bonds {
		e.checkPaths(&cfg.Bonds[i])
	}
	e.publish()
	return e
}

// Run keeps the bonds until ctx ends. It leaves them as they are: traffic goes
// on under the kernel's own monitor. It returns an error only if it could not
// keep them.
func (e *Engine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if e.deps.Listen != nil {
		g.Go(func() error { return e.listen(ctx) })
	}
	if e.deps.Poller != nil {
		g.Go(func() error { return e.poll(ctx) })
	}
	g.Go(func() error { return e.inventory(ctx) })
	g.Go(func() error { return e.stamps(ctx) })
	g.Go(func() error { return e.tune(ctx) })
	g.Go(func() error { return e.remember(ctx) })
	for i := range e.cfg.Bonds {
		b := &e.cfg.Bonds[i]
		if checker := e.paths[b.Name]; checker != nil {
			g.Go(func() error { return checker.Run(ctx) })
		}
		if b.DHCP4 {
			client := e.dhcp(b)
			g.Go(func() error { return client.Run(ctx) })
		}
	}
	g.Go(func() error { return e.loop(ctx) })
	return g.Wait()
}

// loop is the goroutine that owns the core.
func (e *Engine) loop(ctx context.Context) error {
	defer func() {
		for _, a := range e.core.Dismiss() {
			e.answer(a)
		}
	}()
	e.step(ctx, core.Start{})
	tick := time.NewTicker(core.TickEvery)
	defer tick.Stop()
	read := time.NewTimer(0)
	defer read.Stop()
	for {
		if e.readAt.IsZero() {
			read.Stop()
		} else {
			read.Reset(time.Until(e.readAt))
		}
		select {
		case <-ctx.Done():
			return nil
		case s := <-e.fast.seenC:
			e.step(ctx, s.input(e.fast.dropped.Swap(false)))
		case in := <-e.inputC:
			e.step(ctx, in)
		case o := <-e.orderC:
			e.order(ctx, o)
		case <-e.wakeC:
			e.step(ctx, core.Wake{Lost: e.fast.dropped.Swap(false)})
		case <-read.C:
			e.read(ctx)
		case <-tick.C:
			e.step(ctx, core.Tick{})
		}
	}
}

// read reads the kernel's state.
func (e *Engine) read(ctx context.Context) {
	in := core.NetworkRead{Began: time.Now()}
	in.Network, in.Err = e.deps.Kernel.Network(ctx)
	if ctx.Err() != nil {
		return
	}
	// What the fast path did meanwhile is not the kernel's doing.
	for drained := false; !drained; {
		select {
		case s := <-e.fast.seenC:
			e.step(ctx, s.input(e.fast.dropped.Swap(false)))
		default:
			drained = true
		}
	}
	e.step(ctx, in)
}

// step has the core take one input, and carries out what it puts out. What that
// leads to is the next input, until there is none.
func (e *Engine) step(ctx context.Context, in core.Input) {
	var publish bool
	var answers []core.Answer
	for next := []core.Input{in}; len(next) > 0; next = next[1:] {
		out := e.core.Step(next[0], time.Now())
		for _, r := range out.Requests {
			next = append(next, e.request(r))
		}
		if out.Prepared != nil {
			e.fast.prepare(out.Prepared)
		}
		publish = publish || out.Publish
		answers = append(answers, out.Answers...)
		e.readAt = out.ReadAt
		e.logLines(out.Log)
		e.carryOut(ctx, out)
		if len(out.Plans) > 0 {
			// What led to the plans is shown before they are carried out, which
			// may take a while.
			e.publish()
		}
		for _, p := range slices.Clone(out.Plans) {
			next = append(next, e.execute(ctx, p))
		}
	}
	if publish {
		e.publish()
	}
	for _, a := range answers {
		e.answer(a)
	}
}

// carryOut hands on what other goroutines do. None of it waits.
func (e *Engine) carryOut(ctx context.Context, out *core.Output) {
	for _, p := range out.Probes {
		if checker := e.paths[p.Bond]; checker != nil {
			slaves := make([]pathcheck.Slave, len(p.Slaves))
			for i, s := range p.Slaves {
				slaves[i] = pathcheck.Slave(s)
			}
			checker.SetSlaves(pathcheck.Bond(p.Sender), slaves)
		}
	}
	if out.Polled != nil {
		e.polled.Store(out.Polled)
	}
	if out.Inventory {
		select {
		case e.inventoryC <- struct{}{}:
		default:
		}
	}
	if out.Stamps != nil {
		select { // the newest one counts
		case <-e.stampC:
		default:
		}
		e.stampC <- *out.Stamps
	}
	for _, t := range out.Tune {
		select {
		case e.tuneC <- t:
		default: // there are many: that card is as fast as its driver
		}
	}
	for _, op := range out.Renewals {
		if err := e.deps.Kernel.Do(ctx, op); err != nil {
			e.log.Error("dhcp: the renewed lifetime was not written", "err", err)
		}
	}
	if len(out.Resolvers) > 0 {
		e.writeResolvConf(out.Resolvers)
	}
	if out.Remember && e.deps.Remember != nil {
		select { // the newest one counts
		case <-e.memoryC:
		default:
		}
		e.memoryC <- e.core.Memory()
	}
}

// request sends a request to the driver.
func (e *Engine) request(r core.Request) core.Input {
	done := core.Acted{Request: r, Issued: time.Now()}
	encoded := encode(&r)
	done.Err = e.deps.Switcher.Do(&encoded)
	done.Done = time.Now()
	return done
}

// planTime bounds a plan that is carried out when the daemon is asked to stop:
// half a conversion would leave the bond down.
const planTime = 20 * time.Second

// execute carries a plan out.
func (e *Engine) execute(ctx context.Context, p core.Plan) core.Input {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), planTime)
	defer cancel()
	return core.PlanDone{Bond: p.Bond, Ops: len(p.Ops),
		Failures: reconcile.Execute(ctx, p.Bond, p.Ops, p.Before, e.write)}
}

// write is one write of a plan, logged once it is done.
func (e *Engine) write(ctx context.Context, op state.Op) error {
	err := e.deps.Kernel.Do(ctx, op)
	if err == nil {
		e.log.Info("kernel: " + op.String())
	}
	return err
}

// publish makes what the core knows the snapshot.
func (e *Engine) publish() {
	s, lines := e.core.Snapshot(time.Now())
	if e.deps.Writes != nil {
		s.Totals.Writes = e.deps.Writes()
	}
	e.logLines(lines)
	s.Published = time.Now()
	e.snapshot.Store(s)
	e.subs.tell()
}

func (e *Engine) logLines(lines []core.LogLine) {
	for _, l := range lines {
		e.log.LogAttrs(context.Background(), l.Level, l.Message, l.Attrs...)
	}
}

// An order is an operator's command, with the channel for its answer, which
// takes one without waiting.
type order struct {
	core.Order
	answer chan<- error
}

// Failover makes a slave the active one on an operator's order. The choice
// stands, also against a preferred slave, until the chosen slave is no longer
// usable or another one is chosen. The error is a *state.Refusal unless ctx
// ended first or the kernel refused.
func (e *Engine) Failover(ctx context.Context, bond, to string) error {
	answer := make(chan error, 1)
	select {
	case <-ctx.Done():
		return fmt.Errorf("switch %s to %s: %w", bond, to, ctx.Err())
	case e.orderC <- order{core.Order{Bond: bond, To: to}, answer}:
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("switch %s to %s: %w", bond, to, ctx.Err())
	case err := <-answer:
		return err
	}
}

// order has the core take an order.
func (e *Engine) order(ctx context.Context, o order) {
	e.orderID++
	o.ID = e.orderID
	e.orders[o.ID] = o.answer
	e.step(ctx, o.Order)
}

func (e *Engine) answer(a core.Answer) {
	if c := e.orders[a.ID]; c != nil {
		c <- a.Err
		delete(e.orders, a.ID)
	}
}

// send hands an input to the loop; false if ctx has ended.
func (e *Engine) send(ctx context.Context, in core.Input) bool {
	select {
	case <-ctx.Done():
		return false
	case e.inputC <- in:
		return true
	}
}

// wake asks the loop for a read.
func (e *Engine) wake() {
	select {
	case e.wakeC <- struct{}{}:
	default:
	}
}

// inventoryTime bounds an inventory: to read of a card whose driver hangs may
// take for ever.
const inventoryTime = 15 * time.Second

// inventory looks at the hardware when it is asked to. A call that does not come
// back in time is left behind, and no other is made before it has ended.
func (e *Engine) inventory(ctx context.Context) error {
	var running chan core.Inventory
	limit := time.NewTimer(inventoryTime)
	defer limit.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.inventoryC:
		}
		if running == nil {
			running = make(chan core.Inventory, 1)
			go func(done chan<- core.Inventory) {
				in := core.Inventory{Began: time.Now()}
				in.NICs, in.Err = e.deps.Inventory(ctx)
				done <- in
			}(running)
		}
		limit.Reset(inventoryTime)
		var in core.Inventory
		select {
		case <-ctx.Done():
			return nil
		case in = <-running:
			running = nil
		case <-limit.C:
			in.Err = fmt.Errorf("timed out after %v", inventoryTime)
		}
		if ctx.Err() != nil || !e.send(ctx, in) {
			return nil
		}
	}
}

// remember keeps what a restart has to know. It has a goroutine of its own since
// a disk may take its time.
func (e *Engine) remember(ctx context.Context) error {
	failing := false
	keep := func(m *core.Memory) {
		err := e.deps.Remember(m)
		if err != nil && !failing {
			e.log.Error("state: what a restart has to know was not kept", "err", err)
		}
		failing = err != nil
	}
	for {
		select {
		case m := <-e.memoryC:
			keep(m)
		case <-ctx.Done():
			select {
			case m := <-e.memoryC:
				keep(m)
			default:
			}
			return nil
		}
	}
}

// checkPaths makes the checker of a bond that has paths.
func (e *Engine) checkPaths(b *config.Bond) {
	if len(b.Paths) == 0 {
		return
	}
	cfg := pathcheck.Config{Bond: b.Name, Strict: b.Mode() == bonding.ActiveBackup, Log: e.log}
	for _, p := range b.Paths {
		cfg.Targets = append(cfg.Targets, pathcheck.Target{Addr: p.Target, Source: p.Source, Interval: p.Interval,
			Timeout: p.Timeout, MissedMax: p.MissedMax, ReturnAfter: p.ReturnAfter})
	}
	name := b.Name
	cfg.Report = func(ctx context.Context, r pathcheck.Report) {
		e.send(ctx, core.PathReport{Bond: name, Paths: r})
	}
	checker, err := e.deps.Paths(cfg)
	if err != nil {
		e.log.Error("paths are not checked", "bond", b.Name, "err", err)
		return
	}
	e.paths[b.Name] = checker
}

// dhcp is the DHCP client of a bond.
func (e *Engine) dhcp(cfg *config.Bond) *address.DHCP4 {
	return &address.DHCP4{
		Bond:     cfg.Name,
		Hostname: e.deps.Hostname,
		Log:      e.log,
		Random:   e.deps.Random,
		Ready:    func(ctx context.Context) (netip.Addr, error) { return e.carrying(ctx, cfg) },
		Update: func(ctx context.Context, u address.Update) {
			e.send(ctx, core.Lease{Bond: u.Bond, Status: u.Status, Lease: u.Lease})
		},
	}
}

// carrying waits until a bond carries traffic and returns the IPv4 address that
// it has from an earlier lease, if any.
func (e *Engine) carrying(ctx context.Context, cfg *config.Bond) (netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	published := e.Subscribe(ctx)
	for {
		// Not Up: a path that is dead because there is no address yet must not
		// keep the bond from getting one.
		if b := e.Snapshot().Bond(cfg.Name); b != nil && b.Linked() {
			for _, p := range b.Addresses {
				if p.Addr().Is4() && !slices.Contains(cfg.Addresses, p) && !slices.Contains(b.Foreign.Addresses, p) {
					return p.Addr(), nil
				}
			}
			return netip.Addr{}, nil
		}
		select {
		case <-ctx.Done():
			return netip.Addr{}, ctx.Err()
		case <-published:
		}
	}
}

// writeResolvConf hands the DNS servers on.
func (e *Engine) writeResolvConf(servers []netip.Addr) {
	if e.deps.ResolvConf == "" {
		return
	}
	if err := address.WriteResolvConf(e.deps.ResolvConf, servers); err != nil {
		e.log.Error("dns: the servers were not written", "err", err)
	}
}

// Snapshot returns what was published last; never nil.
func (e *Engine) Snapshot() *state.Snapshot { return e.snapshot.Load() }

// Subscribe returns a channel that gets a value after a publish; several
// publishes may share one. It ends with ctx.
func (e *Engine) Subscribe(ctx context.Context) <-chan struct{} { return e.subs.add(ctx) }

// subscribers are notified of every publish.
type subscribers struct {
	mu  sync.Mutex
	set map[chan struct{}]struct{}
}

func (s *subscribers) add(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = make(map[chan struct{}]struct{})
	}
	s.set[c] = struct{}{}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.set, c)
	})
	return c
}

func (s *subscribers) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.set {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
