// Package build makes the appliance's disk image: it runs gokrazy's packer on
// the instance in appliance/gokrazy, gives the image the administrator's password
// and a certificate of its own, and formats the partition that is mounted at
// /perm, with a seed for random numbers. It keeps what an image was built with
// beside it.
//
// It stands between the instance and everything that boots the result: the
// virtual machine of `make run`, the tests of the whole image, and a real disk.
// It needs no root: the image is an ordinary file, never a mounted one.
package build
