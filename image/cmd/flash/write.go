package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// chunk is how much is written at once, in bytes: large enough for cards that
// erase in megabytes, small enough to stop soon.
const chunk = 4 << 20

// write copies src to the beginning of dst, waits until it is on the medium, and
// returns the SHA-256 of what it has copied. It calls done with the number of
// bytes so far, and ends early when ctx does.
func write(ctx context.Context, dst *os.File, src io.Reader, done func(int64)) ([]byte, error) {
	if _, err := dst.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	hash := sha256.New()
	if err := copyChunks(ctx, io.MultiWriter(dst, hash), src, done); err != nil {
		return nil, err
	}
	if err := dst.Sync(); err != nil {
		return nil, err
	}
	return hash.Sum(nil), nil
}

// verify reads the first size bytes of dst from the medium and compares their
// SHA-256 with sum.
func verify(ctx context.Context, dst *os.File, size int64, sum []byte, done func(int64)) error {
	// Or it would be the page cache that is read, which is right in any case.
	if err := unix.Fadvise(int(dst.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop cache: %w", err)
	}
	if _, err := dst.Seek(0, io.SeekStart); err != nil {
		return err
	}
	hash := sha256.New()
	if err := copyChunks(ctx, hash, io.LimitReader(dst, size), done); err != nil {
		return err
	}
	if got := hash.Sum(nil); string(got) != string(sum) {
		return fmt.Errorf(
			"it does not hold what was written: its SHA-256 is %x, the image's %x; the disk is damaged or smaller than it says",
			got,
			sum,
		)
	}
	return nil
}

func copyChunks(ctx context.Context, dst io.Writer, src io.Reader, done func(int64)) error {
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return errors.New("interrupted")
		}
		n, err := io.CopyN(dst, src, chunk)
		total += n
		done(total)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
