package partition

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/catena-im/catena/pkg/bus"
)

const (
	trimEvery = 10 * time.Second
	overhead  = 150 // bytes about, that a stream holds of a message besides its payload
)

// trim removes what need not be kept, so that a stream's bounds hold for what waits and not for what was: streams drop
// nothing by themselves. It looks every few seconds, and sooner when so much was read that the stream may be filling up.
func (l *loop) trim(ctx context.Context) {
	if time.Since(l.trimmed) < trimEvery && (l.room == 0 || l.taken < l.room/4) {
		return
	}
	l.trimmed, l.taken = time.Now(), 0
	st, err := l.stream.State(ctx)
	if err == nil {
		l.room = st.MaxBytes
		err = l.cut(ctx, st)
	}
	if err != nil && ctx.Err() == nil {
		l.log.Warn("stream not trimmed", "err", err)
	}
}

// cut removes everything that is emitted from a stream that is more than half full, else what is older than is asked
// for. The store must be durable first: a power loss may take it back to what was synced, and from there it is replayed
// from the stream.
func (l *loop) cut(ctx context.Context, st bus.StreamState) error {
	below := l.fence.record.GetEmitted() // the last of them stays: a take-over compares it with the checkpoint
	switch {
	case below <= st.First:
		return nil
	case st.MaxBytes > 0 && st.Bytes >= st.MaxBytes/2:
	case l.keep > 0 && st.Now.Sub(st.Oldest) > l.keep+l.keep/8: // not for every single message
		var err error
		if below, err = l.since(ctx, st.Now.Add(-l.keep), st.First, below); err != nil {
			return fmt.Errorf("look for what is older than %s: %w", l.keep, err)
		}
	default:
		return nil
	}
	if err := l.store.Sync(ctx); err != nil {
		return fmt.Errorf("sync the store: %w", err)
	}
	if err := l.stream.Purge(ctx, below); err != nil {
		return err
	}
	l.log.Info("stream trimmed", "below", below, "bytes", st.Bytes)
	return nil
}

// since is the first message of first to last that the stream took at t or later; last, when none below it was.
func (l *loop) since(ctx context.Context, t time.Time, first, last uint64) (uint64, error) {
	var failed error
	n := sort.Search(int(last-first), func(i int) bool {
		m, err := l.stream.Message(ctx, first+uint64(i))
		if err != nil {
			failed = err
		}
		return failed != nil || !m.Time.Before(t)
	})
	return first + uint64(n), failed
}
