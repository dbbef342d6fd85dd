package vm

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
)

// consoleMax is how much of the console is kept, in bytes; the oldest goes.
const consoleMax = 4 << 20

// A console keeps what a machine has written to its serial port.
type console struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed at the next write
}

func newConsole() *console { return &console{changed: make(chan struct{})} }

// Write appends to the console; it never fails.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, bytes.ReplaceAll(p, []byte("\r"), nil)...)
	if len(c.text) > consoleMax {
		c.text = append([]byte(nil), c.text[len(c.text)-consoleMax:]...)
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return len(p), nil
}

func (c *console) String() string {
	text, _ := c.look()
	return text
}

func (c *console) look() (string, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text), c.changed
}

// wait waits until the console contains a text.
func (c *console) wait(ctx context.Context, text string) error {
	for {
		have, changed := c.look()
		if strings.Contains(have, text) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %q on the console: %w; it ends with\n%s", text, context.Cause(ctx), tail(have))
		}
	}
}

// tail returns the last lines of a text, for a message.
func tail(text string) string {
	const most = 4 << 10
	if len(text) > most {
		text = text[len(text)-most:]
		if _, after, ok := strings.Cut(text, "\n"); ok {
			text = after
		}
	}
	return text
}
