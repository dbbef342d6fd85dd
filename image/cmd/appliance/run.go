package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/qemu"
	"bondd.internal/image/lab/vm"
)

// runDir is where the running machine's control socket and console are,
// relative to the repository root.
const runDir = "build/run"

const (
	// bootLimit is how long the page may take to answer.
	bootLimit = 3 * time.Minute
	// pollInterval is how often it is asked for until then.
	pollInterval = 200 * time.Millisecond
)

// options are the flags of `appliance run`.
type options struct {
	image    string
	password string
	model    string
	nics     int
	http     int
	firmware string
	accel    string
}

func parseOptions(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("appliance run", flag.ContinueOnError)
	f.StringVar(
		&o.image,
		"image",
		"build/appliance.img",
		"boot the disk image `FILE`; it stays as it is, what the machine writes is gone in the end",
	)
	f.StringVar(
		&o.password,
		"password",
		"build/admin-password",
		"the `FILE` with the administrator's password, to tell where it is",
	)
	f.StringVar(
		&o.model,
		"nic-model",
		"virtio-net-pci",
		"`MODEL` of the network cards: e1000 (which in QEMU hears nothing for a second after each switch), "+
			"pcnet, rtl8139, virtio-net-pci or vmxnet3",
	)
	f.IntVar(&o.nics, "nics", 2, "`NUMBER` of network cards, named eth0, eth1, … here")
	f.IntVar(&o.http, "http", 8080, "`PORT` of localhost that leads to the appliance's page")
	f.StringVar(&o.firmware, "firmware", "bios", "bios or uefi")
	f.StringVar(&o.accel, "accel", "", "kvm, tcg or auto; the environment variable BONDD_ACCEL if empty, else auto")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; see appliance run -help", f.Arg(0))
	case o.nics < 0:
		return o, fmt.Errorf("-nics %d: a machine has 0 cards or more", o.nics)
	case o.http < 1 || o.http > 65535:
		return o, errors.New("-http is a port from 1 to 65535")
	}
	return o, nil
}

// config returns the machine that the options describe.
func (o options) config() vm.Config {
	c := vm.Config{
		Image:    o.image,
		Firmware: vm.Firmware(o.firmware),
		Accel:    qemu.Accel(o.accel),
		Network:  vm.Network{Forwards: []vm.Forward{{Listen: local(o.http), Port: 80}}},
	}
	for range o.nics {
		c.NICs = append(c.NICs, vm.NIC{Model: o.model})
	}
	return c
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// run boots the image and serves the control socket until ctx ends or the
// machine goes off.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	unlock, err := lock(runDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	m, err := vm.Start(ctx, o.config())
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close(), saveConsole(m)) }()
	fmt.Fprintf(out, "booting %s (%s, %d × %s), which takes some seconds …\n", o.image, m.Accel(), o.nics, o.model)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serveControl(ctx, runDir, m) })
	group.Go(func() error {
		if err := waitForPage(ctx, m, fmt.Sprintf("http://localhost:%d/", o.http)); err != nil {
			return err
		}
		o.announce(out)
		select {
		case <-ctx.Done():
			fmt.Fprintln(out, "\nstopping")
			return nil
		case <-m.Done():
			return errors.Join(errors.New("the machine went off by itself"), m.Wait())
		}
	})
	return group.Wait()
}

// lock makes sure that one machine at a time uses the folder. The returned
// function ends that; the end of the process does so too.
func lock(dir string) (func() error, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("the appliance runs already (its other `make run` ends with Ctrl-C)")
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f.Close, nil
}

// waitForPage waits until the page answers through the forward, whatever it
// says: that it can be read is what counts here.
func waitForPage(ctx context.Context, m *vm.VM, url string) error {
	limited, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(limited, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			return resp.Body.Close()
		}
		select {
		case <-tick.C:
		case <-m.Done():
			return errors.Join(errors.New("the machine went off while it booted"), m.Wait())
		case <-limited.Done():
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf(
				"%s does not answer after %v; the machine's console is in %s",
				url,
				bootLimit,
				consoleFile,
			)
		}
	}
}

const consoleFile = runDir + "/console.log"

// saveConsole keeps the console of the machine for a look afterwards.
func saveConsole(m *vm.VM) error {
	return os.WriteFile(consoleFile, []byte(m.Console()), 0o644)
}

// announce says where the page is and what to try.
func (o options) announce(out io.Writer) {
	fmt.Fprintf(out, "\n  the page        http://localhost:%d/\n", o.http)
	fmt.Fprintf(out, "  for changes     user gokrazy, password in %s\n", o.password)
	if o.nics > 0 {
		fmt.Fprint(out, "  pull a cable    make unplug NIC=eth0\n  put it back     make plug NIC=eth0\n")
	}
	fmt.Fprint(out, "  stop            Ctrl-C\n\n")
}
