package fakeserver

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

type conversation struct {
	id     string
	single []string // the users of a single conversation
	title  string
	owner  string
	last   uint64
	chain  map[uint64]*imv1.Message
	sent   map[sendKey]*stored
	spans  map[string][]span
	held   *heldSend
}

type sendKey struct{ user, id string }

// stored is the first answer to a send, with what was sent.
type stored struct {
	sent    *imv1.Sent
	content []byte
}

// span is an interval of membership; left is 0 while the user is in.
type span struct{ joined, left uint64 }

// heldSend is a send that waits for the next one of its session, to be overtaken (BreakQueue).
type heldSend struct {
	d      *session
	send   *imv1.Send
	answer *imv1.ServerFrame
}

type user struct {
	id       string
	chain    []*imv1.UserEntry
	next     uint64 // the UserIndex of the next entry
	reads    map[string]uint64
	version  uint64
	sessions map[*session]bool
	late     *imv1.Message // waits for the next entry of its conversation (BreakInbox)
}

func (s *Server) user(id string) *user {
	u := s.users[id]
	if u == nil {
		u = &user{id: id, next: 1, reads: map[string]uint64{}, sessions: map[*session]bool{}}
		s.users[id] = u
	}
	return u
}

func (u *user) head() *imv1.Head {
	head := &imv1.Head{OldestUserIndex: 1, ListVersion: u.version}
	if n := len(u.chain); n > 0 {
		head.UserIndex = u.chain[n-1].GetUserIndex()
	}
	return head
}

// open returns the conversation; a single one is made when it is not there.
func (s *Server) open(id string) *conversation {
	c := s.conversations[id]
	if c == nil && strings.HasPrefix(id, "s:") {
		c = &conversation{id: id, single: strings.Split(id[2:], ":"), chain: map[uint64]*imv1.Message{}, sent: map[sendKey]*stored{}}
		s.conversations[id] = c
	}
	return c
}

// in reports whether u was in at index; index 0 stands for now.
func (c *conversation) in(u string, index uint64) bool {
	if c.single != nil {
		return slices.Contains(c.single, u)
	}
	return slices.ContainsFunc(c.spans[u], func(v span) bool {
		if index == 0 {
			return v.left == 0
		}
		return v.joined <= index && (v.left == 0 || index <= v.left)
	})
}

func (c *conversation) users() []string {
	if c.single != nil {
		return slices.Compact(slices.Clone(c.single))
	}
	var users []string
	for u := range c.spans {
		users = append(users, u)
	}
	slices.SortFunc(users, func(a, b string) int {
		return cmp.Or(cmp.Compare(c.spans[a][0].joined, c.spans[b][0].joined), strings.Compare(a, b))
	})
	return users
}

func (c *conversation) sees(u string, m *imv1.Message) bool {
	if m == nil || !c.in(u, m.GetConversationIndex()) {
		return false
	}
	switch m.GetVisibility().GetScope() {
	case imv1.VisibilityScope_VISIBILITY_SCOPE_PART:
		return u == m.GetSenderId() || slices.Contains(m.GetVisibility().GetUserIds(), u)
	case imv1.VisibilityScope_VISIBILITY_SCOPE_SELF:
		return u == m.GetSenderId()
	}
	return true
}

func messageID(c, user, id string) []byte {
	sum := sha256.Sum256([]byte(c + "\x00" + user + "\x00" + id))
	return sum[:16]
}

