package kvtest

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/catena-im/catena/pkg/kv"
)

// Splitter is a store that keeps its keys in regions and can cut them. The suite cuts one that is among the keys of
// a check, since a batch over several regions and a scan over their borders go other ways than the rest.
type Splitter interface {
	Split(ctx context.Context, keys [][]byte) error
}

// split cuts the store's regions, if it has such, at names.
func (k *kit) split(names ...string) {
	k.Helper()
	s, ok := k.store.(Splitter)
	if !ok {
		return
	}
	for range 2 { // what is cut already stays so
		if err := s.Split(context.Background(), k.keys(names...)); err != nil {
			k.Fatalf("split at %q: %v", names, err)
		}
	}
}

// commitRegions commits batches with their fence in one region and their rows in four.
func commitRegions(k *kit) {
	k.commit(k.batch("f", "", "1", "r/1=a", "r/9=a"))
	k.split("r/", "r/3", "r/5", "r/7")
	second := k.batch("f", "1", "2", "r/2=b", "r/3=b", "r/4=b", "r/5=b", "r/7=b", "r/9")
	k.commit(second)
	k.commit(second)
	k.holds("r/", "r/1=a", "r/2=b", "r/3=b", "r/4=b", "r/5=b", "r/7=b")
	k.refuses(k.batch("f", "1", "3", "r/2=x", "r/4=x", "r/6=x", "r/8=x"), kv.ErrFenced)
	k.holds("r/", "r/1=a", "r/2=b", "r/3=b", "r/4=b", "r/5=b", "r/7=b")
	raceRegions(k)
}

// raceRegions lets readers watch batches that span regions.
func raceRegions(k *kit) {
	const rounds, rows = 20, 6
	write := func(round int) *kv.Batch {
		b := k.batch("g", "", fmt.Sprint(round))
		if round > 0 {
			b.Expect = fmt.Append(nil, round-1)
		}
		for row := range rows {
			b.Put(k.key(fmt.Sprintf("r/%d", row+2)), b.Next)
		}
		return b
	}
	k.commit(write(0))
	written := make(chan struct{})
	go func() {
		defer close(written)
		for round := 1; round < rounds && !k.Failed(); round++ {
			if err := k.store.Commit(context.Background(), write(round)); err != nil {
				k.Errorf("commit %d: %v", round, err)
			}
		}
	}()
	defer func() { <-written }()
	for reading := true; reading; {
		select {
		case <-written:
			reading = false
		default:
		}
		k.within(func(sn kv.Snapshot) {
			got := k.rows(sn, kv.Range{Start: k.key("r/2"), End: k.key("r/8")})
			fence, err := sn.Get(context.Background(), k.key("g"))
			for i, row := range got {
				if want := fmt.Sprintf("r/%d=%s", i+2, fence); err != nil || row != want {
					k.Fatalf("with the fence at %q, %v: row %d is %q", fence, err, i, row)
				}
			}
			if len(got) != rows {
				k.Fatalf("%d of %d rows", len(got), rows)
			}
		})
	}
}

// scanBorders scans ranges that begin and end at, before and behind the borders of regions and of pages.
func scanBorders(k *kit) {
	const rows = 700
	name := func(i int) string { return fmt.Sprintf("r/%04d", i) }
	b := k.batch("f", "", "1")
	for i := range rows {
		b.Put(k.key(name(i)), fmt.Append(nil, i))
	}
	k.commit(b)
	k.split(name(64), name(200)+"x", name(320), name(321))
	sn := k.snapshot()
	borders := []int{0, 1, 63, 64, 65, 200, 201, 319, 320, 321, 322, 512, rows - 1, rows}
	for i, start := range borders {
		for _, end := range borders[i:] {
			for _, r := range []kv.Range{{}, {Reverse: true}, {Limit: 64, KeysOnly: true}, {Limit: 65, Reverse: true}} {
				r.Start, r.End = k.key(name(start)), k.key(name(end))
				k.scans(sn, r, start, end)
			}
		}
	}
}

// scans checks a scan of the rows from start to end, which are their numbers.
func (k *kit) scans(sn kv.Snapshot, r kv.Range, start, end int) {
	k.Helper()
	var want []int
	for i := start; i < end; i++ {
		want = append(want, i)
	}
	if r.Reverse {
		slices.Reverse(want)
	}
	if r.Limit > 0 && len(want) > r.Limit {
		want = want[:r.Limit]
	}
	n := 0
	err := sn.Scan(context.Background(), r, func(key, value []byte) error {
		if n == len(want) {
			return fmt.Errorf("row %d, %q, is beyond the last", n, key)
		}
		if !bytes.HasSuffix(key, fmt.Appendf(nil, "r/%04d", want[n])) || !r.KeysOnly && string(value) != fmt.Sprint(want[n]) {
			return fmt.Errorf("row %d is %q=%q, want %d", n, key, value, want[n])
		}
		n++
		return nil
	})
	if err != nil || n != len(want) {
		k.Errorf("from %d to %d, limit %d, reverse %v: %d of %d rows, %v", start, end, r.Limit, r.Reverse, n, len(want), err)
	}
}
