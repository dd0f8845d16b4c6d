package client

import (
	"context"
	"fmt"
	"sync"
)

// emission is a change to store and then the event that tells of it; either may be missing.
type emission struct {
	change Change
	event  Event
}

// emitter stores what happened and then tells the application, both in order and from one goroutine: persist before
// emit. Its queue has no bound of its own: what goes in is bounded by whoever adds (see loop.go).
type emitter struct {
	store   Store
	onEvent func(Event)
	stored  func(position uint64)
	done    func([]emission) // these were told
	wake    chan struct{}

	mu     sync.Mutex // guards the fields below
	queue  []emission
	ending bool
}

// maxBatch bounds what is stored at once, and so what an application is not told of when the process is killed between
// storing and telling.
const maxBatch = 64

func (e *emitter) add(em ...emission) {
	e.mu.Lock()
	e.queue = append(e.queue, em...)
	e.mu.Unlock()
	signal(e.wake)
}

// end makes run return when the queue is empty.
func (e *emitter) end() {
	e.mu.Lock()
	e.ending = true
	e.mu.Unlock()
	signal(e.wake)
}

// run works until end is called and the queue is empty, or the store fails. It does not stop in the middle, so that
// what was stored is told.
func (e *emitter) run() error {
	for {
		batch, ending := e.take()
		if len(batch) == 0 {
			if ending {
				return nil
			}
			<-e.wake
			continue
		}
		if err := e.apply(batch); err != nil {
			return err
		}
		for _, em := range batch {
			if em.event != nil {
				e.onEvent(em.event)
			}
		}
		e.done(batch)
	}
}

func (e *emitter) take() ([]emission, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(e.queue), maxBatch)
	batch := e.queue[:n:n]
	if e.queue = e.queue[n:]; len(e.queue) == 0 {
		e.queue = nil
	}
	return batch, e.ending
}

// apply stores the changes of a batch as one.
func (e *emitter) apply(batch []emission) error {
	var all Change
	for _, em := range batch {
		all.merge(em.change)
	}
	if all.empty() {
		return nil
	}
	if err := e.store.Apply(context.Background(), all); err != nil {
		return fmt.Errorf("store what happened: %w", err)
	}
	e.stored(all.Position)
	return nil
}

// merge adds what came after c.
func (c *Change) merge(later Change) {
	if later.User != "" {
		c.User = later.User
	}
	c.Position = max(c.Position, later.Position)
	c.ListVersion = max(c.ListVersion, later.ListVersion)
	c.Enqueued = append(c.Enqueued, later.Enqueued...)
	c.Removed = append(c.Removed, later.Removed...)
	c.Received = append(c.Received, later.Received...)
}

func (c *Change) empty() bool {
	return c.User == "" && c.Position == 0 && c.ListVersion == 0 &&
		len(c.Enqueued) == 0 && len(c.Removed) == 0 && len(c.Received) == 0
}

// signal wakes whoever waits on wake, which holds one.
func signal(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
