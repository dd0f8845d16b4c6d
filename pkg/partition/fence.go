package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/kv"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// fence is the partition's checkpoint as this owner last saw it in the store.
type fence struct {
	key    []byte
	record *imv1.FenceRecord
	raw    []byte // the stored form of record; nil: absent
}

// loadFence reads the fence of a partition.
func loadFence(ctx context.Context, store kv.Store, key []byte) (*fence, error) {
	snap, err := store.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	raw, err := snap.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read the fence: %w", err)
	}
	f := &fence{key: key, record: new(imv1.FenceRecord), raw: raw}
	if err := proto.Unmarshal(raw, f.record); err != nil {
		return nil, fmt.Errorf("read the fence: %w", err)
	}
	return f, nil
}

// verify checks that the stream is the one that the checkpoint was taken from and that it still holds everything from
// next on, and returns what it found. Sequences that a stream hands out twice, or that went missing, must not be passed
// over silently.
func (f *fence) verify(ctx context.Context, part bus.Partition, s Stream, next uint64) (bus.StreamState, error) {
	st, err := s.State(ctx)
	if err != nil {
		return st, fmt.Errorf("look at stream %s: %w", part.Stream(), err)
	}
	r := f.record
	refuse := func(do, format string, args ...any) (bus.StreamState, error) {
		return st, &StreamError{Partition: part, Why: fmt.Sprintf(format, args...), Do: do}
	}
	const (
		restore = "bring back the stream that belongs to this store, or stop the sequencers and run: catena repair"
		repair  = "restore the missing messages, or stop the sequencers and go on without them: catena repair"
	)
	switch {
	case f.raw == nil && st.First > 1:
		return refuse(restore, "the store has no checkpoint but the stream begins at %d", st.First)
	case f.raw == nil:
		return st, nil
	case st.Created.UnixNano() != r.GetStreamCreatedNs():
		return refuse(restore, "it was created at %s, the checkpoint was taken from one created at %s",
			st.Created.UTC().Format(time.RFC3339Nano), time.Unix(0, r.GetStreamCreatedNs()).UTC().Format(time.RFC3339Nano))
	case st.Last < r.GetApplied():
		return refuse(repair, "it ends at %d, behind the checkpoint at %d", st.Last, r.GetApplied())
	case st.First > next:
		return refuse(repair, "it begins at %d, and %d is needed next", st.First, next)
	}
	if r.GetApplied() == 0 {
		return st, nil
	}
	m, err := s.Message(ctx, r.GetApplied())
	switch {
	case errors.Is(err, bus.ErrNotFound): // trimmed
		return st, nil
	case err != nil:
		return st, fmt.Errorf("read message %d of stream %s: %w", r.GetApplied(), part.Stream(), err)
	case m.ID != r.GetAppliedMessageId():
		return refuse(restore, "message %d is %q there and %q in the checkpoint", r.GetApplied(), m.ID, r.GetAppliedMessageId())
	}
	return st, nil
}

// commit writes b (nil: nothing else) together with the fence's next value. An unclear outcome is settled by
// committing the same batch again: the fence tells.
func (f *fence) commit(ctx context.Context, store kv.Store, b *kv.Batch, next *imv1.FenceRecord) error {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode the fence: %w", err)
	}
	if b == nil {
		b = new(kv.Batch)
	}
	b.Fence, b.Expect, b.Next = f.key, f.raw, raw
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := store.Commit(ctx, b)
		if err == nil {
			f.record, f.raw = next, raw
			return nil
		}
		if !errors.Is(err, kv.ErrUnknown) {
			return err
		}
		if !sleep(ctx, wait) {
			return err
		}
	}
}

// next is a copy of the fence's record to change and commit, with a nonce of its own.
func (f *fence) next() *imv1.FenceRecord {
	r := proto.CloneOf(f.record)
	r.Nonce++
	return r
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
