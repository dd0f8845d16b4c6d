package edge

import (
	"slices"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const (
	maxNamed     = im.MaxMembers - 1 // users that one command may name besides its sender
	maxVisible   = 500               // users of a Visibility
	maxPlatform  = 32                // bytes
	maxPageToken = 512               // bytes
)

// command checks a request that goes to a conversation's stream, makes its one canonical form, and resolves the
// conversation. The request is changed in place: the conversation stands in Command.conversation_id alone.
func command(user im.UserID, f *imv1.ClientFrame) (*imv1.Command, error) {
	c := &imv1.Command{UserId: string(user), RequestId: f.GetId()}
	var conversation im.ConversationID
	var err error
	switch body := f.GetBody().(type) {
	case *imv1.ClientFrame_Send:
		conversation, err = checkSend(user, body.Send)
		c.Action = &imv1.Command_Send{Send: body.Send}
	case *imv1.ClientFrame_CreateGroup:
		conversation, err = checkCreateGroup(user, body.CreateGroup)
		c.Action = &imv1.Command_CreateGroup{CreateGroup: body.CreateGroup}
	case *imv1.ClientFrame_AddMembers:
		m := body.AddMembers
		m.UserIds = canonical(m.GetUserIds(), "")
		conversation, err = checkMembers("add_members", m.GetClientMessageId(), m.GetConversationId(), m.GetUserIds())
		c.Action = &imv1.Command_AddMembers{AddMembers: m}
	case *imv1.ClientFrame_RemoveMembers:
		m := body.RemoveMembers
		m.UserIds = canonical(m.GetUserIds(), "")
		conversation, err = checkMembers("remove_members", m.GetClientMessageId(), m.GetConversationId(), m.GetUserIds())
		c.Action = &imv1.Command_RemoveMembers{RemoveMembers: m}
	case *imv1.ClientFrame_LeaveGroup:
		conversation, err = checkGroupCommand("leave_group", body.LeaveGroup.GetClientMessageId(), body.LeaveGroup.GetConversationId())
		c.Action = &imv1.Command_LeaveGroup{LeaveGroup: body.LeaveGroup}
	}
	if err != nil {
		return nil, err
	}
	c.ConversationId = string(conversation)
	return c, nil
}

func checkSend(user im.UserID, m *imv1.Send) (im.ConversationID, error) {
	if err := im.ClientMessageID(m.GetClientMessageId()).Validate(); err != nil {
		return "", badID("send.client_message_id", err)
	}
	if m.GetAfter() != "" {
		if err := im.ClientMessageID(m.GetAfter()).Validate(); err != nil {
			return "", badID("send.after", err)
		}
		if m.GetAfter() == m.GetClientMessageId() {
			return "", badArgument("send.after names the message itself; name the one queued before it, or leave it empty")
		}
	}
	conversation, err := resolve(user, m)
	if err != nil {
		return "", err
	}
	if err := checkBody(m.GetType(), m.GetBody()); err != nil {
		return "", err
	}
	if m.Visibility, err = checkVisibility(user, m.GetVisibility()); err != nil {
		return "", err
	}
	m.ConversationId, m.ToUserId = "", ""
	return conversation, nil
}

// resolve finds the conversation of a Send.
func resolve(user im.UserID, m *imv1.Send) (im.ConversationID, error) {
	switch {
	case m.GetToUserId() != "" && m.GetConversationId() != "":
		return "", badArgument("send names both conversation_id and to_user_id; name one of them")
	case m.GetToUserId() != "":
		to := im.UserID(m.GetToUserId())
		if err := to.Validate(); err != nil {
			return "", badID("send.to_user_id", err)
		}
		return im.Single(user, to), nil
	case m.GetConversationId() == "":
		return "", badID("send", &im.IDError{Name: "conversation id", Why: "is empty; name conversation_id or to_user_id"})
	}
	id := im.ConversationID(m.GetConversationId())
	c, err := id.Parse()
	if err != nil {
		return "", badID("send.conversation_id", err)
	}
	if c.Kind == im.KindSingle && !c.Holds(user) {
		return "", refusal.New(imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER,
			"there is no such conversation for you; check the conversation id, or name the other user in to_user_id")
	}
	return id, nil
}

// checkVisibility returns the one form of a visibility: nil for everyone, the named users sorted, each once and
// without the sender, who may see the message anyway. One without a scope is refused, not taken for everyone: in JSON a
// scope that is misspelt, or newer than this server, reads as none.
func checkVisibility(user im.UserID, v *imv1.Visibility) (*imv1.Visibility, error) {
	if v == nil {
		return nil, nil
	}
	named := v.GetUserIds()
	switch v.GetScope() {
	case imv1.VisibilityScope_VISIBILITY_SCOPE_UNSPECIFIED:
		return nil, badArgument("send.visibility has no scope that this server knows; use EVERYONE, PART or SELF, or leave visibility out")
	case imv1.VisibilityScope_VISIBILITY_SCOPE_EVERYONE:
		if len(named) > 0 {
			return nil, badArgument("send.visibility names users; set its scope to VISIBILITY_SCOPE_PART, or name none")
		}
		return nil, nil
	case imv1.VisibilityScope_VISIBILITY_SCOPE_SELF:
		if len(named) > 0 {
			return nil, badArgument("send.visibility names users with VISIBILITY_SCOPE_SELF; name none")
		}
		return &imv1.Visibility{Scope: v.GetScope()}, nil
	case imv1.VisibilityScope_VISIBILITY_SCOPE_PART:
		if len(named) == 0 {
			return nil, badArgument("send.visibility names nobody; name 1 to %d users, or set VISIBILITY_SCOPE_SELF", maxVisible)
		}
		if err := checkUsers("send.visibility.user_ids", named); err != nil {
			return nil, err
		}
		if named = canonical(named, user); len(named) > maxVisible {
			return nil, badArgument("send.visibility names %d users; name at most %d", len(named), maxVisible)
		}
		if len(named) == 0 {
			return &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF}, nil
		}
		return &imv1.Visibility{Scope: v.GetScope(), UserIds: named}, nil
	}
	return nil, badArgument("send.visibility.scope is %d, which this server does not know; use EVERYONE, PART or SELF", v.GetScope())
}

