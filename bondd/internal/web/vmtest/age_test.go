package vmtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A machine without a battery for its clock is set by years when it first hears
// of the time. That makes no snapshot old, nor an old one young.
func TestClockIsSet(t *testing.T) {
	d := start(t)
	for _, step := range []time.Duration{56 * 365 * 24 * time.Hour, -time.Hour, -56 * 365 * 24 * time.Hour, time.Hour} {
		if err := setClock(step); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if ok, firstError := d.health(); !ok {
				t.Errorf("the clock was set by %v: %q", step, firstError)
			}
			if age := d.age(); age > 2 {
				t.Errorf("the clock was set by %v: the snapshot is %v seconds old", step, age)
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
}

// setClock sets the machine's clock forward or back.
func setClock(by time.Duration) error {
	at := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	return os.NewSyscallError("clock_settime", unix.ClockSettime(unix.CLOCK_REALTIME, &at))
}

// While somebody holds the kernel's lock over the network configuration, bondd
// can neither look nor act, and nor can the bonding driver. For some seconds that
// is usual; after that it is no longer known how the bond is.
func TestKernelLockHeld(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hold  time.Duration
		known bool // all the time
	}{
		{"for 3 seconds", 3 * time.Second, true},
		{"for 8 seconds", 8 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t)
			release := holdLock(t, tt.hold > 4*time.Second)
			var oldest float64
			var errors []string
			for began := time.Now(); time.Since(began) < tt.hold; time.Sleep(300 * time.Millisecond) {
				oldest = max(oldest, d.age())
				if ok, firstError := d.health(); !ok {
					errors = append(errors, firstError)
				}
			}
			release()
			t.Logf("the oldest snapshot was %.2f seconds old; %d errors", oldest, len(errors))
			if oldest < tt.hold.Seconds()-1 {
				t.Errorf("the oldest snapshot was %v seconds old: the lock was not held", oldest)
			}
			if tt.known && len(errors) > 0 {
				t.Errorf("bondd called itself dead too early: %q", errors)
			}
			if !tt.known && len(errors) == 0 {
				t.Error("bondd was healthy all the time")
			}
			for _, e := range errors {
				if !strings.Contains(e, "has published nothing for ") {
					t.Errorf("healthz says %q", e)
				}
			}
			d.eventually("healthy bond", func() bool {
				ok, _ := d.health()
				return ok
			})
		})
	}
}

// holdVar has the test binary hold the lock by the card that it names, with ":"
// and a word after it: "long" for 8 seconds, "short" for 4. What has to be killed
// must be a process of its own.
const holdVar = "VMTEST_HOLD"

// holdLock has a process hold the kernel's RTNL lock until it is released.
func holdLock(t *testing.T, long bool) (release func()) {
	t.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	for _, i := range interfaces {
		if i.HardwareAddr.String() == card {
			name = i.Name
		}
	}
	if name == "" {
		t.Fatalf("there is no card %s among %v", card, interfaces)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	word := "short"
	if long {
		word = "long"
	}
	cmd.Env = append(os.Environ(), holdVar+"="+name+":"+word)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it is about to
		t.Fatalf("hold the lock: %v", err)
	}
	return func() {
		if err := cmd.Process.Kill(); err != nil && cmd.ProcessState == nil {
			t.Logf("end the process that holds the lock: %v", err) // it has ended
		}
		_ = cmd.Wait() // it was killed
	}
}

// hold has the driver e1000 test its card, for which ethtool's request holds the
// lock. It waits for 4 seconds at the end, and for as long before that where the
// card negotiates (e1000_diag_test and e1000_link_test,
// drivers/net/ethernet/intel/e1000/e1000_ethtool.c).
func hold(what string) int {
	name, word, _ := strings.Cut(what, ":")
	settings := struct {
		cmd, supported, advertising                                 uint32
		speed                                                       uint16
		duplex, port, phyAddress, transceiver, autoneg, mdioSupport uint8
		maxTx, maxRx                                                uint32
		speedHigh                                                   uint16
		mdix, mdixControl                                           uint8
		lpAdvertising, reserved0, reserved1                         uint32
	}{cmd: unix.ETHTOOL_SSET, speed: 100, duplex: 1, advertising: 0xf}
	if word == "long" {
		settings.autoneg, settings.speed, settings.advertising = 1, 1000, 0x2f
	}
	test := struct {
		cmd, flags, reserved, length uint32
		data                         [32]uint64
	}{cmd: unix.ETHTOOL_TEST}
	err := ethtool(name, unsafe.Pointer(&settings))
	if err == nil {
		fmt.Print("x")
		err = ethtool(name, unsafe.Pointer(&test))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "hold the lock by %s: %v\n", what, err)
		return 1
	}
	return 0
}

// ethtool sends a request of the old kind.
func ethtool(name string, request unsafe.Pointer) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ifreq := struct {
		name    [unix.IFNAMSIZ]byte
		request unsafe.Pointer
		_       [16]byte
	}{request: request}
	copy(ifreq.name[:], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq)))
	runtime.KeepAlive(request)
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
