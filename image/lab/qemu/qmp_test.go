package qemu_test

import (
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"

	"bondd.internal/image/lab/qemu"
)

// speak plays QEMU on a connection: it greets, and answers each command with the
// lines that answers has for it, in which ID stands for the command's id. A
// command without any ends it.
func speak(conn net.Conn, answers map[string]string) {
	defer conn.Close()
	if _, err := conn.Write([]byte(`{"QMP": {"version": {}, "capabilities": []}}` + "\n")); err != nil {
		return
	}
	for d := json.NewDecoder(conn); ; {
		var command struct {
			Execute string          `json:"execute"`
			ID      json.RawMessage `json:"id"`
		}
		if d.Decode(&command) != nil {
			return
		}
		answer, ok := answers[command.Execute]
		if !ok {
			return
		}
		if _, err := conn.Write([]byte(strings.ReplaceAll(answer, "ID", string(command.ID)))); err != nil {
			return
		}
	}
}

func TestMonitor(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go speak(far, map[string]string{
		"qmp_capabilities": `{"return": {}, "id": ID}`,
		"set_link":         `{"error": {"class": "DeviceNotFound", "desc": "Device 'eth7' not found"}, "id": ID}`,
		"device_del": `{"return": {}, "id": ID}` +
			`{"event": "DEVICE_DELETED", "data": {"device": "eth1"}}{"event": "DEVICE_DELETED", "data": {"device": "eth0"}}`,
	})
	m, err := qemu.OpenMonitor(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}

	err = m.Execute(t.Context(), "set_link", map[string]any{"name": "eth7", "up": false})
	if refusal := new(qemu.Error); !errors.As(err, &refusal) || err.Error() != "set_link: Device 'eth7' not found" {
		t.Errorf("a command that QEMU refuses: %v", err)
	}

	removed := m.Watch(func(event string, data json.RawMessage) bool {
		return event == "DEVICE_DELETED" && strings.Contains(string(data), "eth0")
	})
	if err := m.Execute(t.Context(), "device_del", map[string]any{"id": "eth0"}); err != nil {
		t.Fatal(err)
	}
	if err := m.Wait(t.Context(), removed); err != nil {
		t.Errorf("wait for an event: %v", err)
	}

	if err := m.Execute(t.Context(), "quit", nil); err == nil || err.Error() != "quit: QEMU has ended" {
		t.Errorf("a command that ends QEMU: %v", err)
	}
	if err := m.Execute(t.Context(), "cont", nil); err == nil || err.Error() != "cont: QEMU has ended" {
		t.Errorf("a command after that: %v", err)
	}
}
