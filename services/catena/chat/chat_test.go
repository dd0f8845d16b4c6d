package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/catena-im/catena/pkg/client"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// village is a server with one user, alice. It answers at once and puts what is sent into a chain per conversation.
type village struct {
	mu     sync.Mutex // guards the fields below
	chains map[string][]*imv1.Message
	list   []*imv1.ConversationSummary
	read   map[string]uint64
	asked  []string
	refuse error // every request, when set
	events chan client.Event
}

func newVillage() *village {
	return &village{chains: map[string][]*imv1.Message{}, read: map[string]uint64{}, events: make(chan client.Event, 100)}
}

// says puts a message of a user into a chain and tells alice.
func (v *village) says(user, conversation, text, id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := &imv1.Message{
		ConversationId: conversation, ConversationIndex: uint64(len(v.chains[conversation]) + 1), SenderId: user,
		ClientMessageId: id, Type: imv1.MessageType_MESSAGE_TYPE_TEXT, ServerTimeMs: time.Now().UnixMilli(),
	}
	_, m.Body = client.TextBody(text)
	v.chains[conversation] = append(v.chains[conversation], m)
	v.events <- client.MessageReceived{Message: m}
}

func (v *village) note(format string, args ...any) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, fmt.Sprintf(format, args...))
	return v.refuse
}

func (v *village) Enqueue(_ context.Context, m client.Outgoing) (string, error) {
	if err := v.note("send %s %s", m.ConversationID, m.Body.GetText().GetText()); err != nil {
		return "", err
	}
	v.says("alice", m.ConversationID, m.Body.GetText().GetText(), m.ClientMessageID)
	return m.ClientMessageID, nil
}

func (v *village) Conversations(context.Context) ([]*imv1.ConversationSummary, *imv1.Head, error) {
	return v.list, nil, v.note("list")
}

func (v *village) Conversation(_ context.Context, id string) (*imv1.Conversation, error) {
	return &imv1.Conversation{ConversationId: id, Members: []*imv1.Member{{UserId: "alice"}}}, v.note("who %s", id)
}

func (v *village) PullConversation(_ context.Context, q *imv1.PullConversation) (*imv1.ConversationPage, error) {
	if err := v.note("pull %s to %d", q.GetConversationId(), q.GetToIndex()); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	chain := v.chains[q.GetConversationId()]
	if len(chain) == 0 {
		return nil, &client.Error{Code: imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER, Text: "not yours"}
	}
	if q.ToIndex != nil {
		chain = chain[:q.GetToIndex()]
	}
	page := &imv1.ConversationPage{HasMore: len(chain) > int(q.GetLimit())}
	for i := len(chain) - 1; i >= 0 && len(page.Messages) < int(q.GetLimit()); i-- {
		page.Messages = append(page.Messages, chain[i])
	}
	return page, nil
}

func (v *village) MarkRead(_ context.Context, id string, index uint64) (*imv1.ReadMarked, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.read[id] = index
	return &imv1.ReadMarked{ConversationId: id, ReadIndex: index}, nil
}

func (v *village) CreateGroup(_ context.Context, title string, members []string) (*imv1.Sent, error) {
	if err := v.note("group %s %v", title, members); err != nil {
		return nil, err
	}
	v.says("alice", groupID, "created", "")
	return &imv1.Sent{ConversationId: groupID}, nil
}

func (v *village) AddMembers(_ context.Context, id string, users []string) (*imv1.Sent, error) {
	return nil, v.note("add %s %v", id, users)
}

func (v *village) RemoveMembers(_ context.Context, id string, users []string) (*imv1.Sent, error) {
	return nil, v.note("remove %s %v", id, users)
}

func (v *village) LeaveGroup(_ context.Context, id string) (*imv1.Sent, error) {
	return nil, v.note("leave %s", id)
}

const groupID = "g:aaaaaaaaaaaaaaaaaaaaaaaa"

// chatting runs a chat over lines and returns what it printed.
func chatting(t *testing.T, v *village, cfg Config, lines ...string) string {
	t.Helper()
	var out strings.Builder
	v.events <- client.Connected{User: cfg.Me}
	err := Run(t.Context(), cfg, NewPlain(strings.NewReader(strings.Join(lines, "\n")), &out), v, v.events)
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// holds checks that text holds the parts in their order.
func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, p := range parts {
		_, after, ok := strings.Cut(rest, p)
		if !ok {
			t.Fatalf("%q is missing, or out of order, in\n%s", p, text)
		}
		rest = after
	}
}

