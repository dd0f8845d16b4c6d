package ensemble

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/catena-im/catena/services/bench/check"
)

const (
	blink  = 2 * time.Second  // the longest time between a kill and the start that follows it at once
	beyond = 24 * time.Second // outlasts the lease of a sequencer (15 s)
	freeze = 12 * time.Second // outlasts the heartbeats of an edge's connections
	dark   = 8 * time.Second  // without a majority of NATS servers, or with a slow disk
	apart  = 20 * time.Second // cut off; outlasts the lease, too
	slack  = 5 * time.Second  // for a process to become ready again
	turn   = 4 * time.Second  // of one process in a rolling restart
	fsync  = "150ms"          // longer than it is, on a slow disk
)

// Harms are what can be done to the cluster. Those of processes that it does not have are left out.
func (e *Ensemble) Harms() []check.Harm {
	harms := []check.Harm{
		e.killOne("sequencer"), e.killOne("edge"), e.killOne("history"), e.killOne("nats"), e.killOne("tikv"), e.killOne("pd"),
		e.on("sequencer", "lose-sequencer", beyond, e.away),
		e.on("sequencer", "pause-sequencer", beyond, e.frozen),
		e.on("sequencer", "stop-sequencer", 0, e.stopped),
		e.on("edge", "pause-edge", freeze, e.frozen),
		e.on("tikv", "pause-tikv", dark, e.frozen),
		e.on("tikv", "slow-tikv", dark, e.slowed),
		{Kind: "kill-nats-leader", Lasts: blink + slack, Do: e.killLeader},
		{Kind: "lose-two-nats", Lasts: dark + 2*slack, Do: e.loseTwo},
		{Kind: "rolling-restart", Lasts: time.Duration(len(e.is.Processes)) * turn, Do: e.rolling},
	}
	harms = append(harms, e.cuts()...)
	return slices.DeleteFunc(harms, func(h check.Harm) bool { return h.Do == nil })
}

// deed does something to processes for a time and makes it good.
type deed func(ctx context.Context, d time.Duration, names ...string) error

// on is a harm of one process of a kind; without Do when there is none.
func (e *Ensemble) on(kind, as string, d time.Duration, do deed) check.Harm {
	names := e.kind(kind)
	h := check.Harm{Kind: as, Lasts: d + slack}
	if len(names) > 0 {
		h.Do = func(ctx context.Context, rng *rand.Rand) (check.Outcome, error) {
			return e.watched(names[rng.IntN(len(names))], func(victim string) error { return do(ctx, d, victim) })
		}
	}
	return h
}

// watched does something to a process and counts what the fence refused to it meanwhile.
func (e *Ensemble) watched(victim string, do func(victim string) error) (check.Outcome, error) {
	log := []logFile{e.logOf(victim)}
	before, err := count(log, fenced)
	if err == nil {
		err = do(victim)
	}
	after, reading := count(log, fenced)
	return check.Outcome{Victim: victim, Refused: after - before}, errors.Join(err, reading)
}

// killOne kills a process and starts it again soon.
func (e *Ensemble) killOne(kind string) check.Harm {
	names := e.kind(kind)
	h := check.Harm{Kind: "kill-" + kind, Lasts: blink + slack}
	if len(names) > 0 {
		h.Do = func(ctx context.Context, rng *rand.Rand) (check.Outcome, error) {
			victim, d := names[rng.IntN(len(names))], rng.Int64N(int64(blink))
			return check.Outcome{Victim: victim}, e.away(ctx, time.Duration(d), victim)
		}
	}
	return h
}

// away kills processes and starts them after d.
func (e *Ensemble) away(ctx context.Context, d time.Duration, names ...string) error {
	return e.between(ctx, d, order{"kill", names}, order{"start", names})
}

// frozen stops the time of processes for d.
func (e *Ensemble) frozen(ctx context.Context, d time.Duration, names ...string) error {
	return e.between(ctx, d, order{"pause", names}, order{"resume", names})
}

// stopped ends processes cleanly and starts them after d.
func (e *Ensemble) stopped(ctx context.Context, d time.Duration, names ...string) error {
	return e.between(ctx, d, order{"stop", names}, order{"start", names})
}

// slowed makes the disk of one process slow for d.
func (e *Ensemble) slowed(ctx context.Context, d time.Duration, names ...string) error {
	return e.between(ctx, d, order{"slow", append(names, fsync)}, order{"slow", append(slices.Clone(names), "0s")})
}

// order is a command of the tool with what follows it.
type order struct {
	command string
	args    []string
}

// undoWithin bounds how long the end of a run waits for what is made good.
const undoWithin = time.Minute

// between does and undoes. It undoes also when ctx ends meanwhile, so that an interrupted run leaves no frozen process.
func (e *Ensemble) between(ctx context.Context, d time.Duration, do, undo order) error {
	_, err := e.do(ctx, do.command, do.args...)
	if err == nil {
		wait(ctx, d)
	}
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	_, undone := e.do(undoing, undo.command, undo.args...)
	return errors.Join(err, undone)
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// killLeader kills the NATS server that leads most of the streams.
func (e *Ensemble) killLeader(ctx context.Context, rng *rand.Rand) (check.Outcome, error) {
	leader, err := e.leader(ctx)
	if err != nil {
		return check.Outcome{Victim: "the leader"}, err
	}
	return check.Outcome{Victim: leader}, e.away(ctx, time.Duration(rng.Int64N(int64(blink))), leader)
}

// loseTwo leaves NATS without a majority for a time.
func (e *Ensemble) loseTwo(ctx context.Context, rng *rand.Rand) (check.Outcome, error) {
	names := e.kind("nats")
	rng.Shuffle(len(names), func(a, b int) { names[a], names[b] = names[b], names[a] })
	names = names[:min(2, len(names))]
	return check.Outcome{Victim: fmt.Sprint(names)}, e.away(ctx, dark, names...)
}

// rolling restarts one process after the other, each when the last one is ready, as an upgrade does. The links stay: they
// stand for the network.
func (e *Ensemble) rolling(ctx context.Context, _ *rand.Rand) (check.Outcome, error) {
	all := check.Outcome{Victim: "all"}
	for _, kind := range []string{"nats", "pd", "tikv", "history", "sequencer", "edge"} {
		for _, name := range e.kind(kind) {
			if err := e.stopped(ctx, 0, name); err != nil || ctx.Err() != nil {
				return all, errors.Join(err, ctx.Err())
			}
		}
	}
	return all, nil
}
