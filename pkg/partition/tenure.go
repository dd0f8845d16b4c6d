package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/kv"
)

// tenure is one partition that this worker runs.
type tenure struct {
	held
	cancel context.CancelFunc
	ending bool // cancelled; it is waited for at the end of a round
	done   chan struct{}
}

func (t *tenure) end() {
	t.ending = true
	t.cancel()
}

// over reports whether the run has ended.
func (t *tenure) over() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// begin runs p until its tenure is ended.
func (o *Owner) begin(ctx context.Context, p bus.Partition) *tenure {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &tenure{cancel: cancel, done: make(chan struct{})}
	o.running[p] = t
	go func() { // joined by reap
		defer close(t.done)
		o.tenure(ctx, p)
	}()
	return t
}

// tenure runs p again and again: whatever ended a run, the next one begins with what the store says. It returns when
// ctx has ended, or when another owner has taken over: then this one believes in a lease that it does not hold any more.
func (o *Owner) tenure(ctx context.Context, p bus.Partition) {
	log := o.deps.Log.With("partition", p.String())
	const first, most, still = 100 * time.Millisecond, time.Second, 30 * time.Second
	for wait := first; ctx.Err() == nil; {
		began := time.Now()
		err := o.once(ctx, p, log)
		if ctx.Err() != nil {
			return
		}
		o.meter.restart(p)
		var broken *StreamError
		switch {
		case errors.Is(err, kv.ErrFenced):
			log.Warn("partition taken over by another owner", "err", err)
			return
		case errors.As(err, &broken):
			log.Error("partition stands still", "err", err)
			if o.deps.CaughtUp != nil {
				o.deps.CaughtUp(p)
			}
			sleep(ctx, still)
			continue
		case time.Since(began) > still:
			wait = first
		}
		if untold, ok := o.noise.pass(); ok {
			log.Warn("partition starts over", "err", err, "untold", untold)
		} else {
			log.Debug("partition starts over", "err", err)
		}
		sleep(ctx, wait)
		wait = min(2*wait, most)
	}
}

func (o *Owner) once(ctx context.Context, p bus.Partition, log *slog.Logger) error {
	stream, err := o.deps.Open(ctx, p)
	if err != nil {
		return fmt.Errorf("open stream %s: %w", p.Stream(), err)
	}
	defer stream.Close()
	l := &loop{
		part: p, worker: o.cfg.Worker, store: o.deps.Store, stream: stream,
		start: o.deps.Start, caughtUp: o.deps.CaughtUp, keep: o.cfg.Keep, log: log, meter: o.meter,
	}
	return l.run(ctx, o.deps.FenceKey(p))
}
