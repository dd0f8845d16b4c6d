package pebble

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
		{"after a stint", stint, false, restStints * stint},
		{"after a long piece", time.Second, false, restStints * 2 * stint},
		{"when somebody waits", time.Second, true, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPace(func() bool { return tt.hurried })
			time.Sleep(tt.worked)
			before := time.Now()
			p.rest()
			if got := time.Since(before); got != tt.want {
				t.Errorf("%s: rested for %v, want %v", tt.name, got, tt.want)
			}
			before = time.Now()
			p.rest()
			if got := time.Since(before); got != 0 && tt.want > 0 {
				t.Errorf("%s: rested again, for %v", tt.name, got)
			}
		})
	}
}

// A stage that is being written hurries while the next one is half full, while a second caller waits for the disk, and
// while the store is opened or closed.
func TestWhatSomebodyWaitsForDoesNotRest(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir(), stageBytes: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	var closed sync.Once
	shut := func() { closed.Do(func() { _ = s.Close() }) }
	defer shut()
	expect := func(when string, want bool) {
		t.Helper()
		if got := s.hurried(); got != want {
			t.Errorf("%s: hurried is %v, want %v", when, got, want)
		}
	}
	fence := byte(0)
	commit := func(bytes int) {
		t.Helper()
		b := &kv.Batch{Fence: []byte("f"), Next: []byte{fence + 1}}
		if fence > 0 {
			b.Expect = []byte{fence}
		}
		fence++
		b.Put([]byte{fence}, make([]byte, bytes))
		if err := s.Commit(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	expect("with nothing to write", false)
	commit(1000)
	commit(1000)
	expect("with little in the stage", false)
	commit(5000)
	commit(10)
	expect("with the stage half full", true)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	expect("with an empty stage", false)
	s.syncs <- struct{}{}
	expect("with one who waits", false)
	s.syncs <- struct{}{}
	expect("with two who wait", true)
	<-s.syncs
	<-s.syncs
	if s.disk.hurried() {
		t.Error("compactions are hurried with nothing to compact")
	}
	shut()
	expect("after closing", true)
	if !s.disk.hurried() {
		t.Error("compactions rest while the store is being closed")
	}
}
