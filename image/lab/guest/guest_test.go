package guest_test

import (
	"bufio"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bondd.internal/image/lab/guest"
)

func TestMain(m *testing.M) {
	guest.Main(m, guest.Config{
		Programs: []string{"ip"},
		Files:    map[string]string{"/work/fragment.config": "../../kernel/fragment.config"},
	})
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

// The committed vmlinuz is built from the committed fragment: each of its
// lines holds in the configuration that the running kernel carries.
func TestKernelConfig(t *testing.T) {
	f, err := os.Open("/proc/config.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	config := lines(t, bufio.NewScanner(unpacked))
	fragment, err := os.Open("fragment.config")
	if err != nil {
		t.Fatal(err)
	}
	defer fragment.Close()

	checked := 0
	for _, line := range lines(t, bufio.NewScanner(fragment)) {
		// An option that is off may also be absent, because what it depends on
		// is off.
		if option, ok := strings.CutSuffix(line, " is not set"); ok && strings.HasPrefix(line, "# CONFIG_") {
			checked++
			prefix := strings.TrimPrefix(option, "# ") + "="
			if i := slices.IndexFunc(config, func(l string) bool { return strings.HasPrefix(l, prefix) }); i >= 0 {
				t.Errorf("the kernel has %s, which the fragment turns off", config[i])
			}
		} else if strings.HasPrefix(line, "CONFIG_") {
			checked++
			if !slices.Contains(config, line) {
				t.Errorf("the kernel lacks %s", line)
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d options checked: the fragment was not read", checked)
	}
}

func lines(t *testing.T, s *bufio.Scanner) []string {
	t.Helper()
	var lines []string
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// No bond exists that nobody asked for, and a program of the host runs with
// its libraries.
func TestPrograms(t *testing.T) {
	out, err := exec.Command("ip", "-o", "link").CombinedOutput()
	if err != nil {
		t.Fatalf("ip: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "bond0") || !strings.Contains(string(out), "lo: <LOOPBACK,UP") {
		t.Errorf("interfaces of a fresh guest:\n%swant lo, up, and no bond0", out)
	}
}

// What tests leave in Output is sent to the host.
func TestOutput(t *testing.T) {
	if err := os.WriteFile(filepath.Join(guest.Output(), "sample.txt"), []byte("from the guest\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
