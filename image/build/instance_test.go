package build

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestPersonalize(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("../..", instances, instance, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	decode := func(text []byte) (whole map[string]any, settings map[string]any) {
		t.Helper()
		if err := json.Unmarshal(text, &whole); err != nil {
			t.Fatal(err)
		}
		return whole, whole["PackageConfig"].(map[string]any)[daemon].(map[string]any)
	}
	got, err := personalize(text, "v1")
	if err != nil {
		t.Fatal(err)
	}
	whole, settings := decode(got)
	for name, want := range map[string]any{
		"GoBuildFlags":   []any{"-trimpath", "-ldflags=-s -w -X 'main.stamped=v1'"},
		"ExtraFilePaths": map[string]any{"/etc/bondd/admin-password": "admin-password"},
	} {
		if !reflect.DeepEqual(settings[name], want) {
			t.Errorf("%s: %q, want %q", name, settings[name], want)
		}
	}
	// The rest is as it was.
	before, old := decode(text)
	settings["GoBuildFlags"] = old["GoBuildFlags"]
	delete(settings, "ExtraFilePaths")
	if !reflect.DeepEqual(whole, before) {
		t.Errorf("got  %v\nwant %v", whole, before)
	}

	got, err = personalize(text, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, settings := decode(got); !reflect.DeepEqual(settings["GoBuildFlags"], old["GoBuildFlags"]) {
		t.Errorf("without a version: flags %q, want %q", settings["GoBuildFlags"], old["GoBuildFlags"])
	}
	for _, text := range []string{"", "{}", `{"PackageConfig": {"bondd.internal/bondd": {"GoBuildFlags": []}}}`} {
		if got, err := personalize([]byte(text), "v1"); err == nil {
			t.Errorf("%q became %s", text, got)
		}
	}
}
