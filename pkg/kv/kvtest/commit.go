package kvtest

import (
	"bytes"
	"fmt"

	"github.com/catena-im/catena/pkg/kv"
)

func commitApplies(k *kit) {
	k.commit(k.batch("f", "", "1", "r/a=1", "r/b=2", "r/c=3"))
	k.holds("r/", "r/a=1", "r/b=2", "r/c=3")
	k.has("f", "1")

	k.commit(k.batch("f", "1", "2", "r/a=new", "r/b", "r/d=4", "r/none"))
	k.holds("r/", "r/a=new", "r/c=3", "r/d=4")
	k.has("f", "2")

	k.commit(k.batch("f", "2", "3")) // a batch may move its fence only
	k.has("f", "3")
}

func commitTwice(k *kit) {
	first, second := k.batch("f", "", "1", "r/a=1"), k.batch("f", "1", "2", "r/a=2", "r/b=2")
	k.commit(first)
	k.commit(first)
	k.commit(second)
	k.commit(k.batch("g", "", "1", "r/a=other", "r/b"))
	k.commit(second)
	k.holds("r/", "r/a=other") // answered, not applied again
	k.refuses(first, kv.ErrFenced)
	k.has("f", "2")
}

func commitStale(k *kit) {
	k.refuses(k.batch("f", "0", "1", "r/a=x"), kv.ErrFenced) // expects one where there is none
	k.has("f", "")
	k.commit(k.batch("f", "", "1", "r/a=1"))
	k.commit(k.batch("f", "1", "2", "r/b=2"))
	for _, expect := range []string{"", "1", "3", "22", "2\x00"} {
		k.refuses(k.batch("f", expect, "9", "r/a=x", "r/b", "r/c=x"), kv.ErrFenced)
	}
	k.holds("r/", "r/a=1", "r/b=2")
	k.has("f", "2")
}

func commitOwnsMemory(k *kit) {
	b := &kv.Batch{Fence: k.key("f"), Next: []byte("1")}
	b.Put(k.key("r/a"), []byte("value"))
	k.commit(b)
	for _, s := range [][]byte{b.Fence, b.Next} {
		for i := range s {
			s[i] = 'X'
		}
	}
	b.Reset()
	b.Put(k.key("r/b"), []byte("other")) // where the key and the value were
	k.holds("r/", "r/a=value")
	k.has("f", "1")
	k.commit(k.batch("f", "1", "2", "r/a=again"))
	k.holds("r/", "r/a=again")
}

func commitLastOperation(k *kit) {
	k.commit(k.batch("f", "", "1", "r/kept=0", "r/gone=0"))
	k.commit(k.batch("f", "1", "2",
		"r/kept", "r/kept=1", "r/gone=1", "r/gone",
		"r/twice=1", "r/twice=2", "r/brief=1", "r/brief", "r/late", "r/late=1"))
	k.holds("r/", "r/kept=1", "r/late=1", "r/twice=2")
}

func commitFences(k *kit) {
	for i := range 100 { // more than a driver has locks
		k.commit(k.batch(fmt.Sprintf("f%d", i), "", "1", fmt.Sprintf("r/%02d=1", i)))
	}
	k.refuses(k.batch("f0", "", "2", "r/00=x"), kv.ErrFenced)
	k.commit(k.batch("f0", "1", "2", "r/00=2"))
	k.refuses(k.batch("f1", "2", "3", "r/01=x"), kv.ErrFenced)
	k.within(func(sn kv.Snapshot) {
		rows := k.rows(sn, k.all("r/"))
		if len(rows) != 100 || rows[0] != "r/00=2" || rows[1] != "r/01=1" {
			k.Errorf("got %q", rows)
		}
	})
}

func commitInvalid(k *kit) {
	put := func(key, value []byte) *kv.Batch {
		b := k.batch("f", "", "1", "r/a=1")
		b.Put(key, value)
		return b
	}
	big := k.batch("f", "", "1")
	for i := range 5 {
		big.Put(k.key(fmt.Sprintf("r/%d", i)), make([]byte, kv.MaxValue))
	}
	many := k.batch("f", "", "1")
	for range kv.MaxOps + 1 {
		many.Delete(k.key("r/a"))
	}
	gone := k.batch("f", "", "1", "r/a=1")
	gone.Delete(nil)
	long := bytes.Repeat([]byte("k"), kv.MaxKey+1)
	fence := func(f, expect, next []byte) *kv.Batch {
		b := &kv.Batch{Fence: f, Expect: expect, Next: next}
		b.Put(k.key("r/a"), []byte("1"))
		return b
	}
	for name, b := range map[string]*kv.Batch{
		"empty key":      put(nil, []byte("v")),
		"long key":       put(long, []byte("v")),
		"empty value":    put(k.key("r/b"), []byte{}),
		"nil value":      put(k.key("r/b"), nil),
		"long value":     put(k.key("r/b"), make([]byte, kv.MaxValue+1)),
		"large batch":    big,
		"many writes":    many,
		"delete nothing": gone,
		"no fence":       fence(nil, nil, []byte("1")),
		"long fence":     fence(long, nil, []byte("1")),
		"no next":        fence(k.key("f"), nil, nil),
		"empty next":     fence(k.key("f"), nil, []byte{}),
		"long next":      fence(k.key("f"), nil, make([]byte, kv.MaxValue+1)),
		"empty expect":   fence(k.key("f"), []byte{}, []byte("1")),
	} {
		k.Log(name)
		k.refuses(b, kv.ErrInvalid)
	}
	k.holds("")
}

func commitBounds(k *kit) {
	long := append(k.key("r/"), bytes.Repeat([]byte("k"), kv.MaxKey-len(k.key("r/")))...)
	b := k.batch("f", "", "1")
	b.Put(long, bytes.Repeat([]byte("v"), kv.MaxValue))
	for i := 0; b.Size()+kv.MaxValue < kv.MaxBatch; i++ {
		key := k.key(fmt.Sprintf("r/%d", i))
		b.Put(key, bytes.Repeat([]byte("v"), kv.MaxValue-len(key)))
	}
	k.commit(b)
	k.within(func(sn kv.Snapshot) {
		size := 0
		if err := sn.Scan(k.Context(), k.all("r/"), func(key, value []byte) error {
			size += len(key) + len(value)
			return nil
		}); err != nil || size != b.Size() {
			k.Errorf("read %d bytes of %d: %v", size, b.Size(), err)
		}
	})
}

// commitMany commits tiny writes, which cost a store more than their bytes.
func commitMany(k *kit) {
	const many = kv.MaxOps / 12 // what the mock store takes in time
	b := k.batch("f", "", "1")
	for i := range many {
		b.Put(fmt.Appendf(nil, "%sr/%d", k.prefix, i), []byte{1})
	}
	k.commit(b)
	n := 0
	k.within(func(sn kv.Snapshot) {
		r := k.all("r/")
		r.KeysOnly = true
		if err := sn.Scan(k.Context(), r, func(_, _ []byte) error {
			n++
			return nil
		}); err != nil || n != many {
			k.Errorf("%d of %d rows, %v", n, many, err)
		}
	})
}
