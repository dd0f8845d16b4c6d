package kvtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/catena-im/catena/pkg/kv"
)

func contextEnded(k *kit) {
	k.commit(k.batch("f", "", "1", "r/a=1"))
	sn := k.snapshot()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := k.batch("f", "1", "2", "r/a=2")
	for name, call := range map[string]func() error{
		"snapshot": func() error {
			sn, err := k.store.Snapshot(ctx)
			if err == nil {
				sn.Release()
			}
			return err
		},
		"sync":      func() error { return k.store.Sync(ctx) },
		"get":       func() error { _, err := sn.Get(ctx, k.key("r/a")); return err },
		"batch get": func() error { _, err := sn.BatchGet(ctx, k.keys("r/a")); return err },
		"scan":      func() error { return sn.Scan(ctx, k.all("r/"), func(_, _ []byte) error { return nil }) },
		"commit":    func() error { return k.store.Commit(ctx, b) },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			k.Errorf("%s: got %v, want %v", name, err, context.Canceled)
		}
	}
	k.commit(b) // whatever became of the first try
	k.holds("r/", "r/a=2")
	k.has("f", "2")
}

func contextScan(k *kit) {
	b := k.batch("f", "", "1")
	for i := range 2000 {
		b.Put(k.key(fmt.Sprintf("r/%05d", i)), []byte("v"))
	}
	k.commit(b)
	sn := k.snapshot()
	for _, reverse := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		n, r := 0, k.all("r/")
		r.Reverse = reverse
		err := sn.Scan(ctx, r, func(_, _ []byte) error {
			if n++; n == 10 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || n != 10 {
			k.Errorf("reverse %v: got %v after %d rows, want %v after 10", reverse, err, n, context.Canceled)
		}
		cancel()
	}
	k.within(func(sn kv.Snapshot) {
		if got := len(k.rows(sn, k.all("r/"))); got != 2000 {
			k.Errorf("the next scan: %d of 2000 rows", got)
		}
	})
}

// contextCommit ends contexts while commits run: an answer of nil is true, and any other is settled by the same batch.
func contextCommit(k *kit) {
	before := ""
	for i := range 60 {
		next := fmt.Sprint("n", i)
		b := k.batch("f", before, next, "r/a="+next, fmt.Sprintf("r/%03d=%s", i, next))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			cancel()
		}()
		err := k.store.Commit(ctx, b)
		<-ended
		switch {
		case err == nil:
			k.has("r/a", next)
		case !errors.Is(err, kv.ErrUnknown) && !errors.Is(err, context.Canceled):
			k.Fatalf("commit %d: got %v, want an answer of nil, %v or %v", i, err, kv.ErrUnknown, context.Canceled)
		default:
			k.commit(b)
			k.has("r/a", next)
		}
		before = next
	}
	k.within(func(sn kv.Snapshot) {
		if got := len(k.rows(sn, k.all("r/"))); got != 61 {
			k.Errorf("%d of 61 rows", got)
		}
	})
}
