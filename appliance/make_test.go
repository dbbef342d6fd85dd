package appliance_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bondd.internal/image/build"
	"bondd.internal/image/lab/skip"
)

// A workplace is where a person calls make; its images are in a folder of their own.
type workplace struct {
	t   *testing.T
	dir string
}

func (w *workplace) image() string { return filepath.Join(w.dir, "appliance.img") }

// make calls make in the repository and returns what it prints.
func (w *workplace) make(args ...string) (string, error) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "make", append([]string{"--no-print-directory",
		"IMAGE=" + w.image(), "PASSWORD=" + filepath.Join(w.dir, "admin-password")}, args...)...)
	cmd.Dir = ".."
	// What the make that runs this test was told is not meant for this one.
	told := []string{"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "CONFIG", "NEW_PASSWORD", "DISK"}
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(told, name)
	})
	out, err := cmd.CombinedOutput()
	w.t.Logf("make %s: %v\n%s", strings.Join(args, " "), err, out)
	return string(out), err
}

// built calls make and checks what is in the image then.
func (w *workplace) built(config string, args ...string) (out, password string) {
	w.t.Helper()
	out, err := w.make(append(args, "image")...)
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := build.ReadPerm(w.image(), "bondd/bondd.toml")
	if err != nil && (config != "" || !errors.Is(err, fs.ErrNotExist)) || string(got) != config {
		w.t.Errorf("make %s: the image has the configuration %q, error %v, want %q",
			strings.Join(args, " "), got, err, config)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "admin-password"))
	if err != nil {
		w.t.Fatal(err)
	}
	return out, string(text)
}

// What an image was built with goes into the next one, and into the one that is
// flashed; and the appliance says that it is what the build said.
func TestMake(t *testing.T) {
	skip.If(t, skip.VM)
	t.Parallel()
	w := &workplace{t, t.TempDir()}
	if out, err := w.make("flash"); err == nil || !strings.Contains(out, "make flash DISK=/dev/sdX") {
		t.Errorf("make flash without a disk: %v\n%s", err, out)
	}
	if out, err := w.make("flash", "DISK=/dev/none"); err == nil || !strings.Contains(out, "/dev/none does not exist") {
		t.Errorf("make flash without the disk: %v\n%s", err, out)
	}
	if files, err := os.ReadDir(w.dir); err != nil || len(files) > 0 {
		t.Errorf("make flash without a disk has made %v, error %v", files, err)
	}

	toml := filepath.Join(t.TempDir(), "bondd.toml")
	const config = `
[[bond]]
name = "bond0"
mode = "active-backup"
slaves = ["eth1", "eth0"]
miimon = "50ms"
dhcp4 = true
`
	if err := os.WriteFile(toml, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	_, first := w.built(config, "CONFIG="+toml)
	// -W is as if the file had just been changed.
	out, again := w.built(config, "-W", "bondd/internal/web/assets/bondd.css")
	if !strings.Contains(out, "a source has changed") || !strings.Contains(out, "configuration  "+toml) {
		t.Errorf("after a change of a source:\n%s", out)
	}
	if again != first {
		t.Errorf("after a change of a source the password is %q, before it was %q", again, first)
	}
	out, _ = w.built(config)
	if !strings.Contains(out, "is up to date") || !strings.Contains(out, "configuration  "+toml) {
		t.Errorf("after no change:\n%s", out)
	}
	out, second := w.built("", "CONFIG=", "NEW_PASSWORD=1")
	if !strings.Contains(out, "configuration  none: the built-in default runs") {
		t.Errorf("without a configuration:\n%s", out)
	}
	if second == first {
		t.Error("the password on request is the old one")
	}
	if old, err := filepath.Glob(filepath.Join(w.dir, "admin-password-until-*")); err != nil || len(old) != 1 {
		t.Errorf("the old password is in %v, %v", old, err)
	} else if text, err := os.ReadFile(old[0]); err != nil || string(text) != first {
		t.Errorf("the old password's file has %q, %v, want %q", text, err, first)
	}

	inputs, err := build.ReadInputs(w.image())
	if err != nil {
		t.Fatal(err)
	}
	cfg := with("virtio-net-pci", "virtio-net-pci")
	cfg.Image = w.image()
	m := bootFile(t, cfg)
	if inputs.Version != "unknown" { // as outside of a Git repository
		m.says("/api/v1/status", `"version": "`+inputs.Version+`"`)
	}
}
