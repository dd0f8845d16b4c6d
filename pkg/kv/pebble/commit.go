package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	pdb "github.com/cockroachdb/pebble/v2"

	"github.com/catena-im/catena/pkg/kv"
)

// commit is a batch on its way into the database. It shares no memory with the caller, who may be gone before it ends.
type commit struct {
	fence, expect, next []byte
	writes              *pdb.Batch
	turn                chan struct{}
}

// Commit is kv.Store's. With ctx ended it answers ctx's error if nothing was written, else kv.ErrUnknown.
func (s *Store) Commit(ctx context.Context, b *kv.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	c, err := s.prepare(b)
	if err != nil {
		s.ops.Done()
		return err
	}
	if err := s.acquire(ctx, c.turn); err != nil {
		s.ops.Done()
		return errors.Join(err, c.writes.Close())
	}
	return s.wait(ctx, func() error { return s.commit(c) }, kv.ErrUnknown)
}

var errFull = fmt.Errorf("%w: the disk is full", kv.ErrUnavailable)

func (s *Store) prepare(b *kv.Batch) (*commit, error) {
	w := s.db.NewBatchWithSize(b.Size() + 16*b.Len() + len(b.Fence) + len(b.Next) + 64)
	for o := range b.Ops() {
		var err error
		if o.Value == nil {
			err = w.Delete(o.Key, nil)
		} else {
			err = w.Set(o.Key, o.Value, nil)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", kv.ErrInvalid, errors.Join(err, w.Close()))
		}
	}
	if err := w.Set(b.Fence, b.Next, nil); err != nil {
		return nil, fmt.Errorf("%w: %w", kv.ErrInvalid, errors.Join(err, w.Close()))
	}
	turn := maphash.Bytes(s.seed, b.Fence) % uint64(len(s.turns))
	return &commit{
		fence: bytes.Clone(b.Fence), expect: bytes.Clone(b.Expect), next: bytes.Clone(b.Next),
		writes: w, turn: s.turns[turn],
	}, nil
}

// commit compares and writes while it holds the fence's turn, and waits for the disk without it, so that other commits
// share the fsync.
func (s *Store) commit(c *commit) error {
	applied, err := s.apply(c)
	<-c.turn
	switch {
	case err != nil:
	case !applied: // before, by a call that may not have waited for the disk
		if s.sync {
			err = s.db.LogData(nil, pdb.Sync)
		}
	case s.sync:
		err = c.writes.SyncWait()
	}
	if closing := c.writes.Close(); err == nil {
		err = closing
	}
	if broken := s.broken(); broken != nil {
		return broken // the database has it, the disk may not
	}
	return err
}

// apply writes the batch if the fence holds what is expected. It reports false if it holds what the batch puts there.
func (s *Store) apply(c *commit) (bool, error) {
	held, err := get(s.db, c.fence)
	switch {
	case err != nil:
		return false, fmt.Errorf("%w: read fence: %w", kv.ErrUnavailable, err)
	case bytes.Equal(held, c.next):
		return false, nil
	case !bytes.Equal(held, c.expect): // absent is nil in both
		return false, kv.ErrFenced
	case s.sync:
		err = s.db.ApplyNoSyncWait(c.writes, pdb.Sync)
	default:
		err = s.db.Apply(c.writes, pdb.NoSync)
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", kv.ErrUnavailable, err)
	}
	s.commits.Add(1)
	return true, nil
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
		if c := s.commits.Load(); c != synced && s.Sync(ctx) == nil {
			synced = c
		}
	}
}

// Sync is kv.Store's.
func (s *Store) Sync(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.acquire(ctx, s.syncs); err != nil {
		s.ops.Done()
		return err
	}
	return s.wait(ctx, func() error {
		err := s.db.LogData(nil, pdb.Sync) // in the log behind all commits, which one fsync covers
		<-s.syncs
		if broken := s.broken(); broken != nil {
			return broken
		}
		return err
	}, nil)
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
		if err = ctx.Err(); late != nil {
			err = fmt.Errorf("%w: %w", late, err)
		}
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
