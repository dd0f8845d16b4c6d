package edge

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	busyReading = 10                   // commands in a stroke, for each place of goroutines, from which an edge reads at a pace
	readPace    = 5 * time.Millisecond // divides the paces of lanes
	readAhead   = 2 * time.Millisecond // before the batches of lanes leave
)

// reading says how long to leave connections alone before those that have sent something are read together. A calm edge
// reads at once. In a busy one commands wait for their lanes' batches anyway, and to be woken for each costs as much as to
// read it, so it reads several times in the time of a full lane, the last time shortly before the batch leaves.
type reading struct {
	busy     int           // commands in a stroke that make the edge busy
	commands atomic.Uint64 // that have come

	// The fields below are of the goroutine that reads.
	began time.Duration // when counting began, by the edge's clock
	seen  uint64        // commands that had come by then
	paced bool
}

// rest is how long to leave connections alone now, by the edge's clock: until readAhead before the next multiple of
// readPace, or not at all.
func (r *reading) rest(now time.Duration) time.Duration {
	if past := now - r.began; past >= stroke {
		come := r.commands.Load()
		r.paced = (come-r.seen)*uint64(stroke)/uint64(past) >= uint64(r.busy)
		r.began, r.seen = now, come
	}
	if !r.paced {
		return 0
	}
	return readPace - (now+readAhead)%readPace
}

// readSockets reads the connections until ctx ends.
func (e *Edge) readSockets(ctx context.Context) error {
	return e.sockets.Run(ctx, func() time.Duration { return e.reading.rest(e.now()) })
}
