package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/kv"
)

const (
	maxMessages = 512     // of a batch
	maxBytes    = 1 << 20 // of a batch, payloads; a larger single message is a batch by itself
	maxSeeks    = 5       // in a row without progress, before the partition is taken over anew
	grace       = 3 * time.Second
	idle        = 5 * time.Second // without a message, until a partition puts its things in order; leaves Stream.Next the time to notice a dead connection
	ackEvery    = time.Second
)

var errStolen = errors.New("messages do not come; another reader may take them")

// loop is one ownership of one partition.
type loop struct {
	part   bus.Partition
	worker string
	store  kv.Store
	stream Stream
	start  func(ctx context.Context, part bus.Partition, epoch uint64) (Processor, error)
	keep   time.Duration // how long the stream keeps what is emitted; 0: as long as there is room
	log    *slog.Logger
	meter  *meter
	// caughtUp is told once that everything is applied that the stream held at the take-over; nil afterwards.
	caughtUp func(bus.Partition)

	proc    Processor
	fence   *fence
	read    uint64  // last sequence handed to proc
	behind  uint64  // last sequence of the stream at the take-over
	emitted uint64  // last sequence whose emission has returned
	flight  *flight // the emission under way, nil when there is none
	acked   time.Time
	cut     *cut      // that the stream is about to get, nil when there is none
	trimmed time.Time // when the stream was looked at for the last time
	room    uint64    // bytes that the stream may hold; 0: no bound
	taken   uint64    // about how many bytes were read since the stream was looked at
}

// run takes the partition over and works until ctx ends or something is wrong; it always answers an error.
func (l *loop) run(ctx context.Context, key []byte) error {
	// An emission under way is let out after ctx ended, for a while: it spares the next owner the repetition.
	emitting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := l.takeOver(ctx, key); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	proc, err := l.start(ctx, l.part, l.fence.record.GetEpoch())
	if err != nil {
		return fmt.Errorf("start the processor: %w", err)
	}
	defer proc.Close()
	l.proc = proc
	l.log.Info("partition taken over", "epoch", l.fence.record.GetEpoch(), "applied", l.fence.record.GetApplied(), "emitted", l.emitted)

	err = l.work(ctx, emitting)
	if !errors.Is(err, kv.ErrFenced) {
		l.leave(ctx)
	}
	cancel()
	if l.flight != nil {
		<-l.flight.over.Done()
	}
	stop()
	if l.cut != nil {
		<-l.cut.over.Done()
	}
	return err
}

// takeOver raises the epoch, which shuts a former owner out, and places the stream behind the emitted messages.
func (l *loop) takeOver(ctx context.Context, key []byte) error {
	f, err := loadFence(ctx, l.store, key)
	if err != nil {
		return err
	}
	st, err := f.verify(ctx, l.part, l.stream, f.record.GetEmitted()+1)
	if err != nil {
		return err
	}
	next := f.next()
	next.Epoch++
	next.Worker = l.worker
	next.StreamCreatedNs = st.Created.UnixNano()
	next.Nonce = rand.Uint64() // two workers that raise the same epoch must not write the same value
	err = f.commit(ctx, l.store, nil, next)
	if err == nil {
		err = l.store.Sync(ctx) // an epoch that a power loss takes back would be given twice
	}
	if err != nil {
		return fmt.Errorf("raise the epoch: %w", err)
	}
	l.fence, l.emitted, l.read, l.behind = f, next.GetEmitted(), next.GetEmitted(), st.Last
	l.trimmed, l.room = time.Now(), st.MaxBytes
	return l.seek(ctx)
}

// seek places the stream behind what was read. The stream is looked at afterwards: what is read from here on is either
// of the stream that was looked at, or interrupted because that one is gone.
func (l *loop) seek(ctx context.Context) error {
	if err := l.stream.Seek(ctx, l.read+1); err != nil {
		return fmt.Errorf("seek to %d in stream %s: %w", l.read+1, l.part.Stream(), err)
	}
	return l.verify(ctx)
}

func (l *loop) verify(ctx context.Context) error {
	_, err := l.fence.verify(ctx, l.part, l.stream, l.read+1)
	return err
}

// work is the consume loop.
func (l *loop) work(ctx, emitting context.Context) error {
	var waiting []bus.Msg
	for {
		if l.caughtUp != nil && l.read >= l.behind {
			l.caughtUp(l.part)
			l.caughtUp = nil
		}
		if len(waiting) == 0 {
			msgs, err := l.fetch(ctx)
			if err != nil {
				return err
			}
			waiting = msgs
		}
		n, err := l.handle(ctx, emitting, waiting)
		if err != nil {
			return err
		}
		waiting = waiting[n:]
		l.trim(ctx)
	}
}

