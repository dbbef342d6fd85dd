package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The password is made once. A new one is made on request, and leaves the old
// one where it can be found.
func TestPassword(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "admin-password")
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	choose := func(renew bool) (text, old string) {
		t.Helper()
		p, err := choosePassword(file, renew)
		if err != nil {
			t.Fatal(err)
		}
		if old, err = p.store(now); err != nil {
			t.Fatal(err)
		}
		if content, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(content)) != p.text {
			t.Errorf("the file has %q, %v, want %q", content, err, p.text)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file has mode %v, %v, want 0600", info.Mode(), err)
		}
		return p.text, old
	}
	first, old := choose(false)
	if len(first) < 20 || old != "" {
		t.Errorf("the first password has %d characters, %q is kept", len(first), old)
	}
	if again, old := choose(false); again != first || old != "" {
		t.Errorf("without a request the password is new: %q, then %q; %q is kept", first, again, old)
	}
	second, old := choose(true)
	if second == first {
		t.Error("on request the password is the old one")
	}
	content, err := os.ReadFile(old)
	if err != nil || strings.TrimSpace(string(content)) != first || old != file+"-until-20260301-120000" {
		t.Errorf("%q has %q, %v, want the old password", old, content, err)
	}
	if info, err := os.Stat(old); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the old password has mode %v, %v, want 0600", info.Mode(), err)
	}

	// A person's own, which others can read.
	if err := os.WriteFile(file, []byte(" mine \n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if p, err := choosePassword(file, false); err != nil || p.text != "mine" {
		t.Errorf("a person's own: %+v, %v", p, err)
	} else if _, err := p.store(now); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a person's own has mode %v, %v, want 0600", info.Mode(), err)
	}
	for content, want := range map[string]string{
		" \n":                     "is empty",
		"one\ntwo\n":              "more than one line",
		strings.Repeat("x", 1025): "more than 1024 bytes",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, err := choosePassword(file, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.10q: %+v, %v, want an error with %q", content, p, err, want)
		}
	}
}
