//go:build !darwin || cgo

package main

import (
	"context"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/tikv/client-go/v2/tikvrpc"
	"github.com/tikv/client-go/v2/util/codec"
)

// answer does a request whose answer is an R.
func answer[R any](ctx context.Context, s *store, t tikvrpc.CmdType, m message) *R {
	return s.do(ctx, t, m).(*R)
}

func (s *store) KvGet(ctx context.Context, q *kvrpcpb.GetRequest) (*kvrpcpb.GetResponse, error) {
	return answer[kvrpcpb.GetResponse](ctx, s, tikvrpc.CmdGet, q), nil
}

func (s *store) KvBatchGet(ctx context.Context, q *kvrpcpb.BatchGetRequest) (*kvrpcpb.BatchGetResponse, error) {
	return answer[kvrpcpb.BatchGetResponse](ctx, s, tikvrpc.CmdBatchGet, q), nil
}

func (s *store) KvScan(ctx context.Context, q *kvrpcpb.ScanRequest) (*kvrpcpb.ScanResponse, error) {
	return answer[kvrpcpb.ScanResponse](ctx, s, tikvrpc.CmdScan, q), nil
}

func (s *store) KvPrewrite(ctx context.Context, q *kvrpcpb.PrewriteRequest) (*kvrpcpb.PrewriteResponse, error) {
	return answer[kvrpcpb.PrewriteResponse](ctx, s, tikvrpc.CmdPrewrite, q), nil
}

func (s *store) KvCommit(ctx context.Context, q *kvrpcpb.CommitRequest) (*kvrpcpb.CommitResponse, error) {
	return answer[kvrpcpb.CommitResponse](ctx, s, tikvrpc.CmdCommit, q), nil
}

func (s *store) KvCleanup(ctx context.Context, q *kvrpcpb.CleanupRequest) (*kvrpcpb.CleanupResponse, error) {
	return answer[kvrpcpb.CleanupResponse](ctx, s, tikvrpc.CmdCleanup, q), nil
}

func (s *store) KvBatchRollback(ctx context.Context, q *kvrpcpb.BatchRollbackRequest) (*kvrpcpb.BatchRollbackResponse, error) {
	return answer[kvrpcpb.BatchRollbackResponse](ctx, s, tikvrpc.CmdBatchRollback, q), nil
}

func (s *store) KvCheckTxnStatus(ctx context.Context, q *kvrpcpb.CheckTxnStatusRequest) (*kvrpcpb.CheckTxnStatusResponse, error) {
	return answer[kvrpcpb.CheckTxnStatusResponse](ctx, s, tikvrpc.CmdCheckTxnStatus, q), nil
}

func (s *store) KvTxnHeartBeat(ctx context.Context, q *kvrpcpb.TxnHeartBeatRequest) (*kvrpcpb.TxnHeartBeatResponse, error) {
	return answer[kvrpcpb.TxnHeartBeatResponse](ctx, s, tikvrpc.CmdTxnHeartBeat, q), nil
}

func (s *store) KvScanLock(ctx context.Context, q *kvrpcpb.ScanLockRequest) (*kvrpcpb.ScanLockResponse, error) {
	return answer[kvrpcpb.ScanLockResponse](ctx, s, tikvrpc.CmdScanLock, q), nil
}

func (s *store) KvResolveLock(ctx context.Context, q *kvrpcpb.ResolveLockRequest) (*kvrpcpb.ResolveLockResponse, error) {
	return answer[kvrpcpb.ResolveLockResponse](ctx, s, tikvrpc.CmdResolveLock, q), nil
}

func (s *store) KvDeleteRange(ctx context.Context, q *kvrpcpb.DeleteRangeRequest) (*kvrpcpb.DeleteRangeResponse, error) {
	return answer[kvrpcpb.DeleteRangeResponse](ctx, s, tikvrpc.CmdDeleteRange, q), nil
}

// GetStoreSafeTS is about reading from followers, which there are none of.
func (s *store) GetStoreSafeTS(context.Context, *kvrpcpb.StoreSafeTSRequest) (*kvrpcpb.StoreSafeTSResponse, error) {
	return &kvrpcpb.StoreSafeTSResponse{}, nil
}

// SplitRegion cuts a region at keys.
func (s *store) SplitRegion(ctx context.Context, q *kvrpcpb.SplitRegionRequest) (*kvrpcpb.SplitRegionResponse, error) {
	s.splits.Lock()
	defer s.splits.Unlock()
	r, _ := s.cluster.GetRegion(q.Context.GetRegionId())
	if r == nil || r.RegionEpoch.GetVersion() != q.Context.GetRegionEpoch().GetVersion() {
		moved := &errorpb.Error{Message: "epoch not match", EpochNotMatch: &errorpb.EpochNotMatch{}}
		if r != nil {
			moved.EpochNotMatch.CurrentRegions = []*metapb.Region{r}
		}
		return &kvrpcpb.SplitRegionResponse{RegionError: moved}, nil
	}
	keys := make([][]byte, len(q.SplitKeys))
	for i, k := range q.SplitKeys {
		keys[i] = codec.EncodeBytes(nil, k)
	}
	parts, err := s.split(ctx, r, keys)
	if err != nil {
		return nil, err
	}
	return &kvrpcpb.SplitRegionResponse{Regions: parts}, nil
}
