package load

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/latency"
	"github.com/catena-im/catena/services/bench/pace"
)

// survivor is a user who connects again when the connection ends, sends again what was not answered, in order, and pulls
// what was not pushed. It writes to one peer and hears from one.
type survivor struct {
	crisis     *crisis
	user, peer string
	at         int

	mu      sync.Mutex // guards the fields below
	queue   []uint64   // numbers of messages that are not answered, in order
	flown   int        // queue[:flown] were sent on this connection
	current *client    // nil while away
	again   bool       // something was refused: all is to be sent again
	acked   map[uint64]bool
	got     map[uint64]bool // numbers of messages that were pushed or pulled
	told    uint64          // last UserIndex without a gap before it
	gap     bool            // something beyond it is there
}

// crisis is what survivors share. The number of message k of the survivor at a is k*survivors + a, k from 1.
type crisis struct {
	bench      *Bench
	start      time.Time
	rate       float64
	survivors  int
	waiting    atomic.Int64 // answers and deliveries that have not come
	reconnects atomic.Int64
	acked      timeline
	delivered  timeline
}

// due is when a message was to be sent.
func (c *crisis) due(number uint64) time.Time {
	return c.start.Add(pace.Due(int(number)-c.survivors, c.rate))
}

// timeline is when things of one kind came.
type timeline struct {
	took latency.Recorder

	mu      sync.Mutex // guards the fields below
	last    time.Time
	longest time.Duration // between two
}

func (t *timeline) add(stripe int, due, at time.Time) {
	t.took.Record(stripe, at.Sub(due))
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.last.IsZero() {
		t.longest = max(t.longest, at.Sub(t.last))
	}
	if at.After(t.last) {
		t.last = at
	}
}

// stall is the longest time in which nothing came.
func (t *timeline) stall() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.longest
}

const (
	mendEvery    = 10 * time.Millisecond
	reopenEvery  = 20 * time.Millisecond
	flightWindow = 100 // messages of one user under way
	pullWithin   = 3 * time.Second
)

// enqueue takes a message.
func (s *survivor) enqueue(number uint64) {
	s.crisis.waiting.Add(2)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, number)
	s.transmit()
}

// transmit sends what was not sent on this connection. A failed write ends the connection. The lock is held.
func (s *survivor) transmit() {
	for s.current != nil && s.flown < min(len(s.queue), flightWindow) {
		number := s.queue[s.flown]
		o := outgoing{to: s.peer, number: number, text: s.crisis.bench.body(number)}
		if s.flown > 0 {
			o.after = s.queue[s.flown-1]
		}
		if s.current.send(&o) != nil {
			_ = s.current.conn.Close()
			return
		}
		s.flown++
	}
}

// live keeps a connection until ctx ends.
func (s *survivor) live(ctx context.Context) {
	for first := true; ctx.Err() == nil; {
		c, err := s.crisis.bench.open(ctx, s.user, s.at)
		if err != nil {
			pause(ctx, reopenEvery)
			continue
		}
		if !first {
			s.crisis.reconnects.Add(1)
		}
		first = false
		s.use(ctx, c)
	}
}

// use uses one connection until it or ctx ends.
func (s *survivor) use(ctx context.Context, c *client) {
	s.mu.Lock()
	s.current, s.flown, s.again = c, 0, false
	s.gap = s.gap || c.head > s.told
	s.transmit()
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.read(ear{s}) // that it ended is enough
	}()
	s.mend(ctx, c, ended)
	s.mu.Lock()
	s.current = nil
	s.mu.Unlock()
	_ = c.conn.Close()
	<-ended
}

// mend pulls gaps and sends again what was refused, until the connection or ctx ends.
func (s *survivor) mend(ctx context.Context, c *client, ended <-chan struct{}) {
	tick := time.NewTicker(mendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		if s.again {
			s.again, s.flown = false, 0
		}
		s.transmit()
		behind, gap := s.told, s.gap
		s.gap = false
		s.mu.Unlock()
		if gap && !s.fill(ctx, c, behind) {
			s.mu.Lock()
			s.gap = true
			s.mu.Unlock()
		}
	}
}

// fill pulls what is behind an index.
func (s *survivor) fill(ctx context.Context, c *client, behind uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, pullWithin)
	defer cancel()
	var took latency.Recorder
	err := c.pullAll(ctx, behind, &took, func(e *imv1.UserEntry) {
		number, _ := parseID([]byte(e.GetMessage().GetClientMessageId()))
		s.apply(e.GetUserIndex(), number, time.Now())
	})
	return err == nil
}

// apply takes an entry of the user chain that was pushed or pulled.
func (s *survivor) apply(index, number uint64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index == s.told+1 {
		s.told = index
	} else if index > s.told {
		s.gap = true
	}
	own := int(number)%s.crisis.survivors == s.at
	if number == 0 || own || s.got[number] {
		return
	}
	s.got[number] = true
	s.crisis.delivered.add(s.at, s.crisis.due(number), at)
	s.crisis.waiting.Add(-1)
}

// ear is the listener of a survivor's client.
type ear struct{ *survivor }

func (s ear) heard(_ *client, at time.Time, f *frame) {
	switch f.kind {
	case fieldPush:
		s.apply(f.userIndex, f.number, at)
	case fieldSent:
		s.answered(f.id, at)
	case fieldError:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.again = true
	}
}

// answered takes an acknowledgement, from whichever transmission it comes.
func (s *survivor) answered(number uint64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queue, number)
	if i < 0 {
		return
	}
	s.queue = slices.Delete(s.queue, i, i+1)
	if i < s.flown {
		s.flown--
	}
	s.acked[number] = true
	s.crisis.acked.add(s.at, s.crisis.due(number), at)
	s.crisis.waiting.Add(-1)
	s.transmit()
}
