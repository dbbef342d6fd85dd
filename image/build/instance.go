package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The program of the image that the image's own settings are for, and the file
// in which it finds the administrator's password. It is not the file of gokrazy's
// init, /etc/gokr-pw.txt: while that exists, init serves its pages, which a page
// of another site could use, to the network.
const (
	daemon       = module + "/bondd"
	passwordPath = "/etc/bondd/admin-password"
)

// writeInstance makes a copy of the gokrazy instance in the folder parent, with
// what belongs to one image alone: its version and its password.
func writeInstance(env goEnv, parent, version, password string) error {
	text, err := os.ReadFile(filepath.Join(env.root(), filepath.FromSlash(instances), instance, "config.json"))
	if err != nil {
		return fmt.Errorf("read instance: %w", err)
	}
	text, err = personalize(text, version)
	if err != nil {
		return err
	}
	dir := filepath.Join(parent, instance)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write instance: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600); err != nil {
		return fmt.Errorf("write instance: %w", err)
	}
	// The image has the file with the mode that it has here.
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(passwordPath)), []byte(password+"\n"), 0o400); err != nil {
		return fmt.Errorf("hand over password: %w", err)
	}
	// As in the repository, every program is built with its go.mod and go.sum.
	if err := os.Symlink(env.root(), filepath.Join(dir, "builddir")); err != nil {
		return fmt.Errorf("write instance: %w", err)
	}
	return nil
}

// personalize returns the instance's configuration with the password's file,
// which is beside it, and the version.
func personalize(text []byte, version string) ([]byte, error) {
	var whole, packages, settings map[string]json.RawMessage
	var flags []string
	for _, part := range []struct {
		name string
		from func() []byte
		to   any
	}{
		{"config.json", func() []byte { return text }, &whole},
		{"PackageConfig", func() []byte { return whole["PackageConfig"] }, &packages},
		{daemon, func() []byte { return packages[daemon] }, &settings},
		{"GoBuildFlags", func() []byte { return settings["GoBuildFlags"] }, &flags},
	} {
		if err := json.Unmarshal(part.from(), part.to); err != nil {
			return nil, fmt.Errorf("read instance: %s: %w", part.name, err)
		}
	}
	if version != "" {
		i := slices.IndexFunc(flags, func(f string) bool { return strings.HasPrefix(f, linkerFlags) })
		if i < 0 {
			return nil, fmt.Errorf("read instance: no %s among the GoBuildFlags of %s", linkerFlags, daemon)
		}
		flags[i] += fmt.Sprintf(" -X 'main.stamped=%s'", version)
	}
	var err error
	encode := func(v any) json.RawMessage {
		text, e := json.Marshal(v)
		err = errors.Join(err, e)
		return text
	}
	settings["GoBuildFlags"] = encode(flags)
	settings["ExtraFilePaths"] = encode(map[string]string{passwordPath: filepath.Base(passwordPath)})
	packages[daemon] = encode(settings)
	whole["PackageConfig"] = encode(packages)
	text = encode(whole)
	if err != nil {
		return nil, fmt.Errorf("write instance: %w", err)
	}
	return text, nil
}

// linkerFlags begins the flag of the go command that sets variables.
const linkerFlags = "-ldflags="
