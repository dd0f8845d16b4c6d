package bus_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/catena-im/catena/pkg/bus"
)

func leases(t *testing.T) *bus.Leases {
	t.Helper()
	_, b := provisioned(t, small())
	l, err := b.Leases(t.Context())
	must(t, err)
	return l
}

// gone waits until nobody holds key.
func gone(t *testing.T, l *bus.Leases, key string) {
	t.Helper()
	for ctx := soon(t); ; {
		_, held, err := l.Get(ctx, key)
		must(t, err)
		if !held {
			return
		}
	}
}

func TestLeaseIsHeldByOne(t *testing.T) {
	t.Parallel()
	l, ctx := leases(t), t.Context()
	a, err := l.Acquire(ctx, "conv.000", []byte("a"), time.Minute)
	must(t, err)
	_, err = l.Acquire(ctx, "conv.000", []byte("b"), time.Minute)
	wantErr(t, err, bus.ErrHeld)
	got, held, err := l.Get(ctx, "conv.000")
	must(t, err)
	if !held || string(got.Value) != "a" || got.Revision != a.Revision || got.Key != "conv.000" {
		t.Errorf("got %+v %v, want %+v", got, held, a)
	}

	renewed, err := l.Replace(ctx, a, []byte("a2"), time.Minute)
	must(t, err)
	if renewed.Revision <= a.Revision {
		t.Errorf("revision went from %d to %d", a.Revision, renewed.Revision)
	}
	_, err = l.Replace(ctx, a, []byte("late"), time.Minute)
	wantErr(t, err, bus.ErrLost)
	wantErr(t, l.Release(ctx, a), bus.ErrLost)

	must(t, l.Release(ctx, renewed))
	if _, held, err := l.Get(ctx, "conv.000"); held || err != nil {
		t.Errorf("after release: held %v, error %v", held, err)
	}
	wantErr(t, l.Release(ctx, renewed), bus.ErrLost)
	_, err = l.Replace(ctx, renewed, []byte("late"), time.Minute)
	wantErr(t, err, bus.ErrLost)
	_, err = l.Acquire(ctx, "conv.000", []byte("b"), time.Minute)
	must(t, err)
}

func TestLeaseExpiresUnlessRenewed(t *testing.T) {
	t.Parallel()
	l, ctx := leases(t), t.Context()
	acquired, err := l.Acquire(ctx, "acquired", []byte("a"), time.Millisecond) // a second is the least
	must(t, err)
	first, err := l.Acquire(ctx, "renewed", []byte("a"), time.Minute)
	must(t, err)
	renewed, err := l.Replace(ctx, first, []byte("a"), time.Second)
	must(t, err)
	second, err := l.Acquire(ctx, "prolonged", []byte("a"), time.Second)
	must(t, err)
	_, err = l.Replace(ctx, second, []byte("a"), time.Minute)
	must(t, err)

	gone(t, l, "acquired")
	gone(t, l, "renewed")
	if _, held, err := l.Get(ctx, "prolonged"); !held || err != nil {
		t.Errorf("prolonged: held %v, error %v", held, err)
	}
	_, err = l.Replace(ctx, acquired, []byte("a"), time.Minute)
	wantErr(t, err, bus.ErrLost)
	wantErr(t, l.Release(ctx, renewed), bus.ErrLost)
	for _, key := range []string{"acquired", "renewed"} {
		_, err = l.Acquire(ctx, key, []byte("b"), time.Minute)
		must(t, err)
	}
}

func TestListShowsWhatIsHeld(t *testing.T) {
	t.Parallel()
	l, ctx := leases(t), t.Context()
	got, err := l.List(ctx)
	must(t, err)
	if len(got) != 0 {
		t.Errorf("got %v of an empty bucket", got)
	}
	var want []bus.Lease
	for _, key := range []string{"conv.000", "conv.001", "user.000", "worker.x"} {
		lease, err := l.Acquire(ctx, key, []byte("v "+key), time.Minute)
		must(t, err)
		want = append(want, lease)
	}
	must(t, l.Release(ctx, want[1]))
	expired, err := l.Acquire(ctx, "expired", nil, time.Second)
	must(t, err)
	gone(t, l, expired.Key)
	want = append(want[:1], want[2:]...)
	got, err = l.List(ctx)
	must(t, err)
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i].Key != want[i].Key || string(got[i].Value) != string(want[i].Value) || got[i].Revision != want[i].Revision {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	_, err = l.Replace(ctx, got[0], []byte("w"), time.Minute)
	must(t, err)
}

// The leases are listed several times a second by every sequencer.
func TestListIsCheap(t *testing.T) { // beside no other test: it looks at what the whole process allocates
	l := leases(t)
	const times = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		_, err := l.List(t.Context())
		must(t, err)
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / times; got > 100<<10 {
		t.Errorf("a list allocates %d bytes, with the server's part", got)
	}
}
