package edge

import (
	"errors"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"github.com/lxzan/gws"

	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// errDuplicateID is answered with id 0: under its own id it would be taken for the answer to the other request.
var errDuplicateID = refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT,
	"a request with the same id waits for its answer on this connection; give each request an id of its own")

// Received takes what came from the client. A panic, which would be a mistake of this program, ends the connection.
func (s *session) Received(data []byte) {
	defer func() {
		if p := recover(); p != nil {
			s.edge.metrics.panics.Inc()
			s.edge.log.Error("reading panicked", "session", s.number, "err", p, "stack", string(debug.Stack()))
			s.deaf = true
			s.link.abort()
		}
	}()
	if s.deaf {
		return
	}
	if code := s.frames.take(data, s.edge.cfg.FrameBytes, s.frame); code != 0 {
		s.deaf, s.frames = true, frames{}
		s.close(code, s.breach(code))
	}
}

// Ended ends the session with its connection. The client may have ended its side only, and is told what waits for it; to
// one that is gone a write fails at once.
func (s *session) Ended() {
	s.goodbye(closeNormal)
	s.link.hurry()
	<-s.lastWords()
	s.edge.finish(s)
	s.edge.release()
}

// breach explains a close code to a client that broke the protocol.
func (s *session) breach(code uint16) *refusal.Refusal {
	if code == closeTooLarge {
		return refusal.New(imv1.ErrorCode_ERROR_CODE_FRAME_TOO_LARGE,
			"the WebSocket message is larger than %d bytes; send less at once", s.edge.cfg.FrameBytes)
	}
	return refusal.New(imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME,
		"the connection does not follow the WebSocket protocol (RFC 6455); use a WebSocket library")
}

// frame takes a WebSocket message or a control frame; payload is not kept.
func (s *session) frame(opcode gws.Opcode, payload []byte) {
	if s.deaf {
		return
	}
	s.alive()
	switch opcode {
	case gws.OpcodeCloseConnection:
		s.deaf = true
		s.goodbye(closeAnswer(payload))
	case gws.OpcodePing:
		if s.spend() {
			s.pong(payload)
		}
	case gws.OpcodePong, gws.OpcodeContinuation:
		s.spend()
	default:
		text := opcode == gws.OpcodeText
		if s.authenticated {
			s.receive(text, payload)
			return
		}
		aside(func() { s.receive(text, payload) })
	}
}

// pong owes the client the answer to a ping, unless the connection is being closed.
func (s *session) pong(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parting == nil {
		s.out.pong = append(make([]byte, 0, len(payload)), payload...)
		s.startFlush()
	}
}

// aside runs f, which only computes, on a goroutine of its own and waits for it. Where a connection has a goroutine its
// stack lives as long, and hardly shrinks again: verifying a token on it costs 4 KiB for each idle session. Where a poller
// reads it saves nothing, and costs a switch for each Connect.
func aside(f func()) {
	var panicked any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		f()
	}()
	<-done
	if panicked != nil {
		panic(panicked)
	}
}

func (s *session) alive() { s.seen.Store(int64(s.edge.now())) }

// receive takes one WebSocket message; data is not kept.
func (s *session) receive(text bool, data []byte) {
	switch {
	case s.isParting():
		s.deaf = true
		return
	case text && !s.json:
		s.close(closeMalformed, refusal.New(imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME,
			"a text message came in a binary session; send binary messages, or connect with the subprotocol %s", protocolJSON))
		return
	case !text && s.json:
		s.close(closeMalformed, refusal.New(imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME,
			"a binary message came in a JSON session; send text messages, or connect with the subprotocol %s", protocolBinary))
		return
	case text && !utf8.Valid(data): // RFC 6455 section 8.1 leaves no choice but to close
		s.close(closeMalformed, refusal.New(imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME,
			"the text message is not UTF-8; encode JSON as UTF-8"))
		return
	}
	decode(s.json, data, s.take)
}

// take takes one frame: it is answered at once, or noted as pending and passed on.
func (s *session) take(r received) {
	if !s.spend() {
		s.deny(r.id, s.tooFast())
		return
	}
	if r.err == nil && r.id == 0 {
		r.err = refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, "the frame's id is 0 or missing; number your requests from 1")
	}
	if r.err != nil {
		s.edge.metrics.received[kindUndecodable].Inc()
		s.deny(r.id, r.err)
		return
	}
	if err := s.request(r.frame); err != nil {
		s.deny(r.id, err)
	}
}

