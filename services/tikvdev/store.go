//go:build !darwin || cgo

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/tikv/client-go/v2/oracle"
	"github.com/tikv/client-go/v2/testutils"
	"github.com/tikv/client-go/v2/tikvrpc"
)

// store is TiKV's part of the protocol, on client-go's mock store.
type store struct {
	tikvpb.UnimplementedTikvServer
	log     *slog.Logger
	addr    string // by which the mock knows itself
	mock    *testutils.MockClient
	cluster *testutils.MockCluster // regions, as PD has them
	pd      *placementClient
	journal *journal   // nil: no fsync
	broken  chan error // a failure that leaves the disk in doubt

	splits sync.Mutex // one split at a time
}

// newStore opens the folder and joins the cluster of PD, for which it waits.
func newStore(ctx context.Context, cfg config, secret *tls.Config, log *slog.Logger) (*store, error) {
	dir := filepath.Join(cfg.data, "store")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	db := filepath.Join(dir, "db")
	mock, cluster, _, err := testutils.NewMockTiKV(db, nil)
	if err != nil { // also the lock of another process
		return nil, fmt.Errorf("open store in %s: %w", db, err)
	}
	s := &store{log: log, addr: cfg.advertiseStore, mock: mock, cluster: cluster, broken: make(chan error, 1)}
	if cfg.fsync {
		s.journal = &journal{dir: db, delay: filepath.Join(dir, "fsync-delay")}
	}
	if s.pd, err = dialPD(ctx, cfg, secret, log); err != nil {
		_ = mock.Close()
		return nil, err
	}
	if err := s.join(ctx, filepath.Join(dir, "identity.json"), cfg.split); err != nil {
		_ = s.close()
		return nil, fmt.Errorf("join pd at %s: %w", cfg.pd, err)
	}
	return s, nil
}

func (s *store) close() error {
	s.pd.close()
	return s.mock.Close()
}

// gcPoll is how often PD is asked for the safe point. TiKV does so every 10 s.
const gcPoll = time.Second

// work collects old versions, until ctx ends or the disk fails.
func (s *store) work(ctx context.Context) error {
	tick := time.NewTicker(gcPoll)
	defer tick.Stop()
	var collected uint64
	told := false // of an error that goes on
	for {
		point, err := s.pd.safePoint(ctx)
		if err == nil && point > collected {
			if err = s.mock.MvccStore.GC(nil, nil, point); err == nil {
				s.log.Info("collected old versions", "before", oracle.GetTimeFromTS(point))
				collected = point
			}
		}
		if err != nil && !told && ctx.Err() == nil {
			s.log.Warn("old versions not collected", "err", err)
		}
		told = err != nil
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.broken:
			return err
		case <-tick.C:
		}
	}
}

// writes are the requests whose answers must be durable.
var writes = map[tikvrpc.CmdType]bool{
	tikvrpc.CmdPrewrite: true, tikvrpc.CmdCommit: true, tikvrpc.CmdCleanup: true, tikvrpc.CmdBatchRollback: true,
	tikvrpc.CmdResolveLock: true, tikvrpc.CmdCheckTxnStatus: true, tikvrpc.CmdTxnHeartBeat: true,
	tikvrpc.CmdDeleteRange: true, tikvrpc.CmdGC: true,
}

// message is what all requests have.
type message interface{ GetContext() *kvrpcpb.Context }

// do answers one request. What goes wrong here is told as an error of the region, which makes the client look where the
// region is by now and try again.
func (s *store) do(ctx context.Context, t tikvrpc.CmdType, m message) any {
	c := m.GetContext()
	if c == nil {
		c = new(kvrpcpb.Context)
	}
	request := tikvrpc.NewRequest(t, m, *c)
	resp, err := s.apply(ctx, request, m)
	if err == nil && s.journal != nil && writes[t] {
		if err = s.journal.sync(); err != nil {
			s.fail(err)
		}
	}
	if err != nil {
		return refusal(request, &errorpb.Error{Message: err.Error(), ServerIsBusy: &errorpb.ServerIsBusy{Reason: err.Error()}})
	}
	return resp
}

