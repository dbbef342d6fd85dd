package appliance_test

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	// pace is the time between two requests.
	pace = 20 * time.Millisecond
	// lossLimit is for how long a pulled cable may keep requests from being
	// answered.
	lossLimit = time.Second
)

// requests is a loop of requests at 50 per second, each on a connection of its
// own.
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
	type answer struct {
		at  time.Time
		err error
	}
	answers := make(chan answer)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	last := time.Now()
	open := 0
	for stopped, askC := ctx.Done(), tick.C; askC != nil || open > 0; {
		select {
		case <-stopped:
			stopped, askC = nil, nil
		case <-askC:
			o.asked++
			open++
			go func() {
				// Those under way when the loop is stopped are still answered.
				_, code, err := get(context.WithoutCancel(ctx), client, url)
				if err == nil && code != http.StatusOK {
					err = fmt.Errorf("code %d", code)
				}
				answers <- answer{time.Now(), err}
			}()
		case a := <-answers:
			open--
			if a.err != nil {
				o.err = a.err
				continue
			}
			o.answered++
			o.longest = max(o.longest, a.at.Sub(last))
			last = a.at
			select {
			case r.answeredC <- struct{}{}:
			default:
			}
		}
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
