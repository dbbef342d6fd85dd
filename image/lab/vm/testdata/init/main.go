// Command init is process 1 of the machines in the tests of package vm. It
// makes an active-backup bond of all Ethernet cards, gives it the guest's
// address, takes cards that come later in, and serves what the kernel says of
// the bond on port 80.
package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	fmt.Println("init:", run())
	os.Exit(1)
}

func run() error {
	for _, m := range []struct{ fstype, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		// The kernel may have mounted /dev.
		if err := unix.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := ip("link add bond0 type bond mode active-backup miimon 100"); err != nil {
		return err
	}
	if err := ip("addr add 192.168.1.202/24 dev bond0"); err != nil {
		return err
	}
	if err := enslaveAll(); err != nil {
		return err
	}
	if err := ip("link set bond0 up"); err != nil {
		return err
	}
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			if err := enslaveAll(); err != nil {
				fmt.Println("init:", err)
			}
		}
	}()
	fmt.Println("init: ready")
	return http.ListenAndServe(":80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		state, err := os.ReadFile("/proc/net/bonding/bond0")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(state)
	}))
}

func enslaveAll() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		_, err := os.Stat("/sys/class/net/" + i.Name + "/master")
		if strings.HasPrefix(i.Name, "eth") && err != nil {
			if err := ip("link set " + i.Name + " master bond0"); err != nil {
				return err
			}
			if err := rewriteMAC(i.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// rewriteMAC gives a vmxnet3 card the bond's address once more, now that it is
// up: QEMU's model of it forgets, when the card is brought up, what it was told
// before, and then drops what comes for the bond. The kernel writes an address
// only if it is a new one.
func rewriteMAC(card string) error {
	driver, err := os.Readlink("/sys/class/net/" + card + "/device/driver")
	if err != nil || filepath.Base(driver) != "vmxnet3" {
		return err
	}
	bond, err := net.InterfaceByName("bond0")
	if err != nil {
		return err
	}
	for _, mac := range []string{"02:00:00:00:00:01", bond.HardwareAddr.String()} {
		if err := ip("link set " + card + " address " + mac); err != nil {
			return err
		}
	}
	return nil
}

func ip(args string) error {
	out, err := exec.Command("/bin/ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, out)
	}
	return nil
}
