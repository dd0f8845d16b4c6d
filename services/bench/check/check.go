// Package check is the black-box checker: it lets many devices talk through a server while it kills, cuts and stalls,
// then pulls every chain and has package judge hold what was acknowledged against what is there. It knows the server
// only through the SDK (pkg/client) and the wire. What it decides by chance follows from a seed; what the timing of a
// run decides does not repeat. Memory is bounded by the messages that are sent, so by rate and duration.
package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/catena-im/catena/services/bench/check/judge"
	"github.com/catena-im/catena/services/bench/check/wire"
)

// readyWithin bounds the time in which every device must connect at the start.
const readyWithin = 30 * time.Second

// Check is one run. Make it with New.
type Check struct{ run *run }

// run is the state of a run; its parts share it.
type run struct {
	Config
	deps    Deps
	world   *world
	journal *journal
	devices []*device
	watch   []*watcher // one for each user
	started time.Time

	edges   edges
	talking span // of the load

	mu      sync.Mutex // guards the fields below
	doing   string
	harming string // the harm that is being done
}

// New makes a run against a server that is ready.
func New(c Config, d Deps) (*Check, error) {
	c.fill()
	if err := c.validate(&d); err != nil {
		return nil, fmt.Errorf("check config: %w", err)
	}
	r := &run{Config: c, deps: d, world: newWorld(c), journal: newJournal()}
	if err := r.edges.fill(append([]string{c.URL}, c.Also...)); err != nil {
		return nil, fmt.Errorf("check config: %w", err)
	}
	for i, user := range r.world.users {
		for n := range c.Devices {
			name := fmt.Sprintf("d%d", n+1)
			json := (i+n)%4 == 3 // a quarter of the devices speaks the JSON frames
			dev := newDevice(r, user, name, json, newSpeech(c, r.world, user, name, stream(speechStream, len(r.devices))))
			if err := dev.replace(); err != nil {
				return nil, err
			}
			r.devices = append(r.devices, dev)
		}
		r.watch = append(r.watch, newWatcher(r, user, r.rng(watchStream, i)))
	}
	return &Check{r}, nil
}

// The sources of chance: one stream of the seed for each part of the run, so that the parts do not disturb each other.
const (
	speechStream = iota + 10
	talkStream
	browseStream
	watchStream
	resendStream
	resendSpeechStream
	churnStream
	chaosStream
	killStream
	harmStream
)

func stream(kind, n int) uint64 { return uint64(kind)<<32 | uint64(n) }

func (r *run) rng(kind, n int) *rand.Rand { return rand.New(rand.NewPCG(r.Seed, stream(kind, n))) }

// of is the first device of user.
func (r *run) of(user string) *device { return r.devicesOf(user)[0] }

func (r *run) devicesOf(user string) (devices []*device) {
	for _, d := range r.devices {
		if d.user == user {
			devices = append(devices, d)
		}
	}
	return devices
}

