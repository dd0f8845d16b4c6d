package judge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// unreadCap is how far the server counts unread messages (ConversationSummary.unread_capped).
const unreadCap = 1000

// judgeLists holds each device's conversation list against the chains (L6, L9).
func (t *trial) judgeLists() {
	positions := map[position]uint64{}
	for i := range t.Lists {
		view := &t.Lists[i]
		listed := map[string]bool{}
		for _, s := range view.Summaries {
			c := t.of(s.GetConversationId())
			where := Violation{User: view.User, Device: view.Device, Conversation: s.GetConversationId()}
			if listed[s.GetConversationId()] {
				where.What = "the conversation stands in the list twice"
				t.breach(ListDrift, where)
			}
			listed[s.GetConversationId()] = true
			t.judgeSummary(where, s, c)
			key := position{view.User, s.GetConversationId()}
			if other, ok := positions[key]; ok && other != s.GetReadIndex() {
				where.Index, where.What = s.GetReadIndex(), fmt.Sprintf("another device of the user has the read position %d", other)
				t.breach(ReadDrift, where)
			}
			positions[key] = s.GetReadIndex()
			if reads := t.reads(view); reads != nil && reads[s.GetConversationId()] != s.GetReadIndex() {
				where.Index, where.What = s.GetReadIndex(), fmt.Sprintf("the device was told the read position %d", reads[s.GetConversationId()])
				t.breach(ReadDrift, where)
			}
		}
		t.judgeListed(view, listed)
	}
}

// reads are the read positions that the device of view was told.
func (t *trial) reads(view *ListView) map[string]uint64 {
	for i := range t.Devices {
		if d := &t.Devices[i]; d.User == view.User && d.Device == view.Device {
			return d.Reads
		}
	}
	return nil
}

// judgeListed reports conversations that ought to be in the list.
func (t *trial) judgeListed(view *ListView, listed map[string]bool) {
	for _, id := range slices.Sorted(maps.Keys(t.chains)) {
		if !listed[id] && t.chains[id].lastFor(view.User) != nil {
			t.breach(ListDrift, Violation{User: view.User, Device: view.Device, Conversation: id, What: "missing in the conversation list"})
		}
	}
}

func (t *trial) judgeSummary(where Violation, s *imv1.ConversationSummary, c *chain) {
	last := c.lastFor(where.User)
	if shown := s.GetLastMessage(); shown != nil {
		where.Index, where.ClientMessageID = shown.GetConversationIndex(), shown.GetClientMessageId()
		t.judgeSeen(c, where.User, shown, ViaList)
	}
	switch {
	case last == nil:
		where.What = "the list tells of a conversation of which the user may see nothing"
		t.breach(VisibilityLeaks, where)
		return
	case s.GetLastMessage() == nil || (c.sees(where.User, s.GetLastMessage()) && !same(last, s.GetLastMessage())):
		where.What = fmt.Sprintf("last_message is not the last that the user may see, which stands at index %d", last.GetConversationIndex())
		t.breach(ListDrift, where)
	}
	where.Index, where.ClientMessageID = 0, ""
	if s.GetMember() != c.members.now(where.User) || s.GetTitle() != c.members.title || s.GetKind() != c.members.kind() {
		where.What = fmt.Sprintf("the list says member %t, title %q, %s; the chain says %t, %q, %s", s.GetMember(), s.GetTitle(), s.GetKind(),
			c.members.now(where.User), c.members.title, c.members.kind())
		t.breach(ListDrift, where)
	}
	t.judgeUnread(where, s, c)
	t.judgePosition(where, s.GetReadIndex())
}

