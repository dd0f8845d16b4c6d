//go:build !darwin || cgo

package tikv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	tikverr "github.com/tikv/client-go/v2/error"
	client "github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/txnkv/transaction"

	"github.com/catena-im/catena/pkg/kv"
)

// commit is a batch under its keys in the cluster.
type commit struct {
	fence, expect, next []byte
	ops                 []kv.Op
	sent                bool // a try went so far that it may have been applied, or may be yet
}

// extra is the patience that a batch of many operations has beyond that for a small one. Without it, a large batch on a
// slow store would be given up and begun again for ever.
func extra(ops int) time.Duration { return time.Duration(ops) * 500 * time.Microsecond }

// Commit is kv.Store's. With ctx ended it answers ctx's error if nothing can have been written, else kv.ErrUnknown.
func (s *Store) Commit(ctx context.Context, b *kv.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := within(ctx, s.cfg.CallTimeout+2*extra(b.Len()), errPatience)
	defer cancel()
	return s.commit(ctx, s.encode(b))
}

func (s *Store) encode(b *kv.Batch) *commit {
	c := &commit{fence: s.encodeKey(b.Fence), expect: b.Expect, next: b.Next, ops: make([]kv.Op, 0, b.Len())}
	for o := range b.Ops() {
		c.ops = append(c.ops, kv.Op{Key: s.encodeKey(o.Key), Value: o.Value})
	}
	return c
}

// commit tries until the fence has decided.
func (s *Store) commit(ctx context.Context, c *commit) error {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := s.transact(ctx, c)
		if err == nil || errors.Is(err, kv.ErrFenced) || errors.Is(err, kv.ErrInvalid) {
			return err
		}
		s.meter.failed(err)
		if sleep(ctx, wait) {
			continue
		}
		if err = ended(ctx, err); c.sent {
			err = fmt.Errorf("%w: %w", kv.ErrUnknown, err)
		}
		return err
	}
}

// transact is one try. It answers nil if the fence says that an earlier one was applied.
func (s *Store) transact(ctx context.Context, c *commit) error {
	var tx *transaction.KVTxn
	if err := attempt(ctx, s.cfg.AttemptTimeout, func(ctx context.Context) (err error) {
		tx, err = s.prepare(ctx, c)
		return err
	}); err != nil || tx == nil {
		return err
	}
	c.sent = true
	return s.send(ctx, tx, s.cfg.AttemptTimeout+extra(len(c.ops)))
}

// prepare reads the fence and makes the transaction, which shares no memory with the caller; nil: c was applied.
func (s *Store) prepare(ctx context.Context, c *commit) (*transaction.KVTxn, error) {
	ts, err := s.timestamp(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := s.client.Begin(client.WithStartTS(ts)) // without a timestamp it would ask PD, and not heed ctx
	if err != nil {
		return nil, err
	}
	held, err := tx.Get(ctx, c.fence)
	switch {
	case tikverr.IsErrNotFound(err):
		held = nil
	case err != nil:
		return nil, err
	}
	if bytes.Equal(held, c.next) {
		return nil, nil //nolint:nilnil // see above
	}
	if !bytes.Equal(held, c.expect) { // absent is nil in both
		return nil, kv.ErrFenced
	}
	if err := fill(tx, c); err != nil {
		return nil, fmt.Errorf("%w: %w", kv.ErrInvalid, err)
	}
	return tx, nil
}

// send commits, and goes on with that when ctx ends: a transaction that is cut off between its phases keeps everybody
// from its keys for the 3 s that its locks live.
func (s *Store) send(ctx context.Context, tx *transaction.KVTxn, patience time.Duration) error {
	tx.SetEnable1PC(true)
	tx.SetEnableAsyncCommit(true)
	tx.SetCommitCallback(func(info string, err error) {
		if err == nil {
			s.meter.committed(mode(info))
		}
	})
	done := make(chan error, 1)
	s.calls.Go(func() { done <- attempt(context.WithoutCancel(ctx), patience, tx.Commit) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func fill(tx *transaction.KVTxn, c *commit) error {
	for _, o := range c.ops {
		var err error
		if o.Value == nil {
			err = tx.Delete(o.Key)
		} else {
			err = tx.Set(o.Key, o.Value)
		}
		if err != nil {
			return err
		}
	}
	return tx.Set(c.fence, c.next)
}

// mode is how client-go committed: 1pc, async_commit or 2pc.
func mode(info string) string {
	var i transaction.TxnInfo
	if json.Unmarshal([]byte(info), &i) != nil || i.TxnCommitMode == "" {
		return "unknown"
	}
	return i.TxnCommitMode
}
