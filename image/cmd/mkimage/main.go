// Command mkimage builds the disk image of the appliance where that is needed,
// and says what is in it either way.
//
//	go run ./image/cmd/mkimage [-config bondd.toml] -out build/appliance.img -password build/admin-password
//
// What it builds with it keeps beside the image, in image.env: the next image
// has the same configuration unless another one is named, or none by -config "".
// It needs the go command and e2fsprogs, and no privileges.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"bondd.internal/config"
	"bondd.internal/image/build"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], build.Image, describe, os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

// A builder is build.Image outside of tests.
type builder func(context.Context, build.Options) (*build.Result, error)

// run does everything. version returns the version of the repository.
func run(ctx context.Context, args []string, image builder, version func(context.Context) string, out io.Writer) error {
	var o build.Options
	flags := flag.NewFlagSet("mkimage", flag.ContinueOnError)
	flags.StringVar(&o.Out, "out", "build/appliance.img", "write the image to `FILE`")
	flags.StringVar(&o.Password, "password", "build/admin-password",
		"the administrator's password is in `FILE`; it is made if there is none")
	flags.BoolVar(&o.NewPassword, "new-password", false, "make a new password; the old one is kept beside it")
	flags.Int64Var(&o.Size, "size", build.DefaultSize, fmt.Sprintf(
		"size of the disk in `BYTES`, at least %d; what the system does not need is for /perm", build.MinSize))
	conf := flags.String("config", "",
		"put the configuration `FILE` on /perm; none if empty; if not given, that of the last image")
	changed := flags.Bool("changed", false,
		"build although the inputs are those of the image that is there: a source has changed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -help", flags.Arg(0))
	}

	last, err := build.ReadInputs(o.Out)
	if err != nil {
		return fmt.Errorf("%w; remove the file, and name the configuration", err)
	}
	remembered := true
	flags.Visit(func(f *flag.Flag) { remembered = remembered && f.Name != "config" })
	next := &build.Inputs{Config: *conf, Version: version(ctx), Password: o.Password, Size: o.Size}
	if remembered && last != nil {
		next.Config = last.Config
	}
	remembered = remembered && next.Config != ""
	if next.Config != "" {
		toml, err := readConfig(next.Config)
		if err != nil && remembered {
			return fmt.Errorf("%w\n%s is what the last image was built with; "+
				"`make image CONFIG=` builds without a configuration", err, next.Config)
		}
		if err != nil {
			return err
		}
		next.ConfigSHA256 = build.Sum(toml)
		o.Perm = map[string][]byte{"bondd/bondd.toml": toml}
	}
	if next.PasswordTime, err = modified(o.Password); err != nil {
		return fmt.Errorf("find password: %w", err)
	}
	if next.Version != unknown {
		o.Version = next.Version
	}

	why := reason(last, next)
	switch {
	case o.NewPassword:
		why = "a new password is wanted"
	case why == "" && *changed:
		why = "a source has changed"
	}
	if why == "" {
		fmt.Fprintf(out, "%s is up to date\n", o.Out)
		next.Certificate = last.Certificate
	} else {
		fmt.Fprintf(out, "building %s, which takes half a minute or more: %s\n", o.Out, why)
	}
	for _, line := range next.Lines() {
		if line[0] == "configuration" && remembered {
			line[1] += ", as in the last image (`make image CONFIG=` builds without)"
		}
		fmt.Fprintf(out, "  %-14s %s\n", line[0], line[1])
	}
	if why != "" {
		if err := construct(ctx, o, next, image, out); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "  %-14s SHA-256 %s\n", "certificate", next.Certificate)
	return nil
}

// construct builds the image and keeps its inputs. They are kept before, too: a
// build that fails is tried again with what it was asked for.
func construct(ctx context.Context, o build.Options, inputs *build.Inputs, image builder, out io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(o.Out), 0o755); err != nil {
		return fmt.Errorf("make folder of the image: %w", err)
	}
	if err := inputs.Write(o.Out); err != nil {
		return err
	}
	r, err := image(ctx, o)
	if err != nil {
		return err
	}
	inputs.Certificate = r.Fingerprint
	if inputs.PasswordTime, err = modified(o.Password); err != nil {
		return fmt.Errorf("find password: %w", err)
	}
	if inputs.Image, err = modified(o.Out); err != nil {
		return fmt.Errorf("find image: %w", err)
	}
	if err := inputs.Write(o.Out); err != nil {
		return err
	}
	if r.OldPassword != "" {
		fmt.Fprintf(out, "  %-14s %s, which appliances with earlier images have\n", "old password", r.OldPassword)
	}
	fmt.Fprintf(out, "  %-14s %d MiB, bootable from BIOS and UEFI; %d MiB for /perm\n",
		"size", o.Size>>20, r.Perm.Size>>20)
	return nil
}

// readConfig reads a configuration that has no error.
func readConfig(file string) ([]byte, error) {
	toml, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	_, warnings, err := config.Check(file, toml)
	if err != nil {
		return nil, fmt.Errorf("the configuration is not good:\n%w", err)
	}
	for _, w := range warnings {
		fmt.Fprintln(os.Stderr, w)
	}
	return toml, nil
}

// reason says why an image has to be built, by what the last one was built with
// and the next one is to be; empty: it need not.
func reason(last, next *build.Inputs) string {
	switch {
	case last == nil || last.Image.IsZero():
		return "there is none, or it is not known what it was built with"
	case last.Config != next.Config:
		return "the configuration is another one"
	case last.ConfigSHA256 != next.ConfigSHA256:
		return next.Config + " has changed"
	case next.PasswordTime.IsZero():
		return next.Password + " is missing"
	case last.Password != next.Password || !last.PasswordTime.Equal(next.PasswordTime):
		return next.Password + " has changed"
	case last.Version != next.Version:
		return "the version was " + last.Version
	case last.Size != next.Size:
		return "the size is another one"
	}
	return ""
}

// modified is when a file was written, zero if there is none.
func modified(file string) (time.Time, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// versionPattern is what a version can be to be put on a command line.
var versionPattern = regexp.MustCompile(`^[A-Za-z0-9._+/-]+$`)

// unknown is the version of what is in no repository.
const unknown = "unknown"

// describe returns the version of the repository that the working directory
// belongs to: its last tag with the revision, and whether files have changed
// since.
func describe(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--tags", "--dirty", "--abbrev=12").Output()
	version := strings.TrimSpace(string(out))
	if err != nil || !versionPattern.MatchString(version) {
		return unknown
	}
	return version
}
