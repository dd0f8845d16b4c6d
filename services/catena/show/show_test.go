package show

import (
	"testing"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

var view = View{Me: "alice", Now: time.UnixMilli(1_700_000_000_000), In: time.UTC}

func message(sender string, body *imv1.Body) *imv1.Message {
	return &imv1.Message{
		ConversationIndex: 7, SenderId: sender, ServerTimeMs: 1_700_000_000_000, Body: body, Type: imv1.MessageType_MESSAGE_TYPE_TEXT,
	}
}

func text(s string) *imv1.Body {
	return &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: s}}}
}

func system(sender string, s *imv1.SystemBody) *imv1.Message {
	m := message(sender, &imv1.Body{Content: &imv1.Body_System{System: s}})
	m.Type = imv1.MessageType_MESSAGE_TYPE_SYSTEM
	return m
}

func TestMessage(t *testing.T) {
	seenBy := func(m *imv1.Message, scope imv1.VisibilityScope, users ...string) *imv1.Message {
		m.Visibility = &imv1.Visibility{Scope: scope, UserIds: users}
		return m
	}
	yesterday := message("bob", text("hi"))
	yesterday.ServerTimeMs -= 24 * time.Hour.Milliseconds()
	tests := []struct {
		message *imv1.Message
		want    string
	}{
		{message("bob", text("hi")), "[7] 22:13 bob: hi"},
		{message("alice", text("hi")), "[7] 22:13 you: hi"},
		{yesterday, "[7] 2023-11-13 22:13 bob: hi"},
		{message("bob", text("a\nb")), "[7] 22:13 bob: a\n    b"},
		{message("bob", text("\x1b[2J\u202ebad\u200d")), "[7] 22:13 bob: \uFFFD[2J\uFFFDbad\u200d"},
		{message("bob", nil), "[7] 22:13 bob: [a kind of message that this version does not know]"},
		{seenBy(message("bob", text("x")), imv1.VisibilityScope_VISIBILITY_SCOPE_PART, "alice", "carol"), "[7] 22:13 bob: x (seen by carol and you only)"},
		{seenBy(message("alice", text("x")), imv1.VisibilityScope_VISIBILITY_SCOPE_SELF), "[7] 22:13 you: x (seen by you only)"},
		{system("bob", &imv1.SystemBody{Event: imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED, Title: "Team", UserIds: []string{"bob", "alice", "carol"}}),
			`[7] 22:13 * bob created the group "Team" with carol and you`},
		{system("alice", &imv1.SystemBody{Event: imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED, Title: "Me", UserIds: []string{"alice"}}),
			`[7] 22:13 * you created the group "Me"`},
		{system("bob", &imv1.SystemBody{Event: imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_ADDED, UserIds: []string{"c", "d", "e"}}), "[7] 22:13 * bob added c, d and e"},
		{system("bob", &imv1.SystemBody{Event: imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_REMOVED, UserIds: []string{"alice"}}), "[7] 22:13 * bob removed you"},
		{system("bob", &imv1.SystemBody{Event: imv1.SystemEvent_SYSTEM_EVENT_MEMBER_LEFT, NewOwnerId: "alice"}), "[7] 22:13 * bob left; the owner is now you"},
		{system("bob", &imv1.SystemBody{Event: 99}), "[7] 22:13 * bob did something that this version does not know (event 99)"},
	}
	for _, tt := range tests {
		if got := view.Message(tt.message); got != tt.want {
			t.Errorf("Message gives %q, want %q", got, tt.want)
		}
	}
}

func TestBody(t *testing.T) {
	tests := []struct {
		body *imv1.Body
		want string
	}{
		{&imv1.Body{Content: &imv1.Body_Image{Image: &imv1.ImageBody{Url: "http://x/a.png", WidthPx: 4, HeightPx: 3, SizeBytes: 2048, Caption: "us"}}},
			`[image http://x/a.png 4x3 2KiB "us"]`},
		{&imv1.Body{Content: &imv1.Body_Audio{Audio: &imv1.AudioBody{Url: "u", DurationMs: 1500}}}, "[audio u 1.5s]"},
		{&imv1.Body{Content: &imv1.Body_Video{Video: &imv1.VideoBody{Url: "u"}}}, "[video u]"},
		{&imv1.Body{Content: &imv1.Body_File{File: &imv1.FileBody{Url: "u", Name: "a\x07"}}}, `[file "a\a" u]`},
		{&imv1.Body{Content: &imv1.Body_Location{Location: &imv1.LocationBody{LatitudeDeg: 48.2, LongitudeDeg: 16.37, Name: "Vienna"}}}, "[location 48.20000,16.37000 Vienna]"},
		{&imv1.Body{Content: &imv1.Body_Custom{Custom: &imv1.CustomBody{Kind: "poll", Data: []byte("12345")}}}, `[custom "poll" 5B]`},
	}
	for _, tt := range tests {
		if got := Body(tt.body); got != tt.want {
			t.Errorf("Body gives %q, want %q", got, tt.want)
		}
	}
}

func TestName(t *testing.T) {
	for _, tt := range []struct{ conversation, title, want string }{
		{"s:alice:bob", "", "bob"},
		{"s:alice:alice", "", "yourself"},
		{"s:bob:carol", "", "bob and carol"},
		{"g:abc", "Team", "Team"},
		{"g:abc", "", "g:abc"},
	} {
		if got := view.Name(tt.conversation, tt.title); got != tt.want {
			t.Errorf("Name(%s, %s) = %q, want %q", tt.conversation, tt.title, got, tt.want)
		}
	}
}

func TestSummary(t *testing.T) {
	got := view.Summary(&imv1.ConversationSummary{
		ConversationId: "g:x", Title: "Team", Kind: imv1.ConversationKind_CONVERSATION_KIND_GROUP,
		UnreadCapped: true, Unread: 1000, LastMessage: message("bob", text("hi\nyou")),
	})
	if want := "Team (999+ unread) (not a member any more)  [7] 22:13 bob: hi     you"; got != want {
		t.Errorf("Summary gives %q, want %q", got, want)
	}
	got = view.Summary(&imv1.ConversationSummary{ConversationId: "s:alice:bob", Unread: 2, Member: true})
	if want := "bob (2 unread)"; got != want {
		t.Errorf("Summary gives %q, want %q", got, want)
	}
}

func TestCut(t *testing.T) {
	if got := Cut("äöüßäöüß", 8); got != "äöüßäöüß" {
		t.Errorf("Cut shortens what fits: %q", got)
	}
	if got := Cut("äöüßäöüßx", 8); got != "äöüßä..." {
		t.Errorf("Cut gives %q", got)
	}
}
