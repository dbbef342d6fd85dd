package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeMachine has one card and notes what is done to it.
type fakeMachine struct{ did []string }

func (m *fakeMachine) Unplug(_ context.Context, nic string) error { return m.do("unplug", nic) }
func (m *fakeMachine) Plug(_ context.Context, nic string) error   { return m.do("plug", nic) }

func (m *fakeMachine) do(what, nic string) error {
	if nic != "eth0" {
		return fmt.Errorf("the machine has no card %q; it has eth0", nic)
	}
	m.did = append(m.did, what+" "+nic)
	return nil
}

func TestControl(t *testing.T) {
	dir := t.TempDir()
	if err := sendCable(t.Context(), dir, "plug", "eth0", io.Discard); err == nil || !strings.Contains(err.Error(), "make run") {
		t.Errorf("without a running machine: %v, want an error that names `make run`", err)
	}

	m := new(fakeMachine)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serveControl(ctx, dir, m) }()
	var out strings.Builder
	for {
		err := sendCable(t.Context(), dir, "unplug", "eth0", &out)
		if err == nil {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // the server is starting
	}
	if err := sendCable(t.Context(), dir, "plug", "eth0", &out); err != nil {
		t.Error(err)
	}
	if got, want := out.String(), "the cable of eth0 is out\nthe cable of eth0 is in\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if got, want := strings.Join(m.did, ", "), "unplug eth0, plug eth0"; got != want {
		t.Errorf("the machine was told %q, want %q", got, want)
	}
	if err := sendCable(t.Context(), dir, "unplug", "eth7", &out); err == nil || err.Error() != `the machine has no card "eth7"; it has eth0` {
		t.Errorf("an unknown card: %v", err)
	}

	cancel()
	if err := <-served; err != nil {
		t.Errorf("serveControl: %v", err)
	}
	if err := sendCable(t.Context(), dir, "plug", "eth0", io.Discard); err == nil || !strings.Contains(err.Error(), "make run") {
		t.Errorf("after the end: %v, want an error that names `make run`", err)
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("a second machine: %v, want a refusal", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := lock(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, errUsage.Error()},
		{[]string{"boot"}, errUsage.Error()},
		{[]string{"unplug"}, "which card"},
		{[]string{"plug", ""}, "make plug NIC=eth0"},
		{[]string{"run", "-http", "0"}, "a port from 1 to 65535"},
		{[]string{"run", "now"}, `unexpected argument "now"`},
	} {
		err := dispatch(t.Context(), tt.args, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("appliance %q: %v, want an error with %q", tt.args, err, tt.want)
		}
		if len(tt.args) == 0 && !errors.Is(err, errUsage) {
			t.Errorf("appliance %q: %v, want the usage", tt.args, err)
		}
	}
}
