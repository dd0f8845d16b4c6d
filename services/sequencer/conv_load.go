package sequencer

import (
	"context"
	"slices"

	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
)

// What a worker keeps in memory of its partition. Beyond it, what was not used for longest is dropped and read again when
// it is needed. A record takes 100 to 200 bytes.
const (
	maxCachedRecords = 100_000 // conversations and their members, see size
	maxCachedIDs     = 16_384  // of the newest messages; a client names them with after, or sends them again
)

// load reads everything that the commands touch and that is not in memory.
func (w *convWorker) load(ctx context.Context, commands []located) (*convState, error) {
	st := newConvState()
	var missing []*conversation
	var refs []chain.MessageRef
	asked := make(map[im.MessageID]struct{}, len(commands))
	for _, l := range commands {
		if l.refused != nil {
			continue
		}
		id := im.ConversationID(l.command.GetConversationId())
		if st.conversations[id] == nil {
			c, ok := w.conversations.Get(id)
			if !ok {
				c = &conversation{id: id, parsed: l.parsed}
				missing = append(missing, c)
			}
			st.conversations[id] = c
		}
		ask := request(l.command)
		for _, cm := range []string{ask.clientMessageID, ask.after} {
			if cm == "" {
				continue
			}
			ref := chain.MessageRef{Conversation: id, ID: im.NewMessageID(id, im.UserID(l.command.GetUserId()), im.ClientMessageID(cm))}
			if _, known := asked[ref.ID]; known {
				continue
			}
			asked[ref.ID] = struct{}{}
			if r, ok := w.ids.Get(ref.ID); ok {
				st.ids[ref.ID] = r
			} else {
				refs = append(refs, ref)
			}
		}
	}
	return st, read(ctx, w.deps.Store, w.layout, func(r *chain.Reader) error {
		known, err := r.MessageIDs(ctx, refs)
		if err != nil {
			return err
		}
		for i, rec := range known {
			if rec != nil {
				st.ids[refs[i].ID] = rec
			}
		}
		return loadConversations(ctx, r, missing)
	})
}

// loadConversations fills in heads, and the members of groups.
func loadConversations(ctx context.Context, r *chain.Reader, cs []*conversation) error {
	ids := make([]im.ConversationID, len(cs))
	for i, c := range cs {
		ids[i] = c.id
	}
	heads, err := r.ConversationHeads(ctx, ids)
	if err != nil {
		return err
	}
	for i, c := range cs {
		c.head = heads[i]
		if c.head == nil || c.parsed.Kind != im.KindGroup {
			continue
		}
		records, err := r.Participants(ctx, c.id)
		if err != nil {
			return err
		}
		for u, rec := range records {
			c.members = append(c.members, member{u, rec})
		}
		slices.SortFunc(c.members, func(a, b member) int { return compareMember(a, b.user) })
	}
	return nil
}

// keep puts what st holds into the caches and lets go of what has become too much.
func (w *convWorker) keep(st *convState) {
	for id, c := range st.conversations {
		if c.head == nil {
			continue
		}
		size := c.size()
		w.records += size - c.cached
		c.cached = size
		w.conversations.Add(id, c)
		if size > maxCachedRecords/2 { // it would push nearly all others out
			w.conversations.Remove(id)
		}
	}
	for w.records > maxCachedRecords && w.conversations.Len() > 0 {
		w.conversations.RemoveOldest()
	}
	for id, r := range st.ids {
		w.ids.Add(id, r)
	}
}

// size is how many records of usual length the conversation takes the room of. Two more intervals of a member who comes
// and goes take as much as a record.
func (c *conversation) size() int {
	n := 1 + len(c.members)
	for _, m := range c.members {
		n += len(m.record.GetIntervals()) / 2
	}
	return n
}
