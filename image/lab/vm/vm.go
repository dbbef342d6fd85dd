package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"bondd.internal/image/lab/lan"
	"bondd.internal/image/lab/qemu"
)

// quitLimit is how long QEMU may take to write what its disk has cached before
// it is killed.
const quitLimit = time.Minute

// A VM is a running machine. Its methods are safe for concurrent use.
type VM struct {
	cfg     Config
	accel   qemu.Accel
	dir     string
	console *console
	monitor *qemu.Monitor
	sw      *lan.Switch
	ports   map[string]*lan.Port
	uplink  *uplink

	cancel context.CancelFunc
	group  *errgroup.Group
	done   chan struct{} // closed when QEMU has ended and all is cleaned up
	err    error         // why; read it after done
	quit   sync.Once
}

// Start starts a machine. It runs until it is closed, ctx ends, or its own
// power goes off; Start does not wait for the guest to boot.
func Start(ctx context.Context, cfg Config) (*VM, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("configure the machine: %w", err)
	}
	program, err := qemu.Find()
	if err != nil {
		return nil, err
	}
	if cfg.Image != "" {
		if _, err := os.Stat(cfg.Image); err != nil {
			return nil, fmt.Errorf("find the disk image: %w; `make image` builds build/appliance.img", err)
		}
	}
	accel, err := program.Choose(ctx, cfg.Accel)
	if err != nil {
		return nil, err
	}

	v := &VM{
		cfg:     cfg,
		accel:   accel,
		console: newConsole(),
		sw:      new(lan.Switch),
		ports:   make(map[string]*lan.Port),
		done:    make(chan struct{}),
	}
	if err := v.start(ctx, program); err != nil {
		return nil, fmt.Errorf("start the machine: %w", err)
	}
	return v, nil
}

// start opens the sockets, starts QEMU and everything that serves it. On an
// error nothing is left.
func (v *VM) start(ctx context.Context, program qemu.QEMU) (err error) {
	if v.dir, err = os.MkdirTemp("", "bondd-vm-"); err != nil {
		return err
	}
	ctx, v.cancel = context.WithCancel(ctx)
	v.group, ctx = errgroup.WithContext(ctx)
	defer func() {
		if err != nil {
			v.cancel()
			_ = v.group.Wait() // its error is the one at hand, or follows from it
			err = errors.Join(err, os.RemoveAll(v.dir))
		}
	}()

	if err := v.startNetwork(ctx); err != nil {
		return err
	}
	channels := []string{"qmp", "console"}
	for _, n := range v.cfg.NICs {
		channels = append(channels, netdev(n.ID))
	}
	listeners := make([]net.Listener, len(channels))
	for i, name := range channels {
		l, err := net.Listen("unix", filepath.Join(v.dir, name))
		if err != nil {
			return err
		}
		defer l.Close()
		listeners[i] = l
	}

	m, err := v.cfg.machine(v.accel, v.dir)
	if err != nil {
		return err
	}
	process, err := program.Start(ctx, m)
	if err != nil {
		return err
	}
	v.group.Go(func() error {
		err := process.Wait()
		if errors.Is(err, qemu.ErrKilled) {
			return nil // it was we who ended it
		}
		return err
	})
	conns := make([]net.Conn, len(channels))
	defer func() {
		for _, conn := range conns {
			if err != nil && conn != nil {
				conn.Close()
			}
		}
	}()
	for i, l := range listeners {
		if conns[i], err = process.Accept(ctx, l); err != nil {
			return err
		}
	}
	v.group.Go(func() error {
		// An error means that QEMU has ended, which is not ours to report.
		_, _ = io.Copy(v.console, conns[1])
		return conns[1].Close()
	})
	for i, n := range v.cfg.NICs {
		v.group.Go(func() error { return v.ports[n.ID].Serve(ctx, conns[2+i]) })
	}
	if v.monitor, err = qemu.OpenMonitor(ctx, conns[0]); err != nil {
		return err
	}
	go v.finish(process, conns[0])
	return nil
}

// startNetwork makes the switch's ports, and what is behind it.
func (v *VM) startNetwork(ctx context.Context) error {
	var firstMAC net.HardwareAddr
	var ports []*lan.Port
	for i, n := range v.cfg.NICs {
		if i == 0 {
			firstMAC = n.MAC
		}
		v.ports[n.ID] = v.sw.NewPort(n.ID)
		ports = append(ports, v.ports[n.ID])
	}
	if v.cfg.ChannelGroup {
		v.sw.Group(ports...)
	}
	var err error
	if v.uplink, err = newUplink(v.cfg.Network, firstMAC); err != nil {
		return err
	}
	port := v.sw.NewPort("uplink")
	v.group.Go(func() error { return v.uplink.serve(ctx, port) })
	for _, f := range v.cfg.Network.Forwards {
		l, err := listen(f)
		if err != nil {
			return err
		}
		v.group.Go(func() error { return v.uplink.forward(ctx, l, f.Port) })
	}
	return nil
}

// finish cleans up after QEMU.
func (v *VM) finish(process *qemu.Process, monitor net.Conn) {
	<-process.Exited()
	v.cancel()
	v.err = errors.Join(v.group.Wait(), monitor.Close(), os.RemoveAll(v.dir))
	close(v.done)
}

