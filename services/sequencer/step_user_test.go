package sequencer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// userScript runs what comes to a user partition one after the other, and prints what becomes of it.
type userScript struct{ state *userState }

func TestUserStep(t *testing.T) {
	datadriven.Walk(t, "testdata/user", func(t *testing.T, path string) {
		s := &userScript{newUserState(make([]*imv1.FanoutProgress, 4))}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for line := range strings.Lines(d.Input) {
				words := strings.Fields(line)
				switch d.Cmd {
				case "fanout":
					var from int
					d.ScanArgs(t, "from", &from)
					out.WriteString(s.fanout(t, from, words))
				case "read":
					out.WriteString(s.read(t, words))
				default:
					t.Fatalf("unknown command %q", d.Cmd)
				}
				out.WriteString("\n")
			}
			if d.Cmd == "state" {
				return s.show()
			}
			return out.String()
		})
	})
}

// fanout takes "<sequence>.<ordinal> <conversation> <index> <user>…".
func (s *userScript) fanout(t *testing.T, from int, words []string) string {
	t.Helper()
	e := &imv1.FanoutEntry{UserIds: words[3:]}
	if _, err := fmt.Sscanf(words[0], "%d.%d", &e.Sequence, &e.Ordinal); err != nil {
		t.Fatal(err)
	}
	index := number(t, words[2])
	at := s.state.fanout(from, e, &imv1.MessagePlace{ConversationId: words[1], ConversationIndex: index, ServerTimeMs: int64(1000 + e.Sequence)})
	if at == nil {
		return "repeated"
	}
	var out []string
	for _, p := range at {
		out = append(out, fmt.Sprintf("%s #%d", p.User, p.Index))
	}
	return strings.Join(out, ", ")
}

// read takes "<user> <conversation> <index>".
func (s *userScript) read(t *testing.T, words []string) string {
	t.Helper()
	clear(s.state.moved)
	a := s.state.command(&imv1.UserCommand{UserId: words[0], Action: &imv1.UserCommand_MarkRead{
		MarkRead: &imv1.MarkRead{ConversationId: words[1], ReadIndex: number(t, words[2])},
	}})
	if err := a.GetError(); err != nil {
		return fmt.Sprintf("%s: %s", strings.TrimPrefix(err.GetCode().String(), "ERROR_CODE_"), err.GetText())
	}
	r := a.GetReadMarked()
	out := fmt.Sprintf("read up to %d, version %d", r.GetReadIndex(), r.GetListVersion())
	for _, m := range s.state.moved {
		out += fmt.Sprintf("; moved to %d, version %d", m.GetReadIndex(), m.GetListVersion())
	}
	return out
}

func number(t *testing.T, word string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *userScript) show() string {
	var out strings.Builder
	for _, u := range slices.Sorted(maps.Keys(s.state.heads)) {
		fmt.Fprintf(&out, "%s: %d entries, version %d\n", u, s.state.heads[u].GetLastIndex(), s.state.heads[u].GetListVersion())
		refs := slices.SortedFunc(maps.Keys(s.state.lists), func(a, b chain.ListRef) int {
			return strings.Compare(string(a.Conversation), string(b.Conversation))
		})
		for _, ref := range refs {
			if r := s.state.lists[ref]; ref.User == u && r != nil {
				fmt.Fprintf(&out, "  %s: seen %d, read %d, at %d\n", ref.Conversation, r.GetSeenIndex(), r.GetReadIndex(), r.GetUpdatedMs())
			}
		}
	}
	for from, p := range s.state.progress {
		if p != nil {
			fmt.Fprintf(&out, "from %d: %d.%d\n", from, p.GetSequence(), p.GetOrdinal())
		}
	}
	return out.String()
}

// The user chain of a user is one order over all conversations, and each state counts for itself.
func TestUserStateKeepsUsersApart(t *testing.T) {
	st := newUserState(make([]*imv1.FanoutProgress, 1))
	for i := range 100 {
		e := &imv1.FanoutEntry{Sequence: uint64(i + 1), UserIds: []string{"alice"}}
		if i%2 == 0 {
			e.UserIds = append(e.UserIds, "bob")
		}
		st.fanout(0, e, &imv1.MessagePlace{ConversationId: "s:alice:bob", ConversationIndex: uint64(i + 1)})
	}
	if a, b := st.heads["alice"].GetLastIndex(), st.heads["bob"].GetLastIndex(); a != 100 || b != 50 {
		t.Errorf("heads are %d and %d, want 100 and 50", a, b)
	}
	if got := st.lists[chain.ListRef{User: "bob", Conversation: "s:alice:bob"}].GetSeenIndex(); got != 99 {
		t.Errorf("bob has seen %d, want 99", got)
	}
	if len(st.lists) != 2 || len(st.heads) != 2 || im.UserIndex(len(st.entries)) != 100 {
		t.Errorf("%d lists, %d heads, %d entries", len(st.lists), len(st.heads), len(st.entries))
	}
}
