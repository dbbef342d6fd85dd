package engine

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"bondd.internal/bondd/internal/address"
	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
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

// A Poller asks for the link state of every link; kernel.Poller is one.
type Poller interface {
	Poll(ctx context.Context, up map[int]bool) error
}

// A Listener delivers link events; kernel.Listener is one.
type Listener interface {
	Run(ctx context.Context, handle func(*kernel.LinkEvent)) error
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
	PollEvery time.Duration // 0: the shortest miimon of all bonds
	Paths     func(pathcheck.Config) (PathChecker, error)
	Inventory func(context.Context) ([]hwprobe.NIC, error)
	Writes    func() uint64 // write requests sent by all of the above; may be nil

	// FirstPacket waits for the first frame that a link receives and returns the
	// kernel's stamp of it; kernel.FirstPacket. May be nil.
	FirstPacket func(ctx context.Context, index int, limit time.Duration) (time.Time, error)
	// LinkDown looks the kernel's log up for the moment at which a card's driver
	// told of its lost link, and leaves the mark there; kernel.Log is one. May be nil.
	LinkDown func(name string, since time.Time, mark string) (time.Time, bool)
	// FastLinkDown has a card tell of a lost link at once where its PHY can;
	// kernel.FastLinkDown. May be nil.
	FastLinkDown func(ctx context.Context, name string) (string, error)

	History    []*state.Switch // of earlier runs, newest first
	Hostname   string          // told to DHCP servers; may be empty
	ResolvConf string          // file that gets the DNS servers; empty: none is written

	Version string
	Log     *slog.Logger
}

// Source says where the running configuration comes from.
type Source struct {
	Name  string // a file's path, or what else it is
	Error string // why another one that should run does not; empty if it does
}

// An Engine is the daemon's state and the loop that keeps it.
type Engine struct {
	deps   Deps
	cfg    *config.Config
	source Source
	toml   string // cfg as TOML
	log    *slog.Logger

	reflex reflex
	pollC  chan poll
	wakeC  chan struct{} // asks for a full read
	pathC  chan pathReport
	orderC chan order
	stampC chan stamped
	stampQ chan stampRequest // to the recorder's clock, see stamps
	tunedC chan tuned
	tuneQ  chan tuned // to the tuner: cards that have to be told
	leaseC chan address.Update
	nicsC  chan []hwprobe.NIC
	probeC chan struct{} // asks for an inventory

	// What follows belongs to the goroutine of loop.
	bonds    []*bond
	net      *network
	links    map[int]*link // by interface index
	nics     []hwprobe.NIC
	nicAt    map[string]int  // index in nics by name
	tunings  map[int]string  // what FastLinkDown said, by interface index
	history  []*state.Switch // newest first; replaced, never changed
	hardware hwprobe.Report
	judged   bool      // nothing has changed that the hardware's verdict depends on
	lastRead time.Time // when the read of net began
	consumed uint64    // events seen
	readErr  string    // why the last read failed; empty if it did not
	applied  bool
	events   []state.Event
	switches []state.Event // noted since the last publish
	totals   state.Totals

	started  time.Time
	snapshot atomic.Pointer[state.Snapshot]
	subs     subscribers
}

// New returns an engine for this configuration. It does nothing until Run.
func New(cfg *config.Config, source Source, deps Deps) *Engine {
	e := &Engine{
		deps: deps, cfg: cfg, source: source, toml: string(cfg.TOML()), log: deps.Log,
		reflex:  reflex{switcher: deps.Reflex, seenC: make(chan seen, 4096)},
		pollC:   make(chan poll),
		wakeC:   make(chan struct{}, 1),
		leaseC:  make(chan address.Update),
		nicsC:   make(chan []hwprobe.NIC),
		probeC:  make(chan struct{}, 1),
		pathC:   make(chan pathReport),
		orderC:  make(chan order),
		stampC:  make(chan stamped),
		stampQ:  make(chan stampRequest, 1),
		tunedC:  make(chan tuned),
		tuneQ:   make(chan tuned, 64),
		net:     newNetwork(&state.Network{}),
		links:   make(map[int]*link),
		tunings: make(map[int]string),
		history: deps.History,
		started: time.Now(),
	}
	e.totals.PollDuration = state.NewHistogram(pollBuckets...)
	for _, b := range cfg.Bonds {
		e.bonds = append(e.bonds, newBond(b))
	}
	for _, b := range e.bonds {
		e.checkPaths(b)
	}
	e.publish(e.started)
	return e
}

// sampleEvery is how often everything is read although nothing happened:
// counters grow, and what an event did not tell is found.
const sampleEvery = time.Second

// settle is how long after a change the full read waits, so that one read
// serves a burst of events.
const settle = 5 * time.Millisecond

