package inspect

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// records are one of each kind, as a store would hold them.
func records(t *testing.T) []kv.Op {
	t.Helper()
	var b kv.Batch
	w := chain.NewWriter(chain.Layout{ConvPartitions: 1, UserPartitions: 1}, &b)
	const c = im.ConversationID("s:alice:bob")
	id := im.NewMessageID(c, "alice", "m1")
	w.ConversationHead(c, &imv1.ConversationHead{LastIndex: 1})
	w.Entry(&imv1.Message{ConversationId: string(c), ConversationIndex: 1, MessageId: id[:]}, 3, 0, 9)
	w.Participant(c, "alice", &imv1.Participant{Intervals: []*imv1.Interval{{JoinedIndex: 1}}})
	w.UserHead("alice", &imv1.UserHead{LastIndex: 5})
	w.UserEntry("alice", 5, chain.Ref{Conversation: c, Index: 1})
	w.List("alice", c, &imv1.ListRecord{SeenIndex: 1})
	w.Progress(0, 0, &imv1.FanoutProgress{Sequence: 3})
	fence, err := proto.Marshal(&imv1.FenceRecord{Epoch: 2})
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Collect(b.Ops()), kv.Op{Key: chain.FenceKey(chain.User, 0), Value: fence})
}

func TestEveryRecordIsDecoded(t *testing.T) {
	want := []string{
		`conv.000 conversation head s:alice:bob {"lastIndex":"1"}`,
		`conv.000 conversation chain s:alice:bob #1 {"message":{"messageId":"`,
		`conv.000 message id `,
		`conv.000 participant s:alice:bob alice {"intervals":[{"joinedIndex":"1"}]}`,
		`user.000 user head alice {"lastIndex":"5"}`,
		`user.000 user chain alice #5 {"conversationId":"s:alice:bob","conversationIndex":"1"}`,
		`user.000 conversation list s:alice:bob alice {"seenIndex":"1"}`,
		`user.000 fan-out progress conv.000 {"sequence":"3"}`,
		`user.000 fence {"epoch":"2"}`,
	}
	seen := map[string]bool{}
	for i, op := range records(t) {
		r := DecodeRecord(op.Key, op.Value)
		if got := r.String(); !strings.HasPrefix(got, want[i]) || r.Error != "" {
			t.Errorf("got %s, want %s…", got, want[i])
		}
		if text, err := json.Marshal(r); err != nil || !json.Valid(text) {
			t.Errorf("as JSON: %s, %v", text, err)
		}
		seen[r.Record] = true
	}
	for _, name := range Records {
		if !seen[name] {
			t.Errorf("the record %q is not tried", name)
		}
	}
}

func TestWhatCannotBeDecodedIsShown(t *testing.T) {
	for _, r := range []Record{
		DecodeRecord([]byte("?"), []byte{1, 2}),
		DecodeRecord(chain.FenceKey(chain.Conv, 1), []byte{0xff}),
	} {
		if r.Error == "" || r.Raw == "" || !strings.Contains(r.String(), r.Raw) {
			t.Errorf("got %+v, want the reason and the bytes", r)
		}
		if !(Filter{}).Picks(r) {
			t.Errorf("%s is not shown", r)
		}
	}
}

