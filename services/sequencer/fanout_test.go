package sequencer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catena-im/catena/pkg/bus"
)

// fullStream takes a message once it was asked so often.
type fullStream struct {
	Bus
	refusals int
	err      error
}

func (f *fullStream) AppendUntil(context.Context, bus.Partition, string, []byte) (uint64, error) {
	if f.refusals--; f.refusals >= 0 {
		return 0, fmt.Errorf("append: %w", f.err)
	}
	return 1, nil
}

func TestFanoutWaitsForAFullStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := appendPatiently(ctx, &fullStream{refusals: 50, err: bus.ErrFull}, bus.Partition{}, "x", nil); err != nil {
			t.Errorf("a stream that gets room: %v", err)
		}
		if err := appendPatiently(ctx, &fullStream{refusals: 1, err: bus.ErrTooLarge}, bus.Partition{}, "x", nil); !errors.Is(err, bus.ErrTooLarge) {
			t.Errorf("a payload that is too large: %v", err)
		}
		if err := appendPatiently(ctx, &fullStream{refusals: 1 << 40, err: bus.ErrFull}, bus.Partition{}, "x", nil); !errors.Is(err, bus.ErrFull) {
			t.Errorf("a stream that stays full: %v", err)
		}
	})
}
