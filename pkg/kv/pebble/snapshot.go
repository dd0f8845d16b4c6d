package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	pdb "github.com/cockroachdb/pebble/v2"

	"github.com/catena-im/catena/pkg/kv"
)

// snapshot is a kv.Snapshot. While it is held, Pebble keeps what later writes replace.
type snapshot struct {
	store *Store
	view  *pdb.Snapshot

	// Guarded by store.mu.
	reads    int // in progress
	released bool
}

var errReleased = errors.New("pebble: snapshot was released")

// Snapshot is kv.Store's.
func (s *Store) Snapshot(ctx context.Context) (kv.Snapshot, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.ops.Done()
	return &snapshot{store: s, view: s.db.NewSnapshot()}, nil
}

// begin enters a read; a nil error owes an end.
func (sn *snapshot) begin(ctx context.Context) error {
	if err := sn.store.begin(ctx); err != nil {
		return err
	}
	sn.store.mu.Lock()
	defer sn.store.mu.Unlock()
	if sn.released {
		sn.store.ops.Done()
		return errReleased
	}
	sn.reads++
	return nil
}

// end leaves a read whose outcome is err.
func (sn *snapshot) end(err error) error {
	sn.store.mu.Lock()
	sn.reads--
	last := sn.released && sn.reads == 0
	sn.store.mu.Unlock()
	if last {
		sn.store.ops.Add(1)
		sn.free()
	}
	sn.store.ops.Done()
	if broken := sn.store.broken(); broken != nil {
		return broken // what was read may be of a file that was never written
	}
	return err
}

// Release is kv.Snapshot's. The last read in progress frees the snapshot.
func (sn *snapshot) Release() {
	sn.store.mu.Lock()
	last, closed := !sn.released && sn.reads == 0, sn.store.closed
	sn.released = true
	if last && !closed {
		sn.store.ops.Add(1)
	}
	sn.store.mu.Unlock()
	switch {
	case last && closed:
		_ = sn.view.Close() // always nil
	case last:
		sn.free()
	}
}

// free lets Pebble drop what the snapshot kept. It ends the operation that was begun for it. Pebble may want to write
// its manifest first, which a full disk holds up; nobody is kept waiting for that.
func (sn *snapshot) free() {
	_ = sn.store.wait(context.Background(), sn.view.Close, nil)
}

// Get is kv.Snapshot's.
func (sn *snapshot) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := sn.begin(ctx); err != nil {
		return nil, err
	}
	v, err := get(sn.view, key)
	if err = sn.end(err); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	return v, nil
}

// BatchGet is kv.Snapshot's.
func (sn *snapshot) BatchGet(ctx context.Context, keys [][]byte) ([][]byte, error) {
	if err := sn.begin(ctx); err != nil {
		return nil, err
	}
	values, err := sn.batchGet(ctx, keys)
	if err = sn.end(err); err != nil {
		return nil, fmt.Errorf("get %d keys: %w", len(keys), err)
	}
	return values, nil
}

// fewKeys is up to how many keys single reads cost less than an iterator over all of them.
const fewKeys = 2

func (sn *snapshot) batchGet(ctx context.Context, keys [][]byte) ([][]byte, error) {
	if len(keys) > fewKeys {
		return sn.seekAll(ctx, keys)
	}
	values := make([][]byte, len(keys))
	for i, k := range keys {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if values[i], err = get(sn.view, k); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// seekAll reads keys with one iterator, in their order in the store. Unlike single reads it asks the filters of the last
// level too, where nearly everything is: a new message's id is looked for and is not there.
func (sn *snapshot) seekAll(ctx context.Context, keys [][]byte) (values [][]byte, err error) {
	it, err := sn.view.NewIterWithContext(ctx, &pdb.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, err
	}
	defer func() {
		if closing := it.Close(); err == nil {
			err = closing
		}
	}()
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(keys[a], keys[b]) })
	values = make([][]byte, len(keys))
	for _, i := range order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !it.SeekPrefixGE(keys[i]) || !bytes.Equal(it.Key(), keys[i]) {
			if err := it.Error(); err != nil {
				return nil, err
			}
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		values[i] = bytes.Clone(v)
	}
	return values, nil
}

// Scan is kv.Snapshot's.
func (sn *snapshot) Scan(ctx context.Context, r kv.Range, fn func(key, value []byte) error) error {
	if err := sn.begin(ctx); err != nil {
		return err
	}
	return sn.end(sn.scan(ctx, r, fn))
}

func (sn *snapshot) scan(ctx context.Context, r kv.Range, fn func(key, value []byte) error) (err error) {
	if r.End != nil && bytes.Compare(r.Start, r.End) >= 0 {
		return nil
	}
	it, err := sn.view.NewIterWithContext(ctx, &pdb.IterOptions{LowerBound: r.Start, UpperBound: r.End})
	if err != nil {
		return err
	}
	defer func() {
		if closing := it.Close(); err == nil {
			err = closing // also what ended the iteration early
		}
	}()
	first, next := it.First, it.Next
	if r.Reverse {
		first, next = it.Last, it.Prev
	}
	left := r.Limit
	for ok := first(); ok; ok = next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := visit(it, r.KeysOnly, fn); err != nil {
			if errors.Is(err, kv.Stop) {
				return nil
			}
			return err
		}
		if left--; left == 0 {
			return nil
		}
	}
	return it.Error()
}

// visit calls fn with slices that an append in it cannot grow into Pebble's blocks.
func visit(it *pdb.Iterator, keysOnly bool, fn func(key, value []byte) error) error {
	if keysOnly {
		return fn(slices.Clip(it.Key()), nil)
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	return fn(slices.Clip(it.Key()), slices.Clip(v))
}

// get returns the value of key, nil when absent. The caller owns it.
func get(from pdb.Reader, key []byte) ([]byte, error) {
	v, c, err := from.Get(key)
	if errors.Is(err, pdb.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v = bytes.Clone(v)
	return v, c.Close()
}
