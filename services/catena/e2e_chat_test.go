package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// TestTwoUsersAndTheirDevicesChat goes through the life of a conversation of two, in both encodings.
func TestTwoUsersAndTheirDevicesChat(t *testing.T) {
	s := launch(t, anywhere(t))
	phone, _ := login(t, s.site, "alice", "phone", speakBinary)
	laptop, _ := login(t, s.site, "alice", "laptop", speakJSON)
	bob, _ := login(t, s.site, "bob", "web", speakJSON)

	first := phone.sent(say("bob", "m1", "hello"))
	if first.GetConversationId() != "s:alice:bob" || first.GetConversationIndex() != 1 || len(first.GetMessageId()) != 16 || first.GetServerTimeMs() == 0 {
		t.Errorf("sent: got %v", first)
	}
	var pushed []*imv1.Message
	for _, p := range []*peer{phone, laptop, bob} {
		pushed = append(pushed, p.push(1))
	}
	want := &imv1.Message{
		MessageId: first.GetMessageId(), ClientMessageId: "m1", ConversationId: "s:alice:bob", ConversationIndex: 1, SenderId: "alice",
		ReceiverId: "bob", Type: imv1.MessageType_MESSAGE_TYPE_TEXT, Body: textBody("hello"), ServerTimeMs: first.GetServerTimeMs(),
	}
	for _, got := range pushed {
		if !proto.Equal(got, want) {
			t.Errorf("pushed: got %v, want %v", got, want)
		}
	}
	again := laptop.sent(say("bob", "m1", "hello"))
	if !again.GetDuplicate() || again.GetContentDiffers() || again.GetConversationIndex() != 1 || again.GetServerTimeMs() != first.GetServerTimeMs() {
		t.Errorf("sent again from another device: got %v", again)
	}
	if other := phone.sent(say("bob", "m1", "other")); !other.GetDuplicate() || !other.GetContentDiffers() || other.GetConversationIndex() != 1 {
		t.Errorf("the id used for another content: got %v", other)
	}
	if theirs := bob.sent(say("alice", "m1", "hello")); theirs.GetConversationIndex() != 2 || theirs.GetDuplicate() {
		t.Errorf("the same id of another user: got %v", theirs)
	}
	for _, p := range []*peer{phone, laptop, bob} {
		if got := p.push(2).GetSenderId(); got != "bob" {
			t.Errorf("the second push is from %q", got)
		}
	}

	// A device that was away pulls what it missed; a new one starts from the list.
	if err := laptop.conn.CloseNow(); err != nil {
		t.Fatal(err)
	}
	bob.sent(say("alice", "m2", "one"))
	bob.sent(say("alice", "m3", "two"))
	phone.push(4)
	laptop, back := login(t, s.site, "alice", "laptop", speakBinary)
	if back.GetHead().GetUserIndex() != 4 || back.GetUserId() != "alice" {
		t.Errorf("connected: got %v", back)
	}
	if got := texts(laptop.chain(3)); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("the device that was away pulls %v", got)
	}
	tablet, _ := login(t, s.site, "alice", "tablet", speakJSON)
	entry := tablet.list()["s:alice:bob"]
	if entry.GetUnread() != 3 || entry.GetReadIndex() != 0 || entry.GetLastMessage().GetBody().GetText().GetText() != "two" || !entry.GetMember() {
		t.Errorf("the list of a new device: got %v", entry)
	}

	// Read positions reach the other devices and only move forward.
	if f := tablet.ask(markRead("s:alice:bob", 3)); f.GetReadMarked().GetReadIndex() != 3 {
		t.Errorf("mark read: got %v", f)
	}
	for _, p := range []*peer{phone, laptop} {
		f, _ := p.find(0, "read moved", func(f *imv1.ServerFrame) bool { return f.GetReadMoved() != nil })
		if f.GetReadMoved().GetReadIndex() != 3 || f.GetReadMoved().GetConversationId() != "s:alice:bob" {
			t.Errorf("read moved: got %v", f)
		}
	}
	if f := phone.ask(markRead("s:alice:bob", 1)); f.GetReadMarked().GetReadIndex() != 3 {
		t.Errorf("mark read backwards: got %v", f)
	}
	if got := phone.list()["s:alice:bob"]; got.GetUnread() != 1 || got.GetReadIndex() != 3 {
		t.Errorf("after reading three: got %v", got)
	}
	if f := phone.ask(markRead("s:alice:bob", 99)); f.GetReadMarked().GetReadIndex() != 4 {
		t.Errorf("mark read beyond the end: got %v", f)
	}
	if n := len(bob.list()); n != 1 {
		t.Errorf("bob has %d conversations", n)
	}
}

