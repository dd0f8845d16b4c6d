package edge

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// refusal codes by short names
const (
	malformedFrame  = imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME
	unknownType     = imv1.ErrorCode_ERROR_CODE_UNKNOWN_TYPE
	unauthenticated = imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED
	tokenInvalid    = imv1.ErrorCode_ERROR_CODE_TOKEN_INVALID
	tokenExpired    = imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED
	tokenAudience   = imv1.ErrorCode_ERROR_CODE_TOKEN_AUDIENCE
	tokenDevice     = imv1.ErrorCode_ERROR_CODE_TOKEN_DEVICE
	invalidID       = imv1.ErrorCode_ERROR_CODE_INVALID_ID
	invalidArgument = imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT
	invalidBody     = imv1.ErrorCode_ERROR_CODE_INVALID_BODY
	bodyTooLarge    = imv1.ErrorCode_ERROR_CODE_BODY_TOO_LARGE
	notAMember      = imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER
	invalidRange    = imv1.ErrorCode_ERROR_CODE_INVALID_RANGE
)

// wantRefused checks an answer that refuses.
func wantRefused(t *testing.T, f *imv1.ServerFrame, want imv1.ErrorCode) {
	t.Helper()
	if got := f.GetError().GetCode(); got != want {
		t.Errorf("got %v, want %v", f, want)
	}
	if len(f.GetError().GetText()) < 20 {
		t.Errorf("the text %q does not say what to do", f.GetError().GetText())
	}
}

func TestBadFramesAreRefusedAndTheConnectionSurvives(t *testing.T) {
	w := newWorld(t)
	s := serve(t, w, Config{})
	frames := func(raw ...[]byte) []byte {
		var b []byte
		for _, r := range raw {
			b = protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), r)
		}
		return b
	}
	frame := func(f *imv1.ClientFrame) []byte {
		b, err := proto.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	many := make([][]byte, maxFrames+1)
	for i := range many {
		many[i] = frame(&imv1.ClientFrame{Id: uint64(i + 1), Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}})
	}
	newer := protowire.AppendBytes(protowire.AppendTag(frame(&imv1.ClientFrame{Id: 7}), 999, protowire.BytesType), []byte("x"))
	cut := frame(&imv1.ClientFrame{Id: 7, Body: sendFrame("m", "bob", "text").Body})
	for _, tc := range []struct {
		name string
		json bool
		data []byte
		id   uint64
		want imv1.ErrorCode
	}{
		{"empty message", false, nil, 0, malformedFrame},
		{"garbage", false, []byte("\xff\xff\xff hello"), 0, malformedFrame},
		{"cut message", false, frames(cut)[:10], 0, malformedFrame},
		{"garbage frame", false, frames([]byte("\xff\xff\xff")), 0, malformedFrame},
		{"cut frame", false, frames(cut[:len(cut)-3]), 7, malformedFrame},
		{"too many frames", false, frames(many...), 0, malformedFrame},
		{"unknown type", false, frames(newer), 7, unknownType},
		{"no body", false, frames(frame(&imv1.ClientFrame{Id: 7})), 7, unknownType},
		{"no id", false, frames(frame(&imv1.ClientFrame{Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}})), 0, invalidArgument},
		{"empty text", true, nil, 0, malformedFrame},
		{"not JSON", true, []byte("hello"), 0, malformedFrame},
		{"array", true, []byte(`[]`), 0, malformedFrame},
		{"wrong type of field", true, []byte(`{"id":7,"send":{"clientMessageId":5}}`), 7, malformedFrame},
		{"wrong type of field, id as text", true, []byte(`{"id":"7","send":[]}`), 7, malformedFrame},
		{"two bodies", true, []byte(`{"id":7,"ping":{},"send":{}}`), 7, malformedFrame},
		{"negative id", true, []byte(`{"id":-7,"ping":{}}`), 0, malformedFrame},
		{"unknown type in JSON", true, []byte(`{"id":7,"teleport":{}}`), 7, unknownType},
		{"misspelt scope", true, []byte(`{"id":7,"send":{"toUserId":"bob","clientMessageId":"m1","type":"MESSAGE_TYPE_TEXT",` +
			`"body":{"text":{"text":"x"}},"visibility":{"scope":"VISIBILITY_SCOPE_SLEF"}}}`), 7, invalidArgument},
		{"deep nesting", true, []byte(strings.Repeat(`{"send":`, 20_000)), 0, malformedFrame},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := s.dial(t, map[bool]string{false: protocolBinary, true: protocolJSON}[tc.json])
			p.connect("alice", "d")
			p.raw(tc.json, tc.data)
			wantRefused(t, p.await(tc.id), tc.want)
			p.ping()
		})
	}
	if n := len(w.taken()); n > 0 {
		t.Errorf("%d batches were appended", n)
	}
}

