package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// A Monitor talks to QEMU's monitor, by its protocol QMP. It is safe for concurrent use.
type Monitor struct {
	conn net.Conn

	mu       sync.Mutex // guards all below, and writes to conn
	lastID   uint64
	waiting  map[uint64]chan message
	watchers map[*Watcher]bool
	err      error // set when the connection has ended
}

// A message is anything that QEMU sends: an answer or an event.
type message struct {
	ID     uint64          `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *Error          `json:"error"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
}

// An Error is QEMU's refusal of a command.
type Error struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *Error) Error() string { return e.Desc }

// A Watcher waits for an event.
type Watcher struct {
	match func(event string, data json.RawMessage) bool
	seen  chan struct{} // closed when it was seen, or the connection has ended
}

var errEnded = errors.New("QEMU has ended")

// OpenMonitor starts on a connection on which QEMU has not been spoken to.
// It ends when the connection is closed, by either end.
func OpenMonitor(ctx context.Context, conn net.Conn) (*Monitor, error) {
	c := &Monitor{
		conn:     conn,
		waiting:  make(map[uint64]chan message),
		watchers: make(map[*Watcher]bool),
	}
	go c.read()
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	if err := c.Execute(ctx, "qmp_capabilities", nil); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Monitor) read() {
	d := json.NewDecoder(c.conn)
	var err error
	for err == nil {
		var m message
		if err = d.Decode(&m); err == nil {
			c.dispatch(m)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = errEnded
	for id, answer := range c.waiting {
		close(answer)
		delete(c.waiting, id)
	}
	for w := range c.watchers {
		close(w.seen)
		delete(c.watchers, w)
	}
}

// dispatch hands a message to whom it is for. The greeting is for nobody.
func (c *Monitor) dispatch(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Event != "" {
		for w := range c.watchers {
			if w.match(m.Event, m.Data) {
				close(w.seen)
				delete(c.watchers, w)
			}
		}
		return
	}
	if answer, ok := c.waiting[m.ID]; ok {
		delete(c.waiting, m.ID)
		answer <- m
	}
}

// Execute runs a command and waits until it is done. QEMU's refusal is a
// *Error.
func (c *Monitor) Execute(ctx context.Context, command string, arguments any) error {
	answer := make(chan message, 1)
	id, err := c.send(command, arguments, answer)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", command, errEnded)
		case m.Error != nil:
			return fmt.Errorf("%s: %w", command, m.Error)
		}
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", command, ctx.Err())
	}
}

func (c *Monitor) send(command string, arguments any, answer chan message) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.lastID++
	data, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, arguments, c.lastID})
	if err != nil {
		return 0, err
	}
	c.waiting[c.lastID] = answer
	if _, err := c.conn.Write(data); err != nil {
		delete(c.waiting, c.lastID)
		return 0, err
	}
	return c.lastID, nil
}

// Watch returns a watcher for the next event that matches. It must be started
// before the command that causes the event.
func (c *Monitor) Watch(match func(event string, data json.RawMessage) bool) *Watcher {
	w := &Watcher{match: match, seen: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		close(w.seen)
	} else {
		c.watchers[w] = true
	}
	return w
}

// Wait waits for the watcher's event.
func (c *Monitor) Wait(ctx context.Context, w *Watcher) error {
	select {
	case <-w.seen:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, w)
		return ctx.Err()
	}
}
