package guest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bondd.internal/image/guest"
)

func TestMain(m *testing.M) {
	guest.Main(m, guest.Config{Programs: []string{"ip"}})
}

// The tests run under the appliance's kernel, not the host's.
func TestVersion(t *testing.T) {
	version, err := os.ReadFile("/proc/version")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(version), "-bondd ") {
		t.Errorf("/proc/version is %q, want the appliance's kernel", version)
	}
}

func TestOutput(t *testing.T) {
	if err := os.WriteFile(filepath.Join(guest.Output(), "sample.txt"), []byte("from the guest\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
