package appliance_test

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	// pace is the time from one request to the next, if the first is answered by then.
	pace = 20 * time.Millisecond
	// lossLimit is for how long a pulled cable may keep requests from being
	// answered.
	lossLimit = time.Second
)

// requests is a loop of requests, each on a connection of its own. The next one
// begins when the last one has ended: a machine that gets little of a processor
// is asked as often as it can answer.
type requests struct {
	cancel    context.CancelFunc
	answeredC chan struct{}
	doneC     chan outcome
}

// outcome is what became of the requests.
type outcome struct {
	asked, answered int
	longest         time.Duration // without an answer
	err             error         // of the last request that failed
}

func (o outcome) String() string {
	s := fmt.Sprintf("%d of %d requests answered, at most %v without an answer", o.answered, o.asked, o.longest.Round(time.Millisecond))
	if o.err != nil {
		s += fmt.Sprintf(", last error: %v", o.err)
	}
	return s
}

// newRequests starts to ask for a page.
func newRequests(client *http.Client, url string) *requests {
	ctx, cancel := context.WithCancel(context.Background())
	r := &requests{cancel, make(chan struct{}, 1), make(chan outcome, 1)}
	go func() { r.doneC <- r.run(ctx, client, url) }()
	return r
}

func (r *requests) run(ctx context.Context, client *http.Client, url string) (o outcome) {
	last := time.Now()
	for ctx.Err() == nil {
		next := time.After(pace)
		o.asked++
		// The one that is under way when the loop is stopped is still answered.
		_, code, err := get(context.WithoutCancel(ctx), client, url)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("code %d", code)
		}
		if err != nil {
			o.err = err
		} else {
			o.answered++
			now := time.Now()
			o.longest = max(o.longest, now.Sub(last))
			last = now
			select {
			case r.answeredC <- struct{}{}:
			default:
			}
		}
		<-next
	}
	return o
}

// wait waits for some more answers, but no longer than the loop itself would
// have to be called stuck.
func (r *requests) wait(answers int) {
	limit := time.After(patience)
	for range answers {
		select {
		case <-r.answeredC:
		case <-limit:
			return
		}
	}
}

// stop ends the requests and says what became of them.
func (r *requests) stop() outcome {
	r.cancel()
	return <-r.doneC
}
