//go:build !darwin || cgo

// Package tikv is the driver of package kv for a cluster: TiKV, by client-go. A commit is one optimistic transaction
// that reads the fence and replaces it, in one phase where its keys lie in one region. Nothing is concluded from the
// error of a failed commit: the next try reads the fence, which tells whether the last one was applied, and a late
// request of that one can then only conflict. So commits are idempotent whatever is lost, and a commit that was answered
// with nil is on the disks of a majority. Every call ends with its context and within Config.CallTimeout. Client-go ends
// the process, by a line at level error, where its protocol was broken or PD was exchanged for one of another cluster.
package tikv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	tikverr "github.com/tikv/client-go/v2/error"
	"github.com/tikv/client-go/v2/oracle"
	client "github.com/tikv/client-go/v2/tikv"

	"github.com/catena-im/catena/pkg/kv"
)

// Store is a kv.Store in a TiKV cluster. One is enough for a process.
type Store struct {
	cfg    Config
	log    *slog.Logger
	client *client.KVStore
	forget func() // ends what goes on in client behind its Close; nil: nothing
	meter  *meter
	notice time.Duration // gcNotice

	life context.Context // ends with Close
	end  context.CancelCauseFunc

	mu     sync.Mutex // guards the fields below
	closed bool
	calls  sync.WaitGroup // into client; none is added once closed
}

var _ kv.Store = (*Store)(nil)

var errClosed = fmt.Errorf("%w: closed", kv.ErrUnavailable)

// New connects to the cluster and reads from it. The error names what is wrong: a key of the configuration, or the
// address that does not answer and why.
func New(cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("tikv: %w", err)
	}
	c, forget, err := connect(cfg)
	if err != nil {
		return nil, fmt.Errorf("tikv: %w", err)
	}
	s := newStore(cfg, c, forget)
	ctx, cancel := context.WithTimeout(context.Background(), cfg.ConnectTimeout)
	defer cancel()
	if err := s.probe(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("tikv: pd at %v answers, but the stores do not: %w", cfg.PD, err), s.Close())
	}
	return s, nil
}

func newStore(cfg Config, c *client.KVStore, forget func()) *Store {
	s := &Store{cfg: cfg, log: cfg.Log, client: c, forget: forget, meter: newMeter(), notice: gcNotice}
	s.life, s.end = context.WithCancelCause(context.Background())
	return s
}

// probe reads a key that nobody writes.
func (s *Store) probe(ctx context.Context) error {
	sn, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer sn.Release()
	_, err = sn.Get(ctx, []byte{0})
	return err
}

// Sync is kv.Store's. There is nothing to wait for: TiKV answers a commit when a majority of the region's replicas has
// it on disk.
func (s *Store) Sync(ctx context.Context) error {
	_, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	end()
	return nil
}

// Close ends the calls in progress and disconnects. A commit whose caller has gone is let out, within AttemptTimeout:
// its locks would hold up the next owner.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()

	s.end(errClosed)
	s.calls.Wait()
	if s.forget != nil {
		s.forget()
	}
	err := s.client.Close()
	if err != nil {
		return fmt.Errorf("tikv: close: %w", err)
	}
	return nil
}

// begin enters a call into client-go. A nil error owes a call of end. The context that it returns ends with ctx and with
// the store, always by cancellation: client-go takes a passed deadline for a sign that the server is ill, and lets nobody
// else send to it for a second.
func (s *Store) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, errClosed
	}
	s.calls.Add(1)
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stopCaller := context.AfterFunc(ctx, func() { cancel(ctx.Err()) })
	stopStore := context.AfterFunc(s.life, func() { cancel(errClosed) })
	return inner, func() {
		stopCaller()
		stopStore()
		cancel(nil)
		s.calls.Done()
	}, nil
}

// within is ctx, cancelled after d with cause.
func within(ctx context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(d, func() { cancel(cause) })
	return ctx, func() {
		t.Stop()
		cancel(nil)
	}
}

var (
	errPatience = fmt.Errorf("%w: out of patience", kv.ErrUnavailable)
	errAttempt  = errors.New("no answer in time")
)

// try calls read until it succeeds, each time for AttemptTimeout at most. Else it answers why ctx ended,
// kv.ErrExpired or kv.ErrUnavailable.
func (s *Store) try(ctx context.Context, read func(ctx context.Context) error) error {
	ctx, cancel := within(ctx, s.cfg.CallTimeout, errPatience)
	defer cancel()
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := attempt(ctx, s.cfg.AttemptTimeout, read)
		if err == nil || tooOld(err) {
			return expired(err)
		}
		if !sleep(ctx, wait) {
			return ended(ctx, err)
		}
	}
}

func attempt(ctx context.Context, patience time.Duration, call func(ctx context.Context) error) error {
	ctx, cancel := within(ctx, patience, errAttempt)
	defer cancel()
	err := call(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errAttempt) {
		return fmt.Errorf("%w: %w", errAttempt, err)
	}
	return err
}

// timestamp asks PD for one that is above those of all transactions that were committed before.
func (s *Store) timestamp(ctx context.Context) (uint64, error) {
	return s.client.GetTimestampWithRetry(backoffer(ctx), oracle.GlobalTxnScope)
}

// backoffer leaves the patience to ctx.
func backoffer(ctx context.Context) *client.Backoffer {
	const longest = 60_000 // ms
	return client.NewBackofferWithVars(ctx, longest, nil)
}

const (
	firstWait = 2 * time.Millisecond
	lastWait  = 500 * time.Millisecond
)

// sleep waits for d, give or take half of it, and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// ended is why ctx ended, and the error of a last try.
func ended(ctx context.Context, last error) error {
	cause := context.Cause(ctx)
	if last == nil || errors.Is(last, context.Canceled) {
		return cause
	}
	return fmt.Errorf("%w: %w", cause, last)
}

func tooOld(err error) bool {
	var early *tikverr.ErrGCTooEarly
	return errors.As(err, &early)
}

func expired(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", kv.ErrExpired, err)
}
