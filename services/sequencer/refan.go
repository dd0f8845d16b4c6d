package sequencer

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// refanBatch is how many entries are read and sent at once.
const refanBatch = 500

// position is where an entry stands in its conversation partition's stream.
type position struct {
	sequence uint64
	ordinal  uint32
}

func (p position) compare(o position) int {
	return cmp.Or(cmp.Compare(p.sequence, o.sequence), cmp.Compare(p.ordinal, o.ordinal))
}

func positionOf(p *imv1.FanoutProgress) position { return position{p.GetSequence(), p.GetOrdinal()} }

// standing is an entry where it stands.
type standing struct {
	position
	ref chain.Ref
}

// Refan makes the fan-out of conversation partition from again, as far as the user partitions have not applied it: what
// a lost user stream held is taken from the chains. It returns how many entries lie behind the user partition that has
// applied the least; each is sent to those partitions only that lack it, perhaps to none. No worker may run meanwhile:
// an entry that overtakes an older one would make the older one count as repeated.
func (s *Sequencer) Refan(ctx context.Context, from bus.Partition) (int, error) {
	var progress []position // by user partition
	var missing []standing
	err := read(ctx, s.deps.Store, s.layout, func(r *chain.Reader) (err error) {
		for q := range s.layout.UserPartitions {
			applied, err := r.Progress(ctx, q)
			if err != nil {
				return err
			}
			progress = append(progress, positionOf(applied[from.Number]))
		}
		missing, err = behind(ctx, r, from.Number, slices.MinFunc(progress, position.compare))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("find what %s has not fanned out: %w", from, err)
	}
	for part := range slices.Chunk(missing, refanBatch) {
		if err := s.refan(ctx, from, part, progress); err != nil {
			return 0, err
		}
	}
	return len(missing), nil
}

// behind lists the entries of a conversation partition behind after, in the order of its stream.
func behind(ctx context.Context, r *chain.Reader, partition int, after position) ([]standing, error) {
	var out []standing
	err := r.ScanPartition(ctx, partition, func(e *imv1.ChainEntry) error {
		p := position{e.GetSequence(), e.GetOrdinal()}
		if p.compare(after) > 0 {
			out = append(out, standing{p, chain.Ref{
				Conversation: im.ConversationID(e.GetMessage().GetConversationId()),
				Index:        im.ConversationIndex(e.GetMessage().GetConversationIndex()),
			}})
		}
		return nil
	})
	slices.SortFunc(out, func(a, b standing) int { return a.compare(b.position) })
	return out, err
}

// refan sends a run of entries to the user partitions that lack them.
func (s *Sequencer) refan(ctx context.Context, from bus.Partition, run []standing, progress []position) error {
	fan := newFanout(s.layout, from, 0)
	err := read(ctx, s.deps.Store, s.layout, func(r *chain.Reader) error {
		refs := make([]chain.Ref, len(run))
		conversations := make(map[im.ConversationID]*conversation)
		var list []*conversation
		for i, p := range run {
			refs[i] = p.ref
			if conversations[p.ref.Conversation] != nil {
				continue
			}
			parsed, err := p.ref.Conversation.Parse()
			if err != nil {
				return err
			}
			c := &conversation{id: p.ref.Conversation, parsed: parsed}
			conversations[c.id] = c
			list = append(list, c)
		}
		entries, err := r.Entries(ctx, refs)
		if err == nil {
			err = loadConversations(ctx, r, list)
		}
		if err != nil {
			return err
		}
		for i, e := range entries {
			users := conversations[run[i].ref.Conversation].recipients(e.GetMessage())
			fan.add(e, marshal(e.GetMessage()), slices.DeleteFunc(users, func(u im.UserID) bool {
				return run[i].compare(progress[s.layout.User(u)]) <= 0
			}))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read entries of %s: %w", from, err)
	}
	return fan.emit(ctx, s.deps.Bus)
}
