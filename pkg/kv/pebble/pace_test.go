package pebble

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	pdb "github.com/cockroachdb/pebble/v2"

	"github.com/catena-im/catena/pkg/kv"
)

func TestWorkInTheBackgroundRests(t *testing.T) {
	for _, tt := range []struct {
		name   string
		worked time.Duration
		ease   int
		want   time.Duration
	}{
		{"within a stint", stint / 2, mostEase, 0},
		{"after a stint", stint, mostEase, mostEase * stint},
		{"after a stint, pressed", stint, 1, stint},
		{"after a long piece", time.Second, mostEase, mostEase * 2 * stint},
		{"when somebody waits", time.Second, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPace(func() int { return tt.ease })
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

// A stage that is being written presses the more the fuller the next one is, and does not rest at all while somebody waits
// for the disk, nor while the store is closed.
func TestWhatSomebodyWaitsForDoesNotRest(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir(), stageBytes: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	expect := func(when string, want int) {
		t.Helper()
		if got := s.ease(); got != want {
			t.Errorf("%s: the ease is %v, want %v", when, got, want)
		}
	}
	commit := committer(t, s)
	expect("with nothing to write", mostEase)
	commit(1000)
	commit(1000)
	expect("with little in the stage", mostEase)
	commit(5000)
	commit(10)
	expect("with seven tenths of the stage", 2)
	commit(2000)
	commit(10)
	expect("with nearly all of the stage", 0)
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("with an empty stage", mostEase)

	for _, tt := range []struct {
		name string
		sync func(context.Context) error
		want int
	}{
		{"with a sync for which nobody waits", s.syncAtEase, mostEase},
		{"with one who waits", s.Sync, 0},
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
		expect("afterwards", mostEase)
	}

	if got := s.disk.ease(); got != mostEase {
		t.Errorf("with nothing to compact: the ease of compactions is %d, want %d", got, mostEase)
	}
	closes(t, s)
	expect("after closing", 0)
	if s.disk.ease() != 0 {
		t.Error("compactions rest while the store is being closed")
	}
}

// Compactions press the more the deeper level 0 is, however small the stages are.
func TestWhatLagsDoesNotRest(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir(), tune: func(o *pdb.Options) {
		o.L0CompactionThreshold = 8
		o.DisableAutomaticCompactions = true
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	commit := committer(t, s)
	for deep, want := range []int{0: 4, 1: 4, 2: 4, 3: 4, 4: 4, 5: 3, 6: 2, 7: 1, 8: 0, 9: 0} {
		for s.db.Metrics().Levels[0].Sublevels < int32(deep) {
			commit(100)
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		s.looked = time.Time{}
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.disk.ease(); got != want {
			t.Errorf("with %d sub-levels the ease is %d, want %d", deep, got, want)
		}
	}
	if err := s.db.Compact(t.Context(), []byte{0}, []byte{255}, false); err != nil {
		t.Fatal(err)
	}
	s.looked = time.Time{}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.disk.ease(); got != mostEase {
		t.Errorf("after a compaction the ease is %d, want %d", got, mostEase)
	}
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
