package drill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
)

// A Source publishes snapshots.
type Source interface {
	Snapshot() *state.Snapshot
}

// Control switches a bond to one of its slaves, and returns when that is done
// and the newest snapshot shows it. The error is a *state.Refusal where it was
// not to be done.
type Control interface {
	Failover(ctx context.Context, bond, to string) error
}

// The times of a drill.
const (
	interval  = 10 * time.Millisecond  // from one request to the next
	trialTime = time.Second            // of requests after each switch
	giveUp    = 300 * time.Millisecond // without an answer: traffic must not stay there

	// beforeTime is of requests before the first switch. Like those after it,
	// it falls in the middle between two requests: with no answer under way,
	// what is lost is lost by the slave.
	beforeTime = 500*time.Millisecond + interval/2

	switchLimit = 10 * time.Second // for a switch to be carried out
	backLimit   = 10 * time.Second // for the way back, which is tried again and again
	backRetry   = 100 * time.Millisecond
)

// A Runner runs drills. It is for its caller to run one at a time.
type Runner struct {
	Source  Source
	Control Control
	Log     *slog.Logger

	open func(ctx context.Context, bond string, target netip.Addr) (line, error) // nil: openLine
}

// Run switches a bond to each standby that is fit for it, and back. The error is
// a *state.Refusal if nothing was moved, and that of ctx if ctx ended before
// the drill did; traffic is back where it was then, too.
func (r *Runner) Run(ctx context.Context, bond string) (*Report, error) {
	b := r.Source.Snapshot().Bond(bond)
	if b == nil {
		return nil, &state.Refusal{Unknown: true, Why: fmt.Sprintf("there is no bond %q", bond)}
	}
	standbys, err := standbysOf(b)
	if err != nil {
		return nil, err
	}
	target, line, err := r.line(ctx, b)
	if err != nil {
		return nil, err
	}
	d := &drill{
		Runner:  r,
		bond:    bond,
		home:    b.ActiveSlave,
		traffic: startTraffic(line),
		report:  Report{Bond: bond, Slave: b.ActiveSlave, Target: target, Slaves: make([]Trial, len(standbys))},
	}
	r.Log.Info("drill: begins", "bond", bond, "slave", d.home, "standbys", standbys, "target", target)
	err = d.run(ctx, standbys)
	requests := d.traffic.stop()
	if err != nil {
		r.Log.Warn("drill: ended early", "bond", bond, "err", err)
		return nil, err
	}
	d.judge(requests)
	return &d.report, nil
}