// enter gives m its place in c and in the user chains of those who may see it, and pushes it. change sets the
// memberships that begin or end at m, before it is decided who sees it.
func (s *Server) enter(c *conversation, m *imv1.Message, change func(at uint64)) *imv1.Sent {
	s.clock++
	s.changed()
	c.last++
	if m.GetType() != imv1.MessageType_MESSAGE_TYPE_SYSTEM && s.once(SkipIndex) {
		c.last++
	}
	m.ConversationId, m.ConversationIndex, m.ServerTimeMs = c.id, c.last, s.clock
	m.MessageId = messageID(c.id, m.GetSenderId(), m.GetClientMessageId())
	c.chain[c.last] = m
	if change != nil {
		change(c.last)
	}
	for _, id := range c.users() {
		if c.sees(id, m) {
			s.deliver(s.user(id), m)
		} else if s.hides(c, id, m) && s.once(LeakByPush) {
			u := s.user(id)
			u.push(&imv1.UserEntry{UserIndex: u.head().GetUserIndex(), Message: m})
		}
	}
	return &imv1.Sent{MessageId: m.GetMessageId(), ConversationId: c.id, ConversationIndex: c.last, ServerTimeMs: m.GetServerTimeMs()}
}

// hides reports whether m is hidden from u by its visibility alone, u having a user chain to push to.
func (s *Server) hides(c *conversation, u string, m *imv1.Message) bool {
	return c.in(u, m.GetConversationIndex()) && m.GetVisibility() != nil && len(s.user(u).chain) > 0 && len(s.user(u).sessions) > 0
}

// deliver enters m into the chain of u and pushes it.
func (s *Server) deliver(u *user, m *imv1.Message) {
	ordinary := m.GetType() != imv1.MessageType_MESSAGE_TYPE_SYSTEM
	if ordinary && s.once(LoseInbox) {
		return
	}
	if ordinary && s.once(SkipUserIndex) {
		u.next++
	}
	if ordinary && s.once(BreakInbox) {
		u.late = m
		return
	}
	s.append(u, m)
	if late := u.late; late != nil && late.GetConversationId() == m.GetConversationId() {
		u.late = nil
		s.append(u, late)
	}
}

func (s *Server) append(u *user, m *imv1.Message) {
	e := &imv1.UserEntry{UserIndex: u.next, Message: m}
	u.next++
	u.chain = append(u.chain, e)
	switch {
	case m.GetBody().GetText() != nil && s.once(PushOther):
		other := proto.CloneOf(m)
		other.Body.GetText().Text += " (changed)"
		u.push(&imv1.UserEntry{UserIndex: e.GetUserIndex(), Message: other})
	case s.often(LosePushes):
		if len(u.chain) > 3 {
			u.push(u.chain[len(u.chain)-3]) // an old one instead
		}
		u.tell(&imv1.ServerFrame{Body: &imv1.ServerFrame_Head{Head: u.head()}})
	default:
		u.push(e)
	}
}

func (u *user) push(e *imv1.UserEntry) {
	u.tell(&imv1.ServerFrame{Body: &imv1.ServerFrame_Push{Push: &imv1.Push{Entry: e}}})
}

func (u *user) tell(f *imv1.ServerFrame) {
	for d := range u.sessions {
		d.tell(f)
	}
}

// forget removes the last message of the conversation in which nobody has said anything for the longest time, so that
// its sender has the answer for sure. It reports whether there was one.
func (s *Server) forget() bool {
	var oldest *imv1.Message
	for _, c := range s.conversations {
		m := c.chain[c.last]
		if m == nil || m.GetType() == imv1.MessageType_MESSAGE_TYPE_SYSTEM {
			continue
		}
		if oldest == nil || m.GetServerTimeMs() < oldest.GetServerTimeMs() {
			oldest = m
		}
	}
	if oldest == nil {
		return false
	}
	c := s.conversations[oldest.GetConversationId()]
	delete(c.chain, c.last)
	delete(c.sent, sendKey{oldest.GetSenderId(), oldest.GetClientMessageId()})
	c.last--
	return true
}

// rollBack cuts every user chain in half. It reports whether one was long enough.
func (s *Server) rollBack() (cut bool) {
	for _, u := range s.users {
		kept := (len(u.chain) + 1) / 2
		cut = cut || kept < len(u.chain)
		u.chain, u.next = u.chain[:kept], uint64(kept+1)
	}
	return cut
}