// deny refuses a request that was not noted as pending.
func (s *session) deny(id uint64, err error) {
	if errors.Is(err, errDuplicateID) {
		id = 0
	}
	s.tell(s.errorFrame(id, err))
}

// request carries out a decoded frame, or returns why not.
func (s *session) request(f *imv1.ClientFrame) error {
	kind, ok := kindOf(f)
	s.edge.metrics.received[kind].Inc()
	if !ok {
		return refusal.New(imv1.ErrorCode_ERROR_CODE_UNKNOWN_TYPE,
			"the frame asks for nothing that this server knows; set one of the members of im.v1.ClientFrame.body")
	}
	if kind != "ping" && s.edge.draining.Load() {
		return refusal.New(imv1.ErrorCode_ERROR_CODE_GOING_AWAY, "this server is stopping; connect again and send the request there")
	}
	if c := f.GetConnect(); c != nil {
		return s.connect(f.GetId(), c)
	}
	if !s.authenticated {
		return refusal.New(imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED, "the connection is not authenticated; send Connect first")
	}
	if f.GetPing() != nil {
		s.tell(&imv1.ServerFrame{Id: f.GetId(), Body: &imv1.ServerFrame_Pong{Pong: &imv1.Pong{ServerTimeMs: time.Now().UnixMilli()}}})
		return nil
	}
	switch kind {
	case "pull_conversation", "pull_user", "list_conversations", "get_conversation":
		return s.pull(f)
	}
	return s.command(f)
}

// What stands in place of the name of a request, in metrics.
const (
	kindUnknown     = "unknown"
	kindUndecodable = "undecodable"
)

// kindOf names the request of a frame as the proto does.
func kindOf(f *imv1.ClientFrame) (string, bool) {
	switch f.GetBody().(type) {
	case *imv1.ClientFrame_Connect:
		return "connect", true
	case *imv1.ClientFrame_Ping:
		return "ping", true
	case *imv1.ClientFrame_Send:
		return "send", true
	case *imv1.ClientFrame_CreateGroup:
		return "create_group", true
	case *imv1.ClientFrame_AddMembers:
		return "add_members", true
	case *imv1.ClientFrame_RemoveMembers:
		return "remove_members", true
	case *imv1.ClientFrame_LeaveGroup:
		return "leave_group", true
	case *imv1.ClientFrame_PullConversation:
		return "pull_conversation", true
	case *imv1.ClientFrame_PullUser:
		return "pull_user", true
	case *imv1.ClientFrame_ListConversations:
		return "list_conversations", true
	case *imv1.ClientFrame_GetConversation:
		return "get_conversation", true
	case *imv1.ClientFrame_MarkRead:
		return "mark_read", true
	}
	return kindUnknown, false
}

// spend takes a token for a frame; false: there is none. A client that goes on far beyond its rate is cut off.
func (s *session) spend() bool {
	switch s.budget.take(time.Now(), s.edge.cfg.FrameRate, s.edge.cfg.FrameBurst) {
	case within:
		return true
	case flooding:
		s.deaf = true
		s.close(closeFlood, refusal.New(imv1.ErrorCode_ERROR_CODE_RATE_LIMITED,
			"the connection sent far more than %d frames a second; connect again and keep below", s.edge.cfg.FrameRate))
	}
	return false
}

func (s *session) tooFast() *refusal.Refusal {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_RATE_LIMITED,
		"the connection sends more than %d frames a second; slow down and send this one again", s.edge.cfg.FrameRate).After(time.Second)
}

// bucket is a token bucket: a burst of frames at once, then a rate. It may be overdrawn by another burst.
type bucket struct {
	spent float64 // tokens missing from a full bucket
	at    time.Time
}

type spending uint8

const (
	within   spending = iota // there was a token
	above                    // there was none
	flooding                 // the bucket is overdrawn
)

func (b *bucket) take(now time.Time, rate, burst int) spending {
	b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*float64(rate))
	b.at = now
	switch {
	case b.spent+1 > 2*float64(burst):
		return flooding
	case b.spent+1 > float64(burst):
		b.spent++
		return above
	}
	b.spent++
	return within
}