// standbysOf are the slaves to try, in the configured order.
func standbysOf(b *state.Bond) ([]string, error) {
	switch {
	case b.Mode.SharesTraffic():
		return nil, refuse(
			"%s is in mode %s, in which every slave carries traffic: a drill is for active-backup",
			b.Name,
			b.Mode,
		)
	case b.ActiveSlave == "":
		return nil, refuse("%s has no active slave to begin with", b.Name)
	}
	var names []string
	for i := range b.Slaves {
		if name := b.Slaves[i].Name; name != b.ActiveSlave {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, refuse("%s has no slave but %s: there is no standby to try", b.Name, b.ActiveSlave)
	}
	return names, nil
}

// line finds a host that answers, and opens the line to it.
func (r *Runner) line(ctx context.Context, b *state.Bond) (netip.Addr, line, error) {
	open := r.open
	if open == nil {
		open = openLine
	}
	all := targets(b)
	if len(all) == 0 {
		return netip.Addr{}, nil, refuse(
			"%s has nobody to ask: configure a gateway, or a [[bond.path]] with a target",
			b.Name,
		)
	}
	var failed []string
	for _, target := range all {
		l, err := open(ctx, b.Name, target)
		if err == nil {
			return target, l, nil
		}
		if ctx.Err() != nil {
			return netip.Addr{}, nil, fmt.Errorf("drill on %s: %w", b.Name, ctx.Err())
		}
		failed = append(failed, err.Error())
	}
	return netip.Addr{}, nil, refuse(
		"a dead standby of %s looks the same as a dead host, so nothing was moved: %s",
		b.Name,
		strings.Join(failed, "; "),
	)
}

// targets are the hosts to ask, best first: those that answer the path checks
// of the active slave, then the gateways.
func targets(b *state.Bond) []netip.Addr {
	var all []netip.Addr
	for i := range b.Slaves {
		if s := &b.Slaves[i]; s.Name == b.ActiveSlave {
			for _, p := range s.Paths {
				if p.State != state.PathDown {
					all = append(all, p.Target)
				}
			}
		}
	}
	for _, g := range b.Gateways {
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all
}

func refuse(format string, args ...any) *state.Refusal {
	return &state.Refusal{Why: fmt.Sprintf(format, args...)}
}

// A drill is a drill under way.
type drill struct {
	*Runner
	bond, home string
	traffic    *traffic
	report     Report
	stretches  []stretch
}

// A stretch is a time whose requests are counted once every answer is in.
type stretch struct {
	from, to time.Time
	into     *Figures
}

// run tries the standbys. Whatever happens, it goes back before it returns.
func (d *drill) run(ctx context.Context, standbys []string) error {
	if !d.watch(ctx, time.Now(), beforeTime, &d.report.Before) {
		if ctx.Err() != nil {
			return fmt.Errorf("drill on %s: %w", d.bond, ctx.Err())
		}
		return refuse("%s answered once and then no more, so nothing was moved", d.report.Target)
	}
	for i, name := range standbys {
		t := &d.report.Slaves[i]
		t.Name = name
		if d.report.Problem != "" {
			t.Problem = "the drill had ended before"
			continue
		}
		d.try(ctx, t)
		if ctx.Err() != nil {
			return fmt.Errorf("drill on %s: %w", d.bond, ctx.Err())
		}
	}
	return nil
}

// try switches to a standby and back. What ends the drill goes into the
// report's Problem.
func (d *drill) try(ctx context.Context, t *Trial) {
	if t.Problem = d.unfit(t.Name); t.Problem != "" {
		return
	}
	from := time.Now()
	if err := d.failover(ctx, t.Name); err != nil {
		t.Problem = err.Error()
		if refusal := (*state.Refusal)(nil); !errors.As(err, &refusal) {
			d.back(ctx) // whether it was carried out is not known
		}
		return
	}
	t.Tried, t.To = true, new(Figures)
	d.watch(ctx, from, trialTime, t.To)
	if d.active() != t.Name {
		t.Problem = "the traffic was taken off it again; the history says why"
	}
	from = time.Now()
	if !d.back(ctx) || ctx.Err() != nil {
		return
	}
	t.Back = new(Figures)
	if !d.watch(ctx, from, trialTime, t.Back) && ctx.Err() == nil {
		d.report.Problem = fmt.Sprintf(
			"nothing is answered any more since the switch back from %s to %s",
			t.Name,
			d.home,
		)
	}
}

// unfit says why a standby cannot be tried; empty: it can.
func (d *drill) unfit(name string) string {
	b := d.Source.Snapshot().Bond(d.bond)
	if b == nil {
		return "the bond is gone"
	}
	i := slices.IndexFunc(b.Slaves, func(s state.Slave) bool { return s.Name == name })
	if i < 0 {
		return "it is a slave no more"
	}
	return report.Unfit(b, &b.Slaves[i])
}

// active is the active slave as bondd knows it; empty: none.
func (d *drill) active() string {
	if b := d.Source.Snapshot().Bond(d.bond); b != nil {
		return b.ActiveSlave
	}
	return ""
}

func (d *drill) failover(ctx context.Context, to string) error {
	ctx, cancel := context.WithTimeout(ctx, switchLimit)
	defer cancel()
	return d.Control.Failover(ctx, d.bond, to)
}

// back brings the traffic back to where it was, also when whoever asked for the
// drill is gone, and reports whether it is there.
func (d *drill) back(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backLimit)
	defer cancel()
	for {
		err := d.failover(ctx, d.home)
		if err == nil || d.active() == d.home {
			return true
		}
		select {
		case <-time.After(backRetry):
		case <-ctx.Done():
			d.report.Problem = fmt.Sprintf(
				"the way back failed, traffic is on %s instead of %s: %v",
				d.active(),
				d.home,
				err,
			)
			d.Log.Error("drill: the way back failed", "bond", d.bond, "to", d.home, "err", err)
			return false
		}
	}
}

// watch lets requests pass for a time, and has them counted from a moment on.
// It ends early, and returns false, when too long nothing was answered or ctx
// has ended.
func (d *drill) watch(ctx context.Context, from time.Time, length time.Duration, into *Figures) (answered bool) {
	end := time.NewTimer(length)
	defer end.Stop()
	look := time.NewTicker(interval)
	defer look.Stop()
	answered = true
	for waiting := true; waiting && answered; {
		select {
		case <-ctx.Done():
			answered = false
		case <-end.C:
			waiting = false
		case now := <-look.C:
			last := d.traffic.lastAnswer()
			if last.Before(from) {
				last = from
			}
			answered = now.Sub(last) < giveUp
		}
	}
	d.stretches = append(d.stretches, stretch{from, time.Now(), into})
	return answered
}

// judge counts what was lost, and says which standby passed.
func (d *drill) judge(requests []request) {
	for _, s := range d.stretches {
		*s.into = figures(requests, s.from, s.to)
	}
	d.report.OK = d.report.Problem == ""
	for i := range d.report.Slaves {
		t := &d.report.Slaves[i]
		if t.Tried && t.Problem == "" {
			t.Problem = t.To.problem(&d.report.Before)
		}
		if t.Back != nil && t.Problem == "" {
			if why := t.Back.problem(&d.report.Before); why != "" {
				t.Problem = "after the switch back " + why
			}
		}
		d.report.OK = d.report.OK && t.Passed()
		if t.Passed() {
			d.Log.Info("drill: passed", "bond", d.bond, "slave", t.Name, "to", t.To, "back", t.Back)
		} else {
			d.Log.Warn("drill: not passed", "bond", d.bond, "slave", t.Name, "why", t.Problem)
		}
	}
}
