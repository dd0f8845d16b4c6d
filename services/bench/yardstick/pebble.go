package yardstick

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// PebbleResult is what plain Pebble reached. A rate counts entries per second; bytes are those of the values.
type PebbleResult struct {
	Bytes    int     `json:"bytes"` // of a value
	Write    float64 `json:"write"` // in batches of 500, without fsync
	ColdScan float64 `json:"cold_scan"`
	Scan     float64 `json:"scan"`  // again, from the block cache
	Pages    float64 `json:"pages"` // entries read page by page, each with an iterator of its own
}

// MB is a rate of entries in megabytes per second.
func (r PebbleResult) MB(rate float64) float64 { return rate * float64(r.Bytes) / 1e6 }

// Pebble writes this many entries with values of this many bytes, and scans them.
func (r Runner) Pebble(ctx context.Context, entries, bytes, page int) (PebbleResult, error) {
	var result PebbleResult
	err := r.measure(ctx, Task{Kind: KindPebble, Entries: entries, Bytes: bytes, Page: page, Duration: pebbleTime}, &result)
	return result, err
}

const (
	pebbleTime  = 5 * time.Second // a bound is made of it; there is no time in the measurement
	batchSize   = 500
	keyBytes    = 48
	cacheBytes  = 64 << 20
	memoryTable = 16 << 20
	blockBytes  = 16 << 10
)

// open uses the settings that matter for the speed as Catena's store does: the cache, beside which the memory tables are,
// the blocks, the filters.
func open(dir string) (*pebble.DB, error) {
	o := &pebble.Options{CacheSize: cacheBytes + 2*memoryTable, MemTableSize: memoryTable, Logger: quiet{}}
	o.Levels[0].BlockSize = blockBytes
	o.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	return pebble.Open(dir, o)
}

func measurePebble(t Task) (result PebbleResult, err error) {
	result.Bytes = t.Bytes
	if result.Write, err = fillPebble(t); err != nil {
		return result, err
	}
	db, err := open(t.Dir)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, rate := range []*float64{&result.ColdScan, &result.Scan} {
		if *rate, err = timed(t.Entries, func() (int, error) { return scan(db, nil, t.Entries) }); err != nil {
			return result, err
		}
	}
	result.Pages, err = timed(t.Entries, func() (seen int, err error) {
		for seen < t.Entries {
			n, err := scan(db, key(seen), t.Page)
			if err != nil || n == 0 {
				return seen, err
			}
			seen += n
		}
		return seen, nil
	})
	return result, err
}

// timed is the rate at which read reads all entries.
func timed(entries int, read func() (int, error)) (float64, error) {
	start := time.Now()
	n, err := read()
	if err == nil && n < entries {
		err = fmt.Errorf("%d of %d entries are there", n, entries)
	}
	return float64(n) / time.Since(start).Seconds(), err
}

// fillPebble writes the entries and closes the store, so that they are in its files.
func fillPebble(t Task) (rate float64, err error) {
	db, err := open(t.Dir)
	if err != nil {
		return 0, err
	}
	defer func() {
		if flushed := db.Flush(); err == nil {
			err = flushed
		}
		if closed := db.Close(); err == nil {
			err = closed
		}
	}()
	source := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, t.Bytes)
	return timed(t.Entries, func() (int, error) {
		for i := 0; i < t.Entries; {
			b := db.NewBatch()
			for range min(batchSize, t.Entries-i) {
				scramble(source, value)
				if err := b.Set(key(i), value, nil); err != nil {
					return i, err
				}
				i++
			}
			if err := b.Commit(pebble.NoSync); err != nil {
				return i, err
			}
		}
		return t.Entries, nil
	})
}

// scramble fills value with what does not compress well.
func scramble(source *rand.Rand, value []byte) {
	for i := 0; i+8 <= len(value); i += 8 {
		binary.LittleEndian.PutUint64(value[i:], source.Uint64())
	}
}

func key(i int) []byte {
	k := make([]byte, keyBytes)
	binary.BigEndian.PutUint64(k[keyBytes-8:], uint64(i))
	return k
}

// scan reads up to most entries from start on, each value once.
func scan(db *pebble.DB, start []byte, most int) (seen int, err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: start})
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 0, 4<<10)
	for ok := it.First(); ok && seen < most; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return seen, err
		}
		buf = append(buf[:0], value...)
		seen++
	}
	return seen, it.Close()
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...)) // of a child process that only measures
}
