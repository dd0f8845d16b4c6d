package chat

import (
	"strings"

	"github.com/catena-im/catena/pkg/client"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// line takes a line of the user.
func (s *state) line(text string) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	c, err := parse(text)
	if err != nil {
		return []string{"! " + err.Error()}
	}
	switch c.name {
	case "":
		return s.say(c.rest, nil)
	case "to", "note":
		return s.whisper(c)
	case "list":
		return s.ask(listRequest{})
	case "open":
		return s.enter(s.pick(strings.Join(c.args, " ")))
	case "new":
		return s.enter(s.withUser(strings.Join(c.args, " ")))
	case "close":
		s.open = ""
	case "group":
		if err := users(c.args[1:]); err != nil {
			return []string{"! " + err.Error()}
		}
		return s.ask(groupRequest{title: c.args[0], members: c.args[1:]})
	case "help":
		return help()
	case "quit":
		s.quit = true
	default:
		return s.inRoom(c)
	}
	return nil
}

// inRoom carries out what is about the open conversation.
func (s *state) inRoom(c command) []string {
	if s.open == "" {
		return []string{"! no conversation is open; /open one first"}
	}
	if err := users(c.args); err != nil {
		return []string{"! " + err.Error()}
	}
	switch c.name {
	case "more":
		r := s.room(s.open)
		if r.oldest == 1 {
			return []string{"* there is nothing older"}
		}
		return s.ask(historyRequest{conversation: s.open, before: r.oldest})
	case "who":
		return s.ask(whoRequest{s.open})
	case "add", "remove", "leave":
		if !strings.HasPrefix(s.open, "g:") {
			return []string{"! the open conversation is not a group; /group makes one"}
		}
		return s.ask(memberRequest{change: c.name, conversation: s.open, users: c.args})
	}
	return nil
}

func users(ids []string) error {
	for _, id := range ids {
		if err := im.UserID(id).Validate(); err != nil {
			return err
		}
	}
	return nil
}

// openNamed opens what USER, ID or a title names.
func (s *state) openNamed(text string) []string { return s.enter(s.find(text)) }

// enter opens a conversation, or tells why there is none.
func (s *state) enter(id string, err error) []string {
	if err != nil {
		return []string{"! " + err.Error()}
	}
	s.open = id
	s.room(id).oldest = 0
	return append([]string{"* " + s.name(id)}, s.ask(historyRequest{conversation: id, opening: true})...)
}

// whisper sends what only a part of the members sees.
func (s *state) whisper(c command) []string {
	if c.name == "note" {
		return s.say(c.rest, &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF})
	}
	named, text, _ := strings.Cut(c.rest, " ")
	ids := strings.Split(named, ",")
	if err := users(ids); err != nil {
		return []string{"! " + err.Error()}
	}
	return s.say(strings.TrimSpace(text), &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: ids})
}

func (s *state) say(text string, seenBy *imv1.Visibility) []string {
	if s.open == "" {
		return []string{"! no conversation is open, so nothing was sent; /open or /new one first, /help shows the rest"}
	}
	m := client.Outgoing{ConversationID: s.open, ClientMessageID: s.newID(), Visibility: seenBy}
	m.Type, m.Body = client.TextBody(text)
	s.pending[m.ClientMessageID] = true
	s.outbox = append(s.outbox, m)
	return nil
}
