package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/pebble"
	"github.com/catena-im/catena/pkg/kv/tikv"
	"github.com/catena-im/catena/pkg/partition"
)

// The drivers of the store.
const (
	driverPebble = "pebble"
	driverTiKV   = "tikv"
)

// syncEvery bounds what a kill takes from a store in this process, and with it what a start has to replay: commits of so
// long, and those of as long as the sync under way takes.
const syncEvery = 2 * time.Second

// openStore opens the chains.
func (n *node) openStore(ctx context.Context) (storage, error) {
	if n.cfg.Store.Driver == driverTiKV {
		return n.openTiKV(ctx)
	}
	// Its commits need not wait for the disk: the streams are synced first, and what a power loss takes from the store
	// is folded from them again.
	s, err := pebble.New(pebble.Config{Dir: storeDir(n.cfg.Data), Log: n.log})
	if err != nil {
		return nil, err
	}
	return pebbleStorage{s}, nil
}

// verifyTimeout bounds looking at a store.
const verifyTimeout = 5 * time.Second

// verifyStore refuses partition counts other than those that the store was written under. The streams know the counts too;
// but where they were lost and made anew, only the store does.
func verifyStore(ctx context.Context, store kv.Store, l chain.Layout) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	snap, err := store.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("look at the store: %w", err)
	}
	defer snap.Release()
	err = l.Verify(ctx, snap)
	misplaced, ok := errors.AsType[*chain.Misplaced](err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return fmt.Errorf("look at the store: %w", err)
	case misplaced.Area == chain.Conv:
		return fmt.Errorf("partitions.conv: %d does not fit: %w; configure %s", l.ConvPartitions, err, madeWith(misplaced, l.ConvPartitions))
	case misplaced.Area == chain.User:
		return fmt.Errorf("partitions.user: %d does not fit: %w; configure %s", l.UserPartitions, err, madeWith(misplaced, l.UserPartitions))
	}
	return fmt.Errorf("store: %w; run the version of the program that fits", err)
}

// madeWith names the count that a store was made with, if it is known: one that was hardly ever served from may not show.
func madeWith(m *chain.Misplaced, not int) string {
	if m.Held == 0 || m.Held == not {
		return "the number that the store was made with"
	}
	return fmt.Sprintf("%d, the number that the store was made with", m.Held)
}

// pebbleStorage is a store in this process.
type pebbleStorage struct{ *pebble.Store }

// Maintain syncs now and then.
func (s pebbleStorage) Maintain(ctx context.Context, _ func() bool) error {
	s.SyncEvery(ctx, syncEvery)
	return nil
}

func (n *node) openTiKV(ctx context.Context) (storage, error) {
	s, err := connectTiKV(ctx, n.cfg, n.log)
	if err != nil {
		return nil, err
	}
	if err := n.reg.Register(s); err != nil {
		return nil, errors.Join(fmt.Errorf("metrics of the store: %w", err), s.Close())
	}
	return tikvStorage{s}, nil
}

// tikvStorage is a store in a cluster. It reconnects by itself for ever, so it never fails for good.
type tikvStorage struct{ *tikv.Store }

// Failed is never closed.
func (tikvStorage) Failed() <-chan struct{} { return nil }

// Maintain collects what was overwritten, while leads answers true.
func (s tikvStorage) Maintain(ctx context.Context, leads func() bool) error { return s.Run(ctx, leads) }

// lead tells whether this process owns conversation partition 0. Its owner does what one process of a cluster has to do.
type lead struct{ held atomic.Int32 }

func (l *lead) is() bool { return l.held.Load() > 0 }

type start func(ctx context.Context, p bus.Partition, epoch uint64) (partition.Processor, error)

// watch sees the processors of that partition come and go.
func (l *lead) watch(next start) start {
	return func(ctx context.Context, p bus.Partition, epoch uint64) (partition.Processor, error) {
		proc, err := next(ctx, p, epoch)
		if err != nil || p != (bus.Partition{Kind: bus.Conv}) {
			return proc, err
		}
		l.held.Add(1)
		return &leading{proc, l}, nil
	}
}

// leading is the processor of conversation partition 0.
type leading struct {
	partition.Processor
	lead *lead
}

// Close ends the ownership.
func (p *leading) Close() {
	p.lead.held.Add(-1)
	p.Processor.Close()
}
