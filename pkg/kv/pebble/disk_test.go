package pebble

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pdb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/kvtest"
)

// fault is what is wrong with a disk: nothing until something is set.
type fault struct {
	mu     sync.Mutex // guards the fields below
	writes int        // seen so far
	decide func(write int, op errorfs.Op) error
}

func (f *fault) String() string { return "fault" }

func (f *fault) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpLock {
		return nil
	}
	f.mu.Lock()
	f.writes++
	n, decide := f.writes, f.decide
	f.mu.Unlock()
	if decide == nil {
		return nil
	}
	return decide(n, op)
}

func (f *fault) set(decide func(write int, op errorfs.Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decide = decide
}

// full lets writes find no room. What was written before can be synced: a sync that fails is a failed disk, not a full one.
func (f *fault) full() {
	f.set(func(_ int, op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpRemove, errorfs.OpFileClose, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			return nil
		}
		return syscall.ENOSPC
	})
}

func (f *fault) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// restless makes Pebble flush, compact and rotate its files all the time.
func restless(o *pdb.Options) {
	o.MemTableSize = 16 << 10
	o.MemTableStopWritesThreshold = 2
	o.L0CompactionThreshold = 1
	o.LBaseMaxBytes = 16 << 10
	o.TargetFileSizes[0] = 4 << 10
	o.MaxManifestFileSize = 1 << 10
}

func config(fs vfs.FS, synced bool) Config {
	return Config{Dir: "store", FS: fs, SyncCommits: synced, tune: restless, poll: time.Millisecond, stageBytes: 8 << 10, tableBytes: 4 << 10}
}

// until waits for a condition.
func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !met() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		}
	}
}

// fill commits until the store refuses.
func fill(t *testing.T, s kv.Store, l *kvtest.Log) {
	t.Helper()
	for range 10_000 {
		err := l.Try(s)
		if errors.Is(err, kv.ErrUnavailable) {
			return
		}
		if err != nil {
			t.Fatalf("commit: got %v, want %v", err, kv.ErrUnavailable)
		}
	}
	t.Fatal("the store takes commits without end")
}

func TestPowerLossKeepsAPrefix(t *testing.T) {
	for _, synced := range []bool{true, false} {
		for _, percent := range []int{0, 50, 100} {
			t.Run(fmt.Sprintf("commits synced %v, %d%% of the rest", synced, percent), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, uint64(percent)))
				kvtest.RunDurable(t, func(t *testing.T) (kv.Store, func(t *testing.T) kv.Store) {
					disk := newCrashable()
					s := open(t, config(disk, synced))
					return s, func(t *testing.T) kv.Store {
						disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
						s = open(t, config(disk, synced))
						return s
					}
				})
			})
		}
	}
}

// TestPowerLossAtAnyWrite cuts the power before write 1, 2, 3, … and opens what is left.
func TestPowerLossAtAnyWrite(t *testing.T) {
	for _, synced := range []bool{true, false} {
		t.Run(fmt.Sprintf("commits synced %v", synced), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(2, 3))
			for at, more := 1, true; more; at = further(at) {
				more = cutPower(t, at, synced, rng)
			}
		})
	}
}

// further is the next write to try: all those of New, and some of the many afterwards.
func further(at int) int { return at + 1 + at/12 }

