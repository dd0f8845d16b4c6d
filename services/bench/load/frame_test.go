package load

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestEncodedSendIsTheOneOfTheContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := outgoing{
			number: rapid.Uint64Range(1, firstCall-1).Draw(t, "number"),
			after:  rapid.Uint64().Draw(t, "after"),
			text:   rapid.StringN(1, 400, -1).Draw(t, "text"),
		}
		if rapid.Bool().Draw(t, "single") {
			o.to = rapid.StringN(1, 64, -1).Draw(t, "to")
		} else {
			o.conversation = rapid.StringN(1, 140, -1).Draw(t, "conversation")
		}
		var got imv1.ClientFrames
		if err := (proto.UnmarshalOptions{}).Unmarshal(appendSend(nil, &o), &got); err != nil {
			t.Fatal(err)
		}
		want := &imv1.Send{
			ConversationId: o.conversation, ToUserId: o.to, ClientMessageId: string(appendID(nil, o.number)),
			Type: imv1.MessageType_MESSAGE_TYPE_TEXT, Body: &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: o.text}}},
		}
		if o.after != 0 {
			want.After = string(appendID(nil, o.after))
		}
		frame := &imv1.ClientFrame{Id: o.number, Body: &imv1.ClientFrame_Send{Send: want}}
		if len(got.GetFrames()) != 1 || !proto.Equal(got.GetFrames()[0], frame) {
			t.Fatalf("got %v, want %v", &got, frame)
		}
	})
}

func message(number, index uint64) *imv1.Message {
	return &imv1.Message{
		MessageId: make([]byte, 16), ClientMessageId: string(appendID(nil, number)), ConversationId: "s:a:b",
		ConversationIndex: index, SenderId: "a", Body: &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: "x"}}},
	}
}

func TestServerFramesAreReadAsTheContractSays(t *testing.T) {
	frames := []*imv1.ServerFrame{
		{Id: 7, Body: &imv1.ServerFrame_Sent{Sent: &imv1.Sent{MessageId: make([]byte, 16), ConversationIndex: 9}}},
		{Id: 8, Body: &imv1.ServerFrame_Error{Error: &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER, Text: "no"}}},
		{Body: &imv1.ServerFrame_Push{Push: &imv1.Push{Entry: &imv1.UserEntry{UserIndex: 300, Message: message(0xabc, 5)}}}},
		{Body: &imv1.ServerFrame_Head{Head: &imv1.Head{UserIndex: 4}}},
	}
	data, err := proto.Marshal(&imv1.ServerFrames{Frames: frames})
	if err != nil {
		t.Fatal(err)
	}
	want := []frame{
		{id: 7, kind: fieldSent},
		{id: 8, kind: fieldError, code: imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER},
		{kind: fieldPush, userIndex: 300, number: 0xabc},
		{kind: 13},
	}
	for i, w := range want {
		var got frame
		if got, data, err = nextFrame(data); err != nil {
			t.Fatal(err)
		}
		var decoded imv1.ServerFrame
		if err := proto.Unmarshal(got.raw, &decoded); err != nil || !proto.Equal(&decoded, frames[i]) {
			t.Errorf("frame %d: raw is %v, %v", i, &decoded, err)
		}
		got.raw = nil
		if got.id != w.id || got.kind != w.kind || got.userIndex != w.userIndex || got.number != w.number || got.code != w.code {
			t.Errorf("frame %d: got %+v, want %+v", i, got, w)
		}
	}
	if len(data) > 0 {
		t.Errorf("%d bytes are left", len(data))
	}
}

func TestPagesAreCounted(t *testing.T) {
	m1, m2 := message(1, 41), message(2, 42)
	bytes := proto.Size(m1) + proto.Size(m2)
	tests := []struct {
		frame *imv1.ServerFrame
		want  page
	}{
		{&imv1.ServerFrame{Id: 1, Body: &imv1.ServerFrame_ConversationPage{ConversationPage: &imv1.ConversationPage{
			ConversationId: "s:a:b", Messages: []*imv1.Message{m1, m2}, HeadIndex: 90, HasMore: true}}}, page{2, bytes, 42, true}},
		{&imv1.ServerFrame{Id: 1, Body: &imv1.ServerFrame_UserPage{UserPage: &imv1.UserPage{
			Entries: []*imv1.UserEntry{{UserIndex: 6, Message: m1}, {UserIndex: 7, Message: m2}}, Head: &imv1.Head{UserIndex: 7}}}}, page{2, bytes, 7, false}},
		{&imv1.ServerFrame{Id: 1, Body: &imv1.ServerFrame_UserPage{UserPage: &imv1.UserPage{}}}, page{}},
	}
	for _, tt := range tests {
		data, err := proto.Marshal(&imv1.ServerFrames{Frames: []*imv1.ServerFrame{tt.frame}})
		if err != nil {
			t.Fatal(err)
		}
		f, _, err := nextFrame(data)
		if err != nil {
			t.Fatal(err)
		}
		if got := readPage(&f); got != tt.want {
			t.Errorf("%v: got %+v, want %+v", tt.frame, got, tt.want)
		}
	}
}

func TestIDsOfOthersAreNoNumbers(t *testing.T) {
	for _, id := range []string{"", "make-group-7", strings.Repeat("g", idLength), strings.Repeat("0", idLength+1)} {
		if n, ok := parseID([]byte(id)); ok || n != 0 {
			t.Errorf("%q is read as %d", id, n)
		}
	}
}

func FuzzServerFrames(f *testing.F) {
	f.Add([]byte{10, 4, 8, 1, 90, 0})
	f.Fuzz(func(_ *testing.T, data []byte) {
		for len(data) > 0 {
			var got frame
			var err error
			if got, data, err = nextFrame(data); err != nil {
				return
			}
			readPage(&got)
		}
	})
}
