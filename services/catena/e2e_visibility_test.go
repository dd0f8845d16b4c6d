package main

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// TestHiddenMessagesLeaveNoTrace sends messages that not everybody may see and looks everywhere for them with the eyes
// of those who may not: pushes, heads, both chains, the list, unread counts, conversations and errors.
func TestHiddenMessagesLeaveNoTrace(t *testing.T) {
	s := launch(t, anywhere(t))
	alice, _ := login(t, s.site, "alice", "phone", speakBinary)
	bob, _ := login(t, s.site, "bob", "phone", speakBinary)
	carol, _ := login(t, s.site, "carol", "phone", speakJSON)
	g := alice.sent(createGroup("g1", "Team", "bob", "carol")).GetConversationId()
	onlyMe := &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF}
	self := func(f *imv1.ClientFrame) *imv1.ClientFrame {
		f.GetSend().Visibility = onlyMe
		return f
	}

	alice.sent(tell(g, "m1", "for all"))                          // 2
	alice.sent(tell(g, "m2", "hidden part", "bob"))               // 3
	alice.sent(self(tell(g, "m3", "hidden self")))                // 4
	bob.sent(tell(g, "m1", "hidden part of bob", "alice"))        // 5
	alice.sent(tell(g, "m4", "for carol too", "bob", "carol"))    // 6
	alice.sent(tell(g, "m5", "hidden at the end", "bob"))         // 7
	alice.sent(self(say("carol", "m1", "hidden self in single"))) // s:alice:carol 1
	carol.refused(tell(g, "m1", "x", "dave"), imv1.ErrorCode_ERROR_CODE_INVALID_VISIBILITY)
	carol.refused(pullConversation(g, ptr(8), nil), imv1.ErrorCode_ERROR_CODE_INVALID_RANGE)
	bob.sent(say("carol", "end", "the end"))
	if got := carol.push(4).GetBody().GetText().GetText(); got != "the end" {
		t.Errorf("carol's last push is %q", got)
	}

	_, back := login(t, s.site, "carol", "tablet", speakBinary)
	if got := back.GetHead().GetUserIndex(); got != 4 {
		t.Errorf("carol's head is %d", got)
	}
	if got, want := indexes(carol.conversation(g)), []uint64{1, 2, 6}; !slices.Equal(got, want) {
		t.Errorf("carol pulls %v, want %v", got, want)
	}
	list := carol.list()
	if got := list[g]; got.GetUnread() != 2 || got.GetLastMessage().GetConversationIndex() != 6 {
		t.Errorf("carol's list: %v", got)
	}
	if len(list) != 2 {
		t.Errorf("carol's list knows a conversation with nothing to see: %v", list)
	}
	if got := carol.ask(getConversation(g)).GetConversation().GetHeadIndex(); got != 6 {
		t.Errorf("carol's head of the group is %d", got)
	}
	if got := carol.ask(markRead(g, 7)).GetReadMarked().GetReadIndex(); got != 6 {
		t.Errorf("carol's read position is %d", got)
	}
	for _, f := range []*imv1.ClientFrame{
		pullConversation(g, ptr(3), ptr(5)), pullConversation(g, ptr(7), nil), pullConversation("s:alice:carol", nil, nil), getConversation("s:alice:carol"),
	} {
		a := carol.ask(f)
		if n := len(a.GetConversationPage().GetMessages()); n > 0 || a.GetConversation().GetHeadIndex() > 0 || a.GetError() != nil {
			t.Errorf("%v is answered with %v", f, a)
		}
	}
	// Nobody in, and nobody there, are told apart by nothing.
	strange := carol.refused(getConversation("g:aaaaaaaaaaaaaaaaaaaaaaaa"), imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER)
	private := alice.sent(createGroup("g2", "Private", "bob")).GetConversationId()
	theirs := carol.refused(getConversation(private), imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER)
	if strings.ReplaceAll(strange.GetText(), "g:aaaaaaaaaaaaaaaaaaaaaaaa", private) != theirs.GetText() {
		t.Errorf("%q and %q differ", strange.GetText(), theirs.GetText())
	}
	for _, f := range append(carol.settled(), answers(carol.chain(1))...) {
		if text := prototext.Format(f); strings.Contains(text, "hidden") || strings.Contains(text, "Private") {
			t.Errorf("carol hears %s", text)
		}
	}
	for _, f := range bob.settled() {
		if text := prototext.Format(f); strings.Contains(text, "hidden self") {
			t.Errorf("bob hears %s", text)
		}
	}
	if got, want := indexes(alice.conversation(g)), []uint64{1, 2, 3, 4, 5, 6, 7}; !slices.Equal(got, want) {
		t.Errorf("alice pulls %v, want %v", got, want)
	}
	if got, want := indexes(bob.conversation(g)), []uint64{1, 2, 3, 5, 6, 7}; !slices.Equal(got, want) {
		t.Errorf("bob pulls %v, want %v", got, want)
	}
}

func ptr(v uint64) *uint64 { return &v }

func indexes(messages []*imv1.Message) []uint64 {
	var out []uint64
	for _, m := range messages {
		out = append(out, m.GetConversationIndex())
	}
	return out
}

func answers(entries []*imv1.UserEntry) []*imv1.ServerFrame {
	return []*imv1.ServerFrame{{Body: &imv1.ServerFrame_UserPage{UserPage: &imv1.UserPage{Entries: entries}}}}
}
