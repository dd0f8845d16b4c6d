package history

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const (
	maxPageBytes = 512 << 10 // cuts a page of large messages; the first entry fits always
	maxHeadScan  = 2_000     // entries that are looked at to find a head
)

// span is a wanted range of a chain, both ends included; empty when from is above to.
type span struct {
	from, to uint64
	limit    int
	reverse  bool
}

// spanOf checks a wanted range against a chain that goes from oldest to head as the user may see it.
func spanOf(from, to *uint64, limit uint32, reverse bool, oldest, head uint64) (span, error) {
	s := span{from: oldest, to: head, limit: int(limit), reverse: reverse}
	if from != nil {
		s.from = *from
	}
	if to != nil {
		s.to = *to
	}
	switch {
	case from != nil && *from == 0 || to != nil && *to == 0:
		return s, outOfRange("indexes begin at 1; leave the bound out to begin at the oldest or to end at the head")
	case from != nil && to != nil && *from > *to:
		return s, outOfRange("the range %d to %d is reversed; give the smaller index first, and newest_first for falling order", *from, *to)
	case s.from > head+1:
		return s, outOfRange("index %d lies beyond the head, which is %d; pull from %d at most", s.from, head, head+1)
	case limit > im.MaxPage:
		return s, refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, "a page of %d entries is too large; ask for %d at most", limit, im.MaxPage)
	case limit == 0:
		s.limit = im.DefaultPage
	}
	s.from, s.to = max(s.from, oldest), min(s.to, head)
	return s, nil
}

func outOfRange(format string, args ...any) error {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_RANGE, format, args...)
}

func notAMember(c im.ConversationID) error {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER, "%s does not exist or you are not in it; check the id", c)
}

// membership is the user's membership of c, a refusal when there never was one.
func (v *view) membership(ctx context.Context, c im.ConversationID) (chain.Membership, im.Conversation, error) {
	m, parsed, err := v.lookUp(ctx, c)
	if err == nil && m.None() {
		err = notAMember(c)
	}
	return m, parsed, err
}

// lookUp is the user's membership of c, perhaps none.
func (v *view) lookUp(ctx context.Context, c im.ConversationID) (chain.Membership, im.Conversation, error) {
	parsed, err := c.Parse()
	if err != nil {
		return chain.Membership{}, parsed, refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ID, "%v", err)
	}
	var p *imv1.Participant
	if parsed.Kind == im.KindGroup {
		if p, err = v.r.Participant(ctx, c, v.user); err != nil {
			return chain.Membership{}, parsed, err
		}
	}
	return chain.MembershipOf(parsed, v.user, p), parsed, nil
}

// budget bounds what is looked at for one answer.
type budget struct {
	entries int       // may be looked at still
	looked  int       // at so many already
	until   time.Time // then a scan ends that has looked at something; zero: only with the context
}

// budget is what may be looked at from now on.
func (v *view) budget() budget { return budget{entries: v.most, until: time.Now().Add(v.time)} }

// timeEvery is after how many entries a scan looks at the clock.
const timeEvery = 16

// take takes an entry off the budget, if there is one left.
func (b *budget) take() bool {
	if b.entries == 0 || b.looked > 0 && b.looked%timeEvery == 0 && !b.until.IsZero() && !time.Now().Before(b.until) {
		return false
	}
	b.entries--
	b.looked++
	return true
}

// scan calls fn for the messages of c within s that fell into the user's membership, and says which of them the user
// may see. They come in rising order or, with reverse, in falling order, until fn answers false or nothing is left. It
// returns the index at which that was, 0 when the range was gone through.
//
// Hidden entries use left up like others. So how far a scan comes is a matter of indexes, which the user knows, and tells
// nothing of what is between them; or, where the store is slow, of time, which the user could take as well.
func (v *view) scan(ctx context.Context, c im.ConversationID, m chain.Membership, s span, left *budget,
	fn func(e chain.Stored, visible bool) bool,
) (next uint64, err error) {
	spans := m.Spans(im.ConversationIndex(s.from), im.ConversationIndex(s.to))
	if s.reverse {
		slices.Reverse(spans)
	}
	for _, part := range spans {
		err := v.r.ScanEntries(ctx, c, part.From, part.To, s.reverse, func(e chain.Stored) error {
			if !left.take() || !fn(e, m.Sees(v.user, e)) {
				next = uint64(e.Index)
				return kv.Stop
			}
			return nil
		})
		if err != nil || next != 0 {
			return next, err
		}
	}
	return 0, nil
}

