//go:build !darwin || cgo

package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// etcdServer is the little of PD's etcd that client-go needs: without the safe point that is kept there, all its reads
// fail after 100 s.
type etcdServer struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedClusterServer
	placement *placement
	ways      *ways
}

func etcdHeader(k *knowledge) *etcdserverpb.ResponseHeader {
	return &etcdserverpb.ResponseHeader{ClusterId: k.Cluster, MemberId: 1, Revision: k.Revision, RaftTerm: 1}
}

// Range answers one key or a range, in order.
func (e *etcdServer) Range(_ context.Context, q *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	answer := new(etcdserverpb.RangeResponse)
	e.placement.look(func(k *knowledge) {
		answer.Header = etcdHeader(k)
		for key, value := range k.Keys {
			if key == string(q.Key) || key >= string(q.Key) && key < string(q.RangeEnd) {
				answer.Kvs = append(answer.Kvs, &mvccpb.KeyValue{
					Key: []byte(key), Value: []byte(value), Version: 1, CreateRevision: 1, ModRevision: k.Revision,
				})
			}
		}
	})
	slices.SortFunc(answer.Kvs, func(a, b *mvccpb.KeyValue) int { return strings.Compare(string(a.Key), string(b.Key)) })
	answer.Count = int64(len(answer.Kvs))
	return answer, nil
}

// Put takes keys without leases.
func (e *etcdServer) Put(_ context.Context, q *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	if q.Lease != 0 {
		return nil, errors.New("tikvdev: no leases")
	}
	answer := new(etcdserverpb.PutResponse)
	err := e.placement.change(func(k *knowledge) error {
		k.Revision++
		k.Keys[string(q.Key)] = string(q.Value)
		answer.Header = etcdHeader(k)
		return nil
	})
	return answer, err
}

// MemberList names this process.
func (e *etcdServer) MemberList(ctx context.Context, _ *etcdserverpb.MemberListRequest) (*etcdserverpb.MemberListResponse, error) {
	url := e.ways.url(ctx)
	answer := &etcdserverpb.MemberListResponse{
		Members: []*etcdserverpb.Member{{ID: 1, Name: "tikvdev", ClientURLs: []string{url}, PeerURLs: []string{url}}},
	}
	e.placement.look(func(k *knowledge) { answer.Header = etcdHeader(k) })
	return answer, nil
}
