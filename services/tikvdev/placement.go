//go:build !darwin || cgo

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
)

// placement is what PD knows, on disk before anybody is told.
type placement struct {
	path string
	now  func() time.Time

	mu    sync.Mutex // guards the field below
	known knowledge
}

// knowledge is placement's file.
type knowledge struct {
	Cluster   uint64 // id, random: a client finds out when another cluster answers
	LastID    uint64
	Stores    map[uint64]string // addresses
	Regions   []region          // by start, without gaps
	SafePoint uint64            // below it, old versions may be collected
	Services  map[string]hold
	Keys      map[string]string // of PD's etcd
	Revision  int64             // of the same
}

// region is a range of keys, in TiKV's encoded form. Its one replica is Peer.
type region struct {
	ID, Peer, Store  uint64
	Version, ConfVer uint64
	Start, End       []byte // End empty: to the last key
}

// hold is a service's wish to read back to a timestamp.
type hold struct {
	SafePoint uint64
	Expires   int64 // Unix time, s
}

func openPlacement(path string) (*placement, error) {
	p := &placement{path: path, now: time.Now}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.known = knowledge{Cluster: rand.Uint64() >> 1, Revision: 1}
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(text, &p.known); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return p, p.change(func(k *knowledge) error {
		k.Stores, k.Services, k.Keys = made(k.Stores), made(k.Services), made(k.Keys)
		return nil
	})
}

func made[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return m
}

// change lets edit change what is known, and writes it. Nothing has changed if edit fails; a failed write is told, and
// what is known may then be ahead of the disk until the next.
func (p *placement) change(edit func(k *knowledge) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := edit(&p.known); err != nil {
		return err
	}
	text, err := json.MarshalIndent(p.known, "", "\t")
	if err != nil {
		return err
	}
	return writeFile(p.path, text)
}

// look lets read look at what is known, and keep nothing of it.
func (p *placement) look(read func(k *knowledge)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	read(&p.known)
}

func (p *placement) cluster() (id uint64) {
	p.look(func(k *knowledge) { id = k.Cluster })
	return id
}

// find is the index of the region that holds key; -1 without regions.
func (k *knowledge) find(key []byte) int {
	i, found := slices.BinarySearchFunc(k.Regions, key, func(r region, key []byte) int { return bytes.Compare(r.Start, key) })
	if found {
		return i
	}
	return i - 1
}

func (k *knowledge) findID(id uint64) int {
	return slices.IndexFunc(k.Regions, func(r region) bool { return r.ID == id })
}

// replace puts parts in the place of the regions that they cover.
func (k *knowledge) replace(parts []region) error {
	if len(parts) == 0 {
		return errors.New("no regions")
	}
	slices.SortFunc(parts, func(a, b region) int { return bytes.Compare(a.Start, b.Start) })
	from := k.find(parts[0].Start)
	if from < 0 {
		return errors.New("not bootstrapped")
	}
	whole := k.Regions[from]
	if !bytes.Equal(whole.Start, parts[0].Start) || !bytes.Equal(whole.End, parts[len(parts)-1].End) {
		return fmt.Errorf("%d regions do not cover region %d", len(parts), whole.ID)
	}
	k.Regions = slices.Replace(slices.Clone(k.Regions), from, from+1, parts...)
	return nil
}

// least is the service that holds the collection back furthest. The collector itself is always among them.
func (k *knowledge) least(now time.Time) (name string, h hold) {
	if _, there := k.Services[collector]; !there {
		k.Services[collector] = hold{Expires: math.MaxInt64}
	}
	h.SafePoint = math.MaxUint64
	for n, s := range k.Services {
		switch {
		case s.Expires < now.Unix():
			delete(k.Services, n)
		case s.SafePoint < h.SafePoint:
			name, h = n, s
		}
	}
	return name, h
}

const collector = "gc_worker"

func (r region) meta() *metapb.Region {
	return &metapb.Region{
		Id: r.ID, StartKey: r.Start, EndKey: r.End,
		RegionEpoch: &metapb.RegionEpoch{ConfVer: r.ConfVer, Version: r.Version},
		Peers:       []*metapb.Peer{r.leader()},
	}
}

func (r region) leader() *metapb.Peer { return &metapb.Peer{Id: r.Peer, StoreId: r.Store} }

func fromMeta(m *metapb.Region) (region, error) {
	if len(m.Peers) != 1 {
		return region{}, fmt.Errorf("region %d has %d replicas: 1 is supported", m.Id, len(m.Peers))
	}
	return region{
		ID: m.Id, Peer: m.Peers[0].Id, Store: m.Peers[0].StoreId,
		Version: m.RegionEpoch.GetVersion(), ConfVer: m.RegionEpoch.GetConfVer(),
		Start: m.StartKey, End: m.EndKey,
	}, nil
}
