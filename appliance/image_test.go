package appliance_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bondd.internal/image/build"
	"bondd.internal/image/lab/skip"
)

// image is a disk image built for the tests of this package.
type image struct {
	file     string
	password string // of the administrator
	*build.Result
}

// buildOnce builds the image in a temporary folder that TestMain removes.
var buildOnce = sync.OnceValues(func() (*image, error) {
	dir, err := os.MkdirTemp("", "bondd-appliance-")
	if err != nil {
		return nil, err
	}
	img := &image{file: filepath.Join(dir, "appliance.img")}
	removeImage = func() { os.RemoveAll(dir) }
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	passwordFile := filepath.Join(dir, "admin-password")
	if img.Result, err = build.Image(ctx, build.Options{Out: img.file, Password: passwordFile}); err != nil {
		return nil, err
	}
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return nil, err
	}
	img.password = strings.TrimSpace(string(password))
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 2 {
		return nil, fmt.Errorf("the build leaves %v (%v), want an image and a password", left, err)
	}
	return img, nil
})

var removeImage = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	removeImage()
	os.Exit(code)
}

// wholeImage returns the disk image that is under test: the first test to ask
// for it waits for it to be built. Virtual machines do not change it; a test that
// wants a configuration on it writes to a copy with build.WritePerm. It skips the
// test if BONDD_SKIP names vm.
func wholeImage(t *testing.T) *image {
	t.Helper()
	skip.If(t, skip.VM)
	img, err := buildOnce()
	if err != nil {
		t.Fatalf("build image: %v", err)
	}
	return img
}

// The secrets of an image are its own, and only their owner can read them.
func TestImageSecrets(t *testing.T) {
	img := wholeImage(t)
	for _, name := range []string{"admin-password", "appliance.img"} {
		info, err := os.Stat(filepath.Join(filepath.Dir(img.file), name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode().Perm())
		}
	}
	if len(img.password) < 20 {
		t.Errorf("the password has %d characters, want 20 at least", len(img.password))
	}

	other := t.TempDir()
	r, err := build.Image(t.Context(), build.Options{Out: filepath.Join(other, "img"), Password: filepath.Join(other, "password")})
	if err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(filepath.Join(other, "password"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(password)) == img.password {
		t.Error("two images have one password")
	}
	if r.Fingerprint == img.Fingerprint {
		t.Error("two images have one certificate")
	}
	if a, b := seed(t, img.file), seed(t, filepath.Join(other, "img")); bytes.Equal(a, b) {
		t.Error("two images have one seed of random numbers")
	}
}
