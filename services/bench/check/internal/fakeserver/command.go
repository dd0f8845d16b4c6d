package fakeserver

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// command carries out f if it changes a conversation. An answer without a body is given later.
func (s *Server) command(d *session, f *imv1.ClientFrame, answer *imv1.ServerFrame) bool {
	switch body := f.GetBody().(type) {
	case *imv1.ClientFrame_Send:
		s.send(d, body.Send, answer)
	case *imv1.ClientFrame_CreateGroup:
		s.createGroup(d, body.CreateGroup, answer)
	case *imv1.ClientFrame_AddMembers:
		s.change(d, body.AddMembers.GetConversationId(), body.AddMembers.GetClientMessageId(),
			imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_ADDED, body.AddMembers.GetUserIds(), answer)
	case *imv1.ClientFrame_RemoveMembers:
		s.change(d, body.RemoveMembers.GetConversationId(), body.RemoveMembers.GetClientMessageId(),
			imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_REMOVED, body.RemoveMembers.GetUserIds(), answer)
	case *imv1.ClientFrame_LeaveGroup:
		s.change(d, body.LeaveGroup.GetConversationId(), body.LeaveGroup.GetClientMessageId(),
			imv1.SystemEvent_SYSTEM_EVENT_MEMBER_LEFT, []string{d.user.id}, answer)
	default:
		return false
	}
	return true
}

func (s *Server) send(d *session, send *imv1.Send, answer *imv1.ServerFrame) {
	if s.often(CutOften) && s.fired%40 == 0 {
		defer func() {
			for other := range d.user.sessions {
				other.cut()
			}
		}()
	}
	id := send.GetConversationId()
	if id == "" {
		id = "s:" + min(d.user.id, send.GetToUserId()) + ":" + max(d.user.id, send.GetToUserId())
	}
	c := s.open(id)
	if c == nil || !s.again(c, d, send.GetClientMessageId(), content(send), answer) && !s.admit(c, d.user, send, answer) {
		if answer.GetBody() == nil {
			refuse(answer, imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER)
		}
		return
	}
	if answer.GetBody() != nil {
		return
	}
	if c.held != nil && c.held.d != d && c.held.d.user == d.user && c.held.d.device == d.device {
		c.held = nil // the device has a new session, which sends from the start: another chance
		s.fired--
	}
	switch held := c.held; {
	case held == nil && c.sent[sendKey{d.user.id, send.GetAfter()}] == nil && s.once(BreakQueue):
		c.held = &heldSend{d, send, answer}
		return
	case held != nil && held.d == d && held.send.GetClientMessageId() == send.GetClientMessageId():
		c.held = nil // nothing came after it for so long that it is sent again: another chance
		s.fired--
	case held != nil && held.d == d:
		c.held = nil
		s.take(c, d.user, send, answer)
		s.take(c, d.user, held.send, held.answer)
		d.tell(held.answer)
		return
	}
	s.take(c, d.user, send, answer)
}

// lateDevice begins the names of the checker's devices that send again what was acknowledged long ago.
const lateDevice = "late-"

// again gives the first answer to a client message id that is known.
func (s *Server) again(c *conversation, d *session, id string, content []byte, answer *imv1.ServerFrame) bool {
	known := c.sent[sendKey{d.user.id, id}]
	late := strings.HasPrefix(d.device, lateDevice)
	if known == nil || late && s.once(ForgetLateSend) {
		return false
	}
	sent := proto.CloneOf(known.sent)
	sent.Duplicate, sent.ContentDiffers = true, !bytes.Equal(content, known.content)
	if late && s.always(ChangeAnswer) {
		sent.ServerTimeMs++
	}
	answer.Body = &imv1.ServerFrame_Sent{Sent: sent}
	return true
}

// admit decides whether a new message may be entered.
func (s *Server) admit(c *conversation, u *user, send *imv1.Send, answer *imv1.ServerFrame) bool {
	if !c.in(u.id, 0) {
		return false
	}
	for _, other := range send.GetVisibility().GetUserIds() {
		if !c.in(other, 0) {
			refuse(answer, imv1.ErrorCode_ERROR_CODE_INVALID_VISIBILITY)
			return false
		}
	}
	after := send.GetAfter()
	held := c.held != nil && c.held.send.GetClientMessageId() == after
	if after != "" && !held && c.sent[sendKey{u.id, after}] == nil {
		refuse(answer, imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER)
		return false
	}
	return true
}

