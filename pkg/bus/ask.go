package bus

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// An election takes 4 to 9 s. Attempts that are short for as long as that ask again within askFirst after it; the last
// attempt leaves a slow server time to answer.
const (
	askFirst = time.Second            // patience of an attempt, until askFor has passed; one more has apiTimeout
	askPause = 100 * time.Millisecond // about, after an answer that there is no leader
	askFor   = 9 * time.Second
)

// ask makes a request to JetStream that may be made twice. A stream without a leader drops requests without a word, or
// another server says so, and a connection that breaks takes the answer with it: then it is asked again, for as long as
// an election takes, and while the connection is away it is waited for. The error is an apiError, and the last attempt's.
func (b *Bus) ask(ctx context.Context, do func(context.Context) error) error {
	for end := time.Now().Add(askFor); time.Now().Before(end); {
		err := b.attempt(ctx, askFirst, do)
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.Is(err, context.DeadlineExceeded):
		case errors.Is(err, errDisconnected):
			if _, err := b.link.await(ctx); err != nil {
				return err
			}
			end = time.Now().Add(askFor)
		case leaderless(err):
			if err := b.pause(ctx, askPause); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return b.attempt(ctx, apiTimeout, do)
}

// leaderless reports an answer that says that nobody can answer now.
func leaderless(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrNoResponders) || errors.As(err, &api) && api.Code >= http.StatusInternalServerError
}

func (b *Bus) attempt(ctx context.Context, patience time.Duration, do func(context.Context) error) error {
	asked := time.Now()
	ctx, cancel := b.bounded(ctx, patience)
	defer cancel()
	err := apiError(ctx, do(ctx))
	if unheard(err) || leaderless(err) { // an answer says little: one that is cut off may answer from what it has
		b.unanswered(asked)
	}
	return err
}
