package ensemble

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/catena-im/catena/services/bench/check"
)

const (
	stuck   = 500 * time.Millisecond // for every partition to have a commit on its way
	refuse  = 8 * time.Second        // for the commits of a former owner to arrive, and to be refused
	look    = 300 * time.Millisecond
	anyNATS = "nats-*"
	silent  = "--silent"
	oneWay  = "--one-way"
)

// cuts are the harms of the network; none in a cluster without links.
func (e *Ensemble) cuts() []check.Harm {
	if len(e.kind("links")) == 0 {
		return nil
	}
	harms := []check.Harm{
		e.on("sequencer", "cut-sequencer-nats", apart, e.cut(anyNATS)),
		e.on("sequencer", "silence-sequencer-nats", apart, e.cut(anyNATS, silent)),
		e.on("sequencer", "mute-sequencer", apart, e.cut(anyNATS, oneWay)),
		e.on("sequencer", "deafen-sequencer", apart, e.deafened),
		e.on("edge", "cut-edge", freeze, e.cut(anyNATS)),
		{Kind: "isolate-nats-leader", Lasts: apart + slack, Do: e.isolateLeader},
	}
	if store := e.store(); len(store) > 0 { // the links to a real one do not exist
		isolate := e.on("sequencer", "isolate-sequencer", apart, e.isolated)
		isolate.Lasts += stuck + refuse
		isolate.Fences = true
		harms = append(harms, isolate,
			e.on("sequencer", "cut-sequencer-tikv", apart, e.cut(store...)),
			e.on("sequencer", "silence-sequencer-tikv", apart, e.cut(append(store, silent)...)))
	}
	return harms
}

// store is the processes of the store.
func (e *Ensemble) store() []string { return slices.Concat(e.kind("tikv"), e.kind("pd")) }

// cut cuts the links between the victim and others; the flags say how.
func (e *Ensemble) cut(others ...string) deed {
	return func(ctx context.Context, d time.Duration, victims ...string) error {
		return e.between(ctx, d, order{"cut", slices.Concat(victims, others)}, order{"heal", slices.Concat(victims, plain(others))})
	}
}

// plain is args without flags.
func plain(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a[0] == '-' })
}

// deafened loses what NATS sends to the victim.
func (e *Ensemble) deafened(ctx context.Context, d time.Duration, victims ...string) error {
	return e.between(ctx, d, order{"cut", append([]string{oneWay, anyNATS}, victims...)}, order{"heal", append([]string{anyNATS}, victims...)})
}

// isolated cuts a sequencer off from the store, so that its commits are on their way, and at once from NATS, so that it
// loses its leases and does not learn it. When another one has taken over, the way to the store is healed first: what the
// victim wrote as an owner arrives when it is none any more, and it can know that from the fence only. PD stays within
// reach, so that the commits are not given up before.
func (e *Ensemble) isolated(ctx context.Context, d time.Duration, victims ...string) error {
	victim := victims[0]
	toStore, toNATS := append([]string{victim}, e.kind("tikv")...), []string{victim, anyNATS}
	mine, others := []logFile{e.logOf(victim)}, e.logsBut(victim)
	refused, err := count(mine, fenced)
	if err != nil {
		return err
	}
	taken, err := count(others, takenOver)
	if err != nil {
		return err
	}
	_, err = e.do(ctx, "cut", append([]string{silent}, toStore...)...)
	if err == nil {
		wait(ctx, stuck)
		_, err = e.do(ctx, "cut", append([]string{silent}, toNATS...)...)
	}
	if err == nil {
		err = await(ctx, d, others, takenOver, taken)
	}
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	_, healed := e.do(undoing, "heal", toStore...)
	reading := await(ctx, refuse, mine, fenced, refused)
	_, back := e.do(undoing, "heal", toNATS...)
	return errors.Join(err, healed, reading, back)
}

// isolateLeader cuts the NATS server that leads most of the streams off from the others, but from no client.
func (e *Ensemble) isolateLeader(ctx context.Context, _ *rand.Rand) (check.Outcome, error) {
	leader, err := e.leader(ctx)
	if err != nil {
		return check.Outcome{Victim: "the leader"}, err
	}
	return check.Outcome{Victim: leader}, e.cut(anyNATS, silent)(ctx, apart, leader)
}

// What sequencers say when they have taken a partition over, and when the fence refuses what they write to one.
const (
	takenOver = `"partition taken over"`
	fenced    = "partition taken over by another owner"
)

// logFile is the log of a process; "" is one that is not known.
type logFile string

func (e *Ensemble) logOf(name string) logFile {
	for _, p := range e.is.Processes {
		if p.Name == name {
			return logFile(p.Log)
		}
	}
	return ""
}

// logsBut are the logs of all sequencers but one.
func (e *Ensemble) logsBut(victim string) []logFile {
	var logs []logFile
	for _, name := range e.kind("sequencer") {
		if name != victim {
			logs = append(logs, e.logOf(name))
		}
	}
	return logs
}

// count is how often logs say something.
func count(logs []logFile, what string) (int, error) {
	n := 0
	for _, l := range logs {
		text, err := os.ReadFile(string(l))
		if err != nil && l != "" && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		n += bytes.Count(text, []byte(what))
	}
	return n, nil
}

// await waits until logs say something more often than before, for at most d.
func await(ctx context.Context, d time.Duration, logs []logFile, what string, before int) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for ctx.Err() == nil {
		if now, err := count(logs, what); err != nil || now > before {
			wait(ctx, look) // for the other partitions
			return err
		}
		wait(ctx, look)
	}
	return nil
}
