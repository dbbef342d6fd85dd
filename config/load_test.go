package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	perm, etc := filepath.Join(dir, "perm.toml"), filepath.Join(dir, "etc.toml")
	find := func(explicit, want string, wantOK bool) {
		t.Helper()
		if got, ok := Find(explicit, perm, etc); got != want || ok != wantOK {
			t.Errorf("Find(%q) = %q, %t, want %q, %t", explicit, got, ok, want, wantOK)
		}
	}
	find("", "", false)
	find("other.toml", "other.toml", true) // it does not exist, and Load has to say so
	write(t, etc, "")
	find("", etc, true)
	// What is there and cannot be read is an error, not a reason to go on.
	if err := os.Mkdir(perm, 0o755); err != nil {
		t.Fatal(err)
	}
	find("", perm, true)
	if _, err := Load(perm); err == nil {
		t.Error("a directory was loaded")
	}
	find("other.toml", "other.toml", true)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bondd.toml")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	write(t, path, "[[bond]]\nname = \"bond7\"\n")
	c, err := Load(path)
	if err != nil || c.Bonds[0].Name != "bond7" {
		t.Errorf("Load: %+v, %v", c, err)
	}
	write(t, path, "[[bond]]\nmiimon = 100\n")
	_, err = Load(path)
	if want := path + `:2:10: miimon is a duration and needs a unit: write "100ms"`; err == nil || err.Error() != want {
		t.Errorf("Load: %v\nwant: %s", err, want)
	}
	write(t, path, strings.Repeat("#", MaxSize+1))
	_, err = Load(path)
	if want := path + ":1:1: the file is larger than the 1048576 bytes that a configuration may have"; err == nil || err.Error() != want {
		t.Errorf("Load: %v\nwant: %s", err, want)
	}
	if _, err := Parse("f", bytes.Repeat([]byte("#"), MaxSize)); err != nil {
		t.Errorf("the largest file: %v", err)
	}
}
