package im

import (
	"errors"
	"hash/fnv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestIDsAreRefusedWithAReason(t *testing.T) {
	for _, id := range []string{"", strings.Repeat("a", 65), "a.b", "a*", ">", "a b", "a\tb", "a\x00b", "a\u0085b", "a\u00a0b", "\xff", "a:b", "a\u202eb", "a\u200bb"} {
		err := UserID(id).Validate()
		var bad *IDError
		if !errors.As(err, &bad) || bad.Why == "" {
			t.Errorf("user id %q: got %v, want a refusal", id, err)
		}
	}
	for _, id := range []string{"a", "alice", "Łukasz", "用户", "a-b_c@d", strings.Repeat("a", 64)} {
		if err := UserID(id).Validate(); err != nil {
			t.Errorf("user id %q: %v", id, err)
		}
	}
}

func userID() *rapid.Generator[UserID] {
	return rapid.Map(rapid.StringOfN(rapid.RuneFrom([]rune("abλ用-_")), 1, 16, -1), func(s string) UserID { return UserID(s) })
}

func TestConversationIDsParseToWhatTheyWereMadeOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := userID().Draw(t, "a"), userID().Draw(t, "b")
		id := Single(a, b)
		if id != Single(b, a) {
			t.Fatalf("%s and %s do not agree on their conversation", a, b)
		}
		c, err := id.Parse()
		if err != nil || c.Kind != KindSingle || !c.Holds(a) || !c.Holds(b) || c.Peer(a) != b || c.Peer(b) != a {
			t.Fatalf("%s: %+v, %v", id, c, err)
		}
		if c, err := Group(a, ClientMessageID(b)).Parse(); err != nil || c.Kind != KindGroup {
			t.Fatalf("group: %+v, %v", c, err)
		}
	})
}

func TestOtherConversationIDsAreRefused(t *testing.T) {
	for _, id := range []ConversationID{
		"", "s:", "s:a", "s:a:", "s::a", "s:b:a", "s:a:b:c", "g:", "g:short", "x:a:b", "alice",
		ConversationID(strings.ToUpper(string(Group("a", "b")))), "g:" + ConversationID(strings.Repeat("1", 24)),
		ConversationID("s:" + strings.Repeat("a", 200)),
	} {
		if c, err := id.Parse(); err == nil {
			t.Errorf("%q parses to %+v", id, c)
		}
	}
}

func TestMessageIDsDependOnEveryPart(t *testing.T) {
	base := NewMessageID("s:a:b", "a", "1")
	if base != NewMessageID("s:a:b", "a", "1") {
		t.Fatal("the same message has two ids")
	}
	for _, other := range []MessageID{
		NewMessageID("s:a:c", "a", "1"), NewMessageID("s:a:b", "b", "1"), NewMessageID("s:a:b", "a", "2"),
		NewMessageID("s:a:", "ba", "1"), NewMessageID("s:a:b", "", "a1"),
	} {
		if other == base {
			t.Errorf("two messages share the id %s", base)
		}
	}
}

// The partition of an id is for ever: another hash would look for everything in the wrong place.
func TestPartitionIsFNV1a(t *testing.T) {
	for _, id := range []string{"", "a", "alice", "s:alice:bob", "ünï", strings.Repeat("x", 200)} {
		h := fnv.New32a()
		h.Write([]byte(id))
		for _, n := range []int{1, 4, 7, 64} {
			if got, want := Partition(UserID(id), n), int(h.Sum32()%uint32(n)); got != want {
				t.Errorf("%q of %d: got %d, want %d", id, n, got, want)
			}
		}
	}
}
