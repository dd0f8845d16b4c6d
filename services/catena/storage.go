package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/catena-im/catena/pkg/kv/pebble"
)

// The drivers of the store.
const (
	driverPebble = "pebble"
	driverTiKV   = "tikv"
)

// syncEvery bounds what a kill takes from a store in this process, and with it what a start has to replay.
const syncEvery = time.Second

// openStore opens the chains.
func (n *node) openStore() (storage, error) {
	// Its commits need not wait for the disk: the streams are synced first, and what a power loss takes from the store
	// is folded from them again.
	s, err := pebble.New(pebble.Config{Dir: filepath.Join(n.cfg.Data, "store"), Log: n.log})
	if err != nil {
		return nil, err
	}
	return pebbleStorage{s}, nil
}

// pebbleStorage is a store in this process.
type pebbleStorage struct{ *pebble.Store }

// Maintain syncs now and then.
func (s pebbleStorage) Maintain(ctx context.Context) error {
	s.SyncEvery(ctx, syncEvery)
	return nil
}
