package bus

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRequestThatIsNotAnsweredIsAskedAgain(t *testing.T) {
	connected := func() *Bus {
		b := &Bus{link: newLink()}
		b.link.rise()
		return b
	}
	never := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	lost := errors.New("the connection was lost")
	var all []time.Duration
	for n := range askShort + 1 {
		all = append(all, time.Duration(n)*askFirst)
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
			"never":    {func(ctx context.Context, _ *Bus, _ int) error { return never(ctx) }, all, context.DeadlineExceeded},
			"refused":  {func(context.Context, *Bus, int) error { return ErrFull }, []time.Duration{0}, ErrFull},
			"cut down": {func(ctx context.Context, b *Bus, _ int) error { b.link.fall(lost); return never(ctx) }, []time.Duration{0}, lost},
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
