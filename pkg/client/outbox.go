package client

import (
	"maps"
	"slices"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// outbox decides what is sent when. It is a pure step: no clock, no randomness, no input or output; the caller hands it
// what happened and carries out what it says.
//
// Each conversation has a queue in the order in which the messages were queued. Some messages at the front of a queue
// are in flight, at most window; each carries in After the one before it, so the server refuses it while that one is
// missing. Whatever goes wrong, the queue goes back to the message it went wrong with and sends again from there in
// order (go back N), which the client message ids make harmless. An acceptance counts from whichever transmission it
// comes; a refusal counts only from the latest, since an older one may have been overtaken.
type outbox struct {
	backoff
	window  int
	timeout time.Duration

	user    string // empty before the first connection: until then nothing is queued by conversation
	items   map[uint64]*item
	order   []uint64 // the keys of items, rising; may name answered ones
	byID    map[messageKey]*item
	queues  map[string]*queue
	turns   []*queue // the queues in the order in which they take turns
	turn    int
	flights map[uint64]*item // transmissions of this connection that are not answered, by request id; overtaken ones too
	hold    time.Time        // the server asked all of this client to wait until then
}

// messageKey names a message as the application did.
type messageKey struct{ conversation, to, id string }

func keyOf(s *imv1.Send) messageKey {
	return messageKey{s.GetConversationId(), s.GetToUserId(), s.GetClientMessageId()}
}

// item is a message that is not answered yet.
type item struct {
	Queued
	queue  *queue
	flight uint64    // the latest transmission
	sentAt time.Time // of the latest transmission
	done   bool      // answered or withdrawn
	open   int       // transmissions of which it is not known that the server did not take them
}

// queue holds the unanswered messages of one conversation.
type queue struct {
	items    []*item
	flying   int       // items[:flying] are in flight
	hold     time.Time // nothing is sent before
	failures int       // refusals in a row that asked to send again
	timeouts int       // times in a row that an answer did not come, on this connection
}

// maxTimeouts is how often in a row answers of one conversation may be overdue before the connection is given up.
const maxTimeouts = 3

func newOutbox(window int, timeout time.Duration, b backoff) *outbox {
	return &outbox{
		backoff: b, window: window, timeout: timeout,
		items: map[uint64]*item{}, byID: map[messageKey]*item{},
		queues: map[string]*queue{}, flights: map[uint64]*item{},
	}
}

// add takes in a message whose Seq is above all before. It must be in the store already.
func (o *outbox) add(q Queued) { o.insert(&item{Queued: q}) }

// restore is add for a message that was stored by an earlier process, which may have sent it.
func (o *outbox) restore(q Queued) { o.insert(&item{Queued: q, open: 1}) }

func (o *outbox) insert(it *item) {
	q := it.Queued
	o.items[q.Seq] = it
	o.order = append(o.order, q.Seq)
	o.byID[keyOf(q.Send)] = it
	if o.user != "" {
		o.enqueue(it)
	}
}

func (o *outbox) enqueue(it *item) {
	key := it.Send.GetConversationId()
	if key == "" {
		key = singleID(o.user, it.Send.GetToUserId())
	}
	q := o.queues[key]
	if q == nil {
		q = &queue{}
		o.queues[key] = q
		o.turns = append(o.turns, q)
	}
	it.queue = q
	q.items = append(q.items, it)
}

// singleID is the id of the conversation of two users.
func singleID(a, b string) string {
	return "s:" + min(a, b) + ":" + max(a, b)
}

// connected opens a connection for user, who stays the same ever after.
func (o *outbox) connected(user string) {
	if o.user == user {
		return
	}
	o.user = user
	for _, seq := range o.order {
		if it := o.items[seq]; it != nil {
			o.enqueue(it)
		}
	}
}

// disconnected forgets what was in flight; all of it is sent again on the next connection.
func (o *outbox) disconnected() {
	clear(o.flights)
	for _, q := range o.turns {
		q.flying, q.timeouts = 0, 0
	}
}

// next is the message to send now as request id, or nil. The conversations take turns.
func (o *outbox) next(id uint64, now time.Time) *imv1.Send {
	if now.Before(o.hold) {
		return nil
	}
	for range o.turns {
		o.turn = (o.turn + 1) % len(o.turns)
		q := o.turns[o.turn]
		if q.flying < min(len(q.items), o.window) && !now.Before(q.hold) {
			return o.send(q, id, now)
		}
	}
	return nil
}

func (o *outbox) send(q *queue, id uint64, now time.Time) *imv1.Send {
	it := q.items[q.flying]
	after := ""
	if q.flying > 0 {
		after = q.items[q.flying-1].Send.GetClientMessageId()
	}
	q.flying++
	it.flight, it.sentAt = id, now
	it.open++
	o.flights[id] = it
	return &imv1.Send{
		ConversationId: it.Send.GetConversationId(), ToUserId: it.Send.GetToUserId(),
		ClientMessageId: it.Send.GetClientMessageId(), Type: it.Send.GetType(), Body: it.Send.GetBody(),
		Visibility: it.Send.GetVisibility(), After: after,
	}
}

// accepted takes the answer that the message sent as request id is in its chain. It returns the message when this is
// the first such answer; the message is out of the outbox then.
func (o *outbox) accepted(id uint64) *item {
	it := o.flights[id]
	delete(o.flights, id)
	if it == nil || it.done {
		return nil
	}
	it.queue.failures, it.queue.timeouts = 0, 0
	o.remove(it)
	return it
}

// refused takes the answer that the message sent as request id was refused. It returns the message when it is refused
// for good; it is out of the outbox then, and those in flight behind it are sent again, since each named one before it
// that will never come.
func (o *outbox) refused(id uint64, e *Error, now time.Time, dice float64) *item {
	it := o.flights[id]
	delete(o.flights, id)
	if it != nil && !leavesOpen(e.Code) {
		it.open--
	}
	if it == nil || it.done || it.flight != id {
		return nil
	}
	q := it.queue
	at := slices.Index(q.items, it)
	if at >= q.flying {
		return nil
	}
	q.timeouts = 0
	if !e.Retryable {
		q.flying = at + 1
		o.remove(it)
		return it
	}
	if e.Code == imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER {
		at = 0 // one before it is missing
	}
	q.flying = at
	until := now.Add(e.RetryAfter + o.wait(q.failures, dice))
	q.failures++
	q.hold = until
	if e.Code == imv1.ErrorCode_ERROR_CODE_RATE_LIMITED {
		o.hold = until
	}
	return nil
}

// leavesOpen reports whether a refusal leaves it open whether the message will be in its chain.
func leavesOpen(code imv1.ErrorCode) bool {
	return code == imv1.ErrorCode_ERROR_CODE_UNAVAILABLE || code == imv1.ErrorCode_ERROR_CODE_INTERNAL
}

// withdraw takes a message out unanswered; nil: it is not there. Those in flight behind it are sent again, since each
// named one before it that perhaps never comes.
func (o *outbox) withdraw(key messageKey) *item {
	it := o.byID[key]
	if it == nil {
		return nil
	}
	if q := it.queue; q != nil {
		q.flying = min(q.flying, slices.Index(q.items, it)+1)
		q.failures = 0
	}
	o.remove(it)
	return it
}

func (o *outbox) remove(it *item) {
	it.done = true
	delete(o.items, it.Seq)
	delete(o.byID, keyOf(it.Send))
	q := it.queue
	if q == nil { // before the first connection
		o.tidy()
		return
	}
	at := slices.Index(q.items, it)
	q.items = slices.Delete(q.items, at, at+1)
	if at < q.flying {
		q.flying--
	}
	o.tidy()
}

// tidy drops what was answered from order, and empty queues, when they have become the larger part.
func (o *outbox) tidy() {
	if len(o.order) > 2*len(o.items)+64 {
		o.order = slices.DeleteFunc(o.order, func(seq uint64) bool { return o.items[seq] == nil })
	}
	if len(o.turns) > 2*len(o.items)+64 {
		o.turn = 0
		o.turns = slices.DeleteFunc(o.turns, func(q *queue) bool { return len(q.items) == 0 })
		maps.DeleteFunc(o.queues, func(_ string, q *queue) bool { return len(q.items) == 0 })
	}
}

// expire makes everything that is overdue be sent again. It reports whether the answers of a conversation stay away
// though the connection lives, so that another connection is called for.
func (o *outbox) expire(now time.Time) (stuck bool) {
	for _, q := range o.turns {
		if q.flying > 0 && !now.Before(q.due(o.timeout)) {
			q.flying = 0
			q.timeouts++
			stuck = stuck || q.timeouts == maxTimeouts
		}
	}
	return stuck
}

// due is when the oldest transmission in flight is overdue; the time doubles with each miss in a row.
func (q *queue) due(timeout time.Duration) time.Time {
	return q.items[0].sentAt.Add(timeout << q.timeouts)
}

// deadline is when next or expire has something to do that only time brings; zero when nothing.
func (o *outbox) deadline(now time.Time) time.Time {
	var at time.Time
	for _, q := range o.turns {
		if q.flying > 0 {
			at = sooner(at, q.due(o.timeout))
		}
		if q.flying < min(len(q.items), o.window) {
			for _, hold := range []time.Time{q.hold, o.hold} {
				if hold.After(now) {
					at = sooner(at, hold)
				}
			}
		}
	}
	return at
}

// sooner is the earlier of two times, where zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
