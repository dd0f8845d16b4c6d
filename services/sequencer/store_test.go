package sequencer

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/catena-im/catena/pkg/kv"
)

// memStore is a kv.Store in memory for one goroutine. It remembers the order of its commits, so that a power loss can
// take back those that no Sync confirmed, and the largest batch it was given.
type memStore struct {
	data    map[string][]byte
	journal []*kv.Batch
	synced  int
	largest int      // bytes of a batch
	open    int      // snapshots not released
	sorted  []string // keys of data; nil: not known
}

func newMemStore() *memStore { return &memStore{data: make(map[string][]byte)} }

func (s *memStore) Commit(_ context.Context, b *kv.Batch) error {
	if s.open > 0 {
		panic("commit while a snapshot is open: the view below it would change")
	}
	if err := b.Check(); err != nil {
		return err
	}
	s.largest = max(s.largest, b.Size())
	held := s.data[string(b.Fence)]
	if bytes.Equal(held, b.Next) {
		return nil
	}
	if !bytes.Equal(held, b.Expect) {
		return kv.ErrFenced
	}
	own := &kv.Batch{Fence: b.Fence, Next: b.Next}
	for o := range b.Ops() {
		if o.Value == nil {
			own.Delete(o.Key)
		} else {
			own.Put(o.Key, o.Value)
		}
	}
	s.journal = append(s.journal, own)
	s.apply(own)
	return nil
}

func (s *memStore) apply(b *kv.Batch) {
	s.sorted = nil
	for o := range b.Ops() {
		if o.Value == nil {
			delete(s.data, string(o.Key))
		} else {
			s.data[string(o.Key)] = o.Value
		}
	}
	s.data[string(b.Fence)] = b.Next
}

func (s *memStore) Sync(context.Context) error { s.synced = len(s.journal); return nil }
func (s *memStore) Close() error               { return nil }

// lose keeps the first so many commits.
func (s *memStore) lose(keep int) {
	s.journal = s.journal[:keep]
	s.data = make(map[string][]byte)
	for _, b := range s.journal {
		s.apply(b)
	}
}

func (s *memStore) Snapshot(context.Context) (kv.Snapshot, error) {
	s.open++
	return memSnapshot{s}, nil
}

type memSnapshot struct{ s *memStore }

func (v memSnapshot) Release() { v.s.open-- }

func (v memSnapshot) Get(_ context.Context, key []byte) ([]byte, error) {
	return bytes.Clone(v.s.data[string(key)]), nil
}

func (v memSnapshot) BatchGet(_ context.Context, keys [][]byte) ([][]byte, error) {
	out := make([][]byte, len(keys))
	for i, k := range keys {
		out[i] = bytes.Clone(v.s.data[string(k)])
	}
	return out, nil
}

func (v memSnapshot) Scan(_ context.Context, r kv.Range, fn func(key, value []byte) error) error {
	if v.s.sorted == nil {
		v.s.sorted = slices.Sorted(maps.Keys(v.s.data))
	}
	from, _ := slices.BinarySearch(v.s.sorted, string(r.Start))
	to, _ := slices.BinarySearch(v.s.sorted, string(r.End))
	if r.End == nil {
		to = len(v.s.sorted)
	}
	keys := slices.Clone(v.s.sorted[from:max(from, to)])
	if r.Reverse {
		slices.Reverse(keys)
	}
	for _, k := range keys {
		if err := fn([]byte(k), v.s.data[k]); err == kv.Stop { //nolint:errorlint // the signal itself
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}
