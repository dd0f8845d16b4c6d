package check

import (
	"context"
	"math/rand/v2"
	"time"
)

// maxPending bounds the messages of a device that wait for an answer; beyond, the device falls silent.
const maxPending = 48

// talk queues messages at the run's rate until load ends.
func (d *device) talk(load context.Context, rng *rand.Rand) {
	every := time.Duration(float64(time.Second) * float64(len(d.devices)) / d.Rate)
	for pause(load, jitter(rng, every)) {
		if d.pending.Load() >= maxPending {
			continue
		}
		if said := d.say(load); !pause(load, time.Duration(said-1)*every) {
			return
		}
	}
}

// rush queues a burst on every device that has room.
func (r *run) rush(ctx context.Context) {
	for _, d := range r.devices {
		if d.pending.Load() < maxPending {
			d.say(ctx)
		}
	}
}

// say queues the next burst and returns how many messages it has.
func (d *device) say(ctx context.Context) int {
	d.talking.Lock()
	defer d.talking.Unlock()
	burst := d.speech.burst()
	for _, u := range burst {
		d.enqueue(ctx, u)
	}
	return len(burst)
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
