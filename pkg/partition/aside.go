package partition

import (
	"context"
	"hash/fnv"
	"sync"
	"time"

	"github.com/catena-im/catena/pkg/bus"
)

// A worker that reaches the leases but not the store would keep partitions that others could run. So the store is asked
// for something small now and then, and who gets no answer for a while steps aside, if there is anybody to leave the
// partitions to. The last one stays: when the store is away from everybody, nobody is helped by its going.
const (
	askEvery   = time.Second
	askWithin  = 2 * time.Second // patience of a question
	askAtLeast = 3               // questions without an answer before it counts: one may be this process that slept
	asideFirst = time.Second     // how long a worker stays away at least …
	asideMost  = time.Minute     // … when it has to go again and again
	asideCalm  = 5 * time.Minute // without that, until the first of them counts as the first again
)

// contact is whether the store answers.
type contact struct {
	mu     sync.Mutex // guards the fields below
	missed int        // questions in a row without an answer
	since  time.Time  // when the first of them was asked
}

func (c *contact) note(asked time.Time, answered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case answered:
		c.missed = 0
		return
	case c.missed == 0:
		c.since = asked
	}
	c.missed++
}

// lost reports whether the store has not answered for longer than d.
func (c *contact) lost(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.missed >= askAtLeast && time.Since(c.since) >= d
}

// watch asks the store until ctx ends: for one fence after the other, since a part of a store may be away.
func (o *Owner) watch(ctx context.Context) {
	for n := 0; len(o.cfg.Partitions) > 0; n++ {
		asked := time.Now()
		err := o.probe(ctx, o.deps.FenceKey(o.cfg.Partitions[n%len(o.cfg.Partitions)]))
		if ctx.Err() != nil {
			return
		}
		o.contact.note(asked, err == nil)
		if !sleep(ctx, askEvery) {
			return
		}
	}
}

func (o *Owner) probe(ctx context.Context, key []byte) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	snap, err := o.deps.Store.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer snap.Release()
	_, err = snap.Get(ctx, key)
	return err
}

// away steps aside or comes back, whichever it is time for, and reports whether this worker is aside now. It comes back
// when the store answers or nobody else lives, and its earlier runs have ended: until then others run the partitions.
func (o *Owner) away(ctx context.Context, others bool) bool {
	leave := others && o.contact.lost(o.cfg.TTL*2/5) // well before its leases would have ended, had it died
	if !o.aside {
		if leave {
			o.stepAside(ctx)
		}
		return o.aside
	}
	for p, t := range o.running {
		if t.over() {
			delete(o.running, p)
		}
	}
	if leave || len(o.running) > 0 || o.now().Before(o.back) {
		return true
	}
	o.aside, o.joined = false, o.now()
	o.deps.Log.Info("partitions are taken again", "others", others)
	return false
}

// stepAside gives the heartbeat and all leases back, and does not wait for the runs to end: what they wait for is the
// store. The fence decides about what they may still have on the way.
func (o *Owner) stepAside(ctx context.Context) {
	if o.pause *= 2; o.pause == 0 || o.now().Sub(o.joined) > asideCalm {
		o.pause = asideFirst
	}
	o.pause = min(o.pause, asideMost)
	o.aside, o.back, o.awaits = true, o.now().Add(o.spread(o.pause)), false
	o.deps.Log.Warn("the store does not answer; partitions are left to other workers", "partitions", len(o.running))
	if o.beat.lease.Key != "" {
		o.release(ctx, o.beat.lease)
		o.beat = held{}
	}
	var leases []bus.Lease
	for _, t := range o.running {
		t.end()
		if t.lease.Key != "" {
			leases = append(leases, t.lease)
			t.lease = bus.Lease{}
		}
	}
	severalAtOnce(leases, func(l bus.Lease) { o.release(ctx, l) })
}

// spread is between a half and one and a half of d, another for each worker, so that those who left together do not come
// back together.
func (o *Owner) spread(d time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write(o.value)
	return d/2 + time.Duration(mix(h.Sum64()+uint64(d))%uint64(d))
}