func texts(entries []*imv1.UserEntry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.GetMessage().GetBody().GetText().GetText())
	}
	return out
}

func TestNotesToOneselfStandOnceInTheChain(t *testing.T) {
	s := launch(t, anywhere(t))
	phone, _ := login(t, s.site, "alice", "phone", speakBinary)
	laptop, _ := login(t, s.site, "alice", "laptop", speakBinary)
	if sent := phone.sent(say("alice", "m1", "milk")); sent.GetConversationId() != "s:alice:alice" {
		t.Errorf("got %v", sent)
	}
	phone.sent(say("alice", "m2", "eggs"))
	laptop.push(2)
	if got := texts(laptop.chain(1)); !slices.Equal(got, []string{"milk", "eggs"}) {
		t.Errorf("the chain holds %v", got)
	}
	if got := laptop.list()["s:alice:alice"]; got.GetUnread() != 0 || got.GetKind() != imv1.ConversationKind_CONVERSATION_KIND_SINGLE {
		t.Errorf("the list holds %v", got)
	}
	if got := laptop.ask(getConversation("s:alice:alice")).GetConversation().GetMembers(); len(got) != 1 {
		t.Errorf("the members are %v", got)
	}
}

func TestGroupFromCreationToTheLastMember(t *testing.T) {
	s := launch(t, anywhere(t))
	peers := map[string]*peer{}
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		peers[user], _ = login(t, s.site, user, "phone", speakBinary)
	}
	alice, bob, carol, dave := peers["alice"], peers["bob"], peers["carol"], peers["dave"]
	made := alice.sent(createGroup("g1", "Team", "bob", "carol", "alice", "bob"))
	g := made.GetConversationId()
	if again := alice.sent(createGroup("g1", "Team", "carol", "bob")); again.GetConversationId() != g || !again.GetDuplicate() || again.GetContentDiffers() {
		t.Errorf("created again: got %v", again)
	}
	if m := bob.push(1).GetBody().GetSystem(); m.GetEvent() != imv1.SystemEvent_SYSTEM_EVENT_GROUP_CREATED || m.GetTitle() != "Team" || len(m.GetUserIds()) != 3 {
		t.Errorf("the creation is %v", m)
	}
	alice.sent(tell(g, "m1", "before dave"))
	alice.sent(addMembers(g, "a1", "dave", "bob"))
	alice.sent(tell(g, "m2", "with dave"))
	bob.refused(addMembers(g, "a2", "erin"), imv1.ErrorCode_ERROR_CODE_PERMISSION_DENIED)
	alice.refused(addMembers(g, "a3", "bob", "carol"), imv1.ErrorCode_ERROR_CODE_ALREADY_MEMBER)
	alice.sent(removeMembers(g, "r1", "carol"))
	alice.sent(tell(g, "m3", "without carol"))
	carol.refused(tell(g, "m1", "let me in"), imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER)
	carol.refused(getConversation(g), imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER)
	alice.sent(leaveGroup(g, "l1"))
	bob.sent(addMembers(g, "a1", "carol")) // bob has been in longest
	bob.sent(tell(g, "m1", "welcome back"))

	seen := func(p *peer) (out []uint64) {
		for _, m := range p.conversation(g) {
			out = append(out, m.GetConversationIndex())
		}
		return out
	}
	for user, want := range map[string][]uint64{
		"alice": {1, 2, 3, 4, 5, 6, 7}, "bob": {1, 2, 3, 4, 5, 6, 7, 8, 9}, "dave": {3, 4, 5, 6, 7, 8, 9}, "carol": {1, 2, 3, 4, 5, 8, 9},
	} {
		if got := seen(peers[user]); !slices.Equal(got, want) {
			t.Errorf("%s sees %v, want %v", user, got, want)
		}
		eventually(t, user+" has the whole chain", func() bool { return len(peers[user].chain(1)) == len(want) })
		var chained []uint64
		for _, e := range peers[user].chain(1) {
			chained = append(chained, e.GetMessage().GetConversationIndex())
		}
		if !slices.Equal(chained, want) {
			t.Errorf("%s's own chain has %v, want %v", user, chained, want)
		}
	}
	about := dave.ask(getConversation(g)).GetConversation()
	roles := map[string]imv1.MemberRole{}
	for _, m := range about.GetMembers() {
		roles[m.GetUserId()] = m.GetRole()
	}
	const member, owner = imv1.MemberRole_MEMBER_ROLE_MEMBER, imv1.MemberRole_MEMBER_ROLE_OWNER
	if want := map[string]imv1.MemberRole{"bob": owner, "carol": member, "dave": member}; !maps.Equal(roles, want) {
		t.Errorf("the members are %v, want %v", roles, want)
	}
	if got := alice.list()[g]; got.GetMember() || got.GetLastMessage().GetConversationIndex() != 7 {
		t.Errorf("the list of who left: %v", got)
	}
	for i, user := range []string{"carol", "dave", "bob"} {
		peers[user].sent(leaveGroup(g, fmt.Sprint("end", i)))
	}
	bob.refused(tell(g, "m9", "anybody?"), imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER)
}