// Done returns a channel that is closed when the machine is off and nothing of
// it is left.
func (v *VM) Done() <-chan struct{} { return v.done }

// Wait waits until the machine is off. It returns an error if it did not go
// off by itself or by Close.
func (v *VM) Wait() error {
	<-v.done
	return v.err
}

// Close switches the machine off, without telling the guest, and waits until
// nothing of it is left. It may be called more than once.
func (v *VM) Close() error {
	v.quit.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), quitLimit)
		defer cancel()
		// QEMU closes the monitor instead of answering, or has ended already.
		_ = v.monitor.Execute(ctx, "quit", nil)
		select {
		case <-v.done:
		case <-ctx.Done():
			v.cancel()
		}
	})
	return v.Wait()
}

// Accel returns the accelerator in use, AccelKVM or AccelTCG.
func (v *VM) Accel() qemu.Accel { return v.accel }

// Switch returns the machine's switch.
func (v *VM) Switch() *lan.Switch { return v.sw }

// Port returns the switch's port of a card, nil if there is no such card.
func (v *VM) Port(nic string) *lan.Port { return v.ports[nic] }

// Network returns the network behind the switch.
func (v *VM) Network() Network { return v.uplink.network }

// DialContext connects to a TCP address in the machine's network, as a host
// behind the gateway would. The host part may be "guest".
func (v *VM) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	if port, ok := strings.CutPrefix(address, "guest:"); ok {
		address = v.uplink.network.Guest.String() + ":" + port
	}
	return v.uplink.dial(ctx, address)
}

// HTTPClient returns a client that reaches the machine at http://guest/. Every
// request makes a connection of its own, so that none depends on an earlier
// one.
func (v *VM) HTTPClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{DialContext: v.DialContext, DisableKeepAlives: true},
	}
}

// Console returns what the machine has written to its serial console.
func (v *VM) Console() string { return v.console.String() }

// WaitConsole waits until the console contains a text, the machine is off, or
// ctx ends.
func (v *VM) WaitConsole(ctx context.Context, text string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-v.done:
			cancel(errors.New("the machine is off"))
		case <-stop:
		}
	}()
	return v.console.wait(ctx, text)
}

// Unplug pulls a card's cable: card and switch port lose their link.
func (v *VM) Unplug(ctx context.Context, nic string) error {
	return v.setLink(ctx, nic, false)
}

// Plug puts a card's cable back.
func (v *VM) Plug(ctx context.Context, nic string) error {
	return v.setLink(ctx, nic, true)
}

func (v *VM) setLink(ctx context.Context, nic string, up bool) error {
	port, err := v.port(nic)
	if err != nil {
		return err
	}
	err = v.monitor.Execute(ctx, "set_link", map[string]any{"name": nic, "up": up})
	if err != nil {
		return fmt.Errorf("set the link of %s: %w", nic, err)
	}
	port.SetUp(up)
	return nil
}

// Silence makes the switch port of a card drop everything in both directions,
// while card and switch believe in the link; or ends that.
func (v *VM) Silence(nic string, on bool) error {
	port, err := v.port(nic)
	if err != nil {
		return err
	}
	port.Silence(on)
	return nil
}

// Remove takes a card out of the running machine and waits until the guest has
// let go of it.
func (v *VM) Remove(ctx context.Context, nic string) error {
	port, err := v.port(nic)
	if err != nil {
		return err
	}
	removed := v.monitor.Watch(func(event string, data json.RawMessage) bool {
		var d struct {
			Device string `json:"device"`
		}
		return event == "DEVICE_DELETED" && json.Unmarshal(data, &d) == nil && d.Device == nic
	})
	if err := v.monitor.Execute(ctx, "device_del", map[string]any{"id": nic}); err != nil {
		return fmt.Errorf("remove %s: %w", nic, err)
	}
	if err := v.monitor.Wait(ctx, removed); err != nil {
		return fmt.Errorf("wait for the guest to let go of %s: %w", nic, err)
	}
	port.SetUp(false)
	return nil
}

// Insert puts a card that was removed back into its slot, with its cable.
func (v *VM) Insert(ctx context.Context, nic string) error {
	port, err := v.port(nic)
	if err != nil {
		return err
	}
	for i, n := range v.cfg.NICs {
		if n.ID != nic {
			continue
		}
		if err := v.monitor.Execute(ctx, "device_add", n.properties(i)); err != nil {
			return fmt.Errorf("insert %s: %w", nic, err)
		}
	}
	port.SetUp(true)
	return nil
}

// Reset resets the machine, as its reset button would.
func (v *VM) Reset(ctx context.Context) error {
	if err := v.monitor.Execute(ctx, "system_reset", nil); err != nil {
		return fmt.Errorf("reset the machine: %w", err)
	}
	return nil
}

func (v *VM) port(nic string) (*lan.Port, error) {
	if port, ok := v.ports[nic]; ok {
		return port, nil
	}
	names := make([]string, len(v.cfg.NICs))
	for i, n := range v.cfg.NICs {
		names[i] = n.ID
	}
	return nil, fmt.Errorf("the machine has no card %q; it has %s", nic, strings.Join(names, ", "))
}

// GuestAddress returns the guest's address with a port, for a URL or a dial.
func (v *VM) GuestAddress(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(v.uplink.network.Guest, port)
}