// fetch returns the messages that follow what was read, without a gap. Deliveries out of place (of a former owner's
// pull, or repeated) are dropped; after a gap or an interruption the stream is placed anew.
func (l *loop) fetch(ctx context.Context) ([]bus.Msg, error) {
	for tries := 0; ; {
		began := time.Now()
		msgs, err := l.next(ctx)
		if err != nil && !errors.Is(err, bus.ErrInterrupted) {
			return nil, err
		}
		if len(msgs) > 0 && msgs[0].Seq <= l.read {
			// Repeated, or the stream has lost its end and counts from there again: then what follows must not be taken.
			if err := l.verify(ctx); err != nil {
				return nil, err
			}
		}
		if run := contiguous(msgs, l.read+1); len(run) > 0 {
			return run, nil
		}
		if len(msgs) > 0 && msgs[len(msgs)-1].Seq <= l.read {
			continue
		}
		if time.Since(began) > idle {
			tries = 0 // reading did work
		}
		if tries++; tries > maxSeeks {
			return nil, fmt.Errorf("read stream %s: %w: message %d", l.part.Stream(), errStolen, l.read+1)
		}
		l.log.Debug("stream placed anew", "sequence", l.read+1, "err", err)
		if err := l.seek(ctx); err != nil {
			return nil, err
		}
	}
}

// next waits for messages. It takes note of an emission that returns meanwhile, and after a while without messages it
// puts in order what is otherwise left to the next batch.
func (l *loop) next(ctx context.Context) ([]bus.Msg, error) {
	for {
		msgs, over, err := l.receive(ctx)
		switch {
		case err == nil || errors.Is(err, bus.ErrInterrupted):
			return msgs, err
		case ctx.Err() != nil || !over:
			return nil, fmt.Errorf("read stream %s: %w", l.part.Stream(), err)
		}
		if err := l.tidy(ctx); err != nil {
			return nil, err
		}
	}
}

// receive waits for messages: idle at the most, and no longer than the emission and the sync under way take. It reports
// whether that is over.
func (l *loop) receive(ctx context.Context) (msgs []bus.Msg, over bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, idle)
	defer cancel()
	if l.flight != nil {
		defer context.AfterFunc(l.flight.over, cancel)()
	}
	if l.cut != nil {
		defer context.AfterFunc(l.cut.over, cancel)()
	}
	msgs, err = l.stream.Next(ctx, maxMessages, maxBytes)
	return msgs, ctx.Err() != nil, err
}

// contiguous is the part of msgs that begins at sequence next and has no gap; what lies below next is passed over.
func contiguous(msgs []bus.Msg, next uint64) []bus.Msg {
	for len(msgs) > 0 && msgs[0].Seq < next {
		msgs = msgs[1:]
	}
	n := 0
	for n < len(msgs) && msgs[n].Seq == next+uint64(n) {
		n++
	}
	return msgs[:n]
}

// handle brings a batch through step, commit and answer, and starts its emission. It reports how many messages it took.
func (l *loop) handle(ctx, emitting context.Context, msgs []bus.Msg) (int, error) {
	began := time.Now()
	applied := l.fence.record.GetApplied()
	known := 0
	for known < len(msgs) && msgs[known].Seq <= applied {
		known++
	}
	var eff Effects
	var err error
	if known > 0 {
		eff, err = l.proc.Again(ctx, msgs[:known])
	} else {
		eff, err = l.proc.Step(ctx, msgs)
	}
	if err != nil {
		return 0, fmt.Errorf("step at %d: %w", msgs[0].Seq, err)
	}
	last := msgs[eff.Taken-1]
	if known == 0 { // persist before emit
		if err := l.commit(ctx, eff.Writes, last); err != nil {
			return 0, fmt.Errorf("commit up to %d: %w", last.Seq, err)
		}
	}
	l.read = last.Seq
	for _, m := range msgs[:eff.Taken] {
		l.taken += uint64(len(m.Data)) + overhead
	}
	if eff.Answer != nil {
		eff.Answer()
	}
	if known == 0 {
		l.meter.batch(l.part, eff.Taken, time.Since(began))
	}
	return eff.Taken, l.emit(ctx, emitting, eff.Emit, last.Seq)
}

func (l *loop) commit(ctx context.Context, b *kv.Batch, last bus.Msg) error {
	next := l.fence.next()
	next.Applied, next.AppliedMessageId, next.Emitted = last.Seq, last.ID, l.emitted
	// A commit that was begun is brought to its end: a stop in between would leave its outcome to the next owner.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return l.fence.commit(ctx, l.store, b, next)
}