func TestFramesBesideABadOneAreCarriedOut(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	p := s.login(t, "alice", "d")
	good, err := proto.Marshal(&imv1.ClientFrame{Id: 8, Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}})
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	data = protowire.AppendBytes(protowire.AppendTag(data, 1, protowire.BytesType), []byte("\x08\x07\xff"))
	data = protowire.AppendBytes(protowire.AppendTag(data, 1, protowire.BytesType), good)
	p.raw(false, data)
	wantRefused(t, p.await(7), malformedFrame)
	if f := p.await(8); f.GetPong() == nil {
		t.Errorf("got %v", f)
	}
}

func TestUnusableConnectionsAreClosedWithAnError(t *testing.T) {
	s := serve(t, newWorld(t), Config{FrameBytes: 4096})
	t.Run("text in a binary session", func(t *testing.T) {
		p := s.login(t, "alice", "d")
		p.raw(true, []byte(`{"id":1,"ping":{}}`))
		p.wantClosed(closeMalformed, malformedFrame)
	})
	t.Run("binary in a JSON session", func(t *testing.T) {
		p := s.dial(t, protocolJSON)
		p.connect("alice", "d")
		p.raw(false, []byte{1})
		p.wantClosed(closeMalformed, malformedFrame)
	})
	t.Run("text that is not UTF-8", func(t *testing.T) {
		p := s.dial(t, protocolJSON)
		p.connect("alice", "d")
		p.raw(true, []byte("{\"id\":1,\"ping\":{},\"x\":\"\xff\"}"))
		p.wantClosed(closeMalformed, malformedFrame)
	})
	for _, protocol := range []string{protocolBinary, protocolJSON} {
		t.Run("oversize "+protocol, func(t *testing.T) {
			p := s.dial(t, protocol)
			p.connect("alice", "d")
			p.raw(p.json, make([]byte, 4097))
			p.wantClosed(closeTooLarge, imv1.ErrorCode_ERROR_CODE_FRAME_TOO_LARGE)
		})
	}
}

func TestLargestFrameIsTaken(t *testing.T) {
	s := serve(t, newWorld(t), Config{FrameBytes: 4096})
	p := s.login(t, "alice", "d")
	p.raw(false, make([]byte, 4096))
	wantRefused(t, p.await(0), malformedFrame)
	p.ping()
}

func TestRequestsBeforeConnectAreRefused(t *testing.T) {
	w := newWorld(t)
	s := serve(t, w, Config{})
	p := s.dial(t, protocolBinary)
	wantRefused(t, p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}}), unauthenticated)
	wantRefused(t, p.ask(sendFrame("m1", "bob", "x")), unauthenticated)
	p.connect("alice", "d")
	wantRefused(t, p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{DeviceId: "e"}}}), invalidArgument)
	p.ping()
	if n := len(w.taken()); n > 0 {
		t.Errorf("%d batches were appended", n)
	}
}

func TestBadTokensAreRefusedAndTheConnectionCloses(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	hour := time.Now().Add(time.Hour)
	sign := func(method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
		signed, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	good := jwt.MapClaims{"sub": "alice", "aud": "catena", "exp": hour.Unix()}
	for _, tc := range []struct {
		name, token string
		want        imv1.ErrorCode
	}{
		{"missing", "", tokenInvalid},
		{"expired", tokenFor(t, "alice", "", time.Now().Add(-time.Hour)), tokenExpired},
		{"wrong signature", sign(jwt.SigningMethodHS256, []byte("another secret"), good), tokenInvalid},
		{"wrong audience", sign(jwt.SigningMethodHS256, signing.Secret, jwt.MapClaims{"sub": "alice", "aud": "x", "exp": hour.Unix()}), tokenAudience},
		{"alg none", sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good), tokenInvalid},
		{"other device", tokenFor(t, "alice", "phone", hour), tokenDevice},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := s.dial(t, protocolBinary)
			id := p.send(&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{Token: tc.token, DeviceId: "desk"}}})
			wantRefused(t, p.await(id), tc.want)
			p.wantClosed(closeUnauthenticated)
		})
	}
	p := s.dial(t, protocolBinary)
	if f := p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{
		Token: tokenFor(t, "alice", "phone", hour), DeviceId: "phone"}}}); f.GetConnected() == nil {
		t.Errorf("got %v", f)
	}
}

