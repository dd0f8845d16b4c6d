package edge

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestBothSubprotocolsSpeak(t *testing.T) {
	w := newWorld(t)
	w.history = func(context.Context, *imv1.HistoryRequest) (*imv1.HistoryReply, error) { return headReply(7), nil }
	w.append = func(_ context.Context, a appended) error { w.sends(a); return nil }
	s := serve(t, w, Config{})
	for _, protocol := range []string{protocolBinary, protocolJSON} {
		p := s.dial(t, protocol)
		c := p.connect("alice", protocol[7:9])
		if c.GetUserId() != "alice" || c.GetHead().GetUserIndex() != 7 || c.GetHeartbeatMs() != 30_000 || c.GetLimits().GetFrameBytes() != 256<<10 {
			t.Errorf("%s: got %v", protocol, c)
		}
		p.ping()
		if f := p.ask(sendFrame("m1", "bob", "hello")); f.GetSent().GetConversationId() != "s:alice:bob" {
			t.Errorf("%s: got %v", protocol, f)
		}
	}
}

func TestCommandIsCanonical(t *testing.T) {
	w := newWorld(t)
	s := serve(t, w, Config{})
	p := s.login(t, "bob", "d")
	f := sendFrame("m1", "alice", "hello")
	f.GetSend().Visibility = &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: []string{"zoe", "bob", "alice", "zoe"}}
	f.GetSend().ProtoReflect().SetUnknown([]byte{0xa0, 0x06, 0x01})
	id := p.send(f)
	eventually(t, "the command is appended", func() bool { return len(w.taken()) == 1 })
	a := w.taken()[0]
	want := &imv1.CommandBatch{EdgeId: s.edge.ID(), Commands: []*imv1.Command{{
		UserId: "bob", Session: 1, RequestId: id, ConversationId: "s:alice:bob",
		Action: &imv1.Command_Send{Send: &imv1.Send{ClientMessageId: "m1", Type: imv1.MessageType_MESSAGE_TYPE_TEXT, Body: textBody("hello"),
			Visibility: &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: []string{"alice", "zoe"}}}},
	}}}
	if got := a.commands(t); !proto.Equal(got, want) || a.stream != "conv.0" {
		t.Errorf("got %s %v\nwant conv.0 %v", a.stream, got, want)
	}
}

func TestMarkReadGoesToTheUserStream(t *testing.T) {
	w := newWorld(t)
	s := serve(t, w, Config{})
	p := s.login(t, "bob", "d")
	id := p.send(&imv1.ClientFrame{Body: &imv1.ClientFrame_MarkRead{MarkRead: &imv1.MarkRead{ConversationId: "s:alice:bob", ReadIndex: 3}}})
	eventually(t, "the command is appended", func() bool { return len(w.taken()) == 1 })
	a := w.taken()[0]
	batch := new(imv1.UserBatch)
	if err := proto.Unmarshal(a.payload, batch); err != nil {
		t.Fatal(err)
	}
	want := &imv1.UserBatch{Source: &imv1.UserBatch_Commands{Commands: &imv1.UserCommandBatch{EdgeId: s.edge.ID(), Commands: []*imv1.UserCommand{{
		UserId: "bob", Session: 1, RequestId: id,
		Action: &imv1.UserCommand_MarkRead{MarkRead: &imv1.MarkRead{ConversationId: "s:alice:bob", ReadIndex: 3}}}}}}}
	if !proto.Equal(batch, want) || a.stream != "user.0" {
		t.Errorf("got %s %v\nwant user.0 %v", a.stream, batch, want)
	}
	w.say(&imv1.EdgeBatch{Answers: []*imv1.Answer{{Session: 1, RequestId: id, Result: &imv1.Answer_ReadMarked{ReadMarked: &imv1.ReadMarked{ReadIndex: 3}}}}})
	if f := p.await(id); f.GetReadMarked().GetReadIndex() != 3 {
		t.Errorf("got %v", f)
	}
}

func TestNewerSessionOfADeviceReplacesTheOlder(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	old := s.login(t, "alice", "phone")
	other := s.login(t, "alice", "desk")
	young := s.login(t, "alice", "phone")
	old.wantClosed(closeReplaced, imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED)
	s.push(1, 1, "hi", "alice")
	for _, p := range []*peer{other, young} {
		if f := p.next(); f.GetPush().GetEntry().GetUserIndex() != 1 {
			t.Errorf("got %v, want the push", f)
		}
	}
}

func TestSilenceAfterTheHandshakeIsClosed(t *testing.T) {
	s := serve(t, newWorld(t), Config{ConnectTimeout: time.Millisecond})
	s.dial(t, protocolBinary).wantClosed(closeUnauthenticated, imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	s.dial(t, protocolJSON).wantClosed(closeUnauthenticated, imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
}

func TestSilentSessionIsStale(t *testing.T) {
	s := serve(t, newWorld(t), Config{MinHeartbeat: time.Millisecond, Heartbeat: time.Hour})
	p := s.dial(t, protocolBinary)
	f := p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{
		Token: tokenFor(t, "alice", "", time.Now().Add(time.Hour)), DeviceId: "d", HeartbeatMs: 100}}})
	if f.GetConnected().GetHeartbeatMs() != 100 {
		t.Fatalf("got %v", f)
	}
	p.wantClosed(closeStale, imv1.ErrorCode_ERROR_CODE_CONNECTION_STALE)
}

