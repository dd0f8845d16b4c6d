//go:build !darwin || cgo

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// writeFile replaces a file so that a crash leaves the old one or the new one.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncPath(filepath.Dir(path))
}

// syncPath makes a file or a folder durable. A file that is gone is none of its business.
func syncPath(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// journal makes durable what goleveldb has written. The mock store writes without fsync, but hands each batch to the
// kernel, so that an fsync of the log through another descriptor does. A log that was there and is gone has become a
// table, which goleveldb syncs.
type journal struct {
	dir   string
	delay string // file

	turn sync.Mutex // held while the files are synced

	mu   sync.Mutex // guards the field below
	next *round     // for those who wait for turn
}

// round is one fsync for all who came before it began.
type round struct {
	once sync.Once
	err  error
}

// sync returns when what was written before it was called is durable.
func (j *journal) sync() error {
	j.mu.Lock()
	if j.next == nil {
		j.next = new(round)
	}
	r := j.next
	j.mu.Unlock()
	r.once.Do(func() {
		j.turn.Lock()
		defer j.turn.Unlock()
		j.mu.Lock()
		j.next = nil // who comes now has written too late for this round
		j.mu.Unlock()
		r.err = j.flush()
	})
	return r.err
}

func (j *journal) flush() error {
	late, err := readDelay(j.delay)
	if err != nil {
		return err
	}
	time.Sleep(late)
	logs, err := filepath.Glob(filepath.Join(j.dir, "*.log"))
	if err != nil {
		return err
	}
	for _, path := range append(logs, j.dir) {
		if err := syncPath(path); err != nil {
			return fmt.Errorf("sync %s: %w", path, err)
		}
	}
	return nil
}

// readDelay reads a duration from a file; without the file it is 0.
func readDelay(path string) (time.Duration, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}