func TestLinesOfAPipeAreSent(t *testing.T) {
	v := newVillage()
	v.says("bob", "s:alice:bob", "hi", "")
	out := chatting(t, v, Config{Me: "alice", With: "bob"}, "hello", "", "//me waves", `/group "The team" bob carol`, "welcome", "/add dave", "/who")
	want := []string{
		"send s:alice:bob hello", "send s:alice:bob /me waves", "group The team [bob carol]", "pull " + groupID + " to 0",
		"send " + groupID + " welcome", "add " + groupID + " [dave]", "who " + groupID,
	}
	if got := slices.DeleteFunc(v.asked, func(q string) bool { return q == "list" || q == "pull s:alice:bob to 0" }); !slices.Equal(got, want) {
		t.Errorf("the server was asked\n%q, want\n%q", got, want)
	}
	holds(t, out, "* bob", "bob: hi", "* The team", "its id is "+groupID)
	if n := strings.Count(out, " sent"); n != 3 {
		t.Errorf("%d messages are confirmed, want 3:\n%s", n, out)
	}
}

func TestOpeningShowsHistoryAndMarksItRead(t *testing.T) {
	v := newVillage()
	for i := range 30 {
		v.says("bob", "s:alice:bob", fmt.Sprintf("no. %d.", i+1), "")
	}
	for len(v.events) > 0 {
		<-v.events // before this device connected
	}
	v.list = []*imv1.ConversationSummary{{ConversationId: "s:alice:bob", Unread: 5, ReadIndex: 25, Member: true, LastMessage: v.chains["s:alice:bob"][29]}}
	out := chatting(t, v, Config{Me: "alice"}, "/open 1", "/more", "/more", "/close", "/open bob")
	holds(t, out, "1  bob (5 unread)  [30]", "* bob", "/more shows older", "[11]", "[25]", "not read yet", "[26]", "[30]", "[1]", "[10]", "nothing older", "[30]")
	if strings.Count(out, "not read yet") != 1 {
		t.Errorf("what is read is shown as not read:\n%s", out)
	}
	if v.read["s:alice:bob"] != 30 {
		t.Errorf("read up to %d, want 30", v.read["s:alice:bob"])
	}
}

func TestErrorsAreShownAndChatGoesOn(t *testing.T) {
	v := newVillage()
	v.refuse = errors.New("out of order today")
	out := chatting(t, v, Config{Me: "alice", With: "bob"}, "hello", "/group x", "/who", "/nonsense", "/open a.b", "/list", "/help")
	holds(t, out, "cannot be listed: out of order today", "cannot be read", "no conversation is open, so nothing was sent",
		"group was not made: out of order today", "no conversation is open", "there is no /nonsense", "no user", "cannot be listed", "What you write")
}

func TestNumbersOpenWhatTheListShowsAndNothingElse(t *testing.T) {
	s := newState("alice", "", nil)
	list := []*imv1.ConversationSummary{
		{ConversationId: "s:alice:bob", LastMessage: &imv1.Message{ConversationIndex: 1, ServerTimeMs: 2}},
		{ConversationId: "s:1001:alice", LastMessage: &imv1.Message{ConversationIndex: 1, ServerTimeMs: 1}},
	}
	s.listedAll(list, true)
	for _, step := range []struct{ line, open, print string }{
		{"/open 1", "", "no conversation under the number 1; /new 1 starts"}, // nothing was numbered yet
		{"/open 1001", "s:1001:alice", "* 1001"},
		{"/new 2", "s:2:alice", "* 2"},
		{"/close", "", ""},
	} {
		got := strings.Join(s.line(step.line), "|")
		if s.open != step.open || !strings.Contains(got, step.print) {
			t.Errorf("%s opens %q and prints %q, want %q and %q", step.line, s.open, got, step.open, step.print)
		}
	}
	if got := s.list(); len(got) != 2 {
		t.Errorf("the list shows what nobody wrote in:\n%s", strings.Join(got, "\n"))
	}
	for _, step := range []struct{ line, open string }{{"/open 1", "s:alice:bob"}, {"/open 2", "s:1001:alice"}, {"/open 3", "s:1001:alice"}} {
		if s.line(step.line); s.open != step.open {
			t.Errorf("%s opens %q, want %q", step.line, s.open, step.open)
		}
	}
}

func TestQuitDoesNotWait(t *testing.T) {
	v := newVillage()
	in, feed := io.Pipe()
	defer feed.Close()
	v.events <- client.Connected{}
	go func() { _, _ = io.WriteString(feed, "/quit\n") }()
	if err := Run(t.Context(), Config{Me: "alice"}, NewPlain(in, io.Discard), v, v.events); err != nil {
		t.Error(err)
	}
}

