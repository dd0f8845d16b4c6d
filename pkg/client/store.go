package client

import (
	"context"
	"maps"
	"slices"
	"sync"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Store keeps what one device of one user must not forget. Its methods may be called at the same time. An error ends
// Run, or is returned by the Enqueue that met it. The package storetest holds the tests that every Store must pass.
type Store interface {
	// Load returns what was applied so far; the zero State when nothing was.
	Load(ctx context.Context) (State, error)
	// Apply carries out the whole change or nothing of it. When it returns nil, the change survives the end of the
	// process. The change and what it points to stay the caller's and are not changed later by either side.
	Apply(ctx context.Context, change Change) error
}

// State is what a Store holds.
type State struct {
	User        string   // whose device this is; empty before the first connection
	Position    uint64   // last UserIndex that was applied without gaps
	ListVersion uint64   // last version of the conversation list that the application was told of
	Outbox      []Queued // unanswered messages, ordered by Seq
}

// Queued is a message in the outbox.
type Queued struct {
	Seq  uint64     // place in the outbox; given out rising, unique among the messages in it
	Send *imv1.Send // with an empty After, which is decided whenever the message is sent
}

// Change is what Apply does. Zero fields leave what they name as it is.
type Change struct {
	User        string
	Position    uint64
	ListVersion uint64
	Enqueued    []Queued // to put into the outbox
	Removed     []uint64 // the Seq of messages to take out; unknown ones are passed over
	// Received are the entries that Position moves over, in order. The stores of this SDK leave them to the
	// application; a store that keeps them has each entry exactly once, even when the process is killed.
	Received []*imv1.UserEntry
}

// MemoryStore is a Store that ends with the process.
type MemoryStore struct {
	mu     sync.Mutex // guards the fields below
	state  State      // without Outbox
	outbox map[uint64]*imv1.Send
}

// NewMemoryStore makes an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{outbox: map[uint64]*imv1.Send{}}
}

// Load is part of Store.
func (s *MemoryStore) Load(context.Context) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state
	for _, seq := range slices.Sorted(maps.Keys(s.outbox)) {
		state.Outbox = append(state.Outbox, Queued{Seq: seq, Send: s.outbox[seq]})
	}
	return state, nil
}

// Apply is part of Store.
func (s *MemoryStore) Apply(_ context.Context, change Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if change.User != "" {
		s.state.User = change.User
	}
	if change.Position != 0 {
		s.state.Position = change.Position
	}
	if change.ListVersion != 0 {
		s.state.ListVersion = change.ListVersion
	}
	for _, q := range change.Enqueued {
		s.outbox[q.Seq] = q.Send
	}
	for _, seq := range change.Removed {
		delete(s.outbox, seq)
	}
	return nil
}
