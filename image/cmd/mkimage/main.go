// Command mkimage builds the disk image of the appliance.
//
//	go run ./image/cmd/mkimage [-config bondd.toml] -out build/appliance.img -password build/admin-password
//
// It needs the go command and e2fsprogs, and no privileges.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"bondd.internal/config"
	"bondd.internal/image/build"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var o build.Options
	flag.StringVar(&o.Out, "out", "build/appliance.img", "write the image to `FILE`")
	flag.StringVar(&o.Password, "password", "build/admin-password", "write the administrator's password to `FILE`")
	flag.Int64Var(&o.Size, "size", build.DefaultSize, fmt.Sprintf("size of the disk in `BYTES`, at least %d; what the system does not need is for /perm", build.MinSize))
	conf := flag.String("config", "", "put the configuration `FILE` on /perm; without it the built-in default runs")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -help", flag.Arg(0))
	}

	var toml []byte
	if *conf != "" {
		var err error
		if toml, err = os.ReadFile(*conf); err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		_, warnings, err := config.Check(*conf, toml)
		if err != nil {
			return fmt.Errorf("the configuration is not good:\n%w", err)
		}
		for _, w := range warnings {
			fmt.Fprintln(os.Stderr, w)
		}
	}

	fmt.Fprintln(os.Stderr, "mkimage: building the image, which takes half a minute or more")
	r, err := build.Image(ctx, o)
	if err != nil {
		return err
	}
	if toml != nil {
		if err := build.WritePerm(o.Out, map[string][]byte{"bondd/bondd.toml": toml}); err != nil {
			return err
		}
	}
	fmt.Printf(`%s: bootable from BIOS and UEFI, /perm has %d MiB
%s: password of the user gokrazy
SHA-256 of the image's certificate: %s
`, o.Out, r.Perm.Size>>20, o.Password, r.Fingerprint)
	return nil
}
