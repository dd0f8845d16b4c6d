package pebble

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	pdb "github.com/cockroachdb/pebble/v2"

	"github.com/catena-im/catena/pkg/kv"
)

// BenchmarkCommit takes turns between a fenced commit of 500 keys and a plain batch of as many in a database of the
// same settings, so that both meet the same machine.
func BenchmarkCommit(b *testing.B) {
	for _, synced := range []bool{false, true} {
		b.Run(fmt.Sprintf("synced=%v", synced), func(b *testing.B) {
			fenced := open(b, Config{Dir: b.TempDir(), SyncCommits: synced})
			plain := open(b, Config{Dir: b.TempDir(), SyncCommits: synced})
			var spent, spentPlain time.Duration
			var held []byte
			for round := 0; b.Loop(); round++ {
				keys, value := newKeys(round), make([]byte, 200)
				start := time.Now()
				commitPlain(b, plain, keys, value)
				middle := time.Now()
				held = commitFenced(b, fenced, keys, value, held, fmt.Append(nil, round))
				spentPlain, spent = spentPlain+middle.Sub(start), spent+time.Since(middle)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "µs/fenced")
			b.ReportMetric(float64(spentPlain.Microseconds())/float64(b.N), "µs/plain")
			b.ReportMetric(500*float64(b.N)/spent.Seconds(), "keys/s")
		})
	}
}

func newKeys(round int) [][]byte {
	keys := make([][]byte, 500)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "c/%03d/conversation-%020d/m/%020d", i%16, i, round) // 60 bytes
	}
	return keys
}

func commitPlain(b *testing.B, s *Store, keys [][]byte, value []byte) {
	how := pdb.NoSync
	if s.sync {
		how = pdb.Sync
	}
	w := s.db.NewBatch()
	for _, k := range keys {
		if err := w.Set(k, value, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Commit(how); err != nil {
		b.Fatal(err)
	}
}

func commitFenced(b *testing.B, s *Store, keys [][]byte, value, held, next []byte) []byte {
	w := &kv.Batch{Fence: []byte("fence"), Expect: held, Next: next}
	for _, k := range keys {
		w.Put(k, value)
	}
	if err := s.Commit(b.Context(), w); err != nil {
		b.Fatal(err)
	}
	return next
}

// BenchmarkBatchGet reads message ids, which are random, from a store of a million: most are new, and not there. Single
// reads of the same keys are the yardstick.
func BenchmarkBatchGet(b *testing.B) {
	s := open(b, Config{Dir: b.TempDir()})
	id := func(i int) []byte {
		sum := sha256.Sum256(fmt.Append(nil, i))
		return append([]byte("c/i/"), sum[:16]...)
	}
	var held []byte
	const stored = 1_000_000
	for i := 0; i < stored; i += 1000 {
		keys := make([][]byte, 1000)
		for n := range keys {
			keys[n] = id(i + n)
		}
		held = commitFenced(b, s, keys, make([]byte, 40), held, fmt.Append(nil, i))
	}
	if err := errors.Join(s.Sync(b.Context()), s.db.Flush()); err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{4, 16, 256} {
		for what, base := range map[string]int{"new": stored, "known": 0} {
			b.Run(fmt.Sprintf("%s=%d", what, size), func(b *testing.B) {
				snap, err := s.Snapshot(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				defer snap.Release()
				var spent, single time.Duration
				for round := 0; b.Loop(); round++ {
					keys := make([][]byte, size)
					for n := range keys {
						keys[n] = id(base + (round*size+n)*7919%stored)
					}
					start := time.Now()
					if _, err := snap.(*snapshot).batchGet(b.Context(), keys); err != nil {
						b.Fatal(err)
					}
					middle := time.Now()
					for _, k := range keys {
						if _, err := get(snap.(*snapshot).view, k); err != nil {
							b.Fatal(err)
						}
					}
					spent, single = spent+middle.Sub(start), single+time.Since(middle)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*size), "ns/key")
				b.ReportMetric(float64(single.Nanoseconds())/float64(b.N*size), "ns/single")
			})
		}
	}
}
