package web

import (
	"bytes"
	"context"
	"net/http"
	"time"
)

// What a small machine can answer at once without taking time from its bonds.
// The kinds of requests have a budget each, so that none shuts out another. All
// budgets together are smaller than maxConnections: there is always a
// connection by which one more request is read, if only to be refused.
const (
	maxWaiting     = 16 // requests of one kind that wait for their turn
	maxEventStream = 16 // open event streams
	maxHistories   = 2  // flight recorders being answered, each of which may be many megabytes
	maxCommands    = 4  // being carried out at once

	// maxWait is how long a request waits for its turn. While a cable is pulled,
	// what was asked meanwhile arrives at once.
	maxWait = 5 * time.Second
)

// A budget is what requests of one kind may take at once. Those beyond it wait
// for their turn, in the order in which they came; those beyond that, and those
// that have waited too long, are refused.
type budget struct {
	admitted chan struct{} // holds one for each request that is being answered or waits
	running  chan struct{} // holds one for each request that is being answered
	wait     time.Duration
}

func newBudget(running, waiting int, wait time.Duration) *budget {
	return &budget{
		admitted: make(chan struct{}, running+waiting),
		running:  make(chan struct{}, running),
		wait:     wait,
	}
}

// enter waits for a request's turn and reports whether it came.
func (b *budget) enter(ctx context.Context) bool {
	select {
	case b.admitted <- struct{}{}:
	default:
		return false
	}
	select {
	case b.running <- struct{}{}:
		return true
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, b.wait)
	defer cancel()
	select {
	case b.running <- struct{}{}:
		return true
	case <-ctx.Done():
		<-b.admitted
		return false
	}
}

// leave ends the turn of a request that has entered.
func (b *budget) leave() {
	<-b.running
	<-b.admitted
}

// hold lets a request keep its turn until its answer is with the client's kernel.
// It is for answers of which few may be in memory at once.
func (b *budget) hold(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !b.enter(r.Context()) {
			refuseForNow(w)
			return
		}
		defer b.leave()
		next.ServeHTTP(w, r)
	})
}

// render lets a request keep its turn only while its answer is made, in memory:
// a client that does not read cannot keep others waiting.
func (b *budget) render(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !b.enter(r.Context()) {
			refuseForNow(w)
			return
		}
		a := &answer{header: w.Header(), code: http.StatusOK}
		func() {
			defer b.leave() // even if next panics
			next.ServeHTTP(a, r)
		}()
		w.WriteHeader(a.code)
		write(w, a.body.Bytes())
	})
}

// refuseForNow refuses a request for which there is no room.
func refuseForNow(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "5")
	http.Error(w, "too many requests at once: try again in a few seconds", http.StatusServiceUnavailable)
}

// An answer is made in memory.
type answer struct {
	header http.Header // of the ResponseWriter that it will be written to
	code   int
	wrote  bool // the code is fixed
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(code int) {
	if !a.wrote {
		a.code, a.wrote = code, true
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.wrote = true
	return a.body.Write(b)
}
