package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/build"
)

const (
	good = `[[bond]]
name = "bond0"
mode = "active-backup"
slaves = ["eth0", "eth1"]
miimon = "100ms"
addresses = ["192.0.2.2/24"]
`
	other = good + "gateways = [\"192.0.2.1\"]\n"
)

// A workshop is where images are built, by a builder that notes what it is asked
// for and writes a file of a few bytes.
type workshop struct {
	t       *testing.T
	dir     string
	version string
	fail    error
	built   []build.Options
}

func newWorkshop(t *testing.T) *workshop {
	return &workshop{t: t, dir: t.TempDir(), version: "v1"}
}

func (w *workshop) path(name string) string { return filepath.Join(w.dir, name) }

func (w *workshop) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *workshop) image(_ context.Context, o build.Options) (*build.Result, error) {
	w.built = append(w.built, o)
	if w.fail != nil {
		return nil, w.fail
	}
	r := &build.Result{Fingerprint: "F92C"}
	if _, err := os.Stat(o.Password); err != nil {
		w.write("admin-password", "made\n")
	}
	if o.NewPassword {
		w.write("admin-password", "new\n")
		r.OldPassword = o.Password + "-until"
	}
	// Two images are never of one time.
	when := time.Date(2026, 3, 1, 12, 0, len(w.built), 0, time.UTC)
	w.write("appliance.img", "image")
	return r, os.Chtimes(o.Out, when, when)
}

// make runs the command, and returns what it prints and the options with which it
// has built an image, nil if it has not.
func (w *workshop) make(args ...string) (out string, o *build.Options, err error) {
	w.t.Helper()
	var b strings.Builder
	before := len(w.built)
	args = append([]string{"-out", w.path("appliance.img"), "-password", w.path("admin-password")}, args...)
	err = run(w.t.Context(), args, w.image, func(context.Context) string { return w.version }, &b)
	if len(w.built) > before {
		o = &w.built[before]
	}
	return b.String(), o, err
}

// builds checks that an image is built with this configuration, for this reason.
func (w *workshop) builds(config, reason string, args ...string) {
	w.t.Helper()
	out, o, err := w.make(args...)
	if err != nil {
		w.t.Fatalf("%q: %v", args, err)
	}
	if o == nil {
		w.t.Fatalf("%q: no image is built:\n%s", args, out)
	}
	if got := string(o.Perm["bondd/bondd.toml"]); got != config || o.Version != w.version {
		w.t.Errorf("%q: version %q, the configuration is\n%s\nwant\n%s", args, o.Version, got, config)
	}
	if !strings.Contains(out, reason) {
		w.t.Errorf("%q: the reason %q is not printed:\n%s", args, reason, out)
	}
	w.says(out, config, args...)
}

// rests checks that no image is built.
func (w *workshop) rests(config string, args ...string) {
	w.t.Helper()
	out, o, err := w.make(args...)
	if err != nil || o != nil || !strings.Contains(out, "is up to date") {
		w.t.Errorf("%q: %v, built with %+v:\n%s", args, err, o, out)
	}
	w.says(out, config, args...)
}

// says checks that what is in the image is printed.
func (w *workshop) says(out, config string, args ...string) {
	w.t.Helper()
	file := "none: the built-in default runs"
	if config != "" {
		file = w.path("bondd.toml") + " (SHA-256 " + build.Sum([]byte(config))[:16]
	}
	for _, want := range []string{"configuration  " + file, "version        " + w.version + "\n",
		"password       " + w.path("admin-password") + " (user gokrazy)\n", "certificate    SHA-256 F92C\n"} {
		if !strings.Contains(out, want) {
			w.t.Errorf("%q: %q is not printed:\n%s", args, want, out)
		}
	}
}

// What an image was built with is kept for the next one, and a change of it is a
// reason to build.
func TestRemembers(t *testing.T) {
	w := newWorkshop(t)
	toml := w.path("bondd.toml")
	w.write("bondd.toml", good)
	w.builds("", "there is none")
	w.rests("")
	w.builds(good, "the configuration is another one", "-config", toml)
	w.rests(good)
	w.rests(good, "-config", toml)
	w.builds(good, "a source has changed", "-changed")
	w.rests(good)
	if out, _, _ := w.make(); !strings.Contains(out, "as in the last image (`make image CONFIG=` builds without)") {
		t.Errorf("that the configuration is remembered is not printed:\n%s", out)
	}

	w.write("bondd.toml", other)
	w.builds(other, "bondd.toml has changed")
	w.version = "v2"
	w.builds(other, "the version was v1")
	w.builds(other, "the size", "-size", "1500000000")
	w.builds(other, "the size")
	w.write("admin-password", "a person's own\n")
	w.builds(other, "admin-password has changed")
	if err := os.Remove(w.path("admin-password")); err != nil {
		t.Fatal(err)
	}
	w.builds(other, "admin-password is missing")
	w.builds(other, "a new password is wanted", "-new-password")
	if o := w.built[len(w.built)-1]; !o.NewPassword {
		t.Errorf("no new password is made: %+v", o)
	}
	w.rests(other)

	// An image of unknown origin under the name of the last one.
	w.write("appliance.img", "another")
	w.builds(other, "it is not known what it was built with")
	w.builds("", "the configuration is another one", "-config", "")
	w.rests("")
	w.rests("", "-config", "")
}

// A configuration that cannot be used is told, and the image stays as it is.
func TestBadConfiguration(t *testing.T) {
	w := newWorkshop(t)
	toml := w.path("bondd.toml")
	w.write("bondd.toml", good)
	w.builds(good, "there is none", "-config", toml)
	w.write("bad.toml", "x = 1\n")
	_, o, err := w.make("-config", w.path("bad.toml"))
	if o != nil || err == nil || !strings.Contains(err.Error(), "bad.toml:1:1: ") {
		t.Errorf("a bad one: %+v, %v", o, err)
	}
	_, o, err = w.make("-config", w.path("none.toml"))
	if o != nil || err == nil || strings.Contains(err.Error(), "CONFIG=") {
		t.Errorf("a missing one: %+v, %v", o, err)
	}
	w.rests(good)
	if err := os.Remove(toml); err != nil {
		t.Fatal(err)
	}
	_, o, err = w.make()
	if o != nil || err == nil || !strings.Contains(err.Error(), "`make image CONFIG=` builds without a configuration") {
		t.Errorf("the last image's is missing: %+v, %v", o, err)
	}
	w.builds("", "the configuration is another one", "-config", "")
}

// A build that fails is tried again, with what it was asked for.
func TestFailedBuild(t *testing.T) {
	w := newWorkshop(t)
	toml := w.path("bondd.toml")
	w.write("bondd.toml", good)
	w.builds("", "there is none")
	w.fail = errors.New("no space")
	if _, o, err := w.make("-config", toml); o == nil || !errors.Is(err, w.fail) {
		t.Errorf("%+v, %v, want the builder's error", o, err)
	}
	w.fail = nil
	w.builds(good, "it is not known what it was built with")
	w.rests(good)
}

func TestDescribe(t *testing.T) {
	if v := describe(t.Context()); v == "" || !versionPattern.MatchString(v) {
		t.Errorf("version %q", v)
	}
	t.Chdir(t.TempDir())
	if v := describe(t.Context()); v != unknown {
		t.Errorf("outside of a repository: version %q", v)
	}
}
