// Package sequencer decides. Its conversation step gives every message its place in a conversation chain, its user step
// the place in the user chains; both are pure folds over their streams (scenario scripts test them), and the thin
// processors around them load state, hand over the writes and send answers, fan-out and deliveries. Ownership, order
// and exactly-once application come from package partition.
package sequencer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/partition"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Config is what both kinds of worker need to know.
type Config struct {
	Layout chain.Layout
}

// Bus is what the workers say and hear; *bus.Bus is one. It keeps no payload when it has returned.
type Bus interface {
	// AppendUntil publishes to a stream and retries until ctx ends.
	AppendUntil(ctx context.Context, p bus.Partition, msgID string, payload []byte) (uint64, error)
	// Publish sends a core message, which may be lost.
	Publish(s bus.Subject, payload []byte) error
	// Subscribe hears core messages until the subscription is closed.
	Subscribe(s bus.Subject, handler func(bus.Packet)) (*bus.Subscription, error)
}

// Deps is what the workers work with.
type Deps struct {
	Store kv.Store
	Bus   Bus
	Log   *slog.Logger
}

// Sequencer makes the processors of the partitions that a worker owns.
type Sequencer struct {
	layout chain.Layout
	deps   Deps
}

// New checks the configuration.
func New(cfg Config, deps Deps) (*Sequencer, error) {
	if cfg.Layout.ConvPartitions < 1 || cfg.Layout.UserPartitions < 1 {
		return nil, fmt.Errorf("layout %+v: give at least one partition of each kind", cfg.Layout)
	}
	return &Sequencer{layout: cfg.Layout, deps: deps}, nil
}

// Start makes the processor of p for the ownership with this epoch; it fits partition.Deps.
func (s *Sequencer) Start(ctx context.Context, p bus.Partition, epoch uint64) (partition.Processor, error) {
	log := s.deps.Log.With("partition", p.String())
	if p.Kind == bus.Conv {
		return newConvWorker(s.layout, s.deps, p, epoch, log), nil
	}
	return newUserWorker(ctx, s.layout, s.deps, p, epoch, log)
}

// FenceKey is the key of p's fence.
func FenceKey(p bus.Partition) []byte {
	if p.Kind == bus.Conv {
		return chain.FenceKey(chain.Conv, p.Number)
	}
	return chain.FenceKey(chain.User, p.Number)
}

// read calls fn with a reader of the store as it is now.
func read(ctx context.Context, store kv.Store, l chain.Layout, fn func(*chain.Reader) error) error {
	snap, err := store.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer snap.Release()
	return fn(chain.NewReader(l, snap))
}

// marshal encodes m.
func marshal(m imv1.Encoder) []byte { return imv1.Append(nil, m) }

// buffers are used again for what is encoded and passed on at once. A payload has some 100 KB under load.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// encoded calls use with the encoded m, which is valid in use only.
func encoded(m imv1.Encoder, use func([]byte) error) error {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	*b = imv1.Append((*b)[:0], m)
	return use(*b)
}

// publish sends m as a core message.
func publish(b Bus, s bus.Subject, m imv1.Encoder) error {
	return encoded(m, func(payload []byte) error { return b.Publish(s, payload) })
}

const (
	maxPayload = 512 << 10 // of a batch that is published, in bytes; a single entry may be larger, but below 1 MiB
	maxWeight  = 4000      // of a batch: commands or entries, and the users they name; bounds the commit they come to
	maxAnswers = 2000      // of a message to an edge; one is 300 bytes at most
)

// decodeWithin calls one for each of msgs, which adds what a message holds and says what that weighs, up to maxWeight in
// all; the first message is taken whatever it weighs. It returns how many were taken.
func decodeWithin[T any](msgs []bus.Msg, one func([]T, bus.Msg) ([]T, int)) (out []T, taken int) {
	total := 0
	for n, m := range msgs {
		more, weight := one(out, m)
		if n > 0 && total+weight > maxWeight {
			return out, n
		}
		out, total = more, total+weight
	}
	return out, len(msgs)
}

// lent are batches that came from a pool. Of what a step decodes nothing is kept beyond it but names, and those are the
// memory of the messages.
type lent[T interface{ ReturnToVTPool() }] []T

func (l *lent[T]) note(b T) T {
	*l = append(*l, b)
	return b
}

func (l *lent[T]) giveBack() {
	for _, b := range *l {
		b.ReturnToVTPool()
	}
	clear(*l)
	*l = (*l)[:0]
}

// edgeBatches gathers what goes to each edge.
type edgeBatches map[string]*imv1.EdgeBatch

func (b edgeBatches) add(edge string, a *imv1.Answer) {
	e := b[edge]
	if e == nil {
		e = new(imv1.EdgeBatch)
		b[edge] = e
	}
	e.Answers = append(e.Answers, a)
}
