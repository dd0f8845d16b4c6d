package partition

import (
	"context"
	"fmt"
	"time"

	"github.com/catena-im/catena/pkg/bus"
)

// simStream is a stream with its one durable consumer, and the other side that emissions go to. All of it is guarded by
// the world's mu.
type simStream struct {
	w       *world
	part    bus.Partition
	created time.Time
	first   uint64
	msgs    []bus.Msg // from first on
	cursor  uint64    // of the consumer: the next to be delivered, whoever asks
	gen     int       // feeds of an earlier one are interrupted
	wake    chan struct{}
	ids     int
	max     uint64 // bytes; 0: unbounded
	damaged bool   // it counts anew: nothing that follows may be folded

	folds   []string // the state after each sequence, as it was when the message was stored
	reached uint64   // last sequence that was emitted, without a gap
}

func newSimStream(w *world, p bus.Partition) *simStream {
	return &simStream{w: w, part: p, created: time.Now(), first: 1, cursor: 1, wake: make(chan struct{}), folds: []string{""}}
}

func (s *simStream) last() uint64 { return s.first + uint64(len(s.msgs)) - 1 }

func (s *simStream) bytes() (n uint64) {
	for _, m := range s.msgs {
		n += uint64(len(m.Data)) + 100
	}
	return n
}

// append stores a message and reports false when the stream is full.
func (s *simStream) append(data []byte) bool {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.max > 0 && s.bytes()+uint64(len(data)) > s.max {
		return false
	}
	s.ids++
	m := bus.Msg{Seq: s.last() + 1, ID: fmt.Sprintf("id-%d", s.ids), Time: time.Now(), Data: data}
	s.msgs = append(s.msgs, m)
	if !s.damaged && m.Seq == uint64(len(s.folds)) {
		s.folds = append(s.folds, fold(s.folds[m.Seq-1], m))
	}
	s.notify()
	return true
}

func (s *simStream) notify() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// interrupt ends all feeds.
func (s *simStream) interrupt() {
	s.gen++
	s.notify()
}

// purge removes what lies below seq.
func (s *simStream) purge(seq uint64) {
	for s.first < seq && len(s.msgs) > 0 {
		s.msgs, s.first = s.msgs[1:], s.first+1
	}
	s.cursor = max(s.cursor, s.first)
}

// replace makes the stream anew.
func (s *simStream) replace() {
	s.created = time.Now()
	s.msgs, s.first, s.cursor, s.damaged = nil, 1, 1, true
	s.interrupt()
}

// shorten loses the messages from seq on; they are counted again.
func (s *simStream) shorten(seq uint64) {
	s.msgs = s.msgs[:seq-s.first]
	s.cursor, s.damaged = min(s.cursor, seq), true
	s.interrupt()
}

// emitted takes in the emission of seq. Whoever repeats is passed over, as the user partitions do.
func (s *simStream) emitted(seq uint64) {
	if applied := s.w.store.fence(s.part).GetApplied(); seq > applied {
		s.w.violate("%s: %d is emitted, and only %d is persisted", s.part, seq, applied)
	}
	switch {
	case seq == s.reached+1:
		s.reached = seq
	case seq > s.reached:
		s.w.violate("%s: %d is emitted, and %d never was", s.part, seq, s.reached+1)
	}
}

// reader is the stream as one process reads it.
type reader struct {
	h    *host
	s    *simStream
	gen  int // of the feed; -1: none
	held []bus.Msg
}

func (h *host) open(p bus.Partition) *reader { return &reader{h: h, s: h.w.streams[p], gen: -1} }

func (r *reader) State(context.Context) (st bus.StreamState, err error) {
	err = r.h.op("state", func() error {
		st = bus.StreamState{
			Created: r.s.created, First: r.s.first, Last: r.s.last(), Bytes: r.s.bytes(), MaxBytes: r.s.max, Now: time.Now(),
		}
		if len(r.s.msgs) > 0 {
			st.Oldest = r.s.msgs[0].Time
		}
		return nil
	})
	return st, err
}

func (r *reader) Message(_ context.Context, seq uint64) (m bus.Msg, err error) {
	err = r.h.op("message", func() error {
		if r.h.w.mutation == identityFaked {
			m.ID = r.h.w.store.fence(r.s.part).GetAppliedMessageId()
			return nil
		}
		if seq < r.s.first || seq > r.s.last() {
			return bus.ErrNotFound
		}
		m = r.s.msgs[seq-r.s.first]
		return nil
	})
	return m, err
}

func (r *reader) Seek(_ context.Context, seq uint64) error {
	r.held, r.gen = nil, -1
	return r.h.op("seek", func() error {
		if r.h.w.chance(r.h.w.faults.stream) {
			return fmt.Errorf("no leader")
		}
		r.s.cursor, r.gen = max(seq, r.s.first), r.s.gen
		return nil
	})
}

func (r *reader) Next(ctx context.Context, maxMessages, maxBytes int) (out []bus.Msg, err error) {
	for {
		var wake chan struct{}
		err := r.h.op("next", func() error {
			wake = r.s.wake
			if r.gen != r.s.gen {
				return fmt.Errorf("%w: the feed ended", bus.ErrInterrupted)
			}
			out = r.take(maxMessages, maxBytes)
			if r.gen != r.s.gen {
				return fmt.Errorf("%w: the connection went down", bus.ErrInterrupted)
			}
			return nil
		})
		if err != nil || len(out) > 0 {
			return out, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take is what a call to Next finds. What another reader took from the consumer is not among it.
func (r *reader) take(maxMessages, maxBytes int) []bus.Msg {
	s, w := r.s, r.h.w
	for n := w.rng.IntN(8); n >= 0 && s.cursor <= s.last(); n-- {
		r.held = append(r.held, s.msgs[s.cursor-s.first])
		s.cursor++
	}
	n, size := 0, 0
	for n < min(len(r.held), maxMessages) && (n == 0 || size+len(r.held[n].Data) <= maxBytes) {
		size += len(r.held[n].Data)
		n++
	}
	out := r.held[:n:n]
	r.held = r.held[n:]
	if len(out) == 0 || !w.chance(w.faults.stream) {
		return out
	}
	switch w.rng.IntN(4) {
	case 0: // lost on the way, and so are the ones behind
		r.gen = -1
		return nil
	case 1: // a gap
		return out[1:]
	case 2: // delivered again
		back := min(uint64(1+w.rng.IntN(5)), out[0].Seq-s.first)
		from := out[0].Seq - back - s.first
		return append(append([]bus.Msg(nil), s.msgs[from:from+back]...), out...)
	default: // only what was delivered before
		r.held = append(out, r.held...)
		if out[0].Seq == s.first {
			return nil
		}
		return s.msgs[out[0].Seq-1-s.first : out[0].Seq-s.first]
	}
}

func (r *reader) Ack(seq uint64) {
	_ = r.h.op("ack", func() error {
		if seq > r.s.reached {
			r.h.w.violate("%s: %d is acknowledged, and only %d emitted", r.s.part, seq, r.s.reached)
		}
		return nil
	})
}

func (r *reader) Purge(_ context.Context, seq uint64) error {
	return r.h.op("purge", func() error {
		if d := r.h.w.store.durable(r.s.part); seq > d.GetEmitted()+1 {
			r.h.w.violate("%s: purged below %d, and a power loss may take the checkpoint back to %d", r.s.part, seq, d.GetEmitted())
		}
		r.s.purge(seq)
		return nil
	})
}

func (r *reader) Close() { r.held, r.gen = nil, -1 }
