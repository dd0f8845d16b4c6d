package bus

import (
	"context"
	"errors"
	"time"
)

// An election takes 4 to 9 s. Attempts that are short for as long as that ask again within askFirst after it; the last
// attempt leaves a slow server time to answer.
const (
	askFirst = time.Second
	askShort = 9 // attempts with the patience of askFirst; one more has apiTimeout
)

// ask makes a request to JetStream that may be made twice. A stream without a leader drops requests without a word, so
// what is not answered soon is asked again. The error is an apiError, and the last attempt's.
func (b *Bus) ask(ctx context.Context, do func(context.Context) error) error {
	for range askShort {
		err := b.attempt(ctx, askFirst, do)
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
	return b.attempt(ctx, apiTimeout, do)
}

func (b *Bus) attempt(ctx context.Context, patience time.Duration, do func(context.Context) error) error {
	ctx, cancel := b.bounded(ctx, patience)
	defer cancel()
	return apiError(ctx, do(ctx))
}
