package edge

import (
	"slices"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// seeds are one request of each kind.
func seeds() []*imv1.ClientFrame {
	frames := []*imv1.ClientFrame{
		{Id: 1, Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{Token: "t", DeviceId: "d", Platform: "cli"}}},
		{Id: 2, Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}},
		{Id: 3, Body: &imv1.ClientFrame_PullUser{PullUser: &imv1.PullUser{FromIndex: new(uint64)}}},
		{Id: 4, Body: &imv1.ClientFrame_ListConversations{ListConversations: &imv1.ListConversations{PageToken: "p"}}},
	}
	for _, name := range []string{"bob", "a\u00e9", ""} {
		for _, build := range idFields {
			f := build(name)
			f.Id = uint64(len(frames) + 1)
			frames = append(frames, f)
		}
	}
	f := sendFrame("m", "bob", "x")
	f.GetSend().Body = &imv1.Body{Content: &imv1.Body_Location{Location: &imv1.LocationBody{LatitudeDeg: 91}}}
	return append(frames, f)
}

// checkRequest does with a frame what a session does, and checks what would be passed on.
func checkRequest(t *testing.T, r received) {
	if (r.frame == nil) == (r.err == nil) {
		t.Fatalf("neither a frame nor an error, or both: %+v", r)
	}
	if r.err != nil {
		if refusal.Of(r.err).GetCode() == imv1.ErrorCode_ERROR_CODE_INTERNAL || !utf8.ValidString(r.err.Error()) {
			t.Fatalf("a client would be told %q", r.err)
		}
		return
	}
	kind, ok := kindOf(r.frame)
	if !ok {
		return
	}
	switch kind {
	case "connect", "ping":
	case "pull_conversation", "pull_user", "list_conversations", "get_conversation":
		if request, err := historyRequest("alice", r.frame); err == nil && request.GetBody() == nil {
			t.Fatalf("%v became an empty request", r.frame)
		}
	case "mark_read":
		_, _ = userCommand("alice", r.frame)
	default:
		if c, err := command("alice", r.frame); err == nil {
			checkCommand(t, c)
		}
	}
}

func checkCommand(t *testing.T, c *imv1.Command) {
	if _, err := im.ConversationID(c.GetConversationId()).Parse(); err != nil {
		t.Fatalf("%v: %v", c, err)
	}
	if proto.Size(c.GetSend().GetBody()) > im.MaxBody || weight(c) > maxVisible+1 {
		t.Fatalf("a command of %d bytes and weight %d was accepted", proto.Size(c), weight(c))
	}
	if named := c.GetSend().GetVisibility().GetUserIds(); !slices.IsSorted(named) || slices.Contains(named, "alice") {
		t.Fatalf("visibility %v is not canonical", named)
	}
	if c.GetAction() == nil {
		t.Fatal("a command without action was accepted")
	}
	if _, err := proto.Marshal(c); err != nil {
		t.Fatal(err)
	}
}

func FuzzDecodeBinary(f *testing.F) {
	all := new(imv1.ClientFrames)
	for _, frame := range seeds() {
		one, err := proto.Marshal(&imv1.ClientFrames{Frames: []*imv1.ClientFrame{frame}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(one)
		f.Add(one[:len(one)/2])
		all.Frames = append(all.Frames, frame)
	}
	data, err := proto.Marshal(all)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		decode(false, data, func(r received) { checkRequest(t, r) })
	})
}

func FuzzDecodeJSON(f *testing.F) {
	for _, frame := range seeds() {
		data, err := protojson.Marshal(frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		decode(true, data, func(r received) { checkRequest(t, r) })
	})
}
