package pebble

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errLost answers for a table that was being written when the disk failed.
var errLost = errors.New("pebble: the disk failed before")

// file is a file of the folder that is open for writing, or a directory of it. Once the disk failed it takes everything
// and keeps nothing, except that a table, which Pebble reads again, tells: a failed table is written anew.
type file struct {
	vfs.File
	disk  *disk
	name  string
	table bool
	// pace is that of who makes a table; nil: somebody waits for it. Pebble writes a table on a goroutine of its own, and
	// hands each block over only when the one before is written, so what rests in Write holds up the flush or compaction.
	pace *pace
}

func (f *file) answer(made bool) error {
	if f.table && !made {
		return errLost
	}
	return nil
}

func (f *file) Write(p []byte) (int, error) {
	if f.pace != nil {
		f.pace.rest()
	}
	done := 0
	made := f.disk.insist("write", f.name, func() error {
		n, err := f.File.Write(p[done:])
		done += n
		return err
	})
	return len(p), f.answer(made)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	made := f.disk.insist("write", f.name, func() error {
		_, err := f.File.WriteAt(p, off)
		return err
	})
	return len(p), f.answer(made)
}

// Preallocate is a hint; the write that finds no room reports it.
func (f *file) Preallocate(offset, length int64) error {
	if f.disk.alive() {
		_ = f.File.Preallocate(offset, length)
	}
	return nil
}

// Sync and its like leave it to Close to tell: Pebble does not close a file that cannot be synced.
func (f *file) Sync() error {
	f.disk.once("sync", f.name, f.File.Sync)
	return nil
}

func (f *file) SyncData() error {
	f.disk.once("sync", f.name, f.File.SyncData)
	return nil
}

func (f *file) SyncTo(length int64) (fullSync bool, err error) {
	f.disk.once("sync", f.name, func() (err error) {
		fullSync, err = f.File.SyncTo(length)
		return err
	})
	return fullSync, nil
}

// Close frees the descriptor also after a failure.
func (f *file) Close() error {
	err := f.File.Close()
	return f.answer(f.disk.once("close", f.name, func() error { return err }))
}
