package kernel

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// fifoPriority is the lowest that comes before every thread without real-time
// priority and still leaves room below: more is only needed against others that
// have one too.
const fifoPriority = 10

// A Priority is the real-time priority of the thread that receives link events:
// it runs before all that have none, however busy the machine is.
//
// There is one thing that it must not run before. While Go's garbage collector
// scans the stack of a goroutine that waits in a system call, that goroutine can
// only spin when the call returns, and a spinning thread of real-time priority
// never lets the collector go on on a machine of one processor (measured: 0.95 s,
// until the kernel ends it). So the collector runs in Without.
type Priority struct {
	mu     sync.Mutex
	thread int // that has it; 0: none
}

// take gives the priority to the calling thread. Threads that it starts do not
// inherit it.
func (p *Priority) take() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	thread := unix.Gettid()
	if err := schedule(thread, fifo); err != nil {
		return fmt.Errorf("ask for real-time priority: %w", err)
	}
	p.thread = thread
	return nil
}

// give makes the thread one like the others again. Whoever may take the
// priority may give it back, so that it does not fail.
func (p *Priority) give() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = schedule(p.thread, normal)
	p.thread = 0
}

// Without runs f while nobody has the priority.
func (p *Priority) Without(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.thread != 0 {
		_ = schedule(p.thread, normal)
		defer func() { _ = schedule(p.thread, fifo) }()
	}
	f()
}

var (
	fifo   = unix.SchedAttr{Policy: unix.SCHED_FIFO, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: fifoPriority}
	normal = unix.SchedAttr{Policy: unix.SCHED_NORMAL, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
)

// schedule sets how a thread is scheduled.
func schedule(thread int, attr unix.SchedAttr) error { return unix.SchedSetAttr(thread, &attr, 0) }
