package judge

import (
	"fmt"
	"maps"
	"slices"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// chain is one conversation as all its readers together saw it.
type chain struct {
	conversation string
	at           map[uint64]*imv1.Message
	last         uint64
	sent         map[sendKey][]uint64 // indexes, rising
	byID         map[string][]uint64  // by MessageID; indexes, rising
	members      membership
}

// sendKey names what must be one message (L2).
type sendKey struct{ user, clientMessageID string }

func newChain(conversation string) *chain {
	return &chain{
		conversation: conversation,
		at:           map[uint64]*imv1.Message{},
		sent:         map[sendKey][]uint64{},
		byID:         map[string][]uint64{},
		members:      newMembership(conversation),
	}
}

// indexes are the places that somebody saw, rising.
func (c *chain) indexes() []uint64 { return slices.Sorted(maps.Keys(c.at)) }

// sees reports whether user may see m.
func (c *chain) sees(user string, m *imv1.Message) bool {
	return c.members.holds(user, m.GetConversationIndex()) && admits(m, user)
}

// lastFor is the last message that user may see; nil when there is none.
func (c *chain) lastFor(user string) *imv1.Message {
	for i := c.last; i > 0; i-- {
		if m := c.at[i]; m != nil && c.sees(user, m) {
			return m
		}
	}
	return nil
}

// find returns the first place of what user sent under id; 0 when it is not in the chain.
func (c *chain) find(user, id string) uint64 {
	if places := c.sent[sendKey{user, id}]; len(places) > 0 {
		return places[0]
	}
	return 0
}

// unite makes the chains out of all readers' views and reports where readers disagree (L3).
func (t *trial) unite() {
	for i := range t.Conversations {
		t.enter(&t.Conversations[i])
	}
	for _, c := range t.chains {
		for _, i := range c.indexes() {
			m := c.at[i]
			c.last = i
			key := sendKey{m.GetSenderId(), m.GetClientMessageId()}
			c.sent[key] = append(c.sent[key], i)
			c.byID[string(m.GetMessageId())] = append(c.byID[string(m.GetMessageId())], i)
			c.members.learn(m)
		}
	}
}

func (t *trial) enter(view *ConversationView) {
	var before uint64
	for _, m := range view.Messages {
		at := m.GetConversationIndex()
		where := Violation{User: view.User, Conversation: view.Conversation, Index: at, ClientMessageID: m.GetClientMessageId()}
		switch {
		case m.GetConversationId() != view.Conversation:
			where.What = fmt.Sprintf("the page holds a message of conversation %q", m.GetConversationId())
			t.breach(Mismatched, where)
			continue
		case at == before:
			where.What = "the index stands twice in the pages of one reader"
			t.breach(Duplicated, where)
			continue
		case at < before:
			where.What = fmt.Sprintf("the index comes after index %d in the pages of one reader", before)
			t.breach(Reordered, where)
		default:
			before = at
		}
		t.place(m, where)
	}
}

func (t *trial) place(m *imv1.Message, where Violation) {
	c, ok := t.chains[where.Conversation]
	if !ok {
		c = newChain(where.Conversation)
		t.chains[where.Conversation] = c
	}
	known, ok := c.at[where.Index]
	switch {
	case !ok:
		c.at[where.Index] = m
	case same(known, m):
	case string(known.GetMessageId()) == string(m.GetMessageId()):
		where.What = "two readers get the message with different content"
		t.breach(Mismatched, where)
	default:
		where.What = fmt.Sprintf("another reader finds %q of %s at this index", known.GetClientMessageId(), known.GetSenderId())
		t.breach(Reordered, where)
	}
}

// judgeChains reports gaps, what stands in a chain twice, and what nobody sent.
func (t *trial) judgeChains() {
	known := t.authors()
	for _, id := range slices.Sorted(maps.Keys(t.chains)) {
		c := t.chains[id]
		t.judgeGaps(c)
		t.judgeTwice(c)
		for _, i := range c.indexes() {
			t.judgeAuthor(c, c.at[i], known)
		}
	}
}

func (t *trial) judgeGaps(c *chain) {
	for i := uint64(1); i < c.last; i++ {
		if _, ok := c.at[i]; !ok {
			t.breach(IndexGaps, Violation{Conversation: c.conversation, Index: i, What: "no reader sees this index, and later ones exist"})
		}
	}
}

func (t *trial) judgeTwice(c *chain) {
	for _, i := range c.indexes() {
		m := c.at[i]
		where := Violation{Conversation: c.conversation, Index: i, User: m.GetSenderId(), ClientMessageID: m.GetClientMessageId()}
		if first := c.sent[sendKey{m.GetSenderId(), m.GetClientMessageId()}][0]; first != i {
			where.What = fmt.Sprintf("the client message id stands at index %d already", first)
			t.breach(Duplicated, where)
		} else if first := c.byID[string(m.GetMessageId())][0]; first != i {
			where.What = fmt.Sprintf("the message id stands at index %d already", first)
			t.breach(Duplicated, where)
		}
		if len(m.GetMessageId()) != messageIDBytes {
			where.What = fmt.Sprintf("the message id has %d bytes, want %d", len(m.GetMessageId()), messageIDBytes)
			t.breach(Mismatched, where)
		}
	}
}

const messageIDBytes = 16

// authors indexes what was sent.
func (t *trial) authors() map[string]map[sendKey]bool {
	known := map[string]map[sendKey]bool{}
	for _, s := range t.Sends {
		if known[s.Conversation] == nil {
			known[s.Conversation] = map[sendKey]bool{}
		}
		known[s.Conversation][sendKey{s.User, s.ClientMessageID}] = true
	}
	return known
}

// judgeAuthor reports a message that nobody sent or whose sender was not in the conversation.
func (t *trial) judgeAuthor(c *chain, m *imv1.Message, known map[string]map[sendKey]bool) {
	where := Violation{Conversation: c.conversation, Index: m.GetConversationIndex(), User: m.GetSenderId(),
		ClientMessageID: m.GetClientMessageId()}
	switch {
	case m.GetType() == imv1.MessageType_MESSAGE_TYPE_SYSTEM:
		if !slices.ContainsFunc(t.Commands, func(cmd *Command) bool { return cmd.explains(m) }) {
			where.What = "nobody gave the command that this system message reports"
			t.breach(Invented, where)
		}
	case !known[c.conversation][sendKey{m.GetSenderId(), m.GetClientMessageId()}]:
		where.What = "nobody sent this message"
		t.breach(Invented, where)
	case !c.members.holds(m.GetSenderId(), m.GetConversationIndex()):
		where.What = "the sender was not in the conversation at this index"
		t.breach(Invented, where)
	}
}
