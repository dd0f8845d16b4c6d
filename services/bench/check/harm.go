package check

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Harm is one kind of fault of the processes that make up a server.
type Harm struct {
	Kind string // as it is counted
	// Lasts is about how long Do takes. A run begins no harm that would outlast its load.
	Lasts time.Duration
	// Fences: it makes a former owner write, which the fence must have refused; else the run was not what it should be.
	Fences bool
	// Do chooses a victim by chance, does it harm, makes it good again and returns when the victim is ready. An error
	// says why the server could not be made good again, and ends the run.
	Do func(ctx context.Context, rng *rand.Rand) (Outcome, error)
}

// Outcome is what came of a harm.
type Outcome struct {
	Victim  string
	Refused int // partitions in which the fence refused what the victim wrote as a former owner
}

// Incident is a harm that was done, with what clients felt of it.
type Incident struct {
	Kind    string  `json:"kind"`
	Victim  string  `json:"victim"`
	Refused int     `json:"fence_refusals"`  // see Outcome
	At      float64 `json:"at_seconds"`      // since the run began
	Seconds float64 `json:"seconds"`         // until the victim was ready again
	Whole   float64 `json:"whole_seconds"`   // until every message that was queued before that was answered, too
	Stall   float64 `json:"stall_seconds"`   // the longest time without any acknowledgement
	Slowest float64 `json:"slowest_seconds"` // the longest wait for an answer, of a message that met it

	span
}

// span is a part of a run. The zero end is the end of the run.
type span struct{ begin, end time.Time }

const (
	harmRest   = 3 * time.Second // of an undisturbed server between two harms
	healWithin = 2 * time.Minute // for making one harm good
	makeWhole  = 30 * time.Second
)

// harm does one harm after the other until load ends, in an order of chance in which every kind comes as often as the
// others. It leaves the server as it was. The next harm waits until all is answered that the one before it delayed.
func (r *run) harm(ctx, load context.Context, rng *rand.Rand) error {
	var deck []Harm
	for pause(load, jitter(rng, r.every(harmRest))) {
		if len(deck) == 0 {
			for _, i := range rng.Perm(len(r.deps.Harms)) {
				deck = append(deck, r.deps.Harms[i])
			}
		}
		h := deck[0]
		deck = deck[1:]
		if end, ok := load.Deadline(); ok && time.Until(end) < h.Lasts {
			continue
		}
		if err := r.inflict(ctx, h, rng); err != nil {
			return err
		}
	}
	return nil
}

// inflict does one harm and waits until it is over for the clients, too.
func (r *run) inflict(ctx context.Context, h Harm, rng *rand.Rand) error {
	heal, cancel := context.WithTimeout(ctx, h.Lasts+healWithin)
	defer cancel()
	if err := r.sound(heal); err != nil {
		return fmt.Errorf("before %s: %w", h.Kind, err)
	}
	begin := time.Now()
	r.setHarm(h.Kind)
	done, err := h.Do(heal, rng)
	r.setHarm("")
	if err != nil {
		return fmt.Errorf("%s of %s: %w", h.Kind, done.Victim, err)
	}
	if h.Fences && done.Refused == 0 {
		r.journal.trouble(fmt.Sprintf("%s of %s: the fence refused nothing, so nobody knows whether a former owner can write", h.Kind, done.Victim))
	}
	r.journal.fault(h.Kind)
	healed := time.Now()
	whole, cancel := context.WithTimeout(ctx, makeWhole)
	defer cancel()
	until(whole, func() bool { return r.journal.answeredUpTo(healed) })
	r.journal.incident(Incident{
		Kind: h.Kind, Victim: done.Victim, Refused: done.Refused, At: begin.Sub(r.started).Seconds(), Seconds: healed.Sub(begin).Seconds(),
		Whole: time.Since(begin).Seconds(), span: span{begin, time.Now()},
	})
	return ctx.Err()
}

// sound reports what is wrong with a server that nothing is done to.
func (r *run) sound(ctx context.Context) error {
	if r.deps.Sound == nil {
		return nil
	}
	return r.deps.Sound(ctx)
}

func (r *run) setHarm(kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.harming = kind
}
