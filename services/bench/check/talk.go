package check

import (
	"context"
	"math/rand/v2"
	"time"
)

// maxPending bounds the messages of a device that wait for an answer; beyond, the device falls silent.
const maxPending = 48

// talk queues messages at the run's rate until load ends.
func (d *device) talk(load context.Context) {
	every := time.Duration(float64(time.Second) * float64(len(d.devices)) / d.Rate)
	for pause(load, jitter(d.speech.rng, every)) {
		if d.pending.Load() >= maxPending {
			continue
		}
		burst := d.speech.burst()
		for _, u := range burst {
			d.enqueue(load, u)
		}
		if !pause(load, time.Duration(len(burst)-1)*every) {
			return
		}
	}
}

// jitter is between half and one and a half of d.
func jitter(rng *rand.Rand, d time.Duration) time.Duration {
	return d/2 + time.Duration(rng.Float64()*float64(d))
}

// pause waits and reports whether ctx is still good.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
