package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	pdb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/catena-im/catena/pkg/kv"
)

// big is the only commit under the i-th fence, of 1 MiB.
func big(i int) *kv.Batch {
	b := &kv.Batch{Fence: fmt.Appendf(nil, "fence%d", i), Next: []byte("1")}
	b.Put(fmt.Appendf(nil, "key%d", i), make([]byte, kv.MaxValue))
	return b
}

// stagedBytes is how much the stage takes.
func (s *Store) stagedBytes() int {
	s.staging.RLock()
	defer s.staging.RUnlock()
	return s.fresh.bytes
}

// commitAll commits big batches, all at once.
func commitAll(t *testing.T, s *Store, batches int) *sync.WaitGroup {
	t.Helper()
	var all sync.WaitGroup
	for i := range batches {
		all.Go(func() {
			if err := s.Commit(context.Background(), big(i)); err != nil {
				t.Error(err)
			}
		})
	}
	return &all
}

// Commits that come together do not all take the same room, and those that wait find it when the stage was handed over.
func TestStageKeepsItsBound(t *testing.T) {
	s := open(t, Config{Dir: "store", FS: vfs.NewMem(), stageBytes: 1 << 20})
	s.drains <- struct{}{} // a stage is being written
	all := commitAll(t, s, 40)
	until(t, "the stage is full", func() bool { return s.stagedBytes() >= 2*s.stageBytes })
	for range 100 {
		runtime.Gosched()
	}
	if got, most := s.stagedBytes(), 3*s.stageBytes+1000; got > most {
		t.Errorf("the stage takes %d bytes, want %d at most", got, most)
	}
	<-s.drains // it is written: the others take turns
	all.Wait()
}

func TestCommitsGoOnWhenAStageIsHandedOver(t *testing.T) {
	s := open(t, Config{Dir: "store", FS: vfs.NewMem(), stageBytes: 1 << 20})
	s.drains <- struct{}{}
	all := commitAll(t, s, 3)
	until(t, "the stage is full", func() bool { return s.stagedBytes() >= 2*s.stageBytes })
	s.drain() // hands it over; the place of drains stays taken
	all.Wait()
	<-s.drains
}

func TestFullStageIsAnsweredToAContext(t *testing.T) {
	s := open(t, Config{Dir: "store", FS: vfs.NewMem(), stageBytes: 1 << 20})
	s.drains <- struct{}{}
	commitAll(t, s, 2).Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Commit(ctx, big(2)); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kv.ErrUnknown) {
		t.Errorf("got %v, want %v: nothing was written", err, context.DeadlineExceeded)
	}
	<-s.drains
}

// A stage holds of each key what was put last, of batches that are smaller and larger than what is added together.
func TestStageHoldsWhatWasPutLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, want := new(stage), map[string]string{}
		keys := rapid.SampledFrom([]int{3, 2 * together, 2 * firstTable}).Draw(t, "keys")
		for n := range rapid.IntRange(1, 20).Draw(t, "batches") {
			b := &kv.Batch{Fence: []byte("fence"), Next: fmt.Append(nil, n)}
			for range rapid.IntRange(0, 4*together).Draw(t, "operations") {
				key, value := fmt.Sprint(rapid.IntRange(1, keys).Draw(t, "key")), fmt.Sprint(rapid.Int().Draw(t, "value"))
				if want[key] = value; rapid.Bool().Draw(t, "deleted") {
					want[key] = ""
					b.Delete([]byte(key))
				} else {
					b.Put([]byte(key), []byte(value))
				}
			}
			s.put(b)
			want["fence"] = string(b.Next)
		}
		got := map[string]string{}
		for _, k := range s.newest(newPace(func() int { return 0 })) {
			key := s.keys.at(k.key)
			value, held := s.get(key, s.count)
			if !held || !bytes.Equal(value, s.value(k.n)) {
				t.Fatalf("%s: get has %q, %v; the newest is %q", key, value, held, s.value(k.n))
			}
			got[string(key)] = string(value)
		}
		if !maps.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// What a stage counts is about what it takes, also where keys and values are small.
func TestStageCountsWhatItTakes(t *testing.T) {
	for name, op := range map[string]func(int) kv.Op{
		"values of 60 bytes":   func(i int) kv.Op { return kv.Op{Key: fmt.Appendf(nil, "key/%08d", i), Value: make([]byte, 60)} },
		"heads":                func(i int) kv.Op { return kv.Op{Key: fmt.Appendf(nil, "key/%d", i%100), Value: []byte("v")} },
		"deletes of short key": func(i int) kv.Op { return kv.Op{Key: []byte{byte(i)}} },
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			s := new(stage)
			for i := 0; s.bytes < 8<<20; i++ {
				s.add([]kv.Op{op(i)})
			}
			if took := heap() - before; took > 2*uint64(s.bytes) || took < uint64(s.bytes)/4 {
				t.Errorf("it counts %d KiB and takes %d KiB", s.bytes>>10, took>>10)
			}
			runtime.KeepAlive(s)
		})
	}
}

