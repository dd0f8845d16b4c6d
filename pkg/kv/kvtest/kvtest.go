// Package kvtest is the conformance suite of package kv: what every driver must do, so that the chains above need not
// know which one they stand on. It uses keys of its own under a fresh prefix and leaves them there, so it may run
// against a store that others use.
package kvtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/catena-im/catena/pkg/kv"
)

// Run checks the stores that open returns, one for each check. open registers whatever ends its store with t.Cleanup;
// the suite may have closed it by then.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	for _, c := range []struct {
		name  string
		check func(k *kit)
	}{
		{"commit applies a batch", commitApplies},
		{"commit twice applies once", commitTwice},
		{"commit with a stale fence writes nothing", commitStale},
		{"commit keeps no memory of the caller", commitOwnsMemory},
		{"commit takes the last operation on a key", commitLastOperation},
		{"commit keeps fences apart", commitFences},
		{"commit refuses invalid input", commitInvalid},
		{"commit takes input at the bounds", commitBounds},
		{"commit takes many writes", commitMany},
		{"commit spans regions", commitRegions},
		{"get returns memory of its own", getOwnsMemory},
		{"batch get keeps the order of its keys", batchGetOrder},
		{"snapshot stays as it was", snapshotStays},
		{"snapshot serves readers in parallel", snapshotParallel},
		{"scan keeps its bounds", scanBounds},
		{"scan orders bytes", scanOrder},
		{"scan goes over many pages", scanPages},
		{"scan crosses borders", scanBorders},
		{"scan ends by its callback", scanCallback},
		{"ended context is answered", contextEnded},
		{"ended context stops a scan", contextScan},
		{"ended context leaves a commit in doubt", contextCommit},
		{"owners that race form one chain", raceChain},
		{"owners that expect the same: one wins", raceSame},
		{"sync confirms", syncConfirms},
		{"closed store answers errors", closeAnswers},
		{"store closes under load", closeLoaded},
		{"store behaves like a map", model},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(newKit(t, open(t))) })
	}
}

// kit is a store and a part of its keys.
type kit struct {
	*testing.T
	store  kv.Store
	prefix string
}

func newKit(t *testing.T, s kv.Store) *kit {
	return &kit{T: t, store: s, prefix: "kvtest/" + rand.Text() + "/"}
}

func (k *kit) key(s string) []byte { return []byte(k.prefix + s) }

func (k *kit) keys(names ...string) (keys [][]byte) {
	for _, n := range names {
		keys = append(keys, k.key(n))
	}
	return keys
}

// all is the range of the kit's keys under name.
func (k *kit) all(name string) kv.Range {
	return kv.Range{Start: k.key(name), End: append(k.key(name), 0xff, 0xff)}
}

// batch is one on fence that writes "key=value", or deletes "key".
func (k *kit) batch(fence, expect, next string, ops ...string) *kv.Batch {
	b := &kv.Batch{Fence: k.key(fence), Next: []byte(next)}
	if expect != "" {
		b.Expect = []byte(expect)
	}
	for _, o := range ops {
		if key, value, put := strings.Cut(o, "="); put {
			b.Put(k.key(key), []byte(value))
		} else {
			b.Delete(k.key(key))
		}
	}
	return b
}

func (k *kit) commit(b *kv.Batch) {
	k.Helper()
	if err := k.store.Commit(context.Background(), b); err != nil {
		k.Fatalf("commit %q → %q: %v", b.Expect, b.Next, err)
	}
}

func (k *kit) refuses(b *kv.Batch, want error) {
	k.Helper()
	if err := k.store.Commit(context.Background(), b); !errors.Is(err, want) {
		k.Errorf("commit %q → %q: got %v, want %v", b.Expect, b.Next, err, want)
	}
}

// snapshot is released with the test.
func (k *kit) snapshot() kv.Snapshot {
	k.Helper()
	sn, err := k.store.Snapshot(context.Background())
	if err != nil {
		k.Fatalf("snapshot: %v", err)
	}
	k.Cleanup(sn.Release)
	return sn
}

// within calls fn with a snapshot.
func (k *kit) within(fn func(sn kv.Snapshot)) {
	k.Helper()
	sn, err := k.store.Snapshot(context.Background())
	if err != nil {
		k.Fatalf("snapshot: %v", err)
	}
	defer sn.Release()
	fn(sn)
}

// rows scans r and returns "key=value", keys without the prefix.
func (k *kit) rows(sn kv.Snapshot, r kv.Range) (rows []string) {
	k.Helper()
	if err := sn.Scan(context.Background(), r, func(key, value []byte) error {
		rows = append(rows, strings.TrimPrefix(string(key), k.prefix)+"="+string(value))
		if r.KeysOnly && value != nil {
			return fmt.Errorf("a keys-only scan gave a value for %q", key)
		}
		return nil
	}); err != nil {
		k.Fatalf("scan: %v", err)
	}
	return rows
}

// holds checks the rows under name as a new snapshot has them.
func (k *kit) holds(name string, want ...string) {
	k.Helper()
	k.within(func(sn kv.Snapshot) {
		if got := k.rows(sn, k.all(name)); !slices.Equal(got, want) {
			k.Errorf("rows under %q: got %q, want %q", name, got, want)
		}
	})
}

// has checks one value; an empty one is absent.
func (k *kit) has(key, want string) {
	k.Helper()
	k.within(func(sn kv.Snapshot) {
		got, err := sn.Get(context.Background(), k.key(key))
		if err != nil || !bytes.Equal(got, []byte(want)) || want == "" && got != nil {
			k.Errorf("get %q: got %q, %v, want %q", key, got, err, want)
		}
	})
}
