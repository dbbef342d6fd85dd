package appliance_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bondd.internal/image/build"
)

// Without a hardware source of random numbers, and without a seed on /perm, the
// kernel has none until someone waits for them; DHCP needs some. An appliance
// whose /perm is lost, or that never had one, gets its address all the same.
func TestNoRandomSource(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, string){
		"perm lost":  zeroPerm,
		"never perm": removePerm,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := with("virtio-net-pci", "virtio-net-pci")
			cfg.NoRandom = true
			cfg.Image = copyImage(t)
			lose(t, cfg.Image)
			m := bootFile(t, cfg)
			m.await("a bond with a leased address", func(st *status) bool {
				return st.whole() && strings.Join(st.bond("bond0").Addresses, " ") == "192.168.1.202/24"
			})
			if console := m.Console(); !strings.Contains(console, "Could not mount permanent storage") {
				t.Errorf("/perm is mounted; the console:\n%s", console)
			}
		})
	}
}

// An image brings a seed for the kernel's random numbers. It is used at boot, and
// the next one is on the disk soon after, where it outlives a power failure.
func TestSeed(t *testing.T) {
	t.Parallel()
	cfg := with("virtio-net-pci", "virtio-net-pci")
	cfg.NoRandom = true
	cfg.Persistent = true
	cfg.Image = copyImage(t)
	seeds := [][]byte{seed(t, cfg.Image)}
	m := bootFile(t, cfg)
	for boot := 1; ; boot++ {
		m.await("a bond with a leased address", (*status).whole)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := m.WaitConsole(ctx, "there is a new seed for the next start")
		cancel()
		if err != nil {
			t.Error(err)
		}
		if console := m.Console(); !strings.Contains(console, "seeding RNG from /perm/random.seed") {
			t.Errorf("boot %d: the seed is not used; the console:\n%s", boot, console)
		}
		if err := m.Close(); err != nil { // as if the power failed
			t.Fatal(err)
		}
		next := seed(t, cfg.Image)
		for i, before := range seeds {
			if bytes.Equal(next, before) {
				t.Errorf("after boot %d the seed is that of after boot %d", boot, i)
			}
		}
		if boot == 2 {
			return
		}
		seeds = append(seeds, next)
		m.start()
	}
}

// seed reads the seed on the /perm of an image.
func seed(t *testing.T, img string) []byte {
	t.Helper()
	s, err := build.ReadPerm(img, "random.seed")
	if err != nil {
		t.Fatal(err)
	}
	if len(s) != 512 || bytes.Count(s, []byte{0}) > 32 {
		t.Errorf("the seed is %x, want 512 random bytes", s)
	}
	return s
}

// zeroPerm overwrites the /perm of an image with zeros.
func zeroPerm(t *testing.T, img string) {
	t.Helper()
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	perm, err := build.Perm(f)
	if err != nil {
		t.Fatal(err)
	}
	const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	if err := unix.Fallocate(int(f.Fd()), punch, perm.Offset, perm.Size); err != nil {
		t.Fatal(err)
	}
}

// removePerm takes the partition for /perm out of an image's partition table
// (UEFI specification, section 5.3), and its copy at the end of the disk.
func removePerm(t *testing.T, img string) {
	t.Helper()
	zeroPerm(t, img)
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func(offset int64, size uint32) []byte {
		b := make([]byte, size)
		if _, err := f.ReadAt(b, offset); err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(offset int64, b []byte) {
		if _, err := f.WriteAt(b, offset); err != nil {
			t.Fatal(err)
		}
	}
	const sector = 512
	le := binary.LittleEndian
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{sector, info.Size() - sector} {
		header := read(at, 92)
		if string(header[:8]) != "EFI PART" {
			t.Fatalf("there is no partition table at %d", at)
		}
		table, entries, size := int64(le.Uint64(header[72:]))*sector, le.Uint32(header[80:]), le.Uint32(header[84:])
		write(table+3*int64(size), make([]byte, size))
		le.PutUint32(header[88:], crc32.ChecksumIEEE(read(table, entries*size)))
		le.PutUint32(header[16:], 0)
		le.PutUint32(header[16:], crc32.ChecksumIEEE(header))
		write(at, header)
	}
	if p, err := build.Perm(f); err == nil {
		t.Fatalf("the partition for /perm is still there: %+v", p)
	}
}
