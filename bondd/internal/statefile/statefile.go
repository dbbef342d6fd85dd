package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// Write replaces a file, and makes the folder if it is not there.
func Write(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
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

// Read has decode read a file of at most that many bytes. A file that is not
// there is no error, and decode is not called. What could not be read is set
// aside under another name, which the error names, so that the next Write does
// not destroy it.
func Read(path string, most int64, decode func([]byte) error) error {
	removeLitter(path)
	text, err := read(path, most)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = decode(text)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("read %s: %w", path, err)
	aside := path + ".aside"
	if moveErr := os.Rename(path, aside); moveErr != nil {
		return errors.Join(err, fmt.Errorf("set it aside: %w", moveErr))
	}
	return fmt.Errorf("%w (set aside as %s)", err, aside)
}

func read(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	return text, nil
}

// removeLitter removes what a power cut left of files that were being written.
// It may fail like every write, and nothing depends on it.
func removeLitter(path string) {
	dir, name := filepath.Split(path)
	entries, _ := os.ReadDir(filepath.Clean(dir))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+name) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// ReadJSON reads a file into v, with Read's errors.
func ReadJSON(path string, most int64, v any) error {
	return Read(path, most, func(text []byte) error { return json.Unmarshal(text, v) })
}

// WriteJSON writes v to a file.
func WriteJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return Write(path, append(text, '\n'))
}
