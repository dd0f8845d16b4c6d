//go:build !darwin || cgo

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/tikv/client-go/v2/oracle"
	"github.com/tikv/client-go/v2/util/codec"
	pd "github.com/tikv/pd/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// placementClient is a store's way to PD: over the network even in one process, so that there is one way only.
type placementClient struct {
	conn   *grpc.ClientConn
	rpc    pdpb.PDClient
	client pd.Client // for timestamps, which it gathers; reconnects by itself
}

// dialPD waits for PD until ctx ends.
func dialPD(ctx context.Context, cfg config, secret *tls.Config, log *slog.Logger) (*placementClient, error) {
	transport := insecure.NewCredentials()
	if secret != nil {
		transport = credentials.NewTLS(secret)
	}
	conn, err := grpc.DialContext(ctx, cfg.pd, grpc.WithTransportCredentials(transport))
	if err != nil {
		return nil, fmt.Errorf("--pd %s: %w", cfg.pd, err)
	}
	p := &placementClient{conn: conn, rpc: pdpb.NewPDClient(conn)}
	for {
		_, err = p.rpc.GetMembers(ctx, new(pdpb.GetMembersRequest))
		if err == nil {
			break
		}
		log.Info("waiting for pd", "pd", cfg.pd, "err", err)
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), conn.Close())
		case <-time.After(300 * time.Millisecond):
		}
	}
	p.client, err = pd.NewClientWithContext(ctx, []string{cfg.pd},
		pd.SecurityOption{CAPath: cfg.ca, CertPath: cfg.cert, KeyPath: cfg.key})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--pd %s: %w", cfg.pd, err), conn.Close())
	}
	return p, nil
}

func (p *placementClient) close() {
	p.client.Close()
	_ = p.conn.Close()
}

func (p *placementClient) timestamp(ctx context.Context) (uint64, error) {
	physical, logical, err := p.client.GetTS(ctx)
	return oracle.ComposeTS(physical, logical), err
}

func (p *placementClient) safePoint(ctx context.Context) (uint64, error) {
	answer, err := p.rpc.GetGCSafePoint(ctx, new(pdpb.GetGCSafePointRequest))
	return answer.GetSafePoint(), err
}

func (p *placementClient) newID(ctx context.Context) (uint64, error) {
	answer, err := p.rpc.AllocID(ctx, new(pdpb.AllocIDRequest))
	return answer.GetId(), err
}

// identity says which store of which cluster a folder is.
type identity struct{ Cluster, Store uint64 }

// join registers the store with PD, as the first one of a new cluster if need be, and learns the regions.
func (s *store) join(ctx context.Context, path string, splits []string) error {
	id, err := s.identify(ctx, path)
	if err != nil {
		return err
	}
	if _, err := s.pd.rpc.PutStore(ctx, &pdpb.PutStoreRequest{Store: storeMeta(id.Store, s.addr)}); err != nil {
		return err
	}
	if err := s.bootstrap(ctx, id.Store); err != nil {
		return err
	}
	known, err := s.pd.rpc.ScanRegions(ctx, new(pdpb.ScanRegionsRequest))
	if err != nil {
		return err
	}
	s.mirror(id.Store, known.RegionMetas)
	for _, key := range splits {
		if err := s.splitAt(ctx, codec.EncodeBytes(nil, []byte(key))); err != nil {
			return fmt.Errorf("--split %q: %w", key, err)
		}
	}
	return nil
}

// identify reads who this store is, or has itself named.
func (s *store) identify(ctx context.Context, path string) (id identity, err error) {
	members, err := s.pd.rpc.GetMembers(ctx, new(pdpb.GetMembersRequest))
	if err != nil {
		return id, err
	}
	cluster := members.Header.ClusterId
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		err = json.Unmarshal(text, &id)
		if err == nil && id.Cluster != cluster {
			err = fmt.Errorf("%s belongs to cluster %d and this is the pd of %d: keep the folders of pd and store together", path, id.Cluster, cluster)
		}
		return id, err
	case !errors.Is(err, fs.ErrNotExist):
		return id, err
	}
	id.Cluster = cluster
	if id.Store, err = s.pd.newID(ctx); err != nil {
		return id, err
	}
	if text, err = json.Marshal(id); err != nil {
		return id, err
	}
	return id, writeFile(path, text)
}

