package initramfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// An Archive is the content of a root file system, by absolute
// path. Written out, the same content gives the same bytes: no times, owners
// or host paths are in it.
type Archive struct {
	entries map[string]entry
}

// An entry is one file: data, or what the host has at source.
type entry struct {
	source string
	data   []byte
	mode   fs.FileMode // permissions only
}

// AddData puts a file with the given content in.
func (a *Archive) AddData(name string, data []byte) {
	a.add(name, entry{data: data, mode: 0o644})
}

// AddFile puts a file of the host in; a symbolic link is followed.
func (a *Archive) AddFile(name, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", source)
	}
	a.add(name, entry{source: source, mode: info.Mode().Perm() | 0o444})
	return nil
}

// AddTree puts a folder of the host in with all that is below it.
func (a *Archive) AddTree(name, source string) error {
	return filepath.WalkDir(source, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(source, p)
		if err != nil {
			return err
		}
		return a.AddFile(path.Join(name, filepath.ToSlash(rel)), p)
	})
}

// AddProgram puts a program of the host in, and the shared libraries and the
// loader it needs at the paths where the loader looks for them.
func (a *Archive) AddProgram(ctx context.Context, name, source string) error {
	if err := a.AddFile(name, source); err != nil {
		return err
	}
	libs, err := sharedLibraries(ctx, source)
	if err != nil {
		return err
	}
	for _, lib := range libs {
		if err := a.AddFile(lib, lib); err != nil {
			return err
		}
	}
	return nil
}

func (a *Archive) add(name string, e entry) {
	if a.entries == nil {
		a.entries = make(map[string]entry)
	}
	a.entries[path.Join("/", name)] = e
}

// sharedLibraries returns the absolute paths of the loader and the libraries
// that a program needs, none for a static one.
func sharedLibraries(ctx context.Context, program string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "ldd", program)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		if bytes.Contains(out, []byte("not a dynamic executable")) {
			return nil, nil
		}
		return nil, fmt.Errorf("list libraries of %s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	var libs []string
	for line := range strings.Lines(string(out)) {
		// "libc.so.6 => /lib/libc.so.6 (0x…)", "/lib64/ld.so (0x…)",
		// "linux-vdso.so.1 (0x…)", "statically linked".
		if strings.Contains(line, "not found") {
			return nil, fmt.Errorf("list libraries of %s: %s", program, strings.TrimSpace(line))
		}
		if _, after, ok := strings.Cut(line, "=> "); ok {
			line = after
		}
		if lib, _, ok := strings.Cut(strings.TrimSpace(line), " ("); ok && path.IsAbs(lib) {
			libs = append(libs, lib)
		}
	}
	return libs, nil
}

// Write writes the archive to a file in the kernel's "newc" format, uncompressed: the
// guest would spend more time on unpacking than the host on copying.
func (a *Archive) Write(file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewWriterSize(f, 1<<20)
	w := cpio.NewWriter(buffered)

	dirs := make(map[string]bool)
	names := make([]string, 0, len(a.entries))
	for name := range a.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := writeParents(w, dirs, name); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := a.entries[name].write(w, strings.TrimPrefix(name, "/")); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return errors.Join(w.Close(), buffered.Flush())
}

// writeParents writes the folders above a file that are not written yet: the
// kernel does not make them by itself.
func writeParents(w *cpio.Writer, written map[string]bool, name string) error {
	dir := path.Dir(name)
	if dir == "/" || written[dir] {
		return nil
	}
	if err := writeParents(w, written, dir); err != nil {
		return err
	}
	written[dir] = true
	return w.WriteHeader(&cpio.Header{Name: strings.TrimPrefix(dir, "/"), Mode: cpio.TypeDir | 0o755, Links: 2})
}

func (e entry) write(w *cpio.Writer, name string) error {
	hdr := &cpio.Header{Name: name, Mode: cpio.TypeReg | cpio.FileMode(e.mode), Size: int64(len(e.data))}
	if e.source == "" {
		if err := w.WriteHeader(hdr); err != nil {
			return err
		}
		_, err := w.Write(e.data)
		return err
	}
	f, err := os.Open(e.source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	hdr.Size = info.Size()
	if err := w.WriteHeader(hdr); err != nil {
		return err
	}
	_, err = io.CopyN(w, f, hdr.Size)
	return err
}
