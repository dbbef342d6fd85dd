package pathcheck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"bondd.internal/bondd/internal/state"
)

// A Target is what every slave has to reach.
type Target struct {
	// Addr is asked by ARP if it is IPv4, by neighbour solicitation if it is IPv6.
	Addr netip.Addr
	// Source is the sender of the ARP requests that do not come from the bond
	// itself, an address that nobody else uses: whoever hears the request takes it
	// to be at the probe's MAC. Invalid: one is found that no host has.
	Source netip.Addr

	Interval    time.Duration // from one probe to the next
	Timeout     time.Duration // for the answers, from when all slaves have asked; at most Interval
	MissedMax   int           // probes in a row without an answer that make the path dead
	ReturnAfter int           // answers in a row that bring it back
}

// check says what is wrong with a target.
func (t *Target) check() error {
	switch {
	case !t.Addr.IsValid() || t.Addr.Is4In6() || t.Addr.Zone() != "" || t.Addr.IsUnspecified() || t.Addr.IsMulticast():
		return errors.New("it is not an address that can be probed")
	case t.Source.IsValid() && !t.Source.Is4():
		return fmt.Errorf("its source %v is no IPv4 address", t.Source)
	case t.Interval <= 0 || t.Timeout <= 0 || t.Timeout > t.Interval:
		return fmt.Errorf("a timeout of %v does not fit into an interval of %v", t.Timeout, t.Interval)
	case t.MissedMax < 1 || t.ReturnAfter < 1:
		return fmt.Errorf("neither %d missed probes nor %d answers can decide anything", t.MissedMax, t.ReturnAfter)
	}
	return nil
}

// A Slave is a card to probe from.
type Slave struct {
	Name  string
	Index int
	// MAC is the card's permanent address, from which that of its probes is
	// derived. Zero: not known, the probes get a random one.
	MAC state.MAC
	// LinkUp says that frames can leave by the card. Without, nothing is sent
	// and nothing is known of its paths.
	LinkUp bool
	// Active says that the bond's frames leave by it, in mode active-backup.
	Active bool
}

// A Report is what is known of the paths of every slave of the last SetSlaves:
// by interface index, one Path for each target, in the order of
// Config.Targets. It belongs to the receiver.
type Report map[int][]state.Path

// Config says what a Checker checks.
type Config struct {
	Bond    string // for the log
	Targets []Target
	// Strict says that an answer counts only if it comes in by the slave that
	// asked, as in mode active-backup. Otherwise it may come in by any slave of
	// the bond: where the switch takes them for one port, it chooses.
	Strict bool
	Log    *slog.Logger
	// Report is called from one goroutine, after every round of probes and when
	// slaves change. While it does not return, probing goes on, and only the
	// newest Report is kept for it. It has to return when ctx ends.
	Report func(ctx context.Context, r Report)
}

// A Checker checks the paths of one bond.
type Checker struct {
	cfg  Config
	dial func(*Config) (wire, error) // another one in tests

	mu     sync.Mutex
	bond   Bond
	slaves []Slave
	fresh  bool   // they were not yet taken by the loop
	wake   func() // nil while Run does not run
}

// New returns a Checker that does nothing until Run. It fails if a target
// cannot be probed as it is described.
func New(cfg Config) (*Checker, error) {
	seen := make(map[netip.Addr]bool)
	for _, t := range cfg.Targets {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("check paths of %s to %v: %w", cfg.Bond, t.Addr, err)
		}
		if seen[t.Addr] {
			return nil, fmt.Errorf("check paths of %s to %v: it is there twice", cfg.Bond, t.Addr)
		}
		seen[t.Addr] = true
	}
	return &Checker{cfg: cfg, dial: dial}, nil
}

