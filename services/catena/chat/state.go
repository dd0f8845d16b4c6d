package chat

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/catena-im/catena/pkg/client"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/catena/show"
)

// pageSize is how many messages opening a conversation shows.
const pageSize = 20

// room is a conversation of the list.
type room struct {
	summary *imv1.ConversationSummary
	oldest  uint64 // lowest index that was shown; 0 when none was
}

// written tells a conversation that exists from one that was only opened here and holds no message yet.
func (r *room) written() bool {
	return r.summary.GetLastMessage() != nil || r.summary.GetKind() != imv1.ConversationKind_CONVERSATION_KIND_UNSPECIFIED
}

// state is what the user sees. Its methods take what happens, a line of the user, an event of the SDK, an answer of the
// server, and return the lines to print; what the server is to be asked is gathered in requests. It does no I/O.
type state struct {
	view     show.View
	rooms    map[string]*room
	open     string   // conversation id; empty: none
	numbered []string // conversation ids as /list numbered them
	with     string   // what to open once the list is there
	listed   bool     // the list has come once
	away     bool     // the connection is lost
	quit     bool
	pending  map[string]bool // client message ids of messages sent from here and not seen in the chain yet
	newID    func() string   // makes them
	outbox   []client.Outgoing
	requests []request
}

// maxRequests is how many requests may wait; what the user asks for beyond is refused.
const maxRequests = 64

func newState(me, with string, newID func() string) *state {
	return &state{view: show.View{Me: me}, rooms: map[string]*room{}, with: with, pending: map[string]bool{}, newID: newID}
}

// ask queues a request and returns what to print about that: nothing, unless too many wait. Where one that waits
// already serves as well, none is added.
func (s *state) ask(r request) []string {
	for i, waiting := range s.requests {
		read, ok := waiting.(readRequest)
		if asked, also := r.(readRequest); ok && also && read.conversation == asked.conversation {
			s.requests[i] = readRequest{read.conversation, max(read.index, asked.index)}
			return nil
		}
		if waiting == any(listRequest{quiet: true}) && r == any(listRequest{quiet: true}) {
			return nil
		}
	}
	if len(s.requests) >= maxRequests {
		return []string{"! too much is asked at once; wait for the answers"}
	}
	s.requests = append(s.requests, r)
	return nil
}

// room is the room of a conversation, made when it is new.
func (s *state) room(id string) *room {
	r := s.rooms[id]
	if r == nil {
		r = &room{summary: &imv1.ConversationSummary{ConversationId: id, Member: true}}
		s.rooms[id] = r
	}
	return r
}

func (s *state) name(id string) string { return s.view.Name(id, s.room(id).summary.GetTitle()) }

// prompt names the open conversation and counts what is unread elsewhere.
func (s *state) prompt() string {
	at := ""
	if s.open != "" {
		at = " @ " + s.name(s.open)
	}
	unread := uint32(0)
	for id, r := range s.rooms {
		if id != s.open {
			unread += r.summary.GetUnread()
		}
	}
	if unread > 0 {
		at += fmt.Sprintf(" (%d unread)", unread)
	}
	return s.view.Me + at + "> "
}

// event takes an event of the SDK.
func (s *state) event(e client.Event) []string {
	switch e := e.(type) {
	case client.Connected:
		s.ask(listRequest{quiet: s.listed})
		if s.away {
			s.away = false
			return []string{"* connected again"}
		}
	case client.Disconnected:
		if e.Err != nil && !s.away {
			s.away = true
			return []string{fmt.Sprintf("* the connection is lost (%s); what you write is kept and sent when it is back", reason(e.Err))}
		}
	case client.MessageReceived:
		return s.received(e.Message)
	case client.SendFailed:
		delete(s.pending, e.Outgoing.ClientMessageID)
		return []string{fmt.Sprintf("! not sent: %q: %v", show.Cut(show.Body(e.Outgoing.Body), 40), e.Err)}
	case client.SendDone:
		if e.Sent.GetContentDiffers() {
			delete(s.pending, e.Outgoing.ClientMessageID)
			return []string{"! the server holds another message under the same id; yours was dropped, send it again"}
		}
	case client.ReadMoved, client.ListChanged:
		s.ask(listRequest{quiet: true})
	case client.GoingAway:
		return []string{"* the server goes away (" + show.Clean(e.Reason) + "); connecting again"}
	}
	return nil
}

// reason is why a connection ended, without the layers that it was told through where there is nothing to learn of them.
func reason(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the server closed it"
	}
	return err.Error()
}

