package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	appendTimeout = 3 * time.Second // of one attempt in AppendUntil; a crashed leader's stream is back after 5 to 12 s
	retryMin      = 10 * time.Millisecond
	retryMax      = 500 * time.Millisecond
)

// Append publishes one message to the stream of p and waits for the stream's acknowledgement, until ctx ends, the
// connection is lost, or 5 s have passed. It tries once. A message whose id the stream took less than the duplicate
// window ago is not stored again; its first sequence is returned. Errors: ErrUnclear, ErrFull, ErrTooLarge, ErrClosed;
// any other is permanent. The payload is not kept.
func (b *Bus) Append(ctx context.Context, p Partition, msgID string, payload []byte) (seq uint64, err error) {
	if len(payload) > MaxPayload {
		return 0, fmt.Errorf("append to %s: %w: %d bytes, at most %d", p, ErrTooLarge, len(payload), MaxPayload)
	}
	asked := time.Now()
	ctx, cancel := b.bounded(ctx, apiTimeout)
	defer cancel()
	msg := &nats.Msg{Subject: b.streamSubject(p), Data: payload}
	ack, err := b.js.PublishMsg(ctx, msg,
		jetstream.WithMsgID(msgID),
		jetstream.WithExpectStream(p.Stream()), // guards against a subject that another map of partitions made
		jetstream.WithRetryAttempts(0))
	if err != nil {
		err = appendError(ctx, err)
		b.written(ctx, asked, err)
		return 0, fmt.Errorf("append to %s: %w", p, err)
	}
	b.written(ctx, asked, nil)
	return ack.Sequence, nil
}

// AppendUntil appends like Append and tries again, under the same id and with a growing pause, while the outcome is
// unclear. It returns when the stream answered or ctx ended; then the error is both ErrUnclear and the cause of ctx. One
// that is both ErrUnclear and ErrFull says that the stream is full and that an earlier try may have been stored. A retry
// that comes later than the duplicate window may store the message a second time.
func (b *Bus) AppendUntil(ctx context.Context, p Partition, msgID string, payload []byte) (uint64, error) {
	return b.until(ctx, p, func() (uint64, error) { return b.appendOnce(ctx, p, msgID, payload) })
}

func (b *Bus) until(ctx context.Context, p Partition, try func() (uint64, error)) (uint64, error) {
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		seq, err := try()
		switch {
		case err == nil:
			return seq, nil
		case !errors.Is(err, ErrUnclear) && pause > retryMin:
			return 0, fmt.Errorf("%w: %w", ErrUnclear, err)
		case !errors.Is(err, ErrUnclear):
			return 0, err
		}
		b.log.Debug("append unclear", "partition", p.String(), "err", err)
		if cause := b.pause(ctx, pause); cause != nil {
			return 0, fmt.Errorf("append to %s: %w: %w", p, ErrUnclear, cause)
		}
	}
}

func (b *Bus) appendOnce(ctx context.Context, p Partition, msgID string, payload []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	return b.Append(ctx, p, msgID, payload)
}

// pause waits about d, and longer while the connection is away.
func (b *Bus) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d)) // spread, so that lanes that failed together do not return together
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err := b.link.await(ctx)
	return err
}
