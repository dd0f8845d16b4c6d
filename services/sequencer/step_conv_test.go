package sequencer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// convScript runs conversation commands one after the other, as the worker would, and prints what becomes of each.
type convScript struct {
	state  *convState
	groups map[string]im.ConversationID // by the names that the script gives them
	names  map[im.ConversationID]string
	at     place
}

func newConvScript() *convScript {
	return &convScript{
		state:  newConvState(0),
		groups: map[string]im.ConversationID{}, names: map[im.ConversationID]string{},
	}
}

func TestConversationStep(t *testing.T) {
	datadriven.Walk(t, "testdata/conversation", func(t *testing.T, path string) {
		s := newConvScript()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for line := range strings.Lines(d.Input) {
				out.WriteString(s.run(t, strings.Fields(line)))
			}
			return out.String()
		})
	})
}

// run takes "<user> <command> <conversation> <client id> [word | key=value]…".
func (s *convScript) run(t *testing.T, words []string) string {
	t.Helper()
	if len(words) < 4 {
		t.Fatalf("a line reads: user command conversation client-id …; got %q", words)
	}
	user, verb, name, cm, rest := words[0], words[1], words[2], words[3], words[4:]
	cmd := &imv1.Command{UserId: user, ConversationId: string(s.resolve(user, verb, name, cm))}
	switch verb {
	case "send":
		cmd.Action = &imv1.Command_Send{Send: sendOf(cm, rest)}
	case "create":
		cmd.Action = &imv1.Command_CreateGroup{CreateGroup: &imv1.CreateGroup{ClientMessageId: cm, Title: name, MemberIds: rest}}
	case "add":
		cmd.Action = &imv1.Command_AddMembers{AddMembers: &imv1.AddMembers{ClientMessageId: cm, UserIds: rest}}
	case "remove":
		cmd.Action = &imv1.Command_RemoveMembers{RemoveMembers: &imv1.RemoveMembers{ClientMessageId: cm, UserIds: rest}}
	case "leave":
		cmd.Action = &imv1.Command_LeaveGroup{LeaveGroup: &imv1.LeaveGroup{ClientMessageId: cm}}
	default:
		t.Fatalf("unknown command %q", verb)
	}
	s.at.sequence++
	answer, e := s.state.step(locate(s.at, s.state.conversations[im.ConversationID(cmd.GetConversationId())], cmd))
	return s.show(answer, e) + "\n"
}

// locate prepares a command as load does.
func locate(at place, c *conversation, cmd *imv1.Command) *located {
	l := &located{place: at, command: cmd, asked: request(cmd), conversation: c}
	l.id, l.after = l.messageID(l.asked.clientMessageID), l.messageID(l.asked.after)
	return l
}

// resolve finds the conversation that a script line names: a group, or the peer of a single conversation.
func (s *convScript) resolve(user, verb, name, cm string) im.ConversationID {
	id, ok := s.groups[name]
	switch {
	case verb == "create":
		id = im.Group(im.UserID(user), im.ClientMessageID(cm))
		s.groups[name] = id
	case strings.HasPrefix(name, "s:"):
		id = im.ConversationID(name)
	case !ok:
		id = im.Single(im.UserID(user), im.UserID(name))
	}
	s.names[id] = name
	if s.state.conversations[id] == nil {
		parsed, err := id.Parse()
		if err != nil {
			panic(err)
		}
		s.state.conversations[id] = &conversation{id: id, parsed: parsed}
	}
	return id
}

func sendOf(cm string, rest []string) *imv1.Send {
	m := &imv1.Send{ClientMessageId: cm, Type: imv1.MessageType_MESSAGE_TYPE_TEXT}
	var text []string
	for _, w := range rest {
		switch k, v, _ := strings.Cut(w, "="); k {
		case "after":
			m.After = v
		case "part":
			m.Visibility = &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: strings.Split(v, ",")}
		case "self":
			m.Visibility = &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF}
		default:
			text = append(text, w)
		}
	}
	m.Body = &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: strings.Join(text, " ")}}}
	return m
}

func (s *convScript) show(a *imv1.Answer, e entered) string {
	if err := a.GetError(); err != nil {
		return fmt.Sprintf("%s: %s", strings.TrimPrefix(err.GetCode().String(), "ERROR_CODE_"), s.plain(err.GetText()))
	}
	sent := a.GetSent()
	out := fmt.Sprintf("#%d", sent.GetConversationIndex())
	if sent.GetDuplicate() {
		out += " duplicate"
	}
	if sent.GetContentDiffers() {
		out += " content differs"
	}
	if e.message == nil {
		return out
	}
	if sys := e.message.GetBody().GetSystem(); sys != nil {
		out += fmt.Sprintf(" %s %v", strings.TrimPrefix(sys.GetEvent().String(), "SYSTEM_EVENT_"), sys.GetUserIds())
		if sys.GetNewOwnerId() != "" {
			out += " owner " + sys.GetNewOwnerId()
		}
	}
	return out + fmt.Sprintf(" → %v", e.recipients)
}

// plain puts the script's names for groups into a text.
func (s *convScript) plain(text string) string {
	for id, name := range s.names {
		text = strings.ReplaceAll(text, string(id), name)
	}
	return text
}
