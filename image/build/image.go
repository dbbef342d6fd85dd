package build

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// module is the path of the module whose programs are in the image.
	module = "bondd.internal"
	// instance is the name of the gokrazy instance, below instances.
	instance  = "bondd"
	instances = "appliance/gokrazy"

	// MinSize is the smallest size of an image in bytes: the packer's layout has
	// 4 MiB before the first partition, a boot partition of 100 MiB, two root
	// partitions of 500 MiB, and asks for 100 MiB at least for /perm.
	MinSize = 1204 << 20
	// DefaultSize leaves 176 MiB for /perm. An image of this size fits each
	// "2 GB" disk; the file is sparse.
	DefaultSize = 1280 << 20
)

// Options say what to build and where to.
type Options struct {
	// Out is the file that the image is written to.
	Out string
	// Password is the file with the administrator's password. One that is there
	// is used again, so that each image has the password of the appliance that
	// it may replace; else one is made. Only its owner can read it.
	Password string
	// NewPassword makes a new password although there is one. The old one stays
	// beside the new one, under the name that the Result has.
	NewPassword bool
	// Perm are files for /perm, named as for WritePerm.
	Perm map[string][]byte
	// Version is what the programs of the image say that they are; if empty, what
	// the go command makes of the repository.
	Version string
	// Size is the size of the image in bytes, a multiple of 512; 0 means
	// DefaultSize.
	Size int64
}

// Result describes an image that has been built.
type Result struct {
	// Fingerprint is the SHA-256 of the certificate in the image, in hexadecimal.
	Fingerprint string
	// OldPassword is the file with the password that a new one has replaced; empty
	// if there was none or it is still used.
	OldPassword string
	// Perm is where the partition for /perm is.
	Perm Partition
}

// Image builds the disk image of the appliance from the repository that the
// working directory belongs to. Only its owner can read it: password, private key
// and seed are in it. If it fails, the files Out and Password are as before.
//
// Nothing is read from or written to the user's configuration, and the
// repository is not changed.
func Image(ctx context.Context, o Options) (*Result, error) {
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	if o.Size < MinSize || o.Size%sectorSize != 0 {
		return nil, fmt.Errorf(
			"build image: a size of %d bytes is not possible: it must be at least %d and a multiple of %d",
			o.Size,
			int64(MinSize),
			sectorSize,
		)
	}
	// What is missing is reported before the compilers have run, not after.
	if _, err := find("mkfs.ext4"); err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	start := time.Now()
	env, err := readGoEnv(ctx)
	if err != nil {
		return nil, err
	}

	// Everything that the packer reads, writes and leaves behind is in here.
	tmp, err := os.MkdirTemp("", "bondd-image-")
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	defer os.RemoveAll(tmp)

	cert, err := newCertificate(instance, time.Now())
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	password, err := choosePassword(o.Password, o.NewPassword)
	if err != nil {
		return nil, err
	}

	// The image is put together beside its destination, where a rename suffices.
	for _, f := range []string{o.Out, o.Password} {
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			return nil, fmt.Errorf("build image: %w", err)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(o.Out), ".image-")
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	defer os.RemoveAll(dir)
	img, err := filepath.Abs(filepath.Join(dir, "image"))
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}

	if err := pack(ctx, env, tmp, img, o, password.text, cert); err != nil {
		return nil, err
	}
	if err := os.Chmod(img, 0o600); err != nil {
		return nil, fmt.Errorf("keep image from others: %w", err)
	}
	perm, err := formatPerm(ctx, img)
	if err != nil {
		return nil, err
	}
	if err := writePerm(img, permFiles(o.Perm)); err != nil {
		return nil, err
	}

	// So that a source that changes while it is compiled is newer than the image.
	if err := os.Chtimes(img, start, start); err != nil {
		return nil, fmt.Errorf("date image: %w", err)
	}

	// The password first: an image whose password is lost would be worse than a
	// password whose image is yet to come.
	old, err := password.store(time.Now())
	if err != nil {
		return nil, err
	}
	if err := os.Rename(img, o.Out); err != nil {
		return nil, fmt.Errorf("write image: %w", err)
	}
	return &Result{Fingerprint: cert.fingerprint, OldPassword: old, Perm: perm}, nil
}

