//go:build !darwin || cgo

package tikv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	tikverr "github.com/tikv/client-go/v2/error"
	"github.com/tikv/client-go/v2/txnkv/txnsnapshot"

	"github.com/catena-im/catena/pkg/kv"
)

// snapshot is a kv.Snapshot: a timestamp.
type snapshot struct {
	store *Store
	ts    uint64
	born  time.Time // before ts was given out

	released atomic.Bool
}

var errReleased = errors.New("tikv: snapshot was released")

// Snapshot is kv.Store's. It can be read for Config.SnapshotAge.
func (s *Store) Snapshot(ctx context.Context) (kv.Snapshot, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	sn := &snapshot{store: s, born: time.Now()}
	if err := s.try(ctx, func(ctx context.Context) (err error) {
		sn.ts, err = s.timestamp(ctx)
		return err
	}); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return sn, nil
}

// Release is kv.Snapshot's. The cluster holds nothing for a snapshot, so nothing is lost by one that was forgotten.
func (sn *snapshot) Release() { sn.released.Store(true) }

// begin enters a read; a nil error owes a call of end.
func (sn *snapshot) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	if sn.released.Load() {
		return nil, nil, errReleased
	}
	if err := sn.fresh(); err != nil {
		return nil, nil, err
	}
	return sn.store.begin(ctx)
}

// fresh answers kv.ErrExpired when old versions that the snapshot needs may be gone.
func (sn *snapshot) fresh() error {
	if age := time.Since(sn.born); age > sn.store.cfg.SnapshotAge {
		return fmt.Errorf("%w: taken %s ago, good for %s", kv.ErrExpired, age.Round(time.Second), sn.store.cfg.SnapshotAge)
	}
	return nil
}

// view is client-go's snapshot, a new one for each read: it keeps what it read, and the settings of a scan.
func (sn *snapshot) view() *txnsnapshot.KVSnapshot { return sn.store.client.GetSnapshot(sn.ts) }

// Get is kv.Snapshot's.
func (sn *snapshot) Get(ctx context.Context, key []byte) ([]byte, error) {
	ctx, end, err := sn.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	var value []byte
	if err := sn.store.try(ctx, func(ctx context.Context) (err error) {
		value, err = sn.get(ctx, sn.store.encodeKey(key))
		return err
	}); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	return value, nil
}

// get is one try, by the key in the cluster.
func (sn *snapshot) get(ctx context.Context, key []byte) ([]byte, error) {
	value, err := sn.view().Get(ctx, key)
	if tikverr.IsErrNotFound(err) {
		return nil, nil
	}
	return value, err
}

// batchKeys is how many keys are asked for at once.
const batchKeys = 1024

// BatchGet is kv.Snapshot's.
func (sn *snapshot) BatchGet(ctx context.Context, keys [][]byte) ([][]byte, error) {
	ctx, end, err := sn.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	values := make([][]byte, 0, len(keys))
	for part := range slices.Chunk(keys, batchKeys) {
		found, err := sn.batchGet(ctx, part)
		if err != nil {
			return nil, fmt.Errorf("get %d keys: %w", len(keys), err)
		}
		for _, k := range part {
			v, ok := found[string(k)]
			if ok {
				v = bytes.Clone(v) // a key may stand in keys twice
			}
			values = append(values, v)
		}
	}
	return values, nil
}

// batchGet returns the values by the store's keys.
func (sn *snapshot) batchGet(ctx context.Context, keys [][]byte) (map[string][]byte, error) {
	unique := make(map[string][]byte, len(keys))
	for _, k := range keys {
		unique[string(k)] = nil
	}
	encoded := make([][]byte, 0, len(unique))
	for k := range unique {
		encoded = append(encoded, sn.store.encodeKey([]byte(k)))
	}
	var found map[string][]byte
	if err := sn.store.try(ctx, func(ctx context.Context) (err error) {
		found, err = sn.view().BatchGet(ctx, encoded)
		return err
	}); err != nil {
		return nil, err
	}
	clear(unique)
	for k, v := range found {
		unique[k[len(sn.store.cfg.Prefix):]] = v
	}
	return unique, nil
}

func (s *Store) encodeKey(key []byte) []byte {
	return append(append(make([]byte, 0, len(s.cfg.Prefix)+len(key)), s.cfg.Prefix...), key...)
}
