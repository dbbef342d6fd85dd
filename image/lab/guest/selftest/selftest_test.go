package selftest_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bondd.internal/image/lab/skip"
)

// fixture builds the test binary of testdata/fixture.
func fixture(t *testing.T) string {
	t.Helper()
	skip.If(t, skip.VM)
	binary := filepath.Join(t.TempDir(), "fixture.test")
	if out, err := exec.Command("go", "test", "-c", "-o", binary, "./testdata/fixture").CombinedOutput(); err != nil {
		t.Fatalf("build the fixture: %v\n%s", err, out)
	}
	return binary
}

// run runs the binary as `go test` does and returns output and exit status.
func run(t *testing.T, binary string, env []string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = "testdata/fixture"
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestOutcomes(t *testing.T) {
	binary := fixture(t)
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   []string
	}{
		{"pass", []string{"-test.run=TestPass", "-test.v"}, 0,
			[]string{"--- PASS: TestPass", "slept 1h0m0s", `BONDD_SELFTEST is "set", PRIVATE is ""`, "PASS\n"}},
		{"fail", []string{"-test.run=TestFail", "-test.v=test2json"}, 1,
			[]string{"\x16=== RUN   TestFail\n", "on purpose", "\x16--- FAIL: TestFail"}},
		{"timeout in the guest's time", []string{"-test.run=TestPass", "-test.timeout=10m"}, 2,
			[]string{"panic: test timed out after 10m0s", "goroutine "}},
		{"panic of the kernel", []string{"-test.run=TestPanicOfTheKernel"}, 2,
			[]string{"the guest ended without an exit status", "Kernel panic - not syncing: sysrq triggered crash"}},
		{"hang", []string{"-test.run=TestHang", "-test.timeout=0"}, 2,
			[]string{"ran longer than 10s in real time and was killed"}},
		{"skip", []string{"-test.run=TestFail"}, 0, []string{"skipped: vm (BONDD_SKIP)\n"}},
		{"list", []string{"-test.list=Fail"}, 0, []string{"TestFail\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := []string{"BONDD_SELFTEST=set", "PRIVATE=set"}
			if tt.name == "skip" {
				env = append(env, "BONDD_SKIP=browser,vm")
			}
			if tt.name == "hang" {
				env = append(env, "FIXTURE_LIMIT=10s")
			}
			out, status := run(t, binary, env, tt.args...)
			if status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("the output lacks %q", want)
				}
			}
			if t.Failed() {
				t.Logf("output:\n%s", out)
			}
		})
	}
}

// The same binary measures the same durations, to the nanosecond.
func TestDeterminism(t *testing.T) {
	binary := fixture(t)
	var took []string
	for range 2 {
		dir := t.TempDir()
		if out, status := run(t, binary, []string{"BONDD_GUEST_OUTPUT=" + dir}, "-test.run=TestMeasure"); status != 0 {
			t.Fatalf("exit status %d:\n%s", status, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, "took"))
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, string(data))
	}
	if took[0] != took[1] {
		t.Errorf("two runs took %s and %s ns", took[0], took[1])
	}
}
