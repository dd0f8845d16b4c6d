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

// cut is what is about to be removed from the stream, once the store is durable: a power loss may take it back to what was
// synced, and from there it is replayed from the stream. A sync may take a second, and messages go on meanwhile.
type cut struct {
	*task // the sync
	below uint64
	of    bus.StreamState // the stream, as it was looked at
}

// trim removes what need not be kept, so that a stream's bounds hold for what waits and not for what was: streams drop
// nothing by themselves. It looks every few seconds, and sooner when so much was read that the stream may be filling up.
func (l *loop) trim(ctx context.Context) {
	var err error
	switch {
	case l.cut != nil && l.cut.over.Err() != nil:
		err = l.purge(ctx, l.cut)
		l.cut = nil
	case l.cut == nil && (time.Since(l.trimmed) >= trimEvery || l.room > 0 && l.taken >= l.room/4):
		err = l.measure(ctx)
	}
	if err != nil && ctx.Err() == nil {
		l.log.Warn("stream not trimmed", "err", err)
	}
}

// measure looks what may be removed: of a stream that is more than half full everything that is emitted, else what is
// older than is asked for.
func (l *loop) measure(ctx context.Context) error {
	l.trimmed, l.taken = time.Now(), 0
	st, err := l.stream.State(ctx)
	if err != nil {
		return err
	}
	l.room = st.MaxBytes
	below := l.fence.record.GetEmitted() // the last of them stays: a take-over compares it with the checkpoint
	switch {
	case below <= st.First:
		return nil
	case st.MaxBytes > 0 && st.Bytes >= st.MaxBytes/2:
	case l.keep > 0 && st.Now.Sub(st.Oldest) > l.keep+l.keep/8: // not for every single message
		if below, err = l.since(ctx, st.Now.Add(-l.keep), st.First, below); err != nil {
			return fmt.Errorf("look for what is older than %s: %w", l.keep, err)
		}
	default:
		return nil
	}
	l.cut = &cut{begin(func() error { return l.store.Sync(ctx) }), below, st} // joined by trim, or at the end of run
	return nil
}

// purge makes a cut whose sync has returned, unless another stream has taken the place of the one that was looked at.
func (l *loop) purge(ctx context.Context, c *cut) error {
	if c.err != nil {
		return fmt.Errorf("sync the store: %w", c.err)
	}
	switch st, err := l.stream.State(ctx); {
	case err != nil:
		return err
	case !st.Created.Equal(c.of.Created):
		return nil
	}
	if err := l.stream.Purge(ctx, c.below); err != nil {
		return err
	}
	l.log.Info("stream trimmed", "below", c.below, "bytes", c.of.Bytes)
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
