package hwprobe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxROM is the most that is read of an option ROM.
const maxROM = 16 << 20

// readROM reads the option ROM of a card. A card may decode its ROM and its registers with one decoder, so that its
// driver must not be using it meanwhile: an interface that is up is left alone.
func (p prober) readROM(ctx context.Context, l Link, n *NIC) {
	if l.Up {
		n.unread("option ROM: not read while the interface is up")
		return
	}
	dir := p.sys.resolve("bus/pci/devices/" + n.Address)
	if dir == "" {
		return
	}
	content, err := bounded(ctx, nicTimeout, func(ctx context.Context) ([]byte, error) { return p.rom(ctx, dir+"/rom") })
	if err != nil {
		n.unread("option ROM: " + err.Error())
		return
	}
	if n.ROM.Images, err = romImages(content); err != nil {
		n.unread("option ROM: " + err.Error())
	}
}

// ROMReader returns a Source.ROM for a mounted sysfs ("/sys" if empty). It needs root, and it is not without risk: the
// kernel switches the card's ROM on for the time of the reading, and off again.
func ROMReader(sys string) func(ctx context.Context, path string) ([]byte, error) {
	if sys == "" {
		sys = "/sys"
	}
	return func(_ context.Context, path string) (content []byte, err error) {
		f, err := os.OpenFile(filepath.Join(sys, path), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if _, err := f.WriteAt([]byte("1"), 0); err != nil {
			return nil, fmt.Errorf("switch the ROM on: %w", err)
		}
		defer func() {
			_, off := f.WriteAt([]byte("0"), 0)
			err = errors.Join(err, off)
		}()
		return io.ReadAll(io.NewSectionReader(f, 0, maxROM))
	}
}

// romImages lists the kinds of the images in an option ROM (PCI Firmware Specification, chapter 5): each begins with
// 55 AA and points to a structure "PCIR" that tells its kind and its length.
func romImages(rom []byte) ([]string, error) {
	kinds := map[byte]string{0: "bios", 1: "open-firmware", 2: "hp-pa-risc", 3: "efi"}
	var images []string
	for at := 0; at < len(rom); {
		image := rom[at:]
		if len(image) < 0x1a || image[0] != 0x55 || image[1] != 0xaa {
			if at == 0 {
				return nil, errors.New("it does not begin with 55 AA, as an option ROM does")
			}
			return images, nil // what follows the last image is no ROM
		}
		data := int(binary.LittleEndian.Uint16(image[0x18:]))
		if data+0x16 > len(image) || string(image[data:data+4]) != "PCIR" {
			return images, errors.New("an image has no PCI data structure")
		}
		kind, ok := kinds[image[data+0x14]]
		if !ok {
			kind = fmt.Sprintf("type %d", image[data+0x14])
		}
		images = append(images, kind)
		length := int(binary.LittleEndian.Uint16(image[data+0x10:])) * 512
		if last := image[data+0x15]&0x80 != 0; last || length == 0 {
			return images, nil
		}
		at += length
	}
	return images, nil
}