// badIDs are ids that nobody may have. The last is not UTF-8, which only a binary frame can carry.
var badIDs = []string{"", strings.Repeat("x", im.MaxID+1), "a.b", "a*b", "a>b", "a:b", "a b", "a\tb", "a\x00b", "a\u00a0b", "a\u200bb", "a\xffb"}

// idFields builds requests with the id in each field that holds one.
var idFields = map[string]func(id string) *imv1.ClientFrame{
	"send.client_message_id": func(id string) *imv1.ClientFrame { return sendFrame(id, "bob", "x") },
	"send.to_user_id":        func(id string) *imv1.ClientFrame { return sendFrame("m", id, "x") },
	"send.conversation_id": func(id string) *imv1.ClientFrame {
		f := sendFrame("m", "", "x")
		f.GetSend().ConversationId = id
		return f
	},
	"send.visibility.user_ids": func(id string) *imv1.ClientFrame {
		f := sendFrame("m", "bob", "x")
		f.GetSend().Visibility = &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: []string{"bob", id}}
		return f
	},
	"create_group.client_message_id": func(id string) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_CreateGroup{CreateGroup: &imv1.CreateGroup{ClientMessageId: id, Title: "t"}}}
	},
	"create_group.member_ids": func(id string) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_CreateGroup{CreateGroup: &imv1.CreateGroup{ClientMessageId: "m", Title: "t", MemberIds: []string{id}}}}
	},
	"add_members.user_ids": func(id string) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_AddMembers{AddMembers: &imv1.AddMembers{ClientMessageId: "m", ConversationId: group, UserIds: []string{id}}}}
	},
	"remove_members.conversation_id": func(id string) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_RemoveMembers{RemoveMembers: &imv1.RemoveMembers{ClientMessageId: "m", ConversationId: id, UserIds: []string{"bob"}}}}
	},
	"leave_group.client_message_id": func(id string) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_LeaveGroup{LeaveGroup: &imv1.LeaveGroup{ClientMessageId: id, ConversationId: group}}}
	},
	"mark_read.conversation_id": func(id string) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_MarkRead{MarkRead: &imv1.MarkRead{ConversationId: id, ReadIndex: 1}}}
	},
	"pull_conversation.conversation_id": func(id string) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_PullConversation{PullConversation: &imv1.PullConversation{ConversationId: id}}}
	},
	"get_conversation.conversation_id": func(id string) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_GetConversation{GetConversation: &imv1.GetConversation{ConversationId: id}}}
	},
}

var group = string(im.Group("alice", "g1"))

func TestBadIDsAreRefused(t *testing.T) {
	w := newWorld(t)
	s := serve(t, w, Config{})
	p := s.login(t, "alice", "d")
	for name, build := range idFields {
		t.Run(name, func(t *testing.T) {
			p.t = t
			for _, id := range badIDs {
				p.last++
				f := build(id)
				f.Id = p.last
				raw, err := proto.Marshal(f)
				if err != nil { // refused by the encoder too: encode it by hand
					raw = withBadString(t, build, p.last)
				}
				p.raw(false, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), raw))
				answer := p.await(p.last)
				wantRefused(t, answer, invalidID)
				if text := answer.GetError().GetText(); !strings.Contains(text, strings.SplitN(name, ".", 2)[0]) {
					t.Errorf("the text %q does not name %s", text, name)
				}
			}
		})
	}
	for _, id := range badIDs[:len(badIDs)-1] {
		c := s.dial(t, protocolJSON)
		wantRefused(t, c.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{
			Token: tokenFor(t, "alice", "", time.Now().Add(time.Hour)), DeviceId: id}}}), invalidID)
		c.connect("alice", "e") // survives
	}
	p.ping()
	if n := len(w.taken()); n > 0 {
		t.Errorf("%d batches were appended", n)
	}
}

// withBadString encodes a frame with a valid id of three bytes and breaks it afterwards.
func withBadString(t *testing.T, build func(string) *imv1.ClientFrame, id uint64) []byte {
	t.Helper()
	f := build("QQQ")
	f.Id = id
	raw, err := proto.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.Replace(string(raw), "QQQ", "a\xffb", 1))
}

