package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"bondd.internal/bondd/internal/web/fixture"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serveOn runs the server on a free port of this machine. stop ends it and
// returns what serve returned.
func serveOn(t *testing.T, webConfig string, h http.Handler) (address string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	doneC := make(chan error, 1)
	go func() { doneC <- serve(ctx, l, webConfig, h, discard()) }()
	return "http://" + l.Addr().String(), func() error { cancel(); return <-doneC }
}

func TestServeStopsWithOpenStreams(t *testing.T) {
	src := fixture.NewLiveSource(fixture.Healthy())
	address, stop := serveOn(t, "", Handler(src, http.NotFoundHandler(), nil, discard()))
	response, err := http.Get(address + "/api/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || !bytes.Contains(body, []byte("event: status")) {
		t.Errorf("the stream ended with %v after %q; it should end in order", err, body)
	}
	if src.Subscribers() != 0 {
		t.Errorf("%d subscriptions are left", src.Subscribers())
	}
}

func TestServeWithUsers(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(file, []byte("basic_auth_users:\n  admin: "+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address, stop := serveOn(t, file, Handler(fixture.NewLiveSource(fixture.Healthy()), http.NotFoundHandler(), nil, discard()))
	for url, want := range map[string]int{
		address: http.StatusUnauthorized,
		strings.Replace(address, "://", "://admin:secret@", 1): http.StatusOK,
	} {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d, want %d", url, response.StatusCode, want)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestServeErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := Serve(t.Context(), l.Addr().String(), "", http.NotFoundHandler(), discard()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("on a port in use: %v", err)
	}
	missing := filepath.Join(t.TempDir(), "none.yml")
	if err := Serve(t.Context(), "127.0.0.1:0", missing, http.NotFoundHandler(), discard()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with a web configuration that is not there: %v", err)
	}
}
