package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// controlLimit is how long a command to the running machine may take.
const controlLimit = 10 * time.Second

// cables is what the control socket can do to a machine.
type cables interface {
	Unplug(ctx context.Context, nic string) error
	Plug(ctx context.Context, nic string) error
}

// controlSocket returns the path of the socket through which the other
// commands reach the running one.
func controlSocket(dir string) string { return filepath.Join(dir, "control.sock") }

// A cableRequest is the body of a request POST /unplug or /plug. Its answer is
// 204, or an error as text.
type cableRequest struct {
	NIC string `json:"nic"`
}

// serveControl serves the control socket until ctx ends. The caller holds the
// folder's lock: a socket that is there is a dead one's.
func serveControl(ctx context.Context, dir string, m cables) error {
	name := controlSocket(dir)
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", name)
	if err != nil {
		return fmt.Errorf("open the control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /unplug", cableHandler(m.Unplug))
	mux.HandleFunc("POST /plug", cableHandler(m.Plug))
	server := &http.Server{Handler: mux, ReadTimeout: controlLimit, WriteTimeout: 2 * controlLimit}
	stopped := context.AfterFunc(ctx, func() { server.Close() })
	defer stopped()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control socket: %w", err)
	}
	return nil
}

func cableHandler(do func(ctx context.Context, nic string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req cableRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, 4096)).Decode(&req); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := do(r.Context(), req.NIC); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// sendCable asks the running machine to pull or return a cable, and says what
// was done.
func sendCable(ctx context.Context, dir, command, nic string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", controlSocket(dir))
		},
	}
	body, err := json.Marshal(cableRequest{NIC: nic})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://appliance/"+command, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return errors.New("no appliance is running here: start it with `make run`")
	}
	if err != nil {
		return fmt.Errorf("reach the running appliance: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		message, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return errors.Join(errors.New(string(bytes.TrimSpace(message))), err)
	}
	done := map[string]string{"unplug": "out", "plug": "in"}[command]
	_, err = fmt.Fprintf(out, "the cable of %s is %s\n", nic, done)
	return err
}
