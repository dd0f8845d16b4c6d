package pebble

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pdb "github.com/cockroachdb/pebble/v2"

	"github.com/catena-im/catena/pkg/kv"
)

func TestWorkInTheBackgroundRests(t *testing.T) {
	for _, tt := range []struct {
		name    string
		worked  time.Duration
		hurried bool
		want    time.Duration
	}{
		{"within a stint", stint / 2, false, 0},
		{"after a stint", stint, false, restFor * stint},
		{"after a long piece", time.Second, false, restFor * 2 * stint},
		{"when somebody waits", time.Second, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPace(func() bool { return tt.hurried })
				time.Sleep(tt.worked)
				before := time.Now()
				p.rest()
				if got := time.Since(before); got != tt.want {
					t.Errorf("rested for %v, want %v", got, tt.want)
				}
				before = time.Now()
				p.rest()
				if got := time.Since(before); got != 0 && tt.want > 0 {
					t.Errorf("rested again, for %v", got)
				}
			})
		})
	}
}

// A stage that is being written hurries while the next one is half full, while somebody waits for the disk, and while the
// store is closed.
func TestWhatSomebodyWaitsForDoesNotRest(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir(), stageBytes: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	shut := sync.OnceFunc(func() { _ = s.Close() })
	defer shut()
	expect := func(when string, want bool) {
		t.Helper()
		if got := s.hurried(); got != want {
			t.Errorf("%s: hurried is %v, want %v", when, got, want)
		}
	}
	commit := committer(t, s)
	expect("with nothing to write", false)
	commit(1000)
	commit(1000)
	expect("with little in the stage", false)
	commit(5000)
	commit(10)
	expect("with the stage half full", true)
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("with an empty stage", false)

	for _, tt := range []struct {
		name string
		sync func(context.Context) error
		want bool
	}{
		{"with a sync for which nobody waits", s.syncAtEase, false},
		{"with one who waits", s.Sync, true},
	} {
		s.drains <- struct{}{} // a stage is being written
		synced := make(chan error)
		go func() { synced <- tt.sync(t.Context()) }()
		until(t, "it waits for the stage", func() bool { return len(s.syncs) == 1 })
		expect(tt.name, tt.want)
		<-s.drains
		if err := <-synced; err != nil {
			t.Fatal(err)
		}
		expect("afterwards", false)
	}

	if s.disk.hurried() {
		t.Error("compactions are hurried with nothing to compact")
	}
	shut()
	expect("after closing", true)
	if !s.disk.hurried() {
		t.Error("compactions rest while the store is being closed")
	}
}

// Compactions that lag do not rest, however small the stages are.
func TestWhatLagsDoesNotRest(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir(), tune: func(o *pdb.Options) {
		o.L0CompactionThreshold = 2
		o.DisableAutomaticCompactions = true
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	commit := committer(t, s)
	expect := func(when string, want bool) {
		t.Helper()
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.disk.hurried(); got != want {
			t.Errorf("%s: hurried is %v, want %v", when, got, want)
		}
	}
	for range 3 {
		commit(100)
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	s.looked = time.Time{}
	expect("with three sub-levels", true)
	if err := s.db.Compact(t.Context(), []byte{0}, []byte{255}, false); err != nil {
		t.Fatal(err)
	}
	s.looked = time.Time{}
	expect("after a compaction", false)
}

// committer commits values of so many bytes under one fence.
func committer(t *testing.T, s *Store) func(bytes int) {
	fence := byte(0)
	return func(bytes int) {
		t.Helper()
		b := &kv.Batch{Fence: []byte("f"), Next: []byte{fence + 1}}
		if fence > 0 {
			b.Expect = []byte{fence}
		}
		fence++
		b.Put([]byte{fence}, make([]byte, bytes))
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
}
