package sequencer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// fanout gathers committed entries by user partition, cut into batches of bounded size.
type fanout struct {
	layout  chain.Layout
	from    bus.Partition
	epoch   uint64
	batches map[int][]*sized // by user partition, in order
}

// sized is a batch and what it comes to.
type sized struct {
	batch  *imv1.FanoutBatch
	bytes  int
	weight int
}

func newFanout(l chain.Layout, from bus.Partition, epoch uint64) *fanout {
	return &fanout{layout: l, from: from, epoch: epoch, batches: make(map[int][]*sized)}
}

// add hands the entry, whose encoded message is given, to the partitions of users.
func (f *fanout) add(e *imv1.ChainEntry, message []byte, users []im.UserID) {
	parts := make(map[int]*imv1.FanoutEntry, min(len(users), f.layout.UserPartitions))
	for _, u := range users {
		q := f.layout.User(u)
		if parts[q] == nil {
			parts[q] = &imv1.FanoutEntry{Sequence: e.GetSequence(), Ordinal: e.GetOrdinal(), Message: message}
		}
		parts[q].UserIds = append(parts[q].UserIds, string(u))
	}
	for q, entry := range parts {
		f.put(q, entry)
	}
}

func (f *fanout) put(q int, e *imv1.FanoutEntry) {
	bytes, weight := len(e.GetMessage())+64, 1+len(e.GetUserIds())
	for _, u := range e.GetUserIds() {
		bytes += len(u) + 2
	}
	list := f.batches[q]
	if n := len(list); n == 0 || list[n-1].bytes+bytes > maxPayload || list[n-1].weight+weight > maxWeight {
		list = append(list, &sized{batch: &imv1.FanoutBatch{ConversationPartition: uint32(f.from.Number)}})
		f.batches[q] = list
	}
	last := list[len(list)-1]
	last.batch.Entries = append(last.batch.Entries, e)
	last.bytes += bytes
	last.weight += weight
}

// emit publishes the batches: of each partition in order, one outstanding, the partitions side by side. It returns when
// the streams have all of them.
func (f *fanout) emit(ctx context.Context, b Bus) error {
	g, ctx := errgroup.WithContext(ctx)
	for q, list := range f.batches {
		g.Go(func() error {
			to := bus.Partition{Kind: bus.User, Number: q}
			for _, s := range list {
				payload := marshal(&imv1.UserBatch{Source: &imv1.UserBatch_Fanout{Fanout: s.batch}})
				if err := appendPatiently(ctx, b, to, f.id(s.batch), payload); err != nil {
					return fmt.Errorf("fan out to %s: %w", to, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// appendPatiently waits for a stream that is full until its owner has trimmed it. What follows waits behind it, so that
// the conversation streams fill up in turn, and their senders are told.
func appendPatiently(ctx context.Context, b Bus, to bus.Partition, id string, payload []byte) error {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		_, err := b.AppendUntil(ctx, to, id, payload)
		if !errors.Is(err, bus.ErrFull) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// id names the batch for the stream's duplicate window. It holds both ends and the epoch, since another owner may cut
// the same entries differently.
func (f *fanout) id(b *imv1.FanoutBatch) string {
	first, last := b.GetEntries()[0], b.GetEntries()[len(b.GetEntries())-1]
	return fmt.Sprintf("f.%d.%d.%d.%d-%d.%d", f.from.Number, f.epoch,
		first.GetSequence(), first.GetOrdinal(), last.GetSequence(), last.GetOrdinal())
}
