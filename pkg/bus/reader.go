package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Msg is one message of a stream. The receiver owns Data.
type Msg struct {
	Seq  uint64
	Time time.Time // when the stream took it
	ID   string    // what Append called msgID
	Data []byte

	ack string // where its acknowledgement goes
}

// StreamState is where a stream stands.
type StreamState struct {
	Created         time.Time // differs when the stream was made anew
	First, Last     uint64    // sequences; First is Last+1 when the stream is empty
	Bytes, MaxBytes uint64
	Oldest          time.Time // when the stream took its first message; zero when it is empty
	Now             time.Time // of the server that answered
}

// Reader reads the stream of one partition through its durable consumer. Two readers of one partition, in whatever
// processes, take messages from one another; each then sees gaps, which its caller must answer with Seek. Seek, Next
// and Close belong to one goroutine; the other methods may be called from anywhere.
type Reader struct {
	b         *Bus
	partition Partition
	stream    jetstream.Stream
	feed      *feed // since the last Seek; nil: none

	mu   sync.Mutex // guards the field below
	acks []mark     // the ends of the batches that were returned lately, oldest first
}

// mark remembers where to acknowledge seq.
type mark struct {
	seq uint64
	ack string
}

const maxMarks = 64 // batches that may be in work at once and still be acknowledged

// Open checks that the stream of p and its consumer are there. Nothing is read before Seek. While the connection is away
// Open waits for it, as State, Message and Seek do.
func (b *Bus) Open(ctx context.Context, p Partition) (*Reader, error) {
	var stream jetstream.Stream
	err := b.ask(ctx, func(ctx context.Context) (err error) {
		if stream, err = b.js.Stream(ctx, p.Stream()); err == nil {
			_, err = stream.Consumer(ctx, Consumer)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return &Reader{b: b, partition: p, stream: stream}, nil
}

// State asks the stream where it stands.
func (r *Reader) State(ctx context.Context) (StreamState, error) {
	var info *jetstream.StreamInfo
	err := r.b.ask(ctx, func(ctx context.Context) (err error) {
		info, err = r.stream.Info(ctx)
		return err
	})
	if err != nil {
		return StreamState{}, fmt.Errorf("state of %s: %w", r.partition, err)
	}
	return StreamState{
		Created:  info.Created,
		First:    max(info.State.FirstSeq, 1),
		Last:     info.State.LastSeq,
		Bytes:    info.State.Bytes,
		MaxBytes: uint64(max(info.Config.MaxBytes, 0)),
		Oldest:   info.State.FirstTime,
		Now:      info.TimeStamp,
	}, nil
}

// Message returns the message with seq and leaves the consumer alone, ErrNotFound when the stream does not hold it. It
// asks the stream's leader, because a replica that lags would say "not found" about the newest messages.
func (r *Reader) Message(ctx context.Context, seq uint64) (Msg, error) {
	var m Msg
	err := r.b.ask(ctx, func(ctx context.Context) (err error) {
		m, err = r.stored(ctx, seq)
		return err
	})
	if err != nil {
		return Msg{}, fmt.Errorf("message %d of %s: %w", seq, r.partition, err)
	}
	return m, nil
}

func (r *Reader) stored(ctx context.Context, seq uint64) (Msg, error) {
	if seq == 0 {
		return Msg{}, jetstream.ErrMsgNotFound
	}
	answer, err := r.b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+r.partition.Stream(), fmt.Appendf(nil, `{"seq":%d}`, seq))
	if err != nil {
		return Msg{}, err
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Header []byte    `json:"hdrs"`
			Data   []byte    `json:"data"`
			Time   time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &resp); err != nil {
		return Msg{}, fmt.Errorf("decode answer: %w", err)
	}
	if resp.Error != nil {
		return Msg{}, resp.Error
	}
	m := Msg{Seq: seq, Time: resp.Message.Time, Data: resp.Message.Data}
	if len(resp.Message.Header) == 0 {
		return m, nil
	}
	header, err := nats.DecodeHeadersMsg(resp.Message.Header)
	if err != nil {
		return Msg{}, fmt.Errorf("decode header: %w", err)
	}
	m.ID = header.Get(jetstream.MsgIDHeader)
	return m, nil
}

// Seek drops what was prefetched and resets the consumer, so that Next delivers the message with seq (0 and 1: the
// first) and those after it. The stream is not asked whether it reaches that far: a seq beyond its end delivers nothing
// until it gets there, see State.
func (r *Reader) Seek(ctx context.Context, seq uint64) error {
	r.Close()
	seq = max(seq, 1)
	alive, err := r.b.link.await(ctx)
	if err == nil {
		err = r.reset(ctx, seq)
	}
	if err == nil {
		r.feed, err = openFeed(r.b.nc, alive, r.partition, seq-1)
	}
	if err != nil {
		return fmt.Errorf("seek %s to %d: %w", r.partition, seq, err)
	}
	return nil
}

func (r *Reader) reset(ctx context.Context, seq uint64) error {
	return r.b.ask(ctx, func(ctx context.Context) error {
		if _, err := r.stream.Consumer(ctx, Consumer); err != nil { // a reset of a consumer that is gone gets no answer
			return err
		}
		_, err := r.b.js.ResetConsumerToSequence(ctx, r.partition.Stream(), Consumer, seq)
		return err
	})
}

// Next returns the messages that follow, in stream order. It blocks for the first and takes what else has arrived, up to
// maxMsgs messages and maxBytes of payload; the first is returned however large it is. When ctx ends, nothing is lost
// and Next may be called again. Every other error is an ErrInterrupted, and the reader delivers nothing until the next
// Seek. In the background up to 512 messages or 12 MiB are prefetched.
func (r *Reader) Next(ctx context.Context, maxMsgs, maxBytes int) ([]Msg, error) {
	f := r.feed
	if f == nil {
		return nil, fmt.Errorf("read %s: %w: seek first", r.partition, ErrInterrupted)
	}
	first, err := f.wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r.partition, err)
	}
	batch := append(make([]Msg, 0, min(max(maxMsgs, 1), 1+f.waiting())), first)
	for size := len(first.Data); len(batch) < maxMsgs; {
		m, ok := f.poll()
		if !ok {
			break
		}
		if size += len(m.Data); size > maxBytes {
			f.unread(m)
			break
		}
		batch = append(batch, m)
	}
	r.remember(batch[len(batch)-1])
	return batch, nil
}

