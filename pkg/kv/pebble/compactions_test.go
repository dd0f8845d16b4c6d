package pebble

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pdb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/catena-im/catena/pkg/kv"
)

// shallow is a level 0 that few stages make too deep.
const shallow = 4

// Where compactions do not keep up, stages wait for them, be they written as tables or as batches. A Sync is called back
// by its context, and all by Close.
func TestStagesWaitForCompactions(t *testing.T) {
	for _, tables := range []bool{true, false} {
		t.Run(fmt.Sprintf("tables %v", tables), func(t *testing.T) {
			cfg := Config{Dir: "store", FS: vfs.NewMem(), tableBytes: 1, sublevels: shallow, tune: func(o *pdb.Options) {
				o.DisableAutomaticCompactions, o.L0CompactionThreshold = true, shallow
			}}
			s, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			commit := committer(t, s)
			fill := func() {
				t.Helper()
				s.tableBytes = 1 // batches go into a memtable, only tables make the level deep
				for s.db.Metrics().Levels[0].Sublevels < shallow {
					commit(100)
					if err := s.Sync(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if s.looked = (time.Time{}); !tables {
					s.tableBytes = 1 << 20
				}
			}
			fill()
			impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			commit(100)
			if err := s.Sync(impatient); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("with level 0 full: got %v, want it to wait", err)
			}
			if n := s.db.Metrics().Levels[0].Sublevels; n != shallow {
				t.Errorf("level 0 has %d sub-levels, want %d", n, shallow)
			}
			if s.disk.ease() > 0 {
				t.Error("compactions rest while a stage waits for them")
			}
			if err := s.db.Compact(t.Context(), []byte{0}, []byte{255}, false); err != nil {
				t.Fatal(err)
			}
			if err := s.Sync(t.Context()); err != nil {
				t.Errorf("after a compaction: %v", err)
			}
			fill()
			commit(100)
			synced := make(chan error, 1)
			go func() { synced <- s.Sync(t.Context()) }()
			until(t, "it waits", func() bool { return len(s.drains) == 1 })
			closes(t, s)
			<-synced
		})
	}
}

// A table that a compaction could not read is left alone for half a minute, and level 0 gets as deep as it may. What is
// committed goes on, if slowly, and Close returns.
func TestOneFailedReadDoesNotHangTheStore(t *testing.T) {
	var armed, failed atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") && armed.Load() && failed.CompareAndSwap(false, true) {
			return syscall.EIO
		}
		return nil
	}))
	s, err := New(Config{Dir: "store", FS: fs, sublevels: 2 * shallow, patience: 100 * time.Millisecond, tune: func(o *pdb.Options) {
		o.MemTableSize, o.LBaseMaxBytes = 64<<10, 64<<10
		o.L0CompactionThreshold = shallow / 2
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	deep := 0
	for i := range 3000 {
		if i == 300 {
			until(t, "compactions end", func() bool { return s.db.Metrics().Compact.NumInProgress == 0 })
			armed.Store(true)
		}
		if err := churn(ctx, s, i); err != nil {
			t.Errorf("commit %d: %v; a read failed: %v", i, err, failed.Load())
			break
		}
		if failed.Load() && s.sublevels > 2*shallow {
			deep++
		}
		if deep == 5 {
			break // so many stages went on
		}
	}
	if deep < 5 {
		t.Errorf("level 0 was not deep; a read failed: %v", failed.Load())
	}
	closes(t, s)
}

// While Pebble lets writes wait, what they wait for does not rest.
func TestNothingRestsWhilePebbleStopsWrites(t *testing.T) {
	var s *Store
	var stalls, resting atomic.Int32
	s = open(t, Config{Dir: "store", FS: vfs.NewMem(), tune: func(o *pdb.Options) {
		o.MemTableSize, o.MemTableStopWritesThreshold = 64<<10, 2
		begin := o.EventListener.WriteStallBegin
		o.EventListener.WriteStallBegin = func(i pdb.WriteStallBeginInfo) {
			begin(i)
			if stalls.Add(1); s.disk.ease() > 0 {
				resting.Add(1)
			}
		}
	}})
	for i := range 300 {
		if err := churn(t.Context(), s, i); err != nil {
			t.Fatal(err)
		}
	}
	if stalls.Load() == 0 {
		t.Error("nothing waited")
	}
	if resting.Load() > 0 {
		t.Errorf("in %d of %d stalls flushes and compactions rest", resting.Load(), stalls.Load())
	}
}

// churn commits 10 kB under keys all over, and syncs.
func churn(ctx context.Context, s *Store, i int) error {
	b := &kv.Batch{Fence: []byte("fence"), Next: fmt.Append(nil, i)}
	if i > 0 {
		b.Expect = fmt.Append(nil, i-1)
	}
	for range 20 {
		v := make([]byte, 500)
		_, _ = rand.Read(v)
		b.Put(fmt.Appendf(nil, "k%08d", mrand.IntN(100_000)), v)
	}
	if err := s.Commit(ctx, b); err != nil {
		return err
	}
	return s.Sync(ctx)
}

// closes closes a store, which takes no longer than what it writes.
func closes(t *testing.T, s *Store) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not return")
	}
}
