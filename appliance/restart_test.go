package appliance_test

import (
	"context"
	"strings"
	"testing"

	"bondd.internal/image/lab/vm"
)

// What gokrazy's init starts again is the daemon again, although the init says
// only the first time that it is its doing. The kernel kills every program but
// the init, with traffic flowing.
func TestDaemonIsStartedAgain(t *testing.T) {
	t.Parallel()
	m := boot(t, "", with("virtio-net-pci", "virtio-net-pci"))
	m.await("a bond with a leased address", func(st *status) bool {
		return st.whole() && len(st.bond("bond0").Addresses) > 0
	})
	const starts = "bondd starts"
	for n := 2; n <= 3; n++ {
		killAll(t, m.VM)
		m.eventually("bondd started again", func(context.Context) string {
			if strings.Count(m.Console(), starts) < n {
				return "the console does not say so"
			}
			return ""
		})
		m.await("the bond as before", func(st *status) bool {
			return st.whole() && len(st.bond("bond0").Addresses) > 0
		})
		if got := strings.Count(m.Console(), starts); got != n {
			t.Errorf("bondd was started %d times, want %d", got, n)
		}
	}
	m.reachable("after the restarts")
}

// killAll makes the machine's kernel kill every process but the init (SysRq i).
func killAll(t *testing.T, v *vm.VM) {
	t.Helper()
	sysRq(t, v, "i")
}

// endAll makes the machine's kernel ask every process but the init to end (SysRq e).
func endAll(t *testing.T, v *vm.VM) {
	t.Helper()
	sysRq(t, v, "e")
}

func sysRq(t *testing.T, v *vm.VM, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := v.Press(ctx, "alt", "sysrq", key); err != nil {
		t.Fatal(err)
	}
}
