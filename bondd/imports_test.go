package main

import (
	"encoding/json"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "bondd.internal/"

// rooms says what each package may import of this module, see
// docs/architecture.md. What a package imports for its tests is free.
var rooms = map[string][]string{
	"config":         {"config/bonding"},
	"config/bonding": nil,
	"hwprobe":        nil,

	"bondd/internal/state":            {"config/bonding", "hwprobe"},
	"bondd/internal/statefile":        nil,
	"bondd/internal/failover":         {"config/bonding", "bondd/internal/state"},
	"bondd/internal/reconcile":        {"config", "config/bonding", "bondd/internal/state"},
	"bondd/internal/kernel":           {"config/bonding", "bondd/internal/state"},
	"bondd/internal/neighbour":        {"bondd/internal/state"},
	"bondd/internal/pathcheck":        {"bondd/internal/neighbour", "bondd/internal/state"},
	"bondd/internal/address":          {"bondd/internal/reconcile", "bondd/internal/state"},
	"bondd/internal/engine/core":      {"config", "config/bonding", "hwprobe", "bondd/internal/failover", "bondd/internal/reconcile", "bondd/internal/report", "bondd/internal/state"},
	"bondd/internal/engine/simulator": {"config", "config/bonding", "hwprobe", "bondd/internal/engine/core", "bondd/internal/reconcile", "bondd/internal/state"},
	"bondd/internal/engine": {"config", "config/bonding", "hwprobe", "bondd/internal/address", "bondd/internal/engine/core",
		"bondd/internal/kernel", "bondd/internal/pathcheck", "bondd/internal/reconcile", "bondd/internal/state"},
	"bondd/internal/history": {"bondd/internal/state", "bondd/internal/statefile"},

	"bondd/internal/report":     {"config/bonding", "hwprobe", "bondd/internal/state"},
	"bondd/internal/metrics":    {"hwprobe", "bondd/internal/state"},
	"bondd/internal/client":     {"bondd/internal/report"},
	"bondd/internal/statustext": {"hwprobe", "bondd/internal/client", "bondd/internal/report", "bondd/internal/state"},
	"bondd/internal/drill":      {"bondd/internal/neighbour", "bondd/internal/report", "bondd/internal/state"},
	"bondd/internal/web":        {"bondd/internal/drill", "bondd/internal/report", "bondd/internal/state"},
}

// banned are packages that no part of the daemon may import.
var banned = []string{"os/exec", "unsafe", "plugin"}

// The direction of flow is in the imports: nothing decides that does I/O, and
// nothing that shows the state can reach the kernel or the engine.
func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "../...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(name, "image") || strings.HasPrefix(name, "appliance") {
			continue
		}
		allowed, closed := rooms[name]
		if closed {
			seen++
		}
		for _, i := range p.Imports {
			own, internal := strings.CutPrefix(i, module)
			switch {
			case slices.Contains(banned, i) && !(i == "unsafe" && usesIoctl[name]):
				t.Errorf("%s imports %s", name, i)
			case internal && closed && !slices.Contains(allowed, own):
				t.Errorf("%s imports %s, which it may not: %s", name, own, strings.Join(allowed, ", "))
			case own == "bondd/internal/web/fixture":
				t.Errorf("%s imports %s, which is for tests", name, own)
			case internal && !closed && name != "bondd" && reaches(own):
				t.Errorf("%s imports %s: what shows the state reads the snapshot", name, own)
			}
		}
	}
	if seen != len(rooms) {
		t.Errorf("%d packages have rules, %d of them are there", len(rooms), seen)
	}
}

// Tests that run in a guest are in a package of one name, so that who looks for
// them, or wants to leave them out, knows where they are. The measurements have
// their own, and the lab's packages test themselves.
func TestVMTestNames(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,TestImports,XTestImports", "../...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath                string
			TestImports, XTestImports []string
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		if !slices.Contains(slices.Concat(p.TestImports, p.XTestImports), module+"image/lab/guest") {
			continue
		}
		seen++
		if path.Base(name) != "vmtest" && name != "bondd/internal/bench" && !strings.HasPrefix(name, "image/lab/") {
			t.Errorf("the tests of %s run in a guest: they belong in %s/vmtest", name, name)
		}
	}
	if seen == 0 {
		t.Error("no package has tests that run in a guest")
	}
}

// usesIoctl are the packages that pass structs to ioctl(2).
var usesIoctl = map[string]bool{"hwprobe": true, "bondd/internal/kernel": true, "bondd/internal/pathcheck": true}

// reaches reports whether a package does I/O or owns state.
func reaches(name string) bool {
	switch name {
	case "bondd/internal/kernel", "bondd/internal/engine", "bondd/internal/engine/core", "bondd/internal/pathcheck", "bondd/internal/address":
		return true
	}
	return false
}
