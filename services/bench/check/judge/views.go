package judge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// judgeConversations holds each reader's view of a conversation against the chain and against what the reader may see.
func (t *trial) judgeConversations() {
	for i := range t.Conversations {
		view := &t.Conversations[i]
		c := t.of(view.Conversation)
		if !c.members.ever(view.User) {
			t.judgeOutsider(view.User, view.Conversation, view.Refusal)
			continue
		}
		t.judgeConversation(view, c)
	}
}

// judgeOutsider wants the answer that does not tell whether the conversation exists (L6).
func (t *trial) judgeOutsider(user, conversation string, got imv1.ErrorCode) {
	if got != imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER {
		t.breach(VisibilityLeaks, Violation{User: user, Conversation: conversation,
			What: fmt.Sprintf("who never was in the conversation is answered with %s, want NOT_A_MEMBER", outcome(got))})
	}
}

func outcome(code imv1.ErrorCode) string {
	if code == imv1.ErrorCode_ERROR_CODE_UNSPECIFIED {
		return "a page"
	}
	return code.String()
}

func (t *trial) judgeConversation(view *ConversationView, c *chain) {
	held := map[uint64]bool{}
	for _, m := range view.Messages {
		held[m.GetConversationIndex()] = true
		t.judgeSeen(c, view.User, m, ViaPull)
	}
	t.judgeComplete(c, view.User, held, "the reader's conversation chain")
	var last uint64
	if m := c.lastFor(view.User); m != nil {
		last = m.GetConversationIndex()
	}
	where := Violation{User: view.User, Conversation: view.Conversation, Index: view.Head}
	switch {
	case view.Refusal != 0: // what is missing was reported
	case view.Head > last:
		where.What = fmt.Sprintf("head_index tells of more than the user may see, which ends at %d", last)
		t.breach(VisibilityLeaks, where)
	case view.Head < last:
		where.What = fmt.Sprintf("head_index stays behind %d, the last that the user may see", last)
		t.breach(ListDrift, where)
	}
}

// judgeSeen reports a message that was shown to a user who may not see it (L6).
func (t *trial) judgeSeen(c *chain, user string, m *imv1.Message, via Via) {
	if !c.sees(user, m) {
		t.breach(VisibilityLeaks, Violation{User: user, Conversation: m.GetConversationId(), Index: m.GetConversationIndex(),
			ClientMessageID: m.GetClientMessageId(), What: "shown by " + string(via) + " to a user who may not see it"})
	}
}

// judgeComplete reports what user may see of c and does not find among the held indexes (L1).
func (t *trial) judgeComplete(c *chain, user string, held map[uint64]bool, where string) {
	for _, i := range c.indexes() {
		if m := c.at[i]; !held[i] && c.sees(user, m) {
			t.breach(Lost, Violation{User: user, Conversation: c.conversation, Index: i, ClientMessageID: m.GetClientMessageId(),
				What: "missing in " + where})
		}
	}
}

// judgeUsers holds the user chains against the conversation chains (L1, L4, L6).
func (t *trial) judgeUsers() {
	for i := range t.Users {
		view := &t.Users[i]
		held := t.judgeEntries(view)
		for _, id := range slices.Sorted(maps.Keys(t.chains)) {
			if c := t.chains[id]; c.members.ever(view.User) {
				t.judgeComplete(c, view.User, held[id], "the user chain")
			}
		}
		var last uint64
		if n := len(view.Entries); n > 0 {
			last = view.Entries[n-1].UserIndex
		}
		if head := view.Head.GetUserIndex(); head != last {
			t.breach(IndexGaps, Violation{User: view.User, UserIndex: head, What: fmt.Sprintf("the head of the user chain is not its last entry, %d", last)})
		}
	}
}

