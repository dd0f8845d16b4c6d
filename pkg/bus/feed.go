package bus

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	prefetchMsgs  = 512     // messages that the server may send ahead
	prefetchBytes = 4 << 20 // of one pull request; at most three are open, since a new one leaves at half of the messages
	pullExpires   = 5 * time.Second
	pullHeartbeat = time.Second
	silence       = 2*pullHeartbeat + time.Second // without any sign from the server this long, the request is lost
)

// feed is one run of reading, from a Seek to the next: pull requests for one consumer that are answered to an inbox of
// its own, so that nothing of an earlier run can get in. The subscription's channel is the prefetch buffer; there is no
// goroutine. A feed that has failed stays failed.
type feed struct {
	nc    *nats.Conn
	alive context.Context // of the connection that the requests went out on; they are lost with it
	sub   *nats.Subscription
	msgs  chan *nats.Msg
	next  string // subject of the pull requests

	heard  time.Time // when the server gave the last sign, or the reading began
	due    int       // messages that the server may still send
	seen   uint64    // sequence of the last message that arrived
	behind bool      // the last heartbeat told of a message that has not arrived
	held   Msg       // arrived but not delivered yet, when isHeld
	isHeld bool
	err    error
}

// openFeed starts to pull; before is the sequence in front of the first that is expected.
func openFeed(nc *nats.Conn, alive context.Context, p Partition, before uint64) (*feed, error) {
	f := &feed{
		nc:    nc,
		alive: alive,
		msgs:  make(chan *nats.Msg, 2*prefetchMsgs), // twice, for the statuses between the messages
		next:  "$JS.API.CONSUMER.MSG.NEXT." + p.Stream() + "." + Consumer,
		seen:  before,
		heard: time.Now(),
	}
	var err error
	if f.sub, err = nc.ChanSubscribe(nc.NewInbox(), f.msgs); err != nil {
		return nil, err
	}
	if err := f.pull(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// close is all it takes: the server drops requests that nobody listens to, before it looks at what follows on the
// connection.
func (f *feed) close() {
	_ = f.sub.Unsubscribe() // fails when the connection is gone, and the subscription with it
}

// pull asks for what the buffer has room for, once half of it is free.
func (f *feed) pull() error {
	room := prefetchMsgs - f.due
	if room < prefetchMsgs/2 {
		return nil
	}
	request := fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`,
		room, prefetchBytes, pullExpires, pullHeartbeat)
	if err := f.nc.PublishRequest(f.next, f.sub.Subject, request); err != nil {
		return err
	}
	f.due += room
	return nil
}

// wait returns the next message.
func (f *feed) wait(ctx context.Context) (Msg, error) {
	if m, ok := f.poll(); ok {
		return m, nil
	}
	timer := time.NewTimer(f.patience()) // what is left of it: callers may come and go more often than it passes
	defer timer.Stop()
	for f.err == nil {
		select {
		case raw := <-f.msgs:
			if m, ok := f.accept(raw); ok {
				return m, nil
			}
			timer.Reset(f.patience())
		case <-ctx.Done():
			return Msg{}, context.Cause(ctx)
		case <-f.alive.Done():
			f.fail(context.Cause(f.alive))
		case <-timer.C:
			if len(f.msgs) == 0 { // else this process has slept, not the server
				f.fail(fmt.Errorf("no sign from the server for %s", silence))
			}
			timer.Reset(silence)
		}
	}
	return Msg{}, f.err
}

// patience is how long the server may go on to be silent.
func (f *feed) patience() time.Duration { return max(silence-time.Since(f.heard), 0) }

// poll returns the next message if it has arrived.
func (f *feed) poll() (Msg, bool) {
	if f.isHeld {
		f.isHeld = false
		return f.held, true
	}
	for f.err == nil {
		select {
		case raw := <-f.msgs:
			if m, ok := f.accept(raw); ok {
				return m, true
			}
		default:
			return Msg{}, false
		}
	}
	return Msg{}, false
}

// unread puts m, which poll returned last, back.
func (f *feed) unread(m Msg) { f.held, f.isHeld = m, true }

// waiting is about how many messages poll could return.
func (f *feed) waiting() int { return len(f.msgs) }

func (f *feed) fail(err error) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %w", ErrInterrupted, err)
	}
}

// accept takes in what came to the inbox: a message, which it returns, or a status, which it acts on.
func (f *feed) accept(raw *nats.Msg) (Msg, bool) {
	var m Msg
	f.heard = time.Now()
	status := raw.Header.Get("Status")
	isMsg := raw.Reply != "" && status == ""
	if isMsg {
		meta, err := raw.Metadata()
		if err != nil {
			f.fail(fmt.Errorf("message without place in the stream: %w", err))
			return Msg{}, false
		}
		m = Msg{
			Seq:  meta.Sequence.Stream,
			Time: meta.Timestamp,
			ID:   raw.Header.Get(jetstream.MsgIDHeader),
			Data: raw.Data,
			ack:  raw.Reply,
		}
		f.seen, f.behind = max(f.seen, m.Seq), false
		f.due = max(f.due-1, 0)
	} else {
		f.heed(status, raw.Header)
	}
	if err := f.pull(); err != nil {
		f.fail(err)
	}
	return m, isMsg
}

// heed acts on a status of a pull request.
func (f *feed) heed(status string, header nats.Header) {
	switch description := header.Get("Description"); {
	case status == "100":
		f.heartbeat(header)
	case status == "408", description == "Batch Completed", description == "Message Size Exceeds MaxBytes":
		// The request has ended in the regular way, with this many messages not sent.
		left, _ := strconv.Atoi(header.Get("Nats-Pending-Messages"))
		f.due = max(f.due-left, 0)
	default: // consumer deleted, leadership change, server shutdown, no responders, bad request
		f.fail(fmt.Errorf("pull request ended: %s %s", status, description))
	}
}

// heartbeat compares what the consumer has delivered with what has arrived. A message that went elsewhere (to a former
// owner's reader, or down with a connection) is not sent again by itself, and without this the last one would stay away
// until another follows. On a replicated consumer the heartbeat may overtake a message, so it takes two in a row.
func (f *feed) heartbeat(header nats.Header) {
	delivered, err := strconv.ParseUint(header.Get("Nats-Last-Stream"), 10, 64)
	if err != nil || delivered <= f.seen {
		f.behind = false
		return
	}
	if f.behind {
		f.fail(fmt.Errorf("the consumer is at %d, but nothing after %d has arrived", delivered, f.seen))
	}
	f.behind = true
}
