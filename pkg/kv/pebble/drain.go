package pebble

import (
	"context"
	"errors"
	"fmt"

	pdb "github.com/cockroachdb/pebble/v2"
)

// defaultStage is how much a stage takes, in bytes of keys and values, before it is written: some seconds of a busy node.
// Commits wait once there is twice as much behind a stage that is being written.
const defaultStage = 32 << 20

// staged is a stage as it was at some time.
type staged struct {
	*stage
	seen content
}

// stages are what Pebble does not have yet, or is being given, the newest first.
func (s *Store) stages() (all []staged) {
	for _, st := range []*stage{s.fresh, s.draining} {
		if st != nil && len(st.entries) > 0 {
			all = append(all, staged{st, st.content})
		}
	}
	return all
}

// room makes sure that the stage does not grow beyond its bound. It has a full one written, and waits where the one
// before is still being written and the next has grown as large as both.
func (s *Store) room(ctx context.Context) error {
	s.staging.RLock()
	held := s.fresh.bytes
	s.staging.RUnlock()
	if held < s.stageBytes {
		return nil
	}
	select {
	case s.drains <- struct{}{}:
	default:
		if held < 2*s.stageBytes {
			return nil
		}
		if err := s.acquire(ctx, s.drains); err != nil {
			return err
		}
	}
	s.ops.Add(1)
	go func() { // joined by Close
		defer s.ops.Done()
		defer func() { <-s.drains }()
		s.drain()
	}()
	return nil
}

// muchToDrain is how many bytes of a stage are worth a thread of their own, behind the others: to order them takes a
// processor some time.
const muchToDrain = 1 << 20

// drain writes everything that was committed. The caller holds the place of drains, and its goroutine ends soon.
func (s *Store) drain() {
	s.staging.Lock()
	full := s.fresh
	s.draining, s.fresh = full, new(stage)
	s.staging.Unlock()
	if full.bytes >= muchToDrain {
		stepBack()
	}
	if err := s.write(full); err != nil {
		s.disk.fail(err)
	}
	s.staging.Lock()
	s.draining = nil
	s.staging.Unlock()
}

// write gives a stage to Pebble, as one batch, so that a crash leaves all of its commits or none. A large one, ordered as
// it is, Pebble takes for a memtable.
func (s *Store) write(st *stage) error {
	if len(st.entries) == 0 {
		return nil
	}
	all, size := st.newest(), 0
	for _, e := range all {
		size += len(e.key) + int(st.entries[e.n].value.length) + 16
	}
	b := s.db.NewBatchWithSize(size)
	var err error
	for _, e := range all {
		if value := st.value(e.n); value == nil {
			err = errors.Join(err, b.Delete(e.key, nil))
		} else {
			err = errors.Join(err, b.Set(e.key, value, nil))
		}
	}
	if err == nil {
		err = s.db.Apply(b, pdb.NoSync)
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return fmt.Errorf("write %d entries: %w", len(all), err)
	}
	return nil
}
