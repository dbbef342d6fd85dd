package hwprobe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// archiveFormat is the version of the archive's layout. It is raised only when old archives can no longer be read.
const archiveFormat = 1

// An Archive is everything that Probe has read of a machine, so that the machine can be judged elsewhere. As a file it
// is JSON: whoever sends one can read what is in it.
type Archive struct {
	Format int `json:"format"`
	// About says what the machine is, and Sources where the facts come from, in an archive that was made by hand.
	About   string   `json:"about,omitempty"`
	Sources []string `json:"sources,omitempty"`
	// Identities says that hardware addresses are the machine's own and not replaced.
	Identities bool `json:"identities"`
	Host       Host `json:"host"`
	// Links and Ethtool are the answers of the kernel, the latter by name of the interface.
	Links   []Link                 `json:"links"`
	Ethtool map[string]driverReply `json:"ethtool"`
	// Files, Symlinks and Sizes are what was read of sysfs, by path; Missing is what could not be read, and why. A folder
	// is listed only if nothing else shows it, under Sizes with a slash at its end.
	Files    map[string]string `json:"files"`
	Symlinks map[string]string `json:"symlinks"`
	Sizes    map[string]int    `json:"sizes,omitempty"`
	Missing  map[string]string `json:"missing,omitempty"`
}

// driverReply is an answer of Kernel.Ethtool.
type driverReply struct {
	Ethtool
	Error string `json:"error,omitempty"`
	// Detached says that the error is ErrDetached.
	Detached bool `json:"detached,omitempty"`
}

// Record is Probe that also keeps what it has read.
func Record(ctx context.Context, src Source) (Machine, *Archive, error) {
	p := src.prober()
	r := &recorder{
		fsys:   p.sys.fsys,
		kernel: p.kernel,
		archive: Archive{
			Format: archiveFormat, Identities: true, Links: []Link{}, Ethtool: map[string]driverReply{},
			Files: map[string]string{}, Symlinks: map[string]string{}, Sizes: map[string]int{}, Missing: map[string]string{},
		},
	}
	m, err := Probe(ctx, Source{Files: r, Kernel: r, ROM: src.ROM})
	if err != nil {
		return Machine{}, nil, err
	}
	return m, r.take(), nil
}

// take is a copy of what has been recorded: a goroutine that Probe has left behind may still be recording. It leaves
// out what follows from the rest.
func (r *recorder) take() *Archive {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.archive
	a.Links = slices.Clone(a.Links)
	a.Ethtool, a.Files, a.Symlinks = maps.Clone(a.Ethtool), maps.Clone(a.Files), maps.Clone(a.Symlinks)
	a.Sizes, a.Missing = maps.Clone(a.Sizes), maps.Clone(a.Missing)
	parents := map[string]bool{}
	for _, names := range []iter.Seq[string]{maps.Keys(a.Files), maps.Keys(a.Symlinks), maps.Keys(a.Sizes)} {
		for name := range names {
			for dir := path.Dir(strings.TrimSuffix(name, "/")); dir != "."; dir = path.Dir(dir) {
				parents[dir+"/"] = true
			}
		}
	}
	maps.DeleteFunc(a.Sizes, func(name string, _ int) bool {
		_, read := a.Files[name]
		return read || parents[name]
	})
	return &a
}

// recorder is a Kernel and a sysfs that keeps all that goes through it.
type recorder struct {
	fsys    fs.FS
	kernel  Kernel
	mu      sync.Mutex
	archive Archive
}

func (r *recorder) keep(name string, err error, keep func(*Archive)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		keep(&r.archive)
	case !errors.Is(err, fs.ErrNotExist): // what does not exist is not in the archive either
		r.archive.Missing[name] = reason(err)
	}
}

// reason is an error of the file system without the path.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// Open is for fs.FS.
func (r *recorder) Open(name string) (fs.File, error) { return r.fsys.Open(name) }

// ReadFile is for fs.ReadFileFS.
func (r *recorder) ReadFile(name string) ([]byte, error) {
	b, err := fs.ReadFile(r.fsys, name)
	r.keep(name, err, func(a *Archive) { a.Files[name] = strings.TrimSpace(string(b)) })
	return b, err
}

// ReadLink is for fs.ReadLinkFS.
func (r *recorder) ReadLink(name string) (string, error) {
	target, err := fs.ReadLink(r.fsys, name)
	if err == nil { // whatever exists and is no link gives an error that means nothing
		r.keep(name, nil, func(a *Archive) { a.Symlinks[name] = target })
	}
	return target, err
}

// Lstat is for fs.ReadLinkFS.
func (r *recorder) Lstat(name string) (fs.FileInfo, error) {
	info, err := fs.Lstat(r.fsys, name)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		_, err := r.ReadLink(name)
		return info, err
	}
	r.keep(name, err, func(a *Archive) {
		if info.IsDir() {
			a.Sizes[name+"/"] = 0
		} else {
			a.Sizes[name] = int(info.Size())
		}
	})
	return info, err
}

