package judge

import (
	"slices"
	"strings"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// interval is a span of a chain in which a user was in the conversation, both ends included.
type interval struct {
	joined, left uint64 // left is 0 while the user is in
}

// membership is who was in a conversation when, as the system messages of its chain tell.
type membership struct {
	single []string // the users of a single conversation, who are in it for ever
	group  map[string][]interval
	owner  string
	title  string
}

// newMembership starts from what the id tells: "s:<user>:<user>" or "g:<token>".
func newMembership(conversation string) membership {
	if users, ok := strings.CutPrefix(conversation, "s:"); ok {
		return membership{single: strings.Split(users, ":")}
	}
	return membership{group: map[string][]interval{}}
}

// learn takes in the messages of the chain in rising order.
func (m *membership) learn(message *imv1.Message) {
	event := message.GetBody().GetSystem()
	if event == nil || m.group == nil {
		return
	}
	at := message.GetConversationIndex()
	switch event.GetEvent() {
	case imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED:
		m.owner, m.title = message.GetSenderId(), event.GetTitle()
		m.join(event.GetUserIds(), at)
	case imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_ADDED:
		m.join(event.GetUserIds(), at)
	case imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_REMOVED:
		m.leave(event.GetUserIds(), at)
	case imv1.SystemEvent_SYSTEM_EVENT_MEMBER_LEFT:
		m.leave(event.GetUserIds(), at)
		if next := event.GetNewOwnerId(); next != "" {
			m.owner = next
		}
	}
}

func (m *membership) join(users []string, at uint64) {
	for _, u := range users {
		if m.current(u) == nil {
			m.group[u] = append(m.group[u], interval{joined: at})
		}
	}
}

func (m *membership) leave(users []string, at uint64) {
	for _, u := range users {
		if in := m.current(u); in != nil {
			in.left = at
		}
	}
}

// current is the open interval of user in a group; nil when there is none.
func (m *membership) current(user string) *interval {
	spans := m.group[user]
	if len(spans) == 0 || spans[len(spans)-1].left != 0 {
		return nil
	}
	return &spans[len(spans)-1]
}

// holds reports whether user was in at index.
func (m *membership) holds(user string, index uint64) bool {
	if m.group == nil {
		return slices.Contains(m.single, user)
	}
	return slices.ContainsFunc(m.group[user], func(v interval) bool {
		return v.joined <= index && (v.left == 0 || index <= v.left)
	})
}

// ever reports whether user was in at any time.
func (m *membership) ever(user string) bool {
	return slices.Contains(m.single, user) || len(m.group[user]) > 0
}

// now reports whether user is in at the end of the chain.
func (m *membership) now(user string) bool {
	return slices.Contains(m.single, user) || m.current(user) != nil
}

// admits reports whether the visibility of m lets user see it, user being in the conversation.
func admits(m *imv1.Message, user string) bool {
	switch m.GetVisibility().GetScope() {
	case imv1.VisibilityScope_VISIBILITY_SCOPE_PART:
		return user == m.GetSenderId() || slices.Contains(m.GetVisibility().GetUserIds(), user)
	case imv1.VisibilityScope_VISIBILITY_SCOPE_SELF:
		return user == m.GetSenderId()
	}
	return true
}

// explains reports whether m may be what the command did: it may name fewer users, never others.
func (c *Command) explains(m *imv1.Message) bool {
	event := m.GetBody().GetSystem()
	if c.User != m.GetSenderId() || c.Event != event.GetEvent() || c.Title != event.GetTitle() {
		return false
	}
	if c.Conversation != "" && c.Conversation != m.GetConversationId() {
		return false
	}
	return !slices.ContainsFunc(event.GetUserIds(), func(u string) bool { return u != c.User && !slices.Contains(c.Users, u) })
}
