package partition

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/catena-im/catena/pkg/bus"
)

// held is a lease that this worker holds.
type held struct {
	lease   bus.Lease
	renewed time.Time // taken before the renewal was sent; zero: not by this run
}

// sighting is when this worker first saw a lease as it is.
type sighting struct {
	revision uint64
	at       time.Time
}

// look takes note of which leases have changed.
func (o *Owner) look(list []bus.Lease) {
	now, seen := o.now(), make(map[string]sighting, len(list))
	for _, l := range list {
		s := o.seen[l.Key]
		if s.revision != l.Revision {
			s = sighting{l.Revision, now}
		}
		seen[l.Key] = s
	}
	o.seen = seen
}

// silent reports whether a lease should have ended: nobody has renewed it for longer than it lasts. The servers end
// leases by their own clocks, and would keep one for an hour more when those are set back by an hour.
func (o *Owner) silent(l bus.Lease) bool {
	return o.now().Sub(o.seen[l.Key].at) > o.cfg.TTL+o.cfg.TTL/3
}

// holder is the value of a lease, in words that an operator can read.
type holder struct {
	Worker string `json:"worker"`
	Boot   string `json:"boot"`
}

const beatPrefix = "worker."

// ErrNameTaken ends an Owner: two processes under one name would take the partitions from each other for ever.
var ErrNameTaken = errors.New("another process runs under the same worker name; give each process a name of its own")

// heartbeat keeps the key that tells other workers that this one lives.
func (o *Owner) heartbeat(ctx context.Context, leases map[string]bus.Lease) error {
	key := beatPrefix + o.cfg.Worker
	if o.taken(o.beat, leases[key]) {
		return ErrNameTaken
	}
	h, err := o.keep(ctx, o.beat, key, leases)
	if err != nil { // that it is lost is believed when the list shows who has it
		return fmt.Errorf("heartbeat: %w", err)
	}
	o.beat = h
	return nil
}

// taken reports whether found, as listed, shows that another process has taken the lease that h once was.
func (o *Owner) taken(h held, found bus.Lease) bool {
	return h.lease.Key != "" && found.Revision > h.lease.Revision && !bytes.Equal(found.Value, o.value)
}

// keep renews h when a third of its time has passed, or takes the lease under key if it is free or was this worker's
// in an earlier run. bus.ErrLost says that another process has it now, bus.ErrHeld that it had it before. When it is
// unclear who has it, the answer is h, and the next list tells.
func (o *Owner) keep(ctx context.Context, h held, key string, leases map[string]bus.Lease) (held, error) {
	found, listed := leases[key] // perhaps older than what this worker wrote last
	if o.taken(h, found) {
		return h, bus.ErrLost
	}
	if listed && found.Revision > h.lease.Revision && bytes.Equal(found.Value, o.value) {
		h.lease = found // written by this process, though the answer was lost
	}
	now := o.now()
	mine := h.lease.Key != ""
	if mine && !h.renewed.IsZero() && now.Sub(h.renewed) < o.cfg.TTL/3 {
		return h, nil
	}
	var lease bus.Lease
	err := bus.ErrLost
	switch {
	case mine:
		lease, err = o.deps.Leases.Replace(ctx, h.lease, o.value, o.cfg.TTL)
	case listed && (heldBy(found) == o.cfg.Worker || o.silent(found)):
		lease, err = o.deps.Leases.Replace(ctx, found, o.value, o.cfg.TTL)
	case listed:
		err = bus.ErrHeld
	}
	if errors.Is(err, bus.ErrLost) && !listed { // never held, handed back, or expired
		lease, err = o.deps.Leases.Acquire(ctx, key, o.value, o.cfg.TTL)
	}
	switch {
	case err == nil:
		return held{lease, now}, nil
	case mine && (errors.Is(err, bus.ErrHeld) || errors.Is(err, bus.ErrLost)):
		return h, nil
	case errors.Is(err, bus.ErrLost): // renewed since it was listed
		return h, bus.ErrHeld
	}
	return h, err
}

func heldBy(l bus.Lease) string {
	var h holder
	if json.Unmarshal(l.Value, &h) != nil {
		return ""
	}
	return h.Worker
}
