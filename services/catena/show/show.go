// Package show turns messages, conversations and times into lines for people. It makes text from others harmless for a
// terminal and decides nothing.
package show

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/catena-im/catena/pkg/conf"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// View is for whom lines are made.
type View struct {
	Me  string         // the user who reads
	Now time.Time      // times of the same day are shown without the date
	In  *time.Location // nil: local time
}

// Message is one message as a line (its text may hold more): place, time, sender, content, and who else may see it.
func (v View) Message(m *imv1.Message) string {
	head := fmt.Sprintf("[%d] %s ", m.GetConversationIndex(), v.Time(m.GetServerTimeMs()))
	if m.GetType() == imv1.MessageType_MESSAGE_TYPE_SYSTEM {
		return head + "* " + v.System(m)
	}
	return head + v.User(m.GetSenderId()) + ": " + Body(m.GetBody()) + v.visibility(m)
}

// User is "you" or the user's id.
func (v View) User(id string) string {
	if id == v.Me {
		return "you"
	}
	return Clean(id)
}

// users joins users as in "bob, carol and you".
func (v View) users(ids []string) string {
	names := make([]string, 0, len(ids))
	me := false
	for _, id := range ids {
		if id == v.Me {
			me = true
			continue
		}
		names = append(names, Clean(id))
	}
	if me {
		names = append(names, "you")
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// Time is a time of day, with the date unless it is today's.
func (v View) Time(ms int64) string {
	in := v.In
	if in == nil {
		in = time.Local
	}
	t, now := time.UnixMilli(ms).In(in), v.Now.In(in)
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

func (v View) visibility(m *imv1.Message) string {
	switch m.GetVisibility().GetScope() {
	case imv1.VisibilityScope_VISIBILITY_SCOPE_PART:
		return " (seen by " + v.users(m.GetVisibility().GetUserIds()) + " only)"
	case imv1.VisibilityScope_VISIBILITY_SCOPE_SELF:
		return " (seen by " + v.User(m.GetSenderId()) + " only)"
	}
	return ""
}

// System says what a system message reports.
func (v View) System(m *imv1.Message) string {
	s, who := m.GetBody().GetSystem(), v.User(m.GetSenderId())
	switch s.GetEvent() {
	case imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED:
		var others []string
		for _, id := range s.GetUserIds() {
			if id != m.GetSenderId() {
				others = append(others, id)
			}
		}
		with := ""
		if len(others) > 0 {
			with = " with " + v.users(others)
		}
		return fmt.Sprintf("%s created the group %q%s", who, s.GetTitle(), with)
	case imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_ADDED:
		return who + " added " + v.users(s.GetUserIds())
	case imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_REMOVED:
		return who + " removed " + v.users(s.GetUserIds())
	case imv1.SystemEvent_SYSTEM_EVENT_MEMBER_LEFT:
		text := who + " left"
		if owner := s.GetNewOwnerId(); owner != "" {
			text += "; the owner is now " + v.User(owner)
		}
		return text
	}
	return fmt.Sprintf("%s did something that this version does not know (event %d)", who, s.GetEvent())
}

// Body is the content of a message.
func Body(b *imv1.Body) string {
	switch c := b.GetContent().(type) {
	case *imv1.Body_Text:
		return Clean(c.Text.GetText())
	case *imv1.Body_Image:
		return link("image", c.Image.GetUrl(), pixels(c.Image.GetWidthPx(), c.Image.GetHeightPx()), size(c.Image.GetSizeBytes()), caption(c.Image.GetCaption()))
	case *imv1.Body_Audio:
		return link("audio", c.Audio.GetUrl(), length(c.Audio.GetDurationMs()), size(c.Audio.GetSizeBytes()))
	case *imv1.Body_Video:
		return link("video", c.Video.GetUrl(), length(c.Video.GetDurationMs()), size(c.Video.GetSizeBytes()), caption(c.Video.GetCaption()))
	case *imv1.Body_File:
		return link("file "+fmt.Sprintf("%q", c.File.GetName()), c.File.GetUrl(), size(c.File.GetSizeBytes()))
	case *imv1.Body_Location:
		return link("location", fmt.Sprintf("%.5f,%.5f", c.Location.GetLatitudeDeg(), c.Location.GetLongitudeDeg()), c.Location.GetName(), c.Location.GetAddress())
	case *imv1.Body_Custom:
		return link("custom "+fmt.Sprintf("%q", c.Custom.GetKind()), size(uint64(len(c.Custom.GetData()))))
	}
	return "[a kind of message that this version does not know]"
}

// link joins what is known of something, in brackets.
func link(kind string, parts ...string) string {
	out := kind
	for _, p := range parts {
		if p != "" {
			out += " " + Clean(p)
		}
	}
	return "[" + out + "]"
}

func pixels(w, h uint32) string {
	if w == 0 || h == 0 {
		return ""
	}
	return fmt.Sprintf("%dx%d", w, h)
}

func length(ms uint64) string {
	if ms == 0 {
		return ""
	}
	return (time.Duration(ms) * time.Millisecond).String()
}

func size(n uint64) string {
	if n == 0 {
		return ""
	}
	return conf.Bytes(n).String()
}

func caption(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf("%q", text)
}

// Name is what a conversation is called: the group's title, the other user, or "yourself".
func (v View) Name(conversation, title string) string {
	if title != "" {
		return Clean(title)
	}
	c, err := im.ConversationID(conversation).Parse()
	switch {
	case err != nil || c.Kind != im.KindSingle:
		return Clean(conversation)
	case c.Users[0] == c.Users[1] && c.Holds(im.UserID(v.Me)):
		return "yourself"
	case !c.Holds(im.UserID(v.Me)):
		return Clean(string(c.Users[0] + " and " + c.Users[1]))
	}
	return Clean(string(c.Peer(im.UserID(v.Me))))
}

// Unread is the number of unread messages of a conversation, empty for none.
func Unread(s *imv1.ConversationSummary) string {
	switch {
	case s.GetUnreadCapped():
		return fmt.Sprintf("%d+", im.UnreadCap-1)
	case s.GetUnread() == 0:
		return ""
	}
	return fmt.Sprint(s.GetUnread())
}

// Summary is one line of a conversation list.
func (v View) Summary(s *imv1.ConversationSummary) string {
	line := v.Name(s.GetConversationId(), s.GetTitle())
	if u := Unread(s); u != "" {
		line += " (" + u + " unread)"
	}
	if !s.GetMember() && s.GetKind() == imv1.ConversationKind_CONVERSATION_KIND_GROUP {
		line += " (not a member any more)"
	}
	if m := s.GetLastMessage(); m != nil {
		line += "  " + Cut(strings.ReplaceAll(v.Message(m), "\n", " "), 80)
	}
	return line
}

// Cut shortens text to at most n characters, with an ellipsis where something is left out.
func Cut(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-3]) + "..."
}

// Clean makes text harmless for a terminal: control and invisible formatting characters, which could move the cursor
// or turn the direction of writing, become a replacement character; line breaks stay, with the next line indented.
func Clean(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	return strings.ReplaceAll(strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r != '\u200D') {
			return '\uFFFD'
		}
		return r
	}, text), "\n", "\n    ")
}

// Conversation is what is known of a conversation: its name and last index, then a line for each member.
func (v View) Conversation(c *imv1.Conversation) []string {
	last := "nothing written yet"
	if c.GetHeadIndex() > 0 {
		last = fmt.Sprintf("last message [%d]", c.GetHeadIndex())
	}
	lines := []string{fmt.Sprintf("%s  %s, %s", Clean(c.GetConversationId()), v.Name(c.GetConversationId(), c.GetTitle()), last)}
	for _, m := range c.GetMembers() {
		line := "  " + v.User(m.GetUserId())
		if m.GetRole() == imv1.MemberRole_MEMBER_ROLE_OWNER {
			line += " (owner)"
		}
		lines = append(lines, line)
	}
	return lines
}