func (r *Reader) remember(m Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.acks) == maxMarks {
		r.acks = append(r.acks[:0], r.acks[1:]...)
	}
	r.acks = append(r.acks, mark{m.Seq, m.ack})
}

// Ack tells the consumer that everything up to the last batch that Next returned at or below seq is done. It does not
// wait, and nothing depends on it but what `nats consumer report` shows and what the server keeps in mind.
func (r *Reader) Ack(seq uint64) {
	r.mu.Lock()
	var done mark
	for len(r.acks) > 0 && r.acks[0].seq <= seq {
		done, r.acks = r.acks[0], r.acks[1:]
	}
	r.mu.Unlock()
	if done.ack == "" {
		return
	}
	if err := r.b.nc.Publish(done.ack, []byte("+ACK")); err != nil {
		r.b.log.Debug("acknowledge", "partition", r.partition.String(), "err", err)
	}
}

// Purge removes the messages before seq from the stream. Purging what was not folded into the store loses it.
func (r *Reader) Purge(ctx context.Context, before uint64) error {
	if before <= 1 {
		return nil // and 0 would mean everything to the server
	}
	ctx, cancel := r.b.bounded(ctx, apiTimeout)
	defer cancel()
	if err := r.stream.Purge(ctx, jetstream.WithPurgeSequence(before)); err != nil {
		return fmt.Errorf("purge %s before %d: %w", r.partition, before, apiError(ctx, err))
	}
	return nil
}

// Close ends reading; Seek begins anew.
func (r *Reader) Close() {
	if r.feed != nil {
		r.feed.close()
		r.feed = nil
	}
	r.mu.Lock()
	r.acks = nil
	r.mu.Unlock()
}