// Run keeps the bonds until ctx ends. It leaves them as they are: traffic goes
// on under the kernel's own monitor. It returns an error only if it could not
// keep them.
func (e *Engine) Run(ctx context.Context) error {
	if nics, err := e.deps.Inventory(ctx); err != nil {
		e.log.Error("hardware: no inventory", "err", err)
	} else {
		e.setNICs(nics)
	}
	e.writeResolvConf()
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
	for _, b := range e.bonds {
		if b.paths != nil {
			g.Go(func() error { return b.paths.Run(ctx) })
		}
		if b.cfg.DHCP4 {
			client := e.dhcp(&b.cfg)
			g.Go(func() error { return client.Run(ctx) })
		}
	}
	g.Go(func() error { return e.loop(ctx) })
	return g.Wait()
}

func (e *Engine) loop(ctx context.Context) error {
	defer e.dismiss()
	e.refresh(ctx)
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	soon := time.NewTimer(0)
	defer soon.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-e.reflex.seenC:
			if e.onEvent(&s) {
				soon.Reset(settle)
			}
		case p := <-e.pollC:
			if e.onPoll(&p) {
				soon.Reset(settle)
			}
		case u := <-e.leaseC:
			e.onLease(ctx, u)
			soon.Reset(0)
		case nics := <-e.nicsC:
			e.setNICs(nics)
			soon.Reset(0)
		case r := <-e.pathC:
			e.onPaths(&r)
		case o := <-e.orderC:
			e.command(&o)
		case s := <-e.stampC:
			e.onStamps(&s)
		case t := <-e.tunedC:
			e.tunings[t.index] = t.state
			e.publish(time.Now())
		case <-e.wakeC:
			soon.Reset(0)
		case <-soon.C:
			e.refresh(ctx)
		case <-tick.C:
			for _, b := range e.bonds {
				b.decidedOn = failover.Bond{} // what had no effect is tried again
			}
			e.refresh(ctx)
		}
	}
}

// wake asks the loop for a full read.
func (e *Engine) wake() {
	select {
	case e.wakeC <- struct{}{}:
	default:
	}
}

// setNICs takes a new inventory.
func (e *Engine) setNICs(nics []hwprobe.NIC) {
	e.nics, e.nicAt, e.judged = nics, make(map[string]int, len(nics)), false
	for i := range nics {
		e.nicAt[nics[i].Name] = i
	}
}

// nic is the NIC of that name, or nil.
func (e *Engine) nic(name string) *hwprobe.NIC {
	if i, ok := e.nicAt[name]; ok {
		return &e.nics[i]
	}
	return nil
}

// inventory reads the hardware anew whenever it is asked to.
func (e *Engine) inventory(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.probeC:
		}
		nics, err := e.deps.Inventory(ctx)
		if err != nil {
			if ctx.Err() == nil {
				e.log.Error("hardware: no inventory", "err", err)
			}
			continue
		}
		select {
		case <-ctx.Done():
		case e.nicsC <- nics:
		}
	}
}

// probe asks for an inventory.
func (e *Engine) probe() {
	select {
	case e.probeC <- struct{}{}:
	default:
	}
}

// dhcp is the DHCP client of a bond.
func (e *Engine) dhcp(cfg *config.Bond) *address.DHCP4 {
	return &address.DHCP4{
		Bond:     cfg.Name,
		Hostname: e.deps.Hostname,
		Log:      e.log,
		Ready:    func(ctx context.Context) (netip.Addr, error) { return e.carrying(ctx, cfg) },
		Update: func(ctx context.Context, u address.Update) {
			select {
			case <-ctx.Done():
			case e.leaseC <- u:
			}
		},
	}
}

// carrying waits until a bond carries traffic and returns the IPv4 address that
// it has beside those of the configuration, if any.
func (e *Engine) carrying(ctx context.Context, cfg *config.Bond) (netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	published := e.Subscribe(ctx)
	for {
		// Not Up: a path that is dead because there is no address yet must not
		// keep the bond from getting one.
		if b := e.Snapshot().Bond(cfg.Name); b != nil && b.Linked() {
			for _, p := range b.Addresses {
				if p.Addr().Is4() && !slices.Contains(cfg.Addresses, p) {
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

// onLease takes what the DHCP client of a bond has to tell.
func (e *Engine) onLease(ctx context.Context, u address.Update) {
	for _, b := range e.bonds {
		if b.cfg.Name != u.Bond {
			continue
		}
		b.dhcp, b.lease = u.Status, u.Lease
		// An address that is there, be it from an earlier run of bondd, lives on.
		if u.Lease != nil && slices.ContainsFunc(e.net.Addresses, func(a state.Address) bool {
			return a.Index == b.index && a.Prefix == u.Lease.Prefix && !a.Permanent
		}) {
			if err := e.deps.Kernel.Do(ctx, reconcile.Renew(u.Bond, u.Lease, time.Now())); err != nil {
				e.log.Error("dhcp: the renewed lifetime was not written", "err", err)
			}
		}
	}
	e.writeResolvConf()
}

// Snapshot returns what was published last; never nil.
func (e *Engine) Snapshot() *state.Snapshot { return e.snapshot.Load() }

// Subscribe returns a channel that gets a value after a publish; several
// publishes may share one. It ends with ctx.
func (e *Engine) Subscribe(ctx context.Context) <-chan struct{} { return e.subs.add(ctx) }

// subscribers are told of every publish.
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
