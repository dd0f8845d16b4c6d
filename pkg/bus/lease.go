package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// markerTTL is how long the bucket remembers that a lease expired.
const markerTTL = 10 * time.Second

// maxListed is how many keys the server returns in one answer. All leases of a cell must fit: see maxPartitions.
const maxListed = 1024

// Leases are the leases of the cell: keys that vanish when they are not renewed. A lease says who should work, it fences
// nobody: between its expiry on the server and its holder's noticing, two may believe they hold it. A holder counts its
// time from before it sent Acquire or Replace, on a monotonic clock, and stops a margin before the end. When the
// bucket's leader crashes no lease can be renewed for 5 to 12 s, so a ttl below 15 s makes that a loss of all leases.
type Leases struct {
	b  *Bus
	kv jetstream.KeyValue
}

// Lease is a lease as it was when it was read or written.
type Lease struct {
	Key      string
	Value    []byte
	Revision uint64 // grows with every write to any lease
}

// Leases opens the bucket of leases.
func (b *Bus) Leases(ctx context.Context) (*Leases, error) {
	ctx, cancel := b.bounded(ctx, apiTimeout)
	defer cancel()
	kv, err := b.js.KeyValue(ctx, OwnersBucket)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", OwnersBucket, apiError(ctx, err))
	}
	return &Leases{b: b, kv: kv}, nil
}

// Acquire takes the lease key if nobody holds it: it was never held, has expired or was released. ErrHeld otherwise. An
// error that is not ErrHeld leaves open whether the lease was taken; Get tells. The ttl is rounded up to whole seconds.
func (l *Leases) Acquire(ctx context.Context, key string, value []byte, ttl time.Duration) (Lease, error) {
	asked := time.Now()
	ctx, cancel := l.b.bounded(ctx, apiTimeout)
	defer cancel()
	rev, err := l.kv.Create(ctx, key, value, jetstream.KeyTTL(wholeSeconds(ttl)))
	l.b.written(ctx, asked, err)
	if err != nil {
		return Lease{}, fmt.Errorf("acquire lease %s: %w", key, leaseError(ctx, err, ErrHeld))
	}
	return Lease{key, slices.Clone(value), rev}, nil
}

// Replace writes value to the lease if it still is as held says, and lets it expire ttl from now: it renews a lease of
// one's own, or takes over one of which one knows that it is one's own. ErrLost when it has changed or expired.
func (l *Leases) Replace(ctx context.Context, held Lease, value []byte, ttl time.Duration) (Lease, error) {
	asked := time.Now()
	ctx, cancel := l.b.bounded(ctx, apiTimeout)
	defer cancel()
	// Not KeyValue.Update: that has no ttl, and a lease written by it would never expire.
	ack, err := l.b.js.PublishMsg(ctx, &nats.Msg{Subject: leaseSubject(held.Key), Data: value},
		jetstream.WithExpectLastSequencePerSubject(held.Revision),
		jetstream.WithMsgTTL(wholeSeconds(ttl)),
		jetstream.WithExpectStream("KV_"+OwnersBucket),
		jetstream.WithRetryAttempts(0))
	l.b.written(ctx, asked, err)
	if err != nil {
		return Lease{}, fmt.Errorf("renew lease %s: %w", held.Key, leaseError(ctx, err, ErrLost))
	}
	return Lease{held.Key, slices.Clone(value), ack.Sequence}, nil
}

// Release frees the lease if it still is as held says, ErrLost otherwise.
func (l *Leases) Release(ctx context.Context, held Lease) error {
	asked := time.Now()
	ctx, cancel := l.b.bounded(ctx, apiTimeout)
	defer cancel()
	// The marker of a purge ends by itself; that of a deletion would stay, one for every worker name there ever was.
	err := l.kv.Purge(ctx, held.Key, jetstream.LastRevision(held.Revision), jetstream.PurgeTTL(markerTTL))
	l.b.written(ctx, asked, err)
	if err != nil {
		return fmt.Errorf("release lease %s: %w", held.Key, leaseError(ctx, err, ErrLost))
	}
	return nil
}

// Get returns the lease key, false when nobody holds it. Like List it may be answered by a replica that lags.
func (l *Leases) Get(ctx context.Context, key string) (Lease, bool, error) {
	ctx, cancel := l.b.bounded(ctx, apiTimeout)
	defer cancel()
	entry, err := l.kv.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return Lease{}, false, nil
	case err != nil:
		return Lease{}, false, fmt.Errorf("read lease %s: %w", key, apiError(ctx, err))
	}
	return Lease{key, entry.Value(), entry.Revision()}, true, nil
}

// List returns all leases that are held, sorted by key. It needs no consumer, so it works while the meta group of a
// cluster has no leader. While the connection is away List waits for it.
func (l *Leases) List(ctx context.Context) ([]Lease, error) {
	var leases []Lease
	err := l.b.ask(ctx, func(ctx context.Context) (err error) {
		leases, err = l.list(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	slices.SortFunc(leases, func(a, b Lease) int { return strings.Compare(a.Key, b.Key) })
	return leases, nil
}

// list asks for the last message of every key with one batched direct get.
func (l *Leases) list(ctx context.Context) ([]Lease, error) {
	request, err := json.Marshal(map[string]any{"multi_last": []string{leaseSubject(">")}, "batch": maxListed})
	if err != nil {
		return nil, err
	}
	inbox := l.b.nc.NewInbox()
	// A channel as long as an answer; SubscribeSync makes one for 65,536 messages, which is much for every few hundred
	// milliseconds.
	answers := make(chan *nats.Msg, maxListed+1)
	sub, err := l.b.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := l.b.nc.PublishRequest("$JS.API.DIRECT.GET.KV_"+OwnersBucket, inbox, request); err != nil {
		return nil, err
	}
	var leases []Lease
	for {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			if lease, ok := heldLease(m); ok {
				leases = append(leases, lease)
			}
		case strconv.Itoa(http.StatusServiceUnavailable):
			return nil, nats.ErrNoResponders
		case strconv.Itoa(http.StatusNoContent), strconv.Itoa(http.StatusNotFound): // the end; nothing at all
			return leases, nil
		default:
			return nil, fmt.Errorf("direct get: %s %s", status, m.Header.Get("Description"))
		}
	}
}

// heldLease reads the answer to a direct get; a marker of a deletion or an expiry is not a lease.
func heldLease(m *nats.Msg) (Lease, bool) {
	if m.Header.Get("KV-Operation") != "" || m.Header.Get(jetstream.MarkerReasonHeader) != "" {
		return Lease{}, false
	}
	rev, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	key := strings.TrimPrefix(m.Header.Get(jetstream.SubjectHeader), leaseSubject(""))
	return Lease{key, m.Data, rev}, err == nil
}

func leaseSubject(key string) string { return "$KV." + OwnersBucket + "." + key }

// leaseError makes conflict of a refused compare-and-set.
func leaseError(ctx context.Context, err, conflict error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return conflict
	}
	return apiError(ctx, err)
}

// wholeSeconds rounds a ttl up to what the server knows.
func wholeSeconds(ttl time.Duration) time.Duration {
	return max((ttl + time.Second - 1).Truncate(time.Second), time.Second)
}