// TestEveryTypeComesBackAsItWasSent sends every kind of body with every field set, in one encoding, and reads it in both.
func TestEveryTypeComesBackAsItWasSent(t *testing.T) {
	s := launch(t, anywhere(t))
	alice, _ := login(t, s.site, "alice", "phone", speakBinary)
	bob, _ := login(t, s.site, "bob", "phone", speakJSON)
	wide := strings.Repeat("字", 400) + "\x00\u2028 \"<>&\\ 🧵\n"
	bodies := []*imv1.Body{
		textBody(wide),
		{Content: &imv1.Body_Image{Image: &imv1.ImageBody{Url: "https://x/y", WidthPx: 1 << 31, HeightPx: 2, SizeBytes: 1 << 63, MediaType: "image/png", Thumbnail: []byte{0, 255, 1}, Caption: wide}}},
		{Content: &imv1.Body_Audio{Audio: &imv1.AudioBody{Url: "https://x/y", DurationMs: 1<<64 - 1, SizeBytes: 3, MediaType: "audio/ogg"}}},
		{Content: &imv1.Body_Video{Video: &imv1.VideoBody{Url: "u", DurationMs: 1, SizeBytes: 2, MediaType: "video/mp4", WidthPx: 3, HeightPx: 4, Thumbnail: []byte("t"), Caption: "c"}}},
		{Content: &imv1.Body_File{File: &imv1.FileBody{Url: "u", Name: "n", SizeBytes: 5, MediaType: "m"}}},
		{Content: &imv1.Body_Location{Location: &imv1.LocationBody{LatitudeDeg: -90, LongitudeDeg: 179.99999999999997, Name: "pole", Address: "none"}}},
		{Content: &imv1.Body_Custom{Custom: &imv1.CustomBody{Kind: "vote", Data: []byte{0, 1, 2, 255}}}},
	}
	for i, body := range bodies {
		kind := imv1.MessageType(i + 1)
		from, to, other := alice, bob, "bob"
		if i%2 == 1 {
			from, to, other = bob, alice, "alice"
		}
		from.sent(sendFrame(&imv1.Send{ToUserId: other, ClientMessageId: fmt.Sprint("m", i), Type: kind, Body: body}))
		got := to.push(uint64(i + 1))
		if got.GetType() != kind || !proto.Equal(got.GetBody(), body) {
			t.Errorf("pushed: got %v, want %v", got, body)
		}
	}
	for _, p := range []*peer{alice, bob} {
		eventually(t, "the sender's own chain has it too", func() bool { return len(p.chain(1)) == len(bodies) })
		entries := p.chain(1)
		for i, m := range p.conversation("s:alice:bob") {
			if !proto.Equal(m.GetBody(), bodies[i]) || !proto.Equal(entries[i].GetMessage(), m) {
				t.Errorf("pulled: got %v and %v, want %v", m, entries[i], bodies[i])
			}
		}
	}
}