func checkCreateGroup(user im.UserID, m *imv1.CreateGroup) (im.ConversationID, error) {
	id := im.ClientMessageID(m.GetClientMessageId())
	if err := id.Validate(); err != nil {
		return "", badID("create_group.client_message_id", err)
	}
	if n := len(m.GetTitle()); n < 1 || n > im.MaxTitle {
		return "", badArgument("create_group.title has %d bytes; give 1 to %d", n, im.MaxTitle)
	}
	if err := checkUsers("create_group.member_ids", m.GetMemberIds()); err != nil {
		return "", err
	}
	if m.MemberIds = canonical(m.GetMemberIds(), user); len(m.GetMemberIds()) > maxNamed {
		return "", badArgument("create_group names %d members; name at most %d besides yourself", len(m.GetMemberIds()), maxNamed)
	}
	return im.Group(user, id), nil
}

// checkMembers checks a command that names members of a group; users are canonical already.
func checkMembers(name, id, conversation string, users []string) (im.ConversationID, error) {
	c, err := checkGroupCommand(name, id, conversation)
	if err != nil {
		return "", err
	}
	if err := checkUsers(name+".user_ids", users); err != nil {
		return "", err
	}
	if n := len(users); n < 1 || n > maxNamed {
		return "", badArgument("%s names %d users; name 1 to %d", name, n, maxNamed)
	}
	return c, nil
}

func checkGroupCommand(name, id, conversation string) (im.ConversationID, error) {
	if err := im.ClientMessageID(id).Validate(); err != nil {
		return "", badID(name+".client_message_id", err)
	}
	c, err := im.ConversationID(conversation).Parse()
	if err != nil {
		return "", badID(name+".conversation_id", err)
	}
	if c.Kind != im.KindGroup {
		return "", badArgument("%s.conversation_id names a conversation of two; name a group", name)
	}
	return im.ConversationID(conversation), nil
}

// userCommand checks a request that goes to the user's own stream.
func userCommand(user im.UserID, f *imv1.ClientFrame) (*imv1.UserCommand, error) {
	m := f.GetMarkRead()
	if err := checkConversation("mark_read", user, m.GetConversationId()); err != nil {
		return nil, err
	}
	if m.GetReadIndex() == 0 {
		return nil, badRange("mark_read.read_index is 0 or missing; indexes start at 1")
	}
	return &imv1.UserCommand{UserId: string(user), RequestId: f.GetId(), Action: &imv1.UserCommand_MarkRead{MarkRead: m}}, nil
}

// checkConversation checks the conversation of a request that reads. Whether user is in a group others decide.
func checkConversation(name string, user im.UserID, id string) error {
	c, err := im.ConversationID(id).Parse()
	if err != nil {
		return badID(name+".conversation_id", err)
	}
	if c.Kind == im.KindSingle && !c.Holds(user) {
		return refusal.New(imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER, "there is no such conversation for you; check the conversation id")
	}
	return nil
}

func checkUsers(name string, ids []string) error {
	for _, id := range ids {
		if err := im.UserID(id).Validate(); err != nil {
			return badID(name, err)
		}
	}
	return nil
}

// canonical sorts ids, each once, without the one named. It changes ids.
func canonical(ids []string, without im.UserID) []string {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if without == "" {
		return ids
	}
	return slices.DeleteFunc(ids, func(id string) bool { return id == string(without) })
}

// weight is what a command counts in a batch: one, and one for each user it names.
func weight(c *imv1.Command) int {
	return 1 + len(c.GetSend().GetVisibility().GetUserIds()) + len(c.GetCreateGroup().GetMemberIds()) +
		len(c.GetAddMembers().GetUserIds()) + len(c.GetRemoveMembers().GetUserIds())
}

func badID(field string, err error) error {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ID, "%s: %v", field, err)
}

func badArgument(format string, args ...any) error {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, format, args...)
}

func badRange(format string, args ...any) error {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_RANGE, format, args...)
}
