package main

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/edge/token"
)

// TestBadRequestsAreRefusedAndStoreNothing asks for what cannot be done; the connection must survive all of it.
func TestBadRequestsAreRefusedAndStoreNothing(t *testing.T) {
	s := launch(t, anywhere(t))
	alice, _ := login(t, s.site, "alice", "phone", speakBinary)
	bob, _ := login(t, s.site, "bob", "phone", speakJSON)
	g := bob.sent(createGroup("g1", "Team", "carol")).GetConversationId() // alice is not in
	alice.sent(say("bob", "m1", "the only one"))
	before := s.log.String()
	const (
		badID, badBody, badArg = imv1.ErrorCode_ERROR_CODE_INVALID_ID, imv1.ErrorCode_ERROR_CODE_INVALID_BODY, imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT
		badRange, notIn        = imv1.ErrorCode_ERROR_CODE_INVALID_RANGE, imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER
	)
	limited := func(n uint32) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_PullUser{PullUser: &imv1.PullUser{Limit: n}}}
	}
	listed := func(token string, n uint32) *imv1.ClientFrame {
		return &imv1.ClientFrame{Body: &imv1.ClientFrame_ListConversations{ListConversations: &imv1.ListConversations{PageToken: token, Limit: n}}}
	}
	typed := func(kind imv1.MessageType, body *imv1.Body) *imv1.ClientFrame {
		return sendFrame(&imv1.Send{ToUserId: "bob", ClientMessageId: "bad", Type: kind, Body: body})
	}
	text, custom, system := imv1.MessageType_MESSAGE_TYPE_TEXT, imv1.MessageType_MESSAGE_TYPE_CUSTOM, imv1.MessageType_MESSAGE_TYPE_SYSTEM
	longest := strings.Repeat("x", im.MaxBody-8) // without what encoding adds: twice a tag and a length
	for _, c := range []struct {
		ask  *imv1.ClientFrame
		want imv1.ErrorCode
	}{
		{say("", "bad", "x"), badID},
		{say(strings.Repeat("b", 65), "bad", "x"), badID},
		{say("b.b", "bad", "x"), badID},
		{say("b*", "bad", "x"), badID},
		{say(">", "bad", "x"), badID},
		{say("b b", "bad", "x"), badID},
		{say("b\x01", "bad", "x"), badID},
		{say("b:c", "bad", "x"), badID},
		{say("bob", "", "x"), badID},
		{say("bob", strings.Repeat("i", 65), "x"), badID},
		{tell("s:bob:alice", "bad", "x"), badID},
		{tell("s:bob", "bad", "x"), badID},
		{tell("g:short", "bad", "x"), badID},
		{tell("nonsense", "bad", "x"), badID},
		{tell("s:bob:carol", "bad", "x"), notIn},
		{tell(g, "bad", "x"), notIn},
		{tell("g:aaaaaaaaaaaaaaaaaaaaaaaa", "bad", "x"), notIn},
		{tell("s:alice:bob", "bad", "x", "carol"), imv1.ErrorCode_ERROR_CODE_INVALID_VISIBILITY},
		{typed(text, nil), badBody},
		{typed(text, textBody("")), badBody},
		{typed(custom, textBody("x")), badBody},
		{typed(system, &imv1.Body{Content: &imv1.Body_System{System: &imv1.SystemBody{}}}), badBody},
		{typed(99, textBody("x")), badBody},
		{typed(0, textBody("x")), badBody},
		{typed(text, textBody(longest+"x")), imv1.ErrorCode_ERROR_CODE_BODY_TOO_LARGE},
		{sendFrame(&imv1.Send{ToUserId: "bob", ClientMessageId: "bad", After: "missing", Type: text, Body: textBody("x")}), imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER},
		{createGroup("bad", "", "bob"), badArg},
		{createGroup("bad", strings.Repeat("t", 129), "bob"), badArg},
		{createGroup("bad", "t", "b b"), badID},
		{addMembers(g, "bad", "alice"), notIn},
		{addMembers("s:alice:bob", "bad", "carol"), badArg},
		{removeMembers(g, "bad", "bob"), notIn},
		{leaveGroup(g, "bad"), notIn},
		{markRead("s:alice:bob", 0), badRange},
		{markRead(g, 1), notIn},
		{getConversation(g), notIn},
		{getConversation(""), badID},
		{pullConversation(g, nil, nil), notIn},
		{pullConversation("s:bob:carol", nil, nil), notIn},
		{pullConversation("s:alice:bob", ptr(0), nil), badRange},
		{pullConversation("s:alice:bob", nil, ptr(0)), badRange},
		{pullConversation("s:alice:bob", ptr(3), nil), badRange},
		{pullConversation("s:alice:bob", ptr(1<<64-1), ptr(1<<64-1)), badRange},
		{pullConversation("s:alice:bob", ptr(2), ptr(1)), badRange},
		{pullUser(ptr(0), nil), badRange},
		{pullUser(ptr(3), nil), badRange},
		{pullUser(ptr(1<<63), ptr(1)), badRange},
		{limited(501), badArg},
		{limited(1<<32 - 1), badArg},
		{listed("%%%", 0), badArg},
		{listed("", 501), badArg},
		{listed(strings.Repeat("A", 600), 0), badArg},
		{&imv1.ClientFrame{}, imv1.ErrorCode_ERROR_CODE_UNKNOWN_TYPE},
		{&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{Token: s.token(t, "bob"), DeviceId: "phone"}}}, badArg},
	} {
		if got := alice.refused(proto.CloneOf(c.ask), c.want); got.GetRetryable() != (c.want == imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER) {
			t.Errorf("%v: retryable is %v", c.ask, got.GetRetryable())
		}
	}
	for _, ok := range []*imv1.ClientFrame{
		pullConversation("s:alice:bob", ptr(2), nil), pullConversation("s:alice:bob", ptr(1), ptr(1<<64-1)), pullUser(ptr(2), ptr(1<<64-1)),
		pullConversation("s:alice:nobody", nil, nil), listed(base64.RawURLEncoding.EncodeToString([]byte("s:zzz:zzz")), 500),
	} {
		if a := alice.ask(ok); a.GetError() != nil {
			t.Errorf("%v is answered with %v", ok, a)
		}
	}
	if after := s.log.String(); after != before {
		t.Errorf("it logs:\n%s", after[len(before):])
	}
	if got := texts(alice.chain(1)); len(got) != 1 || len(alice.list()) != 1 || len(alice.conversation("s:alice:bob")) != 1 {
		t.Errorf("alice's chain holds %q", got)
	}
	eventually(t, "bob has two entries", func() bool { return len(bob.chain(1)) == 2 })
	for _, p := range []*peer{alice, bob} {
		p.sent(say("carol", "m1", longest))
	}
}