// cutPower reports whether the power was cut before the work was done.
func cutPower(t *testing.T, at int, synced bool, rng *rand.Rand) bool {
	disk, f := newCrashable(), &fault{}
	var left *crashable
	var confirmed, sure int
	l := &kvtest.Log{Prefix: "log/"}
	var mu sync.Mutex // guards what the cut looks at
	f.set(func(write int, _ errorfs.Op) error {
		if write == at {
			mu.Lock()
			sure = confirmed
			mu.Unlock()
			left = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
		}
		return nil
	})
	s := open(t, config(errorfs.Wrap(disk, f), synced))
	for i := range 60 {
		l.Commit(t, s)
		if i%7 == 0 {
			l.Sync(t, s)
		}
		mu.Lock()
		if confirmed = l.Confirmed; synced {
			confirmed = l.Committed
		}
		mu.Unlock()
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if left == nil {
		return false
	}
	l.Confirmed = sure
	again := open(t, config(left, synced))
	l.Recover(t, again)
	l.Commit(t, again)
	if err := again.Close(); err != nil {
		t.Fatalf("write %d: close: %v", at, err)
	}
	return true
}

func TestFullDiskIsWaitedFor(t *testing.T) {
	for _, synced := range []bool{true, false} {
		t.Run(fmt.Sprintf("commits synced %v", synced), func(t *testing.T) {
			disk, f := newCrashable(), &fault{}
			s := open(t, config(errorfs.Wrap(disk, f), synced))
			l := &kvtest.Log{Prefix: "log/"}
			for range 50 {
				l.Commit(t, s)
			}
			f.full()
			fill(t, s, l)

			ctx := t.Context()
			if err := s.Sync(ctx); !errors.Is(err, kv.ErrUnavailable) {
				t.Errorf("sync: got %v, want %v", err, kv.ErrUnavailable)
			}
			sn, err := s.Snapshot(ctx)
			if err != nil {
				t.Fatalf("snapshot: %v", err)
			}
			if v, err := sn.Get(ctx, []byte("log/fence")); err != nil || v == nil {
				t.Errorf("get: %q, %v", v, err)
			}
			sn.Release()

			f.set(nil)
			until(t, "commits go on", func() bool { return l.Try(s) == nil })
			until(t, "syncs go on", func() bool { return s.Sync(ctx) == nil })
			l.Confirmed = l.Committed // nothing was lost
			if closed(s.Failed()) {
				t.Error("the store failed")
			}
			l.Recover(t, open(t, config(disk.CrashClone(vfs.CrashCloneCfg{}), synced)))
		})
	}
}

func TestFullDiskAtClose(t *testing.T) {
	for _, synced := range []bool{true, false} {
		t.Run(fmt.Sprintf("commits synced %v", synced), func(t *testing.T) {
			disk, f := vfs.NewMem(), &fault{}
			s := open(t, config(errorfs.Wrap(disk, f), synced))
			l := &kvtest.Log{Prefix: "log/"}
			for range 50 {
				l.Commit(t, s)
			}
			l.Sync(t, s)
			f.full()
			fill(t, s, l)
			if err := s.Close(); !errors.Is(err, kv.ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("close: got %v, want %v and %v", err, kv.ErrUnavailable, syscall.ENOSPC)
			}
			if _, err := New(config(errorfs.Wrap(disk, f), synced)); !errors.Is(err, kv.ErrUnavailable) {
				t.Errorf("new on a full disk: got %v, want %v", err, kv.ErrUnavailable)
			}
			f.set(nil)
			again := open(t, config(errorfs.Wrap(disk, f), synced))
			l.Recover(t, again)
			l.Commit(t, again)
		})
	}
}

// TestFullDiskAtAnyWrite lets write 1, 2, 3, … find the disk full a few times.
func TestFullDiskAtAnyWrite(t *testing.T) {
	for at, more := 1, true; more; at = further(at) {
		disk, f := newCrashable(), &fault{}
		var refused atomic.Int32
		f.set(func(write int, op errorfs.Op) error {
			switch op.Kind {
			case errorfs.OpCreate, errorfs.OpRename, errorfs.OpFileWrite:
				if write >= at && refused.Add(1) <= 3 {
					return syscall.ENOSPC
				}
			}
			return nil
		})
		var s *Store
		until(t, "the store opens", func() (opened bool) {
			var err error
			if s, err = New(config(errorfs.Wrap(disk, f), at%2 == 0)); err != nil && !errors.Is(err, kv.ErrUnavailable) {
				t.Fatalf("write %d: new: %v", at, err)
			}
			return err == nil
		})
		l := &kvtest.Log{Prefix: "log/"}
		for range 60 {
			until(t, "a commit", func() bool {
				err := l.Try(s)
				if err != nil && !errors.Is(err, kv.ErrUnavailable) {
					t.Fatalf("write %d: commit: %v", at, err)
				}
				return err == nil
			})
		}
		until(t, "a sync", func() bool { return s.Sync(t.Context()) == nil })
		more = f.seen() >= at
		l.Confirmed = l.Committed
		l.Recover(t, open(t, config(disk.CrashClone(vfs.CrashCloneCfg{}), false)))
		_ = s.Close()
	}
}

// TestFailedWriteFreezesTheFolder lets write 1, 2, 3, … fail, alone or with all that follow, and opens what is left.
func TestFailedWriteFreezesTheFolder(t *testing.T) {
	for _, c := range []struct {
		name            string
		lasting, synced bool
	}{
		{"one write", false, true},
		{"one write, commits not synced", false, false},
		{"all from one on", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for at, more := 1, true; more; at = further(at) {
				more = failWrite(t, at, c.lasting, c.synced)
			}
		})
	}
}

