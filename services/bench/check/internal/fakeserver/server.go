// Package fakeserver is a server of the client protocol in memory, for the tests of the checker: it keeps the laws,
// unless a Fault is planted. It promises nothing about speed, limits or durability, and it takes a token for the name
// of its user.
package fakeserver

import (
	"context"
	"net/http"
	"sync"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const (
	binary = "catena.v1"
	text   = "catena.v1.json"

	maxFrame    = 256 << 10 // bytes
	queueLength = 4096      // frames that wait for a slow reader; beyond, the session is cut
)

// Server serves the protocol over WebSocket. Make one with New.
type Server struct {
	fault Fault

	mu            sync.Mutex // guards the fields below and everything they lead to
	conversations map[string]*conversation
	users         map[string]*user
	clock         int64 // a tick for each change
	eligible      int   // how often the planted fault could have happened
	fired         int   // how often it did
}

// New makes a server that commits fault; with the empty Fault it keeps the laws.
func New(fault Fault) *Server {
	return &Server{fault: fault, conversations: map[string]*conversation{}, users: map[string]*user{}}
}

// Fired tells how often the planted fault happened.
func (s *Server) Fired() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fired
}

// Cut drops every connection, as the death of a server does.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		for d := range u.sessions {
			d.cut()
		}
	}
}

// Crash is what a kill and a new start do: the connections are gone and the data is still there, unless that is the
// fault.
func (s *Server) Crash() {
	s.mu.Lock()
	if s.fired == 0 && (s.fault == ForgetAtCrash && s.forget() || s.fault == RollBackInbox && s.rollBack()) {
		s.fired++
	}
	s.mu.Unlock()
	s.Cut()
}

// ServeHTTP runs one connection until it ends.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{binary, text}})
	if err != nil {
		return // Accept has answered
	}
	conn.SetReadLimit(maxFrame)
	ctx, cut := context.WithCancel(r.Context())
	d := &session{conn: conn, json: conn.Subprotocol() == text, out: make(chan *imv1.ServerFrame, queueLength), cut: cut}
	var writer sync.WaitGroup
	writer.Go(func() { d.write(ctx) })
	s.read(ctx, d)
	cut()
	writer.Wait()
	s.close(d)
	conn.CloseNow()
}

// session is one connection.
type session struct {
	conn   *websocket.Conn
	json   bool
	out    chan *imv1.ServerFrame
	cut    context.CancelFunc
	user   *user // nil before Connect
	device string
}

// tell queues a frame; a reader who is too slow is cut.
func (d *session) tell(f *imv1.ServerFrame) {
	select {
	case d.out <- f:
	default:
		d.cut()
	}
}

func (d *session) write(ctx context.Context) {
	defer d.cut()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-d.out:
			if err := d.send(ctx, f); err != nil {
				return
			}
		}
	}
}

func (d *session) send(ctx context.Context, f *imv1.ServerFrame) error {
	if d.json {
		data, err := protojson.Marshal(f)
		if err != nil {
			return err
		}
		return d.conn.Write(ctx, websocket.MessageText, data)
	}
	frames := &imv1.ServerFrames{Frames: []*imv1.ServerFrame{f}}
	for len(d.out) > 0 && len(frames.Frames) < 32 {
		frames.Frames = append(frames.Frames, <-d.out)
	}
	data, err := proto.Marshal(frames)
	if err != nil {
		return err
	}
	return d.conn.Write(ctx, websocket.MessageBinary, data)
}

func (s *Server) read(ctx context.Context, d *session) {
	for {
		_, data, err := d.conn.Read(ctx)
		if err != nil {
			return
		}
		frames := &imv1.ClientFrames{}
		if d.json {
			frames.Frames = []*imv1.ClientFrame{{}}
			err = protojson.Unmarshal(data, frames.Frames[0])
		} else {
			err = proto.Unmarshal(data, frames)
		}
		if err != nil {
			return
		}
		for _, f := range frames.GetFrames() {
			s.handle(d, f)
		}
	}
}

func (s *Server) close(d *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.user != nil {
		delete(d.user.sessions, d)
	}
}

// handle carries out one request and queues its answer.
func (s *Server) handle(d *session, f *imv1.ClientFrame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if connect := f.GetConnect(); connect != nil {
		s.connect(d, f.GetId(), connect)
		return
	}
	answer := &imv1.ServerFrame{Id: f.GetId()}
	if d.user == nil {
		refuse(answer, imv1.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	} else if !s.command(d, f, answer) {
		s.query(d.user, f, answer)
	}
	if answer.GetBody() != nil {
		d.tell(answer)
	}
}

func (s *Server) connect(d *session, id uint64, c *imv1.Connect) {
	u := s.user(c.GetToken())
	for other := range u.sessions {
		if other.device == c.GetDeviceId() {
			other.cut()
		}
	}
	d.user, d.device = u, c.GetDeviceId()
	u.sessions[d] = true
	d.tell(&imv1.ServerFrame{Id: id, Body: &imv1.ServerFrame_Connected{Connected: &imv1.Connected{
		SessionId: "fake", UserId: u.id, Head: u.head(), HeartbeatMs: 10_000,
		Limits: &imv1.Limits{FrameBytes: maxFrame, BodyBytes: 64 << 10, PageEntries: 500, PendingRequests: 256, GroupMembers: 500},
	}}})
}

func refuse(answer *imv1.ServerFrame, code imv1.ErrorCode) {
	answer.Body = &imv1.ServerFrame_Error{Error: &imv1.Error{
		Code: code, Text: code.String(), Retryable: code == imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER}}
}