// permFiles are the files for a new /perm: these, and a seed of its own for the
// kernel's random numbers. gokrazy's randomd feeds it to the kernel at boot and
// writes the next one; without one it would take the time of day for a seed.
func permFiles(files map[string][]byte) map[string]permFile {
	all := map[string]permFile{seedName: {content: newSeed(), mode: 0o600}}
	for name, content := range files {
		all[name] = permFile{content: content, mode: 0o644}
	}
	return all
}

const (
	// seedName is where randomd looks for its seed on /perm, and seedSize how many
	// bytes of it it takes.
	seedName = "random.seed"
	seedSize = 512
)

func newSeed() []byte {
	seed := make([]byte, seedSize)
	_, _ = rand.Read(seed) // never fails
	return seed
}

// goEnv is the part of `go env` that a build depends on.
type goEnv struct {
	GOENV, GOFLAGS, GOMOD string
}

// root is the root of the repository.
func (e goEnv) root() string { return filepath.Dir(e.GOMOD) }

func readGoEnv(ctx context.Context) (goEnv, error) {
	var env goEnv
	out, err := command(ctx, "", "go", "env", "-json", "GOENV", "GOFLAGS", "GOMOD").Output()
	if err != nil {
		return env, fmt.Errorf("run go: %w", err)
	}
	if err := json.Unmarshal(out, &env); err != nil {
		return env, fmt.Errorf("read go env: %w", err)
	}
	mod, err := os.ReadFile(env.GOMOD)
	if err != nil || !bytes.HasPrefix(mod, []byte("module "+module+"\n")) {
		return env, errors.New("build image: the working directory is not in the repository of bondd")
	}
	return env, nil
}

// pack lets gokrazy's packer write the disk image img, with everything but the
// file system for /perm. tmp is an empty folder.
func pack(ctx context.Context, env goEnv, tmp, img string, o Options, password string, cert *certificate) error {
	// The packer calls `go get` and builds with -mod=mod, either of which may
	// change go.mod. It gets a copy to do so, and below a change is an error: an
	// image is made of what is pinned, or not at all.
	modfile := filepath.Join(tmp, "go.mod")
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(env.root(), name))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(tmp, name), b, 0o644); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	sums, err := os.ReadFile(filepath.Join(tmp, "go.sum"))
	if err != nil {
		return fmt.Errorf("read go.sum: %w", err)
	}

	// This is where the packer looks for the certificate.
	secrets := filepath.Join(tmp, "config", "gokrazy", "hosts", instance)
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		return fmt.Errorf("hand over secrets: %w", err)
	}
	for name, content := range map[string][]byte{"cert.pem": cert.certPEM, "key.pem": cert.keyPEM} {
		if err := os.WriteFile(filepath.Join(secrets, name), content, 0o600); err != nil {
			return fmt.Errorf("hand over secrets: %w", err)
		}
	}
	parent := filepath.Join(tmp, "instances")
	if err := writeInstance(env, parent, o.Version, password); err != nil {
		return err
	}

	// The packer changes its working directory and ends the process on an error,
	// so it is run as the program it is, built from the version in go.mod.
	gok := filepath.Join(tmp, "gok")
	var messages bytes.Buffer
	for _, step := range []struct {
		args, env []string
	}{
		{args: []string{"go", "build", "-o", gok, "github.com/gokrazy/tools/cmd/gok"}},
		{
			args: []string{gok, "overwrite",
				"--parent_dir", parent, "--instance", instance,
				"--full", img, "--target_storage_bytes", fmt.Sprint(o.Size), "--sudo", "never"},
			env: []string{
				"XDG_CONFIG_HOME=" + filepath.Join(tmp, "config"),
				// The go command finds its own settings by the same variable.
				"GOENV=" + env.GOENV,
				"GOFLAGS=" + strings.TrimSpace(env.GOFLAGS+" -modfile="+modfile),
				"GOWORK=off",
				"TMPDIR=" + tmp,
			},
		},
	} {
		cmd := command(ctx, env.root(), step.args[0], step.args[1:]...)
		cmd.Env = append(cmd.Environ(), step.env...)
		cmd.Stdout = &messages
		cmd.Stderr = &messages
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("pack image: %w\n%s", err, strings.TrimSpace(messages.String()))
		}
	}

	after, err := os.ReadFile(filepath.Join(tmp, "go.sum"))
	if err != nil {
		return fmt.Errorf("read go.sum: %w", err)
	}
	if !bytes.Equal(sums, after) {
		return errors.New("pack image: go.mod and go.sum do not name every module of the image: run `go mod tidy`")
	}
	return nil
}
