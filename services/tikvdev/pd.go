//go:build !darwin || cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
)

// pdServer is PD's part of the protocol that stores and client-go use.
type pdServer struct {
	pdpb.UnimplementedPDServer
	placement *placement
	tso       *tso
	ways      *ways
}

func newPD(dir string, w *ways) (*pdServer, error) {
	p, err := openPlacement(filepath.Join(dir, "placement.json"))
	if err != nil {
		return nil, fmt.Errorf("open pd: %w", err)
	}
	t, err := newTSO(filepath.Join(dir, "tso"))
	if err != nil {
		return nil, fmt.Errorf("open pd: %w", err)
	}
	return &pdServer{placement: p, tso: t, ways: w}, nil
}

func (s *pdServer) header() *pdpb.ResponseHeader {
	return &pdpb.ResponseHeader{ClusterId: s.placement.cluster()}
}

func (s *pdServer) GetMembers(ctx context.Context, _ *pdpb.GetMembersRequest) (*pdpb.GetMembersResponse, error) {
	url := s.ways.url(ctx)
	m := &pdpb.Member{Name: "tikvdev", MemberId: 1, ClientUrls: []string{url}, PeerUrls: []string{url}}
	return &pdpb.GetMembersResponse{Header: s.header(), Members: []*pdpb.Member{m}, Leader: m, EtcdLeader: m}, nil
}

func (s *pdServer) GetClusterInfo(context.Context, *pdpb.GetClusterInfoRequest) (*pdpb.GetClusterInfoResponse, error) {
	return &pdpb.GetClusterInfoResponse{Header: s.header(), ServiceModes: []pdpb.ServiceMode{pdpb.ServiceMode_PD_SVC_MODE}}, nil
}

func (s *pdServer) GetClusterConfig(context.Context, *pdpb.GetClusterConfigRequest) (*pdpb.GetClusterConfigResponse, error) {
	return &pdpb.GetClusterConfigResponse{
		Header: s.header(), Cluster: &metapb.Cluster{Id: s.placement.cluster(), MaxPeerCount: 1},
	}, nil
}

// Tso answers requests for timestamps until the client goes.
func (s *pdServer) Tso(stream pdpb.PD_TsoServer) error {
	for {
		q, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		physical, logical, err := s.tso.next(int64(q.Count))
		if err != nil {
			return err
		}
		if err := stream.Send(&pdpb.TsoResponse{
			Header: s.header(), Count: q.Count, Timestamp: &pdpb.Timestamp{Physical: physical, Logical: logical},
		}); err != nil {
			return err
		}
	}
}

// AllocID gives out ids of stores, regions and replicas.
func (s *pdServer) AllocID(context.Context, *pdpb.AllocIDRequest) (*pdpb.AllocIDResponse, error) {
	var id uint64
	err := s.placement.change(func(k *knowledge) error {
		k.LastID++
		id = k.LastID
		return nil
	})
	return &pdpb.AllocIDResponse{Header: s.header(), Id: id}, err
}

// GetGCSafePoint is what stores ask for.
func (s *pdServer) GetGCSafePoint(context.Context, *pdpb.GetGCSafePointRequest) (*pdpb.GetGCSafePointResponse, error) {
	answer := &pdpb.GetGCSafePointResponse{Header: s.header()}
	s.placement.look(func(k *knowledge) { answer.SafePoint = k.SafePoint })
	return answer, nil
}

// UpdateGCSafePoint moves the safe point forward.
func (s *pdServer) UpdateGCSafePoint(_ context.Context, q *pdpb.UpdateGCSafePointRequest) (*pdpb.UpdateGCSafePointResponse, error) {
	answer := &pdpb.UpdateGCSafePointResponse{Header: s.header()}
	err := s.placement.change(func(k *knowledge) error {
		k.SafePoint = max(k.SafePoint, q.SafePoint)
		answer.NewSafePoint = k.SafePoint
		return nil
	})
	return answer, err
}

// UpdateServiceGCSafePoint records how far back a service reads, and answers the service that reads furthest. A point
// below what all others need is not recorded: it may be collected already.
func (s *pdServer) UpdateServiceGCSafePoint(
	_ context.Context, q *pdpb.UpdateServiceGCSafePointRequest,
) (*pdpb.UpdateServiceGCSafePointResponse, error) {
	answer := &pdpb.UpdateServiceGCSafePointResponse{Header: s.header()}
	now := s.placement.now()
	err := s.placement.change(func(k *knowledge) error {
		service := string(q.ServiceId)
		if q.TTL <= 0 {
			delete(k.Services, service)
		} else if _, h := k.least(now); q.SafePoint >= h.SafePoint {
			h := hold{SafePoint: q.SafePoint, Expires: math.MaxInt64}
			if q.TTL < math.MaxInt64-now.Unix() {
				h.Expires = now.Unix() + q.TTL
			}
			k.Services[service] = h
		}
		name, h := k.least(now)
		answer.ServiceId, answer.TTL, answer.MinSafePoint = []byte(name), h.Expires-now.Unix(), h.SafePoint
		return nil
	})
	return answer, err
}
