package load

import (
	"sync"
	"sync/atomic"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/latency"
)

// lane is one user's way into one conversation.
type lane struct {
	from             *client
	conversation, to string // one of the two, as in Send
	receivers        int    // who are connected and will be pushed the message, without the sender
	watched          []int  // places of those of its users, the sender included, whose chains are pulled in the end

	unanswered atomic.Uint64 // the last message that was sent and not answered; 0: none
}

// slot is a message under way. A slot is used again by the message slots later.
type slot struct {
	number atomic.Uint64 // 0: free
	left   atomic.Int32  // the answer and the pushes that have not come
	due    time.Duration // from the start of its step
	lane   *lane
	step   *step
}

// slots bounds the messages under way; the one beyond waits for nothing, it makes its step fail.
const slots = 1 << 19

// traffic is what the clients of a crowd send each other, and what came of it. It is their listener.
type traffic struct {
	bench   *Bench
	lanes   [][]*lane // by client: into conversations of two
	rooms   [][]*lane // by client: into groups
	share   float64   // of the messages that go to groups
	until   time.Time // by which measuring should end
	slots   []slot
	numbers atomic.Uint64 // of the last message
	watched []*witness    // by client; nil: not watched
	pending atomic.Int64  // messages with something left
	idle    chan struct{} // gets a signal when pending comes to 0

	strays     atomic.Int64 // pushes and answers that nothing waited for
	duplicates atomic.Int64 // pushes of what was pushed before
	gaps       atomic.Int64 // entries that were not pushed

	mu     sync.Mutex // guards the field below
	errors map[imv1.ErrorCode]int
}

// witness is a user whose chain is pulled in the end: every message that was acknowledged must be in it.
type witness struct {
	client *client

	mu    sync.Mutex // guards the fields below
	acked map[uint64]bool
}

func (b *Bench) newTraffic(clients int) *traffic {
	return &traffic{
		bench: b, lanes: make([][]*lane, clients), rooms: make([][]*lane, clients), watched: make([]*witness, clients),
		until: b.began.Add(b.Within), slots: make([]slot, slots), idle: make(chan struct{}, 1), errors: map[imv1.ErrorCode]int{},
	}
}

// send sends a message on lane l of s, due its time from the start of the step. It reports false when the step has
// failed.
func (t *traffic) send(s *step, l *lane, due time.Duration) bool {
	number := t.numbers.Add(1)
	m := &t.slots[number%slots]
	if m.number.Load() != 0 && !t.reclaim(m) {
		s.fail("%d messages wait for their answers or pushes", t.pending.Load())
		return false
	}
	m.due, m.lane, m.step = due, l, s
	m.left.Store(int32(1 + l.receivers))
	t.pending.Add(1)
	s.sent.Add(1)
	m.number.Store(number)
	after := l.unanswered.Swap(number)
	o := outgoing{conversation: l.conversation, to: l.to, number: number, after: after, text: t.bench.body(number)}
	if err := l.from.send(&o); err != nil {
		s.fail("send as %s: %v", l.from.user, err)
		return false
	}
	return true
}

// reclaim gives up on a message of an earlier step.
func (t *traffic) reclaim(m *slot) bool {
	if !m.step.over.Load() {
		return false
	}
	m.number.Store(0)
	t.settled()
	return true
}

func (t *traffic) settled() {
	if t.pending.Add(-1) == 0 {
		select {
		case t.idle <- struct{}{}:
		default:
		}
	}
}

// find is the message with this number, nil when nothing waits for it.
func (t *traffic) find(number uint64) *slot {
	m := &t.slots[number%slots]
	if number == 0 || m.number.Load() != number {
		return nil
	}
	return m
}

// heard takes a frame; it is the listener of the clients.
func (t *traffic) heard(c *client, at time.Time, f *frame) {
	switch f.kind {
	case fieldPush:
		t.pushed(c, at, f)
	case fieldSent, fieldError:
		t.answered(c, at, f)
	}
}

func (t *traffic) answered(c *client, at time.Time, f *frame) {
	m := t.find(f.id)
	if m == nil {
		t.strays.Add(1)
		if f.kind == fieldError {
			t.refused(f.code)
		}
		return
	}
	m.lane.unanswered.CompareAndSwap(f.id, 0)
	if f.kind == fieldError {
		t.refused(f.code)
		m.step.refused.Add(1)
		m.number.Store(0) // it will not be pushed
		t.settled()
		return
	}
	m.step.acked.record(c.at, m.due, at)
	for _, w := range m.lane.watched {
		t.watched[w].expect(f.id)
	}
	t.less(m)
}

// less notes that one of those things came that a message waits for.
func (t *traffic) less(m *slot) {
	if m.left.Add(-1) == 0 {
		m.number.Store(0)
		t.settled()
	}
}

func (t *traffic) refused(code imv1.ErrorCode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errors[code]++
}

func (t *traffic) pushed(c *client, at time.Time, f *frame) {
	switch {
	case f.userIndex <= c.told:
		t.duplicates.Add(1)
		return
	case f.userIndex > c.told+1:
		t.gaps.Add(int64(f.userIndex - c.told - 1))
	}
	c.told = f.userIndex
	m := t.find(f.number)
	if m == nil || m.lane.from == c { // another command's, or one's own
		return
	}
	m.step.delivered.record(c.at, m.due, at)
	t.less(m)
}

// expect notes that a message was acknowledged that must be in the user's chain.
func (w *witness) expect(number uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked[number] = true
}

// side is one of the two things that are counted of a step: answers or deliveries. Times are from the start of the step.
type side struct {
	step        *step
	count       atomic.Int64 // of all
	late        atomic.Int64 // beyond the bound of the step
	took        latency.Recorder
	first, last atomic.Int64 // when the first and the last came of those that were due after the warm-up
}

// record counts what came at a time for a message that was due from the start of the step. What was due while the step
// warmed up is not in the latencies.
func (s *side) record(stripe int, due time.Duration, at time.Time) {
	s.count.Add(1)
	if due < s.step.warmUp {
		return
	}
	now := at.Sub(s.step.start)
	s.first.CompareAndSwap(0, int64(now))
	for last := s.last.Load(); int64(now) > last && !s.last.CompareAndSwap(last, int64(now)); last = s.last.Load() {
	}
	s.took.Record(stripe, now-due)
	if s.step.bound > 0 && now-due > s.step.bound {
		s.late.Add(1)
	}
}

// rate is how many per second there were after the warm-up: in the time that sending took, or in that from the first to
// the last where they came more slowly.
func (s *side) rate(measured latency.Quantiles) float64 {
	took := max(s.step.length, time.Duration(s.last.Load()-s.first.Load()))
	return ratio(float64(measured.Count), took.Seconds())
}
