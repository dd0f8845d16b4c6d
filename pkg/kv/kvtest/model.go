package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/catena-im/catena/pkg/kv"
)

// model compares the store with a map, over random commits, snapshots and reads.
func model(k *kit) {
	runs := 0
	rapid.Check(k.T, func(t *rapid.T) {
		runs++
		m := &machine{
			store:  k.store,
			prefix: fmt.Sprintf("%s%d/", k.prefix, runs),
			now:    map[string]string{},
		}
		defer m.release()
		t.Repeat(map[string]func(*rapid.T){
			"commit":   m.commit,
			"again":    m.again,
			"stale":    m.stale,
			"sync":     m.sync,
			"snapshot": m.snapshot,
			"release":  m.drop,
			"read":     m.read,
			"scan":     m.scan,
		})
	})
}

type machine struct {
	store  kv.Store
	prefix string
	now    map[string]string
	held   []byte    // what the fence holds
	last   *kv.Batch // the last that was committed
	count  int
	views  []view
}

// view is a snapshot and what it must show.
type view struct {
	sn   kv.Snapshot
	want map[string]string
}

var modelKey = rapid.StringOfN(rapid.RuneFrom([]rune{0, 1, 'a', 'b', 0x7f}), 1, 3, -1)

// draw makes a batch of random writes, and what the map is after it.
func (m *machine) draw(t *rapid.T) (*kv.Batch, map[string]string) {
	m.count++
	b := &kv.Batch{Fence: []byte(m.prefix + "!"), Expect: m.held, Next: fmt.Appendf(nil, "n%d", m.count)}
	after := maps.Clone(m.now)
	for i := range rapid.IntRange(0, 6).Draw(t, "writes") {
		key := modelKey.Draw(t, "key")
		if rapid.Bool().Draw(t, "put") {
			value := fmt.Sprintf("%d.%d", m.count, i)
			b.Put([]byte(m.prefix+"r/"+key), []byte(value))
			after[key] = value
		} else {
			b.Delete([]byte(m.prefix + "r/" + key))
			delete(after, key)
		}
	}
	return b, after
}

func (m *machine) commit(t *rapid.T) {
	b, after := m.draw(t)
	if err := m.store.Commit(context.Background(), b); err != nil {
		t.Fatalf("commit: %v", err)
	}
	m.now, m.held, m.last = after, b.Next, b
}

func (m *machine) again(t *rapid.T) {
	if m.last == nil {
		t.Skip("nothing committed yet")
	}
	if err := m.store.Commit(context.Background(), m.last); err != nil {
		t.Fatalf("commit again: %v", err)
	}
}

func (m *machine) stale(t *rapid.T) {
	b, _ := m.draw(t)
	if b.Expect = nil; m.held == nil || rapid.Bool().Draw(t, "some value") {
		b.Expect = []byte("other")
	}
	if err := m.store.Commit(context.Background(), b); !errors.Is(err, kv.ErrFenced) {
		t.Fatalf("stale commit: got %v, want %v", err, kv.ErrFenced)
	}
}

// sync changes nothing that can be read, but where a driver reads it from.
func (m *machine) sync(t *rapid.T) {
	if err := m.store.Sync(context.Background()); err != nil {
		t.Fatalf("sync: %v", err)
	}
}

func (m *machine) snapshot(t *rapid.T) {
	if len(m.views) == 3 {
		t.Skip("enough snapshots")
	}
	sn, err := m.store.Snapshot(context.Background())
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	m.views = append(m.views, view{sn, maps.Clone(m.now)})
}

func (m *machine) drop(t *rapid.T) {
	if len(m.views) == 0 {
		t.Skip("no snapshot")
	}
	i := rapid.IntRange(0, len(m.views)-1).Draw(t, "snapshot")
	m.views[i].sn.Release()
	m.views = slices.Delete(m.views, i, i+1)
}

func (m *machine) release() {
	for _, v := range m.views {
		v.sn.Release()
	}
}

func (m *machine) pick(t *rapid.T) view {
	if len(m.views) == 0 {
		t.Skip("no snapshot")
	}
	return rapid.SampledFrom(m.views).Draw(t, "snapshot")
}

func (m *machine) read(t *rapid.T) {
	v := m.pick(t)
	names := rapid.SliceOfN(modelKey, 1, 5).Draw(t, "keys")
	keys := make([][]byte, len(names))
	for i, n := range names {
		keys[i] = []byte(m.prefix + "r/" + n)
	}
	values, err := v.sn.BatchGet(context.Background(), keys)
	if err != nil {
		t.Fatalf("batch get: %v", err)
	}
	for i, n := range names {
		want, there := v.want[n]
		if string(values[i]) != want || there != (values[i] != nil) {
			t.Fatalf("batch get %q: got %q, want %q", n, values[i], want)
		}
		if got, err := v.sn.Get(context.Background(), keys[i]); err != nil || !bytes.Equal(got, values[i]) {
			t.Fatalf("get %q: got %q, %v, want %q", n, got, err, values[i])
		}
	}
}

func (m *machine) scan(t *rapid.T) {
	v := m.pick(t)
	start, end := modelKey.Draw(t, "start"), modelKey.Draw(t, "end")
	if rapid.Bool().Draw(t, "from the first") {
		start = ""
	}
	if rapid.Bool().Draw(t, "to the last") {
		end = "\x7f\x7f\x7f\x7f"
	}
	r := kv.Range{
		Start:    []byte(m.prefix + "r/" + start),
		End:      []byte(m.prefix + "r/" + end),
		Limit:    rapid.IntRange(0, 4).Draw(t, "limit"),
		Reverse:  rapid.Bool().Draw(t, "reverse"),
		KeysOnly: rapid.Bool().Draw(t, "keys only"),
	}
	var got []string
	if err := v.sn.Scan(context.Background(), r, func(key, value []byte) error {
		got = append(got, string(key[len(m.prefix)+2:])+"="+string(value))
		return nil
	}); err != nil {
		t.Fatalf("scan: %v", err)
	}
	if want := expected(v.want, start, end, r); !slices.Equal(got, want) {
		t.Fatalf("scan from %q to %q, limit %d, reverse %v: got %q, want %q", start, end, r.Limit, r.Reverse, got, want)
	}
}

// expected is what a scan of rows gives.
func expected(rows map[string]string, start, end string, r kv.Range) (want []string) {
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		switch {
		case key < start || key >= end:
		case r.KeysOnly:
			want = append(want, key+"=")
		default:
			want = append(want, key+"="+rows[key])
		}
	}
	if r.Reverse {
		slices.Reverse(want)
	}
	if r.Limit > 0 && len(want) > r.Limit {
		want = want[:r.Limit]
	}
	return want
}
