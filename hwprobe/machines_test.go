package hwprobe

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the reports on the recorded machines")

// replayMachine reads a recorded machine and judges it.
func replayMachine(t *testing.T, file string, members ...string) (Machine, Report) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, err := ReadArchive(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	m, err := Probe(t.Context(), a.Source())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return m, m.Judge(Policy{}, members)
}

// TestMachines replays the machines in testdata/machines and compares the whole report, as a person reads it, with the
// file beside the archive. What of it matters stands here: the verdict, the cards that may be bonded, and the findings
// that are not good.
func TestMachines(t *testing.T) {
	want := map[string]struct {
		verdict  Verdict
		members  []string
		findings []string // severity, check, row
	}{
		"cwwk-ad4l-n": {VerdictPass, []string{"enp3s0", "enp4s0", "enp5s0"}, []string{
			"info option-rom", "info known-trouble igc-flaps",
		}},
		"dell-r210ii-aqc113": {VerdictWarn, []string{"enp3s0"}, []string{"warn count", "info pcie-errors", "info pcie-errors"}},
		"intel-nuc10":        {VerdictWarn, []string{"eno1"}, []string{"warn count", "info known-trouble e1000e-hang"}},
		"openwrt-mt7622-rtl8125": {VerdictWarn, []string{"eth1", "eth2"}, []string{
			"warn shared-fate", "info option-rom", "info known-trouble rtl8125-aspm",
		}},
		"pcengines-apu4": {VerdictPass, []string{"enp1s0", "enp2s0", "enp3s0", "enp4s0"}, []string{
			"info option-rom", "info known-trouble i211-detach",
		}},
		"prittec-f9-i225": {VerdictWarn, []string{"enp46s0"}, []string{
			"warn count", "warn known-trouble i225-v1", "warn known-trouble i225-v1-eee",
			"info known-trouble igc-detach", "info known-trouble igc-flaps", "warn speed", "warn carrier-flaps",
		}},
		"protectli-vp2420": {VerdictPass, []string{"enp1s0", "enp2s0", "enp3s0", "enp4s0"}, []string{
			"info option-rom", "info known-trouble igc-detach", "info known-trouble i226-l12", "info known-trouble igc-flaps",
		}},
		"raspberry-pi-4-rtl8153": {VerdictFail, []string{"eth0"}, []string{"fail driver", "warn count"}},
		"zimaos-rtl8125":         {VerdictWarn, []string{"eth1"}, []string{"warn count", "info known-trouble rtl8125-aspm", "info speed"}},
	}
	files, err := filepath.Glob("testdata/machines/*.json")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d machines, error %v, want at least 6", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			m, r := replayMachine(t, file)
			w, ok := want[name]
			if !ok {
				t.Fatalf("nobody says what is expected of %s", name)
			}
			if r.Verdict != w.verdict {
				t.Errorf("verdict %s, want %s", r.Verdict, w.verdict)
			}
			if diff := cmp.Diff(w.members, r.Members); diff != "" {
				t.Errorf("members (-want +got):\n%s", diff)
			}
			var findings []string
			for _, f := range r.Findings {
				if f.Severity != SeverityPass {
					findings = append(findings, strings.TrimSpace(string(f.Severity)+" "+f.Check+" "+f.Row))
				}
			}
			if diff := cmp.Diff(w.findings, findings); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}

			var text strings.Builder
			if err := r.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".json") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(b), text.String()); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}

			// Recording the replayed machine gives the same machine.
			again, a, err := Record(t.Context(), mustSource(t, file))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, again); diff != "" {
				t.Errorf("machine while recording (-want +got):\n%s", diff)
			}
			third, err := Probe(t.Context(), a.Source())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, third); diff != "" {
				t.Errorf("machine from its recording (-want +got):\n%s", diff)
			}
		})
	}
}

func mustSource(t *testing.T, file string) Source {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, err := ReadArchive(f)
	if err != nil {
		t.Fatal(err)
	}
	return a.Source()
}
