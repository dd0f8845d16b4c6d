// Package kv is the ordered key-value store that the chains are kept in: snapshots, scans, and a batch that commits
// only if a fence still holds the expected value. Drivers live in pebble (one process) and tikv (a cluster) and pass
// the suite in kvtest. It knows nothing of chains.
package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

var (
	// ErrFenced: the fence holds another value. Nothing was written, and this writer is out. (After ErrUnknown, or where a
	// driver tried more than once, the batch may have been applied before others moved the fence on.)
	ErrFenced = errors.New("kv: the fence holds another value")
	// ErrUnknown: the outcome of the commit is unknown. Commit the same batch again, or read the fence.
	ErrUnknown = errors.New("kv: commit outcome unknown")
	// ErrInvalid: an empty or oversized key, value, batch or fence. Nothing was written; retrying does not help.
	ErrInvalid = errors.New("kv: invalid key, value or batch")
	// ErrUnavailable: the store takes no writes now (disk full, store away). Nothing is known to be written; open the
	// partition again later.
	ErrUnavailable = errors.New("kv: store unavailable")
	// ErrExpired: the snapshot is older than the store keeps what was overwritten. Take another.
	ErrExpired = errors.New("kv: snapshot is too old")
	// Stop is returned by a Scan callback to end the scan without an error.
	Stop = errors.New("kv: stop") //nolint:revive,staticcheck // a signal, not an error: kv.Stop reads like fs.SkipAll
)

// Bounds that every driver enforces with ErrInvalid, in bytes.
const (
	MaxKey   = 2 << 10 // TiKV takes 8 KiB encoded
	MaxValue = 1 << 20
	MaxBatch = 4 << 20 // keys and values of a batch; TiKV's raft entry is at most 8 MiB
)

// MaxOps bounds the operations of a batch, with ErrInvalid too: each takes some 64 bytes of TiKV's raft entry beside its
// key and value.
const MaxOps = 48 << 10

// Store is an ordered key-value store. Safe for concurrent use.
type Store interface {
	// Snapshot sees every Commit that returned nil before it was called, on any process, and none that starts later.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Commit applies b atomically if b.Fence holds b.Expect; if it holds b.Next already, b was applied before and
	// Commit answers nil again. On nil the batch survives the death of this process or can be had again by replaying
	// its input (see Sync); readers never see half of it. When ctx ends it answers ctx's error if nothing was written,
	// else ErrUnknown.
	Commit(ctx context.Context, b *Batch) error
	// Sync returns when everything committed before it was called survives a power loss.
	Sync(ctx context.Context) error
	// Close ends the store; snapshots must have been released.
	Close() error
}

// Snapshot is a fixed view of the store, good for minutes: a driver that lets go of what was overwritten answers
// ErrExpired once it did. Safe for concurrent use.
type Snapshot interface {
	// Get returns the value of key, nil when absent. The caller owns the result.
	Get(ctx context.Context, key []byte) ([]byte, error)
	// BatchGet returns the values of keys in their order, nil for the absent. The caller owns the results.
	BatchGet(ctx context.Context, keys [][]byte) ([][]byte, error)
	// Scan calls fn for the keys of r in order; key and value are valid in fn only. An error of fn ends the scan and is
	// returned, except Stop.
	Scan(ctx context.Context, r Range, fn func(key, value []byte) error) error
	// Release frees the snapshot.
	Release()
}

// Range selects Start <= key < End; nil is unbounded. A range whose End is not above its Start is empty.
type Range struct {
	Start, End []byte
	Limit      int  // most keys; 0: no limit
	Reverse    bool // from End to Start
	KeysOnly   bool // fn gets nil values
}

// Batch is a set of writes and the fence that guards them. Later operations on a key win over earlier ones.
type Batch struct {
	Fence  []byte // key of the fence
	Expect []byte // value it must hold; nil: it must be absent
	Next   []byte // value it will hold; unique to this batch

	data    []byte // keys and values, one after the other
	lengths []lengths
}

// lengths are those of the key and the value of an operation; a delete has gone for a value.
type lengths struct{ key, value int }

const gone = -1

// Op is one write.
type Op struct {
	Key, Value []byte // Value nil: delete
}

// Put writes value under key. The batch copies both.
func (b *Batch) Put(key, value []byte) {
	b.data = append(append(b.data, key...), value...)
	b.lengths = append(b.lengths, lengths{len(key), len(value)})
}

// Delete removes key, which need not be there.
func (b *Batch) Delete(key []byte) {
	b.data = append(b.data, key...)
	b.lengths = append(b.lengths, lengths{len(key), gone})
}

// Ops are the writes in the order in which they were added, valid until the batch is changed. For drivers.
func (b *Batch) Ops() iter.Seq[Op] {
	return func(yield func(Op) bool) {
		rest := b.data
		take := func(n int) (part []byte) {
			part, rest = rest[:n:n], rest[n:]
			return part
		}
		for _, l := range b.lengths {
			o := Op{Key: take(l.key)}
			if l.value != gone {
				o.Value = take(l.value)
			}
			if !yield(o) {
				return
			}
		}
	}
}

// Len is the number of writes.
func (b *Batch) Len() int { return len(b.lengths) }

// Size is the sum of the lengths of keys and values, in bytes.
func (b *Batch) Size() int { return len(b.data) }

// keptRoom is the room in bytes beyond which a batch starts anew when it is reset.
const keptRoom = 1 << 20

// Reset empties the batch, and keeps its room for what comes next. The stores keep nothing of a batch once its Commit has
// returned.
func (b *Batch) Reset() {
	if cap(b.data) > keptRoom {
		*b = Batch{}
	}
	*b = Batch{data: b.data[:0], lengths: b.lengths[:0]}
}

// Check reports, as ErrInvalid, what no driver accepts.
func (b *Batch) Check() error {
	switch {
	case len(b.Fence) == 0 || len(b.Fence) > MaxKey || len(b.Next) == 0 || len(b.Next) > MaxValue:
		return fmt.Errorf("%w: a fence needs a key and a next value", ErrInvalid)
	case b.Expect != nil && len(b.Expect) == 0:
		return fmt.Errorf("%w: a fence never holds an empty value; expect nil for an absent one", ErrInvalid)
	case b.Size() > MaxBatch:
		return fmt.Errorf("%w: batch of %d bytes, at most %d", ErrInvalid, b.Size(), MaxBatch)
	case b.Len() > MaxOps:
		return fmt.Errorf("%w: batch of %d operations, at most %d", ErrInvalid, b.Len(), MaxOps)
	}
	for o := range b.Ops() {
		switch {
		case len(o.Key) == 0 || len(o.Key) > MaxKey:
			return fmt.Errorf("%w: key of %d bytes, 1 to %d", ErrInvalid, len(o.Key), MaxKey)
		case o.Value != nil && len(o.Value) == 0:
			return fmt.Errorf("%w: empty value", ErrInvalid)
		case len(o.Value) > MaxValue:
			return fmt.Errorf("%w: value of %d bytes, at most %d", ErrInvalid, len(o.Value), MaxValue)
		}
	}
	return nil
}
