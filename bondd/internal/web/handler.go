package web

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/status"
)

// A Source publishes snapshots.
type Source interface {
	// Snapshot returns the newest snapshot, never nil.
	Snapshot() *state.Snapshot
	// Subscribe returns a channel that receives after a snapshot is published,
	// until ctx ends. A receiver that is late finds one tick for any number of
	// snapshots, and its lateness holds up nobody.
	Subscribe(ctx context.Context) <-chan struct{}
}

// What a small machine can serve at once without taking time from its bonds.
const (
	maxRequests    = 32 // being answered at once, except event streams
	maxEventStream = 16 // open event streams
	maxHistories   = 2  // flight recorders being answered, each of which may be many megabytes

	// maxWait is how long a request waits to be answered at all. While a cable
	// is pulled, what was asked meanwhile arrives at once.
	maxWait = 5 * time.Second
)

type handler struct {
	src      Source
	log      *slog.Logger
	requests chan struct{} // holds one for each request being answered
	streams  chan struct{} // holds one for each open event stream
	changes  changes
	rendered atomic.Pointer[rendered] // the page that was asked for last
}

// Handler serves everything that is read over HTTP, and what may be ordered:
// commands, or nothing if that is nil. metrics answers /metrics.
func Handler(src Source, metrics http.Handler, commands *Commands, log *slog.Logger) http.Handler {
	h := &handler{
		src:      src,
		log:      log,
		requests: make(chan struct{}, maxRequests),
		streams:  make(chan struct{}, maxEventStream),
	}
	mux := http.NewServeMux()
	for pattern, answer := range map[string]http.Handler{
		"GET /{$}":            http.HandlerFunc(h.page),
		"GET /assets/{name}":  http.HandlerFunc(h.asset),
		"GET /metrics":        metrics,
		"GET /healthz":        http.HandlerFunc(h.healthz),
		"GET /readyz":         http.HandlerFunc(h.readyz),
		"GET /api/v1/status":  http.HandlerFunc(h.status),
		"GET /api/v1/history": limit(make(chan struct{}, maxHistories), maxWait, http.HandlerFunc(h.history)),
		"GET /api/v1/config":  http.HandlerFunc(h.config),
	} {
		mux.Handle(pattern, limit(h.requests, maxWait, answer))
	}
	for pattern, answer := range h.routes(commands) {
		mux.Handle(pattern, answer)
	}
	mux.Handle("GET /api/v1/events", limit(h.streams, 0, http.HandlerFunc(h.events)))
	return secure(mux)
}

// secure sets the headers that keep a page from being used against its reader.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// limit answers 503 if slots is full and stays so for the time wait.
func limit(slots chan struct{}, wait time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !take(r.Context(), slots, wait) {
			w.Header().Set("Retry-After", "5")
			http.Error(w, "too many requests at once: try again in a few seconds", http.StatusServiceUnavailable)
			return
		}
		defer func() { <-slots }()
		next.ServeHTTP(w, r)
	})
}

// take puts one into slots and reports whether there was room within the time wait.
func take(ctx context.Context, slots chan struct{}, wait time.Duration) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	h.writeJSON(w, http.StatusOK, status.At(h.src.Snapshot(), time.Now()))
}

// health is what /healthz answers.
type health struct {
	OK         bool   `json:"ok"`
	FirstError string `json:"first_error"`
}

func (h *handler) healthz(w http.ResponseWriter, r *http.Request) {
	firstError := h.src.Snapshot().FirstErrorAt(time.Now())
	code := http.StatusOK
	if firstError != "" {
		code = http.StatusServiceUnavailable
	}
	h.writeJSON(w, code, health{OK: firstError == "", FirstError: firstError})
}

// readyz tells that the configuration is applied. That stays true of an engine
// that does not run any more: it is /healthz that asks for more.
func (h *handler) readyz(w http.ResponseWriter, r *http.Request) {
	if s := h.src.Snapshot(); !s.Config.Applied {
		why := "not ready: the configuration is not applied yet"
		if stale := s.Stale(time.Now()); stale != "" {
			why += "; " + stale
		}
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	writeString(w, "ready\n")
}

func (h *handler) config(w http.ResponseWriter, r *http.Request) {
	// Not application/toml, which browsers download instead of showing.
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	writeString(w, h.src.Snapshot().Config.TOML)
}

func (h *handler) writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		h.log.Error("encode answer", "err", err)
		http.Error(w, "the answer could not be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	write(w, append(body, '\n'))
}

// write sends a whole answer. Its error means that the client is gone, and
// there is nobody left to tell.
func write(w http.ResponseWriter, body []byte) { _, _ = w.Write(body) }

func writeString(w http.ResponseWriter, body string) { write(w, []byte(body)) }
