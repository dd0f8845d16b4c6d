package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Bounds of what may wait for one subscription's handler. What arrives beyond them is dropped, which is logged once
// until the handler has caught up.
const (
	pendingMsgs  = 64 << 10
	pendingBytes = 64 << 20
)

// Packet is a core message. The handler owns Data.
type Packet struct {
	Data    []byte
	Respond func([]byte) error // answers a request; nil when no answer is asked for
}

// Publish sends payload to those who listen now. It does not wait; nil means that it was handed to the connection.
// Publishes of one caller to one subject arrive in order or not at all. The payload is not kept.
func (b *Bus) Publish(s Subject, payload []byte) error {
	subject, err := b.subject(s)
	if err != nil {
		return err
	}
	if len(payload) > MaxPayload {
		return fmt.Errorf("publish to %s: %w: %d bytes, at most %d", subject, ErrTooLarge, len(payload), MaxPayload)
	}
	return b.publish(subject, payload)
}

func (b *Bus) publish(subject string, payload []byte) error {
	if err := b.nc.Publish(subject, payload); err != nil {
		return fmt.Errorf("publish to %s: %w", subject, connError(err))
	}
	return nil
}

// Subscription is a handler that listens.
type Subscription struct {
	b       *Bus
	sub     *nats.Subscription
	mu      sync.Mutex // held while the handler runs; guards the field below
	stopped bool
}

// Subscribe calls handler with every message to s, one after the other. It listens when Subscribe returns, as far as
// this connection's server is concerned, and again after every reconnect. What is sent meanwhile is missed.
func (b *Bus) Subscribe(s Subject, handler func(Packet)) (*Subscription, error) {
	subject, err := b.subject(s)
	if err != nil {
		return nil, err
	}
	sub := &Subscription{b: b}
	sub.sub, err = b.nc.Subscribe(subject, func(m *nats.Msg) {
		sub.mu.Lock()
		defer sub.mu.Unlock()
		if !sub.stopped {
			handler(b.packet(m))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, connError(err))
	}
	if err := errors.Join(sub.sub.SetPendingLimits(pendingMsgs, pendingBytes), b.settle()); err != nil {
		sub.Stop()
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return sub, nil
}

// settle returns when the server has taken in what was sent before, above all a subscription.
func (b *Bus) settle() error {
	ctx, cancel := b.bounded(context.Background(), apiTimeout)
	defer cancel()
	if err := b.nc.FlushWithContext(ctx); err != nil && b.link.alive().Err() == nil {
		return err
	}
	return nil // away: the subscription is made with the next connection
}

func (b *Bus) packet(m *nats.Msg) Packet {
	p := Packet{Data: m.Data}
	if reply := m.Reply; reply != "" {
		p.Respond = func(answer []byte) error { return b.publish(reply, answer) }
	}
	return p
}

// Stop ends the subscription; what waits for the handler is dropped. When it returns the handler does not run, will not
// run again, and requests get ErrNoResponder unless somebody else listens. The handler itself must not call it.
func (s *Subscription) Stop() {
	_ = s.sub.Unsubscribe() // this and settle fail when the connection is gone, and the subscription with it
	_ = s.b.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// Request sends payload to those who listen and returns the first answer. It waits until ctx ends, the connection is
// lost, or 5 s have passed. ErrNoResponder: nobody listens, or the one who did is stopping; the request was not handled.
func (b *Bus) Request(ctx context.Context, s Subject, payload []byte) ([]byte, error) {
	subject, err := b.subject(s)
	if err != nil {
		return nil, err
	}
	if len(payload) > MaxPayload {
		return nil, fmt.Errorf("request to %s: %w: %d bytes, at most %d", subject, ErrTooLarge, len(payload), MaxPayload)
	}
	ctx, cancel := b.bounded(ctx, apiTimeout)
	defer cancel()
	answer, err := b.nc.RequestWithContext(ctx, subject, payload)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		err = ErrNoResponder
	case err != nil:
		err = apiError(ctx, err)
	case answer.Header.Get(micro.ErrorCodeHeader) != "":
		err = fmt.Errorf("%w: %s", ErrNoResponder, answer.Header.Get(micro.ErrorHeader))
	}
	if err != nil {
		return nil, fmt.Errorf("request to %s: %w", subject, err)
	}
	return answer.Data, nil
}
