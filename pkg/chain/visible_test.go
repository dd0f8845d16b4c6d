package chain

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func participant(bounds ...uint64) *imv1.Participant {
	p := new(imv1.Participant)
	for i := 0; i < len(bounds); i += 2 {
		p.Intervals = append(p.Intervals, &imv1.Interval{JoinedIndex: bounds[i], LeftIndex: bounds[i+1]})
	}
	return p
}

func TestMembersSeeWhatFellIntoTheirTime(t *testing.T) {
	group := im.Conversation{Kind: im.KindGroup}
	msg := func(i uint64, v *imv1.Visibility) *imv1.Message {
		return &imv1.Message{ConversationIndex: i, SenderId: "alice", Visibility: v}
	}
	part := &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: []string{"bob"}}
	self := &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF}
	unknown := &imv1.Visibility{Scope: 99}
	for _, c := range []struct {
		user im.UserID
		in   *imv1.Participant
		msg  *imv1.Message
		want bool
	}{
		{"bob", participant(3, 7), msg(2, nil), false},
		{"bob", participant(3, 7), msg(3, nil), true},
		{"bob", participant(3, 7), msg(7, nil), true},
		{"bob", participant(3, 7), msg(8, nil), false},
		{"bob", participant(3, 7, 9, 0), msg(100, nil), true},
		{"bob", nil, msg(1, nil), false},
		{"bob", participant(1, 0), msg(5, part), true},
		{"carol", participant(1, 0), msg(5, part), false},
		{"alice", participant(1, 0), msg(5, part), true},
		{"bob", participant(6, 0), msg(5, part), false},
		{"bob", participant(1, 0), msg(5, self), false},
		{"alice", participant(1, 0), msg(5, self), true},
		{"bob", participant(1, 0), msg(5, unknown), false},
	} {
		e, err := storedOf(encode(&imv1.ChainEntry{Message: c.msg}))
		if got := MembershipOf(group, c.user, c.in).Sees(c.user, e); got != c.want || err != nil {
			t.Errorf("%s in %v sees %v: got %v, want %v", c.user, c.in, c.msg, got, c.want)
		}
	}
}

func TestSpansCoverExactlyTheMembership(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var bounds []uint64
		at := uint64(1)
		for range rapid.IntRange(0, 4).Draw(t, "intervals") {
			at += rapid.Uint64Range(1, 4).Draw(t, "pause")
			left := at + rapid.Uint64Range(0, 4).Draw(t, "stay")
			bounds = append(bounds, at, left)
			at = left
		}
		if len(bounds) > 0 && rapid.Bool().Draw(t, "open") {
			bounds[len(bounds)-1] = 0
		}
		m := MembershipOf(im.Conversation{Kind: im.KindGroup}, "bob", participant(bounds...))
		from, to := im.ConversationIndex(rapid.IntRange(1, 30).Draw(t, "from")), im.ConversationIndex(rapid.IntRange(0, 30).Draw(t, "to"))
		var got, want []im.ConversationIndex
		for _, s := range m.Spans(from, to) {
			for i := s.From; i <= s.To; i++ {
				got = append(got, i)
			}
		}
		for i := from; i <= to; i++ {
			if m.At(i) {
				want = append(want, i)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v from %d to %d: got %v, want %v", bounds, from, to, got, want)
		}
	})
}

// An entry is composed around its encoded message, and must be what encoding it at once would be.
func TestEntryIsEncodedAsAWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &imv1.ChainEntry{
			Message: &imv1.Message{
				ConversationId: rapid.StringN(0, 40, -1).Draw(t, "conversation"), ConversationIndex: rapid.Uint64().Draw(t, "index"),
				Body: &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: rapid.StringN(0, 300, -1).Draw(t, "text")}}},
			},
			Sequence: rapid.Uint64().Draw(t, "sequence"), Ordinal: rapid.Uint32().Draw(t, "ordinal"),
		}
		value, message := encodeEntry(e.GetMessage(), e.GetSequence(), e.GetOrdinal())
		if want := encode(e); !bytes.Equal(value, want) {
			t.Errorf("value is %x, want %x", value, want)
		}
		if want := encode(e.GetMessage()); !bytes.Equal(message, want) {
			t.Errorf("message is %x, want %x", message, want)
		}
	})
}