// take enters a message and answers.
func (s *Server) take(c *conversation, u *user, send *imv1.Send, answer *imv1.ServerFrame) {
	m := &imv1.Message{ClientMessageId: send.GetClientMessageId(), SenderId: u.id, Type: send.GetType(), Body: send.GetBody(),
		Visibility: send.GetVisibility()}
	if c.single != nil {
		m.ReceiverId = c.single[0]
		if m.GetReceiverId() == u.id {
			m.ReceiverId = c.single[1]
		}
	}
	if m.GetBody().GetText() != nil && s.once(StoreOther) {
		m.Body = proto.CloneOf(m.GetBody())
		m.Body.GetText().Text += " (changed)"
	}
	var sent *imv1.Sent
	if s.once(LoseAcked) {
		s.clock++
		sent = &imv1.Sent{MessageId: messageID(c.id, u.id, m.GetClientMessageId()), ConversationId: c.id, ConversationIndex: c.last + 1, ServerTimeMs: s.clock}
	} else {
		sent = s.enter(c, m, nil)
	}
	if s.once(StoreTwice) {
		s.enter(c, proto.CloneOf(m), nil)
	}
	c.sent[sendKey{u.id, send.GetClientMessageId()}] = &stored{sent, content(send)}
	told := proto.CloneOf(sent)
	if told.GetConversationIndex() > 1 && s.once(AckOther) {
		told.ConversationIndex--
	}
	answer.Body = &imv1.ServerFrame_Sent{Sent: told}
}

// content is what tells a re-send from another message under the same id.
func content(send *imv1.Send) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(&imv1.Send{Type: send.GetType(), Body: send.GetBody(), Visibility: send.GetVisibility()})
	if err != nil {
		panic(err) // what was decoded can be encoded
	}
	return data
}

func (s *Server) createGroup(d *session, create *imv1.CreateGroup, answer *imv1.ServerFrame) {
	u := d.user
	id := "g:" + hex.EncodeToString(messageID("group", u.id, create.GetClientMessageId()))[:24]
	c := s.conversations[id]
	if c == nil {
		c = &conversation{id: id, title: create.GetTitle(), owner: u.id, chain: map[uint64]*imv1.Message{},
			sent: map[sendKey]*stored{}, spans: map[string][]span{}}
		s.conversations[id] = c
	}
	if s.again(c, d, create.GetClientMessageId(), nil, answer) {
		return
	}
	users := append([]string{u.id}, create.GetMemberIds()...)
	slices.Sort(users)
	s.report(c, u, create.GetClientMessageId(), answer, &imv1.SystemBody{Event: imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED,
		UserIds: slices.Compact(users), Title: c.title})
}

// change carries out the other membership commands.
func (s *Server) change(d *session, id, clientID string, event imv1.SystemEvent, users []string, answer *imv1.ServerFrame) {
	u := d.user
	c := s.conversations[id]
	if c != nil && s.again(c, d, clientID, nil, answer) {
		return
	}
	leaves := event == imv1.SystemEvent_SYSTEM_EVENT_MEMBER_LEFT
	joins := event == imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_ADDED
	switch {
	case c == nil || !c.in(u.id, 0):
		refuse(answer, imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER)
		return
	case c.single != nil || !leaves && c.owner != u.id:
		refuse(answer, imv1.ErrorCode_ERROR_CODE_PERMISSION_DENIED)
		return
	}
	users = slices.DeleteFunc(slices.Clone(users), func(other string) bool { return c.in(other, 0) == joins })
	if len(users) == 0 {
		refuse(answer, imv1.ErrorCode_ERROR_CODE_ALREADY_MEMBER)
		return
	}
	body := &imv1.SystemBody{Event: event, UserIds: users}
	if leaves && c.owner == u.id {
		body.NewOwnerId = c.heir(u.id)
		c.owner = body.GetNewOwnerId()
	}
	s.report(c, u, clientID, answer, body)
}

// heir is the member besides owner who has been in longest.
func (c *conversation) heir(owner string) string {
	heir := ""
	for _, u := range c.users() {
		if u == owner || !c.in(u, 0) {
			continue
		}
		if spans := c.spans[u]; heir == "" || spans[len(spans)-1].joined < c.spans[heir][len(c.spans[heir])-1].joined {
			heir = u
		}
	}
	return heir
}

// report enters the system message of a command and answers.
func (s *Server) report(c *conversation, u *user, clientID string, answer *imv1.ServerFrame, body *imv1.SystemBody) {
	m := &imv1.Message{ClientMessageId: clientID, SenderId: u.id, Type: imv1.MessageType_MESSAGE_TYPE_SYSTEM,
		Body: &imv1.Body{Content: &imv1.Body_System{System: body}}}
	sent := s.enter(c, m, func(at uint64) { c.move(body, at) })
	c.sent[sendKey{u.id, clientID}] = &stored{sent, nil}
	answer.Body = &imv1.ServerFrame_Sent{Sent: sent}
}

// move opens and ends memberships at index at.
func (c *conversation) move(body *imv1.SystemBody, at uint64) {
	for _, u := range body.GetUserIds() {
		spans := c.spans[u]
		switch body.GetEvent() {
		case imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED, imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_ADDED:
			c.spans[u] = append(spans, span{joined: at})
		default:
			spans[len(spans)-1].left = at
		}
	}
}
