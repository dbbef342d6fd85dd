package address

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// randomLimit is how long one call waits for the kernel's random source. A read
// makes the kernel gather what it needs, which takes a fraction of a second.
const randomLimit = 10 * time.Second

// errNoRandom means that the kernel's random source has not been ready in time.
var errNoRandom = errors.New("the kernel's random source is not ready")

// A Random is a read of the kernel's random source that is under way.
//
// On a machine without a hardware source of random numbers and without a seed
// from an earlier run, the kernel's source is not ready until it has gathered
// enough from the timing of what it does, and it gathers only while a reader
// blocks (try_to_generate_entropy in drivers/char/random.c). The DHCP library
// does not block: it asks with GRND_NONBLOCK again and again, and keeps a
// processor busy for two minutes, whatever its context says.
type Random struct {
	doneC chan struct{} // closed after the read
}

// StartRandom starts a read, which is ReadRandom outside of tests. The system
// call cannot be interrupted: its goroutine ends with it, or with the process.
func StartRandom(read func()) *Random {
	r := &Random{doneC: make(chan struct{})}
	go func() {
		defer close(r.doneC)
		read()
	}()
	return r
}

// Wait returns once the read has ended, successful or not, or with an error when
// ctx ends or the source is not ready in time. It can then be called again.
func (r *Random) Wait(ctx context.Context) error {
	limit := time.NewTimer(randomLimit)
	defer limit.Stop()
	select {
	case <-r.doneC:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.C:
		return fmt.Errorf("%w after %v", errNoRandom, randomLimit)
	}
}

// ReadRandom reads one byte of the kernel's random source and blocks until it
// is ready.
//
// It is a plain read. A getrandom would be answered by the kernel's vDSO, in
// which Go's scheduler does not know that the thread blocks: until it returned,
// no garbage collection could begin, and every goroutine would wait for it.
func ReadRandom() error {
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