func TestFilter(t *testing.T) {
	count := func(f Filter) int {
		n := 0
		for _, op := range records(t) {
			if f.Picks(DecodeRecord(op.Key, op.Value)) {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		f    Filter
		want int
	}{
		{Filter{}, 9},
		{Filter{Record: "fence"}, 1},
		{Filter{Partition: "user.000"}, 5},
		{Filter{Partition: "user.001"}, 0},
		{Filter{Conversation: "s:alice:bob"}, 5}, // head, chain, participant, user chain, list
		{Filter{User: "alice"}, 4},
		{Filter{User: "alice", Record: "user chain"}, 1},
	} {
		if got := count(tt.f); got != tt.want {
			t.Errorf("%+v picks %d records, want %d", tt.f, got, tt.want)
		}
	}
}

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStreamMessagesAreDecoded(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	body := &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: "hi"}}}
	tests := []struct {
		p       bus.Partition
		payload proto.Message
		want    string
	}{
		{bus.Partition{Kind: bus.Conv, Number: 2}, &imv1.CommandBatch{EdgeId: "e1", Commands: []*imv1.Command{
			{UserId: "alice", Session: 4, RequestId: 5, ConversationId: "s:alice:bob", Action: &imv1.Command_Send{Send: &imv1.Send{Body: body}}},
			{UserId: "bob", ConversationId: "g:x", Action: &imv1.Command_LeaveGroup{LeaveGroup: &imv1.LeaveGroup{}}},
			{UserId: "carol"},
		}}, `conv.002 7  2023-11-14T22:13:20.000Z  id m7, 63 bytes
  0 send of alice in s:alice:bob, session 4 request 5 of edge e1: {"body":{"text":{"text":"hi"}}}
  1 leave_group of bob in g:x, session 0 request 0 of edge e1: {}
  2 nothing of carol in , session 0 request 0 of edge e1: {}`},
		{bus.Partition{Kind: bus.User}, &imv1.UserBatch{Source: &imv1.UserBatch_Commands{Commands: &imv1.UserCommandBatch{EdgeId: "e1",
			Commands: []*imv1.UserCommand{{UserId: "bob", Action: &imv1.UserCommand_MarkRead{MarkRead: &imv1.MarkRead{ReadIndex: 3}}}}}}},
			`user.000 7  2023-11-14T22:13:20.000Z  id m7, 17 bytes
  0 mark_read of bob, session 0 request 0 of edge e1: {"readIndex":"3"}`},
		{bus.Partition{Kind: bus.User, Number: 1}, &imv1.UserBatch{Source: &imv1.UserBatch_Fanout{Fanout: &imv1.FanoutBatch{ConversationPartition: 3,
			Entries: []*imv1.FanoutEntry{{Sequence: 8, Ordinal: 1, UserIds: []string{"alice", "bob"}, Message: encode(t, &imv1.Message{SenderId: "bob", Body: body})}}}}},
			`user.001 7  2023-11-14T22:13:20.000Z  id m7, 37 bytes
  fan-out of conv.003 8/1 to alice,bob: {"senderId":"bob","body":{"text":{"text":"hi"}}}`},
	}
	for _, tt := range tests {
		item := DecodeItem(tt.p, bus.Msg{Seq: 7, Time: at, ID: "m7", Data: encode(t, tt.payload)})
		if got := item.String(); got != tt.want {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
		if text, err := json.Marshal(item); err != nil || !bytes.Contains(text, []byte(`"sequence":7`)) {
			t.Errorf("as JSON: %s, %v", text, err)
		}
	}
	broken := DecodeItem(tests[0].p, bus.Msg{Seq: 7, Data: []byte{0xff}})
	if broken.Raw != "ff" || !strings.Contains(broken.String(), "not a valid im.v1.CommandBatch") {
		t.Errorf("what is no batch is shown as %s", broken)
	}
}

func TestPayload(t *testing.T) {
	got, err := Payload("Sent", encode(t, &imv1.Sent{ConversationIndex: 3}))
	if err != nil || string(got) != `{"conversationIndex":"3"}` {
		t.Errorf("Payload: %s, %v", got, err)
	}
	got, err = Payload(TypeKey, chain.FenceKey(chain.Conv, 2))
	if err != nil || !strings.Contains(string(got), `"partition":"conv.002"`) {
		t.Errorf("Payload of a key: %s, %v", got, err)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"Nonsense", nil, "there is no type Nonsense; there are: "},
		{"Sent", []byte{0xff}, "not a valid im.v1.Sent"},
		{"Ping", encode(t, &imv1.Sent{ConversationIndex: 3}), "fields that this version does not know"},
		{TypeKey, []byte("x"), "not a key"},
	} {
		if _, err := Payload(tt.name, tt.data); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Payload(%s): %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, name := range Types() {
		if _, err := Payload(name, nil); err != nil && name != TypeKey {
			t.Errorf("the listed type %s: %v", name, err)
		}
	}
}

func TestBytes(t *testing.T) {
	want := []byte{0xfb, 0xff, 0x01}
	for _, text := range []string{"fbff01", "0xFBFF01", "fb ff\n01", "+/8B", "-_8B", "-_8B=="} {
		if got, err := Bytes(text); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Bytes(%q) = %x, %v, want %x", text, got, err, want)
		}
	}
	if _, err := Bytes("*"); err == nil {
		t.Error("Bytes takes what is neither")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("c\x00\x00"), []byte{8, 1})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r := DecodeRecord(key, value)
		_ = r.String()
		if _, err := json.Marshal(r); err != nil {
			t.Errorf("record: %v", err)
		}
		for _, k := range []bus.Kind{bus.Conv, bus.User} {
			item := DecodeItem(bus.Partition{Kind: k}, bus.Msg{ID: string(key), Data: value})
			_ = item.String()
			if _, err := json.Marshal(item); err != nil {
				t.Errorf("item: %v", err)
			}
		}
	})
}