// failWrite reports whether the write was reached before the work was done.
func failWrite(t *testing.T, at int, lasting, synced bool) bool {
	disk, f := newCrashable(), &fault{}
	f.set(func(write int, op errorfs.Op) error {
		if write == at || lasting && write > at {
			return syscall.EIO
		}
		return nil
	})
	l := &kvtest.Log{Prefix: "log/"}
	s, err := New(config(errorfs.Wrap(disk, f), synced))
	if err == nil {
		err = work(t, s, l, synced)
		if err != nil {
			isBroken(t, s)
		}
		if closed := s.Close(); err == nil {
			err = closed
		}
	}
	if err != nil && !(errors.Is(err, kv.ErrUnavailable) && errors.Is(err, syscall.EIO)) {
		t.Fatalf("write %d: got %v, want %v and %v", at, err, kv.ErrUnavailable, syscall.EIO)
	}
	for name, left := range map[string]vfs.FS{
		"reopened":                   disk,
		"reopened after power loss":  disk.CrashClone(vfs.CrashCloneCfg{}),
		"reopened, some of it there": disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(4, uint64(at)))}),
	} {
		again, ends := open(t, config(left, synced)), *l
		if !t.Run(fmt.Sprintf("write %d, %s", at, name), func(t *testing.T) {
			ends.Recover(t, again)
			ends.Commit(t, again)
		}) {
			t.FailNow()
		}
		if err := again.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if f.seen() < at {
		t.Logf("%d writes", f.seen())
	}
	return f.seen() >= at
}

// work commits and syncs until that fails.
func work(t *testing.T, s *Store, l *kvtest.Log, synced bool) error {
	for i := range 60 {
		if err := l.Try(s); err != nil {
			return err
		}
		if i%7 == 0 {
			if err := s.Sync(t.Context()); err != nil {
				return err
			}
			l.Confirmed = l.Committed
		}
		if synced {
			l.Confirmed = l.Committed
		}
	}
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// isBroken checks that a store that failed refuses everything.
func isBroken(t *testing.T, s *Store) {
	t.Helper()
	if !closed(s.Failed()) {
		t.Fatal("the store did not fail")
	}
	_, err := s.Snapshot(t.Context())
	for name, err := range map[string]error{
		"commit":   s.Commit(t.Context(), &kv.Batch{Fence: []byte("f"), Next: []byte("1")}),
		"sync":     s.Sync(t.Context()),
		"snapshot": err,
	} {
		if !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", name, err, kv.ErrUnavailable)
		}
	}
}

// TestFailureUnderLoad lets a write fail, or all find the disk full until Close, while several partitions commit.
func TestFailureUnderLoad(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for at := 60; at < 160; at += 9 {
			t.Run(fmt.Sprintf("%v at write %d", cause, at), func(t *testing.T) { failLoaded(t, cause, at) })
		}
	}
}

