package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// A qmpClient talks to QEMU's monitor. It is safe for concurrent use.
type qmpClient struct {
	conn net.Conn

	mu       sync.Mutex // guards all below, and writes to conn
	lastID   uint64
	waiting  map[uint64]chan qmpMessage
	watchers map[*qmpWatcher]bool
	err      error // set when the connection has ended
}

// A qmpMessage is anything that QEMU sends: an answer or an event.
type qmpMessage struct {
	ID     uint64          `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *qmpError       `json:"error"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
}

// A qmpError is QEMU's refusal of a command.
type qmpError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *qmpError) Error() string { return e.Desc }

// A qmpWatcher waits for an event.
type qmpWatcher struct {
	match func(event string, data json.RawMessage) bool
	seen  chan struct{} // closed when it was seen, or the connection has ended
}

var errQMPEnded = errors.New("QEMU has ended")

// newQMP starts a client on a connection on which QEMU has not been spoken to.
// It ends when the connection is closed, by either end.
func newQMP(ctx context.Context, conn net.Conn) (*qmpClient, error) {
	c := &qmpClient{
		conn:     conn,
		waiting:  make(map[uint64]chan qmpMessage),
		watchers: make(map[*qmpWatcher]bool),
	}
	go c.read()
	if err := c.execute(ctx, "qmp_capabilities", nil); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *qmpClient) read() {
	d := json.NewDecoder(c.conn)
	var err error
	for err == nil {
		var m qmpMessage
		if err = d.Decode(&m); err == nil {
			c.dispatch(m)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = errQMPEnded
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
func (c *qmpClient) dispatch(m qmpMessage) {
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

// execute runs a command and waits until it is done. QEMU's refusal is a
// *qmpError.
func (c *qmpClient) execute(ctx context.Context, command string, arguments any) error {
	answer := make(chan qmpMessage, 1)
	id, err := c.send(command, arguments, answer)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", command, errQMPEnded)
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

func (c *qmpClient) send(command string, arguments any, answer chan qmpMessage) (uint64, error) {
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

// watch returns a watcher for the next event that matches. It must be started
// before the command that causes the event.
func (c *qmpClient) watch(match func(event string, data json.RawMessage) bool) *qmpWatcher {
	w := &qmpWatcher{match: match, seen: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		close(w.seen)
	} else {
		c.watchers[w] = true
	}
	return w
}

// wait waits for the watcher's event.
func (c *qmpClient) wait(ctx context.Context, w *qmpWatcher) error {
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
