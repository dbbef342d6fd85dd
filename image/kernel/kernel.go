// Package kernel holds the Linux kernel of the appliance in the form that
// gokrazy's packer expects of a kernel package: vmlinuz, and cmdline.txt with
// its command line. config.txt stays empty; the packer demands the file, and
// only a Raspberry Pi reads it. README.md says where vmlinuz comes from.
//
// The package has no code. It exists so that a Go import path names the folder.
package kernel
