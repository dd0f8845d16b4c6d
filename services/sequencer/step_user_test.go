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
type userScript struct {
	state *userState
	users
}

// users are the chains and lists of users, as a worker keeps them.
type users struct {
	chains map[im.UserID]*userChain
	lists  map[chain.ListRef]*listed
}

func newUsers() users {
	return users{make(map[im.UserID]*userChain), make(map[chain.ListRef]*listed)}
}

func (u users) at(c string, names ...string) (spots []spot) {
	for _, name := range names {
		ref := chain.ListRef{User: im.UserID(name), Conversation: im.ConversationID(c)}
		if u.chains[ref.User] == nil {
			u.chains[ref.User] = &userChain{user: ref.User}
		}
		if u.lists[ref] == nil {
			u.lists[ref] = &listed{ref: ref}
		}
		spots = append(spots, spot{u.chains[ref.User], u.lists[ref]})
	}
	return spots
}

func placeAt(c string, index uint64, timeMs int64) chain.Place {
	return chain.Place{Ref: chain.Ref{Conversation: im.ConversationID(c), Index: im.ConversationIndex(index)}, TimeMs: timeMs}
}

func TestUserStep(t *testing.T) {
	datadriven.Walk(t, "testdata/user", func(t *testing.T, path string) {
		s := &userScript{newUserState(make([]position, 4)), newUsers()}
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
	var p position
	if _, err := fmt.Sscanf(words[0], "%d.%d", &p.sequence, &p.ordinal); err != nil {
		t.Fatal(err)
	}
	message := placeAt(words[1], number(t, words[2]), int64(1000+p.sequence))
	at := s.state.fanout(from, p, message, s.at(words[1], words[3:]...))
	if at == nil {
		return "repeated"
	}
	var out []string
	for _, p := range at {
		out = append(out, fmt.Sprintf("%s #%d", p.user, p.index))
	}
	return strings.Join(out, ", ")
}

// read takes "<user> <conversation> <index>".
func (s *userScript) read(t *testing.T, words []string) string {
	t.Helper()
	clear(s.state.moved)
	a := s.state.command(&imv1.UserCommand{UserId: words[0], Action: &imv1.UserCommand_MarkRead{
		MarkRead: &imv1.MarkRead{ConversationId: words[1], ReadIndex: number(t, words[2])},
	}}, s.at(words[1], words[0])[0])
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
	for _, u := range slices.Sorted(maps.Keys(s.chains)) {
		head := s.chains[u].head
		if head == nil {
			continue
		}
		fmt.Fprintf(&out, "%s: %d entries, version %d\n", u, head.GetLastIndex(), head.GetListVersion())
		refs := slices.SortedFunc(maps.Keys(s.lists), func(a, b chain.ListRef) int {
			return strings.Compare(string(a.Conversation), string(b.Conversation))
		})
		for _, ref := range refs {
			if r := s.lists[ref].record; ref.User == u && r != nil {
				fmt.Fprintf(&out, "  %s: seen %d, read %d, at %d\n", ref.Conversation, r.GetSeenIndex(), r.GetReadIndex(), r.GetUpdatedMs())
			}
		}
	}
	for from, p := range s.state.progress {
		if p != (position{}) {
			fmt.Fprintf(&out, "from %d: %d.%d\n", from, p.sequence, p.ordinal)
		}
	}
	return out.String()
}

// The user chain of a user is one order over all conversations, and each state counts for itself.
func TestUserStateKeepsUsersApart(t *testing.T) {
	st, users := newUserState(make([]position, 1)), newUsers()
	for i := range 100 {
		to := []string{"alice"}
		if i%2 == 0 {
			to = append(to, "bob")
		}
		st.fanout(0, position{sequence: uint64(i + 1)}, placeAt("s:alice:bob", uint64(i+1), 0), users.at("s:alice:bob", to...))
	}
	if a, b := users.chains["alice"].head.GetLastIndex(), users.chains["bob"].head.GetLastIndex(); a != 100 || b != 50 {
		t.Errorf("heads are %d and %d, want 100 and 50", a, b)
	}
	if got := users.lists[chain.ListRef{User: "bob", Conversation: "s:alice:bob"}].record.GetSeenIndex(); got != 99 {
		t.Errorf("bob has seen %d, want 99", got)
	}
	if a, b := users.chains["alice"].entered, users.chains["bob"].entered; len(st.chains) != 2 || len(a) != 100 || len(b) != 50 {
		t.Errorf("%d chains, with %d and %d new entries", len(st.chains), len(a), len(b))
	}
}
