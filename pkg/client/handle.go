package client

import (
	"fmt"
	"math/rand/v2"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// handle takes a frame of the server. Its error ends the connection.
func (c *Client) handle(s *session, f *imv1.ServerFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.GetId() != 0 {
		return c.answer(s, f, time.Now())
	}
	switch body := f.GetBody().(type) {
	case *imv1.ServerFrame_Error:
		return fromWire(body.Error)
	case *imv1.ServerFrame_Push:
		c.advance(c.chain.push(body.Push.GetEntry()))
	case *imv1.ServerFrame_Head:
		c.advance(c.chain.tell(body.Head))
		c.listed(body.Head.GetListVersion())
	case *imv1.ServerFrame_ReadMoved:
		m := body.ReadMoved
		c.moved(m.GetListVersion(), ReadMoved{m.GetConversationId(), m.GetReadIndex(), m.GetListVersion()})
	case *imv1.ServerFrame_GoAway:
		c.goAway(s, body.GoAway)
	}
	return nil // what a newer server says besides is passed over
}

// answer takes the answer to a request.
func (c *Client) answer(s *session, f *imv1.ServerFrame, now time.Time) error {
	var refusal *Error
	if body, ok := f.GetBody().(*imv1.ServerFrame_Error); ok {
		refusal = fromWire(body.Error)
		if ofConnection(refusal.Code) {
			return refusal
		}
	}
	id := f.GetId()
	if k := s.calls[id]; k != nil {
		delete(s.calls, id)
		c.answerCall(k, id, f, refusal, now)
		return nil
	}
	if c.outbox.flights[id] != nil {
		return c.answerSend(f, refusal, now)
	}
	switch body := f.GetBody().(type) {
	case *imv1.ServerFrame_UserPage:
		c.paged(id, body.UserPage, now)
	case *imv1.ServerFrame_Error:
		c.chain.failed(id, refusal.RetryAfter, now, rand.Float64())
	}
	return nil
}

func (c *Client) answerSend(f *imv1.ServerFrame, refusal *Error, now time.Time) error {
	if refusal != nil {
		c.refuse(f.GetId(), refusal, now)
		return nil
	}
	sent := f.GetSent()
	if sent == nil {
		return fmt.Errorf("the server answered a message with %T", f.GetBody())
	}
	if it := c.outbox.accepted(f.GetId()); it != nil {
		c.finish(it, sendResult{sent: sent}, SendDone{Outgoing: outgoing(it.Send), Sent: sent})
	}
	return nil
}

func (c *Client) paged(id uint64, p *imv1.UserPage, now time.Time) {
	steps := c.chain.paged(id, p, now, rand.Float64())
	c.advance(steps)
	if len(steps) > 0 {
		c.emitter.add(emission{event: SyncProgress{Have: c.chain.have, Head: c.chain.head}})
	}
	c.listed(p.GetHead().GetListVersion())
}

// advance stores and tells what the chain handed on.
func (c *Client) advance(steps []advance) {
	for _, a := range steps {
		change := Change{Position: a.position()}
		var event Event = Skipped{From: a.from, To: a.to}
		if a.entry != nil {
			change.Received = []*imv1.UserEntry{a.entry}
			event = MessageReceived{UserIndex: a.entry.GetUserIndex(), Message: a.entry.GetMessage()}
		}
		c.emitter.add(emission{change, event})
	}
}

// listed takes in a version of the conversation list.
func (c *Client) listed(version uint64) {
	if c.chain.listed(version) {
		c.listChanged()
	}
}

func (c *Client) listChanged() {
	c.untold = c.moves >= maxMoves
	if c.untold {
		return
	}
	c.moves++
	version := c.chain.list
	c.emitter.add(emission{Change{ListVersion: version}, ListChanged{ListVersion: version}})
}

// moved takes in the version that the move of a read position made, with the event that tells of it; nil when this
// device moved it.
func (c *Client) moved(version uint64, event Event) {
	news, missed := c.chain.moved(version)
	switch {
	case !news:
	case missed || c.untold || c.moves >= maxMoves:
		c.listChanged()
	default:
		c.moves++
		c.emitter.add(emission{Change{ListVersion: version}, event})
	}
}

// goAway stays, for the answers that are still to come, until a random time within the one given, so that clients do not
// all connect elsewhere at once.
func (c *Client) goAway(s *session, g *imv1.GoAway) {
	if !s.leave.IsZero() {
		return
	}
	within := time.Duration(g.GetReconnectWithinMs()) * time.Millisecond
	s.leave = time.Now().Add(time.Duration(rand.Float64() * float64(within)))
	c.emitter.add(emission{event: GoingAway{Reason: g.GetReason(), Within: within}})
}

// told makes room for what OnEvent has had.
func (c *Client) told(batch []emission) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries := 0
	for _, em := range batch {
		entries += len(em.change.Received)
		if em.change.ListVersion != 0 {
			c.moves--
		}
		switch em.event.(type) {
		case SendDone, SendFailed:
			c.results--
		case Disconnected:
			c.losses--
		}
	}
	c.advance(c.chain.released(entries))
	if c.untold {
		c.listChanged()
	}
	signal(c.wake)
}
