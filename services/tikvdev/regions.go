//go:build !darwin || cgo

package main

import (
	"bytes"
	"context"
	"errors"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
)

// This file is the part of PD that knows stores and regions.

func (s *pdServer) IsBootstrapped(context.Context, *pdpb.IsBootstrappedRequest) (*pdpb.IsBootstrappedResponse, error) {
	answer := &pdpb.IsBootstrappedResponse{Header: s.header()}
	s.placement.look(func(k *knowledge) { answer.Bootstrapped = len(k.Regions) > 0 })
	return answer, nil
}

// Bootstrap takes the first store and the region of all keys.
func (s *pdServer) Bootstrap(_ context.Context, q *pdpb.BootstrapRequest) (*pdpb.BootstrapResponse, error) {
	first, err := fromMeta(q.Region)
	if err != nil {
		return nil, err
	}
	return &pdpb.BootstrapResponse{Header: s.header()}, s.placement.change(func(k *knowledge) error {
		if len(k.Regions) > 0 {
			return errors.New("bootstrapped already")
		}
		k.Stores[q.Store.Id] = q.Store.Address
		k.Regions = []region{first}
		return nil
	})
}

// PutStore takes a store's address, which may have changed.
func (s *pdServer) PutStore(_ context.Context, q *pdpb.PutStoreRequest) (*pdpb.PutStoreResponse, error) {
	return &pdpb.PutStoreResponse{Header: s.header()}, s.placement.change(func(k *knowledge) error {
		if _, known := k.Stores[q.Store.Id]; !known && len(k.Stores) > 0 {
			return errors.New("a second store: tikvdev has one")
		}
		k.Stores[q.Store.Id] = q.Store.Address
		return nil
	})
}

func (s *pdServer) GetStore(ctx context.Context, q *pdpb.GetStoreRequest) (*pdpb.GetStoreResponse, error) {
	answer := &pdpb.GetStoreResponse{Header: s.header(), Stats: &pdpb.StoreStats{}}
	s.placement.look(func(k *knowledge) {
		if addr, ok := k.Stores[q.StoreId]; ok {
			answer.Store = storeMeta(q.StoreId, s.ways.store(ctx, addr))
		}
	})
	if answer.Store == nil {
		answer.Header.Error = &pdpb.Error{Type: pdpb.ErrorType_UNKNOWN, Message: "invalid store ID, not found"}
	}
	return answer, nil
}

func (s *pdServer) GetAllStores(ctx context.Context, _ *pdpb.GetAllStoresRequest) (*pdpb.GetAllStoresResponse, error) {
	answer := &pdpb.GetAllStoresResponse{Header: s.header()}
	s.placement.look(func(k *knowledge) {
		for id, addr := range k.Stores {
			answer.Stores = append(answer.Stores, storeMeta(id, s.ways.store(ctx, addr)))
		}
	})
	return answer, nil
}

func storeMeta(id uint64, addr string) *metapb.Store {
	return &metapb.Store{Id: id, Address: addr, PeerAddress: addr, State: metapb.StoreState_Up, Version: "6.5.0"}
}

func (s *pdServer) GetRegion(_ context.Context, q *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	return s.region(func(k *knowledge) int { return k.find(q.RegionKey) }), nil
}

func (s *pdServer) GetPrevRegion(_ context.Context, q *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	return s.region(func(k *knowledge) int { return k.find(q.RegionKey) - 1 }), nil
}

func (s *pdServer) GetRegionByID(_ context.Context, q *pdpb.GetRegionByIDRequest) (*pdpb.GetRegionResponse, error) {
	return s.region(func(k *knowledge) int { return k.findID(q.RegionId) }), nil
}

// region answers the region at the index that find gives, or none.
func (s *pdServer) region(find func(k *knowledge) int) *pdpb.GetRegionResponse {
	answer := &pdpb.GetRegionResponse{Header: s.header()}
	s.placement.look(func(k *knowledge) {
		if i := find(k); i >= 0 {
			answer.Region, answer.Leader = k.Regions[i].meta(), k.Regions[i].leader()
		}
	})
	return answer
}

func (s *pdServer) ScanRegions(_ context.Context, q *pdpb.ScanRegionsRequest) (*pdpb.ScanRegionsResponse, error) {
	answer := &pdpb.ScanRegionsResponse{Header: s.header()}
	s.placement.look(func(k *knowledge) {
		for i := max(0, k.find(q.StartKey)); i < len(k.Regions); i++ {
			r := k.Regions[i]
			full := q.Limit > 0 && len(answer.Regions) == int(q.Limit)
			if full || len(q.EndKey) > 0 && bytes.Compare(r.Start, q.EndKey) >= 0 {
				break
			}
			answer.RegionMetas, answer.Leaders = append(answer.RegionMetas, r.meta()), append(answer.Leaders, r.leader())
			answer.Regions = append(answer.Regions, &pdpb.Region{Region: r.meta(), Leader: r.leader()})
		}
	})
	return answer, nil
}

// AskBatchSplit gives out the ids for a split.
func (s *pdServer) AskBatchSplit(_ context.Context, q *pdpb.AskBatchSplitRequest) (*pdpb.AskBatchSplitResponse, error) {
	answer := &pdpb.AskBatchSplitResponse{Header: s.header()}
	err := s.placement.change(func(k *knowledge) error {
		for range q.SplitCount {
			answer.Ids = append(answer.Ids, &pdpb.SplitID{NewRegionId: k.LastID + 1, NewPeerIds: []uint64{k.LastID + 2}})
			k.LastID += 2
		}
		return nil
	})
	return answer, err
}

// ReportBatchSplit takes the parts of what was one region.
func (s *pdServer) ReportBatchSplit(_ context.Context, q *pdpb.ReportBatchSplitRequest) (*pdpb.ReportBatchSplitResponse, error) {
	parts := make([]region, 0, len(q.Regions))
	for _, m := range q.Regions {
		r, err := fromMeta(m)
		if err != nil {
			return nil, err
		}
		parts = append(parts, r)
	}
	return &pdpb.ReportBatchSplitResponse{Header: s.header()}, s.placement.change(func(k *knowledge) error {
		return k.replace(parts)
	})
}

// ScatterRegion has nowhere to scatter to.
func (s *pdServer) ScatterRegion(context.Context, *pdpb.ScatterRegionRequest) (*pdpb.ScatterRegionResponse, error) {
	return &pdpb.ScatterRegionResponse{Header: s.header()}, nil
}

func (s *pdServer) GetOperator(_ context.Context, q *pdpb.GetOperatorRequest) (*pdpb.GetOperatorResponse, error) {
	return &pdpb.GetOperatorResponse{Header: s.header(), RegionId: q.RegionId, Status: pdpb.OperatorStatus_SUCCESS}, nil
}
