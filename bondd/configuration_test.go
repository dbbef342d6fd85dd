package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bondd.internal/config"
)

// A configuration that is asked for and cannot be had is an error: it is
// reported, and the built-in default keeps the machine reachable. So is one in
// the usual places that is there and cannot be read.
func TestConfigurationThatCannotBeHad(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const good = "[[bond]]\nname = \"bond7\"\nslaves = [\"eth0\", \"eth1\"]\naddresses = [\"192.0.2.2/24\"]\n"
	must(os.WriteFile(at("good.toml"), []byte(good), 0o644))
	must(os.WriteFile(at("bad.toml"), []byte("[[bond]]\nmiimon = 100\n"), 0o644))
	must(os.Mkdir(at("folder"), 0o755))
	must(os.Symlink(at("gone.toml"), at("broken-link.toml")))
	must(os.Symlink(at("circle.toml"), at("circle.toml")))
	must(os.Symlink(at("good.toml"), at("link.toml")))
	must(unix.Mkfifo(at("pipe"), 0o644))

	for name, tt := range map[string]struct {
		explicit *string  // --config
		usual    []string // where it is looked for otherwise
		err      string   // in what the page and the log say; empty: no error
		bond     string
	}{
		"no file at all":          {nil, []string{at("none.toml"), at("none2.toml")}, "", "bond0"},
		"the second place":        {nil, []string{at("none.toml"), at("good.toml")}, "", "bond7"},
		"a link":                  {ptr(at("link.toml")), nil, "", "bond7"},
		"a file with an error":    {ptr(at("bad.toml")), nil, at("bad.toml") + `:2:10: miimon is a duration and needs a unit: write "100ms"`, "bond0"},
		"no such file":            {ptr(at("none.toml")), []string{at("good.toml")}, "open " + at("none.toml") + ": no such file or directory", "bond0"},
		"an empty path":           {ptr(""), []string{at("good.toml")}, "--config is empty: write the path of a file, or leave --config out", "bond0"},
		"a folder":                {ptr(at("folder")), nil, "read " + at("folder") + ": is a directory", "bond0"},
		"below a file":            {ptr(at("good.toml/x.toml")), nil, "open " + at("good.toml/x.toml") + ": not a directory", "bond0"},
		"a broken link":           {ptr(at("broken-link.toml")), nil, "open " + at("broken-link.toml") + ": no such file or directory", "bond0"},
		"a link to itself":        {ptr(at("circle.toml")), nil, "open " + at("circle.toml") + ": too many levels of symbolic links", "bond0"},
		"a pipe without a writer": {ptr(at("pipe")), nil, "read " + at("pipe") + ": not a regular file", "bond0"},
		"a file that fails":       {ptr("/proc/self/mem"), nil, "read /proc/self/mem: input/output error", "bond0"},
		"a device":                {ptr("/dev/zero"), nil, "read /dev/zero: not a regular file", "bond0"},
		"a zero byte in the path": {ptr(at("a\x00b")), nil, "invalid argument", "bond0"},

		"a usual broken link": {nil, []string{at("broken-link.toml"), at("good.toml")}, "open " + at("broken-link.toml") + ": no such file or directory", "bond0"},
		"a usual folder":      {nil, []string{at("none.toml"), at("folder")}, "read " + at("folder") + ": is a directory", "bond0"},
		"a usual pipe":        {nil, []string{at("pipe"), at("good.toml")}, "read " + at("pipe") + ": not a regular file", "bond0"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			cfg, source := configuration(tt.explicit, tt.usual, slog.New(slog.NewTextHandler(&log, nil)))
			if len(cfg.Bonds) != 1 || cfg.Bonds[0].Name != tt.bond {
				t.Errorf("runs %+v, want %s", cfg.Bonds, tt.bond)
			}
			if (source.Error == "") != (tt.err == "") || !strings.Contains(source.Error, tt.err) {
				t.Errorf("the page says %q, want %q", source.Error, tt.err)
			}
			if builtin := source.Name == "the built-in default"; builtin != (tt.bond == "bond0") {
				t.Errorf("the source is %q", source.Name)
			}
			if said := strings.Contains(log.String(), "level=ERROR"); said != (tt.err != "") {
				t.Errorf("the log says:\n%s", log.String())
			}
		})
	}
}

// A file that the process may not read is an error like any other.
func TestConfigurationWithoutPermission(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret.toml")
	if err := os.WriteFile(file, nil, 0o000); err != nil {
		t.Fatal(err)
	}
	// Root may read everything, so that this thread is somebody else meanwhile.
	const nobody = 65534
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if os.Geteuid() == 0 {
		before, err := unix.SetfsuidRetUid(nobody)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.SetfsuidRetUid(before)
	}
	cfg, source := configuration(&file, nil, slog.New(slog.DiscardHandler))
	if want := "open " + file + ": permission denied"; source.Error != want || cfg.Bonds[0].Name != "bond0" {
		t.Errorf("the page says %q, want %q", source.Error, want)
	}
}

func ptr[T any](v T) *T { return &v }

// The daemon runs a file that is good and means something that nobody wants, and
// says so in its log and on its page.
func TestConfigurationWithWarnings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bondd.toml")
	if err := os.WriteFile(file, []byte("[[bond]]\nslaves = [\"eth0\", \"eth1\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cfg, source := configuration(&file, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if source.Error != "" || source.Name != file || slices.Equal(cfg.Bonds[0].Slaves, config.Default().Bonds[0].Slaves) {
		t.Errorf("runs %+v from %+v", cfg.Bonds, source)
	}
	if want := file + ":1:3: warning: bond0 has no address"; len(source.Warnings) != 1 || !strings.HasPrefix(source.Warnings[0], want) {
		t.Errorf("the page says %q, want %q", source.Warnings, want)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "has no address") {
		t.Errorf("the log says:\n%s", log.String())
	}
}
