package history

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

var pageToken = base64.RawURLEncoding

func (v *view) list(ctx context.Context, q *imv1.ListConversations) ([]byte, error) {
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
	rows, err := v.rows(ctx, im.ConversationID(after), limit+1)
	if err != nil {
		return nil, err
	}
	p, rest := v.newPage(limit), &imv1.ConversationList{Head: chain.HeadOf(h)}
	if err := v.summarize(ctx, p, rows); err != nil {
		return nil, err
	}
	if p.taken < len(rows) {
		rest.NextPageToken = pageToken.EncodeToString([]byte(rows[p.taken-1].id))
	}
	return p.reply(replyConversationList, rest)
}

// row is a conversation of the user's list, and what its summary is made of.
type row struct {
	id     im.ConversationID
	rec    *imv1.ListRecord
	parsed im.Conversation
	member chain.Membership
	title  string
	last   chain.Stored
}

// rows are the first conversations behind after in the user's list, most of them at most.
func (v *view) rows(ctx context.Context, after im.ConversationID, most int) (rows []row, err error) {
	err = v.r.ScanList(ctx, v.user, after, func(c im.ConversationID, rec *imv1.ListRecord) error {
		parsed, err := c.Parse()
		if err != nil {
			return err
		}
		rows = append(rows, row{id: c, rec: rec, parsed: parsed})
		if len(rows) == most {
			return kv.Stop
		}
		return nil
	})
	return rows, err
}

// summarize puts the summaries of rows into p, as far as they fit and the budget lasts for counting what is unread.
func (v *view) summarize(ctx context.Context, p *page, rows []row) error {
	left := v.budget()
	for part := range slices.Chunk(rows[:min(p.limit, len(rows))], joinStep) {
		if err := v.join(ctx, part); err != nil {
			return err
		}
		for i := range part {
			n, capped, used, err := v.unread(ctx, &part[i], &left)
			if err != nil {
				return fmt.Errorf("unread of %s: %w", part[i].id, err)
			}
			if used && p.taken > 0 { // it is the first of the next page
				return nil
			}
			head, err := proto.Marshal(part[i].summary(n, capped))
			if err != nil || !p.addWrapped(listConversations, head, summaryMessage, part[i].last.Message) {
				return err
			}
		}
	}
	return nil
}

// join reads what the conversation partitions know: the last messages, and of groups the memberships and titles.
func (v *view) join(ctx context.Context, rows []row) error {
	var last []chain.Ref
	var groups []im.ConversationID
	for _, r := range rows {
		last = append(last, chain.Ref{Conversation: r.id, Index: im.ConversationIndex(r.rec.GetSeenIndex())})
		if r.parsed.Kind == im.KindGroup {
			groups = append(groups, r.id)
		}
	}
	entries, err := v.r.StoredEntries(ctx, last)
	if err != nil {
		return err
	}
	in, err := v.r.Memberships(ctx, groups, v.user)
	if err != nil {
		return err
	}
	heads, err := v.r.ConversationHeads(ctx, groups)
	if err != nil {
		return err
	}
	for i := range rows {
		r := &rows[i]
		r.last, r.member = entries[i], chain.MembershipOf(r.parsed, v.user, nil)
		if r.parsed.Kind == im.KindGroup {
			r.member, r.title = chain.MembershipOf(r.parsed, v.user, in[0]), heads[0].GetTitle()
			in, heads = in[1:], heads[1:]
		}
		if r.member.None() || r.last.Message == nil {
			return fmt.Errorf("the list of %s names %s, and its own records do not know the user or the message %d",
				v.user, r.id, r.rec.GetSeenIndex())
		}
	}
	return nil
}

// summary is all of a row's summary but the last message.
func (r *row) summary(unread uint32, capped bool) *imv1.ConversationSummary {
	return &imv1.ConversationSummary{
		ConversationId: string(r.id), Kind: kindOf(r.parsed), Title: r.title,
		ReadIndex: r.rec.GetReadIndex(), Unread: unread, UnreadCapped: capped, Member: r.member.Now(),
	}
}

// unread counts what lies between the read position and the last entry of the user's chain. Nothing keeps a counter,
// so nothing can drift. It stops beyond the cap, or when nothing is left, and says which: then there may be more.
func (v *view) unread(ctx context.Context, r *row, left *budget) (n uint32, capped, used bool, err error) {
	if r.rec.GetReadIndex() >= r.rec.GetSeenIndex() {
		return 0, false, false, nil
	}
	count := func(e chain.Stored) {
		if e.CountsFor(v.user) {
			n++
		}
	}
	count(r.last)
	between := span{from: r.rec.GetReadIndex() + 1, to: r.rec.GetSeenIndex() - 1}
	next, err := v.scan(ctx, r.id, r.member, between, left, func(e chain.Stored, visible bool) bool {
		if visible {
			count(e)
		}
		return n <= im.UnreadCap
	})
	return min(n, im.UnreadCap), next != 0, next != 0 && n <= im.UnreadCap, err
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
