package chain

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/catena-im/catena/pkg/im"
)

var layout = Layout{ConvPartitions: 4, UserPartitions: 8}

// anyKey draws a key of any record together with what it should decode to. Ids are any bytes: the codec does not rest
// on ids being valid.
func anyKey(t *rapid.T) ([]byte, Key) {
	text := rapid.SliceOfN(rapid.Byte(), 0, 12)
	c := im.ConversationID(text.Draw(t, "conversation"))
	u := im.UserID(text.Draw(t, "user"))
	i := rapid.Uint64().Draw(t, "index")
	p := rapid.IntRange(0, 1<<16-1).Draw(t, "partition")
	id := im.MessageID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	conv, user := layout.Conversation(c), layout.User(u)
	switch rapid.IntRange(0, 8).Draw(t, "record") {
	case 0:
		return FenceKey(User, p), Key{Record: RecordFence, Area: User, Partition: p}
	case 1:
		return layout.headKey(nil, c), Key{Record: RecordConversationHead, Area: Conv, Partition: conv, Conversation: c}
	case 2:
		return layout.messageKey(nil, c, im.ConversationIndex(i)),
			Key{Record: RecordChainEntry, Area: Conv, Partition: conv, Conversation: c, Index: i}
	case 3:
		return layout.participantKey(nil, c, u), Key{Record: RecordParticipant, Area: Conv, Partition: conv, Conversation: c, User: u}
	case 4:
		return layout.idKey(nil, c, id), Key{Record: RecordMessageID, Area: Conv, Partition: conv, MessageID: id}
	case 5:
		return layout.userHeadKey(nil, u), Key{Record: RecordUserHead, Area: User, Partition: user, User: u}
	case 6:
		return layout.entryKey(nil, u, im.UserIndex(i)), Key{Record: RecordUserEntry, Area: User, Partition: user, User: u, Index: i}
	case 7:
		return layout.listKey(nil, u, c), Key{Record: RecordList, Area: User, Partition: user, User: u, Conversation: c}
	default:
		return progressKey(nil, p, p/2), Key{Record: RecordProgress, Area: User, Partition: p, From: p / 2}
	}
}

func TestKeysDecodeToWhatTheyWereMadeOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, want := anyKey(t)
		got, err := DecodeKey(key)
		if err != nil || got != want {
			t.Fatalf("key %x: got %+v, %v; want %+v", key, got, err, want)
		}
	})
}

func TestDifferentKeysNeverShareBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, ka := anyKey(t)
		b, kb := anyKey(t)
		if bytes.Equal(a, b) != (ka == kb) {
			t.Fatalf("%+v is %x, %+v is %x", ka, a, kb, b)
		}
	})
}

func TestChainsSortByIndexAndListsById(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := im.UserID(rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "user"))
		i, j := rapid.Uint64().Draw(t, "i"), rapid.Uint64().Draw(t, "j")
		if got := bytes.Compare(layout.entryKey(nil, u, im.UserIndex(i)), layout.entryKey(nil, u, im.UserIndex(j))); got != cmp.Compare(i, j) {
			t.Fatalf("entries %d and %d compare as %d", i, j, got)
		}
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00:")), 0, 6, -1)
		c, d := text.Draw(t, "c"), text.Draw(t, "d")
		got := bytes.Compare(layout.listKey(nil, u, im.ConversationID(c)), layout.listKey(nil, u, im.ConversationID(d)))
		if got != cmp.Compare(c, d) {
			t.Fatalf("conversations %q and %q compare as %d", c, d, got)
		}
	})
}

// A chain is scanned as a range; no key of another chain, conversation or user may lie in it.
func TestPrefixesHoldOnlyTheirOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := im.ConversationID(rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00\xff")), 0, 5, -1).Draw(t, "conversation"))
		p := layout.convKey(nil, c, tagParticipant)
		key, k := anyKey(t)
		inside := bytes.Compare(p, key) <= 0 && bytes.Compare(key, end(p)) < 0
		if own := k.Record == RecordParticipant && k.Conversation == c; inside != own {
			t.Fatalf("%+v (%x) in the range of the participants of %q: %v", k, key, c, inside)
		}
	})
}

func FuzzDecodeKey(f *testing.F) {
	f.Add(FenceKey(Conv, 3))
	f.Add(layout.messageKey(nil, "s:alice:bob", 7))
	f.Add(layout.participantKey(nil, "g:abc", "alice"))
	f.Add(layout.idKey(nil, "s:alice:bob", im.NewMessageID("s:alice:bob", "alice", "1")))
	f.Add(layout.listKey(nil, "alice", "s:alice:bob"))
	f.Add(progressKey(nil, 1, 2))
	f.Fuzz(func(t *testing.T, key []byte) {
		k, err := DecodeKey(key)
		if err != nil {
			return
		}
		if again := encodeKey(k); !bytes.Equal(again, key) {
			t.Fatalf("%x decodes to %+v, which is %x", key, k, again)
		}
	})
}

// encodeKey makes the key that k was decoded from, partition included (it need not be the one that the ids hash to).
func encodeKey(k Key) []byte {
	var key []byte
	switch k.Record {
	case RecordFence:
		return FenceKey(k.Area, k.Partition)
	case RecordConversationHead:
		key = layout.headKey(nil, k.Conversation)
	case RecordChainEntry:
		key = layout.messageKey(nil, k.Conversation, im.ConversationIndex(k.Index))
	case RecordParticipant:
		key = layout.participantKey(nil, k.Conversation, k.User)
	case RecordMessageID:
		key = layout.idKey(nil, "", k.MessageID)
	case RecordUserHead:
		key = layout.userHeadKey(nil, k.User)
	case RecordUserEntry:
		key = layout.entryKey(nil, k.User, im.UserIndex(k.Index))
	case RecordList:
		key = layout.listKey(nil, k.User, k.Conversation)
	case RecordProgress:
		return progressKey(nil, k.Partition, k.From)
	}
	key[1], key[2] = byte(k.Partition>>8), byte(k.Partition)
	return key
}

// TestBordersSeparatePartitions: cut at the borders, no piece of the key space holds keys of two partitions.
func TestBordersSeparatePartitions(t *testing.T) {
	l := Layout{ConvPartitions: 3, UserPartitions: 2}
	borders := l.Borders()
	slices.SortFunc(borders, bytes.Compare)
	piece := func(key []byte) int {
		at, found := slices.BinarySearchFunc(borders, key, bytes.Compare)
		if found {
			at++
		}
		return at
	}
	owner := map[int]string{}
	for _, area := range []Area{Conv, User} {
		for n := range 4 {
			if area == Conv && n >= l.ConvPartitions || area == User && n >= l.UserPartitions {
				continue
			}
			name := fmt.Sprint(string(area), n)
			for tag := range 256 {
				key := prefix(nil, area, n, byte(tag))
				if other := owner[piece(key)]; other != "" && other != name {
					t.Fatalf("%x of %s lies with %s", key, name, other)
				}
				owner[piece(key)] = name
			}
		}
	}
	if at := piece(FenceKey(User, 1)); owner[at] != "u1" {
		t.Errorf("the fence of u1 lies with %q, and a commit in two pieces", owner[at])
	}
}