// visibleHead is the last index of c that the user may see, 0 when there is none. The user's list knows it, apart from
// what has come since the user's partition was last at work, so the chain is looked at only from there on.
func (v *view) visibleHead(ctx context.Context, c im.ConversationID, m chain.Membership) (uint64, error) {
	h, err := v.r.ConversationHead(ctx, c)
	if err != nil {
		return 0, err
	}
	lists, err := v.r.Lists(ctx, []chain.ListRef{{User: v.user, Conversation: c}})
	if err != nil {
		return 0, err
	}
	// Time does not end this scan: pages go by the head, and one that comes out short would hide what lies behind it.
	head, left := min(lists[0].GetSeenIndex(), h.GetLastIndex()), budget{entries: maxHeadScan}
	s := span{from: head + 1, to: h.GetLastIndex(), reverse: true}
	_, err = v.scan(ctx, c, m, s, &left, func(e chain.Stored, visible bool) bool {
		if visible {
			head = uint64(e.Index)
		}
		return !visible
	})
	return head, err
}

func (v *view) conversationPage(ctx context.Context, q *imv1.PullConversation) ([]byte, error) {
	c := im.ConversationID(q.GetConversationId())
	m, _, err := v.membership(ctx, c)
	if err != nil {
		return nil, err
	}
	head, err := v.visibleHead(ctx, c, m)
	if err != nil {
		return nil, err
	}
	s, err := spanOf(q.FromIndex, q.ToIndex, q.GetLimit(), q.GetNewestFirst(), 1, head)
	if err != nil {
		return nil, err
	}
	p, left := v.newPage(s.limit), v.budget()
	next, err := v.scan(ctx, c, m, s, &left, func(e chain.Stored, visible bool) bool {
		return !visible || p.add(pageMessages, e.Message)
	})
	if err != nil {
		return nil, err
	}
	return p.reply(replyConversationPage, &imv1.ConversationPage{
		ConversationId: string(c), HeadIndex: head, HasMore: next != 0, NextIndex: next,
	})
}

func (v *view) userPage(ctx context.Context, q *imv1.PullUser) ([]byte, error) {
	h, err := v.r.UserHead(ctx, v.user)
	if err != nil {
		return nil, err
	}
	head := chain.HeadOf(h)
	s, err := spanOf(q.FromIndex, q.ToIndex, q.GetLimit(), q.GetNewestFirst(), head.GetOldestUserIndex(), head.GetUserIndex())
	if err != nil {
		return nil, err
	}
	p, rest := v.newPage(s.limit), &imv1.UserPage{Head: head}
	if s.from <= s.to {
		if rest.HasMore, err = v.fill(ctx, p, s); err != nil {
			return nil, err
		}
	}
	return p.reply(replyUserPage, rest)
}

// fill puts the entries of the user's chain within s into p, as far as they fit, and reports whether there are more.
func (v *view) fill(ctx context.Context, p *page, s span) (more bool, err error) {
	var indexes []im.UserIndex
	var refs []chain.Ref
	err = v.r.ScanUser(ctx, v.user, im.UserIndex(s.from), im.UserIndex(s.to), s.reverse, func(i im.UserIndex, ref chain.Ref) error {
		if len(refs) == s.limit {
			more = true
			return kv.Stop
		}
		indexes = append(indexes, i)
		refs = append(refs, ref)
		return nil
	})
	var head [16]byte
	for at := 0; at < len(refs) && err == nil; at += joinStep {
		var entries []chain.Stored
		entries, err = v.r.StoredEntries(ctx, refs[at:min(at+joinStep, len(refs))])
		for i, e := range entries {
			if e.Message == nil {
				return false, fmt.Errorf("user chain of %s names %s %d, which is not there", v.user, refs[at+i].Conversation, refs[at+i].Index)
			}
			index := protowire.AppendVarint(protowire.AppendTag(head[:0], entryIndex, protowire.VarintType), uint64(indexes[at+i]))
			if !p.addWrapped(userEntries, index, entryMessage, e.Message) {
				return true, nil
			}
		}
	}
	return more, err
}

// joinStep is how many messages are read at once where they are joined in: bodies are large, and no more than a few
// pages' worth shall be read in vain.
const joinStep = 50
