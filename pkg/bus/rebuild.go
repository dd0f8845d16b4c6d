package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Rebuild replaces the stream of p by an empty one whose first message gets the sequence first, so that no sequence is
// given twice. What the stream held is gone. Like Provision it needs the right to make streams.
func (b *Bus) Rebuild(ctx context.Context, p Partition, l Layout, first uint64) error {
	l = l.withDefaults()
	if err := l.validate(); err != nil {
		return err
	}
	if err := b.js.DeleteStream(ctx, p.Stream()); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete stream %s: %w", p.Stream(), apiError(ctx, err))
	}
	c := b.streamConfig(jetstream.StreamConfig{}, p, l)
	c.FirstSeq = first
	stream, err := b.js.CreateStream(ctx, c)
	if err == nil {
		err = provisionConsumer(ctx, stream, p, l, new(Report))
	}
	if err != nil {
		return fmt.Errorf("make stream %s: %w", p.Stream(), apiError(ctx, err))
	}
	return nil
}
