package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// call is a direct request whose caller waits. It is sent again, unchanged, when its answer is overdue, when the
// connection was lost, and after a refusal that allows it: each request is safe to repeat.
type call struct {
	frame    *imv1.ClientFrame // without an id; not changed
	flight   uint64            // the latest transmission on this connection; 0 when there is none
	sentAt   time.Time
	tries    int // transmissions on this connection
	hold     time.Time
	failures int
	last     *Error            // the latest refusal
	answer   chan<- callAnswer // holds one
}

type callAnswer struct {
	frame *imv1.ServerFrame
	err   error
}

// ask sends a request and waits for its answer, as long as ctx lasts.
func (c *Client) ask(ctx context.Context, frame *imv1.ClientFrame) (*imv1.ServerFrame, error) {
	answer := make(chan callAnswer, 1)
	k := &call{frame: frame, answer: answer}
	c.mu.Lock()
	c.calls = append(c.calls, k)
	c.mu.Unlock()
	signal(c.wake)
	select {
	case a := <-answer:
		return a.frame, a.err
	case <-c.stopped:
	case <-ctx.Done():
	}
	last := c.withdraw(k)
	select {
	case a := <-answer: // it came first, and the client counts on the caller to know it
		return a.frame, a.err
	default:
	}
	switch {
	case ctx.Err() == nil:
		return nil, c.stopError()
	case last != nil:
		return nil, fmt.Errorf("%w; the last answer was %w", ctx.Err(), last)
	}
	return nil, ctx.Err()
}

// withdraw forgets a call and returns its latest refusal.
func (c *Client) withdraw(k *call) *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = slices.DeleteFunc(c.calls, func(other *call) bool { return other == k })
	return k.last
}

// call sends the next direct request and reports whether there was one.
func (c *Client) call(s *session, now time.Time) bool {
	at := slices.IndexFunc(c.calls, func(k *call) bool { return k.flight == 0 && !now.Before(k.hold) })
	if at < 0 {
		return false
	}
	k := c.calls[at]
	frame := &imv1.ClientFrame{Id: s.id(), Body: k.frame.GetBody()}
	k.flight, k.sentAt = frame.GetId(), now
	k.tries++
	s.calls[k.flight] = k
	if refusal := c.put(s, frame); refusal != nil {
		delete(s.calls, k.flight)
		c.answerCall(k, k.flight, nil, refusal, now)
	}
	return true
}

// answerCall takes the answer to the transmission id of a call. A refusal of one that was overtaken does not count.
func (c *Client) answerCall(k *call, id uint64, f *imv1.ServerFrame, refusal *Error, now time.Time) {
	at := slices.Index(c.calls, k)
	if at < 0 || refusal != nil && id != k.flight {
		return
	}
	if refusal != nil && refusal.Retryable {
		b := backoff{c.cfg.MinBackoff, c.cfg.MaxBackoff}
		k.hold = now.Add(refusal.RetryAfter + b.wait(k.failures, rand.Float64()))
		k.failures++
		k.flight, k.tries, k.last = 0, 0, refusal
		return
	}
	c.calls = slices.Delete(c.calls, at, at+1)
	if refusal != nil {
		k.answer <- callAnswer{err: refusal}
		return
	}
	if m := f.GetReadMarked(); m != nil {
		c.moved(m.GetListVersion(), nil)
	}
	k.answer <- callAnswer{frame: f}
}

// due is when the answer is overdue; the time doubles with each miss in a row.
func (k *call) due(timeout time.Duration) time.Time {
	return k.sentAt.Add(timeout << (k.tries - 1))
}

// expireCalls makes overdue calls be sent again. It reports whether another connection is called for.
func expireCalls(calls []*call, now time.Time, timeout time.Duration) (stuck bool) {
	for _, k := range calls {
		if k.flight != 0 && !now.Before(k.due(timeout)) {
			k.flight = 0
			stuck = stuck || k.tries == maxTimeouts
		}
	}
	return stuck
}

// callsDeadline is when a call is overdue or may be sent again; zero when none is.
func callsDeadline(calls []*call, now time.Time, timeout time.Duration) time.Time {
	var at time.Time
	for _, k := range calls {
		switch {
		case k.flight != 0:
			at = sooner(at, k.due(timeout))
		case k.hold.After(now):
			at = sooner(at, k.hold)
		}
	}
	return at
}
