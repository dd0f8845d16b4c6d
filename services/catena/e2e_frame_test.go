package main

import (
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Requests of the client protocol.

func say(to, id, text string) *imv1.ClientFrame {
	return sendFrame(&imv1.Send{ToUserId: to, ClientMessageId: id, Type: imv1.MessageType_MESSAGE_TYPE_TEXT, Body: textBody(text)})
}

// tell is say in a group, to those who are named (nobody: to everyone).
func tell(group, id, text string, seenBy ...string) *imv1.ClientFrame {
	m := &imv1.Send{ConversationId: group, ClientMessageId: id, Type: imv1.MessageType_MESSAGE_TYPE_TEXT, Body: textBody(text)}
	if len(seenBy) > 0 {
		m.Visibility = &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: seenBy}
	}
	return sendFrame(m)
}

func sendFrame(m *imv1.Send) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_Send{Send: m}}
}

func createGroup(id, title string, members ...string) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_CreateGroup{CreateGroup: &imv1.CreateGroup{ClientMessageId: id, Title: title, MemberIds: members}}}
}

func addMembers(group, id string, users ...string) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_AddMembers{AddMembers: &imv1.AddMembers{ClientMessageId: id, ConversationId: group, UserIds: users}}}
}

func removeMembers(group, id string, users ...string) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_RemoveMembers{RemoveMembers: &imv1.RemoveMembers{ClientMessageId: id, ConversationId: group, UserIds: users}}}
}

func leaveGroup(group, id string) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_LeaveGroup{LeaveGroup: &imv1.LeaveGroup{ClientMessageId: id, ConversationId: group}}}
}

func pullUser(from, to *uint64) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_PullUser{PullUser: &imv1.PullUser{FromIndex: from, ToIndex: to}}}
}

func pullConversation(id string, from, to *uint64) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_PullConversation{PullConversation: &imv1.PullConversation{ConversationId: id, FromIndex: from, ToIndex: to}}}
}

func getConversation(id string) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_GetConversation{GetConversation: &imv1.GetConversation{ConversationId: id}}}
}

func markRead(id string, index uint64) *imv1.ClientFrame {
	return &imv1.ClientFrame{Body: &imv1.ClientFrame_MarkRead{MarkRead: &imv1.MarkRead{ConversationId: id, ReadIndex: index}}}
}
