package kvtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/catena-im/catena/pkg/kv"
)

func syncConfirms(k *kit) {
	if err := k.store.Sync(context.Background()); err != nil {
		k.Fatalf("with nothing to sync: %v", err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		b := k.batch(fmt.Sprint("f", i), "", "1", fmt.Sprintf("r/%d=1", i))
		wg.Go(func() {
			k.commit(b)
			if err := k.store.Sync(context.Background()); err != nil {
				k.Errorf("sync: %v", err)
			}
		})
	}
	wg.Wait()
	k.within(func(sn kv.Snapshot) {
		if got := len(k.rows(sn, k.all("r/"))); got != 8 {
			k.Errorf("%d of 8 rows", got)
		}
	})
}

func closeAnswers(k *kit) {
	k.commit(k.batch("f", "", "1", "r/a=1"))
	if err := k.store.Close(); err != nil {
		k.Fatalf("close: %v", err)
	}
	if err := k.store.Commit(context.Background(), k.batch("f", "1", "2")); err == nil {
		k.Error("commit answers nil")
	}
	if err := k.store.Sync(context.Background()); err == nil {
		k.Error("sync answers nil")
	}
	if _, err := k.store.Snapshot(context.Background()); err == nil {
		k.Error("snapshot answers nil")
	}
}

// closeLoaded closes the store under commits and reads, which end with an error and not before.
func closeLoaded(k *kit) {
	const callers = 4
	var wg, started sync.WaitGroup
	started.Add(2 * callers)
	first := func() func() {
		var once sync.Once
		return func() { once.Do(started.Done) }
	}
	for c := range callers {
		wg.Go(func() {
			held, started := "", first()
			defer started()
			for i := 0; ; i++ {
				next := fmt.Sprint("n", i)
				if err := k.store.Commit(context.Background(), k.batch(fmt.Sprint("f", c), held, next, "r/a="+next)); err != nil {
					return
				}
				held = next
				started()
			}
		})
		wg.Go(func() {
			started := first()
			defer started()
			for k.read() == nil {
				started()
			}
		})
	}
	started.Wait()
	_ = k.store.Close() // a driver may complain of the readers' snapshots
	wg.Wait()
}

func (k *kit) read() error {
	sn, err := k.store.Snapshot(context.Background())
	if err != nil {
		return err
	}
	defer sn.Release()
	return sn.Scan(context.Background(), k.all("r/"), func(_, _ []byte) error { return nil })
}
