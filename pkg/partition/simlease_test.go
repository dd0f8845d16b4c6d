package partition

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/catena-im/catena/pkg/bus"
)

// simLeases is the bucket of leases. All of it is guarded by the world's mu.
type simLeases struct {
	w     *world
	held  map[string]simLease
	older map[string]simLease // what a replica that lags shows
	rev   uint64
	away  bool
	ahead time.Duration // of the servers' clock, by which leases end
}

type simLease struct {
	bus.Lease
	expires time.Time
}

func newSimLeases(w *world) *simLeases { return &simLeases{w: w, held: make(map[string]simLease)} }

// now is what the servers' clock shows.
func (l *simLeases) now() time.Time { return time.Now().Add(l.ahead) }

func (l *simLeases) get(key string) (simLease, bool) {
	x, ok := l.held[key]
	return x, ok && l.now().Before(x.expires)
}

func (l *simLeases) put(key string, value []byte, ttl time.Duration) bus.Lease {
	l.older = maps.Clone(l.held)
	l.rev++
	l.held[key] = simLease{bus.Lease{Key: key, Value: value, Revision: l.rev}, l.now().Add(ttl)}
	return l.held[key].Lease
}

var errAway = errors.New("the bucket has no leader")

// hostLeases are the leases as one process has them.
type hostLeases struct{ h *host }

// op is an operation that may fail with or without its effect.
func (l *hostLeases) op(name string, do func(*simLeases) error) error {
	return l.h.op(name, func() error {
		w := l.h.w
		fail := w.leases.away || w.chance(w.faults.lease)
		if fail && (w.leases.away || w.chance(500)) {
			return errAway
		}
		err := do(w.leases)
		if fail {
			return errAway
		}
		return err
	})
}

func (l *hostLeases) Acquire(_ context.Context, key string, value []byte, ttl time.Duration) (out bus.Lease, err error) {
	err = l.op("acquire", func(s *simLeases) error {
		if _, held := s.get(key); held {
			return bus.ErrHeld
		}
		out = s.put(key, value, ttl)
		return nil
	})
	return answered(out, err)
}

func (l *hostLeases) Replace(_ context.Context, lease bus.Lease, value []byte, ttl time.Duration) (out bus.Lease, err error) {
	err = l.op("replace", func(s *simLeases) error {
		if x, held := s.get(lease.Key); !held || x.Revision != lease.Revision {
			return bus.ErrLost
		}
		out = s.put(lease.Key, value, ttl)
		return nil
	})
	return answered(out, err)
}

func (l *hostLeases) Release(_ context.Context, lease bus.Lease) error {
	return l.op("release", func(s *simLeases) error {
		if x, held := s.get(lease.Key); !held || x.Revision != lease.Revision {
			return bus.ErrLost
		}
		s.older = maps.Clone(s.held)
		delete(s.held, lease.Key)
		return nil
	})
}

func (l *hostLeases) List(context.Context) (out []bus.Lease, err error) {
	err = l.op("list", func(s *simLeases) error {
		shown := s.held
		if s.older != nil && l.h.w.chance(l.h.w.faults.lease) {
			shown = s.older
		}
		for _, key := range slices.Sorted(maps.Keys(shown)) {
			if s.now().Before(shown[key].expires) {
				out = append(out, shown[key].Lease)
			}
		}
		return nil
	})
	return out, err
}

func answered(l bus.Lease, err error) (bus.Lease, error) {
	if err != nil {
		return bus.Lease{}, err
	}
	return l, nil
}