// ReadDir is for fs.ReadDirFS.
func (r *recorder) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(r.fsys, name)
	for _, e := range entries {
		_, _ = r.Lstat(path.Join(name, e.Name())) // to have it in the archive
	}
	r.keep(name, err, func(*Archive) {})
	return entries, err
}

// Host is for Kernel.
func (r *recorder) Host() Host {
	h := r.kernel.Host()
	r.keep("", nil, func(a *Archive) { a.Host = h })
	return h
}

// Links is for Kernel.
func (r *recorder) Links(ctx context.Context) ([]Link, error) {
	links, err := r.kernel.Links(ctx)
	r.keep("", nil, func(a *Archive) { a.Links = slices.Clone(links) })
	return links, err
}

// Ethtool is for Kernel.
func (r *recorder) Ethtool(ctx context.Context, l Link) (Ethtool, error) {
	e, err := r.kernel.Ethtool(ctx, l)
	reply := driverReply{Ethtool: e, Detached: errors.Is(err, ErrDetached)}
	if err != nil {
		reply.Error = err.Error()
	}
	r.keep("", nil, func(a *Archive) { a.Ethtool[l.Name] = reply })
	return e, err
}

// WriteTo writes the archive as indented JSON.
func (a *Archive) WriteTo(w io.Writer) (int64, error) {
	b, err := json.MarshalIndent(a, "", " ")
	if err != nil {
		return 0, fmt.Errorf("encode archive: %w", err)
	}
	n, err := w.Write(append(b, '\n'))
	if err != nil {
		return int64(n), fmt.Errorf("write archive: %w", err)
	}
	return int64(n), nil
}

// maxArchive bounds an archive that is read: they come from other people.
const maxArchive = 64 << 20

// ReadArchive reads an archive.
func ReadArchive(r io.Reader) (*Archive, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxArchive+1))
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	if len(b) > maxArchive {
		return nil, fmt.Errorf("read archive: it is larger than %d MiB", maxArchive>>20)
	}
	var a Archive
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, fmt.Errorf("decode archive: %w", err)
	}
	if a.Format != archiveFormat {
		return nil, fmt.Errorf("decode archive: it has format %d, expected %d", a.Format, archiveFormat)
	}
	return &a, nil
}

// Source is the recorded machine, to be given to Probe.
func (a *Archive) Source() Source {
	return Source{Files: newReplay(a), Kernel: replayKernel{a}}
}

// replayKernel answers as the kernel did.
type replayKernel struct{ a *Archive }

func (k replayKernel) Host() Host                            { return k.a.Host }
func (k replayKernel) Links(context.Context) ([]Link, error) { return slices.Clone(k.a.Links), nil }
func (k replayKernel) Ethtool(_ context.Context, l Link) (Ethtool, error) {
	reply := k.a.Ethtool[l.Name]
	switch {
	case reply.Detached:
		return reply.Ethtool, ErrDetached
	case reply.Error != "":
		return reply.Ethtool, errors.New(reply.Error)
	}
	return reply.Ethtool, nil
}

// replay is a recorded sysfs. Folders need not be recorded: they follow from the paths.
type replay struct {
	a        *Archive
	children map[string][]string
}

func newReplay(a *Archive) replay {
	r := replay{a: a, children: map[string][]string{}}
	seen := map[string]bool{}
	add := func(name string) {
		for name = strings.TrimSuffix(name, "/"); name != "." && name != "/" && !seen[name]; name = path.Dir(name) {
			seen[name] = true
			r.children[path.Dir(name)] = append(r.children[path.Dir(name)], path.Base(name))
		}
	}
	for name := range a.Files {
		add(name)
	}
	for name, target := range a.Symlinks {
		add(name)
		if !path.IsAbs(target) {
			add(path.Join(path.Dir(name), target))
		}
	}
	for name := range a.Sizes {
		add(name)
	}
	for _, names := range r.children {
		slices.Sort(names)
	}
	return r
}

