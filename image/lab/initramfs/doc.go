// Package initramfs packs the root file system of a virtual machine that boots
// a kernel directly: files of the host, and programs of the host with the
// shared libraries they need, as an archive that the kernel unpacks.
package initramfs
