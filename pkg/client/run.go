package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/coder/websocket"
)

const (
	connectID        = 1 // request id of Connect
	handshakeTimeout = 20 * time.Second
)

// Run connects and stays connected, sends the outbox and follows the user chain. It returns nil when ctx ends, and an
// error when going on is of no use: the token was refused and a fresh one too, the server does not speak this version or
// is not found at the path of Config.URL,
// another session of the same device took over, the Store failed or does not fit (ErrOtherUser, ErrChainWentBack).
// Before it returns, what was received and answered is stored and told. Run may be called once.
func (c *Client) Run(ctx context.Context) error {
	if c.started.Swap(true) {
		return errors.New("run was called before; make a new client")
	}
	if err := c.acquire(ctx); err != nil {
		if ctx.Err() != nil {
			err = nil
		}
		c.stop(err)
		return err
	}
	<-c.storing
	return c.run(ctx)
}

func (c *Client) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var wg sync.WaitGroup
	var broken error
	wg.Go(func() {
		broken = c.emitter.run()
		cancel(broken)
	})
	err := c.connect(ctx)
	if err == nil && parent.Err() == nil {
		err = context.Cause(ctx)
	}
	c.stop(err) // before the wait: OnEvent may be waiting for an answer
	c.emitter.end()
	wg.Wait()
	c.http.CloseIdleConnections()
	if broken != nil {
		return broken
	}
	return err
}

// stop ends all waiting for answers.
func (c *Client) stop(err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	close(c.stopped)
}

// connect makes one connection after the other until ctx ends or connecting again is of no use.
func (c *Client) connect(ctx context.Context) error {
	policy := redial{backoff: backoff{c.cfg.MinBackoff, c.cfg.MaxBackoff}}
	for ctx.Err() == nil {
		e := c.attempt(ctx)
		if ctx.Err() != nil {
			e.err = nil
		}
		c.lost(e.err)
		if e.err == nil {
			break
		}
		wait, err := policy.next(e, rand.Float64())
		if err != nil {
			return err
		}
		c.cfg.Log.Info("disconnected", "err", e.err, "wait", wait)
		c.pause(ctx, wait)
	}
	return nil
}

// pause waits, and while the application has maxLosses disconnections still to be told of.
func (c *Client) pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	for c.losing() && ctx.Err() == nil {
		select {
		case <-c.wake:
		case <-ctx.Done():
		}
	}
}

// attempt makes a connection and serves it to its end.
func (c *Client) attempt(ctx context.Context) ending {
	s, answer, err := c.open(ctx)
	if err != nil {
		return ending{err: err}
	}
	if err := c.begin(s, answer); err != nil {
		s.conn.CloseNow()
		return ending{err: err}
	}
	began := time.Now()
	err = s.serve(func() error { return c.loop(ctx, s) })
	e := ending{err: err, connected: true, lived: time.Since(began), leaving: !s.leave.IsZero()}
	if e.leaving {
		e.left = max(0, time.Until(s.leave))
	}
	if e.err == nil {
		e.err = &Error{Code: imv1.ErrorCode_ERROR_CODE_GOING_AWAY, Text: "the server asked to connect again", Retryable: true}
	}
	return e
}

// open makes a connection and authenticates it.
func (c *Client) open(ctx context.Context) (*session, *imv1.Connected, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	token, err := c.cfg.Token(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("get a token: %w", err)
	}
	conn, resp, err := websocket.Dial(ctx, c.cfg.URL, &websocket.DialOptions{
		HTTPClient: c.http, Subprotocols: []string{c.codec.subprotocol},
	})
	if err != nil {
		return nil, nil, dialError(resp, err)
	}
	s, answer, err := c.handshake(ctx, conn, token)
	if err != nil {
		conn.CloseNow()
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	return s, answer, nil
}

// finalAnswers is how the text of an HTTP answer begins that will be the same the next time. Anything else may be a
// proxy's, which speaks for itself and for the moment only.
var finalAnswers = map[string]imv1.ErrorCode{
	"UNSUPPORTED_VERSION": imv1.ErrorCode_ERROR_CODE_UNSUPPORTED_VERSION,
	"WRONG_PATH":          imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, // the path of Config.URL
}

// dialError makes an *Error of an HTTP answer that says what to do.
func dialError(resp *http.Response, err error) error {
	if resp == nil {
		return err
	}
	var body []byte
	if resp.Body != nil {
		body, _ = io.ReadAll(resp.Body) // at most 1 KiB; what cannot be read says nothing
	}
	text := fmt.Sprintf("the server answered with HTTP %s: %s", resp.Status, bytes.TrimSpace(body))
	e := &Error{Code: imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, Text: text, Retryable: true}
	for says, code := range finalAnswers {
		if bytes.HasPrefix(body, []byte(says)) {
			e.Code, e.Retryable = code, false
		}
	}
	if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// handshake sends Connect and waits for the answer. Pushes may come before it.
func (c *Client) handshake(ctx context.Context, conn *websocket.Conn, token string) (*session, *imv1.Connected, error) {
	if conn.Subprotocol() != c.codec.subprotocol {
		return nil, nil, &Error{Code: imv1.ErrorCode_ERROR_CODE_UNSUPPORTED_VERSION,
			Text: "the server does not speak " + c.codec.subprotocol}
	}
	conn.SetReadLimit(maxRead)
	frame, err := c.codec.encode(&imv1.ClientFrame{Id: connectID, Body: &imv1.ClientFrame_Connect{Connect: &imv1.Connect{
		Token: token, DeviceId: c.cfg.Device, Platform: c.cfg.Platform, LastUserIndex: c.Position(),
		HeartbeatMs: uint32(c.cfg.Heartbeat.Milliseconds()),
	}}})
	if err != nil {
		return nil, nil, err
	}
	if err := conn.Write(ctx, c.codec.kind, c.codec.join(nil, frame)); err != nil {
		return nil, nil, err
	}
	var early []*imv1.ServerFrame
	for {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			return nil, nil, closeError(err)
		}
		frames, err := c.codec.read(kind, data)
		if err != nil {
			return nil, nil, err
		}
		answer, others, err := connectAnswer(frames)
		early = append(early, others...)
		if err != nil {
			return nil, nil, err
		}
		if answer != nil {
			s := newSession(conn, c.codec, answer)
			s.early = early
			return s, answer, nil
		}
		early = early[:min(len(early), maxEarly)] // a push is a hint
	}
}

// connectAnswer finds the answer to Connect among frames.
func connectAnswer(frames []*imv1.ServerFrame) (answer *imv1.Connected, others []*imv1.ServerFrame, err error) {
	for _, f := range frames {
		switch body := f.GetBody().(type) {
		case *imv1.ServerFrame_Connected:
			answer = body.Connected
		case *imv1.ServerFrame_Error:
			return nil, nil, fromWire(body.Error)
		default:
			others = append(others, f)
		}
	}
	return answer, others, nil
}
