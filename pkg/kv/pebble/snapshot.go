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

// snapshot is a kv.Snapshot. While it is held, Pebble keeps what later writes replace, and up to two stages stay in memory.
type snapshot struct {
	store  *Store
	view   *pdb.Snapshot
	stages []stageView // what may not be in view, the newest first

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
	// With both under the lock nothing that is committed later gets into view: what is in the stage now is not written.
	s.staging.RLock()
	defer s.staging.RUnlock()
	return &snapshot{store: s, stages: s.stages(), view: s.db.NewSnapshot()}, nil
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
		sn.stages = nil
		_ = sn.view.Close() // always nil
	case last:
		sn.free()
	}
}

// free lets Pebble drop what the snapshot kept. It ends the operation that was begun for it. Pebble may want to write
// its manifest first, which a full disk holds up; nobody is kept waiting for that.
func (sn *snapshot) free() {
	sn.stages = nil
	_ = sn.store.wait(context.Background(), sn.view.Close, nil)
}

// Get is kv.Snapshot's.
func (sn *snapshot) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := sn.begin(ctx); err != nil {
		return nil, err
	}
	v, ok := sn.staged(key)
	var err error
	if !ok {
		v, err = get(sn.view, key)
	}
	if err = sn.end(err); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	return v, nil
}

// lookUp is the value of key in stages, nil where it was deleted last; false: they do not know it.
func lookUp(stages []stageView, key []byte) (value []byte, ok bool) {
	for _, st := range stages {
		if value, ok = st.get(key, st.seen.count); ok {
			return value, true
		}
	}
	return nil, false
}

// staged is lookUp in the snapshot, with a value of the caller's own.
func (sn *snapshot) staged(key []byte) (value []byte, ok bool) {
	if len(sn.stages) == 0 {
		return nil, false
	}
	sn.store.staging.RLock() // the table of the stage may be growing
	value, ok = lookUp(sn.stages, key)
	sn.store.staging.RUnlock()
	return bytes.Clone(value), ok
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
	values, rest := make([][]byte, len(keys)), make([]int, 0, len(keys))
	for i, k := range keys {
		var ok bool
		if values[i], ok = sn.staged(k); !ok {
			rest = append(rest, i)
		}
	}
	if len(rest) > fewKeys {
		return values, sn.seekAll(ctx, keys, rest, values)
	}
	for _, i := range rest {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if values[i], err = get(sn.view, keys[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// seekAll reads those keys into values that order names, with one iterator and in their order in the store. Unlike
// single reads it asks the filters of the last level too, where nearly everything is: a new message's id is looked for
// and is not there.
func (sn *snapshot) seekAll(ctx context.Context, keys [][]byte, order []int, values [][]byte) (err error) {
	it, err := sn.view.NewIterWithContext(ctx, &pdb.IterOptions{UseL6Filters: true})
	if err != nil {
		return err
	}
	defer func() {
		if closing := it.Close(); err == nil {
			err = closing
		}
	}()
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(keys[a], keys[b]) })
	for _, i := range order {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !it.SeekPrefixGE(keys[i]) || !bytes.Equal(it.Key(), keys[i]) {
			if err := it.Error(); err != nil {
				return err
			}
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		values[i] = bytes.Clone(v)
	}
	return nil
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
	left := r.Limit
	for w := newWalk(ctx, it, newOverlay(sn.stages, r), r.Reverse); w.found; w.next(ctx) {
		if err := w.visit(r.KeysOnly, fn); err != nil {
			if errors.Is(err, kv.Stop) {
				return nil
			}
			return err
		}
		if left--; left == 0 {
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return it.Error()
}

// walk goes over the keys of a view: what is staged lies over what Pebble has.
type walk struct {
	it    *pdb.Iterator
	step  func() bool // of it
	under bool        // it stands on a key
	over  *overlay
	top   bool // the key is that of over, else that of it
	found bool // there is a key
}

func newWalk(ctx context.Context, it *pdb.Iterator, over *overlay, reverse bool) *walk {
	w := &walk{it: it, step: it.Next, over: over}
	if reverse {
		w.step, w.under = it.Prev, it.Last()
	} else {
		w.under = it.First()
	}
	w.settle(ctx)
	return w
}

// settle chooses the key that comes first, and passes over those that were deleted. An error of it or of ctx is the end.
func (w *walk) settle(ctx context.Context) {
	for {
		w.top = w.over.key != nil && !(w.under && w.over.before(w.it.Key(), w.over.key))
		w.found = (w.under || w.top) && w.it.Error() == nil && ctx.Err() == nil
		if !w.found || !w.top || w.over.value != nil {
			return
		}
		w.leave()
	}
}

// leave passes over the key, in it too where both have it.
func (w *walk) leave() {
	if !w.top || w.under && bytes.Equal(w.it.Key(), w.over.key) {
		w.under = w.step()
	}
	if w.top {
		w.over.next()
	}
}

func (w *walk) next(ctx context.Context) {
	w.leave()
	w.settle(ctx)
}

// visit calls fn with slices that an append in it cannot grow into Pebble's blocks.
func (w *walk) visit(keysOnly bool, fn func(key, value []byte) error) error {
	key, value, err := w.over.key, w.over.value, error(nil)
	if !w.top {
		key = w.it.Key()
	}
	switch {
	case keysOnly:
		value = nil
	case !w.top:
		value, err = w.it.ValueAndErr()
	}
	if err != nil {
		return err
	}
	return fn(slices.Clip(key), slices.Clip(value))
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
