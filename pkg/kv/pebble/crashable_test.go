package pebble

import (
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crashable is a file system in memory that may be cloned at any time, as a loss of power leaves it. Pebble's own, up to
// v2.1.7 at least, takes a lock for reading twice in the three methods below, and hangs with a clone that begins in between
// (cockroachdb/pebble#5993).
type crashable struct {
	*vfs.MemFS
	whole sync.RWMutex
}

func newCrashable() *crashable { return &crashable{MemFS: vfs.NewCrashableMem()} }

func (c *crashable) CrashClone(cfg vfs.CrashCloneCfg) *crashable {
	c.whole.Lock()
	defer c.whole.Unlock()
	return &crashable{MemFS: c.MemFS.CrashClone(cfg)}
}

func (c *crashable) Link(oldname, newname string) error {
	c.whole.RLock()
	defer c.whole.RUnlock()
	return c.MemFS.Link(oldname, newname)
}

func (c *crashable) Lock(name string) (io.Closer, error) {
	c.whole.RLock()
	defer c.whole.RUnlock()
	return c.MemFS.Lock(name)
}

func (c *crashable) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	c.whole.RLock()
	defer c.whole.RUnlock()
	return c.MemFS.ReuseForWrite(oldname, newname, category)
}

func TestClonesAndLinksDoNotWaitForEachOther(t *testing.T) {
	disk := newCrashable()
	f, err := disk.Create("a", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	const rounds = 20_000 // of which one in some hundreds would hang
	failed := make(chan error, 2)
	go func() {
		for range rounds {
			disk.CrashClone(vfs.CrashCloneCfg{})
		}
		failed <- nil
	}()
	go func() {
		var err error
		for range rounds {
			err = errors.Join(err, disk.Link("a", "b"), disk.Remove("b"))
		}
		failed <- err
	}()
	for range cap(failed) {
		select {
		case err := <-failed:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("a clone and a link wait for each other")
		}
	}
}
