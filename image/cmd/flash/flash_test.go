package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/build"
)

// machine makes a system with one disk, sdx of 64 MiB with the partition sdx1,
// whose device file is a regular file, and an image of 8 MiB and a little.
// change alters the machine: file names below its root, with their contents.
func machine(t *testing.T, change map[string]string) (s system, disk, image string) {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"dev/sdx":                  strings.Repeat("old", 16<<20),
		"dev/sdx1":                 "",
		"sys/class/block/sdx/size": "131072\n",
		"sys/class/block/sdx/ro":   "0\n",
		"sys/class/block/sdx/dev":  "8:16\n",
		"sys/class/block/sdx/queue/logical_block_size": "512\n",
		"sys/class/block/sdx/device/vendor":            "ATA     \n",
		"sys/class/block/sdx/device/model":             "Example SSD 64  \n",
		"sys/class/block/sdx/sdx1/partition":           "1\n",
		"sys/class/block/sdx/sdx1/dev":                 "8:17\n",
		"sys/class/block/sdx1/partition":               "1\n",
		"proc/self/mountinfo":                          "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n",
		"proc/swaps":                                   "Filename\tType\tSize\tUsed\tPriority\n",
	}
	for name, content := range change {
		files[name] = content
	}
	for name, content := range files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img := make([]byte, 8<<20+4096)
	for i := range img {
		img[i] = byte(i * 7 >> 3)
	}
	copy(img[512:], "EFI PART")
	binary.LittleEndian.PutUint64(img[512+72:], 2)
	binary.LittleEndian.PutUint32(img[512+84:], 128)
	binary.LittleEndian.PutUint64(img[1024+3*128+32:], 8192)
	binary.LittleEndian.PutUint64(img[1024+3*128+40:], 16383)
	image = filepath.Join(root, "image")
	if err := os.WriteFile(image, img, 0o644); err != nil {
		t.Fatal(err)
	}
	return system{dev: filepath.Join(root, "dev"), sys: filepath.Join(root, "sys"), proc: filepath.Join(root, "proc")},
		filepath.Join(root, "dev/sdx"), image
}

func TestWritesAfterAsking(t *testing.T) {
	s, disk, image := machine(t, nil)
	// As /dev/disk/by-id does.
	link := filepath.Join(filepath.Dir(image), "by-id")
	if err := os.Symlink(disk, link); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-image", image, link}, s, strings.NewReader("sdx\n"), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		"model          ATA Example SSD 64\n", "size           0.1 GB\n",
		"configuration  not known: " + build.InputsFile(image) + " does not describe this image\n",
		"Type its name, sdx,", "writing 100 %\n", "reading back 100 %\n", "now holds the appliance",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, &out)
		}
	}
	img, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:len(img)], img) {
		t.Error("the disk does not begin with the image")
	}
	if len(got) != 48<<20 || !bytes.Equal(got[len(img):], []byte(strings.Repeat("old", 16<<20))[len(img):]) {
		t.Error("the disk was changed behind the image")
	}
}

// What the image was built with is shown before the question.
func TestShowsInputs(t *testing.T) {
	s, disk, image := machine(t, nil)
	built := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if err := os.Chtimes(image, built, built); err != nil {
		t.Fatal(err)
	}
	inputs := build.Inputs{Version: "v1.2-3-gabcdef012345", Password: "build/admin-password", Image: built}
	for config, want := range map[string]string{
		"":           "configuration  none: the built-in default runs\n",
		"bondd.toml": "configuration  bondd.toml (SHA-256 2d711642b726b044…)\n",
	} {
		inputs.Config, inputs.ConfigSHA256 = config, build.Sum([]byte("x"))
		if err := inputs.Write(image); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := run(t.Context(), []string{"-image", image, disk}, s, strings.NewReader("no\n"), &out)
		if err == nil || !strings.Contains(err.Error(), "not confirmed") {
			t.Errorf("error %v, want that nothing was written", err)
		}
		shown, _, asked := strings.Cut(out.String(), "Type its name, sdx,")
		for _, want := range []string{
			want, "version        v1.2-3-gabcdef012345\n", "password       build/admin-password (user gokrazy)\n",
		} {
			if !asked || !strings.Contains(shown, want) {
				t.Errorf("before the question there is no %q:\n%s", want, &out)
			}
		}
	}
}

// Before an image is built, its disk is looked at, and nothing more.
func TestCheck(t *testing.T) {
	check := func(s system, disk string) error {
		var out bytes.Buffer
		err := run(t.Context(), []string{"-check", disk}, s, strings.NewReader(""), &out)
		if out.Len() > 0 {
			t.Errorf("%s: it says:\n%s", disk, &out)
		}
		return err
	}
	s, disk, _ := machine(t, map[string]string{"sys/class/block/sdx/size": "4194304\n"})
	if err := check(s, disk); err != nil {
		t.Errorf("a good disk: %v", err)
	}
	for disk, want := range map[string]string{disk + "1": "sdx1 is a partition", disk + "q": "does not exist"} {
		if err := check(s, disk); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", disk, err, want)
		}
	}
	s, disk, _ = machine(t, nil) // of 64 MiB
	if err := check(s, disk); err == nil || !strings.Contains(err.Error(), "is too small") {
		t.Errorf("a small disk: error %v", err)
	}
}