// judgeEntries goes through one user chain and returns which places it holds of each conversation.
func (t *trial) judgeEntries(view *UserView) map[string]map[uint64]bool {
	held, newest := map[string]map[uint64]bool{}, map[string]uint64{}
	next := uint64(1)
	for _, e := range view.Entries {
		m := e.Message
		id, at := m.GetConversationId(), m.GetConversationIndex()
		where := Violation{User: view.User, Conversation: id, Index: at, UserIndex: e.UserIndex, ClientMessageID: m.GetClientMessageId()}
		if e.UserIndex != next {
			where.What = fmt.Sprintf("the user chain goes on with this user index, want %d", next)
			t.breach(IndexGaps, where)
		}
		next = e.UserIndex + 1
		switch {
		case held[id][at]:
			where.What = "the message stands in the user chain twice"
			t.breach(Duplicated, where)
		case at < newest[id]:
			where.What = fmt.Sprintf("stands in the user chain behind index %d of its conversation", newest[id])
			t.breach(Reordered, where)
		default:
			newest[id] = at
		}
		if held[id] == nil {
			held[id] = map[uint64]bool{}
		}
		held[id][at] = true
		t.judgeEntry(where, m)
	}
	return held
}

// judgeEntry holds one entry of a user chain against the conversation chain.
func (t *trial) judgeEntry(where Violation, m *imv1.Message) {
	c := t.of(where.Conversation)
	t.judgeSeen(c, where.User, m, ViaUserChain)
	if !same(c.at[where.Index], m) {
		where.What = "the user chain names another message than the conversation chain holds"
		t.breach(Mismatched, where)
	}
}

// judgeDevices holds what each device applied against its user's chain (L5).
func (t *trial) judgeDevices() {
	for i := range t.Devices {
		view := &t.Devices[i]
		t.verdict.Delivered += len(view.Applied)
		entries := t.entries[view.User]
		where := Violation{User: view.User, Device: view.Device}
		if n := len(view.Applied); n < len(entries) {
			where.UserIndex = uint64(n)
			where.What = fmt.Sprintf("the device applied %d entries of the %d of the user chain", n, len(entries))
			t.breach(Diverged, where)
		}
		for n, e := range view.Applied {
			if n < len(entries) && e.UserIndex == entries[n].UserIndex && same(e.Message, entries[n].Message) {
				continue
			}
			where.UserIndex, where.Index = e.UserIndex, e.Message.GetConversationIndex()
			where.Conversation, where.ClientMessageID = e.Message.GetConversationId(), e.Message.GetClientMessageId()
			where.What = fmt.Sprintf("entry %d that the device applied is not entry %d of the user chain; later ones are not compared", n+1, n+1)
			t.breach(Diverged, where)
			break
		}
	}
}

// judgeSightings holds what was shown during the run against the final chains: what once was seen stays (L3, L5, L6).
func (t *trial) judgeSightings() {
	for _, s := range t.Sightings {
		m := s.Message
		c := t.of(m.GetConversationId())
		where := Violation{User: s.User, Conversation: m.GetConversationId(), Index: m.GetConversationIndex(),
			UserIndex: s.UserIndex, ClientMessageID: m.GetClientMessageId()}
		t.judgeSeen(c, s.User, m, s.Via)
		if !same(c.at[where.Index], m) {
			where.What = "shown by " + string(s.Via) + " during the run, and the conversation chain holds another message there"
			t.breach(Diverged, where)
		} else if s.UserIndex != 0 && !t.holds(s) {
			where.What = "shown by " + string(s.Via) + " during the run, and the user chain holds another message there"
			t.breach(Diverged, where)
		}
	}
}

// holds reports whether the user chain has the message of s where s says.
func (t *trial) holds(s Sighting) bool {
	entries := t.entries[s.User]
	i, ok := slices.BinarySearchFunc(entries, s.UserIndex, func(e Entry, at uint64) int {
		return cmp.Compare(e.UserIndex, at)
	})
	return ok && same(entries[i].Message, s.Message)
}
