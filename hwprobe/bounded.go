package hwprobe

import (
	"context"
	"fmt"
	"time"
)

// timeout is a context.DeadlineExceeded that says what took too long.
type timeout string

func (t timeout) Error() string        { return string(t) }
func (t timeout) Is(target error) bool { return target == context.DeadlineExceeded }

// bounded calls f in a goroutine of its own and returns when f or the time is over, because a system call that waits
// for a lock in the kernel heeds no deadline of ours. If the time is over first, the goroutine is left behind with its
// context cancelled; it ends when the kernel answers.
func bounded[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, timeout(fmt.Sprintf("timed out after %v", limit)))
	defer cancel()
	type answer struct {
		value T
		err   error
	}
	answerC := make(chan answer, 1)
	go func() {
		value, err := f(ctx)
		answerC <- answer{value, err}
	}()
	select {
	case a := <-answerC:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
