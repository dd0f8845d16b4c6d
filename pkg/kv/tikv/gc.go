//go:build !darwin || cgo

package tikv

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/tikv/client-go/v2/oracle"
	client "github.com/tikv/client-go/v2/tikv"
)

// Times of a collection.
const (
	gcNotice  = client.GcSafePointCacheInterval // how long a client that cannot reach PD goes on by the old safe point
	gcTimeout = time.Hour                       // for one collection: it visits each region of the cluster
	gcService = "gc_worker"                     // PD's name for the collector: the safe point it may not hold back itself
)

// Run collects what was overwritten, in the whole cluster, every Config.GCInterval while leads answers true, until ctx
// ends. One process in a cluster must lead at most, but two do no harm: they move the same safe point, forwards only.
// With an interval of 0 Run waits for ctx.
func (s *Store) Run(ctx context.Context, leads func() bool) error {
	if s.cfg.GCInterval == 0 {
		s.log.Info("tikv: no collection of old versions by this process (gc_interval is 0)")
		select {
		case <-ctx.Done():
			return nil
		case <-s.life.Done():
			return errClosed
		}
	}
	tick := time.NewTicker(s.cfg.GCInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.life.Done():
			return errClosed
		case <-tick.C:
		}
		if !leads() {
			continue
		}
		began := time.Now()
		point, err := s.collect(ctx, leads)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.log.Warn("tikv: old versions not collected", "err", err)
		case point != 0:
			s.meter.safe.Set(float64(oracle.GetTimeFromTS(point).UnixMilli()) / 1000)
			s.log.Debug("tikv: old versions collected", "before", oracle.GetTimeFromTS(point), "took", time.Since(began))
		}
	}
}

// collect makes what was overwritten before a safe point ready for removal, and returns that point; 0: there is nothing
// to do, or another process leads by now.
//
// The order matters: first the point is agreed upon with everything that reads the past of this cluster (backups, change
// feeds), then clients are told and given time to notice, so that none reads below it; only then locks below it are
// resolved and the stores may drop versions.
func (s *Store) collect(ctx context.Context, leads func() bool) (uint64, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	ctx, cancel := within(ctx, gcTimeout+s.notice, errPatience)
	defer cancel()
	point, err := s.agree(ctx)
	if err != nil {
		return 0, err
	}
	saved, err := s.savedSafePoint()
	if err != nil {
		return 0, fmt.Errorf("read the saved safe point: %w", err)
	}
	if point <= saved {
		return 0, nil
	}
	if err := s.saveSafePoint(point); err != nil {
		return 0, fmt.Errorf("save the safe point: %w", err)
	}
	if !wait(ctx, s.notice) {
		return 0, ended(ctx, nil)
	}
	if !leads() {
		return 0, nil
	}
	if _, err := s.client.GC(ctx, point); err != nil {
		return 0, fmt.Errorf("resolve locks: %w", err)
	}
	return point, nil
}

// agree is the point up to which this store needs nothing, or an earlier one that another service of the cluster needs.
// Time is PD's: the clocks of processes differ.
func (s *Store) agree(ctx context.Context) (uint64, error) {
	now, err := s.timestamp(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask pd for the time: %w", err)
	}
	point := oracle.ComposeTS(oracle.ExtractPhysical(now)-s.cfg.GCKeep.Milliseconds(), 0)
	least, err := s.client.GetPDClient().UpdateServiceGCSafePoint(ctx, gcService, math.MaxInt64, point)
	if err != nil {
		return 0, fmt.Errorf("agree on a safe point: %w", err)
	}
	return min(point, least), nil
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Split cuts the regions at keys, so that what stands behind each can be moved to a store of its own. A key that is a
// border already stays one. For provisioning; TiKV splits by size and load itself.
func (s *Store) Split(ctx context.Context, keys [][]byte) error {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	var cuts [][]byte
	for _, k := range keys {
		k = s.encodeKey(k)
		at, err := s.client.GetRegionCache().LocateKey(backoffer(ctx), k)
		if err != nil {
			return fmt.Errorf("find the region of %q: %w", k, err)
		}
		if string(at.StartKey) != string(k) {
			cuts = append(cuts, k)
		}
	}
	if len(cuts) == 0 {
		return nil
	}
	if _, err := s.client.SplitRegions(ctx, cuts, true, nil); err != nil {
		return fmt.Errorf("split at %d keys: %w", len(cuts), err)
	}
	return nil
}