// SetSlaves says what the bond is now, and which slaves it has. It does not
// block, costs next to nothing if nothing changed, and may be called from any
// goroutine, before Run too. A slave is known by its name: what was found of its
// paths is kept while it is not there.
func (c *Checker) SetSlaves(bond Bond, slaves []Slave) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bond.equal(&bond) && slices.Equal(c.slaves, slaves) {
		return
	}
	c.bond = bond
	c.bond.Addresses, c.bond.Foreign = slices.Clone(bond.Addresses), slices.Clone(bond.Foreign)
	c.slaves, c.fresh = slices.Clone(slaves), true
	if c.wake != nil {
		c.wake()
	}
}

// takeSlaves returns the bond and its slaves, and whether they are news.
func (c *Checker) takeSlaves() (Bond, []Slave, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := c.fresh
	c.fresh = false
	return c.bond, c.slaves, fresh
}

// setWake says how SetSlaves wakes the loop.
func (c *Checker) setWake(wake func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake = wake
}

// Run probes until ctx ends, and then returns nil. Whatever goes wrong with a
// slave is told in Reports and in the log; it is never Run's error.
func (c *Checker) Run(ctx context.Context) error {
	w, err := c.dial(&c.cfg)
	if err != nil {
		return fmt.Errorf("check paths of %s: %w", c.cfg.Bond, err)
	}
	defer w.close()
	c.setWake(w.wake)
	defer c.setWake(nil)

	// Of the three, one must never wait, one may have to wait for the kernel,
	// and one for the receiver.
	reports := make(chan Report, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.loop(ctx, w, reports) })
	g.Go(func() error { w.run(ctx); return nil })
	g.Go(func() error { c.deliver(ctx, reports); return nil })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("check paths of %s: %w", c.cfg.Bond, err)
	}
	return nil
}

// deliver hands reports to their receiver.
func (c *Checker) deliver(ctx context.Context, reports <-chan Report) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-reports:
			c.cfg.Report(ctx, r)
		}
	}
}

// loop sends probes, receives answers, and decides.
func (c *Checker) loop(ctx context.Context, w wire, reports chan Report) error {
	r := newRounds(c.cfg.Targets, c.cfg.Strict, randomMAC)
	log := sendLog{log: c.cfg.Log.With("bond", c.cfg.Bond), failing: make(map[string]*failing)}
	for woken := true; ctx.Err() == nil; {
		if woken {
			if bond, slaves, fresh := c.takeSlaves(); fresh {
				r.setBond(bond)
				r.setSlaves(slaves)
				w.use(r.cards(), bond.Index)
			}
			r.setReady(w.ready)
		}
		// The clock is read before the sockets: what has come in until now is
		// handled before the verdict of now.
		now := time.Now()
		woken = w.receive(func(in card, frame []byte, at time.Time) { r.hear(in, frame, at, time.Now()) })
		r.end(now)
		c.send(r, w, now, &log)
		if r.changed {
			select {
			case <-reports: // nobody took it, and it is out of date
			default:
			}
			reports <- r.report()
		}
		if !woken {
			if err := w.wait(r.next()); err != nil {
				return err
			}
		}
	}
	return nil
}

// send begins the rounds that are due, and sends what there is to send.
func (c *Checker) send(r *rounds, w wire, now time.Time, log *sendLog) {
	begun := false
	for i := range r.targets {
		begun = r.begin(i, now) || begun
		r.release(i, now)
		if r.targets[i].call {
			log.sent(c.cfg.Bond, time.Now(), ask(r, w, i))
			r.called(i)
		}
		for _, s := range r.slaves {
			for {
				f := s.probes[i].next()
				if f == 0 {
					break
				}
				at, by := time.Now(), s.Name
				var err error
				if f == plain {
					by, err = c.cfg.Bond, ask(r, w, i)
				} else {
					err = w.send(s.card(), r.frame(s, i, f))
				}
				r.sent(s, i, f, at, err)
				log.sent(by, at, err)
			}
		}
	}
	if begun {
		r.allSent(now, time.Now())
	}
}

// ask sends a target the bond's own request.
func ask(r *rounds, w wire, target int) error {
	mac, err := w.mac(r.bondCard())
	if err != nil {
		return err
	}
	return w.send(r.bondCard(), r.plainFrame(target, mac))
}
