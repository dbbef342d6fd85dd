package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// system is where a machine shows its disks: /dev, /sys and /proc.
type system struct {
	dev, sys, proc string
}

// disk is a whole disk as the kernel describes it.
type disk struct {
	path string // its device file
	name string // the kernel's name: sdb, nvme0n1
	// model is what the disk says it is, "unknown" if it says nothing.
	model string
	// size is in bytes, and so is sector, the size of the units it is addressed by.
	size, sector int64
	readOnly     bool
	// uses says what the disk or a part of it is in use for, one sentence each.
	uses []string
}

// inspect describes the disk that path names, directly or by a symbolic link such
// as those in /dev/disk/by-id. It is an error if that is not a whole disk.
func (s system) inspect(path string) (*disk, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist", path)
	} else if err != nil {
		return nil, fmt.Errorf("find disk: %w", err)
	}
	name, err := filepath.Rel(s.dev, real)
	if err != nil || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%s is not a disk: disks are in %s", path, s.dev)
	}
	dir := filepath.Join(s.sys, "class/block", name)
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("%s is not a disk", path)
	}
	if partition, err := exists(filepath.Join(dir, "partition")); err != nil {
		return nil, err
	} else if partition {
		return nil, fmt.Errorf("%s is a partition: name the whole disk", path)
	}
	if device, err := exists(filepath.Join(dir, "device")); err != nil {
		return nil, err
	} else if !device {
		return nil, fmt.Errorf("%s is not a disk but something made of other disks or files", path)
	}

	d := &disk{path: real, name: name, model: model(dir)}
	sectors, err := number(dir, "size")
	if err != nil {
		return nil, err
	}
	// The kernel counts in 512 bytes here whatever the disk does.
	d.size = sectors * 512
	if d.sector, err = number(dir, "queue/logical_block_size"); err != nil {
		return nil, err
	}
	ro, err := number(dir, "ro")
	if err != nil {
		return nil, err
	}
	d.readOnly = ro != 0
	if d.uses, err = s.uses(dir, name); err != nil {
		return nil, err
	}
	return d, nil
}

// accepts returns why an image of so many bytes cannot be written to d, or nil.
func (d *disk) accepts(size int64) error {
	switch {
	case len(d.uses) > 0:
		return fmt.Errorf("%s (%s) is in use: %s", d.path, d.model, strings.Join(d.uses, "; "))
	case d.readOnly:
		return fmt.Errorf("%s (%s) is write-protected", d.path, d.model)
	case d.size == 0:
		return fmt.Errorf("%s (%s) has no medium in it", d.path, d.model)
	case d.sector != 512:
		return fmt.Errorf(
			"%s (%s) has sectors of %d bytes: the image boots only from disks with sectors of 512 bytes",
			d.path,
			d.model,
			d.sector,
		)
	case d.size < size:
		return fmt.Errorf(
			"%s (%s) is too small: it has %s, the image %s",
			d.path,
			d.model,
			gigabytes(d.size),
			gigabytes(size),
		)
	}
	return nil
}

// uses lists what the disk in the sysfs folder dir and its partitions are in use
// for: mounted, swap, or part of another device.
func (s system) uses(dir, name string) ([]string, error) {
	mounts, err := os.ReadFile(filepath.Join(s.proc, "self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	swaps, err := os.ReadFile(filepath.Join(s.proc, "swaps"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read swaps: %w", err)
	}
	parts := map[string]string{name: dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read partitions: %w", err)
	}
	names := []string{name}
	for _, e := range entries {
		sub := filepath.Join(dir, e.Name())
		if partition, err := exists(filepath.Join(sub, "partition")); err != nil {
			return nil, err
		} else if partition {
			parts[e.Name()] = sub
			names = append(names, e.Name())
		}
	}

	var uses []string
	for _, part := range names {
		number, err := os.ReadFile(filepath.Join(parts[part], "dev"))
		if err != nil {
			return nil, fmt.Errorf("read device number: %w", err)
		}
		device := filepath.Join(s.dev, part)
		for line := range strings.Lines(string(mounts)) {
			// A file system that spans disks has a number of its own, and names
			// one of its disks as its source: proc(5), /proc/pid/mountinfo.
			mount, source, _ := strings.Cut(line, " - ")
			m, f := strings.Fields(mount), strings.Fields(source)
			if len(m) > 4 && (m[2] == strings.TrimSpace(string(number)) || len(f) > 1 && f[1] == device) {
				uses = append(uses, fmt.Sprintf("%s is mounted on %s", part, m[4]))
			}
		}
		for line := range strings.Lines(string(swaps)) {
			if f := strings.Fields(line); len(f) > 0 && f[0] == device {
				uses = append(uses, part+" is swap space")
			}
		}
		holders, err := os.ReadDir(filepath.Join(parts[part], "holders"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read holders: %w", err)
		}
		for _, h := range holders {
			uses = append(uses, fmt.Sprintf("%s is part of %s", part, h.Name()))
		}
	}
	return uses, nil
}

// model returns what the disk in the sysfs folder dir calls itself. SCSI, SATA
// and USB disks have vendor and model, NVMe a model, and cards a name.
func model(dir string) string {
	var words []string
	for _, file := range []string{"device/vendor", "device/model", "device/name"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		// A vendor in hexadecimal is a PCI identifier and tells a person nothing.
		if text := strings.Join(strings.Fields(string(b)), " "); err == nil && text != "" &&
			!strings.HasPrefix(text, "0x") {
			words = append(words, text)
		}
	}
	if len(words) == 0 {
		return "unknown"
	}
	return strings.Join(words, " ")
}

// number reads a file of sysfs that holds a decimal number.
func number(dir, file string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, fmt.Errorf("inspect disk: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("inspect disk: %s: %w", file, err)
	}
	return n, nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("inspect disk: %w", err)
	}
	return true, nil
}
