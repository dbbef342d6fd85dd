package random

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
)

// seedSize is how many bytes of its seed gokrazy's randomd takes. They are one
// sector of the disk, which is written as a whole or not at all.
const seedSize = 512

// KeepSeed writes a new seed for the next start to the file path, which only root
// can read, once the kernel's source is ready. It returns when the seed is on the
// disk, with the error of the read if the source could not be read, or with nil
// when ctx ends. Without a path there is no seed.
//
// gokrazy's randomd, which feeds the seed to the kernel at boot, writes the next
// one as well, but into the page cache: when the power fails within half a minute
// the next boot has the same seed once more, and without a seed on the disk it
// takes the time of day for one.
func (s *Source) KeepSeed(ctx context.Context, path string) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.doneC:
	}
	if s.err != nil || path == "" {
		return s.err
	}
	seed := make([]byte, seedSize)
	_, _ = rand.Read(seed) // never fails
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("keep random seed: %w", err)
	}
	_, err = file.Write(seed)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("keep random seed: %w", err)
	}
	return nil
}