func TestSessionEndsWithItsToken(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	p := s.dial(t, protocolBinary)
	f := p.ask(&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{
		Token: tokenFor(t, "alice", "", time.Now().Add(2*time.Second)), DeviceId: "d"}}})
	if f.GetConnected() == nil {
		t.Fatalf("got %v", f)
	}
	p.wantClosed(closeUnauthenticated, imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED)
}

func TestUnansweredRequestIsToldSo(t *testing.T) {
	s := serve(t, newWorld(t), Config{AnswerTimeout: time.Millisecond})
	p := s.login(t, "alice", "d")
	if f := p.ask(sendFrame("m1", "bob", "x")); f.GetError().GetCode() != imv1.ErrorCode_ERROR_CODE_UNAVAILABLE || !f.GetError().GetRetryable() {
		t.Errorf("got %v", f)
	}
	p.ping()
}

func TestPendingRequestsAreBounded(t *testing.T) {
	s := serve(t, newWorld(t), Config{PendingRequests: 2})
	p := s.login(t, "alice", "d")
	p.send(sendFrame("m1", "bob", "x"))
	p.send(sendFrame("m2", "bob", "x"))
	if f := p.ask(sendFrame("m3", "bob", "x")); f.GetError().GetCode() != imv1.ErrorCode_ERROR_CODE_RATE_LIMITED || !f.GetError().GetRetryable() {
		t.Errorf("got %v", f)
	}
	p.ping()
}

func TestRequestIDInUseIsRefusedWithoutNamingIt(t *testing.T) {
	w := newWorld(t)
	s := serve(t, w, Config{})
	p := s.login(t, "alice", "d")
	f := sendFrame("m1", "bob", "x")
	f.Id = 9
	p.send(f)
	p.send(f)
	if f := p.await(0); f.GetError().GetCode() != imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT {
		t.Errorf("got %v", f)
	}
	eventually(t, "the first is appended", func() bool { return len(w.taken()) == 1 })
	w.sends(w.taken()[0])
	if f := p.await(9); f.GetSent() == nil {
		t.Errorf("got %v", f)
	}
	w.sends(w.taken()[0]) // a late repetition reaches nobody
	p.ping()
}

func TestFloodIsRefusedThenCutOff(t *testing.T) {
	s := serve(t, newWorld(t), Config{FrameRate: 1, FrameBurst: 10})
	p := s.login(t, "alice", "d")
	frames := new(imv1.ClientFrames)
	for i := range 30 {
		frames.Frames = append(frames.Frames, &imv1.ClientFrame{Id: uint64(i + 10), Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}})
	}
	data, err := proto.Marshal(frames)
	if err != nil {
		t.Fatal(err)
	}
	p.raw(false, data)
	told, code := p.closed()
	if code != closeFlood || len(told) < 10 || told[0] != imv1.ErrorCode_ERROR_CODE_RATE_LIMITED {
		t.Errorf("closed with %d after %v", code, told)
	}
}

func TestTooManyDevicesOfAUserAreRefused(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	for i := range maxDevices {
		s.login(t, "alice", "d"+strings.Repeat("x", i))
	}
	p := s.dial(t, protocolBinary)
	connect := &imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{
		Token: tokenFor(t, "alice", "", time.Now().Add(time.Hour)), DeviceId: "one-more"}}}
	if f := p.ask(connect); f.GetError().GetCode() != imv1.ErrorCode_ERROR_CODE_OVERLOADED {
		t.Errorf("got %v", f)
	}
	p.connect("bob", "one-more")
}

func TestConnectionsAreBounded(t *testing.T) {
	s := serve(t, newWorld(t), Config{MaxConnections: 1})
	s.login(t, "alice", "d")
	_, resp, err := websocket.Dial(context.Background(), s.url, &websocket.DialOptions{Subprotocols: []string{protocolBinary}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %v, want status 503", resp)
	}
}

func TestHistoryAwayAtConnectAsksToTryAgain(t *testing.T) {
	w := newWorld(t)
	var away atomic.Bool
	away.Store(true)
	w.history = func(context.Context, *imv1.HistoryRequest) (*imv1.HistoryReply, error) {
		if away.Load() {
			return nil, context.DeadlineExceeded
		}
		return headReply(0), nil
	}
	s := serve(t, w, Config{})
	p := s.dial(t, protocolBinary)
	p.send(&imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{
		Token: tokenFor(t, "alice", "", time.Now().Add(time.Hour)), DeviceId: "d"}}})
	p.wantClosed(closeTryAgain, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE)
	away.Store(false)
	s.login(t, "alice", "d").ping()
}

func TestWebSocketPingIsAnswered(t *testing.T) {
	s := serve(t, newWorld(t), Config{})
	p := s.login(t, "alice", "d")
	reading := p.conn.CloseRead(context.Background())
	ctx, cancel := context.WithTimeout(reading, patience)
	defer cancel()
	if err := p.conn.Ping(ctx); err != nil {
		t.Error(err)
	}
}
