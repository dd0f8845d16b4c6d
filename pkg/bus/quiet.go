package bus

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A NATS server that is cut off from the others keeps its clients, and JetStream does not answer there.
const (
	quietFirst = 4 * time.Second // with a server on which no request to JetStream is answered
	quietMost  = time.Minute     // it doubles with each move: without a majority no server is better than another
	quietCalm  = 5 * time.Minute // without a move, until it is as short as at first
)

// quiet is how long JetStream has not answered on the connection that stands now.
type quiet struct {
	mu       sync.Mutex // guards the fields below
	since    time.Time  // when the first request was made that got no answer; zero: none, or one was answered since
	patience time.Duration
	moved    time.Time // last
}

// broken notes an answer, or another connection.
func (q *quiet) broken() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.since = time.Time{}
}

// unanswered notes that a request made at asked got no answer, and reports whether it is time to go elsewhere. It does
// so once: what follows is counted for the next server.
func (q *quiet) unanswered(asked, now time.Time) (after time.Duration, move bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.since.IsZero() || asked.Before(q.since) {
		q.since = asked
	}
	if q.patience == 0 || !q.moved.IsZero() && now.Sub(q.moved) > quietCalm {
		q.patience = quietFirst
	}
	if after = now.Sub(q.since); after < q.patience {
		return after, false
	}
	q.since, q.moved = time.Time{}, now
	q.patience = min(2*q.patience, quietMost)
	q.patience += rand.N(q.patience / 4) // those that left together shall not go on together
	return after, true
}

// written takes note of how a write to a stream ended that was made at asked. Its answer takes a majority of the servers,
// so it shows that this one belongs to it.
func (b *Bus) written(ctx context.Context, asked time.Time, err error) {
	var refused *jetstream.APIError
	switch {
	case err == nil || errors.As(err, &refused) && !errors.Is(err, ErrUnclear):
		b.quiet.broken()
	case refused != nil, // such as "in process", which a leader without a majority answers for as long as it believes in itself
		unheard(err), errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		b.unanswered(asked)
	}
}

// unheard reports an outcome that is no answer of a stream.
func unheard(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// unanswered takes note of a request to JetStream, made at asked, that got no answer, and moves to another server when
// there was none to any request for long enough. With one server there is nowhere to go.
func (b *Bus) unanswered(asked time.Time) {
	if b.nc == nil || len(b.nc.Servers()) < 2 || b.link.alive().Err() != nil {
		return
	}
	after, move := b.quiet.unanswered(asked, time.Now())
	if !move {
		return
	}
	b.log.Warn("jetstream does not answer; going to another nats server", "server", b.nc.ConnectedUrlRedacted(), "after", after)
	b.link.fall(errDisconnected) // first: what is asked again at once waits for the next connection
	if err := b.nc.ForceReconnect(); err != nil {
		b.log.Debug("reconnect", "err", err) // closed meanwhile
	}
}
