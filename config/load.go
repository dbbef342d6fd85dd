package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// DefaultPaths are the files in which a configuration is looked for, in this
// order: the one that the user of the machine wrote, the one that the image
// brought.
func DefaultPaths() []string {
	return []string{"/perm/bondd/bondd.toml", "/etc/bondd/bondd.toml"}
}

// Find returns the path of the configuration file: explicit if it is not empty,
// whether it exists or not, or else the first of paths where there is a file,
// readable or not, for a file that is there and does not work must be told of
// and not passed over. Without paths they are DefaultPaths. With no file at
// all, ok is false and Default is the configuration.
func Find(explicit string, paths ...string) (path string, ok bool) {
	if explicit != "" {
		return explicit, true
	}
	if len(paths) == 0 {
		paths = DefaultPaths()
	}
	for _, path := range paths {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, true
		}
	}
	return "", false
}

// Load reads a configuration file. The error is Errors where the file was read
// and is not good, and matches those of package os where it was not read.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}
