// Package skip says which kinds of test the environment leaves out. A test that
// cannot run fails; only BONDD_SKIP, a list such as "vm,browser,prometheus",
// makes it skip, so that nothing is left out without somebody having said so.
package skip

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The kinds of test that need more than Go.
const (
	VM         = "vm"         // QEMU
	Browser    = "browser"    // Chromium
	Prometheus = "prometheus" // Prometheus and promtool
)

// Named reports whether BONDD_SKIP names this kind.
func Named(kind string) bool {
	return slices.Contains(strings.Split(os.Getenv("BONDD_SKIP"), ","), kind)
}

// If skips the test if BONDD_SKIP names one of these kinds.
func If(t testing.TB, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		if Named(kind) {
			t.Skipf("BONDD_SKIP names %s", kind)
		}
	}
}
