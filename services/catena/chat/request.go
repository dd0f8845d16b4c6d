package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/catena-im/catena/pkg/client"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Server is the part of *client.Client that a chat asks.
type Server interface {
	Enqueue(ctx context.Context, m client.Outgoing) (clientMessageID string, err error)
	Conversations(ctx context.Context) ([]*imv1.ConversationSummary, *imv1.Head, error)
	Conversation(ctx context.Context, id string) (*imv1.Conversation, error)
	PullConversation(ctx context.Context, pull *imv1.PullConversation) (*imv1.ConversationPage, error)
	MarkRead(ctx context.Context, conversation string, index uint64) (*imv1.ReadMarked, error)
	CreateGroup(ctx context.Context, title string, members []string) (*imv1.Sent, error)
	AddMembers(ctx context.Context, conversation string, users []string) (*imv1.Sent, error)
	RemoveMembers(ctx context.Context, conversation string, users []string) (*imv1.Sent, error)
	LeaveGroup(ctx context.Context, conversation string) (*imv1.Sent, error)
}

// A request is something the server is asked. Its answer changes the state, back in the loop that owns it.
type request interface {
	do(ctx context.Context, server Server) answer
}

// background reports whether r only keeps the state up to date, so that the user need not wait for it.
func background(r request) bool {
	if list, ok := r.(listRequest); ok {
		return list.quiet
	}
	_, read := r.(readRequest)
	return read
}

// answer takes what came of a request into the state and returns the lines to print.
type answer func(*state) []string

func failed(what string, err error) answer {
	return func(*state) []string { return []string{fmt.Sprintf("! %s: %v", what, err)} }
}

// refused reports whether the server refused with code.
func refused(err error, code imv1.ErrorCode) bool {
	refusal, ok := errors.AsType[*client.Error](err)
	return ok && refusal.Code == code
}

func silent(*state) []string { return nil }

// listRequest reads the conversation list; quiet updates what is known without printing it.
type listRequest struct{ quiet bool }

func (r listRequest) do(ctx context.Context, server Server) answer {
	list, _, err := server.Conversations(ctx)
	if err != nil {
		return func(s *state) []string {
			lines := []string{fmt.Sprintf("! the conversations cannot be listed: %v", err)}
			return append(lines, s.listedAll(nil, true)...)
		}
	}
	return func(s *state) []string { return s.listedAll(list, r.quiet) }
}

func (s *state) listedAll(list []*imv1.ConversationSummary, quiet bool) []string {
	for _, summary := range list {
		known := s.room(summary.GetConversationId())
		if known.summary.GetLastMessage().GetConversationIndex() > summary.GetLastMessage().GetConversationIndex() {
			continue // the list is older than what the chain has told
		}
		known.summary = summary
		if summary.GetConversationId() == s.open {
			known.summary.Unread, known.summary.UnreadCapped = 0, false // it is on the screen
		}
	}
	s.listed = true
	var lines []string
	if !quiet {
		lines = s.list()
	}
	if with := s.with; with != "" {
		s.with = ""
		lines = append(lines, s.openNamed(with)...)
	}
	return lines
}

// historyRequest reads a page of a conversation, up to the index before another; opening also marks it read.
type historyRequest struct {
	conversation string
	before       uint64 // 0: from the end
	opening      bool
}

func (r historyRequest) do(ctx context.Context, server Server) answer {
	pull := &imv1.PullConversation{ConversationId: r.conversation, Limit: pageSize, NewestFirst: true}
	if r.before > 1 {
		to := r.before - 1
		pull.ToIndex = &to
	}
	page, err := server.PullConversation(ctx, pull)
	if err != nil {
		return func(s *state) []string { return s.noHistory(r, err) }
	}
	slices.Reverse(page.Messages)
	return func(s *state) []string { return s.history(r, page) }
}

// noHistory tells a conversation that does not exist yet, which a message makes, from an error.
func (s *state) noHistory(r historyRequest, err error) []string {
	if refused(err, imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER) && strings.HasPrefix(r.conversation, "s:") {
		return []string{"* nothing was written here yet"}
	}
	if s.open == r.conversation && r.opening {
		s.open = ""
		delete(s.rooms, r.conversation)
	}
	return []string{fmt.Sprintf("! the conversation cannot be read: %v", err)}
}

func (s *state) history(r historyRequest, page *imv1.ConversationPage) []string {
	if r.conversation != s.open {
		return nil // another one was opened meanwhile
	}
	room := s.room(r.conversation)
	var lines []string
	if page.GetHasMore() {
		lines = append(lines, "* /more shows older messages")
	} else if r.before > 0 && len(page.GetMessages()) == 0 {
		lines = append(lines, "* there is nothing older")
	}
	for _, m := range page.GetMessages() {
		if mark := room.summary.GetReadIndex(); r.opening && mark > 0 && mark < m.GetConversationIndex() && m.GetSenderId() != s.view.Me {
			lines = append(lines, "* --- not read yet ---")
			room.summary.ReadIndex = 0
		}
		lines = append(lines, s.view.Message(m))
	}
	if n := len(page.GetMessages()); n > 0 {
		room.oldest = page.GetMessages()[0].GetConversationIndex()
		if last := page.GetMessages()[n-1]; r.opening {
			if room.summary.GetLastMessage().GetConversationIndex() < last.GetConversationIndex() {
				room.summary.LastMessage = last
			}
			room.summary.Unread, room.summary.UnreadCapped = 0, false
			s.ask(readRequest{r.conversation, last.GetConversationIndex()})
		}
	} else if r.opening {
		lines = append(lines, "* nothing was written here yet")
	}
	return lines
}

// readRequest moves the read position.
type readRequest struct {
	conversation string
	index        uint64
}

func (r readRequest) do(ctx context.Context, server Server) answer {
	marked, err := server.MarkRead(ctx, r.conversation, r.index)
	if err != nil {
		return silent // the next message marks it, too
	}
	return func(s *state) []string {
		s.room(r.conversation).summary.ReadIndex = marked.GetReadIndex()
		return nil
	}
}

// groupRequest makes a group and opens it.
type groupRequest struct {
	title   string
	members []string
}

func (r groupRequest) do(ctx context.Context, server Server) answer {
	sent, err := server.CreateGroup(ctx, r.title, r.members)
	if err != nil {
		return failed("the group was not made", err)
	}
	return func(s *state) []string {
		s.room(sent.GetConversationId()).summary.Title = r.title
		return append(s.openNamed(sent.GetConversationId()), "* its id is "+sent.GetConversationId())
	}
}

// memberRequest changes who is in a group.
type memberRequest struct {
	change, conversation string
	users                []string
}

func (r memberRequest) do(ctx context.Context, server Server) answer {
	var err error
	switch r.change {
	case "add":
		_, err = server.AddMembers(ctx, r.conversation, r.users)
	case "remove":
		_, err = server.RemoveMembers(ctx, r.conversation, r.users)
	case "leave":
		_, err = server.LeaveGroup(ctx, r.conversation)
	}
	if err != nil {
		return failed("the group was not changed", err)
	}
	return silent // the chain tells of it
}

// whoRequest shows who is in a conversation.
type whoRequest struct{ conversation string }

func (r whoRequest) do(ctx context.Context, server Server) answer {
	c, err := server.Conversation(ctx, r.conversation)
	if err != nil {
		return failed("the members cannot be read", err)
	}
	return func(s *state) []string { return s.view.Conversation(c) }
}
