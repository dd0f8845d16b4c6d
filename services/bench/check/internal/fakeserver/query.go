package fakeserver

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const (
	defaultPage = 100
	unreadCap   = 1000
)

// query answers what reads, and moves read positions.
func (s *Server) query(u *user, f *imv1.ClientFrame, answer *imv1.ServerFrame) {
	switch body := f.GetBody().(type) {
	case *imv1.ClientFrame_Ping:
		answer.Body = &imv1.ServerFrame_Pong{Pong: &imv1.Pong{}}
	case *imv1.ClientFrame_PullConversation:
		s.pullConversation(u, body.PullConversation, answer)
	case *imv1.ClientFrame_PullUser:
		s.pullUser(u, body.PullUser, answer)
	case *imv1.ClientFrame_ListConversations:
		s.list(u, answer)
	case *imv1.ClientFrame_GetConversation:
		s.info(u, body.GetConversation.GetConversationId(), answer)
	case *imv1.ClientFrame_MarkRead:
		s.markRead(u, body.MarkRead, answer)
	default:
		refuse(answer, imv1.ErrorCode_ERROR_CODE_UNKNOWN_TYPE)
	}
}

// visible are the places of c that u may see, rising.
func (c *conversation) visible(u string) []uint64 {
	var places []uint64
	for _, i := range slices.Sorted(maps.Keys(c.chain)) {
		if c.sees(u, c.chain[i]) {
			places = append(places, i)
		}
	}
	return places
}

func (s *Server) pullConversation(u *user, q *imv1.PullConversation, answer *imv1.ServerFrame) {
	c := s.conversations[q.GetConversationId()]
	page := &imv1.ConversationPage{ConversationId: q.GetConversationId()}
	if c == nil || len(c.visible(u.id)) == 0 {
		if s.fault == LeakExistence && c != nil && s.always(LeakExistence) {
			answer.Body = &imv1.ServerFrame_ConversationPage{ConversationPage: page}
			return
		}
		refuse(answer, imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER)
		return
	}
	places := c.visible(u.id)
	page.HeadIndex = places[len(places)-1]
	if s.fault == LeakByPull {
		if all := slices.Sorted(maps.Keys(c.chain)); len(all) > len(places) && s.always(LeakByPull) {
			places = all
		}
	}
	places, page.HasMore = cut(places, q.FromIndex, q.ToIndex, q.GetLimit(), q.GetNewestFirst())
	for _, i := range places {
		page.Messages = append(page.Messages, c.chain[i])
	}
	if c.single != nil && c.single[0] != c.single[1] && u.id == c.single[1] && bothSee(page.GetMessages()) && s.always(ReadersDiffer) {
		swap(page.GetMessages())
	}
	answer.Body = &imv1.ServerFrame_ConversationPage{ConversationPage: page}
}

// bothSee reports whether the first two messages are the chain's and everybody's.
func bothSee(messages []*imv1.Message) bool {
	return len(messages) > 1 && messages[1].GetConversationIndex() == 2 &&
		messages[0].GetVisibility() == nil && messages[1].GetVisibility() == nil
}

// swap exchanges what stands at the first two places.
func swap(messages []*imv1.Message) {
	a, b := proto.CloneOf(messages[0]), proto.CloneOf(messages[1])
	a.ConversationIndex, b.ConversationIndex = b.GetConversationIndex(), a.GetConversationIndex()
	messages[0], messages[1] = b, a
}

// cut takes a page out of the rising places.
func cut(places []uint64, from, to *uint64, limit uint32, newestFirst bool) ([]uint64, bool) {
	places = slices.DeleteFunc(slices.Clone(places), func(i uint64) bool {
		return from != nil && i < *from || to != nil && i > *to
	})
	if newestFirst {
		slices.Reverse(places)
	}
	if limit == 0 {
		limit = defaultPage
	}
	if len(places) > int(limit) {
		return places[:limit], true
	}
	return places, false
}

func (s *Server) pullUser(u *user, q *imv1.PullUser, answer *imv1.ServerFrame) {
	byIndex := map[uint64]*imv1.UserEntry{}
	var places []uint64
	for _, e := range u.chain {
		byIndex[e.GetUserIndex()] = e
		places = append(places, e.GetUserIndex())
	}
	page := &imv1.UserPage{Head: u.head()}
	places, page.HasMore = cut(places, q.FromIndex, q.ToIndex, q.GetLimit(), q.GetNewestFirst())
	for _, i := range places {
		page.Entries = append(page.Entries, byIndex[i])
	}
	answer.Body = &imv1.ServerFrame_UserPage{UserPage: page}
}

