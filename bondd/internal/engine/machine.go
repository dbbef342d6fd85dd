package engine

import (
	"context"
	"log/slog"

	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/pathcheck"
	"bondd.internal/hwprobe"
)

// A Machine is the one that the process runs on: its kernel and its cards, for an
// engine to work on. Close it when the engine has ended.
type Machine struct {
	client           kernel.Client
	poller           kernel.Poller
	reflex, switcher *kernel.Switcher
	klog             *kernel.Log      // nil: it may not be read
	priority         *kernel.Priority // nil: none
	log              *slog.Logger
}

// OpenMachine opens what of it can fail. The thread that receives link events has
// the priority; nil: it is a thread like any other.
func OpenMachine(priority *kernel.Priority, log *slog.Logger) (*Machine, error) {
	m := &Machine{priority: priority, log: log}
	var err error
	if m.reflex, err = kernel.NewSwitcher(); err != nil {
		return nil, err
	}
	if m.switcher, err = kernel.NewSwitcher(); err != nil {
		m.reflex.Close()
		return nil, err
	}
	if m.klog, err = kernel.OpenLog(); err != nil {
		log.Info("the kernel's log is not read: the flight recorder will not tell when a driver saw a link go", "err", err)
	}
	return m, nil
}

// Close closes what the machine's Deps use.
func (m *Machine) Close() {
	if m.klog != nil {
		m.klog.Close()
	}
	m.switcher.Close()
	m.reflex.Close()
	m.poller.Close()
	m.client.Close()
}

// Deps returns what an engine needs of the machine. What else Deps has is the
// caller's to add.
func (m *Machine) Deps() Deps {
	d := Deps{
		Kernel:    &m.client,
		Reflex:    m.reflex,
		Switcher:  m.switcher,
		Listen:    m.listen,
		Poller:    &m.poller,
		Paths:     func(cfg pathcheck.Config) (PathChecker, error) { return pathcheck.New(cfg) },
		Inventory: func(ctx context.Context) ([]hwprobe.NIC, error) { return hwprobe.Inventory(ctx, hwprobe.Source{}) },
		Writes:    func() uint64 { return m.client.Writes() + m.reflex.Writes() + m.switcher.Writes() },

		FirstPacket:  kernel.FirstPacket,
		FastLinkDown: kernel.FastLinkDown,

		Log: m.log,
	}
	if m.klog != nil {
		d.LinkDown = m.klog.LinkDown
	}
	return d
}

func (m *Machine) listen() (Listener, error) {
	l, err := kernel.Listen()
	if err != nil {
		return nil, err
	}
	l.Priority = m.priority
	l.OnPriority = func(err error) {
		if err != nil {
			m.log.Warn("link events are answered without real-time priority: on a busy machine later", "err", err)
		}
	}
	return l, nil
}
