package vmtest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/engine"
	"bondd.internal/bondd/internal/metrics"
	"bondd.internal/bondd/internal/web"
	"bondd.internal/config"
	"bondd.internal/hwprobe"
	"bondd.internal/image/lab/netlab"
)

// watchVar makes the test binary an engine with a part of bondd's watches: its
// value lists "events" and "poll"; with "refuse", its first inventories of the
// hardware are refused. fileVar names its configuration. A process
// of its own is what it takes to have all of it in the host's namespace.
const (
	watchVar = "VMTEST_WATCH"
	fileVar  = "VMTEST_CONFIG"
)

// pollEvery is how often such an engine polls, whatever miimon is.
const pollEvery = 50 * time.Millisecond

// startEngine runs an engine with these watches, and waits until its
// configuration is applied. It also tells how often it wrote to the kernel.
func startEngine(t testing.TB, lan *netlab.LAN, watch, toml string) *daemon {
	t.Helper()
	d := launchEngine(t, lan, watch, toml)
	d.ready()
	return d
}

// launchEngine runs such an engine.
func launchEngine(t testing.TB, lan *netlab.LAN, watch, toml string) *daemon {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bondd.toml")
	if err := os.WriteFile(file, []byte(toml), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := lan.Host.Command(self)
	cmd.Env = append(os.Environ(), watchVar+"="+watch, fileVar+"="+file)
	return run(t, lan, file, cmd)
}

// refusals is how many inventories an engine that is to refuse some refuses.
const refusals = 3

// refuse has the first inventories fail.
func refuse(inventory func(context.Context) ([]hwprobe.NIC, error)) func(context.Context) ([]hwprobe.NIC, error) {
	n := 0
	return func(ctx context.Context) ([]hwprobe.NIC, error) {
		if n++; n <= refusals {
			return nil, fmt.Errorf("list network interfaces: refused for the %d. time", n)
		}
		return inventory(ctx)
	}
}

// writes is the number of requests that such an engine sent to write to the
// kernel, refused ones included.
func (d *daemon) writes() int {
	d.t.Helper()
	n, err := strconv.Atoi(d.metric("bondd_kernel_writes_total"))
	if err != nil {
		d.t.Fatalf("ask for the number of writes: %v", err)
	}
	return n
}

// runEngine is that process.
func runEngine() int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if err := serveEngine(ctx, log); err != nil {
		log.Error("the engine ends", "err", err)
		return 1
	}
	return 0
}

func serveEngine(ctx context.Context, log *slog.Logger) error {
	cfg, err := config.Load(os.Getenv(fileVar))
	if err != nil {
		return err
	}
	machine, err := engine.OpenMachine(nil, log)
	if err != nil {
		return err
	}
	defer machine.Close()
	deps := machine.Deps()
	deps.PollEvery = pollEvery
	watch := os.Getenv(watchVar)
	if strings.Contains(watch, "refuse") {
		deps.Inventory = refuse(deps.Inventory)
	}
	if !strings.Contains(watch, "events") {
		deps.Listen = nil
	}
	if !strings.Contains(watch, "poll") {
		deps.Poller = nil
	}
	e := engine.New(cfg, engine.Source{Name: "a test"}, deps)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.Run(ctx) })
	g.Go(func() error {
		return web.Serve(ctx, cfg.HTTP.Listen, "", web.Handler(e, metrics.Handler(e.Snapshot, log), nil, log), log)
	})
	return g.Wait()
}
