//go:build !darwin || cgo

package tikv

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tikv/client-go/v2/oracle"
	client "github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/tikvrpc"

	"github.com/catena-im/catena/pkg/kv"
)

// eager is a store whose collections take everything that is older than now.
func eager(t *testing.T, m *mock, between func(client.Client) client.Client) *Store {
	s := m.open(t, Config{}, between)
	s.cfg.GCKeep, s.notice = time.Millisecond, time.Millisecond
	return s
}

func yes() bool { return true }

// now is PD's.
func now(t *testing.T, s *Store) uint64 {
	t.Helper()
	ts, err := s.timestamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

// stored is the safe point that the stores go by.
func (m *mock) stored(t *testing.T) uint64 {
	t.Helper()
	point, err := m.pd.UpdateGCSafePoint(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return point
}

func TestCollectionMovesTheSafePoint(t *testing.T) {
	m := newMock(t)
	s := eager(t, m, nil)
	sn, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sn.Release()
	before := now(t, s)
	for oracle.ExtractPhysical(now(t, s)) < oracle.ExtractPhysical(before)+3 { // PD's clock goes on
	}
	point, err := s.collect(t.Context(), yes)
	if err != nil || point <= before || point >= now(t, s) {
		t.Fatalf("collected before %d, %v; want between %d and now", point, err, before)
	}
	saved, err := s.savedSafePoint()
	if err != nil || saved != point || m.stored(t) != point {
		t.Errorf("saved %d, %v; the stores go by %d; want %d", saved, err, m.stored(t), point)
	}
	s.client.UpdateSPCache(saved, time.Now()) // what each client does every 10 s
	if _, err := sn.Get(t.Context(), []byte("k")); !errors.Is(err, kv.ErrExpired) {
		t.Errorf("get from an older snapshot: got %v, want %v", err, kv.ErrExpired)
	}
	if err := sn.Scan(t.Context(), kv.Range{}, func(_, _ []byte) error { return nil }); !errors.Is(err, kv.ErrExpired) {
		t.Errorf("scan of an older snapshot: got %v, want %v", err, kv.ErrExpired)
	}
}

func TestCollectionWaitsForOtherServices(t *testing.T) {
	m := newMock(t)
	s := eager(t, m, nil)
	backup := now(t, s)
	if _, err := m.pd.UpdateServiceGCSafePoint(t.Context(), "backup", math.MaxInt64, backup); err != nil {
		t.Fatal(err)
	}
	for oracle.ExtractPhysical(now(t, s)) < oracle.ExtractPhysical(backup)+3 {
	}
	if point, err := s.collect(t.Context(), yes); err != nil || point != backup {
		t.Errorf("collected before %d, %v; want %d", point, err, backup)
	}
	if point, err := s.collect(t.Context(), yes); err != nil || point != 0 {
		t.Errorf("again: collected before %d, %v; want nothing", point, err)
	}
	if got := m.stored(t); got != backup {
		t.Errorf("the stores go by %d, want %d", got, backup)
	}
}

func TestCollectionEndsWithTheLease(t *testing.T) {
	m := newMock(t)
	s := eager(t, m, nil)
	if point, err := s.collect(t.Context(), func() bool { return false }); err != nil || point != 0 {
		t.Errorf("collected before %d, %v", point, err)
	}
	if got := m.stored(t); got != 0 {
		t.Errorf("the stores go by %d", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.collect(ctx, yes); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

// drop loses all requests of one kind.
type drop struct {
	client.Client
	what tikvrpc.CmdType
}

func (d *drop) SendRequest(
	ctx context.Context, addr string, req *tikvrpc.Request, timeout time.Duration,
) (*tikvrpc.Response, error) {
	if req.Type == d.what {
		return nil, errNetwork
	}
	return d.Client.SendRequest(ctx, addr, req, timeout)
}

func TestCollectionResolvesLocksOfTheDead(t *testing.T) {
	m := newMock(t)
	dying := m.open(t, Config{AttemptTimeout: 20 * time.Millisecond, CallTimeout: 20 * time.Millisecond},
		func(c client.Client) client.Client { return &drop{c, tikvrpc.CmdCommit} })
	b := &kv.Batch{Fence: []byte("f"), Next: []byte("1")}
	for i := range 10 {
		b.Put(fmt.Append(nil, "r/", i), []byte("v"))
	}
	if err := dying.Commit(t.Context(), b); !errors.Is(err, kv.ErrUnknown) {
		t.Fatalf("commit: got %v, want %v", err, kv.ErrUnknown)
	}
	locks := func() int {
		left, err := m.rpc.MvccStore.ScanLock(nil, nil, math.MaxUint64)
		if err != nil {
			t.Fatal(err)
		}
		return len(left)
	}
	if locks() == 0 {
		t.Fatal("the dead writer left no locks")
	}
	s := eager(t, m, nil)
	locked := now(t, s)
	for oracle.ExtractPhysical(now(t, s)) < oracle.ExtractPhysical(locked)+3 {
	}
	point, err := s.collect(t.Context(), yes)
	if err != nil || point == 0 {
		t.Fatalf("collected before %d, %v", point, err)
	}
	sn, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v, err := sn.Get(t.Context(), []byte("f")); v != nil || err != nil {
		t.Errorf("the fence holds %q, %v", v, err)
	}
}

func TestRunCollectsWhileItLeads(t *testing.T) {
	m := newMock(t)
	s := eager(t, m, nil)
	s.cfg.GCInterval = time.Millisecond
	var leads atomic.Bool
	asked := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func() bool {
			select {
			case asked <- struct{}{}:
			default:
			}
			return leads.Load()
		})
	}()
	<-asked
	<-asked
	if got := m.stored(t); got != 0 {
		t.Errorf("a follower collected before %d", got)
	}
	leads.Store(true)
	for m.stored(t) == 0 {
		<-asked
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestRunWithoutIntervalDoesNothing(t *testing.T) {
	m := newMock(t)
	s := m.open(t, Config{}, nil)
	done := make(chan error, 1)
	go func() {
		done <- s.Run(t.Context(), func() bool {
			t.Error("asked for the lead")
			return true
		})
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, kv.ErrUnavailable)
	}
}
