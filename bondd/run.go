package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"bondd.internal/bondd/internal/drill"
	"bondd.internal/bondd/internal/engine"
	"bondd.internal/bondd/internal/engine/core"
	"bondd.internal/bondd/internal/history"
	"bondd.internal/bondd/internal/kernel"
	"bondd.internal/bondd/internal/metrics"
	"bondd.internal/bondd/internal/random"
	"bondd.internal/bondd/internal/statefile"
	"bondd.internal/bondd/internal/web"
	"bondd.internal/config"
)

// runDaemon exits with 0 only if it was asked to stop: gokrazy takes 0 for "this
// program is done" and starts it again on anything else.
func runDaemon(ctx context.Context, std stdio, flags *flag.FlagSet, args []string) int {
	file := flags.String(
		"config",
		"",
		"configuration `FILE`; else /perm/bondd/bondd.toml, /etc/bondd/bondd.toml, the built-in default",
	)
	password := flags.String("admin-password", "",
		"`FILE` with the password for changes over HTTP; else "+strings.Join(passwordFiles(), ", "))
	dir := flags.String(
		"state",
		stateDir(),
		"`FOLDER` for what has to outlive a restart, the flight recorder's entries; empty: nothing is kept",
	)
	if code, ok := parse(std, flags, args); !ok {
		return code
	}
	out := std.err
	if onGokrazy() {
		out = withConsole(out)
	}
	log := slog.New(slog.NewTextHandler(out, nil))
	var explicit *string // set, to an empty path even, is not the same as left out
	flags.Visit(func(f *flag.Flag) {
		if f.Name == "config" {
			explicit = file
		}
	})
	cfg, source := configuration(explicit, config.DefaultPaths(), log)
	log.Info("bondd starts", "version", version(), "config", source.Name)
	credentials := web.Credentials{WebConfig: cfg.HTTP.WebConfig, Passwords: passwordFiles()}
	if *password != "" {
		credentials.Passwords = []string{*password}
	}
	if err := daemon(ctx, cfg, source, credentials, *dir, log); err != nil {
		log.Error("bondd ends", "err", err)
		return exitError
	}
	if ctx.Err() == nil {
		log.Error("bondd ends although nobody asked it to")
		return exitError
	}
	log.Info("bondd is stopping; the bonds stay up")
	return exitOK
}

// passwordFiles are where the administrator's password may be: what a person has
// written, what the image was built with, and what gokrazy's init uses where an
// image of somebody else's lets it serve its pages.
func passwordFiles() []string {
	return []string{"/perm/gokr-pw.txt", "/etc/bondd/admin-password", "/etc/gokr-pw.txt"}
}

// configuration finds the configuration to run: the file that is asked for, if
// one is, or else the first in the usual places. One that does not work is no
// reason to leave the machine unreachable: the built-in default runs instead,
// and everything that shows something says so.
func configuration(explicit *string, usual []string, log *slog.Logger) (*config.Config, engine.Source) {
	const builtin = "the built-in default"
	instead := func(path string, err error) (*config.Config, engine.Source) {
		log.Error("config: "+builtin+" runs instead", "file", path, "err", err)
		return config.Default(), engine.Source{Name: builtin, Error: err.Error()}
	}
	path := ""
	if explicit != nil {
		if path = *explicit; path == "" {
			return instead(path, errors.New("--config is empty: write the path of a file, or leave --config out"))
		}
	} else if found, ok := config.Find("", usual...); ok {
		path = found
	} else {
		return config.Default(), engine.Source{Name: builtin}
	}
	data, err := config.ReadFile(path)
	if err != nil {
		return instead(path, err)
	}
	cfg, warnings, err := config.Check(path, data)
	if err != nil {
		return instead(path, err)
	}
	source := engine.Source{Name: path}
	for _, w := range warnings {
		log.Warn("config", "warning", w)
		source.Warnings = append(source.Warnings, w.String())
	}
	return cfg, source
}

// spareProcs is how many goroutines more than there are processors may run. A
// thread that comes back from the kernel with a link event needs one of these
// places; on a machine with one processor it would wait for whatever answers a
// page request (measured, with three of them and four scrapes at once: half a
// millisecond; with these: 24 µs).
const spareProcs = 15

