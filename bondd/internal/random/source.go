package random

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// limit is how long one call waits for the kernel's source. A read makes the
// kernel gather what it needs, which takes a fraction of a second.
const limit = 10 * time.Second

// ErrNotReady means that the kernel's source has not been ready in time.
var ErrNotReady = errors.New("the kernel's random source is not ready")

// A Source is a read of the kernel's random source that is under way.
//
// On a machine without a hardware source of random numbers and without a seed
// from an earlier run, the kernel's source is not ready until it has gathered
// enough from the timing of what it does, and it gathers only while a reader
// blocks (try_to_generate_entropy in drivers/char/random.c). The DHCP library
// does not block: it asks with GRND_NONBLOCK again and again, and keeps a
// processor busy for two minutes, whatever its context says.
type Source struct {
	doneC chan struct{} // closed after the read
	err   error         // of the read
}

// Start starts a read, which is Read outside of tests. The system call cannot be
// interrupted: its goroutine ends with it, or with the process.
func Start(read func() error) *Source {
	s := &Source{doneC: make(chan struct{})}
	go func() {
		defer close(s.doneC)
		s.err = read()
	}()
	return s
}

// Wait returns once the read has ended, successful or not, or with an error when
// ctx ends or the source is not ready in time. It can then be called again.
func (s *Source) Wait(ctx context.Context) error {
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-s.doneC:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return fmt.Errorf("%w after %v", ErrNotReady, limit)
	}
}

// Read reads one byte of the kernel's random source and blocks until it is ready.
//
// It is a plain read. A getrandom would be answered by the kernel's vDSO, in
// which Go's scheduler does not know that the thread blocks: until it returned,
// no garbage collection could begin, and every goroutine would wait for it.
func Read() error {
	fd, err := unix.Open("/dev/random", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the kernel's random source: %w", err)
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Read(fd, make([]byte, 1))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the kernel's random source: %w", err)
		}
		return nil
	}
}