// fail ends the process: after a failed fsync nobody knows what is on the disk until it is opened anew.
func (s *store) fail(err error) {
	select {
	case s.broken <- err:
	default: // it ends already
	}
}

func refusal(request *tikvrpc.Request, why *errorpb.Error) any {
	resp, err := tikvrpc.GenRegionErrorResp(request, why)
	if err != nil {
		panic(err) // of a request that this server does not serve
	}
	return resp.Resp
}

// apply hands a request to the mock, and adds what that leaves out.
func (s *store) apply(ctx context.Context, request *tikvrpc.Request, m message) (resp any, err error) {
	defer func() {
		if r := recover(); r != nil { // the mock panics where a region was split since the request was made
			resp, err = refusal(request, &errorpb.Error{Message: fmt.Sprint(r), EpochNotMatch: &errorpb.EpochNotMatch{}}), nil
		}
	}()
	if q, ok := m.(*kvrpcpb.ResolveLockRequest); ok {
		if answer, ok := s.resolve(q); ok {
			return answer, nil
		}
	}
	r, err := s.mock.SendRequest(ctx, s.addr, request, time.Minute)
	if err != nil {
		return nil, err
	}
	switch q := m.(type) {
	case *kvrpcpb.GetRequest:
		answer := r.Resp.(*kvrpcpb.GetResponse)
		answer.NotFound = len(answer.Value) == 0
	case *kvrpcpb.ScanRequest:
		if q.KeyOnly {
			for _, p := range r.Resp.(*kvrpcpb.ScanResponse).Pairs {
				p.Value = nil
			}
		}
	case *kvrpcpb.PrewriteRequest:
		if q.TryOnePc {
			s.onePhase(ctx, q, r.Resp.(*kvrpcpb.PrewriteResponse))
		}
	}
	return r.Resp, nil
}

// resolve resolves the locks of many transactions, which is how a collection asks, or those on some keys. The mock does
// neither: it goes through the whole region for one transaction. It reports false when it leaves that to the mock.
func (s *store) resolve(q *kvrpcpb.ResolveLockRequest) (*kvrpcpb.ResolveLockResponse, bool) {
	var err error
	switch {
	case len(q.TxnInfos) > 0:
		commits := make(map[uint64]uint64, len(q.TxnInfos))
		for _, t := range q.TxnInfos {
			commits[t.Txn] = t.Status
		}
		err = s.mock.MvccStore.BatchResolveLock(nil, nil, commits)
	case len(q.Keys) > 0 && q.CommitVersion > 0:
		err = s.mock.MvccStore.Commit(q.Keys, q.StartVersion, q.CommitVersion)
	case len(q.Keys) > 0:
		err = s.mock.MvccStore.Rollback(q.Keys, q.StartVersion)
	default:
		return nil, false
	}
	answer := new(kvrpcpb.ResolveLockResponse)
	if err != nil {
		answer.Error = &kvrpcpb.KeyError{Abort: err.Error()}
	}
	return answer, true
}

// onePhase commits right after a good prewrite. One commit is one batch of goleveldb, so it is whole; a crash in between
// leaves locks that are rolled back when their time is over. The timestamp is taken with the locks in place: a reader
// that was given a later one meets them and waits. Without a timestamp in its answer a client goes on in two phases.
func (s *store) onePhase(ctx context.Context, q *kvrpcpb.PrewriteRequest, p *kvrpcpb.PrewriteResponse) {
	if p.RegionError != nil {
		return
	}
	if len(p.Errors) > 0 {
		// The request came again, since its answer was lost: what is in its way is its own record.
		if c := p.Errors[0].GetConflict(); c != nil && c.ConflictTs == q.StartVersion {
			p.Errors, p.OnePcCommitTs = nil, c.ConflictCommitTs
		}
		return
	}
	keys := make([][]byte, 0, len(q.Mutations))
	for _, m := range q.Mutations {
		if m.Op != kvrpcpb.Op_CheckNotExists {
			keys = append(keys, m.Key)
		}
	}
	ts, err := s.pd.timestamp(ctx)
	if err == nil {
		err = s.mock.MvccStore.Commit(keys, q.StartVersion, ts)
	}
	if err == nil {
		p.OnePcCommitTs = ts
	}
}