// judgeUnread counts what is unread from the chain and the read position (L9), and what an unread count that is too high
// may tell of hidden messages (L6).
func (t *trial) judgeUnread(where Violation, s *imv1.ConversationSummary, c *chain) {
	want, hidden := 0, 0
	for i := s.GetReadIndex() + 1; i <= c.last; i++ {
		m := c.at[i]
		switch {
		case m == nil || m.GetSenderId() == where.User || m.GetType() == imv1.MessageType_MESSAGE_TYPE_SYSTEM:
		case c.sees(where.User, m):
			want++
		case c.members.holds(where.User, i):
			hidden++
		}
	}
	capped := want > unreadCap
	if int(s.GetUnread()) == min(want, unreadCap) && s.GetUnreadCapped() == capped {
		return
	}
	where.Index = s.GetReadIndex()
	where.What = fmt.Sprintf("unread is %d (capped %t) behind the read position, the chain gives %d (capped %t)",
		s.GetUnread(), s.GetUnreadCapped(), want, capped)
	t.breach(UnreadDrift, where)
	if hidden > 0 && int(s.GetUnread()) == min(want+hidden, unreadCap) {
		where.What = fmt.Sprintf("unread counts %d messages that the user may not see", hidden)
		t.breach(VisibilityLeaks, where)
	}
}

// judgePosition wants the final read position at or beyond all that was told and nowhere that nobody asked for (L9).
func (t *trial) judgePosition(where Violation, got uint64) {
	p := position{where.User, where.Conversation}
	told, asked := t.told[p], t.asked[p]
	where.Index = got
	switch {
	case got < told:
		where.What = fmt.Sprintf("the read position went back from %d", told)
		t.breach(ReadDrift, where)
	case got > asked:
		where.What = fmt.Sprintf("the read position is beyond %d, the furthest that was asked for", asked)
		t.breach(ReadDrift, where)
	}
}

// judgeReads wants the read positions of a user to grow with the version of the list (L9).
func (t *trial) judgeReads() {
	reads := slices.Clone(t.Reads)
	slices.SortStableFunc(reads, func(a, b Read) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Conversation, b.Conversation), cmp.Compare(a.ListVersion, b.ListVersion))
	})
	for i := 1; i < len(reads); i++ {
		before, r := reads[i-1], reads[i]
		if before.User != r.User || before.Conversation != r.Conversation || r.Index == before.Index {
			continue
		}
		if r.Index < before.Index || r.ListVersion == before.ListVersion {
			t.breach(ReadDrift, Violation{User: r.User, Conversation: r.Conversation, Index: r.Index,
				What: fmt.Sprintf("the read position %d was told with list version %d, and %d with version %d",
					r.Index, r.ListVersion, before.Index, before.ListVersion)})
		}
	}
}

// judgeInfos holds what GetConversation tells against the chain.
func (t *trial) judgeInfos() {
	for i := range t.Infos {
		view := &t.Infos[i]
		c := t.of(view.Conversation)
		if !c.members.ever(view.User) {
			t.judgeOutsider(view.User, view.Conversation, view.Refusal)
			continue
		}
		if c.members.group != nil {
			t.judgeInfo(view, c)
		}
	}
}

func (t *trial) judgeInfo(view *InfoView, c *chain) {
	where := Violation{User: view.User, Conversation: view.Conversation}
	in, got, want := c.members.now(view.User), told(view.Info), c.members.told()
	switch {
	case !in && view.Refusal == 0:
		where.What = "the members are told to a user who is out of the conversation"
		t.breach(VisibilityLeaks, where)
	case in && view.Refusal != 0:
		where.What = fmt.Sprintf("a member is answered with %s", view.Refusal)
		t.breach(ListDrift, where)
	case in && !slices.Equal(got, want):
		where.What = fmt.Sprintf("the members are told as %v, the chain says %v", got, want)
		t.breach(ListDrift, where)
	}
}

// member is one member as told and as derived.
type member struct {
	user   string
	joined uint64
	owner  bool
}

func told(info *imv1.Conversation) []member {
	var members []member
	for _, m := range info.GetMembers() {
		members = append(members, member{m.GetUserId(), m.GetJoinedIndex(), m.GetRole() == imv1.MemberRole_MEMBER_ROLE_OWNER})
	}
	return members
}

// told is who is in the group now, ordered by user.
func (m *membership) told() []member {
	var members []member
	for _, u := range slices.Sorted(maps.Keys(m.group)) {
		if in := m.current(u); in != nil {
			members = append(members, member{u, in.joined, u == m.owner})
		}
	}
	return members
}

func (m *membership) kind() imv1.ConversationKind {
	if m.group == nil {
		return imv1.ConversationKind_CONVERSATION_KIND_SINGLE
	}
	return imv1.ConversationKind_CONVERSATION_KIND_GROUP
}
