// Package pace decides when a load generator sends: at a given rate, whatever the answers do, and in a search for the
// highest rate that a server bears. The search is pure; the clock is the caller's.
package pace

import (
	"context"
	"time"
)

// Due is when message k of a schedule with rate messages per second is to be sent, from its start.
func Due(k int, rate float64) time.Duration {
	return time.Duration(float64(k) / rate * float64(time.Second))
}

// Count is how many messages of a schedule are due after d.
func Count(d time.Duration, rate float64) int {
	return max(0, int(d.Seconds()*rate+1e-9))
}

// Plan is an open loop. Latencies are counted from the intended times, so that what waits because the sender could not
// keep up is counted as what a client waits for.
type Plan struct {
	Rate     float64       // messages per second
	Duration time.Duration // of sending
	// Lane of Lanes, from 0, sends its part of the messages: k, k+Lanes, … Several goroutines can follow one plan.
	Lane, Lanes int
}

// Follow calls send for each of the lane's messages, in order, at its time or as soon after as send returns. The number
// is that of the message in the whole plan, due its intended time from start. It ends with the plan, with ctx, or when
// send returns false.
func (p Plan) Follow(ctx context.Context, start time.Time, send func(k int, due time.Duration) bool) {
	total := Count(p.Duration, p.Rate)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for k := p.Lane; k < total; {
		due := Due(k, p.Rate)
		if wait := due - time.Since(start); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			continue
		}
		if !send(k, due) || k%checkEvery < p.Lanes && ctx.Err() != nil {
			return
		}
		k += p.Lanes
	}
}

// checkEvery is how many messages may be sent late before ctx is looked at.
const checkEvery = 64
