package vmtest

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/state"
)

// A reflex is the whole way from a link event to the write that answers it, on
// real sockets and a real bond: traffic is moved to eth1, and the first event
// that tells of it is answered by moving it back to eth0.
type reflex struct {
	trigger  *kernel.Switcher
	to0, to1 kernel.Request
	events   atomic.Int64 // seen in all
	perRound atomic.Int64 // events of one switch there and back; 0: nothing is answered
	done     chan error   // the end of each round, with the answer's result
	priority kernel.Priority
	granted  error  // whether the thread got real-time priority
	policy   uint32 // of that thread, as the kernel has it
}

func newReflex(t testing.TB) *reflex {
	t.Helper()
	h := newHost(t, 2)
	h.bond(state.Options{"mode": "active-backup", "miimon": "100", "primary_reselect": "failure", "num_grat_arp": "0", "resend_igmp": "0"})
	h.eventually("two slaves with link", func() bool {
		n := h.network()
		return n.Link("eth0").Slave.MIIStatus == state.MIIUp && n.Link("eth1").Slave.MIIStatus == state.MIIUp && n.Link("bond0").Bond.ActiveSlave == n.Link("eth0").Index
	})
	time.Sleep(10 * time.Second) // what IPv6 has to say at the start
	bond := h.link("bond0").Index
	r := &reflex{done: make(chan error, 1), to0: kernel.SetActiveSlave(bond, h.link("eth0").Index), to1: kernel.SetActiveSlave(bond, h.link("eth1").Index)}
	var listener *kernel.Listener
	var answer *kernel.Switcher
	err := h.lan.Host.Do(func() (err error) {
		if r.trigger, err = kernel.NewSwitcher(); err != nil {
			return err
		}
		t.Cleanup(r.trigger.Close)
		if answer, err = kernel.NewSwitcher(); err != nil {
			return err
		}
		t.Cleanup(answer.Close)
		listener, err = kernel.Listen()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	listener.Priority = &r.priority
	listener.OnPriority = func(err error) {
		r.granted = err
		if attr, err := unix.SchedGetAttr(0, 0); err == nil {
			r.policy = attr.Policy
		}
		close(began)
	}
	n, answered := int64(0), error(nil) // of this round
	handle := func(ev *state.LinkEvent) {
		if ev.Lost {
			t.Error("events were lost")
		}
		r.events.Add(1)
		round := r.perRound.Load()
		if round == 0 {
			return
		}
		if n == 0 {
			answered = answer.Do(&r.to0)
		}
		if n++; n == round {
			n = 0
			r.done <- answered
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- listener.Run(ctx, handle) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the listener ends with %v", err)
		}
	})
	<-began

	// How many events a switch there and back has.
	var counts [2]int64
	for i := range counts {
		before := r.events.Load()
		for _, to := range []*kernel.Request{&r.to1, &r.to0} {
			if err := r.trigger.Do(to); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Millisecond)
		counts[i] = r.events.Load() - before
	}
	if counts[0] != counts[1] || counts[0] < 4 {
		t.Fatalf("a switch there and back has %d events", counts)
	}
	r.perRound.Store(counts[0])
	return r
}

// round is one switch and its answer.
func (r *reflex) round(t testing.TB) {
	if err := r.trigger.Do(&r.to1); err != nil {
		t.Errorf("switch to eth1: %v", err)
	}
	if err := <-r.done; err != nil {
		t.Errorf("answer: %v", err)
	}
}

// The way from an event to the write that answers it is free of garbage.
func TestReflexAllocates(t *testing.T) {
	r := newReflex(t)
	if n := testing.AllocsPerRun(200, func() { r.round(t) }); n != 0 {
		t.Errorf("%v allocations for each answer", n)
	}
}

// The thread that receives events goes before all that have no real-time priority.
func TestPriority(t *testing.T) {
	r := newReflex(t)
	if r.granted != nil || r.policy != unix.SCHED_FIFO {
		t.Errorf("as root: %v, policy %d; want SCHED_FIFO", r.granted, r.policy)
	}
	// And no other thread does; for a while nobody, if that is asked for.
	if n := realTimeThreads(t); n != 1 {
		t.Errorf("%d threads have real-time priority, want 1", n)
	}
	r.priority.Without(func() {
		if n := realTimeThreads(t); n != 0 {
			t.Errorf("%d threads have real-time priority while nobody should", n)
		}
	})
	if n := realTimeThreads(t); n != 1 {
		t.Errorf("%d threads have real-time priority after that, want 1", n)
	}
}

// realTimeThreads counts the threads of this process that have real-time priority.
func realTimeThreads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	fifo := 0
	for _, task := range tasks {
		pid, err := strconv.Atoi(task.Name())
		if err != nil {
			t.Fatal(err)
		}
		if attr, err := unix.SchedGetAttr(pid, 0); err == nil && attr.Policy == unix.SCHED_FIFO {
			fifo++
		}
	}
	return fifo
}

// BenchmarkReflex is the time of a switch and its answer, with the wake-ups of
// both sides.
func BenchmarkReflex(b *testing.B) {
	r := newReflex(b)
	b.ReportAllocs()
	for b.Loop() {
		r.round(b)
	}
}
