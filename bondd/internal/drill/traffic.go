package drill

import (
	"sync"
	"time"
)

// A line carries requests to one host, and its answers.
type line interface {
	ask() error    // sends a request
	answer() error // waits for an answer, and fails when the line is closed
	close() error
}

// late is how long after the last request answers are waited for.
const late = 100 * time.Millisecond

// traffic is requests at an even pace, and which of them were answered.
type traffic struct {
	line     line
	quit     chan struct{} // ends the sender
	sender   sync.WaitGroup
	receiver sync.WaitGroup

	mu       sync.Mutex
	requests []request
	last     time.Time // of the newest answer
}

// startTraffic sends the first request at once. stop ends it and closes the line.
func startTraffic(l line) *traffic {
	t := &traffic{line: l, quit: make(chan struct{})}
	t.sender.Go(t.send)
	t.receiver.Go(t.receive)
	return t
}

func (t *traffic) send() {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		t.mu.Lock()
		t.requests = append(t.requests, request{sent: time.Now()})
		t.mu.Unlock()
		// A request that could not be sent is one that is not answered: a bond
		// that takes none is what the drill looks for.
		_ = t.line.ask()
		select {
		case <-t.quit:
			return
		case <-tick.C:
		}
	}
}

func (t *traffic) receive() {
	for {
		if err := t.line.answer(); err != nil {
			select {
			case <-t.quit:
				return
			case <-time.After(interval): // the bond was taken down, which passes
				continue
			}
		}
		t.answered(time.Now())
	}
}

// answered counts an answer. Answers do not say which request they are for: it
// is taken to be the newest one that has none. What the target says unasked,
// and twice, is left out by that.
func (t *traffic) answered(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.requests) - 1; i >= 0 && at.Sub(t.requests[i].sent) < late; i-- {
		if r := &t.requests[i]; r.answered.IsZero() {
			r.answered, t.last = at, at
			return
		}
	}
}

// lastAnswer is when the newest answer came; zero: none has.
func (t *traffic) lastAnswer() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// stop ends the traffic and returns all of it.
func (t *traffic) stop() []request {
	close(t.quit)
	t.sender.Wait()
	time.Sleep(late)
	_ = t.line.close()
	t.receiver.Wait()
	return t.requests
}
