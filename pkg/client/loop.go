package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// What may wait for OnEvent, by kind; entries of the chain are bounded by maxWaiting.
const (
	maxResults = 1024 // of sends; at the bound nothing more is sent
	maxMoves   = 256  // of read positions; at the bound one ListChanged takes their place
	maxLosses  = 16   // of connections; at the bound there is no new one
)

// begin takes the answer to Connect: from here on the client is connected.
func (c *Client) begin(s *session, answer *imv1.Connected) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	user, head := answer.GetUserId(), answer.GetHead()
	if c.user != "" && c.user != user {
		return fmt.Errorf("%w: it is %s's, the token is %s's", ErrOtherUser, c.user, user)
	}
	var first Change
	if c.user == "" {
		if head == nil || user == "" {
			return errors.New("the server did not tell the user or the head of the chain")
		}
		first.User = user
		if !c.cfg.SyncFromStart {
			c.chain.have = head.GetUserIndex()
			first.Position = c.chain.have
		}
	}
	c.chain.page = min(pageWish, int(s.limits.GetPageEntries()))
	steps, err := c.chain.connected(head)
	if err != nil {
		return err
	}
	c.user = user
	c.outbox.connected(user)
	close(c.up)
	c.cfg.Log.Info("connected", "session", answer.GetSessionId(), "user", user, "index", c.chain.have)
	c.emitter.add(emission{first, Connected{Session: answer.GetSessionId(), User: user, Head: head}})
	c.advance(steps)
	c.listed(head.GetListVersion())
	return nil
}

// lost ends what began with begin, or an attempt that did not come so far.
func (c *Client) lost(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.up:
		c.up = make(chan struct{})
	default:
	}
	c.outbox.disconnected()
	c.chain.disconnected()
	for _, k := range c.calls {
		k.flight, k.tries = 0, 0
	}
	c.losses++
	c.emitter.add(emission{event: Disconnected{Err: err}})
}

// losing reports whether too many lost connections wait for OnEvent.
func (c *Client) losing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.losses >= maxLosses
}

// loop serves the connection until it fails, ctx ends (nil) or the server's GoAway makes it time to go (nil).
func (c *Client) loop(ctx context.Context, s *session) error {
	for _, f := range s.early {
		if err := c.handle(s, f); err != nil {
			return err
		}
	}
	s.early = nil
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, err := c.turn(s, time.Now())
		if err != nil || wait <= 0 {
			return err
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case m := <-s.in:
			if err := c.receive(s, m); err != nil {
				return err
			}
		case <-c.wake:
		case <-timer.C:
		}
	}
}

func (c *Client) receive(s *session, m inbound) error {
	if m.err != nil {
		return m.err
	}
	s.heard = time.Now()
	for _, f := range m.frames {
		if err := c.handle(s, f); err != nil {
			return err
		}
	}
	return nil
}

// turn sends whatever may be sent now. It returns the time until time alone gives it something to do, 0 when the
// connection is to be left.
func (c *Client) turn(s *session, now time.Time) (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.leave.IsZero() && !now.Before(s.leave) {
		return 0, nil
	}
	if now.Sub(s.heard) >= s.silence() && len(s.in) == 0 {
		return 0, errSilent
	}
	stuck := c.outbox.expire(now)
	stuck = c.chain.expire(now) || stuck
	stuck = expireCalls(c.calls, now, c.cfg.SendTimeout) || stuck
	if stuck {
		return 0, errNoAnswer
	}
	c.fill(s, now)
	at := s.heard.Add(s.silence())
	for _, t := range []time.Time{
		s.leave, s.pingAt, c.outbox.deadline(now), c.chain.deadline(now), callsDeadline(c.calls, now, c.cfg.SendTimeout),
	} {
		at = sooner(at, t)
	}
	return max(at.Sub(now), time.Millisecond), nil
}

// fill sends as much as the server lets wait at once: first a pull of the chain, then direct requests, and messages in
// three quarters of the places, so that they never keep the others out. After GoAway nothing new is sent.
func (c *Client) fill(s *session, now time.Time) {
	if !now.Before(s.pingAt) {
		s.pingAt = now.Add(s.heartbeat)
		_ = c.put(s, &imv1.ClientFrame{Id: s.id(), Body: &imv1.ClientFrame_Ping{Ping: &imv1.Ping{}}}) // always fits
	}
	if !s.leave.IsZero() { // a server that goes away answers what it has and takes nothing more
		return
	}
	places := max(1, int(s.limits.GetPendingRequests())-1) // one stays free for Ping
	pending := func() int { return len(c.outbox.flights) + len(s.calls) + c.chain.pending() }
	if pending() < places {
		if pull := c.chain.next(s.nextID, now); pull != nil {
			_ = c.put(s, &imv1.ClientFrame{Id: s.id(), Body: &imv1.ClientFrame_PullUser{PullUser: pull}}) // always fits
		}
	}
	for pending() < places && c.call(s, now) {
	}
	for pending() < max(1, places*3/4) && c.results+len(c.outbox.flights) < maxResults {
		send := c.outbox.next(s.nextID, now)
		if send == nil {
			return
		}
		frame := &imv1.ClientFrame{Id: s.id(), Body: &imv1.ClientFrame_Send{Send: send}}
		if refusal := c.put(s, frame); refusal != nil {
			c.refuse(frame.GetId(), refusal, now)
		}
	}
}

// put hands a frame to the writer, or tells why it can never be sent.
func (c *Client) put(s *session, f *imv1.ClientFrame) *Error {
	data, err := s.codec.encode(f)
	if err != nil {
		return &Error{Code: imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME, Text: err.Error()}
	}
	if n := s.codec.size(data); n > int(s.limits.GetFrameBytes()) {
		return &Error{Code: imv1.ErrorCode_ERROR_CODE_FRAME_TOO_LARGE,
			Text: fmt.Sprintf("the request is %d bytes long, the server takes %d", n, s.limits.GetFrameBytes())}
	}
	s.out <- data
	return nil
}

func (s *session) id() uint64 {
	s.nextID++
	return s.nextID - 1
}

// refuse takes the refusal of a message.
func (c *Client) refuse(id uint64, e *Error, now time.Time) {
	if it := c.outbox.refused(id, e, now, rand.Float64()); it != nil {
		c.finish(it, sendResult{err: e}, SendFailed{Outgoing: outgoing(it.Send), Err: e})
	}
}

// finish takes a message out of the outbox, tells whoever waits for it, and the application once that is stored.
func (c *Client) finish(it *item, result sendResult, event Event) {
	for _, w := range c.waiters[it.Seq] {
		w <- result
	}
	delete(c.waiters, it.Seq)
	c.results++
	c.emitter.add(emission{Change{Removed: []uint64{it.Seq}}, event})
}
