package edge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// What one published batch may hold.
const (
	maxBatchBytes    = 512 << 10
	maxBatchCommands = 1024
	maxBatchWeight   = 4000 // commands and the users that they name
)

// A lane that is busy publishes at a pace. The cost of a batch hardly grows with its size, here and at whoever reads it,
// and the time it takes otherwise is queueing: waiting a little makes everybody wait less. The lanes of an edge keep the
// same time, so that what comes of their batches comes back together, too, and clients are written to once for all.
const (
	busyBatch = 8 // commands of a batch that make a lane busy
	busyPace  = 10 * time.Millisecond
	fullBatch = 64 // commands of a batch that make it full
	fullPace  = 30 * time.Millisecond
)

// paceAfter is the pace of a lane after a batch of so many commands: the next one leaves with the next multiple of it, by
// the edge's clock.
func paceAfter(commands int) time.Duration {
	switch {
	case commands >= fullBatch:
		return fullPace
	case commands >= busyBatch:
		return busyPace
	}
	return 0
}

// appendFunc keeps nothing of payload when it has returned.
type appendFunc func(ctx context.Context, id string, payload []byte) error

// A lane takes commands to the stream of one partition, in the order in which they came. One publish is outstanding;
// what comes meanwhile makes the next batch, so batches grow with the load; an idle lane adds no delay, a busy one some.
type lane struct {
	edge   *Edge
	name   string // of the partition
	wrap   func(commands []byte) []byte
	append appendFunc
	wake   chan struct{} // holds a token when there may be work

	mu      sync.Mutex // guards the fields below
	queue   []waiting
	bytes   int    // of the queue
	batches uint64 // published in this lane, for their ids
	busy    bool   // a batch is outstanding

	// The fields below are of run.
	failing bool   // the last publish failed
	payload []byte // of the last publish
}

// waiting is a command that is not in the stream yet.
type waiting struct {
	session *session
	request uint64
	weight  int
	data    []byte // the encoded command, in a spare buffer
}

func newLane(e *Edge, name string, wrap func([]byte) []byte, f appendFunc) *lane {
	return &lane{edge: e, name: name, wrap: wrap, append: f, wake: make(chan struct{}, 1)}
}

// command passes a request that changes something on to the stream of its partition.
func (s *session) command(f *imv1.ClientFrame) error {
	w := waiting{session: s, request: f.GetId(), weight: 1}
	var l *lane
	var message imv1.Encoder
	if f.GetMarkRead() != nil {
		c, err := userCommand(s.user, f)
		if err != nil {
			return err
		}
		c.Session = s.number
		l, message = s.edge.user[im.Partition(s.user, len(s.edge.user))], c
	} else {
		c, err := command(s.user, f)
		if err != nil {
			return err
		}
		c.Session = s.number
		l, message, w.weight = s.edge.conv[im.Partition(im.ConversationID(c.GetConversationId()), len(s.edge.conv))], c, weight(c)
	}
	s.edge.reading.commands.Add(1)
	w.data = imv1.Append(s.edge.spares.get(), message)
	if err := s.begin(w.request); err != nil {
		return err
	}
	if err := l.put(w); err != nil {
		s.refuse(w.request, err)
	}
	return nil
}

