package kernel_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The notice that accompanies the binary must name the source that build.sh
// builds, whichever version that is.
func TestNoticeNamesTheSource(t *testing.T) {
	env, err := os.ReadFile("source.env")
	if err != nil {
		t.Fatal(err)
	}
	notice, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"KERNEL_PACKAGE", "KERNEL_VERSION", "KERNEL_SHA256", "KERNEL_SUITE"} {
		_, rest, ok := strings.Cut(string(env), "\n"+key+"=")
		if !ok {
			t.Errorf("source.env has no %s", key)
			continue
		}
		value, _, _ := strings.Cut(rest, "\n")
		if !strings.Contains(string(notice), value) {
			t.Errorf("README.md does not name %s=%s", key, value)
		}
	}
}

// The packer replaces exactly this root= by the image's own partition; without
// it the kernel would look for a root file system where there is none.
func TestCommandLine(t *testing.T) {
	b, err := os.ReadFile("cmdline.txt")
	if err != nil {
		t.Fatal(err)
	}
	options := strings.Fields(string(b))
	for _, want := range []string{"root=/dev/sda2", "rootwait", "init=/gokrazy/init", "bonding.max_bonds=0", "panic=10", "quiet"} {
		if !slices.Contains(options, want) {
			t.Errorf("cmdline.txt: %q lacks %q", options, want)
		}
	}
	if strings.Count(string(b), "\n") != 1 {
		t.Errorf("cmdline.txt is not one line: %q", b)
	}
}
