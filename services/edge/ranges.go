package edge

import (
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// historyRequest checks a pull and makes the request to the history service. What depends on the head is checked there.
func historyRequest(user im.UserID, f *imv1.ClientFrame) (*imv1.HistoryRequest, error) {
	r := &imv1.HistoryRequest{UserId: string(user)}
	switch body := f.GetBody().(type) {
	case *imv1.ClientFrame_PullConversation:
		p := body.PullConversation
		r.Body = &imv1.HistoryRequest_PullConversation{PullConversation: p}
		if err := checkConversation("pull_conversation", user, p.GetConversationId()); err != nil {
			return nil, err
		}
		return r, checkPage("pull_conversation", p.FromIndex, p.ToIndex, p.GetLimit())
	case *imv1.ClientFrame_PullUser:
		p := body.PullUser
		r.Body = &imv1.HistoryRequest_PullUser{PullUser: p}
		return r, checkPage("pull_user", p.FromIndex, p.ToIndex, p.GetLimit())
	case *imv1.ClientFrame_ListConversations:
		p := body.ListConversations
		r.Body = &imv1.HistoryRequest_ListConversations{ListConversations: p}
		if n := len(p.GetPageToken()); n > maxPageToken {
			return nil, badArgument("list_conversations.page_token has %d bytes; give the one that the page before came with", n)
		}
		return r, checkPage("list_conversations", nil, nil, p.GetLimit())
	case *imv1.ClientFrame_GetConversation:
		p := body.GetConversation
		r.Body = &imv1.HistoryRequest_GetConversation{GetConversation: p}
		return r, checkConversation("get_conversation", user, p.GetConversationId())
	}
	return nil, badArgument("the frame is no pull")
}

// checkPage checks a range of indexes, either end of which may be left open, and a page limit.
func checkPage(name string, from, to *uint64, limit uint32) error {
	switch {
	case from != nil && *from == 0:
		return badRange("%s.from_index is 0; indexes start at 1, leave it out to start at the first", name)
	case to != nil && *to == 0:
		return badRange("%s.to_index is 0; indexes start at 1, leave it out to end at the head", name)
	case from != nil && to != nil && *to < *from:
		return badRange("%s asks for %d to %d; put the smaller first, and set newest_first for the other order", name, *from, *to)
	case limit > im.MaxPage:
		return badArgument("%s.limit is %d; give at most %d and pull again from where the page ends", name, limit, im.MaxPage)
	}
	return nil
}
