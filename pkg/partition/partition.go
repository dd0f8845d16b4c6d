// Package partition owns partitions and runs their one consume loop: fetch, step, commit, emit, acknowledge. It
// promises that at most one owner's writes take effect (the fence), that every stream message is applied exactly once
// and in order (the checkpoint lives in the fence and is committed with the writes), and that what a step emits leaves
// only after its writes are durable and before its input is acknowledged. What a message means is decided by the
// Processor.
package partition

import (
	"context"
	"fmt"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/kv"
)

// Stream is the reading side of one partition's stream; *bus.Reader is one.
type Stream interface {
	// State describes the stream.
	State(ctx context.Context) (bus.StreamState, error)
	// Message is the message at seq, bus.ErrNotFound when it is not kept any more.
	Message(ctx context.Context, seq uint64) (bus.Msg, error)
	// Seek makes Next deliver from seq.
	Seek(ctx context.Context, seq uint64) error
	// Next waits for a message and takes everything that waits, up to the bounds.
	Next(ctx context.Context, maxMessages, maxBytes int) ([]bus.Msg, error)
	// Ack tells operators how far the partition is; losing it is harmless.
	Ack(seq uint64)
	// Purge removes the messages below seq.
	Purge(ctx context.Context, seq uint64) error
	// Close ends the reading.
	Close()
}

// Processor decides for one partition during one ownership. Its methods are called from one goroutine.
type Processor interface {
	// Step folds messages into writes. What it writes and emits is a function of the store and the messages alone, and
	// does not depend on how the stream is cut into batches. It may take fewer messages than it is given, at least one.
	Step(ctx context.Context, msgs []bus.Msg) (Effects, error)
	// Again is Step for messages that are applied already: it makes the same emissions from what the store holds, and
	// no writes.
	Again(ctx context.Context, msgs []bus.Msg) (Effects, error)
	// Close ends the ownership; emissions under way may still be running.
	Close()
}

// Effects is what a batch of messages comes to.
type Effects struct {
	Taken  int       // how many of the messages were folded
	Writes *kv.Batch // committed under the fence, and the processor's again with the next Step; nil: none
	// Answer runs right after the commit and before the next step. It must not block; what it sends may be lost. May be nil.
	Answer func()
	// Emit runs after the commit, beside the next step but after the previous Emit has returned. It retries by itself
	// until ctx ends; its error ends the ownership, and the next owner emits again. May be nil.
	Emit func(ctx context.Context) error
}

// A StreamError says that a stream does not continue the partition's checkpoint. Going on would skip or repeat
// messages, so the partition stands until an operator decides.
type StreamError struct {
	Partition bus.Partition
	Why       string // what was found
	Do        string // the way forward
}

func (e *StreamError) Error() string {
	return fmt.Sprintf("stream %s does not continue the checkpoint of partition %s: %s; %s", e.Partition.Stream(), e.Partition, e.Why, e.Do)
}
