package history

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

var pageToken = base64.RawURLEncoding

func (v *view) list(ctx context.Context, q *imv1.ListConversations) (*imv1.ConversationList, error) {
	limit := int(q.GetLimit())
	switch {
	case limit > im.MaxPage:
		return nil, refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, "a page of %d conversations is too large; ask for %d at most", limit, im.MaxPage)
	case limit == 0:
		limit = im.DefaultPage
	}
	after, err := pageToken.DecodeString(q.GetPageToken())
	if _, bad := im.ConversationID(after).Parse(); err != nil || len(after) > 0 && bad != nil {
		return nil, refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, "the page token is not one of this server's; begin without one")
	}
	h, err := v.r.UserHead(ctx, v.user)
	if err != nil {
		return nil, err
	}
	out := &imv1.ConversationList{Head: chain.HeadOf(h)}
	fill := filler{limit: limit}
	err = v.r.ScanList(ctx, v.user, im.ConversationID(after), func(c im.ConversationID, rec *imv1.ListRecord) error {
		sum, err := v.summary(ctx, c, rec)
		if err != nil {
			return fmt.Errorf("summary of %s: %w", c, err)
		}
		if !fill.take(sum) {
			last := out.GetConversations()[len(out.GetConversations())-1].GetConversationId()
			out.NextPageToken = pageToken.EncodeToString([]byte(last))
			return kv.Stop
		}
		out.Conversations = append(out.Conversations, sum)
		return nil
	})
	return out, err
}

// summary joins what the conversation partition knows to the user's list record.
func (v *view) summary(ctx context.Context, c im.ConversationID, rec *imv1.ListRecord) (*imv1.ConversationSummary, error) {
	m, parsed, err := v.lookUp(ctx, c)
	if err == nil && m.None() {
		err = errors.New("the list names it, and its own records do not know the user")
	}
	if err != nil {
		return nil, err
	}
	h, err := v.r.ConversationHead(ctx, c)
	if err != nil {
		return nil, err
	}
	entries, err := v.r.Entries(ctx, []chain.Ref{{Conversation: c, Index: im.ConversationIndex(rec.GetSeenIndex())}})
	if err != nil {
		return nil, err
	}
	unread, capped, err := v.unread(ctx, c, m, rec)
	if err != nil {
		return nil, err
	}
	return &imv1.ConversationSummary{
		ConversationId: string(c), Kind: kindOf(parsed), Title: h.GetTitle(), LastMessage: entries[0].GetMessage(),
		ReadIndex: rec.GetReadIndex(), Unread: unread, UnreadCapped: capped, Member: m.Now(),
	}, nil
}

// unread counts what lies between the read position and the last entry of the user's chain. Nothing keeps a counter,
// so nothing can drift. With more than maxScan to look at, nearly all of them the user's own, it says that there are more.
func (v *view) unread(ctx context.Context, c im.ConversationID, m chain.Membership, rec *imv1.ListRecord) (n uint32, capped bool, err error) {
	if rec.GetReadIndex() >= rec.GetSeenIndex() {
		return 0, false, nil
	}
	s := span{from: rec.GetReadIndex() + 1, to: rec.GetSeenIndex()}
	scanned := 0
	err = v.scan(ctx, c, m, s, func(msg *imv1.Message, visible bool) bool {
		if !visible { // and must not be told from one that is not there
			return true
		}
		if chain.Counts(v.user, msg) {
			n++
		}
		scanned++
		capped = n > im.UnreadCap || scanned > maxScan
		return !capped
	})
	n = min(n, im.UnreadCap)
	return n, capped, err
}

func (v *view) conversation(ctx context.Context, q *imv1.GetConversation) (*imv1.Conversation, error) {
	c := im.ConversationID(q.GetConversationId())
	m, parsed, err := v.membership(ctx, c)
	if err != nil {
		return nil, err
	}
	if !m.Now() { // who is in now is nothing for those who have left
		return nil, notAMember(c)
	}
	h, err := v.r.ConversationHead(ctx, c)
	if err != nil {
		return nil, err
	}
	out := &imv1.Conversation{ConversationId: string(c), Kind: kindOf(parsed), Title: h.GetTitle()}
	if out.HeadIndex, err = v.visibleHead(ctx, c, m); err != nil {
		return nil, err
	}
	out.Members, err = v.members(ctx, c, parsed)
	return out, err
}

func (v *view) members(ctx context.Context, c im.ConversationID, parsed im.Conversation) ([]*imv1.Member, error) {
	if parsed.Kind == im.KindSingle {
		members := []*imv1.Member{{UserId: string(parsed.Users[0]), Role: imv1.MemberRole_MEMBER_ROLE_MEMBER}}
		if parsed.Users[0] != parsed.Users[1] {
			members = append(members, &imv1.Member{UserId: string(parsed.Users[1]), Role: imv1.MemberRole_MEMBER_ROLE_MEMBER})
		}
		return members, nil
	}
	records, err := v.r.Participants(ctx, c)
	if err != nil {
		return nil, err
	}
	var members []*imv1.Member
	for u, p := range records {
		if chain.MembershipOf(parsed, u, p).Now() {
			joined := p.GetIntervals()[len(p.GetIntervals())-1].GetJoinedIndex()
			members = append(members, &imv1.Member{UserId: string(u), Role: p.GetRole(), JoinedIndex: joined})
		}
	}
	slices.SortFunc(members, func(a, b *imv1.Member) int { return strings.Compare(a.GetUserId(), b.GetUserId()) })
	return members, nil
}

func kindOf(c im.Conversation) imv1.ConversationKind {
	if c.Kind == im.KindGroup {
		return imv1.ConversationKind_CONVERSATION_KIND_GROUP
	}
	return imv1.ConversationKind_CONVERSATION_KIND_SINGLE
}