func TestBadRequestsAreRefused(t *testing.T) {
	w := newWorld(t)
	s := serve(t, w, Config{})
	p := s.login(t, "alice", "d")
	send := func(change func(*imv1.Send)) *imv1.ClientFrame {
		f := sendFrame("m", "bob", "x")
		change(f.GetSend())
		return f
	}
	body := func(typ imv1.MessageType, b *imv1.Body) *imv1.ClientFrame {
		return send(func(m *imv1.Send) { m.Type, m.Body = typ, b })
	}
	visibility := func(scope imv1.VisibilityScope, users ...string) *imv1.ClientFrame {
		return send(func(m *imv1.Send) { m.Visibility = &imv1.Visibility{Scope: scope, UserIds: users} })
	}
	createGroup := func(title string, members ...string) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_CreateGroup{CreateGroup: &imv1.CreateGroup{ClientMessageId: "m", Title: title, MemberIds: members}}}
	}
	add := func(conversation string, users ...string) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_AddMembers{AddMembers: &imv1.AddMembers{ClientMessageId: "m", ConversationId: conversation, UserIds: users}}}
	}
	pull := func(from, to *uint64, limit uint32) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_PullConversation{PullConversation: &imv1.PullConversation{
			ConversationId: group, FromIndex: from, ToIndex: to, Limit: limit}}}
	}
	index := func(i uint64) *uint64 { return &i }
	text := imv1.MessageType_MESSAGE_TYPE_TEXT
	location := imv1.MessageType_MESSAGE_TYPE_LOCATION
	place := func(lat, lon float64) *imv1.Body {
		return &imv1.Body{Content: &imv1.Body_Location{Location: &imv1.LocationBody{LatitudeDeg: lat, LongitudeDeg: lon}}}
	}
	part := imv1.VisibilityScope_VISIBILITY_SCOPE_PART
	for name, tc := range map[string]struct {
		frame *imv1.ClientFrame
		want  imv1.ErrorCode
	}{
		"no body":                 {send(func(m *imv1.Send) { m.Body = nil }), invalidBody},
		"empty body":              {body(text, &imv1.Body{}), invalidBody},
		"empty text":              {body(text, textBody("")), invalidBody},
		"body of another type":    {body(imv1.MessageType_MESSAGE_TYPE_IMAGE, textBody("x")), invalidBody},
		"no type":                 {body(0, textBody("x")), invalidBody},
		"unknown type":            {body(99, textBody("x")), invalidBody},
		"system type":             {body(imv1.MessageType_MESSAGE_TYPE_SYSTEM, &imv1.Body{Content: &imv1.Body_System{System: &imv1.SystemBody{}}}), invalidBody},
		"system body":             {body(text, &imv1.Body{Content: &imv1.Body_System{System: &imv1.SystemBody{}}}), invalidBody},
		"64 KiB and one":          {body(text, textBody(strings.Repeat("x", im.MaxBody-7))), bodyTooLarge},
		"image without URL":       {body(imv1.MessageType_MESSAGE_TYPE_IMAGE, &imv1.Body{Content: &imv1.Body_Image{Image: &imv1.ImageBody{}}}), invalidBody},
		"file without name":       {body(imv1.MessageType_MESSAGE_TYPE_FILE, &imv1.Body{Content: &imv1.Body_File{File: &imv1.FileBody{Url: "u"}}}), invalidBody},
		"latitude":                {body(location, place(90.1, 0)), invalidBody},
		"longitude":               {body(location, place(0, math.Inf(-1))), invalidBody},
		"no number":               {body(location, place(math.NaN(), 0)), invalidBody},
		"custom without kind":     {body(imv1.MessageType_MESSAGE_TYPE_CUSTOM, &imv1.Body{Content: &imv1.Body_Custom{Custom: &imv1.CustomBody{}}}), invalidBody},
		"no conversation":         {send(func(m *imv1.Send) { m.ToUserId = "" }), invalidID},
		"two conversations":       {send(func(m *imv1.Send) { m.ConversationId = group }), invalidArgument},
		"conversation of others":  {send(func(m *imv1.Send) { m.ToUserId, m.ConversationId = "", "s:bob:carol" }), notAMember},
		"users in wrong order":    {send(func(m *imv1.Send) { m.ToUserId, m.ConversationId = "", "s:bob:alice" }), invalidID},
		"group that cannot be":    {send(func(m *imv1.Send) { m.ToUserId, m.ConversationId = "", "g:abc" }), invalidID},
		"after itself":            {send(func(m *imv1.Send) { m.After = "m" }), invalidArgument},
		"after a bad id":          {send(func(m *imv1.Send) { m.After = "a b" }), invalidID},
		"part of nobody":          {visibility(part), invalidArgument},
		"part of too many":        {visibility(part, users(maxVisible+1)...), invalidArgument},
		"self with users":         {visibility(imv1.VisibilityScope_VISIBILITY_SCOPE_SELF, "bob"), invalidArgument},
		"everyone with users":     {visibility(imv1.VisibilityScope_VISIBILITY_SCOPE_EVERYONE, "bob"), invalidArgument},
		"unknown scope":           {visibility(77), invalidArgument},
		"no scope":                {visibility(0), invalidArgument},
		"group without title":     {createGroup(""), invalidArgument},
		"group with a long title": {createGroup(strings.Repeat("t", im.MaxTitle+1)), invalidArgument},
		"group too large":         {createGroup("t", users(maxNamed+1)...), invalidArgument},
		"nobody to add":           {add(group), invalidArgument},
		"too many to add":         {add(group, users(maxNamed+1)...), invalidArgument},
		"members of a single":     {add("s:alice:bob", "carol"), invalidArgument},
		"read up to 0":            {&imv1.ClientFrame{Body: &imv1.ClientFrame_MarkRead{MarkRead: &imv1.MarkRead{ConversationId: group}}}, invalidRange},
		"pull from 0":             {pull(index(0), nil, 0), invalidRange},
		"pull to 0":               {pull(nil, index(0), 0), invalidRange},
		"pull reversed":           {pull(index(5), index(4), 0), invalidRange},
		"pull a huge page":        {pull(nil, nil, im.MaxPage+1), invalidArgument},
		"pull of others":          {&imv1.ClientFrame{Body: &imv1.ClientFrame_PullConversation{PullConversation: &imv1.PullConversation{ConversationId: "s:bob:carol"}}}, notAMember},
		"list a huge page":        {&imv1.ClientFrame{Body: &imv1.ClientFrame_ListConversations{ListConversations: &imv1.ListConversations{Limit: math.MaxUint32}}}, invalidArgument},
		"list with a long token":  {&imv1.ClientFrame{Body: &imv1.ClientFrame_ListConversations{ListConversations: &imv1.ListConversations{PageToken: strings.Repeat("x", 1000)}}}, invalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			wantRefused(t, p.ask(tc.frame), tc.want)
		})
	}
	p.t = t
	p.ping()
	if n := len(w.taken()); n > 0 {
		t.Errorf("%d batches were appended", n)
	}
}