func heap() uint64 {
	for range 3 { // what pools hold, which tests before have left, goes with the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A table is on the disk at once. What was written before it, into Pebble's log, must be there, too, also where the table
// does not touch it.
func TestTableStaysNotWithoutWhatCameBefore(t *testing.T) {
	disk := newCrashable()
	s := open(t, config(disk, false))
	for _, c := range []struct {
		fence string
		size  int
	}{{"early", 1}, {"late", s.tableBytes}} {
		b := &kv.Batch{Fence: []byte(c.fence), Next: []byte("1")}
		b.Put([]byte(c.fence+"/key"), make([]byte, c.size))
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		s.drainNow()
	}
	if total := s.db.Metrics().Total(); total.TablesIngested == 0 {
		t.Fatal("the late commit made no table")
	}
	left := open(t, config(disk.CrashClone(vfs.CrashCloneCfg{}), false))
	for _, fence := range []string{"late", "early"} {
		if v, err := left.held([]byte(fence)); err != nil || string(v) != "1" {
			t.Errorf("the %s commit: got %q, %v; want it to be there", fence, v, err)
		}
	}
}

// Some file systems know no links.
func TestTableWithoutLinks(t *testing.T) {
	for _, reason := range []error{syscall.EOPNOTSUPP, syscall.EPERM} {
		t.Run(reason.Error(), func(t *testing.T) {
			f := &fault{}
			f.set(func(_ int, op errorfs.Op) error {
				if op.Kind == errorfs.OpLink {
					return reason
				}
				return nil
			})
			s := open(t, Config{Dir: "store", FS: errorfs.Wrap(vfs.NewMem(), f), tableBytes: 1})
			if err := s.Commit(t.Context(), big(0)); err != nil {
				t.Fatal(err)
			}
			if err := s.Sync(t.Context()); err != nil {
				t.Errorf("sync: got %v, want it to be written all the same", err)
			}
			if v, err := get(s.db, []byte("fence0")); err != nil || string(v) != "1" {
				t.Errorf("got %q, %v; want it to be there", v, err)
			}
		})
	}
}

// A crash may leave the table under both of its names; what is written next must not go into the same file.
func TestTableThatACrashLeftIsNotWrittenTo(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		s := open(t, Config{Dir: dir, tableBytes: 1, stageBytes: 1 << 20})
		for j := range i {
			if v, err := s.held(fmt.Appendf(nil, "fence%d", j)); err != nil || string(v) != "1" {
				t.Errorf("commit %d: got %q, %v; want it to be there", j, v, err)
			}
		}
		if err := s.Commit(t.Context(), big(i)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
		if err != nil || len(tables) == 0 {
			t.Fatalf("tables %v, %v; want some", tables, err)
		}
		if err := os.Link(tables[0], filepath.Join(dir, stageTable)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReleasedSnapshotKeepsNoStage(t *testing.T) {
	s := open(t, Config{Dir: "store", FS: vfs.NewMem()})
	if err := s.Commit(t.Context(), big(0)); err != nil {
		t.Fatal(err)
	}
	sn, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sn.Release()
	if n := len(sn.(*snapshot).stages); n != 0 {
		t.Errorf("it keeps %d stages", n)
	}
}

// A scan that finds nothing but what was deleted looks at its context, too.
func TestScanOverDeletesEndsWithItsContext(t *testing.T) {
	s := open(t, Config{Dir: "store", FS: vfs.NewMem()})
	b := &kv.Batch{Fence: []byte("fence"), Next: []byte("1")}
	b.Put([]byte("key"), []byte("value"))
	for i := range 100 {
		b.Delete(fmt.Appendf(nil, "key%d", i))
	}
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	sn, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sn.Release()
	ctx, cancel := context.WithCancel(t.Context())
	err = sn.Scan(ctx, kv.Range{Start: []byte("key")}, func(_, _ []byte) error {
		cancel() // at the first key; what follows was deleted
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// A drain that fails takes away what the fence held. Nobody may take that for another writer.
func TestFailedDrainFencesNobody(t *testing.T) {
	s := unwritable(t)
	b := &kv.Batch{Fence: []byte("fence"), Next: []byte("1")}
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(t.Context()); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("sync: got %v, want %v", err, kv.ErrUnavailable)
	}
	s.ops.Add(1) // a commit that began before the failure
	defer s.ops.Done()
	err := s.stageFenced(t.Context(), &kv.Batch{Fence: []byte("fence"), Expect: []byte("1"), Next: []byte("2")})
	if !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("commit: got %v, want %v", err, kv.ErrUnavailable)
	}
}

func TestCloseThatCannotWriteIsUnavailable(t *testing.T) {
	s := unwritable(t)
	if err := s.Commit(t.Context(), big(0)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, kv.ErrUnavailable)
	}
}

// unwritable is a store whose database refuses every batch.
func unwritable(t *testing.T) *Store {
	t.Helper()
	cfg := Config{Dir: "store", FS: vfs.NewMem()}
	if err := open(t, cfg).Close(); err != nil {
		t.Fatal(err)
	}
	cfg.tune = func(o *pdb.Options) { o.ReadOnly = true }
	return open(t, cfg)
}

// However many callers give up while a stage is being written, a bounded number of goroutines waits for it.
func TestCommitsLeftBehindAreBounded(t *testing.T) {
	s := open(t, Config{Dir: "store", FS: vfs.NewMem(), SyncCommits: true})
	s.drains <- struct{}{}
	before := runtime.NumGoroutine()
	for i := range 300 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		b := &kv.Batch{Fence: fmt.Appendf(nil, "fence%d", i), Next: []byte("1")}
		if err := s.Commit(ctx, b); !errors.Is(err, kv.ErrUnknown) && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	if left := runtime.NumGoroutine() - before; left > cap(s.syncs)+10 {
		t.Errorf("%d goroutines wait", left)
	}
	<-s.drains
}

func TestStageHasRoomForAsManyKeysAsTheOneBefore(t *testing.T) {
	for _, keys := range []int{0, 1, firstTable/2 + 1, 100_000, 600} {
		before := &stage{held: keys, table: make([]uint64, 1<<20)}
		size := len(newStage(before).table)
		if keys > firstTable/2 && (size < 2*keys || size > 4*(keys+together)) {
			t.Errorf("after %d keys a table has %d slots", keys, size)
		}
		if keys <= firstTable/2 && size != 0 {
			t.Errorf("after %d keys a table has %d slots, want none", keys, size)
		}
	}
}
