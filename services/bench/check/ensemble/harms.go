package ensemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/catena-im/catena/services/bench/check"
)

const (
	blink  = 2 * time.Second  // the longest time between a kill and the start that follows it at once
	beyond = 24 * time.Second // outlasts the lease of a sequencer (15 s)
	freeze = 12 * time.Second // outlasts the heartbeats of an edge's connections
	dark   = 8 * time.Second  // without a majority of NATS servers
	slack  = 5 * time.Second  // for a process to become ready again
)

// Harms are what can be done to the cluster. Those of a kind of process that it does not have are left out.
func (e *Ensemble) Harms() []check.Harm {
	harms := []check.Harm{
		e.killOne("sequencer"), e.killOne("edge"), e.killOne("history"), e.killOne("nats"), e.killOne("tikv"), e.killOne("pd"),
		e.on("sequencer", "lose-sequencer", beyond, e.away),
		e.on("sequencer", "pause-sequencer", beyond, e.frozen),
		e.on("sequencer", "stop-sequencer", 0, e.stopped),
		e.on("edge", "pause-edge", freeze, e.frozen),
		e.on("tikv", "pause-tikv", dark, e.frozen),
		{Kind: "kill-nats-leader", Lasts: blink + slack, Do: e.killLeader},
		{Kind: "lose-two-nats", Lasts: dark + 2*slack, Do: e.loseTwo},
	}
	return slices.DeleteFunc(harms, func(h check.Harm) bool { return h.Do == nil })
}

// deed does something to processes for a time and makes it good.
type deed func(ctx context.Context, d time.Duration, names ...string) error

// on is a harm of one process of a kind; without Do when there is none.
func (e *Ensemble) on(kind, as string, d time.Duration, do deed) check.Harm {
	names := e.kind(kind)
	h := check.Harm{Kind: as, Lasts: d + slack}
	if len(names) > 0 {
		h.Do = func(ctx context.Context, rng *rand.Rand) (string, error) {
			victim := names[rng.IntN(len(names))]
			return victim, do(ctx, d, victim)
		}
	}
	return h
}

// killOne kills a process and starts it again soon.
func (e *Ensemble) killOne(kind string) check.Harm {
	names := e.kind(kind)
	h := check.Harm{Kind: "kill-" + kind, Lasts: blink + slack}
	if len(names) > 0 {
		h.Do = func(ctx context.Context, rng *rand.Rand) (string, error) {
			victim, d := names[rng.IntN(len(names))], rng.Int64N(int64(blink))
			return victim, e.away(ctx, time.Duration(d), victim)
		}
	}
	return h
}

// away kills processes and starts them after d.
func (e *Ensemble) away(ctx context.Context, d time.Duration, names ...string) error {
	return e.between(ctx, d, "kill", "start", names)
}

// frozen stops the time of processes for d.
func (e *Ensemble) frozen(ctx context.Context, d time.Duration, names ...string) error {
	return e.between(ctx, d, "pause", "resume", names)
}

// stopped ends processes cleanly and starts them after d.
func (e *Ensemble) stopped(ctx context.Context, d time.Duration, names ...string) error {
	return e.between(ctx, d, "stop", "start", names)
}

// undoWithin bounds how long the end of a run waits for what is made good.
const undoWithin = time.Minute

// between does and undoes. It undoes also when ctx ends meanwhile, so that an interrupted run leaves no frozen process.
func (e *Ensemble) between(ctx context.Context, d time.Duration, do, undo string, names []string) error {
	_, err := e.do(ctx, do, names...)
	if err == nil {
		wait(ctx, d)
	}
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	_, undone := e.do(undoing, undo, names...)
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
func (e *Ensemble) killLeader(ctx context.Context, rng *rand.Rand) (string, error) {
	leader, err := e.leader(ctx)
	if err != nil {
		return "the leader", err
	}
	return leader, e.away(ctx, time.Duration(rng.Int64N(int64(blink))), leader)
}

// loseTwo leaves NATS without a majority for a time.
func (e *Ensemble) loseTwo(ctx context.Context, rng *rand.Rand) (string, error) {
	names := e.kind("nats")
	rng.Shuffle(len(names), func(a, b int) { names[a], names[b] = names[b], names[a] })
	names = names[:min(2, len(names))]
	return fmt.Sprint(names), e.away(ctx, dark, names...)
}

// leader asks a NATS server who leads the streams and returns who leads most.
func (e *Ensemble) leader(ctx context.Context) (string, error) {
	at := slices.IndexFunc(e.is.Processes, func(p process) bool { return p.Kind == "nats" })
	if at < 0 {
		return "", errors.New("the cluster has no NATS server")
	}
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(e.is.Processes[at].Ports["monitor"])) + "/jsz?streams=true&accounts=true"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask who leads the streams: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("ask who leads the streams: %w", err)
	}
	return mostLeading(text)
}

// mostLeading is the server that leads most streams in what NATS tells of JetStream; ties go to the first name.
func mostLeading(jsz []byte) (string, error) {
	var told struct {
		Accounts []struct {
			Streams []struct {
				Cluster struct {
					Leader string `json:"leader"`
				} `json:"cluster"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := json.Unmarshal(jsz, &told); err != nil {
		return "", fmt.Errorf("who leads the streams: %w", err)
	}
	leads := map[string]int{}
	most := ""
	for _, a := range told.Accounts {
		for _, s := range a.Streams {
			l := s.Cluster.Leader
			if l == "" {
				continue
			}
			leads[l]++
			if most == "" || leads[l] > leads[most] || leads[l] == leads[most] && l < most {
				most = l
			}
		}
	}
	if most == "" {
		return "", errors.New("no NATS server leads a stream")
	}
	return most, nil
}
