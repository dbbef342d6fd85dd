package web

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
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

type handler struct {
	src      Source
	log      *slog.Logger
	changes  changes
	rendered atomic.Pointer[rendered] // the page that was asked for last
}

// Handler serves everything that is read over HTTP, and what may be ordered:
// commands, or nothing if that is nil. metrics answers /metrics.
func Handler(src Source, metrics http.Handler, commands *Commands, log *slog.Logger) http.Handler {
	h := &handler{src: src, log: log}
	mux := http.NewServeMux()
	kind := func() *budget { return newBudget(1, maxWaiting, maxWait) }
	page, scrape, status, health := kind(), kind(), kind(), kind()
	for pattern, answer := range map[string]http.Handler{
		"GET /{$}":            page.render(http.HandlerFunc(h.page)),
		"GET /assets/{name}":  page.render(http.HandlerFunc(h.asset)),
		"GET /metrics":        scrape.render(metrics),
		"GET /healthz":        health.render(http.HandlerFunc(h.healthz)),
		"GET /readyz":         health.render(http.HandlerFunc(h.readyz)),
		"GET /api/v1/status":  status.render(http.HandlerFunc(h.status)),
		"GET /api/v1/config":  status.render(http.HandlerFunc(h.config)),
		"GET /api/v1/history": newBudget(maxHistories, maxHistories, maxWait).hold(http.HandlerFunc(h.history)),
		"GET /api/v1/events":  newBudget(maxEventStream, 0, 0).hold(http.HandlerFunc(h.events)),
	} {
		mux.Handle(pattern, answer)
	}
	for pattern, answer := range h.routes(commands) {
		mux.Handle(pattern, answer)
	}
	return secure(mux)
}

// secure sets the headers that keep a page from being used against its reader.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set(
			"Content-Security-Policy",
			"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	h.writeJSON(w, http.StatusOK, report.At(h.src.Snapshot(), time.Now()))
}

// health is what /healthz answers.
type health struct {
	OK         bool   `json:"ok"`
	FirstError string `json:"first_error"`
}

func (h *handler) healthz(w http.ResponseWriter, r *http.Request) {
	firstError := report.FirstErrorAt(h.src.Snapshot(), time.Now())
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
		if stale := report.Stale(s, time.Now()); stale != "" {
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
