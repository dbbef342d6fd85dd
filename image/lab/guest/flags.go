package guest

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// profileDir is where, in the guest, the test binary writes what its flags
// name on the host.
const profileDir = "/run/guest/profile"

// fileFlags are the flags of a test binary that name a file or a folder for it
// to write.
var fileFlags = []string{
	"blockprofile", "coverprofile", "cpuprofile", "gocoverdir",
	"memprofile", "mutexprofile", "trace",
}

// droppedFlags are the flags that have no meaning in the guest: the test log
// lists the files a test has read so that `go test` can cache its result, and
// what is read in the guest is not on the host; the fuzzing cache is the
// host's.
var droppedFlags = []string{"fuzzcachedir", "outputdir", "testlogfile"}

// boolFlags are the flags that do not take the next argument as their value.
var boolFlags = []string{"artifacts", "benchmem", "failfast", "fullpath", "paniconexit0", "short", "v"}

// guestArgs translates the test binary's arguments for the guest. The second
// result maps a path in the guest to the absolute path on the host where the
// file, or the folder's content, is to end up.
func guestArgs(args []string, cwd string) ([]string, map[string]string) {
	outputDir := cwd
	for i := 0; i < len(args); i++ {
		name, value, n := testFlag(args[i:])
		if name == "outputdir" && value != "" {
			outputDir = absolute(cwd, value)
		}
		if name == "" && (args[i] == "--" || !strings.HasPrefix(args[i], "-")) {
			break
		}
		i += n - 1
	}

	var translated []string
	back := make(map[string]string)
	for i := 0; i < len(args); i++ {
		name, value, n := testFlag(args[i:])
		switch {
		case slices.Contains(droppedFlags, name):
		case slices.Contains(fileFlags, name):
			if value != "" {
				in := path.Join(profileDir, name)
				back[in] = absolute(outputDir, value)
				translated = append(translated, "-test."+name+"="+in)
			}
		case name == "" && (args[i] == "--" || !strings.HasPrefix(args[i], "-")):
			// The flag package stops here; so do we.
			return append(translated, args[i:]...), back
		default:
			translated = append(translated, args[i:i+n]...)
		}
		i += n - 1
	}
	return translated, back
}

// listsOnly reports whether the arguments ask for the tests' names alone,
// which needs no guest.
func listsOnly(args []string) bool {
	for len(args) > 0 {
		name, value, n := testFlag(args)
		if name == "list" && value != "" {
			return true
		}
		if name == "" && !strings.HasPrefix(args[0], "-") {
			return false
		}
		args = args[n:]
	}
	return false
}

// testFlag splits the first of args if it is a flag -test.NAME. It returns the
// name without its prefix, the value, and how many arguments they take. The
// name is empty for every other argument.
func testFlag(args []string) (name, value string, n int) {
	flag := strings.TrimPrefix(args[0], "-")
	flag = strings.TrimPrefix(flag, "-")
	flag, ok := strings.CutPrefix(flag, "test.")
	if !ok || !strings.HasPrefix(args[0], "-") {
		return "", "", 1
	}
	name, value, ok = strings.Cut(flag, "=")
	if !ok && len(args) > 1 && !slices.Contains(boolFlags, name) {
		return name, args[1], 2
	}
	return name, value, 1
}

func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
