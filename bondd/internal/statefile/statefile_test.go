package statefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWriteRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "kept.json")
	var got map[string]int
	if err := ReadJSON(path, 100, &got); err != nil || got != nil {
		t.Fatalf("a file that is not there: %v, %v", got, err)
	}
	for n := range 3 {
		if err := WriteJSON(path, map[string]int{"n": n}); err != nil {
			t.Fatal(err)
		}
		if err := ReadJSON(path, 100, &got); err != nil || got["n"] != n {
			t.Fatalf("read %v, %v after writing %d", got, err, n)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"too large", strings.Repeat(" ", 101), "more than 100 bytes"},
		{"half a file", `{"n":`, "unexpected end of JSON input"},
		{"empty", "", "unexpected end of JSON input"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "kept.json")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			litter := filepath.Join(dir, ".kept.json123")
			if err := os.WriteFile(litter, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			var v map[string]int
			err := ReadJSON(path, 100, &v)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path+".aside") {
				t.Errorf("error is %v, want %q and where it was set aside", err, tt.want)
			}
			if kept, err := os.ReadFile(path + ".aside"); err != nil || string(kept) != tt.text {
				t.Errorf("set aside: %q, %v", kept, err)
			}
			if _, err := os.Stat(litter); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("an unfinished file is still there: %v", err)
			}
		})
	}
}
