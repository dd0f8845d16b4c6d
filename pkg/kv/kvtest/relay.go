package kvtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/catena-im/catena/pkg/kv"
)

// Relay is a log that any number of writers, in any number of processes, append to by one fence, and by which a store
// can be judged after whatever happened to it and to them: its batches are numbered from 1 without gaps, each is there
// as a whole, and those of which a writer knows are its own. Safe for concurrent use.
type Relay struct {
	Prefix string // of all keys; the same in all processes

	mu   sync.Mutex     // guards the field below
	told map[int]string // batches whose writers were told that they are there
}

// relayRows is how many rows a batch has.
const relayRows = 8

func (r *Relay) fence() []byte { return []byte(r.Prefix + "fence") }

// Row is the key of a row of batch n.
func (r *Relay) Row(n, row int) []byte { return fmt.Appendf(nil, "%srow/%08d/%d", r.Prefix, n, row) }

// Write appends a batch and returns its number; 0 if another writer was faster. While the outcome is unknown it asks
// again, until ctx ends.
func (r *Relay) Write(ctx context.Context, s kv.Store, writer string) (int, error) {
	sn, err := s.Snapshot(ctx)
	if err != nil {
		return 0, err
	}
	defer sn.Release()
	held, err := sn.Get(ctx, r.fence())
	if err != nil {
		return 0, err
	}
	n := relayNumber(held) + 1
	b := &kv.Batch{Fence: r.fence(), Expect: held, Next: fmt.Appendf(nil, "%d %s %s", n, writer, rand.Text())}
	for row := range relayRows {
		b.Put(r.Row(n, row), b.Next)
	}
	for {
		switch err := s.Commit(ctx, b); {
		case err == nil:
			r.Tell(n, writer)
			return n, nil
		case errors.Is(err, kv.ErrFenced):
			return 0, nil
		case !errors.Is(err, kv.ErrUnknown) || ctx.Err() != nil:
			return 0, err
		}
	}
}

// Tell records that a writer knows of its batch.
func (r *Relay) Tell(n int, writer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told == nil {
		r.told = map[int]string{}
	}
	r.told[n] = writer
}

// Told is how many batches writers know of.
func (r *Relay) Told() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.told)
}

// Judge fails the test unless the log is as it must be. It returns how many batches there are: those of which no writer
// knows are among them.
func (r *Relay) Judge(t testing.TB, s kv.Store) int {
	t.Helper()
	ctx := context.Background()
	sn, err := s.Snapshot(ctx)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	defer sn.Release()
	fence, err := sn.Get(ctx, r.fence())
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rows, batch := 0, []byte(nil)
	if err := sn.Scan(ctx, kv.Range{Start: []byte(r.Prefix + "row/"), End: []byte(r.Prefix + "row0")}, func(key, value []byte) error {
		if rows%relayRows == 0 {
			batch = bytes.Clone(value)
		}
		err := r.check(rows, key, value, batch)
		rows++
		return err
	}); err != nil {
		t.Fatalf("scan: %v", err)
	}
	if rows%relayRows != 0 || !bytes.Equal(fence, batch) {
		t.Fatalf("%d rows, the last %q, and the fence holds %q", rows, batch, fence)
	}
	for n, writer := range r.told {
		if n > rows/relayRows {
			t.Fatalf("%s was told of batch %d, and there are %d", writer, n, rows/relayRows)
		}
	}
	return rows / relayRows
}

// check judges a row and its predecessors' batch. Called with mu held.
func (r *Relay) check(rows int, key, value, batch []byte) error {
	n, row := rows/relayRows+1, rows%relayRows
	if want := r.Row(n, row); !bytes.Equal(key, want) || relayNumber(value) != n {
		return fmt.Errorf("row %d is %q=%q, want %q", rows, key, value, want)
	}
	if !bytes.Equal(value, batch) {
		return fmt.Errorf("batch %d is torn: %q and %q", n, batch, value)
	}
	if writer, ok := r.told[n]; ok && !bytes.HasPrefix(value, fmt.Appendf(nil, "%d %s ", n, writer)) {
		return fmt.Errorf("batch %d is %q, and %s was told that it is its own", n, value, writer)
	}
	return nil
}

func relayNumber(value []byte) int {
	first, _, _ := bytes.Cut(value, []byte(" "))
	n, _ := strconv.Atoi(string(first)) // absent: 0
	return n
}
