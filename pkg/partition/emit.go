package partition

import (
	"context"
	"fmt"
	"time"

	"github.com/catena-im/catena/pkg/bus"
)

// flight is an emission under way.
type flight struct {
	*task
	last uint64 // sequence that is emitted when err is nil
}

// emit starts the emission of everything up to last, once the previous one has returned. Emit before ack.
func (l *loop) emit(ctx, emitting context.Context, emit func(context.Context) error, last uint64) error {
	if err := l.land(ctx); err != nil {
		return err
	}
	var work func() error
	if emit != nil {
		work = func() error { return emit(emitting) }
	}
	l.flight = &flight{begin(work), last} // joined by land, or at the end of run
	return nil
}

// land waits for the emission under way and takes note of it. When ctx ends first it is still under way.
func (l *loop) land(ctx context.Context) error {
	f := l.flight
	if f == nil {
		return nil
	}
	select {
	case <-f.over.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	l.flight = nil
	if f.err != nil {
		return fmt.Errorf("emit up to %d: %w", f.last, f.err)
	}
	l.emitted = f.last
	if time.Since(l.acked) >= ackEvery {
		l.ack()
	}
	return nil
}

// ack tells the stream how far emission came. It is for operators only, and costs a cluster a write on every server
// that has a copy of the consumer: while there is work it is done once a second, not for every batch.
func (l *loop) ack() {
	l.acked = time.Now()
	l.stream.Ack(l.emitted)
}

// tidy takes note of a sync or an emission that has returned. When there was none, nothing has happened for a while: the
// checkpoint is brought up to what was emitted, so that a crash after a long pause does not ask for messages that the
// stream has let go of; a stream that is full, and so brings no message that would lead to it, is trimmed; and messages
// that are there but went to another reader are noticed, as bus.ErrInterrupted.
func (l *loop) tidy(ctx context.Context) error {
	if l.cut != nil && l.cut.over.Err() != nil {
		l.trim(ctx)
		return nil
	}
	if l.flight != nil {
		if l.flight.over.Err() == nil {
			return nil
		}
		return l.land(ctx)
	}
	l.ack()
	if err := l.checkpoint(ctx); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	st, err := l.stream.State(ctx)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", l.part.Stream(), err)
	}
	if st.Last > l.read {
		return fmt.Errorf("%w: message %d has not come", bus.ErrInterrupted, l.read+1)
	}
	l.trim(ctx)
	return nil
}

// checkpoint writes down how far emission came, if the store does not know it yet.
func (l *loop) checkpoint(ctx context.Context) error {
	if l.emitted <= l.fence.record.GetEmitted() {
		return nil
	}
	next := l.fence.next()
	next.Emitted = l.emitted
	return l.fence.commit(ctx, l.store, nil, next)
}

// leave lets the emission under way out and writes down how far it came, so that the next owner repeats nothing. All of
// it is a courtesy: without it the next owner emits the last batch again.
func (l *loop) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := l.land(ctx)
	l.ack()
	if err == nil {
		err = l.checkpoint(ctx)
	}
	if err != nil {
		l.log.Debug("last checkpoint not written", "err", err)
	}
}
