package random

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		s := Start(func() error {
			<-ready
			return nil
		})
		if err := s.Wait(t.Context()); !errors.Is(err, ErrNotReady) {
			t.Errorf("a source that is not ready: error %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begun := time.Now()
		if err := s.Wait(ctx); !errors.Is(err, context.Canceled) || time.Since(begun) != time.Second {
			t.Errorf("cancelled after 1 s: error %v after %v", err, time.Since(begun))
		}
		time.AfterFunc(time.Second, func() { close(ready) })
		for range 2 {
			if err := s.Wait(t.Context()); err != nil {
				t.Errorf("a source that is ready: error %v", err)
			}
		}
	})
}

func TestRead(t *testing.T) {
	if err := Read(); err != nil {
		t.Error(err)
	}
}

func TestKeepSeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "random.seed")
	s := Start(Read)
	var seeds [][]byte
	for range 3 {
		if err := s.KeepSeed(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		seed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || len(seed) != seedSize {
			t.Errorf("%d bytes, mode %v, error %v", len(seed), info.Mode(), err)
		}
		for _, before := range seeds {
			if bytes.Equal(seed, before) {
				t.Error("a seed was written twice")
			}
		}
		seeds = append(seeds, seed)
	}
	err := s.KeepSeed(t.Context(), filepath.Join(path, "none"))
	if err == nil || !strings.HasPrefix(err.Error(), "keep random seed: ") {
		t.Errorf("where nothing can be written: %v", err)
	}
	if err := s.KeepSeed(t.Context(), ""); err != nil {
		t.Errorf("without a file: %v", err)
	}
	none := filepath.Join(t.TempDir(), "none")
	failed := errors.New("no source")
	if err := Start(func() error { return failed }).KeepSeed(t.Context(), none); !errors.Is(err, failed) {
		t.Errorf("without a source: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Start(func() error { <-t.Context().Done(); return nil }).KeepSeed(ctx, none); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if _, err := os.Stat(none); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a seed was kept without random numbers: %v", err)
	}
}
