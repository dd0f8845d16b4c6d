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
// a lost user stream held is taken from the chains. It returns how many entries it sent, each to those partitions only
// that lack it; it keeps as many places in memory. No worker may run meanwhile: an entry that overtakes an older one would
// make the older one count as repeated.
func (s *Sequencer) Refan(ctx context.Context, from bus.Partition) (int, error) {
	var progress progress
	var missing []standing
	err := read(ctx, s.deps.Store, s.layout, func(r *chain.Reader) (err error) {
		for q := range s.layout.UserPartitions {
			applied, err := r.Progress(ctx, q)
			if err != nil {
				return err
			}
			progress = append(progress, positionOf(applied[from.Number]))
		}
		missing, err = progress.behind(ctx, r, from.Number)
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

// progress is what each user partition has applied of one conversation partition.
type progress []position

// lacks reports whether the user partition of u has not applied what stands at p.
func (have progress) lacks(u im.UserID, p position) bool {
	return p.compare(have[im.Partition(u, len(have))]) > 0
}

// behind lists the entries of a conversation partition that the partition of one of their users lacks, in the order of the
// stream. A user partition that has applied nothing may just have had nothing to apply, so the users decide.
func (have progress) behind(ctx context.Context, r *chain.Reader, partition int) ([]standing, error) {
	var out []standing
	least := slices.MinFunc(have, position.compare)
	c := new(conversation)
	err := r.ScanPartition(ctx, partition, func(e *imv1.ChainEntry) (err error) {
		p, m := position{e.GetSequence(), e.GetOrdinal()}, e.GetMessage()
		if p.compare(least) <= 0 {
			return nil
		}
		if id := im.ConversationID(m.GetConversationId()); c.id != id { // they come conversation by conversation
			c = &conversation{id: id}
			if c.parsed, err = id.Parse(); err == nil {
				err = loadConversations(ctx, r, []*conversation{c})
			}
		}
		if err == nil && slices.ContainsFunc(c.recipients(m), func(u im.UserID) bool { return have.lacks(u, p) }) {
			out = append(out, standing{p, chain.Ref{Conversation: c.id, Index: im.ConversationIndex(m.GetConversationIndex())}})
		}
		return err
	})
	slices.SortFunc(out, func(a, b standing) int { return a.compare(b.position) })
	return out, err
}

// refan sends a run of entries to the user partitions that lack them.
func (s *Sequencer) refan(ctx context.Context, from bus.Partition, run []standing, have progress) error {
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
			fan.add(e.GetSequence(), e.GetOrdinal(), marshal(e.GetMessage()), slices.DeleteFunc(users, func(u im.UserID) bool {
				return !have.lacks(u, run[i].position)
			}))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read entries of %s: %w", from, err)
	}
	return fan.emit(ctx, s.deps.Bus)
}