// put queues a command, or refuses it when the lane is full.
func (l *lane) put(w waiting) error {
	l.mu.Lock()
	full := len(l.queue) >= l.edge.cfg.LaneCommands || l.bytes+len(w.data) > l.edge.cfg.LaneBytes
	if !full {
		l.queue = append(l.queue, w)
		l.bytes += len(w.data)
	}
	l.mu.Unlock()
	if full {
		return refusal.New(imv1.ErrorCode_ERROR_CODE_OVERLOADED,
			"more requests wait at the server than it takes on, and it has not taken this one; send it again later").After(time.Second)
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// run publishes until ctx ends; what is queued then is answered as not carried out.
func (l *lane) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			l.fail(l.takeAll(), errNotTried)
			return
		case <-l.wake:
		}
		for batch, more := l.take(nil); len(batch) > 0; batch, more = l.take(batch) {
			began := l.edge.now()
			l.publish(ctx, batch)
			if pace := paceAfter(len(batch)); pace > 0 && !more { // more: the next batch is as large as one may be
				rest(ctx, began-began%pace+pace-l.edge.now())
			}
		}
	}
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// publish takes one batch to the stream. When that fails, what waits behind it is refused too: it would wait as long
// again for a partition that is away, and its senders ask again anyway.
func (l *lane) publish(ctx context.Context, batch []waiting) {
	l.edge.metrics.batch.Observe(float64(len(batch)))
	ctx, cancel := context.WithTimeout(ctx, l.edge.cfg.AppendTimeout)
	defer cancel()
	err := l.append(ctx, l.nextID(), l.encode(batch))
	if err == nil {
		l.edge.metrics.appends.WithLabelValues("ok").Inc()
		if l.failing {
			l.edge.log.Info("commands are appended again", "partition", l.name)
		}
		l.failing = false
		return
	}
	l.edge.metrics.appends.WithLabelValues("failed").Inc()
	if !l.failing {
		l.edge.log.Warn("append commands", "partition", l.name, "commands", len(batch), "err", err)
	}
	l.failing = true
	if errors.Is(err, bus.ErrFull) && !errors.Is(err, bus.ErrUnclear) {
		l.fail(batch, errFull)
	} else {
		l.fail(batch, errUnclear)
	}
	l.fail(l.takeAll(), errNotTried)
}

// nextID names the batch for the stream's dedupe: the edge's id is new at each start.
func (l *lane) nextID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches++
	return fmt.Sprintf("%s.%s.%d", l.edge.id, l.name, l.batches)
}

// encode makes the payload for a batch in the memory of the one before. The commands are spare afterwards.
func (l *lane) encode(batch []waiting) []byte {
	commands := protowire.AppendString(protowire.AppendTag(l.payload[:0], 1, protowire.BytesType), l.edge.id)
	for _, w := range batch {
		commands = protowire.AppendBytes(protowire.AppendTag(commands, 2, protowire.BytesType), w.data)
		l.edge.spares.put(w.data)
	}
	l.payload = commands
	return l.wrap(commands)
}

// wrapCommands and wrapUserCommands make the payload of a lane's stream out of an encoded CommandBatch or
// UserCommandBatch; in both, edge_id is field 1 and commands is field 2.
func wrapCommands(commands []byte) []byte { return commands }

func wrapUserCommands(commands []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), commands)
}

// What a command is answered with that no worker answers. They fit every command: one that was taken after all does no
// harm when it comes again unchanged.
var (
	errUnclear = refusal.New(imv1.ErrorCode_ERROR_CODE_UNAVAILABLE,
		"the server could not store the request in time, and it may or may not be carried out; send it again unchanged").After(time.Second)
	errFull = refusal.New(imv1.ErrorCode_ERROR_CODE_OVERLOADED,
		"the server has no room for the request until it has worked off earlier ones, and has not taken it; send it again later").After(time.Second)
	errNotTried = refusal.New(imv1.ErrorCode_ERROR_CODE_UNAVAILABLE,
		"the server cannot store requests at the moment, and has not taken this one; send it again later").After(time.Second)
)

func (l *lane) fail(batch []waiting, why *refusal.Refusal) {
	for _, w := range batch {
		w.session.refuse(w.request, why)
	}
}

// take removes the next batch from the queue and marks the lane busy, or idle when there is none. It reports whether more
// waits than a batch may hold. The queue may go on in the slice of the batch before, which is done with.
func (l *lane) take(done []waiting) (batch []waiting, more bool) {
	clear(done)
	l.mu.Lock()
	defer l.mu.Unlock()
	n, bytes, weight := 0, 0, 0
	for n < len(l.queue) && n < maxBatchCommands {
		w := l.queue[n]
		if n > 0 && (bytes+len(w.data) > maxBatchBytes || weight+w.weight > maxBatchWeight) {
			break
		}
		n, bytes, weight = n+1, bytes+len(w.data), weight+w.weight
	}
	if more = n < len(l.queue); more {
		batch, l.queue = l.queue[:n:n], l.queue[n:]
	} else {
		batch, l.queue = l.queue, done[:0]
	}
	l.bytes -= bytes
	l.busy = n > 0
	return batch, more
}

func (l *lane) takeAll() []waiting {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.queue
	l.queue, l.bytes = nil, 0
	return all
}

func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) == 0 && !l.busy
}