func failLoaded(t *testing.T, cause error, at int) {
	disk, f := newCrashable(), &fault{}
	f.set(func(write int, op errorfs.Op) error {
		if write >= at && op.Kind == errorfs.OpFileWrite {
			return cause
		}
		return nil
	})
	synced := at%2 == 0
	s := open(t, config(errorfs.Wrap(disk, f), synced))
	logs := make([]*kvtest.Log, 6)
	var wg sync.WaitGroup
	for i := range logs {
		l := &kvtest.Log{Prefix: fmt.Sprintf("log%d/", i)}
		logs[i] = l
		wg.Go(func() {
			for {
				if err := work(t, s, l, synced); errors.Is(err, kv.ErrUnavailable) {
					return
				} else if err != nil {
					t.Errorf("got %v, want %v", err, kv.ErrUnavailable)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); !errors.Is(err, kv.ErrUnavailable) || !errors.Is(err, cause) {
		t.Errorf("close: got %v, want %v and %v", err, kv.ErrUnavailable, cause)
	}
	for _, left := range []vfs.FS{disk, disk.CrashClone(vfs.CrashCloneCfg{})} {
		again := open(t, config(left, synced))
		for _, l := range logs {
			ends := *l
			ends.Recover(t, again)
			ends.Commit(t, again)
		}
		if err := again.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// TestFullDiskStopsFlushes has room for the log and none for tables.
func TestFullDiskStopsFlushes(t *testing.T) {
	for _, lift := range []bool{true, false} {
		t.Run(fmt.Sprintf("room comes %v", lift), func(t *testing.T) {
			disk, f := vfs.NewMem(), &fault{}
			s := open(t, config(errorfs.Wrap(disk, f), false))
			f.set(func(_ int, op errorfs.Op) error {
				if strings.HasSuffix(op.Path, ".sst") && op.Kind == errorfs.OpFileWrite {
					return syscall.ENOSPC
				}
				return nil
			})
			l := &kvtest.Log{Prefix: "log/"}
			fill(t, s, l)
			if lift {
				f.set(nil)
				for range 100 {
					until(t, "commits go on", func() bool { return l.Try(s) == nil })
				}
			}
			if err := s.Close(); (err == nil) != lift {
				t.Errorf("close: %v", err)
			}
			f.set(nil)
			again := open(t, config(disk, false))
			if lift {
				l.Confirmed = l.Committed
			}
			l.Recover(t, again)
		})
	}
}

// TestHangingDiskIsLeftBehind holds an fsync back: callers go when their contexts end, and the commit in doubt is
// settled by the same batch.
func TestHangingDiskIsLeftBehind(t *testing.T) {
	f := &fault{}
	s := open(t, Config{Dir: "store", FS: errorfs.Wrap(vfs.NewMem(), f), SyncCommits: true})
	reached, hanging := make(chan struct{}, 64), make(chan struct{})
	release := sync.OnceFunc(func() { close(hanging) })
	t.Cleanup(release)
	f.set(func(_ int, op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".log") && op.Kind != errorfs.OpFileClose {
			reached <- struct{}{}
			<-hanging
		}
		return nil
	})
	b := &kv.Batch{Fence: []byte("f"), Next: []byte("1")}
	b.Put([]byte("k"), []byte("v"))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Commit(ctx, b); !errors.Is(err, kv.ErrUnknown) || !errors.Is(err, context.Canceled) {
			t.Errorf("commit: got %v, want %v and %v", err, kv.ErrUnknown, context.Canceled)
		}
	})
	<-reached
	wg.Go(func() {
		if err := s.Sync(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("sync: got %v, want %v", err, context.Canceled)
		}
	})
	until(t, "the sync hangs, as the commit does", func() bool { return len(s.syncs) == 2 })
	cancel()
	wg.Wait()
	release()
	if err := s.Commit(t.Context(), b); err != nil {
		t.Errorf("the same batch again: %v", err)
	}
}

// TestLostFileDoesNotEndTheProcess takes tables away: reads that need them fail, no more.
func TestLostFileDoesNotEndTheProcess(t *testing.T) {
	disk := vfs.NewMem()
	s := open(t, config(disk, false))
	l := &kvtest.Log{Prefix: "log/"}
	for range 200 {
		l.Commit(t, s)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := config(disk, false)
	cfg.tune = func(o *pdb.Options) { o.DisableTableStats, o.DisableAutomaticCompactions = true, true }
	s = open(t, cfg)
	names, err := disk.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			if err := disk.Remove("store/" + n); err != nil {
				t.Fatal(err)
			}
		}
	}
	sn, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sn.Release()
	if v, err := sn.Get(t.Context(), []byte("log/fence")); err == nil {
		t.Errorf("get answers %q", v)
	}
	if err := l.Try(s); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("commit: got %v, want %v", err, kv.ErrUnavailable)
	}
}

func TestFatalOfPebbleFailsTheStore(t *testing.T) {
	s := open(t, config(vfs.NewMem(), false))
	(&logger{log: s.log, disk: s.disk}).Fatalf("no %s", "good")
	isBroken(t, s)
	if err := s.Close(); !errors.Is(err, kv.ErrUnavailable) || !strings.Contains(err.Error(), "no good") {
		t.Errorf("close: got %v", err)
	}
}

func TestSyncEveryBoundsWhatAPowerLossTakes(t *testing.T) {
	disk := newCrashable()
	s := open(t, config(disk, false))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.SyncEvery(ctx, time.Millisecond)
	}()
	b := &kv.Batch{Fence: []byte("f"), Next: []byte("1")}
	b.Put([]byte("k"), []byte("v"))
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	until(t, "the commit survives a power loss", func() bool {
		left := open(t, config(disk.CrashClone(vfs.CrashCloneCfg{}), false))
		snap, err := left.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Release()
		v, err := snap.Get(t.Context(), []byte("k"))
		if err != nil {
			t.Fatal(err)
		}
		return string(v) == "v"
	})
	cancel()
	<-done
}