// received takes a new message of the user's chain.
func (s *state) received(m *imv1.Message) []string {
	r := s.room(m.GetConversationId())
	if m.GetConversationIndex() <= r.summary.GetLastMessage().GetConversationIndex() {
		if m.GetConversationId() == s.open {
			s.ask(readRequest{s.open, m.GetConversationIndex()})
		}
		return s.confirm(m) // a page or the list told of it before the chain did
	}
	r.summary.LastMessage = m
	system := m.GetBody().GetSystem()
	if system.GetTitle() != "" {
		r.summary.Title = system.GetTitle()
	} else if system != nil || r.summary.GetTitle() == "" && strings.HasPrefix(m.GetConversationId(), "g:") {
		s.ask(listRequest{quiet: true}) // a group that this device does not know well enough
	}
	if m.GetConversationId() == s.open {
		if r.oldest == 0 {
			r.oldest = m.GetConversationIndex()
		}
		s.ask(readRequest{s.open, m.GetConversationIndex()})
		if lines := s.confirm(m); lines != nil {
			return lines
		}
		return []string{s.view.Message(m)}
	}
	if lines := s.confirm(m); lines != nil || m.GetSenderId() == s.view.Me {
		return lines
	}
	note := "* "
	if name := s.name(m.GetConversationId()); name != m.GetSenderId() {
		note += name + ": "
	}
	note += show.Cut(strings.ReplaceAll(s.view.Message(m), "\n", " "), 100)
	if system == nil {
		r.summary.Unread++
		note += fmt.Sprintf("  (%s unread)", show.Unread(r.summary))
	}
	return []string{note}
}

// confirm tells of a message that was sent from here that it has its place now; the text stands above already.
func (s *state) confirm(m *imv1.Message) []string {
	if m.GetSenderId() != s.view.Me || !s.pending[m.GetClientMessageId()] {
		return nil
	}
	delete(s.pending, m.GetClientMessageId())
	line := fmt.Sprintf("[%d] %s sent", m.GetConversationIndex(), s.view.Time(m.GetServerTimeMs()))
	if m.GetConversationId() != s.open {
		line += " to " + s.name(m.GetConversationId())
	}
	return []string{line}
}

// list prints the conversations, the newest first, and numbers them.
func (s *state) list() []string {
	rooms := make([]*imv1.ConversationSummary, 0, len(s.rooms))
	for id, r := range s.rooms {
		if r.written() || id == s.open {
			rooms = append(rooms, r.summary)
		}
	}
	slices.SortFunc(rooms, func(a, b *imv1.ConversationSummary) int {
		return cmp.Or(cmp.Compare(b.GetLastMessage().GetServerTimeMs(), a.GetLastMessage().GetServerTimeMs()),
			cmp.Compare(a.GetConversationId(), b.GetConversationId()))
	})
	s.numbered = nil
	var lines []string
	for i, summary := range rooms {
		s.numbered = append(s.numbered, summary.GetConversationId())
		lines = append(lines, fmt.Sprintf("%3d  %s", i+1, s.view.Summary(summary)))
	}
	if len(lines) == 0 {
		lines = []string{"no conversations yet; /new USER starts one"}
	}
	return lines
}

// pick is the conversation that NUMBER, USER, ID or a title names. A number beyond the list is taken for a user only if
// there is a conversation with one of that name: who mistakes a number must not write to a stranger.
func (s *state) pick(text string) (string, error) {
	n, ok := number(text)
	if !ok {
		return s.find(text)
	}
	if n <= len(s.numbered) {
		return s.numbered[n-1], nil
	}
	id, err := s.find(text)
	if r := s.rooms[id]; err == nil && (r == nil || !r.written()) {
		return "", fmt.Errorf("/list shows no conversation under the number %s; /new %s starts one with a user of that name", text, text)
	}
	return id, err
}

// find is the conversation that USER, ID or a title names.
func (s *state) find(text string) (string, error) {
	if strings.Contains(text, ":") {
		if _, err := im.ConversationID(text).Parse(); err != nil {
			return "", err
		}
		return text, nil
	}
	var titled []string
	for id, r := range s.rooms {
		if strings.EqualFold(r.summary.GetTitle(), text) {
			titled = append(titled, id)
		}
	}
	if len(titled) == 1 {
		return titled[0], nil
	}
	id, err := s.withUser(text)
	if err != nil {
		return "", fmt.Errorf("%q is no number of /list, no title, no conversation and no user: %w", text, err)
	}
	return id, nil
}

// withUser is the conversation with a user, whether anything was written there or not.
func (s *state) withUser(user string) (string, error) {
	if err := im.UserID(user).Validate(); err != nil {
		return "", err
	}
	return string(im.Single(im.UserID(s.view.Me), im.UserID(user))), nil
}
