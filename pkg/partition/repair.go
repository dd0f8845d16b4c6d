package partition

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/kv"
)

// Assess compares the stream of p with the partition's checkpoint: nil when it continues it, a *StreamError when an
// owner would not go on, and how far the partition was applied.
func Assess(ctx context.Context, store kv.Store, key []byte, p bus.Partition, s Stream) (applied uint64, err error) {
	f, err := loadFence(ctx, store, key)
	if err != nil {
		return 0, err
	}
	_, err = f.verify(ctx, p, s, f.record.GetEmitted()+1)
	return f.record.GetApplied(), err
}

// Reincarnate makes the checkpoint continue with the stream as it is: its first message is the next to be applied, and
// everything before it counts as applied and emitted. The stream must not hold sequences that were applied already. A
// former owner is fenced out.
func Reincarnate(ctx context.Context, store kv.Store, key []byte, p bus.Partition, s Stream) error {
	f, err := loadFence(ctx, store, key)
	if err != nil {
		return err
	}
	st, err := s.State(ctx)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", p.Stream(), err)
	}
	next := f.next()
	if st.First > 0 && st.First-1 < next.GetApplied() {
		return fmt.Errorf("stream %s begins at %d, which was applied already: rebuild it behind %d first", p.Stream(), st.First, next.GetApplied())
	}
	next.Epoch++
	next.StreamCreatedNs = st.Created.UnixNano()
	next.Applied, next.Emitted, next.AppliedMessageId = st.First-1, st.First-1, ""
	next.Worker, next.Nonce = "repair", rand.Uint64()
	if err := f.commit(ctx, store, nil, next); err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	return store.Sync(ctx)
}
