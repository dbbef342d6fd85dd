package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	toolkit "github.com/prometheus/exporter-toolkit/web"
)

const (
	maxHeaderBytes = 1 << 14 // of a request
	readTimeout    = 10 * time.Second
	writeTimeout   = 20 * time.Second
	idleTimeout    = 60 * time.Second
	shutdownTime   = 3 * time.Second // for answers under way when the server stops
)

// Serve answers on the address listen (host:port) until ctx ends, and then
// returns nil once the answers under way are out or 3 seconds have passed.
// webConfig is the path of a Prometheus exporter-toolkit web configuration with
// TLS and users, or empty for plain HTTP. An error says why nothing is served
// (any more); it never falls back to plain HTTP by itself.
func Serve(ctx context.Context, listen, webConfig string, h http.Handler, log *slog.Logger) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", listen, err)
	}
	return serve(ctx, l, webConfig, h, log)
}

// http2Limits bound what one connection of HTTP/2 may hold in memory, of which
// there is a share for each of its streams. The defaults of 250 streams, frames
// of 1 MB and 1 MB for the body of every request are meant for larger machines.
func http2Limits() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          8,
		MaxReadFrameSize:              16 << 10, // the least there is
		MaxReceiveBufferPerConnection: 64 << 10, // likewise
		MaxReceiveBufferPerStream:     64 << 10,
		WriteByteTimeout:              writeTimeout,
	}
}

// serve owns l and closes it.
func serve(ctx context.Context, l net.Listener, webConfig string, h http.Handler, log *slog.Logger) error {
	bounded := newConnections(l, log)
	defer bounded.Close()
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             http2Limits(),
		ConnState:         bounded.state,
		ConnContext:       bounded.context,
		// Broken requests are their sender's affair and would fill the log.
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return requests },
	}

	servedC := make(chan error, 1)
	go func() {
		servedC <- toolkit.Serve(bounded, server, &toolkit.FlagConfig{WebConfigFile: &webConfig}, log)
	}()
	select {
	case err := <-servedC:
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}

	// Event streams have no end of their own, and Shutdown waits for all.
	endRequests()
	timeout, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := server.Shutdown(timeout); err != nil {
		server.Close()
	}
	if err := <-servedC; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}