// Run does the run and judges it. The error tells why there is nothing to judge, and the Result only how far the run
// came then; a server that breaks the laws is not an error but a Result that is not OK.
func (c *Check) Run(ctx context.Context) (Result, error) {
	r := c.run
	r.started = time.Now()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var parts sync.WaitGroup
	parts.Go(func() { r.report(ctx) })
	parts.Go(func() { r.guard(ctx, end) })
	record, err := r.perform(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	end(nil)
	parts.Wait()
	if err != nil {
		return r.unfinished(), err
	}
	return r.result(judge.Decide(record)), nil
}

// guard ends the run when the server ends by itself.
func (r *run) guard(ctx context.Context, end context.CancelCauseFunc) {
	select {
	case err := <-r.deps.Died:
		end(fmt.Errorf("the server ended by itself: %w", err))
	case <-ctx.Done():
	}
}

// knock finds out whether the server is there and takes the tokens, which the SDK would try again and again.
func (r *run) knock(ctx context.Context) error {
	return r.visit(ctx, visitor{user: r.world.users[0], device: watchDevice}, func(context.Context, *wire.Session) error { return nil })
}

// perform runs the devices and, while they live, the phases.
func (r *run) perform(ctx context.Context) (*judge.Record, error) {
	if err := r.knock(ctx); err != nil {
		return nil, err
	}
	alive, stop := context.WithCancel(ctx)
	var living sync.WaitGroup
	defer living.Wait()
	defer stop()
	for _, d := range r.devices {
		living.Go(func() {
			if err := d.live(alive); err != nil {
				r.journal.trouble(err.Error())
			}
		})
	}
	for _, w := range r.watch {
		living.Go(func() { w.watch(alive) })
	}
	r.phase("connecting")
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	r.phase("making groups")
	if err := r.found(ctx); err != nil {
		return nil, fmt.Errorf("make a group: %w", err)
	}
	r.phase("talking")
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	if err := r.sound(ctx); err != nil {
		r.journal.trouble("after the load: " + err.Error())
	}
	if err := r.settle(ctx); err != nil {
		r.journal.trouble("the server did not come to rest: " + err.Error())
	}
	r.phase("pulling every chain")
	record, err := r.gather(ctx)
	r.phase("judging")
	return record, err
}

// gather is the record of the run: what was asked and answered, and what the server shows now.
func (r *run) gather(ctx context.Context) (*judge.Record, error) {
	var lists []judge.ListView
	for _, d := range r.devices {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		list, _, err := d.now().Conversations(call)
		cancel()
		if err != nil {
			r.journal.trouble(fmt.Sprintf("list the conversations of %s on %s: %v", d.user, d.name, err))
			continue
		}
		lists = append(lists, judge.ListView{User: d.user, Device: d.name, Summaries: list})
	}
	record := r.journal.record()
	record.Run, record.Seed, record.Lists = r.Run, r.Seed, lists
	for _, d := range r.devices {
		record.Devices = append(record.Devices, d.view())
	}
	return record, r.collect(ctx, record)
}

func (r *run) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for _, d := range r.devices {
		if err := d.now().Ready(ctx); err != nil {
			return fmt.Errorf("connect device %s of %s to %s: %w", d.name, d.user, r.URL, err)
		}
	}
	for _, w := range r.watch {
		select {
		case <-w.ready:
		case <-ctx.Done():
			return fmt.Errorf("connect device %s of %s to %s: %w", watchDevice, w.user, r.URL, ctx.Err())
		}
	}
	return nil
}

// load lets everybody talk for the duration of the run, and returns when all that was begun has ended.
func (r *run) load(ctx context.Context) error {
	load, end := context.WithTimeout(ctx, r.Duration)
	defer end()
	r.talking.begin = time.Now()
	r.talking.end = r.talking.begin.Add(r.Duration)
	var parts sync.WaitGroup
	for i, d := range r.devices {
		parts.Go(func() { d.talk(load, r.rng(talkStream, i)) })
		parts.Go(func() { d.browse(ctx, load, r.rng(browseStream, i)) })
	}
	parts.Go(func() { r.churn(ctx, load, r.rng(churnStream, 0)) })
	if r.disturbs() {
		parts.Go(func() { r.disturbClients(load, r.rng(chaosStream, 0)) })
		for i, u := range r.world.users {
			speech := newSpeech(r.Config, r.world, u, "w", stream(resendSpeechStream, i))
			w := &resender{run: r, user: u, speech: speech, rng: r.rng(resendStream, i)}
			parts.Go(func() { w.disturb(ctx, load) })
		}
	}
	var err, harmed error
	if r.harms(&r.deps) {
		parts.Go(func() {
			if harmed = r.harm(ctx, load, r.rng(harmStream, 0)); harmed != nil {
				end()
			}
		})
	}
	if r.kills(&r.deps) {
		parts.Go(func() {
			if err = r.kill(ctx, load, r.rng(killStream, 0)); err != nil {
				end()
			}
		})
	}
	parts.Wait()
	return errors.Join(err, harmed, ctx.Err())
}
