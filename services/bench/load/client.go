package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/socket"
)

const (
	subprotocol    = "catena.v1"
	device         = "bench"
	platform       = "bench"
	connectTimeout = 30 * time.Second
	heartbeat      = 5 * time.Minute // wished for, so that pings do not matter
	connectID      = 1
	firstCall      = 1 << 62 // ids of calls; below are numbers of messages
)

// client is one user's connection.
type client struct {
	user string
	at   int // its place in the crowd
	conn *socket.Conn
	beat time.Duration // as negotiated
	head uint64        // UserIndex when it connected

	// Of the reading goroutine.
	told uint64 // last UserIndex that came in line

	mu      sync.Mutex // guards the fields below
	calls   uint64
	waiting map[uint64]waiter
	listed  []string // ids of its conversations, once asked for
	buf     []byte   // of the sender of messages
}

// A listener gets the frames that answer no call: answers to messages, pushes and errors of the connection. It is called
// by the reading goroutines of all clients.
type listener interface {
	heard(c *client, at time.Time, f *frame)
}

// refused is the error that the server answered with.
type refused struct{ wire *imv1.Error }

func (r refused) Error() string {
	return fmt.Sprintf("refused with %s: %s", r.wire.GetCode(), r.wire.GetText())
}

// open connects a user, the at-th of a crowd. Nothing is read until read is called.
func (b *Bench) open(ctx context.Context, user string, at int) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	token, err := b.deps.Token(user)
	if err != nil {
		return nil, err
	}
	conn, err := socket.Dial(ctx, socket.Config{URL: b.URL, Subprotocol: subprotocol, From: from(at)})
	if err != nil {
		return nil, err
	}
	c := &client{user: user, at: at, conn: conn, waiting: map[uint64]waiter{}}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = c.authenticate(token)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect %s: %w", user, err)
	}
	return c, nil
}

// from is the address that the at-th client connects from: one address has some 28,000 ports.
func from(at int) net.Addr {
	const each = 20_000
	if at < each {
		return nil
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+at/each))}
}

func (c *client) authenticate(token string) error {
	err := c.write(&imv1.ClientFrame{Id: connectID, Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{
		Token: token, DeviceId: device, Platform: platform, HeartbeatMs: uint32(heartbeat.Milliseconds()),
	}}})
	if err != nil {
		return err
	}
	data, err := c.conn.Read()
	if err != nil {
		return err
	}
	var frames imv1.ServerFrames
	if err := proto.Unmarshal(data, &frames); err != nil || len(frames.GetFrames()) == 0 {
		return errMalformed
	}
	answer := frames.GetFrames()[0]
	if e := answer.GetError(); e != nil {
		return refused{e}
	}
	c.beat = time.Duration(answer.GetConnected().GetHeartbeatMs()) * time.Millisecond
	c.head = answer.GetConnected().GetHead().GetUserIndex()
	c.told = c.head
	return nil
}

// write sends one request.
func (c *client) write(f *imv1.ClientFrame) error {
	data, err := proto.Marshal(&imv1.ClientFrames{Frames: []*imv1.ClientFrame{f}})
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	return c.conn.Write(data)
}

// send sends a message. Messages of one client are sent by one goroutine.
func (c *client) send(o *outgoing) error {
	c.buf = appendSend(c.buf[:0], o)
	return c.conn.Write(c.buf)
}

// read hands out what the server says until the connection ends, and returns why it ended.
func (c *client) read(l listener) error {
	for {
		data, err := c.conn.Read()
		if err != nil {
			c.hangUp()
			return err
		}
		at := time.Now()
		for len(data) > 0 {
			var f frame
			if f, data, err = nextFrame(data); err != nil {
				c.hangUp()
				return err
			}
			if f.id < firstCall {
				l.heard(c, at, &f)
			} else if err := c.answered(&f); err != nil {
				return err
			}
		}
	}
}

// waiter is who waits for an answer.
type waiter struct {
	to   chan answer // has room for the one answer; closed when there will be none
	lean bool        // the page is wanted, not the frame
}

// answer is what came for a call.
type answer struct {
	frame *imv1.ServerFrame // without lean, and for an error
	page  page              // with lean
}

// hangUp ends the calls that wait.
func (c *client) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, w := range c.waiting {
		close(w.to)
		delete(c.waiting, id)
	}
}

func (c *client) answered(f *frame) error {
	c.mu.Lock()
	w, waits := c.waiting[f.id]
	delete(c.waiting, f.id)
	c.mu.Unlock()
	if !waits { // its caller has gone
		return nil
	}
	var a answer
	if w.lean && f.kind != fieldError {
		a.page = readPage(f)
	} else {
		a.frame = new(imv1.ServerFrame)
		if err := proto.Unmarshal(f.raw, a.frame); err != nil {
			return errMalformed
		}
	}
	w.to <- a
	return nil
}

var errHungUp = errors.New("the connection ended")

// call sends a request and waits for its answer. The id is set here.
func (c *client) call(ctx context.Context, f *imv1.ClientFrame) (*imv1.ServerFrame, error) {
	a, err := c.ask(ctx, f, false)
	return a.frame, err
}

// pull sends a pull and counts the page that is answered.
func (c *client) pull(ctx context.Context, f *imv1.ClientFrame) (page, error) {
	a, err := c.ask(ctx, f, true)
	return a.page, err
}

func (c *client) ask(ctx context.Context, f *imv1.ClientFrame, lean bool) (answer, error) {
	w := waiter{make(chan answer, 1), lean}
	c.mu.Lock()
	c.calls++
	f.Id = firstCall + c.calls
	c.waiting[f.Id] = w
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, f.Id)
	}()
	if err := c.write(f); err != nil {
		return answer{}, err
	}
	select {
	case a, ok := <-w.to:
		if !ok {
			return answer{}, errHungUp
		}
		if e := a.frame.GetError(); e != nil {
			return answer{}, refused{e}
		}
		return a, nil
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}
