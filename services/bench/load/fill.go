package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/catena-im/catena/services/bench/pace"
)

const (
	fillWindow = 60 // messages of one connection under way
	// fillMost is how many are under way in all: no more than an edge lets wait for one partition, which may be all of them
	// when that is held up.
	fillMost = 8000
	// fillRate is how many messages per second one connection sends: a server takes 500.
	fillRate = 450
)

// fill puts messages into the conversations of the readers, as fast as the server takes them.
func (b *Bench) fill(ctx context.Context, users []string, messages int) error {
	t := b.newTraffic(len(users))
	return b.crowd(ctx, users, t, func(ctx context.Context, clients []*client) error {
		t.address(clients, pullPeers)
		return t.fill(ctx, clients, messages)
	})
}

// fill sends messages between two in turn, as fast as the server takes them.
func (t *traffic) fill(ctx context.Context, clients []*client, messages int) error {
	n := 0
	return t.flood(ctx, messages, len(clients), func() *lane {
		n++
		lanes := t.lanes[n%len(clients)]
		return lanes[n/len(clients)%len(lanes)]
	})
}

// fillList lets one user write to many.
func (b *Bench) fillList(ctx context.Context, user []string, conversations int) error {
	t := b.newTraffic(1)
	return b.crowd(ctx, user, t, func(ctx context.Context, clients []*client) error {
		n := 0
		return t.flood(ctx, conversations, 1, func() *lane {
			n++
			return &lane{from: clients[0], to: fmt.Sprintf("%s-%d", clients[0].user, n)}
		})
	})
}

// limited reports whether a client may send only what a server takes of one: one that was spawned for this takes any number of
// frames.
func (b *Bench) limited() bool { return b.deps.Crash == nil }

// flood sends messages with a window that suits so many senders, and returns when all are acknowledged. A refusal because
// of the rate slows it down.
func (t *traffic) flood(ctx context.Context, messages, senders int, choose func() *lane) error {
	s := newStep(0, 0, time.Hour)
	s.begin()
	told := time.Now()
	window := min(int64(fillWindow*senders), fillMost)
	for sent := 0; sent < messages; {
		if t.pending.Load() > window || t.bench.limited() && time.Since(s.start) < pace.Due(sent, fillRate*float64(senders)) {
			if !pause(ctx, time.Millisecond) {
				return context.Cause(ctx)
			}
			continue
		}
		if !t.send(s, choose(), time.Since(s.start)) {
			return errors.New(s.failure())
		}
		sent++
		if time.Since(told) > time.Second {
			told = time.Now()
			t.bench.say("%d of %d messages sent", sent, messages)
		}
	}
	missing := t.drain(ctx)
	if missing > 0 || s.refused.Load() > 0 {
		return fmt.Errorf("%d messages were refused %v, and %d not answered or not delivered", s.refused.Load(), t.refusals(), missing)
	}
	return context.Cause(ctx)
}
