package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/coder/websocket"
)

const (
	maxRead       = 16 << 20 // bytes of a WebSocket message from the server
	inboundQueue  = 16       // messages read and not handled; then reading pauses
	maxPending    = 1024     // unanswered requests, even where the server would take more
	sparePlaces   = 8        // places of the outbound queue besides those of pending requests: pings
	closeDeadline = time.Second
)

// What the server accepts when it does not say.
const (
	defaultFrameBytes = 256 << 10
	defaultPending    = 64
	defaultPage       = 100
	defaultHeartbeat  = 30 * time.Second
)

// session is one authenticated connection. The goroutine that called serve is the only one to touch it, besides the
// reader and the writer, which know only the channels.
type session struct {
	codec     *codec
	conn      *websocket.Conn
	limits    *imv1.Limits // without zeros
	heartbeat time.Duration
	early     []*imv1.ServerFrame // came before Connected or together with it

	in   chan inbound
	out  chan []byte   // encoded frames; never full, since its capacity exceeds the pending requests
	quit chan struct{} // closed when nobody takes from in any more

	nextID uint64
	calls  map[uint64]*call // direct requests of this connection that are not answered, by request id
	heard  time.Time
	pingAt time.Time
	leave  time.Time // after GoAway: when to go; zero before
}

// inbound is what the reader read: frames, or why there will be no more.
type inbound struct {
	frames []*imv1.ServerFrame
	err    error
}

func newSession(conn *websocket.Conn, c *codec, answer *imv1.Connected) *session {
	limits := &imv1.Limits{
		FrameBytes:      orDefault(answer.GetLimits().GetFrameBytes(), defaultFrameBytes),
		PendingRequests: min(orDefault(answer.GetLimits().GetPendingRequests(), defaultPending), maxPending),
		PageEntries:     orDefault(answer.GetLimits().GetPageEntries(), defaultPage),
	}
	beat := time.Duration(answer.GetHeartbeatMs()) * time.Millisecond
	now := time.Now()
	s := &session{
		codec: c, conn: conn, limits: limits, heartbeat: orDefault(beat, defaultHeartbeat),
		in:     make(chan inbound, inboundQueue),
		out:    make(chan []byte, limits.PendingRequests+sparePlaces),
		quit:   make(chan struct{}),
		nextID: connectID + 1, calls: map[uint64]*call{}, heard: now,
	}
	s.pingAt = now.Add(s.heartbeat)
	return s
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// silence is how long nothing may be heard, or a write may take, before the connection is taken for dead.
func (s *session) silence() time.Duration { return s.heartbeat * 5 / 2 }

// serve runs the reader and the writer around work and closes the connection: with a handshake when work returned nil,
// at once when it returned an error.
func (s *session) serve(work func() error) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() { s.read(ctx) })
	wg.Go(func() { s.write(ctx, cancel) })
	err := work()
	close(s.quit)
	if err == nil {
		timer := time.AfterFunc(closeDeadline, func() { cancel(nil) })
		s.conn.Close(websocket.StatusNormalClosure, "")
		timer.Stop()
	}
	cancel(nil)
	s.conn.CloseNow()
	wg.Wait()
	return err
}

// read hands on what comes in until the connection ends. After quit it reads on, for the closing handshake.
func (s *session) read(ctx context.Context) {
	for {
		kind, data, err := s.conn.Read(ctx)
		var m inbound
		switch {
		case err != nil && context.Cause(ctx) != nil:
			m.err = context.Cause(ctx)
		case err != nil:
			m.err = closeError(err)
		default:
			m.frames, m.err = s.codec.read(kind, data)
		}
		select {
		case s.in <- m:
		case <-s.quit:
		}
		if m.err != nil {
			return
		}
	}
}

// write sends what waits, as many frames at once as one message may hold.
func (s *session) write(ctx context.Context, cancel context.CancelCauseFunc) {
	var frame []byte
	for {
		if frame == nil {
			select {
			case frame = <-s.out:
			case <-s.quit:
				return
			}
		}
		var message []byte
		message, frame = s.gather(frame)
		if err := s.writeMessage(ctx, message); err != nil {
			cancel(fmt.Errorf("write: %w", err)) // ends the reader, which tells
			return
		}
	}
}

// gather joins frame and those behind it into a message. It returns the frame that did not fit any more.
func (s *session) gather(frame []byte) (message, rest []byte) {
	for n := 0; n < s.codec.joined; n++ {
		if n > 0 && len(message)+s.codec.size(frame) > int(s.limits.FrameBytes) {
			return message, frame
		}
		message = s.codec.join(message, frame)
		if n+1 == s.codec.joined {
			break
		}
		select {
		case frame = <-s.out:
		default:
			return message, nil
		}
	}
	return message, nil
}

func (s *session) writeMessage(ctx context.Context, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.silence())
	defer cancel()
	return s.conn.Write(ctx, s.codec.kind, message)
}
