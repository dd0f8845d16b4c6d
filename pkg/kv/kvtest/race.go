package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/catena-im/catena/pkg/kv"
)

// raceChain lets owners take one fence from each other while readers watch: each success replaces the value of another,
// no value is replaced twice, and a reader sees all rows of a batch or none.
func raceChain(k *kit) {
	const owners, rounds, rows = 4, 40, 20
	var (
		mu    sync.Mutex
		after = map[string]string{} // successes: expected value → value put there
		wg    sync.WaitGroup
		done  = make(chan struct{})
	)
	own := func(owner int) {
		for i := range rounds {
			var held []byte
			k.within(func(sn kv.Snapshot) { held, _ = sn.Get(context.Background(), k.key("f")) })
			b := &kv.Batch{Fence: k.key("f"), Expect: held, Next: fmt.Appendf(nil, "%d-%d", owner, i)}
			for row := range rows {
				b.Put(k.key(fmt.Sprintf("r/%02d", row)), b.Next)
			}
			err := k.store.Commit(context.Background(), b)
			if errors.Is(err, kv.ErrFenced) {
				continue
			}
			if err != nil {
				k.Errorf("commit: %v", err)
				return
			}
			mu.Lock()
			if other, taken := after[string(held)]; taken {
				k.Errorf("%q was replaced by %q and by %q", held, other, b.Next)
			}
			after[string(held)] = string(b.Next)
			mu.Unlock()
			k.within(func(sn kv.Snapshot) { // the own commit is seen: at least, the fence moved on
				if now, err := sn.Get(context.Background(), k.key("f")); err != nil || bytes.Equal(now, held) {
					k.Errorf("after the commit of %q the fence holds %q, %v", b.Next, now, err)
				}
			})
		}
	}
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				k.within(func(sn kv.Snapshot) { k.whole(sn, rows) })
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for owner := range owners {
		wg.Go(func() { own(owner) })
	}
	wg.Wait()
	close(done)
	readers.Wait()

	value, length := "", 0
	for next, ok := after[value]; ok; next, ok = after[value] {
		value, length = next, length+1
	}
	if length != len(after) || length == 0 {
		k.Errorf("%d of %d successes are in the chain", length, len(after))
	}
	k.has("f", value)
}

// whole checks that sn holds one batch: n rows that say what the fence says.
func (k *kit) whole(sn kv.Snapshot, n int) {
	fence, err := sn.Get(context.Background(), k.key("f"))
	if err != nil {
		k.Errorf("get: %v", err)
		return
	}
	rows := 0
	if err := sn.Scan(context.Background(), k.all("r/"), func(_, value []byte) error {
		if rows++; !bytes.Equal(value, fence) {
			return fmt.Errorf("row of %q while the fence holds %q", value, fence)
		}
		return nil
	}); err != nil {
		k.Errorf("scan: %v", err)
	}
	if fence != nil && rows != n {
		k.Errorf("%d of %d rows", rows, n)
	}
}

// raceSame starts commits that expect the same value at the same moment, several times over.
func raceSame(k *kit) {
	const owners = 8
	held := ""
	for round := range 10 {
		start := make(chan struct{})
		errs := make([]error, owners)
		var wg sync.WaitGroup
		for o := range owners {
			b := k.batch("f", held, fmt.Sprintf("%d/%d", round, o), fmt.Sprintf("r/%d=%d", round, o))
			wg.Go(func() {
				<-start
				errs[o] = k.store.Commit(context.Background(), b)
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for o, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = o
			case err == nil:
				k.Fatalf("round %d: %d and %d won", round, winner, o)
			case !errors.Is(err, kv.ErrFenced):
				k.Fatalf("round %d: %v", round, err)
			}
		}
		if winner < 0 {
			k.Fatalf("round %d: none won", round)
		}
		held = fmt.Sprintf("%d/%d", round, winner)
		k.has("f", held)
		k.has(fmt.Sprintf("r/%d", round), fmt.Sprint(winner))
	}
}
