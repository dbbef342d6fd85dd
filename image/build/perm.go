package build

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Partition is a part of a disk or of its image, in bytes.
type Partition struct {
	Offset, Size int64
}

const (
	// sectorSize is the only size of a sector that gokrazy's packer writes.
	sectorSize = 512
	// permIndex is the place of /perm among the four partitions of the packer:
	// boot, two root file systems, /perm.
	permIndex = 3
)

// Perm returns where /perm is on a disk that begins as r does. The error says
// when that is no disk of an appliance.
//
// The layout of the partition table is in the UEFI specification, section 5.3.
func Perm(r io.ReaderAt) (Partition, error) {
	var header [sectorSize]byte
	if _, err := r.ReadAt(header[:], sectorSize); err != nil {
		return Partition{}, fmt.Errorf("read partition table: %w", err)
	}
	if string(header[:8]) != "EFI PART" {
		return Partition{}, errors.New("read partition table: there is none: not an image of the appliance")
	}
	table := int64(binary.LittleEndian.Uint64(header[72:]))
	entrySize := int64(binary.LittleEndian.Uint32(header[84:]))
	var entry [128]byte
	if _, err := r.ReadAt(entry[:], table*sectorSize+permIndex*entrySize); err != nil {
		return Partition{}, fmt.Errorf("read partition table: %w", err)
	}
	first := int64(binary.LittleEndian.Uint64(entry[32:]))
	last := int64(binary.LittleEndian.Uint64(entry[40:]))
	if first == 0 || last <= first {
		return Partition{}, errors.New("read partition table: no partition for /perm: not an image of the appliance")
	}
	return Partition{Offset: first * sectorSize, Size: (last - first + 1) * sectorSize}, nil
}

// permOf returns where /perm is in the image file img.
func permOf(img string) (Partition, error) {
	f, err := os.Open(img)
	if err != nil {
		return Partition{}, fmt.Errorf("open image: %w", err)
	}
	defer f.Close()
	p, err := Perm(f)
	if err != nil {
		return Partition{}, fmt.Errorf("%s: %w", img, err)
	}
	return p, nil
}

// formatPerm makes an empty ext4 file system on the /perm of img. All of it is
// initialized now, so that the kernel has nothing left to do at the first boot.
func formatPerm(ctx context.Context, img string) (Partition, error) {
	p, err := permOf(img)
	if err != nil {
		return Partition{}, err
	}
	_, _, err = e2fs(ctx, "", "mkfs.ext4", "-q", "-F", "-L", "perm", "-m", "0",
		"-E", fmt.Sprintf("offset=%d,nodiscard,lazy_itable_init=0,lazy_journal_init=0", p.Offset),
		img, fmt.Sprintf("%dk", p.Size/1024))
	if err != nil {
		return Partition{}, fmt.Errorf("format /perm: %w", err)
	}
	return p, nil
}