// daemon wires the rooms and runs them until ctx ends or the engine fails.
func daemon(
	ctx context.Context,
	cfg *config.Config,
	source engine.Source,
	credentials web.Credentials,
	dir string,
	log *slog.Logger,
) error {
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spareProcs)
	numbers := random.Start(random.Read)
	priority := new(kernel.Priority)
	machine, err := engine.OpenMachine(priority, log)
	if err != nil {
		return err
	}
	defer machine.Close()

	deps := machine.Deps()
	deps.Random = numbers.Wait
	deps.Hostname, _ = os.Hostname() // without one the DHCP server is told none
	deps.ResolvConf = resolvConf()
	deps.Version = version()
	if dir != "" {
		if deps.History, err = history.Load(dir); err != nil {
			log.Error("history: the entries of earlier runs are not there", "err", err)
		}
		remember(dir, &deps, log)
	}
	e := engine.New(cfg, source, deps)

	commands := &web.Commands{
		Control:     e,
		Drills:      &drill.Runner{Source: e, Control: e, Log: log},
		Credentials: credentials,
	}

	// The engine ends last: a drill that is cut off has to bring its bond back.
	g, ctx := errgroup.WithContext(ctx)
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return e.Run(engineCtx) })
	g.Go(func() error {
		collect(engineCtx, priority.Without)
		return nil
	})
	g.Go(func() error {
		defer stopEngine()
		if cfg.HTTP.WebConfig != "" { // TLS needs random numbers as well
			if err := numbers.Wait(ctx); err != nil && ctx.Err() == nil {
				log.Warn("http: serving before the kernel gives random numbers", "err", err)
			}
		}
		serve(ctx, cfg, web.Handler(e, metrics.Handler(e.Snapshot, log), commands, log), log)
		return nil
	})
	g.Go(func() error {
		seed := seedFile()
		if err := numbers.KeepSeed(ctx, seed); err != nil {
			log.Warn("random: there is no new seed for the next start", "err", err)
		} else if seed != "" && ctx.Err() == nil {
			log.Info("random: there is a new seed for the next start", "file", seed)
		}
		return nil
	})
	if dir != "" {
		g.Go(func() error {
			history.Run(engineCtx, dir, deps.History, e, log)
			return nil
		})
	}
	return g.Wait()
}

// remember has the engine keep in a folder what the next run has to know.
func remember(dir string, deps *engine.Deps, log *slog.Logger) {
	const most = 64 << 10 // bytes; a slave or an address needs about 100
	path := filepath.Join(dir, "memory.json")
	if err := statefile.ReadJSON(path, most, &deps.Memory); err != nil {
		deps.Memory = nil
		log.Error("state: what an earlier run has kept is not there", "err", err)
	}
	// Without it the addresses of an earlier run without a mark are nobody's, which is safe.
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		deps.Boot = strings.TrimSpace(string(id))
	}
	deps.Remember = func(m *core.Memory) error { return statefile.WriteJSON(path, m) }
}

// serve keeps the page served. A port that is taken or a certificate that is
// not there yet must not stop the bond.
func serve(ctx context.Context, cfg *config.Config, handler http.Handler, log *slog.Logger) {
	const retry = 2 * time.Second
	for told := ""; ctx.Err() == nil; {
		err := web.Serve(ctx, cfg.HTTP.Listen, cfg.HTTP.WebConfig, handler, log)
		if ctx.Err() != nil || err == nil {
			return
		}
		if told != err.Error() {
			told = err.Error()
			log.Error("http: the page is not served; trying again", "err", err, "every", retry)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

// onGokrazy reports whether gokrazy's init started this process.
func onGokrazy() bool { return thisProcess().byGokrazy() }

// stateDir is where gokrazy keeps what is bondd's over an update and a restart.
func stateDir() string {
	if !onGokrazy() {
		return ""
	}
	return "/perm/bondd"
}

// seedFile is where gokrazy's randomd finds its seed.
func seedFile() string {
	if !onGokrazy() {
		return ""
	}
	return "/perm/random.seed"
}

// resolvConf is the file for the DNS servers: gokrazy's /etc/resolv.conf is a
// link to it. Elsewhere the resolver is not bondd's to configure.
func resolvConf() string {
	if !onGokrazy() {
		return ""
	}
	return "/tmp/resolv.conf"
}
