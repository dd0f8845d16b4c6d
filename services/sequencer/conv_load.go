package sequencer

import (
	"context"
	"slices"
	"strings"

	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
)

// What a worker keeps in memory of its partition. Beyond it, what was not used for longest is dropped and read again when
// it is needed. A record takes 100 to 200 bytes.
const (
	maxCachedRecords = 100_000 // conversations and their members, see size
	maxCachedIDs     = 16_384  // of the newest messages; a client names them with after, or sends them again
)

// load finds what each command is about, and reads what is not in memory.
func (w *convWorker) load(ctx context.Context, commands []located) (*convState, error) {
	st := newConvState(len(commands))
	missing := new(missingConv)
	for i := range commands {
		l := &commands[i]
		if l.refused != nil {
			continue
		}
		l.conversation = w.want(st, missing, im.ConversationID(l.command.GetConversationId()))
		l.id = l.messageID(l.asked.clientMessageID)
		w.wantID(st, missing, l.conversation, l.id)
		if l.asked.after != "" {
			l.after = l.messageID(l.asked.after)
			w.wantID(st, missing, l.conversation, l.after)
		}
	}
	return st, read(ctx, w.deps.Store, w.layout, func(r *chain.Reader) error {
		known, err := r.MessageIDs(ctx, missing.ids)
		if err != nil {
			return err
		}
		for i, rec := range known {
			st.ids[missing.ids[i].ID] = rec
		}
		return loadConversations(ctx, r, missing.conversations)
	})
}

// messageID is the id of the command's user's message that the client calls so.
func (l *located) messageID(name string) im.MessageID {
	return im.NewMessageID(l.conversation.id, im.UserID(l.command.GetUserId()), im.ClientMessageID(name))
}

// missingConv is what a batch touches and what is not in memory.
type missingConv struct {
	conversations []*conversation
	ids           []chain.MessageRef
}

// want brings a conversation into st, or notes that it is to be read.
func (w *convWorker) want(st *convState, missing *missingConv, id im.ConversationID) *conversation {
	if c := st.conversations[id]; c != nil {
		return c
	}
	c, known := w.conversations.Get(id)
	if !known {
		id = im.ConversationID(strings.Clone(string(id)))
		parsed, _ := id.Parse() // decode has done so
		c = &conversation{id: id, parsed: parsed}
		missing.conversations = append(missing.conversations, c)
	}
	st.conversations[c.id] = c
	return c
}

// wantID does the same for the record of a message id.
func (w *convWorker) wantID(st *convState, missing *missingConv, c *conversation, id im.MessageID) {
	if _, ok := st.ids[id]; ok {
		return
	}
	r, known := w.ids.Get(id)
	if st.ids[id] = r; !known {
		missing.ids = append(missing.ids, chain.MessageRef{Conversation: c.id, ID: id})
	}
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
	for _, id := range st.entered {
		w.ids.Add(id, st.ids[id])
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
