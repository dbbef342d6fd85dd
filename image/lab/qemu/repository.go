package qemu

import (
	"fmt"
	"os"
	"path/filepath"
)

// Repository returns the root of the repository that the working directory is
// in: the nearest folder at or above it with a go.mod.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no go.mod at or above %s", dir)
		}
	}
}

// ShippedKernel finds the appliance's kernel in the repository.
func ShippedKernel() (string, error) {
	root, err := Repository()
	if err != nil {
		return "", fmt.Errorf("find the kernel: %w", err)
	}
	kernel := filepath.Join(root, "image", "kernel", "vmlinuz")
	if _, err := os.Stat(kernel); err != nil {
		return "", fmt.Errorf("find the kernel: %w; `make kernel` builds it", err)
	}
	return kernel, nil
}
