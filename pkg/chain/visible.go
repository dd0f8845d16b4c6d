package chain

import (
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Membership tells where in a conversation's chain a user is or was a member. It is the one authority on who may see
// what, for fan-out and for pulls alike.
type Membership struct {
	always    bool             // a user of a single conversation
	intervals []*imv1.Interval // both ends included; only the last may be open
}

// MembershipOf is the membership of u in c; p is u's participant record, nil when there is none or c is single.
func MembershipOf(c im.Conversation, u im.UserID, p *imv1.Participant) Membership {
	return Membership{always: c.Holds(u), intervals: p.GetIntervals()}
}

// None reports whether the user never was a member.
func (m Membership) None() bool { return !m.always && len(m.intervals) == 0 }

// Now reports whether the user is a member at the head of the chain.
func (m Membership) Now() bool {
	return m.always || len(m.intervals) > 0 && m.intervals[len(m.intervals)-1].GetLeftIndex() == 0
}

// At reports whether the user was a member at i.
func (m Membership) At(i im.ConversationIndex) bool {
	if m.always {
		return true
	}
	for _, v := range m.intervals {
		if v.GetJoinedIndex() <= uint64(i) && (v.GetLeftIndex() == 0 || uint64(i) <= v.GetLeftIndex()) {
			return true
		}
	}
	return false
}

// Span is a range of indexes, both ends included.
type Span struct{ From, To im.ConversationIndex }

// Spans are the parts of from to to in which the user was a member, in rising order.
func (m Membership) Spans(from, to im.ConversationIndex) []Span {
	if m.always {
		return []Span{{from, to}}
	}
	var out []Span
	for _, v := range m.intervals {
		s := Span{max(from, im.ConversationIndex(v.GetJoinedIndex())), to}
		if left := im.ConversationIndex(v.GetLeftIndex()); left != 0 {
			s.To = min(to, left)
		}
		if s.From <= s.To {
			out = append(out, s)
		}
	}
	return out
}

// VisibilityOf is v in the nouns of package im. A scope that this version does not know admits the sender only.
func VisibilityOf(v *imv1.Visibility) im.Visibility {
	switch v.GetScope() {
	case imv1.VisibilityScope_VISIBILITY_SCOPE_UNSPECIFIED, imv1.VisibilityScope_VISIBILITY_SCOPE_EVERYONE:
		return im.Visibility{Scope: im.Everyone}
	case imv1.VisibilityScope_VISIBILITY_SCOPE_PART:
		users := make([]im.UserID, len(v.GetUserIds()))
		for i, u := range v.GetUserIds() {
			users[i] = im.UserID(u)
		}
		return im.Visibility{Scope: im.Part, Users: users}
	default:
		return im.Visibility{Scope: im.Self}
	}
}