// TestBadTokensAreRefused tries to connect with every wrong token.
func TestBadTokensAreRefused(t *testing.T) {
	t.Parallel()
	s := launch(t, anywhere(t))
	key, err := LoadKey(s.data)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(key token.Key, audience string, c token.Claims) string {
		text, err := token.Issue(key, audience, c)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	later := time.Now().Add(time.Hour)
	good := issue(key, "", token.Claims{User: "alice", Expires: later})
	parts := strings.Split(good, ".")
	enc := base64.RawURLEncoding.EncodeToString
	other := key
	other.Secret = []byte(strings.Repeat("o", 32))
	unknown := key
	unknown.ID = "unknown"
	const invalid = imv1.ErrorCode_ERROR_CODE_TOKEN_INVALID
	for name, c := range map[string]struct {
		token, device string
		want          imv1.ErrorCode
	}{
		"missing":            {"", "d", invalid},
		"nonsense":           {"nonsense", "d", invalid},
		"three dots":         {"...", "d", invalid},
		"wrong signature":    {issue(other, "", token.Claims{User: "alice", Expires: later}), "d", invalid},
		"unknown key":        {issue(unknown, "", token.Claims{User: "alice", Expires: later}), "d", invalid},
		"alg none":           {enc([]byte(`{"alg":"none","kid":"dev","typ":"JWT"}`)) + "." + parts[1] + ".", "d", invalid},
		"alg none, signed":   {enc([]byte(`{"alg":"none","kid":"dev","typ":"JWT"}`)) + "." + parts[1] + "." + parts[2], "d", invalid},
		"alg None":           {enc([]byte(`{"alg":"None","kid":"dev"}`)) + "." + parts[1] + ".", "d", invalid},
		"alg EdDSA":          {enc([]byte(`{"alg":"EdDSA","kid":"dev"}`)) + "." + parts[1] + "." + parts[2], "d", invalid},
		"other claims":       {parts[0] + "." + enc([]byte(`{"sub":"bob","aud":["catena"],"exp":99999999999}`)) + "." + parts[2], "d", invalid},
		"expired":            {issue(key, "", token.Claims{User: "alice", Expires: time.Now().Add(-2 * time.Minute)}), "d", imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED},
		"wrong audience":     {issue(key, "elsewhere", token.Claims{User: "alice", Expires: later}), "d", imv1.ErrorCode_ERROR_CODE_TOKEN_AUDIENCE},
		"another device":     {issue(key, "", token.Claims{User: "alice", Device: "mine", Expires: later}), "theirs", imv1.ErrorCode_ERROR_CODE_TOKEN_DEVICE},
		"no device":          {good, "", imv1.ErrorCode_ERROR_CODE_INVALID_ID},
		"a device with dots": {good, "a.b", imv1.ErrorCode_ERROR_CODE_INVALID_ID},
		"long token":         {good + strings.Repeat("x", 100_000), "d", invalid},
	} {
		for _, speak := range []string{speakBinary, speakJSON} {
			p := dial(t, s.url, speak)
			p.send(&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{Token: c.token, DeviceId: c.device}}})
			f := p.await(1)
			if got := f.GetError(); got.GetCode() != c.want || got.GetText() == "" {
				t.Errorf("%s: got %v, want %v", name, f, c.want)
			}
			if strings.Contains(protojson.Format(f), parts[2]) {
				t.Errorf("%s: the answer repeats the token", name)
			}
		}
	}
	p := dial(t, s.url, speakBinary)
	p.refused(say("bob", "m1", "x"), imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	p.refused(pullUser(nil, nil), imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	if code, last := p.ended(); code != 4401 || last.GetError().GetCode() != imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED {
		t.Errorf("who does not connect is closed with %d after %v", code, last)
	}
}

// TestBadFramesEndInWords sends what is no request at all.
func TestBadFramesEndInWords(t *testing.T) {
	s := launch(t, anywhere(t))
	const malformed, open = imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME, 0
	for name, c := range map[string]struct {
		speak string
		text  bool
		data  string
		want  imv1.ErrorCode
		close int
	}{
		"text in a binary session": {speakBinary, true, `{"id":1,"ping":{}}`, malformed, 4400},
		"binary in a JSON session": {speakJSON, false, "\x0a\x02\x08\x01", malformed, 4400},
		"no frames":                {speakBinary, false, "", malformed, open},
		"noise":                    {speakBinary, false, "\xff\xff\xff\xff", malformed, open},
		"a frame of noise":         {speakBinary, false, "\x0a\x02\xff\xff", malformed, open},
		"too many frames":          {speakBinary, false, strings.Repeat("\x0a\x04\x08\x01\x1a\x00", 65), malformed, open},
		"empty text":               {speakJSON, true, "", malformed, open},
		"no JSON":                  {speakJSON, true, "hello", malformed, open},
		"an array":                 {speakJSON, true, "[]", malformed, open},
		"deep JSON":                {speakJSON, true, `{"id":1,"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}", malformed, open},
		"two bodies":               {speakJSON, true, `{"id":1,"ping":{},"pullUser":{}}`, malformed, open},
		"no UTF-8":                 {speakJSON, true, "{\"id\":1,\"ping\":{},\"x\":\"\xff\"}", malformed, 4400},
		"oversize":                 {speakJSON, true, strings.Repeat(" ", 256<<10+1), imv1.ErrorCode_ERROR_CODE_FRAME_TOO_LARGE, 1009},
		"no id":                    {speakJSON, true, `{"ping":{}}`, imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, open},
		"unknown type":             {speakJSON, true, `{"id":1,"teleport":{}}`, imv1.ErrorCode_ERROR_CODE_UNKNOWN_TYPE, open},
		"unknown enum":             {speakJSON, true, `{"id":1,"send":{"type":"MESSAGE_TYPE_SMELL","clientMessageId":"m1","toUserId":"bob","body":{"text":{"text":"x"}}}}`, imv1.ErrorCode_ERROR_CODE_INVALID_BODY, open},
	} {
		p, _ := login(t, s.site, "alice", "phone", c.speak)
		p.raw(c.text, []byte(c.data))
		f, _ := p.find(1, name+": an error", func(f *imv1.ServerFrame) bool { return f.GetError() != nil })
		if got := f.GetError(); got.GetCode() != c.want || got.GetText() == "" {
			t.Errorf("%s: got %v, want %v", name, f, c.want)
		}
		if c.close == open {
			p.settled()
		} else if code, _ := p.ended(); int(code) != c.close {
			t.Errorf("%s: closed with %d, want %d", name, code, c.close)
		}
	}
}