func users(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = "u" + strings.Repeat("i", i%30) + "-" + string(rune('a'+i/30%26))
	}
	return ids
}

func TestRequestsAtTheirBoundsAreTaken(t *testing.T) {
	w := newWorld(t)
	w.append = func(_ context.Context, a appended) error { w.sends(a); return nil }
	s := serve(t, w, Config{})
	p := s.login(t, "alice", "d")
	largest := sendFrame(strings.Repeat("m", im.MaxID), strings.Repeat("b", im.MaxID), strings.Repeat("x", im.MaxBody-8))
	if size := proto.Size(largest.GetSend().GetBody()); size != im.MaxBody {
		t.Fatalf("the body has %d bytes", size)
	}
	seen := sendFrame("m", "alice", "to myself")
	seen.GetSend().Visibility = &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: []string{"alice"}}
	for name, f := range map[string]*imv1.ClientFrame{
		"largest body":    largest,
		"part of oneself": seen,
		"largest group": {Body: &imv1.ClientFrame_CreateGroup{CreateGroup: &imv1.CreateGroup{
			ClientMessageId: "m", Title: strings.Repeat("t", im.MaxTitle), MemberIds: append(users(maxNamed), "alice", "alice")}}},
	} {
		if got := p.ask(f); got.GetSent() == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
	for _, a := range w.taken() {
		for _, c := range a.commands(t).GetCommands() {
			if m := c.GetSend().GetVisibility(); m != nil && (m.GetScope() != imv1.VisibilityScope_VISIBILITY_SCOPE_SELF || len(m.GetUserIds()) > 0) {
				t.Errorf("part of oneself became %v, want self", m)
			}
			if g := c.GetCreateGroup(); g != nil && (len(g.GetMemberIds()) != maxNamed || c.GetConversationId() != string(im.Group("alice", "m"))) {
				t.Errorf("got group %s of %d", c.GetConversationId(), len(g.GetMemberIds()))
			}
		}
	}
}
