package kv_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/catena-im/catena/pkg/kv"
)

func ops(b *kv.Batch) (out []string) {
	for o := range b.Ops() {
		if o.Value == nil {
			out = append(out, string(o.Key))
		} else {
			out = append(out, fmt.Sprintf("%s=%s", o.Key, o.Value))
		}
	}
	return out
}

func TestBatchKeepsNoMemoryOfItsCaller(t *testing.T) {
	b := new(kv.Batch)
	scratch := []byte("a1")
	b.Put(scratch[:1], scratch[1:])
	copy(scratch, "b2")
	b.Put(scratch[:1], scratch[1:])
	copy(scratch, "c3")
	b.Delete(scratch[:1])
	b.Put(scratch[:1], nil)
	clear(scratch)
	if got, want := ops(b), []string{"a=1", "b=2", "c", "c="}; !slices.Equal(got, want) || b.Len() != 4 || b.Size() != 6 {
		t.Errorf("got %q of %d bytes, want %q", got, b.Size(), want)
	}
}

func TestBatchIsEmptyAfterReset(t *testing.T) {
	for _, size := range []int{1, kv.MaxValue} {
		b := &kv.Batch{Fence: []byte("f"), Expect: []byte("1"), Next: []byte("2")}
		b.Put([]byte("a"), bytes.Repeat([]byte("x"), size))
		b.Delete([]byte("b"))
		b.Reset()
		if b.Fence != nil || b.Expect != nil || b.Next != nil || b.Len() != 0 || b.Size() != 0 || len(ops(b)) != 0 {
			t.Errorf("after %d bytes it holds %q, %d bytes, and %q", size, ops(b), b.Size(), b.Fence)
		}
		b.Put([]byte("c"), []byte("3"))
		if got := ops(b); !slices.Equal(got, []string{"c=3"}) {
			t.Errorf("after %d bytes got %q", size, got)
		}
	}
}

// TestBatchThatIsUsedAgainAllocatesNothing, nor does reading it.
func TestBatchThatIsUsedAgainAllocatesNothing(t *testing.T) {
	b := new(kv.Batch)
	key, value := make([]byte, 40), make([]byte, 100)
	if n := testing.AllocsPerRun(10, func() {
		b.Reset()
		for range 1000 {
			b.Put(key, value)
		}
		for o := range b.Ops() {
			_ = o
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
