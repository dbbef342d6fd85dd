package vmtest

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// A bond comes up without VLAN 0, and filters VLANs afterwards as before.
func TestOpenBond(t *testing.T) {
	log, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(log)
	if _, err := unix.Seek(log, 0, unix.SEEK_END); err != nil {
		t.Fatal(err)
	}
	told := func() (given bool) {
		buf := make([]byte, 8192)
		for {
			n, err := unix.Read(log, buf)
			if errors.Is(err, unix.EAGAIN) {
				return given
			}
			if err != nil {
				t.Fatal(os.NewSyscallError("read", err))
			}
			given = given || strings.Contains(string(buf[:n]), "adding VLAN 0 to HW filter on device bond0")
		}
	}
	h := newHost(t, 1)
	h.do(state.CreateBond{Name: "bond0", Options: state.Options{"mode": "active-backup", "miimon": "100"}},
		state.Enslave{Slave: "eth0", Bond: "bond0"}, state.OpenBond{Bond: "bond0"})
	if !h.link("bond0").Up || told() {
		t.Error("bond0 is not up, or has VLAN 0")
	}
	// By anybody else's hand it gets VLAN 0, so it claims to filter again.
	h.do(state.SetUp{Link: "bond0"}, state.SetUp{Link: "bond0", Up: true})
	if !told() {
		t.Error("bond0 does not claim to filter VLANs any more")
	}
	if err := h.try(state.OpenBond{Bond: "bond7"}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("of a bond that is not there: %v", err)
	}
}
