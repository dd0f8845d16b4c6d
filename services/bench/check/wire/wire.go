// Package wire speaks the binary client protocol and does nothing by itself: no re-send, no reconnect, no gap handling,
// no order. It shows what the server really says and sends what no good client would. A session lives inside Visit.
package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const (
	protocol         = "catena.v1"
	maxFrame         = 16 << 20 // bytes of a WebSocket message from the server
	connectTimeout   = 10 * time.Second
	defaultHeartbeat = 10 * time.Second
)

// Config says which session to open.
type Config struct {
	URL    string // ws://host:port/ws
	Token  string
	Device string
	// Heard gets every frame that answers nothing, in order; nil drops them. It must not block.
	Heard func(*imv1.ServerFrame)
}

// Refusal is the error that the server answered with.
type Refusal struct{ Wire *imv1.Error }

func (r *Refusal) Error() string {
	return fmt.Sprintf("refused with %s: %s", r.Wire.GetCode(), r.Wire.GetText())
}

// ErrClosed wraps the reason for which a session ended while it was in use.
var ErrClosed = errors.New("the session ended")

// Session is an authenticated connection. Its methods may be called at the same time.
type Session struct {
	conn      *websocket.Conn
	heard     func(*imv1.ServerFrame)
	heartbeat time.Duration

	mu      sync.Mutex // guards the fields below
	lastID  uint64
	waiting map[uint64]chan *imv1.ServerFrame
}

// Visit opens a session, hands it to use and closes it when use returns. The context that use gets ends with the
// connection. The error is that of use, or why the session could not be opened.
func Visit(ctx context.Context, c Config, use func(context.Context, *Session) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s, err := dial(ctx, c)
	if err != nil {
		return err
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	defer s.conn.CloseNow()
	parts.Go(func() { end(fmt.Errorf("%w: %w", ErrClosed, s.read(ctx))) })
	if err := s.connect(ctx, c); err != nil {
		return err
	}
	parts.Go(func() { s.beat(ctx) })
	err = use(ctx, s)
	end(nil)
	return err
}

func dial(ctx context.Context, c Config) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, c.URL, &websocket.DialOptions{Subprotocols: []string{protocol}})
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", c.URL, err)
	}
	conn.SetReadLimit(maxFrame)
	return &Session{conn: conn, heard: c.Heard, heartbeat: defaultHeartbeat, waiting: map[uint64]chan *imv1.ServerFrame{}}, nil
}

func (s *Session) connect(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	answer, err := s.Do(ctx, &imv1.ClientFrame{Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{
		Token: c.Token, DeviceId: c.Device, Platform: "check"}}})
	if err != nil {
		return fmt.Errorf("connect as %s: %w", c.Device, err)
	}
	if ms := answer.GetConnected().GetHeartbeatMs(); ms > 0 {
		s.heartbeat = time.Duration(ms) * time.Millisecond
	}
	return nil
}

// read hands out what the server says until the connection ends, and returns why it ended.
func (s *Session) read(ctx context.Context) error {
	for {
		_, data, err := s.conn.Read(ctx)
		if err != nil {
			return err
		}
		frames := &imv1.ServerFrames{}
		if err := proto.Unmarshal(data, frames); err != nil {
			return fmt.Errorf("decode a frame of the server: %w", err)
		}
		for _, f := range frames.GetFrames() {
			s.take(f)
		}
	}
}

func (s *Session) take(f *imv1.ServerFrame) {
	s.mu.Lock()
	waits, ok := s.waiting[f.GetId()]
	delete(s.waiting, f.GetId())
	s.mu.Unlock()
	switch {
	case ok:
		waits <- f // has room for the one answer
	case f.GetId() == 0 && s.heard != nil:
		s.heard(f)
	}
}

// beat keeps the connection alive.
func (s *Session) beat(ctx context.Context) {
	tick := time.NewTicker(s.heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := s.Do(ctx, &imv1.ClientFrame{Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}}); err != nil {
			return
		}
	}
}

// Do sends one request and waits for its answer. The request's id is set here. A refusal is a *Refusal.
func (s *Session) Do(ctx context.Context, request *imv1.ClientFrame) (*imv1.ServerFrame, error) {
	waits := make(chan *imv1.ServerFrame, 1)
	s.mu.Lock()
	s.lastID++
	id := s.lastID
	s.waiting[id] = waits
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, id)
		s.mu.Unlock()
	}()
	data, err := proto.Marshal(&imv1.ClientFrames{Frames: []*imv1.ClientFrame{{Id: id, Body: request.GetBody()}}})
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	if err := s.conn.Write(ctx, websocket.MessageBinary, data); err != nil {
		return nil, fmt.Errorf("write a request: %w", err)
	}
	select {
	case answer := <-waits:
		if refused := answer.GetError(); refused != nil {
			return nil, &Refusal{refused}
		}
		return answer, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
