package bus

import (
	"context"
	"errors"
	"time"
)

// askFirst is the patience of the first attempt in ask.
const askFirst = 1250 * time.Millisecond

// ask makes a request to JetStream that may be made twice. A stream without a leader drops requests without a word, so
// the first attempts are short and the last has apiTimeout: what was asked during an election is asked again soon after
// it, and a slow server still has time to answer. The error is an apiError, and the last attempt's.
func (b *Bus) ask(ctx context.Context, do func(context.Context) error) error {
	for patience := askFirst; ; patience *= 2 {
		err := b.attempt(ctx, min(patience, apiTimeout), do)
		if !errors.Is(err, context.DeadlineExceeded) || patience >= apiTimeout || ctx.Err() != nil {
			return err
		}
	}
}

func (b *Bus) attempt(ctx context.Context, patience time.Duration, do func(context.Context) error) error {
	ctx, cancel := b.bounded(ctx, patience)
	defer cancel()
	return apiError(ctx, do(ctx))
}
