package vm_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/initramfs"
	"bondd.internal/image/lab/skip"
	"bondd.internal/image/lab/vm"
)

func TestMain(m *testing.M) {
	if skip.Named(skip.VM) {
		fmt.Println("skipped: vm (BONDD_SKIP)")
		return
	}
	os.Exit(m.Run())
}

// limit is how long any one thing may take on a busy machine. No test depends
// on how long it does take.
const limit = 5 * time.Minute

// answerLimit is how long one answer may take.
const answerLimit = 30 * time.Second

// start boots a machine with two cards of a model, whose process 1 is
// testdata/init, and waits until it is ready.
func start(t *testing.T, cfg vm.Config, model string) *vm.VM {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-o", program, "./testdata/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest's init: %v\n%s", err, out)
	}
	var root initramfs.Archive
	if err := root.AddFile("/init", program); err != nil {
		t.Fatal(err)
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Fatal(err)
	}
	if err := root.AddProgram(t.Context(), "/bin/ip", ip); err != nil {
		t.Fatal(err)
	}
	cfg.Initrd = filepath.Join(dir, "initramfs")
	if err := root.Write(cfg.Initrd); err != nil {
		t.Fatal(err)
	}
	cfg.Kernel = "../../kernel/vmlinuz"
	cfg.Append = "console=ttyS0 quiet bonding.max_bonds=0"
	cfg.NICs = []vm.NIC{{Model: model}, {Model: model}}

	v, err := vm.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Errorf("close the machine: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := v.WaitConsole(ctx, "init: ready"); err != nil {
		t.Fatal(err)
	}
	return v
}

// waitState asks the guest for the state of its bond until it contains all the
// texts and none of those that begin with "!".
func waitState(t *testing.T, client *http.Client, url string, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last string
	for ctx.Err() == nil {
		body, err := get(ctx, client, url)
		if err != nil {
			last = err.Error()
		} else if last = body; !slices.ContainsFunc(texts, func(text string) bool {
			absent, not := strings.CutPrefix(text, "!")
			return strings.Contains(body, absent) == not
		}) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("the guest never had %q; at last:\n%s", texts, last)
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// Cables and cards of every model that notices: out, and back, and the machine
// stays reachable in between.
func TestCables(t *testing.T) {
	for _, model := range []string{"pcnet", "e1000", "rtl8139", "virtio-net-pci", "vmxnet3"} {
		t.Run(model, func(t *testing.T) {
			v := start(t, vm.Config{}, model)
			client := v.HTTPClient(answerLimit)
			const url, eth0, eth1 = "http://guest/", "Currently Active Slave: eth0", "Currently Active Slave: eth1"
			waitState(t, client, url, eth0, "Slave Interface: eth1", "!MII Status: down")
			mac := net.HardwareAddr{0x52, 0x54, 0x00, 0xb0, 0xd0, 0x00}
			if port, _ := v.Switch().Lookup(mac); port != "eth0" {
				t.Errorf("the switch has the bond's address on port %q, want eth0", port)
			}

			if err := v.Unplug(t.Context(), "eth0"); err != nil {
				t.Fatal(err)
			}
			waitState(t, client, url, eth1, "MII Status: down")
			if port, _ := v.Switch().Lookup(mac); port != "eth1" {
				t.Errorf("with eth0 unplugged the switch has the bond's address on port %q, want eth1", port)
			}
			if err := v.Plug(t.Context(), "eth0"); err != nil {
				t.Fatal(err)
			}
			waitState(t, client, url, eth1, "!MII Status: down")

			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if err := v.Remove(ctx, "eth1"); err != nil {
				t.Fatal(err)
			}
			waitState(t, client, url, eth0, "!Slave Interface: eth1")
			if err := v.Insert(ctx, "eth1"); err != nil {
				t.Fatal(err)
			}
			waitState(t, client, url, eth0, "Slave Interface: eth1", "!MII Status: down")
		})
	}
}

// A silent port is no lost link: the kernel's monitor sees nothing, and nothing
// gets through.
func TestSilence(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	v := start(t, vm.Config{Network: vm.Network{Forwards: []vm.Forward{{Listen: address, Port: 80}}}}, "virtio-net-pci")
	client := v.HTTPClient(answerLimit)
	waitState(t, client, "http://guest/", "Currently Active Slave: eth0", "Slave Interface: eth1", "!MII Status: down")
	if err := v.Silence("eth0", true); err != nil {
		t.Fatal(err)
	}
	if body, err := get(t.Context(), v.HTTPClient(2*time.Second), "http://guest/"); err == nil {
		t.Errorf("through a silent port came:\n%s", body)
	}
	if v.Port("eth0").Counters().Dropped == 0 {
		t.Error("the silent port has dropped nothing")
	}
	if err := v.Silence("eth0", false); err != nil {
		t.Fatal(err)
	}
	// The forward from the host leads to the same place.
	waitState(t, &http.Client{Timeout: answerLimit}, "http://"+address+"/", "Currently Active Slave: eth0", "!MII Status: down")

	if err := v.Unplug(t.Context(), "eth7"); err == nil || !strings.Contains(err.Error(), `no card "eth7"; it has eth0, eth1`) {
		t.Errorf("unplugging a card that is not there: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "bondd-vm-*")); len(left) != 0 {
		t.Errorf("after Close there is still %q", left)
	}
}