func (s *store) bootstrap(ctx context.Context, storeID uint64) error {
	answer, err := s.pd.rpc.IsBootstrapped(ctx, new(pdpb.IsBootstrappedRequest))
	if err != nil || answer.Bootstrapped {
		return err
	}
	regionID, err := s.pd.newID(ctx)
	if err != nil {
		return err
	}
	peerID, err := s.pd.newID(ctx)
	if err != nil {
		return err
	}
	_, err = s.pd.rpc.Bootstrap(ctx, &pdpb.BootstrapRequest{
		Store: storeMeta(storeID, s.addr),
		Region: &metapb.Region{
			Id: regionID, RegionEpoch: new(metapb.RegionEpoch), Peers: []*metapb.Peer{{Id: peerID, StoreId: storeID}},
		},
	})
	return err
}

// mirror gives the mock the regions that PD knows, with their epochs: it begins with one, by splits.
func (s *store) mirror(storeID uint64, regions []*metapb.Region) {
	s.cluster.AddStore(storeID, s.addr)
	epochs := map[uint64]*metapb.RegionEpoch{}
	for i, r := range regions {
		peers := []uint64{r.Peers[0].Id}
		if i == 0 {
			s.cluster.Bootstrap(r.Id, []uint64{storeID}, peers, peers[0])
		} else {
			s.cluster.SplitRaw(regions[i-1].Id, r.Id, r.StartKey, peers, peers[0])
		}
		epochs[r.Id] = r.RegionEpoch
	}
	s.cluster.Lock()
	defer s.cluster.Unlock()
	for _, r := range s.cluster.GetAllRegions() {
		r.Meta.RegionEpoch = epochs[r.Meta.Id]
	}
}

// splitAt cuts the region that holds key, which is encoded, unless it begins there.
func (s *store) splitAt(ctx context.Context, key []byte) error {
	s.splits.Lock()
	defer s.splits.Unlock()
	r, _, _ := s.cluster.GetRegionByKey(key)
	_, err := s.split(ctx, r, [][]byte{key})
	return err
}

// split cuts a region at encoded keys and returns the parts, the first of which goes by its id. PD is told first: after
// a crash the regions are what PD knows. Called with s.splits held.
func (s *store) split(ctx context.Context, r *metapb.Region, keys [][]byte) ([]*metapb.Region, error) {
	keys = cuts(r, keys)
	if len(keys) == 0 {
		return []*metapb.Region{r}, nil
	}
	ids, err := s.pd.rpc.AskBatchSplit(ctx, &pdpb.AskBatchSplitRequest{Region: r, SplitCount: uint32(len(keys))})
	if err != nil {
		return nil, err
	}
	parts := divide(r, keys, ids.Ids)
	if _, err := s.pd.rpc.ReportBatchSplit(ctx, &pdpb.ReportBatchSplitRequest{Regions: parts}); err != nil {
		return nil, err
	}
	for i, key := range slices.Backward(keys) {
		s.cluster.SplitRaw(r.Id, ids.Ids[i].NewRegionId, key, ids.Ids[i].NewPeerIds, ids.Ids[i].NewPeerIds[0])
	}
	return parts, nil
}

// cuts are the keys inside of a region, in order.
func cuts(r *metapb.Region, keys [][]byte) [][]byte {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, bytes.Compare)
	keys = slices.CompactFunc(keys, bytes.Equal)
	return slices.DeleteFunc(keys, func(k []byte) bool {
		return bytes.Compare(k, r.StartKey) <= 0 || len(r.EndKey) > 0 && bytes.Compare(k, r.EndKey) >= 0
	})
}

// divide says what the mock makes of a region that it splits at keys, the last one first.
func divide(r *metapb.Region, keys [][]byte, ids []*pdpb.SplitID) []*metapb.Region {
	first := *r
	first.EndKey = keys[0]
	first.RegionEpoch = &metapb.RegionEpoch{
		ConfVer: r.RegionEpoch.GetConfVer(), Version: r.RegionEpoch.GetVersion() + uint64(len(keys)),
	}
	parts := []*metapb.Region{&first}
	for i, key := range keys {
		part := &metapb.Region{
			Id: ids[i].NewRegionId, StartKey: key, EndKey: r.EndKey, RegionEpoch: &metapb.RegionEpoch{Version: 1},
			Peers: []*metapb.Peer{{Id: ids[i].NewPeerIds[0], StoreId: r.Peers[0].StoreId}},
		}
		if i+1 < len(keys) {
			part.EndKey = keys[i+1]
		}
		parts = append(parts, part)
	}
	return parts
}