// permName is what a name of a file on /perm may consist of: what debugfs reads
// as one word.
var permName = regexp.MustCompile(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$`)

func plainName(name string) bool {
	return permName.MatchString(name) && path.Clean(name) == name && !strings.HasPrefix(name, "../")
}

// A permFile is a file for /perm. It belongs to root.
type permFile struct {
	content []byte
	mode    fs.FileMode // permissions only
}

// WritePerm puts files onto the /perm of the image img, in place of what is
// there under the same names; the folders they need are made. The keys are
// paths below /perm, such as "bondd/bondd.toml". Files belong to root and can be
// read by all.
//
// The image must not be running. It may have been running and have been
// switched off: the file system's journal is replayed first. It takes well under
// a second and no privileges, so a test can copy an image and give the copy a
// configuration.
func WritePerm(img string, files map[string][]byte) error {
	readable := make(map[string]permFile)
	for name, content := range files {
		readable[name] = permFile{content: content, mode: 0o644}
	}
	return writePerm(img, readable)
}

func writePerm(img string, files map[string]permFile) error {
	ctx := context.Background()
	p, err := permOf(img)
	if err != nil {
		return err
	}
	if img, err = filepath.Abs(img); err != nil {
		return fmt.Errorf("find image: %w", err)
	}
	device := fmt.Sprintf("%s?offset=%d", img, p.Offset)

	dir, err := os.MkdirTemp("", "bondd-perm-")
	if err != nil {
		return fmt.Errorf("write to /perm: %w", err)
	}
	defer os.RemoveAll(dir)

	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		if !plainName(name) {
			return fmt.Errorf("write %q to /perm: the name is not a plain path below /perm", name)
		}
	}

	// e2fsck exits 1 when there was something to repair and it did.
	var exit *exec.ExitError
	if _, _, err := e2fs(ctx, dir, "e2fsck", "-p", device); err != nil &&
		(!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return fmt.Errorf("check /perm: %w", err)
	}

	var script strings.Builder
	seen := map[string]bool{}
	for i, name := range names {
		for j, c := range name {
			parent := name[:j]
			if c != '/' || seen[parent] {
				continue
			}
			seen[parent] = true
			stat, _, err := e2fs(ctx, dir, "debugfs", "-R", "stat /"+parent, device)
			if err != nil {
				return fmt.Errorf("write to /perm: %w", err)
			}
			// debugfs must not be asked to make what exists: it would leave a
			// folder that no other leads to.
			switch {
			case bytes.Contains(stat, []byte("Type: directory")):
			case bytes.Contains(stat, []byte("Type: ")):
				return fmt.Errorf("write /perm/%s: /perm/%s is not a folder", name, parent)
			default:
				fmt.Fprintf(&script, "mkdir /%s\n", parent)
			}
		}
		source := fmt.Sprintf("file%d", i)
		if err := os.WriteFile(filepath.Join(dir, source), files[name].content, 0o600); err != nil {
			return fmt.Errorf("write to /perm: %w", err)
		}
		fmt.Fprintf(&script, "rm /%s\nwrite %s /%s\n", name, source, name)
		fmt.Fprintf(&script, "set_inode_field /%s mode 0100%03o\n", name, files[name].mode)
	}
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script.String()), 0o644); err != nil {
		return fmt.Errorf("write to /perm: %w", err)
	}

	_, messages, err := e2fs(ctx, dir, "debugfs", "-w", "-f", "script", device)
	if err != nil {
		return fmt.Errorf("write to /perm: %w", err)
	}
	// debugfs exits 0 after an error too, and it is one that a file to be replaced
	// was not there: only reading back tells.
	for _, name := range names {
		got, _, err := e2fs(ctx, dir, "debugfs", "-R", "cat /"+name, device)
		if err != nil {
			return fmt.Errorf("read back /perm/%s: %w", name, err)
		}
		if !bytes.Equal(got, files[name].content) {
			return fmt.Errorf("write /perm/%s: it does not read back as written; debugfs said:\n%s", name, messages)
		}
	}
	return nil
}

// ReadPerm returns the content of a file on the /perm of the image img, by the
// same name as in WritePerm. What a machine had not yet written when it was
// switched off is not there.
func ReadPerm(img, name string) ([]byte, error) {
	p, err := permOf(img)
	if err != nil {
		return nil, err
	}
	if !plainName(name) {
		return nil, fmt.Errorf("read %q from /perm: the name is not a plain path below /perm", name)
	}
	ctx := context.Background()
	device := fmt.Sprintf("%s?offset=%d", img, p.Offset)
	stat, _, err := e2fs(ctx, "", "debugfs", "-R", "stat /"+name, device)
	if err != nil {
		return nil, fmt.Errorf("read /perm/%s: %w", name, err)
	}
	if !bytes.Contains(stat, []byte("Type: regular")) {
		return nil, fmt.Errorf("read /perm/%s: %w", name, fs.ErrNotExist)
	}
	content, _, err := e2fs(ctx, "", "debugfs", "-R", "cat /"+name, device)
	if err != nil {
		return nil, fmt.Errorf("read /perm/%s: %w", name, err)
	}
	return content, nil
}
