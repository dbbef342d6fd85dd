package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"bondd.internal/bondd/internal/state"
)

const (
	fileName  = "history.json"
	asideName = fileName + ".aside" // what was found in its place and could not be read
	version   = 1                   // of the file's form

	// maxBytes bounds the file. The switches of a bond of two slaves need less
	// than 1 MB; of those of very many slaves the oldest are left out.
	maxBytes = 4 << 20
)

// A document is the content of the file.
type document struct {
	Version  int             `json:"version"`
	Switches []*state.Switch `json:"switches"` // newest first
}

// Load returns the switches that were kept in a folder, newest first, or none
// if there are none yet. An error says what is wrong with the file that is
// there, which is then set aside under another name; bondd goes on without it.
func Load(dir string) ([]*state.Switch, error) {
	removeLitter(dir)
	path := filepath.Join(dir, fileName)
	switches, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		return switches, nil
	}
	err = fmt.Errorf("read history %s: %w", path, err)
	aside := filepath.Join(dir, asideName)
	if moveErr := os.Rename(path, aside); moveErr != nil {
		return nil, errors.Join(err, fmt.Errorf("set history aside: %w", moveErr))
	}
	return nil, fmt.Errorf("%w (set aside as %s)", err, aside)
}

func read(path string) ([]*state.Switch, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxBytes {
		return nil, fmt.Errorf("it has more than %d bytes", maxBytes)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	if d.Version != version {
		return nil, fmt.Errorf("its version is %d, this bondd reads version %d", d.Version, version)
	}
	for i, s := range d.Switches {
		if s == nil {
			return nil, fmt.Errorf("entry %d is empty", i)
		}
		if i > 0 && s.Seq >= d.Switches[i-1].Seq {
			return nil, fmt.Errorf("entry %d has number %d and follows number %d: newest is first", i, s.Seq, d.Switches[i-1].Seq)
		}
	}
	return d.Switches[:min(len(d.Switches), state.MaxHistory)], nil
}

// write replaces the file by one with these switches, newest first. Whatever
// interrupts it, the file is the old one or the new one.
func write(dir string, switches []*state.Switch) error {
	text, err := encode(switches)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, fileName)
	if err := renameio.WriteFile(path, text, 0o644, renameio.WithTempDir(dir)); err != nil {
		return err
	}
	// The new content is on the disk; the folder's entry for it is not yet.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// encode writes a document with a line for each switch, the newest that fit
// into maxBytes.
func encode(switches []*state.Switch) ([]byte, error) {
	const end = "\n]}\n"
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"version\":%d,\"switches\":[", version)
	for i, s := range switches {
		line, err := json.Marshal(s)
		if err != nil {
			return nil, fmt.Errorf("encode switch %d: %w", s.Seq, err)
		}
		if b.Len()+len(",\n")+len(line)+len(end) > maxBytes {
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString(end)
	return b.Bytes(), nil
}

// removeLitter removes what a power cut left of files that were being written.
// It may fail like every write, and nothing depends on it.
func removeLitter(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+fileName) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
