package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"google.golang.org/protobuf/proto"
)

func TestGroupCommandsKeepTheirIDOverConnections(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		done := make(chan error, 1)
		go func() {
			sent, err := c.CreateGroup(context.Background(), "tea", []string{"bob", "carol"})
			if err == nil && sent.GetConversationId() != "g:new" {
				err = fmt.Errorf("got %v", sent)
			}
			done <- err
		}()
		p := f.login(0)
		first := p.next().GetCreateGroup()
		if first.GetClientMessageId() == "" || first.GetTitle() != "tea" || !slices.Equal(first.GetMemberIds(), []string{"bob", "carol"}) {
			t.Errorf("got %v", first)
		}
		p.conn.CloseNow()
		p = f.login(0)
		p.fail(p.next(), &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, Retryable: true, RetryAfterMs: 1000})
		p.next() // and no answer
		frame := p.next()
		if got := frame.GetCreateGroup().GetClientMessageId(); got != first.GetClientMessageId() {
			t.Errorf("the id is %s, was %s", got, first.GetClientMessageId())
		}
		p.answer(frame, &imv1.ServerFrame{Body: &imv1.ServerFrame_Sent{Sent: &imv1.Sent{ConversationId: "g:new"}}})
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestEachRequestGetsItsAnswer(t *testing.T) {
	sent := &imv1.ServerFrame{Body: &imv1.ServerFrame_Sent{Sent: &imv1.Sent{}}}
	for _, tc := range []struct {
		name   string
		ask    func(*Client) (any, error)
		want   func(*imv1.ClientFrame) bool
		answer *imv1.ServerFrame
	}{
		{"add members", func(c *Client) (any, error) { return c.AddMembers(context.Background(), "g:x", []string{"bob"}) },
			func(f *imv1.ClientFrame) bool { return f.GetAddMembers().GetUserIds()[0] == "bob" }, sent},
		{"remove members", func(c *Client) (any, error) { return c.RemoveMembers(context.Background(), "g:x", []string{"bob"}) },
			func(f *imv1.ClientFrame) bool { return f.GetRemoveMembers().GetUserIds()[0] == "bob" }, sent},
		{"leave group", func(c *Client) (any, error) { return c.LeaveGroup(context.Background(), "g:x") },
			func(f *imv1.ClientFrame) bool { return f.GetLeaveGroup().GetConversationId() == "g:x" }, sent},
		{"pull conversation",
			func(c *Client) (any, error) {
				return c.PullConversation(context.Background(), &imv1.PullConversation{ConversationId: "g:x"})
			},
			func(f *imv1.ClientFrame) bool { return f.GetPullConversation().GetConversationId() == "g:x" },
			&imv1.ServerFrame{Body: &imv1.ServerFrame_ConversationPage{ConversationPage: &imv1.ConversationPage{}}}},
		{"pull user",
			func(c *Client) (any, error) { return c.PullUser(context.Background(), &imv1.PullUser{Limit: 3}) },
			func(f *imv1.ClientFrame) bool { return f.GetPullUser().GetLimit() == 3 },
			&imv1.ServerFrame{Body: &imv1.ServerFrame_UserPage{UserPage: &imv1.UserPage{Entries: []*imv1.UserEntry{entry(1)}}}}},
		{"conversation",
			func(c *Client) (any, error) { return c.Conversation(context.Background(), "g:x") },
			func(f *imv1.ClientFrame) bool { return f.GetGetConversation().GetConversationId() == "g:x" },
			&imv1.ServerFrame{Body: &imv1.ServerFrame_Conversation{Conversation: &imv1.Conversation{}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				c, _ := f.start(f.config())
				p := f.login(0)
				for _, refused := range []bool{false, true} {
					done := make(chan error, 1)
					go func() {
						_, err := tc.ask(c)
						done <- err
					}()
					frame := p.next()
					if !tc.want(frame) {
						t.Errorf("got %v", frame)
					}
					if refused {
						p.fail(frame, &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER})
					} else {
						p.answer(frame, tc.answer)
					}
					if err := <-done; (code(err) == imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER) != refused || !refused && err != nil {
						t.Errorf("refused %v: got %v", refused, err)
					}
				}
				if c.Position() != 0 {
					t.Errorf("the position moved to %d", c.Position())
				}
			})
		})
	}
}

