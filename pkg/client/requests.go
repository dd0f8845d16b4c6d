package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"google.golang.org/protobuf/proto"
)

// sendResult is what becomes of a queued message.
type sendResult struct {
	sent *imv1.Sent
	err  error
}

// Enqueue puts a message into the outbox and returns its client message id. When it returns, the Store has the message;
// what becomes of it comes as SendDone or SendFailed. After an error of the Store it is unknown whether the message is
// kept; it is not sent before the next start. A message with the ids of one that is still in the outbox is that one.
func (c *Client) Enqueue(ctx context.Context, m Outgoing) (string, error) {
	q, err := c.enqueue(ctx, m, nil)
	return q.Send.GetClientMessageId(), err
}

// Send is Enqueue, and waits until the message is in its conversation chain. A refusal is an *Error. The end of ctx
// ends the waiting only: the message stays in the outbox and is sent all the same.
func (c *Client) Send(ctx context.Context, m Outgoing) (*imv1.Sent, error) {
	result := make(chan sendResult, 1)
	q, err := c.enqueue(ctx, m, result)
	if err != nil {
		return nil, err
	}
	select {
	case r := <-result:
		return r.sent, r.err
	case <-c.stopped:
		return nil, c.stopError()
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		if rest := slices.DeleteFunc(c.waiters[q.Seq], func(w chan<- sendResult) bool { return w == result }); len(rest) > 0 {
			c.waiters[q.Seq] = rest
		} else {
			delete(c.waiters, q.Seq)
		}
		return nil, ctx.Err()
	}
}

