package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// What clients may hold open at once. A client that opens connections and sends no
// request, or never the end of one, uses up its own share and no other's.
const (
	maxConnections = 128 // served, that is read from
	maxPerSource   = 16  // of them for one source, see sourceOf
	maxQueue       = 128 // accepted beyond that, and waiting to be served
	maxSourceQueue = 32  // of them for one source

	// courtesy is how long a connection may be without a complete request (in its
	// handshake, in its header, or idle) before one that waits takes its place. The
	// requests that arrive all at once after a failover need that time.
	courtesy = time.Second
	// queueTime is how long a connection waits to be served.
	queueTime = 5 * time.Second
)

// connections is a listener that bounds how many connections are served at once,
// in all and for each source. A connection over the bound waits for its turn. Its
// turn comes when another connection ends, or is closed for it: the one that has
// been without a request for longest, else the oldest event stream, which a browser
// opens again by itself. So a source whose connections are all half-open, because
// one of its programs is broken or hostile, can still be served; with a source of
// more than one machine, as behind NAT, that is the usual case.
type connections struct {
	net.Listener
	log *slog.Logger

	mu      sync.Mutex
	sources map[netip.Addr]*source
	served  int // of all sources
	queued  int
	closed  bool
	timer   *time.Timer // runs schedule when the next moment of any connection has come
	warned  time.Time   // when the log last had that connections were dropped
}

// A source is where connections come from, see sourceOf.
type source struct {
	address        netip.Addr
	served, queued []*connection // in the order in which they came
}

// A phase is what a connection does.
type phase int

const (
	queued  phase = iota // it waits to be served
	silent               // it is without a request
	busy                 // a request is being answered
	lasting              // the answer is an event stream, which has no end of its own
	dropped
)

// A connection is one that connections has accepted.
type connection struct {
	net.Conn
	owner  *connections
	source *source
	turnC  chan struct{} // closed once it is served, or dropped

	// What follows is guarded by the owner's mutex.
	phase phase
	since time.Time // when it entered the phase
}

func newConnections(l net.Listener, log *slog.Logger) *connections {
	c := &connections{Listener: l, log: log, sources: make(map[netip.Addr]*source)}
	c.timer = time.AfterFunc(queueTime, c.reschedule)
	c.timer.Stop()
	return c
}

// sourceOf is what counts as one source: an IPv4 address, or a /64 of IPv6, since
// one machine can use every address of its /64. Link-local addresses of different
// links are different sources.
func sourceOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	address := t.AddrPort().Addr().Unmap()
	if !address.Is6() {
		return address
	}
	network, err := address.Prefix(64)
	if err != nil {
		return address // it cannot be: every IPv6 address has a /64
	}
	return network.Addr().WithZone(address.Zone())
}

// Accept implements net.Listener. It never waits for a connection to end.
func (c *connections) Accept() (net.Conn, error) {
	accepted, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return c.enter(accepted), nil
}

// Close implements net.Listener. Connections that wait for their turn are dropped.
func (c *connections) Close() error {
	c.mu.Lock()
	c.closed = true
	c.timer.Stop()
	var gone []*connection
	for _, s := range c.sources {
		for len(s.queued) > 0 {
			gone = append(gone, c.drop(s.queued[0]))
		}
	}
	c.mu.Unlock()
	hangUp(gone)
	return c.Listener.Close()
}

// enter puts an accepted connection at the end of its source's queue, from where
// it may be served at once.
func (c *connections) enter(accepted net.Conn) *connection {
	n := &connection{Conn: accepted, owner: c, turnC: make(chan struct{}), since: time.Now()}
	address := sourceOf(accepted.RemoteAddr())
	c.mu.Lock()
	s := c.sources[address]
	if s == nil {
		s = &source{address: address}
		c.sources[address] = s
	}
	n.source = s
	s.queued = append(s.queued, n)
	c.queued++
	if c.closed {
		c.drop(n)
		c.mu.Unlock()
		accepted.Close()
		return n
	}
	gone := c.schedule()
	// The queue is bounded too. The client that came last is the most likely one
	// to be still there.
	for len(s.queued) > maxSourceQueue || c.queued > maxQueue {
		longest := s
		if len(s.queued) <= maxSourceQueue {
			for _, other := range c.sources {
				if len(other.queued) > len(longest.queued) {
					longest = other
				}
			}
		}
		gone = append(gone, c.drop(longest.queued[0]))
		c.complain(longest)
	}
	c.mu.Unlock()
	hangUp(gone)
	return n
}

// reschedule is schedule for the timer.
func (c *connections) reschedule() {
	c.mu.Lock()
	gone := c.schedule()
	c.mu.Unlock()
	hangUp(gone)
}

// schedule serves the connections that wait and can be served, and returns those
// that are dropped for it. The caller holds the mutex, and closes them without it.
func (c *connections) schedule() (gone []*connection) {
	if c.closed || c.queued == 0 {
		return nil
	}
	now := time.Now()
	for _, s := range c.sources {
		for len(s.queued) > 0 && now.Sub(s.queued[0].since) >= queueTime {
			gone = append(gone, c.drop(s.queued[0]))
			c.complain(s)
		}
	}
	for c.queued > 0 {
		next, victim := c.next(now)
		if next == nil {
			break
		}
		if victim != nil {
			gone = append(gone, c.drop(victim))
		}
		s := next.source
		s.queued = s.queued[1:]
		s.served = append(s.served, next)
		c.queued--
		c.served++
		next.enter(silent, now)
		close(next.turnC)
	}
	c.arm(now)
	return gone
}

