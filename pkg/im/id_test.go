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
func TestPartitionIsFoldedFNV1a(t *testing.T) {
	for _, id := range []string{"", "a", "alice", "s:alice:bob", "ünï", strings.Repeat("x", 200)} {
		h := fnv.New32a()
		h.Write([]byte(id))
		for _, n := range []int{1, 4, 7, 64} {
			folded := h.Sum32() ^ h.Sum32()>>16
			if got, want := Partition(UserID(id), n), int(folded%uint32(n)); got != want {
				t.Errorf("%q of %d: got %d, want %d", id, n, got, want)
			}
		}
	}
}

// The letters of these ids have their two lower bits in common, and an unfolded hash brings all of them to one of four.
func TestIdsThatAreAlikeSpreadOverPartitions(t *testing.T) {
	var count [4]int
	for i := range 1296 {
		id := []byte{"dhlptx"[i%6], "dhlptx"[i/6%6], "dhlptx"[i/36%6], "dhlptx"[i/216]}
		count[Partition(UserID(id), 4)]++
	}
	for p, n := range count {
		if n < 1296/8 || n > 1296/2 {
			t.Errorf("partition %d has %d of 1296 ids", p, n)
		}
	}
}