func (c *Client) enqueue(ctx context.Context, m Outgoing, result chan<- sendResult) (Queued, error) {
	send, err := m.wire()
	if err != nil {
		return Queued{}, err
	}
	if err := c.acquire(ctx); err != nil {
		return Queued{}, err
	}
	defer func() { <-c.storing }()
	if q, err := c.queued(send, result); q.Seq != 0 || err != nil {
		return q, err
	}
	q := Queued{Seq: c.nextSeq, Send: send}
	c.nextSeq++
	if err := c.cfg.Store.Apply(ctx, Change{Enqueued: []Queued{q}}); err != nil {
		return Queued{}, fmt.Errorf("store the message: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outbox.add(q)
	c.await(q.Seq, result)
	signal(c.wake)
	return q, nil
}

// queued returns the message with the ids of send that is in the outbox already, or why there must be no more.
func (c *Client) queued(send *imv1.Send, result chan<- sendResult) (Queued, error) {
	select {
	case <-c.stopped:
		return Queued{}, c.stopError()
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if it := c.outbox.byID[keyOf(send)]; it != nil {
		c.await(it.Seq, result)
		return it.Queued, nil
	}
	if len(c.outbox.items) >= c.cfg.MaxQueued {
		return Queued{}, ErrOutboxFull
	}
	return Queued{}, nil
}

// Withdraw takes a message out of the outbox, such as one that is refused again and again, and those queued behind it go
// on. Of m count the ids: ConversationID or To as it was queued, and ClientMessageID. Whoever waits for it in Send gets
// ErrWithdrawn; no event tells of it. ErrNotQueued: it is not in the outbox (any more), so SendDone or SendFailed tells
// what became of it. After an error of the Store it is unknown whether the message will be sent by the next start.
//
// What was sent cannot be called back. doubt tells that the server may have the message, or may still get it: it was sent
// and not answered, an answer left it open, or an earlier process had queued it and may have sent it. Then it may turn up
// in its conversation. Without doubt it never will.
func (c *Client) Withdraw(ctx context.Context, m Outgoing) (doubt bool, err error) {
	if err := c.acquire(ctx); err != nil {
		return false, err
	}
	defer func() { <-c.storing }()
	c.mu.Lock()
	it := c.outbox.withdraw(messageKey{m.ConversationID, m.To, m.ClientMessageID})
	if it == nil {
		c.mu.Unlock()
		return false, ErrNotQueued
	}
	for _, w := range c.waiters[it.Seq] {
		w <- sendResult{err: ErrWithdrawn}
	}
	delete(c.waiters, it.Seq)
	doubt = it.open > 0
	c.mu.Unlock()
	signal(c.wake)
	if err := c.cfg.Store.Apply(ctx, Change{Removed: []uint64{it.Seq}}); err != nil {
		return doubt, fmt.Errorf("store that the message was withdrawn: %w", err)
	}
	return doubt, nil
}

func (c *Client) await(seq uint64, result chan<- sendResult) {
	if result != nil {
		c.waiters[seq] = append(c.waiters[seq], result)
	}
}

// CreateGroup makes a group of this user and members; Sent names it. Like the other requests below it is repeated over
// lost connections and refusals that allow it, as long as ctx lasts; a refusal for good is an *Error.
func (c *Client) CreateGroup(ctx context.Context, title string, members []string) (*imv1.Sent, error) {
	return ask(ctx, c, (*imv1.ServerFrame).GetSent, &imv1.ClientFrame{Body: &imv1.ClientFrame_CreateGroup{
		CreateGroup: &imv1.CreateGroup{ClientMessageId: newID(), Title: title, MemberIds: slices.Clone(members)},
	}})
}

// AddMembers adds users to a group that this user owns.
func (c *Client) AddMembers(ctx context.Context, conversation string, users []string) (*imv1.Sent, error) {
	return ask(ctx, c, (*imv1.ServerFrame).GetSent, &imv1.ClientFrame{Body: &imv1.ClientFrame_AddMembers{
		AddMembers: &imv1.AddMembers{ClientMessageId: newID(), ConversationId: conversation, UserIds: slices.Clone(users)},
	}})
}

// RemoveMembers removes users from a group that this user owns.
func (c *Client) RemoveMembers(ctx context.Context, conversation string, users []string) (*imv1.Sent, error) {
	return ask(ctx, c, (*imv1.ServerFrame).GetSent, &imv1.ClientFrame{Body: &imv1.ClientFrame_RemoveMembers{
		RemoveMembers: &imv1.RemoveMembers{ClientMessageId: newID(), ConversationId: conversation, UserIds: slices.Clone(users)},
	}})
}

// LeaveGroup takes this user out of a group.
func (c *Client) LeaveGroup(ctx context.Context, conversation string) (*imv1.Sent, error) {
	return ask(ctx, c, (*imv1.ServerFrame).GetSent, &imv1.ClientFrame{Body: &imv1.ClientFrame_LeaveGroup{
		LeaveGroup: &imv1.LeaveGroup{ClientMessageId: newID(), ConversationId: conversation},
	}})
}

// PullConversation reads one page of a conversation chain. Pages that are empty because what they cover is hidden from
// the user are passed over, so a page that has more holds messages, and the next one begins at its NextIndex.
func (c *Client) PullConversation(ctx context.Context, pull *imv1.PullConversation) (*imv1.ConversationPage, error) {
	for {
		pull = proto.CloneOf(pull)
		page, err := ask(ctx, c, (*imv1.ServerFrame).GetConversationPage, &imv1.ClientFrame{
			Body: &imv1.ClientFrame_PullConversation{PullConversation: pull},
		})
		if err != nil || !page.GetHasMore() || len(page.GetMessages()) > 0 || page.GetNextIndex() == 0 {
			return page, err
		}
		from := &pull.FromIndex
		if pull.GetNewestFirst() {
			from = &pull.ToIndex
		}
		*from = proto.Uint64(page.GetNextIndex())
	}
}

// PullUser reads one page of the user chain. It does not move Position and brings no events.
func (c *Client) PullUser(ctx context.Context, pull *imv1.PullUser) (*imv1.UserPage, error) {
	return ask(ctx, c, (*imv1.ServerFrame).GetUserPage, &imv1.ClientFrame{
		Body: &imv1.ClientFrame_PullUser{PullUser: proto.CloneOf(pull)},
	})
}

// Conversations reads the whole conversation list, page by page, ordered by conversation id. The head is that of the
// first page: whatever changed while the others were read comes as an event of its own.
func (c *Client) Conversations(ctx context.Context) ([]*imv1.ConversationSummary, *imv1.Head, error) {
	var all []*imv1.ConversationSummary
	var head *imv1.Head
	var token string
	for {
		page, err := ask(ctx, c, (*imv1.ServerFrame).GetConversationList, &imv1.ClientFrame{
			Body: &imv1.ClientFrame_ListConversations{ListConversations: &imv1.ListConversations{PageToken: token}},
		})
		if err != nil {
			return nil, nil, err
		}
		all = append(all, page.GetConversations()...)
		if head == nil {
			head = page.GetHead()
		}
		if token = page.GetNextPageToken(); token == "" {
			return all, head, nil
		}
	}
}

// Conversation describes one conversation: title and members.
func (c *Client) Conversation(ctx context.Context, id string) (*imv1.Conversation, error) {
	return ask(ctx, c, (*imv1.ServerFrame).GetConversation, &imv1.ClientFrame{
		Body: &imv1.ClientFrame_GetConversation{GetConversation: &imv1.GetConversation{ConversationId: id}},
	})
}

// MarkRead moves the user's read position forward: everything up to index is read.
func (c *Client) MarkRead(ctx context.Context, conversation string, index uint64) (*imv1.ReadMarked, error) {
	return ask(ctx, c, (*imv1.ServerFrame).GetReadMarked, &imv1.ClientFrame{
		Body: &imv1.ClientFrame_MarkRead{MarkRead: &imv1.MarkRead{ConversationId: conversation, ReadIndex: index}},
	})
}

// ask asks and takes the kind of answer that the request calls for.
func ask[T any](ctx context.Context, c *Client, get func(*imv1.ServerFrame) *T, frame *imv1.ClientFrame) (*T, error) {
	answer, err := c.ask(ctx, frame)
	if err != nil {
		return nil, err
	}
	if t := get(answer); t != nil {
		return t, nil
	}
	return nil, errors.New("the server answered with something else than was asked for")
}