// next finds a connection that can be served now, and the one that is dropped for
// it, if any. It is nil if none can.
func (c *connections) next(now time.Time) (next, victim *connection) {
	// The source with the fewest connections comes first.
	waiting := make([]*source, 0, len(c.sources))
	for _, s := range c.sources {
		if len(s.queued) > 0 {
			waiting = append(waiting, s)
		}
	}
	slices.SortFunc(waiting, func(a, b *source) int {
		return cmp.Or(len(a.served)-len(b.served), a.queued[0].since.Compare(b.queued[0].since))
	})
	for _, s := range waiting {
		switch {
		case len(s.served) >= maxPerSource:
			victim = oldest(s.served, now)
		case c.served >= maxConnections:
			victim = c.oldest(s, now)
		default:
			return s.queued[0], nil
		}
		if victim != nil {
			return s.queued[0], victim
		}
	}
	return nil, nil
}

// oldest finds the connection that is dropped for one of the source s when all
// places are taken: one of the source that has most, and no fewer than s.
func (c *connections) oldest(s *source, now time.Time) *connection {
	rich := make([]*source, 0, len(c.sources))
	for _, other := range c.sources {
		if len(other.served) > 0 && len(other.served) >= len(s.served) {
			rich = append(rich, other)
		}
	}
	slices.SortFunc(rich, func(a, b *source) int { return len(b.served) - len(a.served) })
	var found *connection
	for _, r := range rich {
		if found != nil && len(r.served) < len(found.source.served) {
			break
		}
		if v := oldest(r.served, now); v != nil && (found == nil || v.before(found)) {
			found = v
		}
	}
	return found
}

// oldest finds the one of these that may be dropped and comes first, or nil.
func oldest(served []*connection, now time.Time) (victim *connection) {
	for _, k := range served {
		if k.yields() && now.Sub(k.since) >= courtesy && (victim == nil || k.before(victim)) {
			victim = k
		}
	}
	return victim
}

// yields reports whether a connection may be dropped after its courtesy time.
func (k *connection) yields() bool { return k.phase == silent || k.phase == lasting }

// before reports whether k is dropped before another.
func (k *connection) before(other *connection) bool {
	if k.phase != other.phase {
		return k.phase == silent
	}
	return k.since.Before(other.since)
}

// arm sets the timer to the next moment at which a connection may be dropped for
// another, or has waited for too long.
func (c *connections) arm(now time.Time) {
	c.timer.Stop()
	if c.queued == 0 {
		return
	}
	next := now.Add(queueTime)
	for _, s := range c.sources {
		for _, k := range s.served {
			if at := k.since.Add(courtesy); k.yields() && at.After(now) && at.Before(next) {
				next = at
			}
		}
		if len(s.queued) > 0 {
			if at := s.queued[0].since.Add(queueTime); at.Before(next) {
				next = at
			}
		}
	}
	c.timer.Reset(next.Sub(now))
}

// drop forgets a connection; the caller closes it without the mutex.
func (c *connections) drop(k *connection) *connection {
	s := k.source
	if k.phase == queued {
		s.queued = remove(s.queued, k)
		c.queued--
		close(k.turnC)
	} else {
		s.served = remove(s.served, k)
		c.served--
	}
	k.phase = dropped
	if len(s.served)+len(s.queued) == 0 {
		delete(c.sources, s.address)
	}
	return k
}

func remove(list []*connection, k *connection) []*connection {
	return slices.DeleteFunc(list, func(other *connection) bool { return other == k })
}

// complain logs that connections are dropped unserved, once a minute at most.
func (c *connections) complain(s *source) {
	const often = time.Minute
	if now := time.Now(); c.warned.IsZero() || now.Sub(c.warned) >= often {
		c.warned = now
		c.log.Warn("http: connections are closed without an answer: too many are open", "source", s.address,
			"served", len(s.served), "limit", maxPerSource)
	}
}

func hangUp(gone []*connection) {
	for _, k := range gone {
		k.Conn.Close()
	}
}

// enter begins a phase.
func (k *connection) enter(p phase, now time.Time) { k.phase, k.since = p, now }

// Read implements net.Conn. It waits for the connection's turn.
func (k *connection) Read(b []byte) (int, error) {
	<-k.turnC
	return k.Conn.Read(b)
}

// Close implements net.Conn.
func (k *connection) Close() error {
	c := k.owner
	c.mu.Lock()
	if k.phase != dropped {
		c.drop(k)
	}
	gone := c.schedule()
	c.mu.Unlock()
	hangUp(gone)
	return k.Conn.Close()
}

// change begins another phase of a connection that is served.
func (k *connection) change(to phase) {
	c := k.owner
	c.mu.Lock()
	if k.phase != dropped && k.phase != queued {
		k.enter(to, time.Now())
	}
	gone := c.schedule()
	c.mu.Unlock()
	hangUp(gone)
}

// state is the server's hook for the state of its connections. A connection is
// active from when a complete header was read until the answer is out; over HTTP/2
// while that holds for any of its streams.
func (c *connections) state(conn net.Conn, s http.ConnState) {
	k := connectionOf(conn)
	if k == nil {
		return
	}
	switch s {
	case http.StateActive:
		k.change(busy)
	case http.StateIdle:
		k.change(silent)
	}
}

func connectionOf(conn net.Conn) *connection {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	k, _ := conn.(*connection)
	return k
}

type connectionKey struct{}

// context is the server's hook for the context of a connection's requests.
func (c *connections) context(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, connectionOf(conn))
}

// lasts notes that the answer to a request is a stream without an end of its own.
func lasts(r *http.Request) {
	if k, ok := r.Context().Value(connectionKey{}).(*connection); ok && k != nil {
		k.change(lasting)
	}
}
