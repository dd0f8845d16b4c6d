package bus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestRequestThatIsNotAnsweredIsAskedAgain(t *testing.T) {
	connected := func() *Bus {
		b := &Bus{link: newLink()}
		b.link.rise()
		return b
	}
	never := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	var all []time.Duration
	for n := time.Duration(0); n <= askFor; n += askFirst {
		all = append(all, n)
	}
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			do   func(ctx context.Context, b *Bus, attempt int) error
			want []time.Duration // the time before each attempt
			err  error
		}{
			"answered at the third": {
				func(ctx context.Context, _ *Bus, n int) error {
					if n < 3 {
						return never(ctx)
					}
					return nil
				},
				[]time.Duration{0, askFirst, 2 * askFirst}, nil,
			},
			"never":   {func(ctx context.Context, _ *Bus, _ int) error { return never(ctx) }, all, context.DeadlineExceeded},
			"refused": {func(context.Context, *Bus, int) error { return ErrFull }, []time.Duration{0}, ErrFull},
			"connection lost": {
				func(ctx context.Context, b *Bus, n int) error {
					if n > 1 {
						return nil
					}
					b.link.fall(errDisconnected)
					time.AfterFunc(time.Minute, b.link.rise)
					return never(ctx)
				},
				[]time.Duration{0, time.Minute}, nil,
			},
			"closed": {func(ctx context.Context, b *Bus, _ int) error { b.link.close(); return never(ctx) }, []time.Duration{0}, ErrClosed},
		} {
			b, began := connected(), time.Now()
			var got []time.Duration
			err := b.ask(t.Context(), func(ctx context.Context) error {
				got = append(got, time.Since(began))
				return c.do(ctx, b, len(got))
			})
			if !errors.Is(err, c.err) || !slices.Equal(got, c.want) {
				t.Errorf("%s: asked after %v with %v, want %v with %v", name, got, err, c.want, c.err)
			}
		}
	})
}

// Servers that have no leader say so at once, and for as long as the election takes.
func TestRequestWithoutALeaderIsAskedUntilThereIsOne(t *testing.T) {
	noLeader := map[string]error{
		"no responders": nats.ErrNoResponders,
		"refused":       &jetstream.APIError{Code: 503, ErrorCode: 10008, Description: "JetStream system temporarily unavailable"},
	}
	for name, refusal := range noLeader {
		synctest.Test(t, func(t *testing.T) {
			b := &Bus{link: newLink()}
			b.link.rise()
			elected, asked := time.Now().Add(8*time.Second), 0
			err := b.ask(t.Context(), func(context.Context) error {
				if asked++; time.Now().Before(elected) {
					return refusal
				}
				return nil
			})
			if late := time.Since(elected); err != nil || late > 2*askPause {
				t.Errorf("%s: got error %v, %s after the election", name, err, late)
			}
			if asked > 200 {
				t.Errorf("%s: asked %d times", name, asked)
			}
			if err := b.ask(t.Context(), func(context.Context) error { return refusal }); !errors.Is(err, refusal) {
				t.Errorf("%s: without end: got error %v, want %v", name, err, refusal)
			}
		})
	}
}

// Whoever waits for messages may come and go as often as they like: a server that is silent is noticed.
func TestSilenceIsNoticedThoughCallersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{alive: t.Context(), msgs: make(chan *nats.Msg, 1), heard: time.Now(), due: prefetchMsgs}
		var err error
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), silence/10)
			_, err = f.wait(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				break
			}
		}
		if !errors.Is(err, ErrInterrupted) {
			t.Errorf("got error %v, want %v", err, ErrInterrupted)
		}
	})
}

// What an attempt without an answer left open, a later refusal does not settle.
func TestRefusalAfterAnUnclearAppendStaysUnclear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Bus{link: newLink(), log: slog.New(slog.DiscardHandler)}
		b.link.rise()
		for unclear := range 3 {
			tries := 0
			_, err := b.until(t.Context(), Partition{}, func() (uint64, error) {
				if tries++; tries <= unclear {
					return 0, ErrUnclear
				}
				return 0, ErrFull
			})
			if !errors.Is(err, ErrFull) || errors.Is(err, ErrUnclear) != (unclear > 0) {
				t.Errorf("full after %d tries without an answer: got %v", unclear, err)
			}
		}
	})
}
