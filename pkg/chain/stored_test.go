package chain

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func encode(m imv1.Encoder) []byte { return imv1.Append(nil, m) }

func drawEntry(t *rapid.T) *imv1.ChainEntry {
	users := rapid.SampledFrom([]string{"ann", "ben", "cleo"})
	m := &imv1.Message{
		MessageId: rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "id"), ConversationId: "g:x",
		ConversationIndex: rapid.Uint64().Draw(t, "index"), SenderId: users.Draw(t, "sender"),
		Type:         imv1.MessageType(rapid.Int32Range(0, 9).Draw(t, "type")),
		ServerTimeMs: rapid.Int64().Draw(t, "time"),
		Body:         &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: rapid.String().Draw(t, "text")}}},
	}
	if rapid.Bool().Draw(t, "visibility") {
		m.Visibility = &imv1.Visibility{
			Scope: imv1.VisibilityScope(rapid.Int32Range(0, 4).Draw(t, "scope")), UserIds: rapid.SliceOfN(users, 0, 3).Draw(t, "part"),
		}
	}
	return &imv1.ChainEntry{Message: m, Sequence: rapid.Uint64().Draw(t, "sequence")}
}

// What is read from the encoded entry is what the entry says, and the message is handed on byte for byte.
func TestStoredIsTheEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawEntry(t)
		m := want.GetMessage()
		s, err := storedOf(encode(want))
		if err != nil || uint64(s.Index) != m.GetConversationIndex() || !bytes.Equal(s.Message, encode(m)) {
			t.Fatalf("got %+v, %v of %v", s, err, want)
		}
		if got, err := s.Decode(); err != nil || !proto.Equal(got, want) {
			t.Fatalf("got %v, %v; want %v", got, err, want)
		}
		member := Membership{always: true}
		for _, u := range []im.UserID{"ann", "ben", "cleo", "dan"} {
			sees := VisibilityOf(m.GetVisibility()).Admits(im.UserID(m.GetSenderId()), u)
			counts := m.GetType() != imv1.MessageType_MESSAGE_TYPE_SYSTEM && m.GetSenderId() != string(u)
			if member.Sees(u, s) != sees || s.CountsFor(u) != counts {
				t.Fatalf("%s: sees %v, counts %v of %v", u, member.Sees(u, s), s.CountsFor(u), want)
			}
		}
	})
}

func TestBrokenEntriesAreErrors(t *testing.T) {
	whole := encode(&imv1.ChainEntry{Message: &imv1.Message{
		ConversationIndex: 3, SenderId: "ann",
		Visibility: &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF, UserIds: []string{"ben"}},
	}})
	for n := 1; n < len(whole); n++ {
		if s, err := storedOf(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are %+v", n, len(whole), s)
		}
	}
	broken := bytes.Replace(whole, []byte("\x12\x03ben"), []byte("\x12\x7fben"), 1)
	if s, err := storedOf(broken); err == nil {
		t.Errorf("a broken visibility is %+v", s)
	}
	if s, err := storedOf(nil); err != nil || s.Message != nil {
		t.Errorf("no entry: %v, %v", s, err)
	}
}

func BenchmarkStored(b *testing.B) {
	for _, size := range []int{200, 4000} {
		value := encode(&imv1.ChainEntry{Message: &imv1.Message{
			MessageId: make([]byte, 16), ClientMessageId: "a-client-message-id", ConversationId: "s:ann:ben", ConversationIndex: 1234,
			SenderId: "ann", ReceiverId: "ben", Type: imv1.MessageType_MESSAGE_TYPE_TEXT, ServerTimeMs: 1795450075851,
			Body: &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: string(bytes.Repeat([]byte("x"), size))}}},
		}, Sequence: 77})
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := storedOf(value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