// Pages that are empty because of what is hidden are passed over.
func TestPullConversationGoesOnBehindEmptyPages(t *testing.T) {
	for _, newest := range []bool{false, true} {
		bubble(t, func(t *testing.T, f *fake) {
			c, _ := f.start(f.config())
			p := f.login(0)
			given := &imv1.PullConversation{ConversationId: "g:x", FromIndex: proto.Uint64(1), ToIndex: proto.Uint64(99), NewestFirst: newest}
			go func() {
				from, to := uint64(1), uint64(99)
				for next := range uint64(3) {
					frame := p.next()
					if pull := frame.GetPullConversation(); pull.GetFromIndex() != from || pull.GetToIndex() != to {
						t.Errorf("newest %v: asked for %v, want %d to %d", newest, pull, from, to)
					}
					page := &imv1.ConversationPage{HasMore: true, NextIndex: 50 + next}
					if next == 2 {
						page.Messages = []*imv1.Message{{ConversationIndex: 52}}
					}
					if newest {
						to = 50 + next
					} else {
						from = 50 + next
					}
					p.answer(frame, &imv1.ServerFrame{Body: &imv1.ServerFrame_ConversationPage{ConversationPage: page}})
				}
			}()
			page, err := c.PullConversation(t.Context(), given)
			if err != nil || len(page.GetMessages()) != 1 || page.GetNextIndex() != 52 || given.GetFromIndex() != 1 || given.GetToIndex() != 99 {
				t.Errorf("newest %v: got %v, %v; the request is %v", newest, page, err, given)
			}
		})
	}
}

func TestConversationsReadsAllPages(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		p := f.login(0)
		go func() {
			for i, token := range []string{"", "1", "2"} {
				frame := p.next()
				if got := frame.GetListConversations().GetPageToken(); got != token {
					t.Errorf("asked for page %q, want %q", got, token)
				}
				list := &imv1.ConversationList{
					Conversations: []*imv1.ConversationSummary{{ConversationId: fmt.Sprint("g:", i)}},
					Head:          &imv1.Head{UserIndex: uint64(i)},
				}
				if i < 2 {
					list.NextPageToken = fmt.Sprint(i + 1)
				}
				p.answer(frame, &imv1.ServerFrame{Body: &imv1.ServerFrame_ConversationList{ConversationList: list}})
			}
		}()
		all, head, err := c.Conversations(t.Context())
		if err != nil || len(all) != 3 || all[2].GetConversationId() != "g:2" || head.GetUserIndex() != 0 {
			t.Errorf("got %v, %v, %v", all, head, err)
		}
	})
}

func TestAnsweredWithSomethingElse(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		p := f.login(0)
		go func() { p.answer(p.next(), &imv1.ServerFrame{Body: &imv1.ServerFrame_Pong{Pong: &imv1.Pong{}}}) }()
		if _, err := c.Conversation(t.Context(), "g:x"); err == nil {
			t.Error("no error")
		}
	})
}

func TestEndedContextNamesTheLastRefusal(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		p := f.login(0)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			p.fail(p.next(), &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_OVERLOADED, Retryable: true, RetryAfterMs: 60_000})
			synctest.Wait()
			cancel()
		}()
		_, err := c.MarkRead(ctx, "g:x", 1)
		if !errors.Is(err, context.Canceled) || code(err) != imv1.ErrorCode_ERROR_CODE_OVERLOADED {
			t.Errorf("got %v", err)
		}
	})
}
