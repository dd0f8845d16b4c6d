//go:build !darwin || cgo

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/pebble"
	"github.com/catena-im/catena/pkg/kv/tikv"
)

// BenchmarkStore compares stores: Pebble without a sync of its own and with one for each commit, tikvdev, which syncs each
// commit, and the TiKV of which TIKV_PD names the PD, where what was written stays. A message between two is nine keys: its
// entry of some 300 bytes, its id and the head of its conversation, and for both users an entry, a head and a list record.
func BenchmarkStore(b *testing.B) {
	stores := map[string]func(b *testing.B) kv.Store{
		"pebble":        func(b *testing.B) kv.Store { return openPebble(b, pebble.Config{}) },
		"pebble-synced": func(b *testing.B) kv.Store { return openPebble(b, pebble.Config{SyncCommits: true}) },
		"tikvdev":       func(b *testing.B) kv.Store { return open(b, all(b).config()) },
	}
	if pd := os.Getenv("TIKV_PD"); pd != "" {
		stores["tikv"] = func(b *testing.B) kv.Store {
			return open(b, tikv.Config{PD: strings.Split(pd, ","), Prefix: fmt.Sprintf("~%c", 'a'+time.Now().UnixNano()%26)})
		}
	}
	for name, openStore := range stores {
		b.Run(name, func(b *testing.B) {
			w := &writer{store: openStore(b), fence: fmt.Append(nil, "fence", time.Now().UnixNano())}
			for _, messages := range []int{1, 16, 128} {
				b.Run(fmt.Sprintf("commit=%d", messages), func(b *testing.B) {
					for b.Loop() {
						w.commit(b, messages)
					}
					b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*messages), "µs/message")
				})
			}
			b.Run("get=128", w.get)
			b.Run("scan=100", w.scan)
		})
	}
}

func openPebble(b *testing.B, cfg pebble.Config) kv.Store {
	b.Helper()
	cfg.Dir = b.TempDir()
	s, err := pebble.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// writer adds messages to a store.
type writer struct {
	store    kv.Store
	fence    []byte
	held     []byte
	messages int
}

// key is of a record of the n-th message.
func (w *writer) key(record string, n int) []byte {
	return fmt.Appendf(nil, "%s/%s/%020d", w.fence, record, n)
}

// commit writes messages between 500 users who have 2,500 conversations.
func (w *writer) commit(b *testing.B, messages int) {
	batch := &kv.Batch{Fence: w.fence, Expect: w.held, Next: fmt.Append(nil, w.messages)}
	for range messages {
		n := w.messages
		w.messages++
		batch.Put(w.key("entry", n), bytes.Repeat([]byte{1}, 300))
		batch.Put(w.key("id", n), bytes.Repeat([]byte{2}, 30))
		batch.Put(w.key("head", n*7919%2500), bytes.Repeat([]byte{3}, 12))
		for _, user := range []int{n % 500, (n + 1 + n%10) % 500} {
			batch.Put(w.key(fmt.Sprint("user", user), n), bytes.Repeat([]byte{4}, 30))
			batch.Put(w.key("userhead", user), bytes.Repeat([]byte{5}, 8))
			batch.Put(w.key(fmt.Sprint("list", user), n%10), bytes.Repeat([]byte{6}, 16))
		}
	}
	if err := w.store.Commit(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	w.held = batch.Next
}

// read calls fn with a snapshot of its own, round after round. The store holds 2,000 messages or more.
func (w *writer) read(b *testing.B, fn func(sn kv.Snapshot, round int) error) {
	for w.messages < 2000 { // where the benchmarks of commits were left out
		w.commit(b, 100)
	}
	for round := 0; b.Loop(); round++ {
		sn, err := w.store.Snapshot(b.Context())
		if err == nil {
			err = fn(sn, round)
			sn.Release()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// get reads ids that lie far apart, at once.
func (w *writer) get(b *testing.B) {
	const most = 128
	w.read(b, func(sn kv.Snapshot, round int) error {
		keys := make([][]byte, most)
		for i := range keys {
			keys[i] = w.key("id", (round*most+i)*7919%w.messages)
		}
		values, err := sn.BatchGet(b.Context(), keys)
		if err == nil && values[0] == nil {
			err = fmt.Errorf("%q is not there", keys[0])
		}
		return err
	})
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*most), "µs/key")
}

// scan reads entries one after the other.
func (w *writer) scan(b *testing.B) {
	const most = 100
	w.read(b, func(sn kv.Snapshot, round int) error {
		n, from := 0, round*most%(w.messages-most)
		err := sn.Scan(b.Context(), kv.Range{Start: w.key("entry", from), End: w.key("entry", from+most)}, func(_, _ []byte) error {
			n++
			return nil
		})
		if err == nil && n != most {
			err = fmt.Errorf("%d keys, want %d", n, most)
		}
		return err
	})
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*most), "µs/entry")
}
