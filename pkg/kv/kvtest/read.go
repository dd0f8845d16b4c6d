package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/catena-im/catena/pkg/kv"
)

func getOwnsMemory(k *kit) {
	k.commit(k.batch("f", "", "1", "r/a=value"))
	sn := k.snapshot()
	first, err := sn.Get(context.Background(), k.key("r/a"))
	if err != nil || string(first) != "value" {
		k.Fatalf("get: %q, %v", first, err)
	}
	first[0] = 'X'
	if again, err := sn.Get(context.Background(), k.key("r/a")); err != nil || string(again) != "value" {
		k.Errorf("get again: %q, %v", again, err)
	}
	if v, err := sn.Get(context.Background(), k.key("none")); v != nil || err != nil {
		k.Errorf("get absent: %q, %v", v, err)
	}
}

func batchGetOrder(k *kit) {
	k.commit(k.batch("f", "", "1", "r/a=1", "r/b=2", "r/c=3"))
	sn := k.snapshot()
	names := []string{"r/c", "none", "r/a", "r/c", "r/b", "none", "r/a"}
	keys, before := k.keys(names...), k.keys(names...)
	values, err := sn.BatchGet(context.Background(), keys)
	if err != nil {
		k.Fatal(err)
	}
	if got, want := fmt.Sprintf("%q", values), `["3" "" "1" "3" "2" "" "1"]`; got != want {
		k.Errorf("got %s, want %s", got, want)
	}
	if values[1] != nil || values[5] != nil {
		k.Error("an absent key has a value that is not nil")
	}
	if !slices.EqualFunc(keys, before, bytes.Equal) {
		k.Errorf("the keys were changed: %q", keys)
	}
	values[0][0] = 'X'
	if string(values[3]) != "3" {
		k.Error("the results of one key share memory")
	}
	_ = append(values[0], "12345678"...)
	if got := fmt.Sprintf("%q", values[2:5]); got != `["1" "3" "2"]` {
		k.Errorf("an append to a result reached the next: %s", got)
	}
	if none, err := sn.BatchGet(context.Background(), nil); len(none) != 0 || err != nil {
		k.Errorf("no keys: %q, %v", none, err)
	}
}

func snapshotStays(k *kit) {
	empty := k.snapshot()
	k.commit(k.batch("f", "", "1", "r/a=1", "r/b=1", "r/c=1"))
	old := k.snapshot()
	k.commit(k.batch("f", "1", "2", "r/a=2", "r/b", "r/d=2"))
	now := k.snapshot()
	k.commit(k.batch("f", "2", "3", "r/a", "r/b=3", "r/c", "r/d"))
	for _, c := range []struct {
		name   string
		sn     kv.Snapshot
		values []string
		rows   []string
	}{
		{"empty", empty, []string{"", "", "", "", ""}, nil},
		{"old", old, []string{"1", "1", "1", "1", ""}, []string{"r/a=1", "r/b=1", "r/c=1"}},
		{"now", now, []string{"2", "2", "", "1", "2"}, []string{"r/a=2", "r/c=1", "r/d=2"}},
	} {
		keys := k.keys("f", "r/a", "r/b", "r/c", "r/d")
		values, err := c.sn.BatchGet(context.Background(), keys)
		if got := fmt.Sprintf("%q", values); err != nil || got != fmt.Sprintf("%q", c.values) {
			k.Errorf("%s: batch get: got %s, %v, want %q", c.name, got, err, c.values)
		}
		for i, key := range keys {
			if v, err := c.sn.Get(context.Background(), key); err != nil || string(v) != c.values[i] {
				k.Errorf("%s: get %q: got %q, %v, want %q", c.name, key, v, err, c.values[i])
			}
		}
		if got := k.rows(c.sn, k.all("r/")); !slices.Equal(got, c.rows) {
			k.Errorf("%s: scan: got %q, want %q", c.name, got, c.rows)
		}
	}
	k.holds("r/", "r/b=3")
}

