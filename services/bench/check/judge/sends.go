package judge

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// judgeSends holds what was acknowledged against the conversation chains (L1, L2).
func (t *trial) judgeSends() {
	for _, s := range t.Sends {
		t.verdict.Sent++
		switch {
		case len(s.Answers) > 0:
			t.verdict.Acked++
		case s.Refusal != nil:
			t.verdict.Refused++
		case s.Outbox:
			t.breach(Unanswered, s.at(0, "queued by an SDK client and neither acknowledged nor refused at the end"))
		}
		t.judgeSend(s, t.of(s.Conversation))
	}
}

func (s *Send) at(index uint64, format string, args ...any) Violation {
	return Violation{User: s.User, Device: s.Device, Conversation: s.Conversation, Index: index,
		ClientMessageID: s.ClientMessageID, What: fmt.Sprintf(format, args...)}
}

func (t *trial) judgeSend(s *Send, c *chain) {
	place := c.find(s.User, s.ClientMessageID)
	t.judgeRepeats(s)
	if taken := len(s.Answers) > 0 || s.Outbox && place != 0; s.Refusal != nil && taken {
		t.breach(ChangedAnswers, s.at(place, "refused with %s although the message was taken", s.Refusal.GetCode()))
	}
	if place == 0 {
		if len(s.Answers) > 0 {
			t.breach(Lost, s.at(s.Answers[0].Index, "acknowledged and not in the conversation chain"))
		}
		return
	}
	m := c.at[place]
	t.judgeContent(s, m)
	for i := range s.Answers {
		t.judgePlace(s, &s.Answers[i], m)
	}
}

// judgeRepeats holds the answers to one id against each other (L2).
func (t *trial) judgeRepeats(s *Send) {
	for i := range s.Answers {
		first, a := s.Answers[0], s.Answers[i]
		switch {
		case a.MessageID != first.MessageID || a.Conversation != first.Conversation || a.Index != first.Index ||
			a.ServerTimeMs != first.ServerTimeMs:
			t.breach(ChangedAnswers, s.at(a.Index, "a re-send was answered with message %x at index %d of %d ms, the first with message %x at index %d of %d ms",
				a.MessageID, a.Index, a.ServerTimeMs, first.MessageID, first.Index, first.ServerTimeMs))
		case a.Late && !a.Duplicate:
			t.breach(ChangedAnswers, s.at(a.Index, "a re-send after the answer was not called a duplicate"))
		}
	}
}

// judgeContent holds the message in the chain against what was sent, and the answers' content_differs against both.
func (t *trial) judgeContent(s *Send, m *imv1.Message) {
	kept := slices.IndexFunc(s.Contents, func(c Content) bool { return c.fits(m) })
	if kept < 0 {
		t.breach(Mismatched, s.at(m.GetConversationIndex(), "the chain holds another type, body or visibility than was sent"))
		return
	}
	if peer, single := newMembership(s.Conversation).peer(s.User); single && peer != s.User && m.GetReceiverId() != peer {
		t.breach(Mismatched, s.at(m.GetConversationIndex(), "the receiver is %q, want %q", m.GetReceiverId(), peer))
	}
	for i := range s.Answers {
		a := &s.Answers[i]
		if differs := !s.Contents[a.Content].fits(m); a.ContentDiffers != differs {
			t.breach(ChangedAnswers, s.at(a.Index, "content_differs is %t in an answer, want %t", a.ContentDiffers, differs))
		}
	}
}

// judgePlace holds one answer against the message in the chain.
func (t *trial) judgePlace(s *Send, a *Answer, m *imv1.Message) {
	if a.Conversation != s.Conversation || a.Index != m.GetConversationIndex() || a.MessageID != string(m.GetMessageId()) ||
		a.ServerTimeMs != m.GetServerTimeMs() {
		t.breach(Mismatched, s.at(a.Index, "acknowledged as message %x at index %d of %d ms, the chain holds message %x at index %d of %d ms",
			a.MessageID, a.Index, a.ServerTimeMs, m.GetMessageId(), m.GetConversationIndex(), m.GetServerTimeMs()))
	}
}

// fits reports whether m carries the content.
func (c Content) fits(m *imv1.Message) bool {
	return c.Type == m.GetType() && proto.Equal(c.Body, m.GetBody()) &&
		slices.Equal(audience(c.Visibility, m.GetSenderId()), audience(m.GetVisibility(), m.GetSenderId()))
}

// audience is a form of v that is equal when the same users may see: nil for everyone.
func audience(v *imv1.Visibility, sender string) []string {
	switch v.GetScope() {
	case imv1.VisibilityScope_VISIBILITY_SCOPE_PART:
		users := append([]string{sender}, v.GetUserIds()...)
		slices.Sort(users)
		return slices.Compact(users)
	case imv1.VisibilityScope_VISIBILITY_SCOPE_SELF:
		return []string{sender}
	}
	return nil
}

// peer is the other user of a single conversation.
func (m membership) peer(user string) (peer string, single bool) {
	for _, u := range m.single {
		if u != user {
			return u, true
		}
	}
	return user, m.single != nil
}

// judgeQueues holds the order in which each device queued against the chains (L3).
func (t *trial) judgeQueues() {
	type queue struct{ user, device, conversation string }
	last := map[queue]*Send{}
	for _, s := range t.Sends {
		c := t.of(s.Conversation)
		place := c.find(s.User, s.ClientMessageID)
		if s.Device == "" || place == 0 {
			continue
		}
		q := queue{s.User, s.Device, s.Conversation}
		if before := last[q]; before != nil && c.find(before.User, before.ClientMessageID) > place {
			t.breach(Reordered, s.at(place, "queued after %s, which stands at index %d", before.ClientMessageID,
				c.find(before.User, before.ClientMessageID)))
			continue
		}
		last[q] = s
	}
}

// judgeCommands holds acknowledged membership commands against the chains (L1).
func (t *trial) judgeCommands() {
	for _, cmd := range t.Commands {
		if cmd.Answer == nil {
			continue
		}
		c := t.of(cmd.Answer.Conversation)
		where := Violation{User: cmd.User, Conversation: cmd.Answer.Conversation, Index: cmd.Answer.Index}
		places := c.byID[cmd.Answer.MessageID]
		switch {
		case len(places) == 0:
			where.What = "the command was acknowledged and its system message is not in the conversation chain"
			t.breach(Lost, where)
		case places[0] != cmd.Answer.Index || !cmd.explains(c.at[places[0]]):
			where.What = fmt.Sprintf("the system message at index %d is not what the acknowledged command asked for", places[0])
			t.breach(Mismatched, where)
		}
	}
}
