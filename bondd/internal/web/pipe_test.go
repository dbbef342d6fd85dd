package web

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// A pipeListener is a network in memory, for tests whose clock is synctest's.
type pipeListener struct {
	connC chan net.Conn
	close sync.Once
	doneC chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{connC: make(chan net.Conn), doneC: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.connC:
		return c, nil
	case <-l.doneC:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.close.Do(func() { close(l.doneC) })
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return tcpAddr("192.0.2.1") }

// dial connects from an IP address.
func (l *pipeListener) dial(ctx context.Context, from string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.connC <- pipeConn{far, tcpAddr(from)}:
		return near, nil
	case <-l.doneC:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// client returns a client at an IP address, each of whose requests has its own connection.
func (l *pipeListener) client(from string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx, from) },
	}}
}

// A pipeConn is the server's end of a pipe.
type pipeConn struct {
	net.Conn
	remote net.Addr
}

// RemoteAddr implements net.Conn.
func (c pipeConn) RemoteAddr() net.Addr { return c.remote }

func tcpAddr(ip string) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 50000))
}
