package sequencer

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	batches [][]*sized // by user partition, in order

	entries []*imv1.FanoutEntry // of the message that is added, by user partition; nil: none
	touched []int               // where entries holds one

	made slab[imv1.FanoutEntry]
	ids  slab[string]
}

// sized is a batch and what it comes to.
type sized struct {
	batch  *imv1.FanoutBatch
	bytes  int
	weight int
}

func newFanout(l chain.Layout, from bus.Partition, epoch uint64) *fanout {
	return &fanout{
		layout: l, from: from, epoch: epoch,
		batches: make([][]*sized, l.UserPartitions), entries: make([]*imv1.FanoutEntry, l.UserPartitions),
	}
}

// add hands the encoded message that stands at sequence and ordinal to the partitions of users.
func (f *fanout) add(sequence uint64, ordinal uint32, message []byte, users []im.UserID) {
	for _, u := range users {
		q := f.layout.User(u)
		if f.entries[q] == nil {
			e := f.made.one()
			e.Sequence, e.Ordinal, e.Message, e.UserIds = sequence, ordinal, message, f.ids.some(min(len(users), fewUsers))[:0]
			f.entries[q] = e
			f.touched = append(f.touched, q)
		}
		f.entries[q].UserIds = append(f.entries[q].UserIds, string(u))
	}
	for _, q := range f.touched {
		f.put(q, f.entries[q])
		f.entries[q] = nil
	}
	f.touched = f.touched[:0]
}

// fewUsers is for how many users of a partition an entry has room at once.
const fewUsers = 2

func (f *fanout) empty() bool {
	return !slices.ContainsFunc(f.batches, func(list []*sized) bool { return len(list) > 0 })
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
		if len(list) == 0 {
			continue
		}
		g.Go(func() error {
			to := bus.Partition{Kind: bus.User, Number: q}
			for _, s := range list {
				err := encoded(&imv1.UserBatch{Source: &imv1.UserBatch_Fanout{Fanout: s.batch}}, func(payload []byte) error {
					return appendPatiently(ctx, b, to, f.id(s.batch), payload)
				})
				if err != nil {
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
