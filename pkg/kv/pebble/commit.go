package pebble

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"time"

	pdb "github.com/cockroachdb/pebble/v2"

	"github.com/catena-im/catena/pkg/kv"
)

// Commit is kv.Store's. With ctx ended it answers ctx's error if nothing was written, else kv.ErrUnknown.
func (s *Store) Commit(ctx context.Context, b *kv.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	err := s.stageFenced(ctx, b)
	if err != nil || !s.sync {
		s.ops.Done()
		return err
	}
	return s.confirm(ctx, kv.ErrUnknown)
}

var errFull = fmt.Errorf("%w: the disk is full", kv.ErrUnavailable)

// stageFenced compares the fence and adds the batch to the stage, while nobody else does so with the same fence. A fence
// that holds what the batch puts there was replaced by this batch before.
func (s *Store) stageFenced(ctx context.Context, b *kv.Batch) error {
	turn := s.turns[maphash.Bytes(seed, b.Fence)%uint64(len(s.turns))]
	if err := s.acquire(ctx, turn); err != nil {
		return err
	}
	defer func() { <-turn }()
	held, err := s.held(b.Fence)
	switch {
	case err != nil:
		return fmt.Errorf("%w: read fence: %w", kv.ErrUnavailable, err)
	case bytes.Equal(held, b.Next):
		return s.broken()
	case !bytes.Equal(held, b.Expect): // absent is nil in both
		if broken := s.broken(); broken != nil {
			return broken // a drain that failed has taken away what the fence held
		}
		return kv.ErrFenced
	}
	if err := s.lockRoom(ctx); err != nil {
		return err
	}
	s.fresh.put(b)
	s.staging.Unlock()
	s.commits.Add(1)
	return s.broken()
}

// held is what a fence holds. The caller has its turn.
func (s *Store) held(fence []byte) ([]byte, error) {
	s.staging.RLock()
	v, ok := lookUp(s.stages(), fence)
	s.staging.RUnlock()
	if ok {
		return v, nil
	}
	return get(s.db, fence)
}

// SyncEvery calls Sync at most every interval as long as there is something to sync, until ctx ends. It bounds what a
// crash takes back, and with that how long a replay takes; what Sync answers is known to the commits that follow.
func (s *Store) SyncEvery(ctx context.Context, interval time.Duration) {
	t := time.NewTicker(interval)
	defer t.Stop()
	var synced uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if c := s.commits.Load(); c != synced && s.syncAtEase(ctx) == nil {
			synced = c
		}
	}
}

// Sync is kv.Store's.
func (s *Store) Sync(ctx context.Context) error {
	s.waiters.Add(1)
	defer s.waiters.Add(-1)
	return s.syncAtEase(ctx)
}

// syncAtEase is Sync for which nobody waits.
func (s *Store) syncAtEase(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	return s.confirm(ctx, nil)
}

// confirm returns when everything that was committed is on the disk. It ends the call that was begun; late is as in wait.
func (s *Store) confirm(ctx context.Context, late error) error {
	if err := s.acquire(ctx, s.syncs); err != nil {
		s.ops.Done()
		return unlessEnded(ctx, err, late)
	}
	return s.wait(ctx, func() error {
		defer func() { <-s.syncs }()
		s.drainNow()
		err := s.db.LogData(nil, pdb.Sync) // in the log behind all commits, which one fsync covers
		if broken := s.broken(); broken != nil {
			return broken
		}
		return err
	}, late)
}

// unlessEnded is err, with late where ctx ended and that leaves something open.
func unlessEnded(ctx context.Context, err, late error) error {
	if late != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", late, err)
	}
	return err
}

// acquire takes a place in queue unless the disk takes no writes.
func (s *Store) acquire(ctx context.Context, queue chan struct{}) error {
	full := s.disk.fullness()
	select {
	case <-full: // first: the places are free until the queue jams
		return errFull
	default:
	}
	select {
	case queue <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-full:
		return errFull
	case <-s.disk.failed:
		return s.broken()
	}
}

// wait runs call, which was begun, and leaves it behind when ctx ends or the disk takes no writes: Pebble knows no
// contexts. Close waits for those left behind. An ended ctx is answered with late and its error.
func (s *Store) wait(ctx context.Context, call func() error, late error) error {
	done := make(chan error, 1)
	go func() {
		defer s.ops.Done()
		done <- call()
	}()
	var err error
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		err = unlessEnded(ctx, ctx.Err(), late)
	case <-s.disk.fullness():
		err = errFull
	case <-s.disk.failed:
		err = s.broken()
	}
	select {
	case err := <-done:
		return err
	default:
		return err
	}
}
