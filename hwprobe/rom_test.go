package hwprobe

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// romImage is one image of an option ROM, 1 KiB long.
func romImage(kind byte, last bool) []byte {
	b := make([]byte, 1024)
	b[0], b[1], b[0x18] = 0x55, 0xaa, 0x1c
	pcir := b[0x1c:]
	copy(pcir, "PCIR")
	binary.LittleEndian.PutUint16(pcir[0x10:], 2)
	pcir[0x14] = kind
	if last {
		pcir[0x15] = 0x80
	}
	return b
}

func TestROMImages(t *testing.T) {
	noPCIR := romImage(0, true)
	noPCIR[0x1c] = 'X'
	for _, test := range []struct {
		name string
		rom  []byte
		want []string
		err  bool
	}{
		{"empty", nil, nil, false},
		{"bios and efi", append(romImage(0, false), romImage(3, true)...), []string{"bios", "efi"}, false},
		{"something behind the last image", append(romImage(3, true), romImage(0, true)...), []string{"efi"}, false},
		{"the end without a mark", append(romImage(0, false), make([]byte, 512)...), []string{"bios"}, false},
		{"another kind", romImage(9, true), []string{"type 9"}, false},
		{"all ones, as a dead card reads", slices.Repeat([]byte{0xff}, 512), nil, true},
		{"without its structure", noPCIR, nil, true},
		{"torn", romImage(0, true)[:0x30], nil, true},
	} {
		got, err := romImages(test.rom)
		if diff := cmp.Diff(test.want, got); diff != "" || (err != nil) != test.err {
			t.Errorf("%s: error %v (-want +got):\n%s", test.name, err, diff)
		}
	}
}

func FuzzROMImages(f *testing.F) {
	f.Add(append(romImage(0, false), romImage(3, true)...))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = romImages(b) })
}

// TestROMsAreReadOnlyWhereAsked: not without being asked, and not of an interface that is up.
func TestROMsAreReadOnlyWhereAsked(t *testing.T) {
	s := newTree(t)
	var links []Link
	for i, name := range []string{"eth1", "eth2", "eth3"} {
		device, l := s.card(name, i+1)
		s.link("bus/pci/devices/0000:00:0"+name[3:]+".0", device)
		l.Up = name == "eth2"
		links = append(links, l)
	}
	var read []string
	rom := func(_ context.Context, path string) ([]byte, error) {
		read = append(read, path)
		if len(read) > 1 {
			return nil, errors.New("input/output error")
		}
		return romImage(3, true), nil
	}
	nics, err := Inventory(t.Context(), Source{Sys: s.root, Kernel: fakeKernel{links: links}, ROM: rom})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"devices/pci0000:00/0000:00:01.0/rom", "devices/pci0000:00/0000:00:03.0/rom"}
	if diff := cmp.Diff(want, read); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&ROM{Bytes: 1, Images: []string{"efi"}}, nics[0].ROM); diff != "" {
		t.Errorf("ROM of eth1 (-want +got):\n%s", diff)
	}
	for i, unread := range []string{"", "option ROM: not read while the interface is up", "option ROM: input/output error"} {
		if unread != "" && !slices.Contains(nics[i].Unread, unread) {
			t.Errorf("%s has unread %q, want %q", nics[i].Name, nics[i].Unread, unread)
		}
	}
}
