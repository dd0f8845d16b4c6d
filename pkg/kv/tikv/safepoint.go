//go:build !darwin || cgo

package tikv

import (
	"context"
	"crypto/tls"
	"fmt"
	"strconv"
	"time"

	client "github.com/tikv/client-go/v2/tikv"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// safePoints keeps the safe point of the collection where all clients of a cluster look for it: in PD's etcd. It is
// client-go's EtcdSafePointKV with a logger, which that one lacks.
type safePoints struct{ etcd *clientv3.Client }

var _ client.SafePointKV = (*safePoints)(nil)

func newSafePoints(cfg Config, secret *tls.Config, logger *zap.Logger) (*safePoints, error) {
	c, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.PD,
		AutoSyncInterval:     30 * time.Second,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		DialOptions:          []grpc.DialOption{reconnect},
		TLS:                  secret,
		Logger:               logger,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the etcd of pd %v: %w", cfg.PD, err)
	}
	return &safePoints{etcd: c}, nil
}

// etcdTimeout bounds one request.
const etcdTimeout = 5 * time.Second

func (p *safePoints) Put(key, value string) error {
	ctx, cancel := context.WithTimeout(context.Background(), etcdTimeout)
	defer cancel()
	_, err := p.etcd.Put(ctx, key, value)
	return err
}

func (p *safePoints) Get(key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), etcdTimeout)
	defer cancel()
	resp, err := p.etcd.Get(ctx, key)
	if err != nil || len(resp.Kvs) == 0 {
		return "", err
	}
	return string(resp.Kvs[0].Value), nil
}

func (p *safePoints) GetWithPrefix(key string) ([]*mvccpb.KeyValue, error) {
	ctx, cancel := context.WithTimeout(context.Background(), etcdTimeout)
	defer cancel()
	resp, err := p.etcd.Get(ctx, key, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	return resp.Kvs, nil
}

func (p *safePoints) Close() error { return p.etcd.Close() }

// savedSafePoint is the safe point that the cluster's clients were told last, 0 for none.
func (s *Store) savedSafePoint() (uint64, error) {
	text, err := s.client.GetSafePointKV().Get(client.GcSavedSafePoint)
	if err != nil || text == "" {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

func (s *Store) saveSafePoint(ts uint64) error {
	return s.client.GetSafePointKV().Put(client.GcSavedSafePoint, strconv.FormatUint(ts, 10))
}