func snapshotParallel(k *kit) {
	k.commit(k.batch("f", "", "1", "r/a=1", "r/b=2", "r/c=3"))
	sn := k.snapshot()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				v, err := sn.Get(context.Background(), k.key("r/b"))
				if err != nil || string(v) != "2" {
					k.Errorf("get: %q, %v", v, err)
				}
				n := 0
				if err := sn.Scan(context.Background(), k.all("r/"), func(key, value []byte) error {
					n++
					_, err := sn.Get(context.Background(), key) // also within a scan
					return err
				}); err != nil || n != 3 {
					k.Errorf("scan: %d rows, %v", n, err)
				}
			}
		})
	}
	wg.Wait()
}

func scanBounds(k *kit) {
	k.commit(k.batch("f", "", "1", "r/1=a", "r/3=c", "r/5=e", "r/7=g", "r/9=i", "q=before", "s=after"))
	sn := k.snapshot()
	at := func(s string) []byte { return k.key("r/" + s) }
	for _, c := range []struct {
		name string
		r    kv.Range
		want string
	}{
		{"all", k.all("r/"), "[r/1=a r/3=c r/5=e r/7=g r/9=i]"},
		{"all, reverse", kv.Range{Start: at(""), End: at("~"), Reverse: true}, "[r/9=i r/7=g r/5=e r/3=c r/1=a]"},
		{"start counts, end does not", kv.Range{Start: at("3"), End: at("7")}, "[r/3=c r/5=e]"},
		{"the same, reverse", kv.Range{Start: at("3"), End: at("7"), Reverse: true}, "[r/5=e r/3=c]"},
		{"between keys", kv.Range{Start: at("2"), End: at("6")}, "[r/3=c r/5=e]"},
		{"between keys, reverse", kv.Range{Start: at("2"), End: at("6"), Reverse: true}, "[r/5=e r/3=c]"},
		{"no keys", kv.Range{Start: at("4"), End: at("5")}, "[]"},
		{"equal", kv.Range{Start: at("5"), End: at("5")}, "[]"},
		{"equal, reverse", kv.Range{Start: at("5"), End: at("5"), Reverse: true}, "[]"},
		{"inverted", kv.Range{Start: at("7"), End: at("3")}, "[]"},
		{"inverted, reverse", kv.Range{Start: at("7"), End: at("3"), Reverse: true}, "[]"},
		{"empty end", kv.Range{Start: at("3"), End: []byte{}}, "[]"},
		{"limit 1", kv.Range{Start: at("3"), End: at("~"), Limit: 1}, "[r/3=c]"},
		{"limit 1, reverse", kv.Range{Start: at("3"), End: at("~"), Limit: 1, Reverse: true}, "[r/9=i]"},
		{"limit 2", kv.Range{Start: at(""), End: at("~"), Limit: 2}, "[r/1=a r/3=c]"},
		{"limit above", kv.Range{Start: at("7"), End: at("~"), Limit: 100}, "[r/7=g r/9=i]"},
		{"keys only", kv.Range{Start: at("7"), End: at("~"), KeysOnly: true}, "[r/7= r/9=]"},
		{"keys only, reverse", kv.Range{Start: at("2"), End: at("~"), KeysOnly: true, Reverse: true, Limit: 2}, "[r/9= r/7=]"},
		{"no end", kv.Range{Start: at("7"), Limit: 3}, "[r/7=g r/9=i s=after]"},
		{"no start, reverse", kv.Range{End: at("2"), Limit: 2, Reverse: true}, "[r/1=a q=before]"},
	} {
		if got := fmt.Sprint(k.rows(sn, c.r)); got != c.want {
			k.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	for _, reverse := range []bool{false, true} {
		found := 0
		if err := sn.Scan(context.Background(), kv.Range{Reverse: reverse, KeysOnly: true}, func(key, _ []byte) error {
			if bytes.HasPrefix(key, k.key("r/")) {
				found++
			}
			return nil
		}); err != nil || found != 5 {
			k.Errorf("unbounded, reverse %v: %d of 5 rows, %v", reverse, found, err)
		}
	}
}

func scanOrder(k *kit) {
	sorted := []string{"\x00", "\x00\x00", "\x00\xff", "\x01", "A", "a", "a\x00", "a\x00b", "ab", "b", "é", "\xfe", "\xff", "\xff\x00"}
	b := &kv.Batch{Fence: k.key("f"), Next: []byte("1")}
	for _, i := range []int{7, 0, 13, 3, 11, 5, 1, 9, 12, 2, 8, 4, 10, 6} {
		b.Put(k.key("r/"+sorted[i]), []byte("\x00\xff"))
	}
	k.commit(b)
	want := make([]string, len(sorted))
	for i, s := range sorted {
		want[i] = "r/" + s + "=\x00\xff"
	}
	sn, r := k.snapshot(), kv.Range{Start: k.key("r/"), End: k.key("r0")}
	if got := k.rows(sn, r); !slices.Equal(got, want) {
		k.Errorf("got %q, want %q", got, want)
	}
	slices.Reverse(want)
	r.Reverse = true
	if got := k.rows(sn, r); !slices.Equal(got, want) {
		k.Errorf("reverse: got %q, want %q", got, want)
	}
}

func scanPages(k *kit) {
	const rows = 2500
	expect := ""
	for from := 0; from < rows; from += 500 {
		b := k.batch("f", expect, fmt.Sprint("n", from))
		for i := from; i < from+500; i++ {
			b.Put(k.key(fmt.Sprintf("r/%05d", i)), fmt.Appendf(nil, "v%d", i))
		}
		k.commit(b)
		expect = string(b.Next)
	}
	sn := k.snapshot()
	for _, c := range []struct {
		reverse, keysOnly bool
		limit, want       int
	}{
		{false, false, 0, rows}, {true, false, 0, rows}, {false, true, 0, rows}, {true, true, 0, rows},
		{false, false, 1700, 1700}, {true, false, 1700, 1700}, {false, false, rows, rows},
	} {
		r := k.all("r/")
		r.Reverse, r.KeysOnly, r.Limit = c.reverse, c.keysOnly, c.limit
		n := 0
		err := sn.Scan(context.Background(), r, func(key, value []byte) error {
			i := n
			if c.reverse {
				i = rows - 1 - n
			}
			want := fmt.Sprintf("v%d", i)
			if c.keysOnly {
				want = ""
			}
			if string(key) != string(k.key(fmt.Sprintf("r/%05d", i))) || string(value) != want {
				return fmt.Errorf("row %d is %q=%q", i, key, value)
			}
			n++
			return nil
		})
		if err != nil || n != c.want {
			k.Errorf("%+v: %d rows, %v", c, n, err)
		}
	}
}

func scanCallback(k *kit) {
	k.commit(k.batch("f", "", "1", "r/a=1", "r/b=2", "r/c=3"))
	sn := k.snapshot()
	for _, end := range []error{kv.Stop, errors.New("callback")} {
		n := 0
		err := sn.Scan(context.Background(), k.all("r/"), func(key, value []byte) error {
			if n++; n == 2 {
				return end
			}
			return nil
		})
		if n != 2 || end == kv.Stop && err != nil || end != kv.Stop && !errors.Is(err, end) { //nolint:errorlint // the table's
			k.Errorf("callback answered %v: %d rows, %v", end, n, err)
		}
	}
	var got []string
	if err := sn.Scan(context.Background(), k.all("r/"), func(key, value []byte) error {
		got = append(got, string(key[len(k.prefix):])+string(value))
		_, _ = append(key, "12345678"...), append(value, "12345678"...)
		return nil
	}); err != nil || fmt.Sprint(got) != "[r/a1 r/b2 r/c3]" {
		k.Errorf("a callback that appends to its slices: %q, %v", got, err)
	}
}
