package pebble

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/catena-im/catena/pkg/kv"
)

// TestCutsOfPowerLeaveAPrefix cuts the power again and again, in the middle of commits, drains, flushes and recoveries.
// What the store then holds is what some first commits make, at least those that a Sync confirmed.
func TestCutsOfPowerLeaveAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cuts{synced: rapid.Bool().Draw(t, "synced"), states: []map[string]string{{}}}
		disk := newCrashable()
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			disk = c.round(t, disk)
		}
		s := c.recover(t, disk)
		c.close(t, s)
	})
}

// cuts is a store whose power is cut.
type cuts struct {
	synced bool
	serial int                 // of the last commit; those that a cut took count
	states []map[string]string // before the first commit, and after each that is not lost

	mu      sync.Mutex // guards the fields below
	sure    int        // commits that are confirmed
	percent int        // of what is not synced that a cut leaves
	rng     *rand.Rand
	left    *crashable // by the cut; nil: it is still to come
	kept    int        // sure at the cut
}

// round opens the store, commits, and returns what a cut leaves of the disk.
func (c *cuts) round(t *rapid.T, disk *crashable) *crashable {
	c.left, c.percent = nil, rapid.SampledFrom([]int{0, 50, 90, 100}).Draw(t, "percent")
	c.rng = rand.New(rand.NewPCG(0, rapid.Uint64().Draw(t, "seed")))
	before := rapid.IntRange(-1, 20).Draw(t, "steps before the cut") // -1: it may come in New
	writes := rapid.IntRange(1, 60).Draw(t, "writes before the cut")
	f := &fault{}
	arm := func() {
		at := f.seen() + writes
		f.set(func(write int, _ errorfs.Op) error {
			if write >= at {
				c.cut(disk)
			}
			return nil
		})
	}
	if before < 0 {
		arm()
	}
	s := c.recover(t, errorfs.Wrap(disk, f))
	defer c.close(t, s) // where a step fails
	for i := range 40 {
		if i == before {
			arm()
		}
		c.step(t, s)
		if c.isCut() {
			break
		}
	}
	c.close(t, s)
	c.cut(disk)
	c.sure = c.kept
	return c.left
}

// cut cuts the power, unless it is cut already: what is written after it reaches the old disk only.
func (c *cuts) cut(disk *crashable) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == nil {
		c.left = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.percent, RNG: c.rng})
		c.kept = c.sure
	}
}

func (c *cuts) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left != nil
}

// recover opens the store. What it does not hold is lost from then on.
func (c *cuts) recover(t *rapid.T, fs vfs.FS) *Store {
	s, err := New(config(fs, c.synced))
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	got, err := readAll(t, s)
	if err != nil {
		c.close(t, s)
		t.Fatalf("read: %v", err)
	}
	n := slices.IndexFunc(c.states, func(m map[string]string) bool { return maps.Equal(m, got) })
	if n < c.sure {
		c.close(t, s)
		t.Fatalf("it holds %s, which is the state after %d commits (-1: none of them); want that of %d to %d",
			brief(got), n, c.sure, len(c.states)-1)
	}
	c.states = c.states[:n+1]
	return s
}

func (c *cuts) close(t *rapid.T, s *Store) {
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func (c *cuts) step(t *rapid.T, s *Store) {
	switch rapid.SampledFrom([]string{"small", "small", "large", "drain", "drain", "sync"}).Draw(t, "step") {
	case "small":
		c.commit(t, s, rapid.IntRange(1, 300).Draw(t, "size"))
	case "large":
		c.commit(t, s, s.tableBytes)
	case "drain":
		s.drainNow()
	case "sync":
		if err := s.Sync(t.Context()); err != nil {
			t.Fatalf("sync: %v", err)
		}
		c.confirm()
	}
}

// commit changes some keys of a lane. What lies in one lane does not touch what lies in the others, so that Pebble may take
// a table of one in without a flush of what came before it.
func (c *cuts) commit(t *rapid.T, s *Store, size int) {
	lane := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "lane")
	state := maps.Clone(c.states[len(c.states)-1])
	c.serial++
	b := &kv.Batch{Fence: []byte(lane + "/fence"), Next: fmt.Append(nil, c.serial)}
	if held, ok := state[lane+"/fence"]; ok {
		b.Expect = []byte(held)
	}
	state[lane+"/fence"] = string(b.Next)
	for range rapid.IntRange(1, 3).Draw(t, "puts") {
		key := fmt.Sprintf("%s/key%d", lane, rapid.IntRange(0, 4).Draw(t, "key"))
		value := fmt.Sprintf("%d %s", c.serial, strings.Repeat("x", size))
		b.Put([]byte(key), []byte(value))
		state[key] = value
	}
	for range rapid.IntRange(0, 2).Draw(t, "deletes") {
		key := fmt.Sprintf("%s/key%d", lane, rapid.IntRange(0, 4).Draw(t, "key"))
		b.Delete([]byte(key))
		delete(state, key)
	}
	c.states = append(c.states, state)
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatalf("commit: %v", err)
	}
	if c.synced {
		c.confirm()
	}
}

// confirm is called when everything that was committed is on the disk.
func (c *cuts) confirm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sure = len(c.states) - 1
}

// readAll is all that the store holds.
func readAll(t *rapid.T, s *Store) (map[string]string, error) {
	snap, err := s.Snapshot(t.Context())
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	all := map[string]string{}
	return all, snap.Scan(t.Context(), kv.Range{}, func(key, value []byte) error {
		all[string(key)] = string(value)
		return nil
	})
}

// brief shows of each value the commit that put it.
func brief(state map[string]string) (out []string) {
	for _, key := range slices.Sorted(maps.Keys(state)) {
		serial, _, _ := strings.Cut(state[key], " ")
		out = append(out, fmt.Sprintf("%s=%s", key, serial))
	}
	return out
}