func (s *Server) list(u *user, answer *imv1.ServerFrame) {
	list := &imv1.ConversationList{Head: u.head()}
	for _, id := range slices.Sorted(maps.Keys(s.conversations)) {
		c := s.conversations[id]
		if places := c.visible(u.id); len(places) > 0 {
			list.Conversations = append(list.Conversations, s.summary(u, c, places))
		}
	}
	answer.Body = &imv1.ServerFrame_ConversationList{ConversationList: list}
}

func (s *Server) summary(u *user, c *conversation, places []uint64) *imv1.ConversationSummary {
	sum := &imv1.ConversationSummary{ConversationId: c.id, Kind: c.kind(), Title: c.title, Member: c.in(u.id, 0),
		ReadIndex: u.reads[c.id], LastMessage: c.chain[places[len(places)-1]]}
	for _, i := range slices.Sorted(maps.Keys(c.chain)) {
		m := c.chain[i]
		if i <= sum.GetReadIndex() || m.GetSenderId() == u.id || m.GetType() == imv1.MessageType_MESSAGE_TYPE_SYSTEM {
			continue
		}
		if _, seen := slices.BinarySearch(places, i); seen || c.in(u.id, i) && s.always(LeakByUnread) {
			sum.Unread++
		}
	}
	if s.always(DriftUnread) {
		sum.Unread++
	}
	if c.chain[c.last] != sum.GetLastMessage() && s.always(LeakByLast) {
		sum.LastMessage = c.chain[c.last]
	}
	if sum.GetUnread() > unreadCap {
		sum.Unread, sum.UnreadCapped = unreadCap, true
	}
	return sum
}

func (c *conversation) kind() imv1.ConversationKind {
	if c.single != nil {
		return imv1.ConversationKind_CONVERSATION_KIND_SINGLE
	}
	return imv1.ConversationKind_CONVERSATION_KIND_GROUP
}

func (s *Server) info(u *user, id string, answer *imv1.ServerFrame) {
	c := s.conversations[id]
	if c == nil || !c.in(u.id, 0) || len(c.visible(u.id)) == 0 {
		refuse(answer, imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER)
		return
	}
	places := c.visible(u.id)
	info := &imv1.Conversation{ConversationId: id, Kind: c.kind(), Title: c.title, HeadIndex: places[len(places)-1]}
	users := c.users()
	slices.Sort(users)
	for _, other := range users {
		if !c.in(other, 0) {
			continue
		}
		m := &imv1.Member{UserId: other, Role: imv1.MemberRole_MEMBER_ROLE_MEMBER}
		if spans := c.spans[other]; len(spans) > 0 {
			m.JoinedIndex = spans[len(spans)-1].joined
		}
		if other == c.owner {
			m.Role = imv1.MemberRole_MEMBER_ROLE_OWNER
		}
		info.Members = append(info.Members, m)
	}
	answer.Body = &imv1.ServerFrame_Conversation{Conversation: info}
}

func (s *Server) markRead(u *user, q *imv1.MarkRead, answer *imv1.ServerFrame) {
	c := s.conversations[q.GetConversationId()]
	if c == nil || len(c.visible(u.id)) == 0 {
		refuse(answer, imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER)
		return
	}
	at, version := u.reads[c.id], uint64(0)
	if q.GetReadIndex() > at || s.fault == ReadBack && q.GetReadIndex() < at && s.always(ReadBack) {
		at = q.GetReadIndex()
		u.reads[c.id] = at
		s.changed()
		u.version++
		version = u.version
		u.tell(&imv1.ServerFrame{Body: &imv1.ServerFrame_ReadMoved{ReadMoved: &imv1.ReadMoved{
			ConversationId: c.id, ReadIndex: at, ListVersion: version}}})
	}
	answer.Body = &imv1.ServerFrame_ReadMarked{ReadMarked: &imv1.ReadMarked{ConversationId: c.id, ReadIndex: at, ListVersion: version}}
}