func (r replay) fail(op, name string) error {
	if why, ok := r.a.Missing[name]; ok {
		return &fs.PathError{Op: op, Path: name, Err: errors.New(why)}
	}
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// Open is for fs.FS; nothing here is ever opened.
func (r replay) Open(name string) (fs.File, error) { return nil, r.fail("open", name) }

// ReadFile is for fs.ReadFileFS.
func (r replay) ReadFile(name string) ([]byte, error) {
	content, ok := r.a.Files[name]
	if !ok {
		return nil, r.fail("open", name)
	}
	return []byte(content), nil
}

// ReadLink is for fs.ReadLinkFS.
func (r replay) ReadLink(name string) (string, error) {
	target, ok := r.a.Symlinks[name]
	if !ok {
		return "", r.fail("readlink", name)
	}
	return target, nil
}

// Lstat is for fs.ReadLinkFS.
func (r replay) Lstat(name string) (fs.FileInfo, error) {
	info := replayInfo{name: path.Base(name), size: r.a.Sizes[name]}
	_, isFile := r.a.Files[name]
	_, isSized := r.a.Sizes[name]
	_, isLink := r.a.Symlinks[name]
	_, isUnreadable := r.a.Missing[name]
	switch {
	case isLink:
		info.mode = fs.ModeSymlink
	case isFile || isSized || isUnreadable:
	case name == "." || len(r.children[name]) > 0 || slices.Contains(r.children[path.Dir(name)], path.Base(name)):
		info.mode = fs.ModeDir
	default:
		return nil, r.fail("lstat", name)
	}
	return info, nil
}

// ReadDir is for fs.ReadDirFS.
func (r replay) ReadDir(name string) ([]fs.DirEntry, error) {
	children, ok := r.children[name]
	if !ok {
		return nil, r.fail("open", name)
	}
	entries := make([]fs.DirEntry, 0, len(children))
	for _, child := range children {
		if info, err := r.Lstat(path.Join(name, child)); err == nil {
			entries = append(entries, fs.FileInfoToDirEntry(info))
		}
	}
	return entries, nil
}

// replayInfo describes a recorded file.
type replayInfo struct {
	name string
	size int
	mode fs.FileMode
}

func (i replayInfo) Name() string       { return i.name }
func (i replayInfo) Size() int64        { return int64(i.size) }
func (i replayInfo) Mode() fs.FileMode  { return i.mode }
func (i replayInfo) ModTime() time.Time { return time.Time{} }
func (i replayInfo) IsDir() bool        { return i.mode.IsDir() }
func (i replayInfo) Sys() any           { return nil }

var (
	// anyMAC matches a hardware address.
	anyMAC = regexp.MustCompile(`(?i)\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b`)
	// macName matches the name that a USB card's interface gets from its address.
	macName = regexp.MustCompile(`(?i)\benx([0-9a-f]{12})\b`)
)

// Anonymous is the archive with every hardware address replaced, also where it is part of a name. Equal addresses stay
// equal, the maker's half of an address stays, and so do all zeros and all ones: what is judged of addresses is not
// changed. An address that was not given by a maker keeps nothing but being so.
//
// Nothing else in an archive identifies a machine: serial numbers are not read in the first place.
func (a *Archive) Anonymous() (*Archive, error) {
	var b strings.Builder
	if _, err := a.WriteTo(&b); err != nil {
		return nil, err
	}
	text := b.String()
	var digits []string
	for _, mac := range anyMAC.FindAllString(text, -1) {
		digits = append(digits, strings.ToLower(strings.ReplaceAll(mac, ":", "")))
	}
	for _, name := range macName.FindAllStringSubmatch(text, -1) {
		digits = append(digits, strings.ToLower(name[1]))
	}
	var pairs []string
	fakes := map[string]bool{}
	for i, real := range digits {
		if slices.Contains(digits[:i], real) {
			continue
		}
		fake := fakeMAC(real, 1)
		for n := 2; fake != real && (fakes[fake] || slices.Contains(digits, fake)); n++ {
			fake = fakeMAC(real, n)
		}
		fakes[fake] = true
		for _, form := range []func(string) string{
			func(s string) string { return s }, strings.ToUpper, withColons,
			func(s string) string { return strings.ToUpper(withColons(s)) },
		} {
			pairs = append(pairs, form(real), form(fake))
		}
	}
	anonymous, err := ReadArchive(strings.NewReader(strings.NewReplacer(pairs...).Replace(text)))
	if err != nil {
		return nil, err
	}
	anonymous.Identities = false
	return anonymous, nil
}

// withColons writes the 12 digits of an address in pairs.
func withColons(digits string) string {
	var pairs []string
	for pair := range slices.Chunk([]byte(digits), 2) {
		pairs = append(pairs, string(pair))
	}
	return strings.Join(pairs, ":")
}

// fakeMAC is the nth replacement for the 12 digits of an address.
func fakeMAC(digits string, n int) string {
	if strings.Trim(digits, "0") == "" || strings.Trim(digits, "f") == "" {
		return digits
	}
	first, _ := strconv.ParseUint(digits[:2], 16, 8)
	if first&2 != 0 { // locally administered: no maker gave it
		return fmt.Sprintf("%02x%010x", first&3, n)
	}
	return digits[:6] + fmt.Sprintf("%06x", n)
}

// Save writes an archive to a file, without the machine's own hardware addresses unless identities is set.
func (a *Archive) Save(name string, identities bool) error {
	if !identities {
		anonymous, err := a.Anonymous()
		if err != nil {
			return err
		}
		a = anonymous
	}
	var b bytes.Buffer
	if _, err := a.WriteTo(&b); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}
