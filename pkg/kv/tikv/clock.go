//go:build !darwin || cgo

package tikv

import (
	"context"
	"fmt"
	"time"

	"github.com/tikv/client-go/v2/oracle"
)

// Time asks PD for its time. Right after a restart PD may be some seconds ahead of its clock.
func (s *Store) Time(ctx context.Context) (time.Time, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer end()
	ts, err := s.timestamp(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask pd for the time: %w", err)
	}
	return oracle.GetTimeFromTS(ts), nil
}
