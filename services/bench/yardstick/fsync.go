package yardstick

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/catena-im/catena/services/bench/latency"
)

const syncedBytes = 4 << 10 // of each append

// Fsync measures the disk: appends of 4 KiB to a file, each synced before the next.
func (r Runner) Fsync(ctx context.Context, d time.Duration) (_ latency.Quantiles, err error) {
	f, err := os.CreateTemp(r.Dir, "fsync-")
	if err != nil {
		return latency.Quantiles{}, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	var took latency.Recorder
	block := make([]byte, syncedBytes)
	for start := time.Now(); time.Since(start) < d && ctx.Err() == nil; {
		before := time.Now()
		if _, err := f.Write(block); err != nil {
			return latency.Quantiles{}, err
		}
		if err := f.Sync(); err != nil {
			return latency.Quantiles{}, err
		}
		took.Record(0, time.Since(before))
	}
	return took.Quantiles(), context.Cause(ctx)
}
