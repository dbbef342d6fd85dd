package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
)

const (
	// heartbeat is how often an idle stream carries a comment, so that both
	// ends notice when the other is gone.
	heartbeat = 10 * time.Second
	// eventTimeout is how long one event may take to reach the client's kernel
	// before the client counts as dead.
	eventTimeout = 10 * time.Second
	// retry is how long a browser waits before it connects again.
	retry = 2 * time.Second
)

// events streams the status, once at first and then whenever it changes in more
// than its counters, or has become too old to be believed. Each event is called "status" and carries the document of
// /api/v1/status on one line.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	stream := http.NewResponseController(w)
	// The server's deadlines are for requests that end. Without an end to its
	// reading, the request would be cancelled after the server's ReadTimeout.
	if err := stream.SetReadDeadline(time.Time{}); err != nil {
		h.log.Error("open event stream", "err", err)
		http.Error(w, "this connection cannot carry events", http.StatusInternalServerError)
		return
	}
	send := func(text []byte) error {
		if err := stream.SetWriteDeadline(time.Now().Add(eventTimeout)); err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		if err := stream.Flush(); err != nil {
			return err
		}
		// Over HTTP/2 a deadline that passes ends even an idle stream.
		return stream.SetWriteDeadline(time.Time{})
	}

	lasts(r)
	ctx := r.Context() // ends with the connection and with the server
	ticks := h.src.Subscribe(ctx)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()

	// A failing send means that the client is gone: there is nobody left to tell.
	if send(fmt.Appendf(nil, "retry: %d\n\n", retry.Milliseconds())) != nil {
		return
	}
	// An engine that does not run publishes nothing: that is seen by the clock.
	aged := time.NewTimer(state.MaxAge)
	defer aged.Stop()
	var sent uint64
	for {
		s, now := h.src.Snapshot(), time.Now()
		event, err := h.changes.event(s, now)
		if err != nil {
			h.log.Error("encode event", "err", err)
			return
		}
		if event.number != sent {
			if send(event.text) != nil {
				return
			}
			sent = event.number
		}
		if left := state.MaxAge - s.Age(now); left >= 0 {
			aged.Reset(left + 1)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		case <-aged.C:
		case <-beat.C:
			if send([]byte(": still here\n\n")) != nil {
				return
			}
		}
	}
}

// An event is a change of status, ready to be sent.
type event struct {
	number uint64 // counts the changes, from 1
	text   []byte
}

// changes tells which snapshots are a change that a person would want to see.
// It looks at each snapshot once, for however many streams.
type changes struct {
	mu      sync.Mutex
	seen    *state.Snapshot // the one that was looked at last
	stale   bool            // it was too old by then
	settled []byte          // what of it only changes if something happened
	last    event
}

// event returns the last change, up to and including this snapshot at the time now.
func (c *changes) event(s *state.Snapshot, now time.Time) (event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := report.At(s, now)
	// A stream that was slow may come with a snapshot that is older, or with an
	// earlier time.
	if c.seen != nil && (s == c.seen && (c.stale || !st.Stale()) || s.Time.Before(c.seen.Time)) {
		return c.last, nil
	}
	settled, err := json.Marshal(st.Settled())
	if err != nil {
		return event{}, fmt.Errorf("encode status: %w", err)
	}
	if c.seen == nil || !bytes.Equal(settled, c.settled) {
		document, err := json.Marshal(st)
		if err != nil {
			return event{}, fmt.Errorf("encode status: %w", err)
		}
		number := c.last.number + 1
		c.last = event{number: number, text: fmt.Appendf(nil, "id: %d\nevent: status\ndata: %s\n\n", number, document)}
	}
	c.seen, c.stale, c.settled = s, st.Stale(), settled
	return c.last, nil
}
