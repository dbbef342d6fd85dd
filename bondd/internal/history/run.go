package history

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"bondd.internal/bondd/internal/state"
)

const (
	// interval is from one write to the next: what flash bears for years.
	interval = time.Minute
	// settle is from a switch to its write. The kernel's agreement and the
	// first packet come a little later than the switch, and belong to it.
	settle = 2500 * time.Millisecond
	// lastWrite bounds the write at the end. A disk that does not answer must
	// not keep bondd from ending; gokrazy would kill it after 100 seconds.
	lastWrite = 10 * time.Second
)

// A Source publishes snapshots; the engine is one.
type Source interface {
	// Snapshot returns the newest snapshot, never nil.
	Snapshot() *state.Snapshot
	// Subscribe returns a channel that receives after a snapshot is published,
	// until ctx ends.
	Subscribe(ctx context.Context) <-chan struct{}
}

// Run keeps the history of a source in a folder until ctx ends: at most one
// write a minute, none where nothing changed, and a last one at the end for
// what is not written yet, which takes 10 seconds at most. loaded is what Load
// returned, and so is in the file already. A disk that cannot be written is
// logged when that begins and when it ends, and tried again every minute.
func Run(ctx context.Context, dir string, loaded []*state.Failover, src Source, log *slog.Logger) {
	k := &keeper{
		src:   src,
		log:   log.With("dir", dir),
		write: func(failovers []*state.Failover) error { return write(dir, failovers) },
		saved: loaded,
	}
	k.run(ctx)
}

type keeper struct {
	src   Source
	log   *slog.Logger
	write func([]*state.Failover) error

	saved   []*state.Failover // what the file has
	failing bool              // the last write failed
	writing *attempt          // nil: no write is under way
}

// An attempt is a write under way, in a goroutine of its own: nothing can call
// a goroutine back that waits for a disk.
type attempt struct {
	failovers []*state.Failover
	doneC     chan error // receives once
}

func (k *keeper) run(ctx context.Context) {
	ticks := k.src.Subscribe(ctx)
	var dueC <-chan time.Time // when the next write begins; nil: there is nothing to write
	var notBefore time.Time
	for {
		if k.writing == nil && dueC == nil && k.unsaved() {
			dueC = time.After(max(settle, time.Until(notBefore)))
		}
		select {
		case <-ctx.Done():
			k.finish()
			return
		case <-ticks:
		case <-dueC:
			dueC, notBefore = nil, time.Now().Add(interval)
			k.begin()
		case err := <-k.doneC():
			k.ended(err)
		}
	}
}

// finish writes what is not written yet, if the disk answers in time.
func (k *keeper) finish() {
	timeoutC := time.After(lastWrite)
	for k.writing != nil || k.unsaved() {
		last := k.writing == nil
		if last {
			k.begin()
		}
		select {
		case err := <-k.doneC():
			k.ended(err)
		case <-timeoutC:
			k.log.Warn("history: the disk does not answer; the latest failovers are not kept", "waited", lastWrite)
			return
		}
		if last {
			return
		}
	}
}

// unsaved reports whether there is something that the file does not have. No
// Failover is ever changed: one that became more complete is another.
func (k *keeper) unsaved() bool { return !slices.Equal(k.saved, k.src.Snapshot().History) }

func (k *keeper) begin() {
	a := &attempt{failovers: k.src.Snapshot().History, doneC: make(chan error, 1)}
	k.writing = a
	go func() { a.doneC <- k.write(a.failovers) }()
}

// doneC receives when the write under way ends; without one it never does.
func (k *keeper) doneC() <-chan error {
	if k.writing == nil {
		return nil
	}
	return k.writing.doneC
}

func (k *keeper) ended(err error) {
	switch {
	case err != nil && !k.failing:
		k.log.Error("history: failovers are not kept on disk; trying again", "err", err, "every", interval)
	case err == nil && k.failing:
		k.log.Info("history: failovers are kept on disk again")
	}
	k.failing = err != nil
	if err == nil {
		k.saved = k.writing.failovers
	}
	k.writing = nil
}