func TestEvents(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	message := func(conversation, sender string, index uint64, text string) client.MessageReceived {
		m := &imv1.Message{ConversationId: conversation, SenderId: sender, ConversationIndex: index, ServerTimeMs: now.UnixMilli()}
		m.Type, m.Body = client.TextBody(text)
		return client.MessageReceived{Message: m}
	}
	created := message(groupID, "bob", 1, "")
	created.Message.Type = imv1.MessageType_MESSAGE_TYPE_SYSTEM
	created.Message.Body = &imv1.Body{Content: &imv1.Body_System{System: &imv1.SystemBody{
		Event: imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED, Title: "Team", UserIds: []string{"bob", "alice"}}}}
	_, body := client.TextBody("lost words")

	s := newState("alice", "", func() string { return "id1" })
	s.view.Now, s.view.In = now, time.UTC
	s.openNamed("carol")
	s.requests = nil
	for _, step := range []struct {
		event  client.Event
		want   string // lines joined
		prompt string
	}{
		{message("s:alice:bob", "bob", 1, "one"), "* [1] 22:13 bob: one  (1 unread)", "alice @ carol (1 unread)> "},
		{message("s:alice:bob", "bob", 2, "two\nlines"), "* [2] 22:13 bob: two     lines  (2 unread)", "alice @ carol (2 unread)> "},
		{message("s:alice:bob", "bob", 2, "repeated"), "", "alice @ carol (2 unread)> "},
		{message("s:alice:carol", "carol", 1, "here"), "[1] 22:13 carol: here", "alice @ carol (2 unread)> "},
		{message("s:alice:dave", "alice", 1, "from my phone"), "", "alice @ carol (2 unread)> "},
		{created, `* Team: [1] 22:13 * bob created the group "Team" with you`, "alice @ carol (2 unread)> "},
		{message(groupID, "bob", 2, "hi"), "* Team: [2] 22:13 bob: hi  (1 unread)", "alice @ carol (3 unread)> "},
		{client.Disconnected{Err: errors.New("gone")}, "* the connection is lost (gone); what you write is kept and sent when it is back", "alice @ carol (3 unread)> "},
		{client.Disconnected{Err: errors.New("still gone")}, "", "alice @ carol (3 unread)> "},
		{client.Connected{}, "* connected again", "alice @ carol (3 unread)> "},
		{client.Disconnected{Err: fmt.Errorf("read: %w", io.EOF)}, "* the connection is lost (the server closed it); what you write is kept and sent when it is back", "alice @ carol (3 unread)> "},
		{client.Connected{}, "* connected again", "alice @ carol (3 unread)> "},
		{client.SendFailed{Outgoing: client.Outgoing{Body: body}, Err: errors.New("no")}, `! not sent: "lost words": no`, "alice @ carol (3 unread)> "},
		{client.SendDone{Sent: &imv1.Sent{}}, "", "alice @ carol (3 unread)> "},
		{client.GoingAway{Reason: "stop"}, "* the server goes away (stop); connecting again", "alice @ carol (3 unread)> "},
	} {
		if got := strings.Join(s.event(step.event), "|"); got != step.want {
			t.Errorf("%T prints %q, want %q", step.event, got, step.want)
		}
		if got := s.prompt(); got != step.prompt {
			t.Errorf("after %T the prompt is %q, want %q", step.event, got, step.prompt)
		}
	}
	if !slices.Contains(s.requests, request(readRequest{"s:alice:carol", 1})) {
		t.Errorf("what was shown is not marked read: %v", s.requests)
	}
}

func TestReadPositionsOfOtherDevicesRefreshTheList(t *testing.T) {
	s := newState("alice", "", nil)
	for range 3 {
		s.event(client.ReadMoved{})
		s.event(client.ListChanged{})
	}
	if want := []request{listRequest{quiet: true}}; !slices.Equal(s.requests, want) {
		t.Errorf("asked %v, want %v", s.requests, want)
	}
	lines := s.listedAll([]*imv1.ConversationSummary{{ConversationId: "s:alice:bob", Unread: 7}}, true)
	if s.prompt() != "alice (7 unread)> " || lines != nil {
		t.Errorf("after the list the prompt is %q and %q is printed", s.prompt(), lines)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	s := newState("alice", "", nil)
	for range maxRequests {
		s.line("/list")
	}
	if got := s.line("/list"); len(got) != 1 || !strings.Contains(got[0], "too much") || len(s.requests) != maxRequests {
		t.Errorf("beyond the bound: %q with %d requests", got, len(s.requests))
	}
}

func TestWhispersNameTheirReaders(t *testing.T) {
	s := newState("alice", "", func() string { return "id" })
	s.openNamed(groupID)
	s.line("/to bob,carol a secret for two")
	s.line("/note to self")
	if len(s.outbox) != 2 {
		t.Fatalf("%d messages, want 2", len(s.outbox))
	}
	part, self := s.outbox[0], s.outbox[1]
	if part.Visibility.GetScope() != imv1.VisibilityScope_VISIBILITY_SCOPE_PART || !slices.Equal(part.Visibility.GetUserIds(), []string{"bob", "carol"}) ||
		part.Body.GetText().GetText() != "a secret for two" {
		t.Errorf("/to makes %v %v", part.Visibility, part.Body)
	}
	if self.Visibility.GetScope() != imv1.VisibilityScope_VISIBILITY_SCOPE_SELF || self.Body.GetText().GetText() != "to self" {
		t.Errorf("/note makes %v %v", self.Visibility, self.Body)
	}
	if got := s.line("/to a.b x"); len(got) != 1 || !strings.HasPrefix(got[0], "! user id") {
		t.Errorf("/to with a wrong id prints %q", got)
	}
}
