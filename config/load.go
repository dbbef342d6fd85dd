package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// DefaultPaths are the files in which a configuration is looked for, in this
// order: the one that the user of the machine wrote, the one that the image
// brought.
func DefaultPaths() []string {
	return []string{"/perm/bondd/bondd.toml", "/etc/bondd/bondd.toml"}
}

// Find returns the path of the configuration file: explicit if it is not empty,
// whether it exists or not, or else the first of paths where there is a file,
// readable or not, a link that leads nowhere too, for a file that is there and
// does not work has to be reported and not passed over. Without paths they are
// DefaultPaths. With no file at all, ok is false and Default is the
// configuration.
func Find(explicit string, paths ...string) (path string, ok bool) {
	if explicit != "" {
		return explicit, true
	}
	if len(paths) == 0 {
		paths = DefaultPaths()
	}
	for _, path := range paths {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, true
		}
	}
	return "", false
}

// ReadFile reads a configuration file, which Parse and Check take. It reads
// regular files only, so that it never waits for somebody to write to a pipe,
// and one byte more than a configuration may have at most. Its errors are those
// of package os, with operation and path.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, &fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}
	case !info.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}

// Load reads and parses a configuration file. The error is Errors where the file
// was read and is not good, and that of ReadFile where it was not read.
func Load(path string) (*Config, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}
