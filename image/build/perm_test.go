package build

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newDisk writes a disk of 16 MiB whose fourth partition begins at 4 MiB, with
// a file system in it, and returns its name.
func newDisk(t *testing.T) string {
	t.Helper()
	// The name is one that a careless command line would break.
	img := filepath.Join(t.TempDir(), "an image.img")
	disk := make([]byte, 16<<20)
	copy(disk[512:], "EFI PART")
	binary.LittleEndian.PutUint64(disk[512+72:], 2)
	binary.LittleEndian.PutUint32(disk[512+84:], 128)
	binary.LittleEndian.PutUint64(disk[1024+3*128+32:], 4<<20/512)
	binary.LittleEndian.PutUint64(disk[1024+3*128+40:], 15<<20/512-1)
	if err := os.WriteFile(img, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := formatPerm(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Partition{Offset: 4 << 20, Size: 11 << 20}); p != want {
		t.Fatalf("/perm is at %+v, want %+v", p, want)
	}
	return img
}

// inPerm runs a command of debugfs on the /perm of img.
func inPerm(t *testing.T, img, command string) string {
	t.Helper()
	out, _, err := e2fs(t.Context(), "", "debugfs", "-R", command, img+"?offset=4194304")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestWritePerm(t *testing.T) {
	img := newDisk(t)
	before, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := WritePerm(img, map[string][]byte{
		"bondd/bondd.toml":  []byte("# first\n"),
		"bondd/history.bin": large,
		"a/b/c/deep":        {},
		"top":               []byte("top\n"),
	}); err != nil {
		t.Fatal(err)
	}
	// The second one replaces a file, and leaves the others and the folder.
	if err := WritePerm(img, map[string][]byte{"bondd/bondd.toml": []byte("# second\n")}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"bondd/bondd.toml":  "# second\n",
		"bondd/history.bin": string(large),
		"a/b/c/deep":        "",
		"top":               "top\n",
	} {
		if got := inPerm(t, img, "cat /"+name); got != want {
			t.Errorf("/perm/%s has %d bytes, want %d", name, len(got), len(want))
		}
	}
	if stat := inPerm(t, img, "stat /bondd/bondd.toml"); !strings.Contains(stat, "Type: regular    Mode:  0644") || !strings.Contains(stat, "User:     0   Group:     0") {
		t.Errorf("stat of the file:\n%s", stat)
	}
	// A secret, over what all could read.
	if err := writePerm(img, map[string]permFile{"top": {content: []byte("secret\n"), mode: 0o600}}); err != nil {
		t.Fatal(err)
	}
	if stat := inPerm(t, img, "stat /top"); !strings.Contains(stat, "Mode:  0600") {
		t.Errorf("stat of the secret:\n%s", stat)
	}
	if got, err := ReadPerm(img, "top"); string(got) != "secret\n" || err != nil {
		t.Errorf("the secret reads %q, %v", got, err)
	}
	for _, name := range []string{"none", "bondd"} {
		if got, err := ReadPerm(img, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("/perm/%s reads %q, %v", name, got, err)
		}
	}
	if got, err := ReadPerm(img, "../etc"); err == nil {
		t.Errorf("a path out of /perm reads %q", got)
	}
	if _, _, err := e2fs(t.Context(), "", "e2fsck", "-f", "-n", img+"?offset=4194304"); err != nil {
		t.Errorf("the file system is damaged: %v", err)
	}
	after, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before) || !bytes.Equal(after[:4<<20], before[:4<<20]) || !bytes.Equal(after[15<<20:], before[15<<20:]) {
		t.Error("the image was changed outside of /perm")
	}
}

func TestWritePermRefuses(t *testing.T) {
	img := newDisk(t)
	for _, name := range []string{"", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "with space", "x\nrm /bondd", `"`} {
		if err := WritePerm(img, map[string][]byte{name: nil}); err == nil || !strings.Contains(err.Error(), "not a plain path below /perm") {
			t.Errorf("name %q: error %v, want one about the path", name, err)
		}
	}
	if err := WritePerm(img, map[string][]byte{"file": nil}); err != nil {
		t.Fatal(err)
	}
	if err := WritePerm(img, map[string][]byte{"file/below": []byte("x")}); err == nil || !strings.Contains(err.Error(), "write /perm/file/below") {
		t.Errorf("a file below a file: error %v, want one that names it", err)
	}
	if _, _, err := e2fs(t.Context(), "", "e2fsck", "-f", "-n", img+"?offset=4194304"); err != nil {
		t.Errorf("the file system is damaged: %v", err)
	}
	if err := WritePerm(img, map[string][]byte{"large": bytes.Repeat([]byte{1}, 20<<20)}); err == nil || !strings.Contains(err.Error(), "write /perm/large") {
		t.Errorf("a file larger than /perm: error %v, want one that names it", err)
	}
}

func TestPermRefuses(t *testing.T) {
	for name, disk := range map[string][]byte{
		"empty":            nil,
		"no table":         make([]byte, 1<<20),
		"no partition":     append(append(make([]byte, 512), "EFI PART"...), make([]byte, 1<<20)...),
		"table out of it":  append(append(make([]byte, 512), "EFI PART"...), bytes.Repeat([]byte{0xff}, 1024)...),
		"cut in the table": append(append(make([]byte, 512), "EFI PART"...), make([]byte, 504)...),
	} {
		if p, err := Perm(bytes.NewReader(disk)); err == nil {
			t.Errorf("%s: /perm is at %+v, want an error", name, p)
		}
	}
}
