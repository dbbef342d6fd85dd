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
	"golang.org/x/net/netutil"
)

const (
	maxConnections = 128     // open at once; more wait in the kernel's queue
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
	return serve(ctx, netutil.LimitListener(l, maxConnections), webConfig, h, log)
}

// serve owns l and closes it.
func serve(ctx context.Context, l net.Listener, webConfig string, h http.Handler, log *slog.Logger) error {
	defer l.Close()
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Broken requests are their sender's affair and would fill the log.
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return requests },
	}

	servedC := make(chan error, 1)
	go func() {
		servedC <- toolkit.Serve(l, server, &toolkit.FlagConfig{WebConfigFile: &webConfig}, log)
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
