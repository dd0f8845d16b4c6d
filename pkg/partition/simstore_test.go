package partition

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/kv"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// simStore is a kv.Store in memory that remembers the order of its commits, so that a power loss can take back those
// that no Sync confirmed. All of it is guarded by the world's mu.
type simStore struct {
	w       *world
	data    map[string][]byte
	journal []*kv.Batch
	synced  int // commits of the journal that a power loss leaves
}

func newSimStore(w *world) *simStore { return &simStore{w: w, data: make(map[string][]byte)} }

// commit is the effect of a Commit.
func (s *simStore) commit(b *kv.Batch) error {
	held := s.data[string(b.Fence)]
	if bytes.Equal(held, b.Next) {
		return nil
	}
	if !bytes.Equal(held, b.Expect) && s.w.mutation != fenceIgnored {
		return kv.ErrFenced
	}
	s.check(b, held)
	s.journal = append(s.journal, b)
	s.apply(b)
	return nil
}

func (s *simStore) apply(b *kv.Batch) {
	for o := range b.Ops() {
		s.data[string(o.Key)] = o.Value
	}
	s.data[string(b.Fence)] = b.Next
}

// check compares what a commit leaves with what the stream says.
func (s *simStore) check(b *kv.Batch, held []byte) {
	for _, p := range s.w.parts {
		if string(fenceKey(p)) != string(b.Fence) {
			continue
		}
		before, after, st := record(held), record(b.Next), s.w.streams[p]
		state := string(s.data[string(stateKey(p))])
		for o := range b.Ops() {
			state = string(o.Value)
		}
		switch {
		case after.GetApplied() < before.GetApplied() || after.GetEpoch() < before.GetEpoch() || after.GetEmitted() < before.GetEmitted():
			s.w.violate("%s: the fence goes back from %v to %v", p, before, after)
		case after.GetEmitted() > after.GetApplied():
			s.w.violate("%s: emitted %d is ahead of applied %d", p, after.GetEmitted(), after.GetApplied())
		case after.GetEmitted() > st.reached:
			s.w.violate("%s: the checkpoint says that %d is emitted, and emission came to %d", p, after.GetEmitted(), st.reached)
		case after.GetApplied() >= uint64(len(st.folds)):
			s.w.violate("%s: %d is applied, which the stream does not have", p, after.GetApplied())
		case state != st.folds[after.GetApplied()]:
			s.w.violate("%s: at %d the store holds %s, and the fold of the stream is %s", p, after.GetApplied(), state, st.folds[after.GetApplied()])
		}
	}
}

func (s *simStore) fence(p bus.Partition) *imv1.FenceRecord {
	return record(s.data[string(fenceKey(p))])
}

func record(raw []byte) *imv1.FenceRecord {
	r := new(imv1.FenceRecord)
	if err := proto.Unmarshal(raw, r); err != nil {
		panic(err)
	}
	return r
}

// durable is the fence that a power loss leaves at least.
func (s *simStore) durable(p bus.Partition) *imv1.FenceRecord {
	for i := s.synced - 1; i >= 0; i-- {
		if string(s.journal[i].Fence) == string(fenceKey(p)) {
			return record(s.journal[i].Next)
		}
	}
	return new(imv1.FenceRecord)
}

// lose takes back a part of the commits that no Sync confirmed.
func (s *simStore) lose() {
	kept := s.synced + s.w.rng.IntN(len(s.journal)-s.synced+1)
	s.journal = s.journal[:kept]
	s.data = make(map[string][]byte)
	for _, b := range s.journal {
		s.apply(b)
	}
}

// hostStore is the store as one process has it.
type hostStore struct{ h *host }

// off reports whether the store does not answer this process; what that sends may still arrive.
func (h *host) off() bool { return time.Now().Before(h.cut) }

// unheard reports whether nothing of a request arrives.
func (h *host) unheard() bool {
	return h.w.chance(h.w.faults.unavailable) || h.off() && h.w.chance(300)
}

func (s *hostStore) Commit(ctx context.Context, b *kv.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	own := &kv.Batch{Fence: b.Fence, Expect: b.Expect, Next: b.Next}
	for o := range b.Ops() {
		own.Put(o.Key, o.Value)
	}
	return s.h.op("commit", func() error {
		w := s.h.w
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.h.unheard():
			return kv.ErrUnavailable
		case !s.h.off() && !w.chance(w.faults.unknown):
			return w.store.commit(own)
		}
		switch w.rng.IntN(3) {
		case 0:
			_ = w.store.commit(own)
		case 1:
			time.AfterFunc(w.upTo(20*time.Second), func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				if !s.h.dead {
					_ = w.store.commit(own)
				}
			})
		}
		return fmt.Errorf("%w: no answer", kv.ErrUnknown)
	})
}

func (s *hostStore) Sync(context.Context) error {
	return s.h.op("sync", func() error {
		if s.h.unheard() || s.h.off() {
			return kv.ErrUnavailable
		}
		s.h.w.store.synced = len(s.h.w.store.journal)
		return nil
	})
}

func (s *hostStore) Snapshot(ctx context.Context) (kv.Snapshot, error) {
	snap := new(simSnapshot)
	return snap, s.h.op("snapshot", func() error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.h.unheard() || s.h.off() {
			return kv.ErrUnavailable
		}
		snap.data = maps.Clone(s.h.w.store.data)
		return nil
	})
}

func (s *hostStore) Close() error { return nil }

type simSnapshot struct {
	kv.Snapshot
	data map[string][]byte
}

func (s *simSnapshot) Get(_ context.Context, key []byte) ([]byte, error) {
	return bytes.Clone(s.data[string(key)]), nil
}

func (s *simSnapshot) Release() {}