func TestRefuses(t *testing.T) {
	for _, test := range []struct {
		name, disk, answer, want string
		change                   map[string]string
	}{
		{name: "empty answer", answer: "\n", want: "not confirmed; nothing was written"},
		{name: "yes is not the name", answer: "yes\n", want: "not confirmed"},
		{name: "another disk's name", answer: "sdy\n", want: "not confirmed"},
		{name: "partition", disk: "dev/sdx1", want: "sdx1 is a partition: name the whole disk"},
		{name: "missing", disk: "dev/sdq", want: "dev/sdq does not exist"},
		{name: "regular file", disk: "image", want: "is not a disk"},
		{
			name: "device without a disk", disk: "dev/null", want: "dev/null is not a disk",
			change: map[string]string{"dev/null": ""},
		},
		{
			name: "device mapper", disk: "dev/dm-0", want: "something made of other disks",
			change: map[string]string{"dev/dm-0": "", "sys/class/block/dm-0/size": "131072\n"},
		},
		{
			name: "mounted partition", want: "(ATA Example SSD 64) is in use: sdx1 is mounted on /mnt/data",
			change: map[string]string{"proc/self/mountinfo": "30 22 8:17 / /mnt/data rw - ext4 /dev/disk/by-label/data rw\n"},
		},
		{
			name: "mounted without a partition", want: "sdx is mounted on /mnt",
			change: map[string]string{"proc/self/mountinfo": "30 22 8:16 / /mnt rw - ext4 /dev/sdx rw\n"},
		},
		{
			name: "part of a volume", want: "sdx1 is part of dm-3",
			change: map[string]string{"sys/class/block/sdx/sdx1/holders/dm-3": ""},
		},
		{
			name: "write-protected", want: "is write-protected",
			change: map[string]string{"sys/class/block/sdx/ro": "1\n"},
		},
		{
			name: "empty card reader", want: "has no medium in it",
			change: map[string]string{"sys/class/block/sdx/size": "0\n"},
		},
		{
			name: "4 KiB sectors", want: "sectors of 4096 bytes",
			change: map[string]string{"sys/class/block/sdx/queue/logical_block_size": "4096\n"},
		},
		{
			name: "too small", want: "is too small: it has 0.0 GB",
			change: map[string]string{"sys/class/block/sdx/size": "16384\n"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, disk, image := machine(t, test.change)
			before, err := os.ReadFile(disk)
			if err != nil {
				t.Fatal(err)
			}
			target := disk
			if test.disk != "" {
				target = filepath.Join(filepath.Dir(image), test.disk)
			}
			answer := cmp.Or(test.answer, "sdx\n")
			err = run(t.Context(), []string{"-image", image, target}, s, strings.NewReader(answer), &bytes.Buffer{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			after, err := os.ReadFile(disk)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, after) {
				t.Error("the disk was written to")
			}
		})
	}
}

func TestRefusesSwap(t *testing.T) {
	s, disk, image := machine(t, nil)
	swaps := "Filename Type Size Used Priority\n" + disk + "1 partition 1024 0 -2\n"
	if err := os.WriteFile(filepath.Join(s.proc, "swaps"), []byte(swaps), 0o644); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), []string{"-image", image, disk}, s, strings.NewReader("sdx\n"), &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "sdx1 is swap space") {
		t.Errorf("error %v, want one that names the swap space", err)
	}
}

func TestRefusesImages(t *testing.T) {
	s, disk, image := machine(t, nil)
	err := run(t.Context(), []string{"-image", image + "-none", disk}, s, strings.NewReader("sdx\n"), &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "run `make image`") {
		t.Errorf("missing image: error %v, want one that says what to do", err)
	}
	if err := os.WriteFile(image, make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), []string{"-image", image, disk}, s, strings.NewReader("sdx\n"), &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "not an image of the appliance") {
		t.Errorf("foreign image: error %v, want one that says so", err)
	}
}

// A disk that loses what was written to it, as counterfeit ones do.
func TestVerifyFindsDamage(t *testing.T) {
	content := bytes.Repeat([]byte("image"), 1<<20)
	sum := sha256.Sum256(content)
	content[3<<20] ^= 1
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = verify(t.Context(), f, int64(len(content)), sum[:], func(int64) {})
	if err == nil || !strings.Contains(err.Error(), "does not hold what was written") {
		t.Errorf("error %v, want one that says the disk is damaged", err)
	}
}

func TestInterrupt(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	// The first chunk is written, and then someone presses ^C.
	_, err = write(ctx, f, bytes.NewReader(make([]byte, 3*chunk)), func(int64) { cancel() })
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("error %v, want one that says it was interrupted", err)
	}
	if n, err := f.Seek(0, 2); err != nil || n != chunk {
		t.Errorf("%d bytes were written (%v), want %d", n, err, chunk)
	}
}
