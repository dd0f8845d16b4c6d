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
	renewed time.Time // taken before the renewal was sent
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
// in an earlier run. bus.ErrLost says that another process has it now, bus.ErrHeld that it had it before.
func (o *Owner) keep(ctx context.Context, h held, key string, leases map[string]bus.Lease) (held, error) {
	found, listed := leases[key] // perhaps older than what this worker wrote last
	if o.taken(h, found) {
		return h, bus.ErrLost
	}
	if listed && found.Revision > h.lease.Revision && bytes.Equal(found.Value, o.value) {
		h.lease = found // written by this process, though the answer was lost
	}
	now := time.Now()
	mine := h.lease.Key != ""
	var err error
	switch {
	case mine && now.Sub(h.renewed) < o.cfg.TTL/3:
		return h, nil
	case mine && listed:
		h.lease, err = o.deps.Leases.Replace(ctx, h.lease, o.value, o.cfg.TTL)
	case listed && heldBy(found) == o.cfg.Worker:
		h.lease, err = o.deps.Leases.Replace(ctx, found, o.value, o.cfg.TTL)
	default: // never held, handed back, or expired
		h.lease, err = o.deps.Leases.Acquire(ctx, key, o.value, o.cfg.TTL)
		if mine && errors.Is(err, bus.ErrHeld) {
			err = bus.ErrLost
		}
	}
	h.renewed = now
	return h, err
}

func heldBy(l bus.Lease) string {
	var h holder
	if json.Unmarshal(l.Value, &h) != nil {
		return ""
	}
	return h.Worker
}
